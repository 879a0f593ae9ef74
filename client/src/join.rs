//! Joining a network with an invite link: make keys, enrol at one of the link's gateways, verify
//! what comes back against the pin in the link, and only then store anything.

use crate::error::{HomeError, JoinError, RestError};
use crate::home::Home;
use crate::identity::{Identity, random};
use crate::options::Options;
use crate::report::Who;
use crate::{rest, tls, unix};
use beeline_proto::chain::VerifiedChain;
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::{Label, MessageId, sha256};
use beeline_proto::invite::InviteLink;
use beeline_proto::keys::{SealSecret, SigningKey};
use beeline_proto::pb::identity::v1 as pb;
use beeline_proto::pb::registry::v1::{JoinRequest, JoinResponse};
use data_encoding::BASE32_NOPAD;
use prost::Message as _;
use zeroize::Zeroizing;

/// What a home became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Who it is now.
    pub who: Who,
    /// What it may do.
    pub role: pb::Role,
}

/// Makes the home of `options` a device of `user` in the network of `link`. `device` is the
/// deviceId; `<user>_<6 base32>` if `None`.
///
/// # Errors
/// [`JoinError`]; then nothing was stored.
pub async fn join(
    options: &Options,
    link: &str,
    user: &str,
    device: Option<&str>,
) -> Result<Joined, JoinError> {
    unix::no_core_dumps();
    let link = InviteLink::parse(link)?;
    let user = Label::new(user)?;
    let device = device.map(Label::new).transpose()?;
    let home = Home::at(&options.home);
    if home.is_joined() {
        return Err(Identity::taken(&home).into());
    }
    let tls = tls::client_config(options.ca.as_deref())?;
    let _lock = home.lock(&options.command)?;
    let draft = draft(&link, user, device)?;
    let request = request(&link, &draft).map_err(JoinError::Random)?;
    let answer = rest::post_join(&tls, &link.gateways, &request).await;
    let answer = answer.map_err(|error| refused(error, &draft))?;
    let (identity, role) = accept(draft, &request, &answer)?;
    identity.store(&home)?;
    let who = identity.who();
    Ok(Joined { who, role })
}

/// New keys, nothing enrolled.
fn draft(link: &InviteLink, user: Label, device: Option<Label>) -> Result<Identity, JoinError> {
    let secret = || {
        random::<32>()
            .map(Zeroizing::new)
            .map_err(JoinError::Random)
    };
    let device = match device {
        Some(device) => device,
        None => default_device(&user)?,
    };
    let user_key = SigningKey::from_seed(&*secret()?);
    Ok(Identity {
        network_label: link.network_id.clone(),
        network: link.network,
        user,
        device,
        user_public: user_key.verify_key(),
        user_key: Some(user_key),
        device_key: SigningKey::from_seed(&*secret()?),
        control_key: SealSecret::from_bytes(*secret()?),
        gateways: link.gateways.clone(),
        chain: Vec::new(),
        revocations: Vec::new(),
    })
}

/// `<user>_<6 base32>`, the user's name cut where the whole would be too long.
pub(crate) fn default_device(user: &Label) -> Result<Label, JoinError> {
    let random = random::<4>().map_err(JoinError::Random)?;
    let tail = BASE32_NOPAD.encode(&random).to_ascii_lowercase();
    let room = beeline_proto::limits::LABEL_LEN_MAX - 7;
    let head = user.as_str().get(..room).unwrap_or(user.as_str());
    Ok(Label::new(&format!("{head}_{}", &tail[..6]))?)
}

fn request(link: &InviteLink, draft: &Identity) -> Result<JoinRequest, String> {
    let user_key = draft.user_public;
    let context = |audience| -> Result<_, String> {
        let id = MessageId(random()?);
        Ok(Context::unordered(link.network, audience, id).to_pb())
    };
    let device_list = pb::DeviceList {
        context: Some(context(user_key.fp())?),
        version: 1,
        devices: vec![pb::Device {
            label: draft.device.to_string(),
            device_key: draft.device_key.verify_key().to_bytes().to_vec(),
            control_key: draft.control_key.public().0.to_vec(),
        }],
    };
    let secret = draft.user_key.as_ref().ok_or("no user key was made")?;
    let device_list = sign(secret, &device_list);
    let proof = pb::JoinProof {
        context: Some(context(link.network.0)?),
        user_id: draft.user.to_string(),
        user_key: user_key.to_bytes().to_vec(),
        device_list_hash: sha256(&device_list).to_vec(),
        nonce: random::<32>()?.to_vec(),
    };
    Ok(JoinRequest {
        network_id: link.network_id.to_string(),
        proof: sign(&link.key, &proof),
        device_list,
    })
}

/// A taken name says which; everything else is what the server said.
fn refused(error: RestError, draft: &Identity) -> JoinError {
    match error {
        RestError::Refused {
            code: ErrorCode::AlreadyExists,
            detail,
            ..
        } if detail.contains(&format!("user id {}", draft.user)) => {
            JoinError::UserTaken(draft.user.to_string())
        }
        other => JoinError::Rest(other),
    }
}

/// Believes nothing of the answer but what verifies against the link.
fn accept(
    mut draft: Identity,
    request: &JoinRequest,
    answer: &JoinResponse,
) -> Result<(Identity, pb::Role), JoinError> {
    let foreign = |why: String| JoinError::NotTheInvitedNetwork(why);
    let chain = pb::Chain {
        descriptor: answer.descriptor.clone(),
        membership: answer.membership.clone(),
        device_list: request.device_list.clone(),
    }
    .encode_to_vec();
    let verified =
        VerifiedChain::open(&chain, draft.network).map_err(|e| foreign(e.to_string()))?;
    if verified.membership.user_key != draft.user_public {
        return Err(foreign("the membership is for another key".to_owned()));
    }
    if verified.membership.handle != draft.user {
        return Err(foreign("the membership is for another user id".to_owned()));
    }
    if !answer.revocations.is_empty() {
        let list = verified.descriptor.open_revocations(&answer.revocations);
        let list = list.map_err(|e| foreign(e.to_string()))?;
        if verified.membership.is_revoked_by(list.payload()) {
            return Err(foreign("the new membership is revoked".to_owned()));
        }
    }
    draft.chain = chain;
    draft.revocations.clone_from(&answer.revocations);
    Ok((draft, verified.membership.role()))
}

impl JoinError {
    /// Whether the home was the reason.
    pub fn is_used_home(&self) -> bool {
        matches!(self, Self::Home(HomeError::AlreadyJoined { .. }))
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
