//! The new device's side: commits, checks whom it talks to, shows the digits, becomes a device.

use super::DeviceError;
use super::frames::{gone, read, write};
use crate::home::Home;
use crate::identity::{Identity, random};
use crate::join::Joined;
use crate::limits::{DEVICE_LINK_WAIT, DEVICE_STEP_WAIT};
use crate::options::Options;
use crate::unix;
use beeline_proto::chain::VerifiedChain;
use beeline_proto::device_link::{DeviceLink, digits};
use beeline_proto::envelope::{Context, Expect, Verified, open, sign};
use beeline_proto::id::{EnvelopeHash, Label, MessageId, sha256};
use beeline_proto::keys::{SealSecret, SigningKey};
use beeline_proto::limits::{ORIGIN_LEN_MAX, ORIGINS_MAX};
use beeline_proto::pb::identity::v1 as pb;
use beeline_proto::pb::identity::v1::device_link_frame::Kind;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Keys made here; they never leave this machine.
struct Keys {
    device: SigningKey,
    control: SealSecret,
}

/// Makes the home of `options` another device of the user a device link is of. `label` is the
/// deviceId; the holder chooses one if `None`. `show` is told the six digits and whose they are.
///
/// # Errors
/// [`DeviceError`]; then nothing was stored.
pub async fn join(
    options: &Options,
    link: &str,
    label: Option<&Label>,
    show: impl AsyncFnOnce(&str, &Label),
) -> Result<Joined, DeviceError> {
    unix::no_core_dumps();
    let link = DeviceLink::parse(link)?;
    let home = Home::at(&options.home);
    if home.is_joined() {
        return Err(Identity::taken(&home).into());
    }
    let _lock = home.lock(&options.command)?;
    let secret = || {
        random::<32>()
            .map(Zeroizing::new)
            .map_err(DeviceError::Random)
    };
    let keys = Keys {
        device: SigningKey::from_seed(&*secret()?),
        control: SealSecret::from_bytes(*secret()?),
    };
    let request = request(&link, &keys, label)?;
    let mut stream = call(&link, &request).await?;
    let (offer, user) = shown(&mut stream, &link, &request).await?;
    write(&mut stream, Kind::Request(request.clone())).await?;
    let digits = digits(&offer, &EnvelopeHash(sha256(&request)));
    show(&digits, &user).await;
    let Kind::Taken(taken) = read(&mut stream, DEVICE_LINK_WAIT).await? else {
        return Err(gone("the other device does not keep to the order"));
    };
    let (identity, role) = accept(&link, keys, label, taken)?;
    identity.store(&home)?;
    // The holder takes off again whoever does not say so; what is stored here is good all the same
    // if only this word is lost, and the holder tells its person.
    write(&mut stream, Kind::Stored(pb::DeviceStored {})).await?;
    let who = identity.who();
    Ok(Joined { who, role })
}

fn request(link: &DeviceLink, keys: &Keys, label: Option<&Label>) -> Result<Vec<u8>, DeviceError> {
    let id = MessageId(random().map_err(DeviceError::Random)?);
    let context = Context::unordered(link.network, link.user.0, id);
    let request = pb::DeviceRequest {
        context: Some(context.to_pb()),
        nonce: random::<32>().map_err(DeviceError::Random)?.to_vec(),
        label: label.map(Label::to_string).unwrap_or_default(),
        control_key: keys.control.public().0.to_vec(),
    };
    Ok(sign(&keys.device, &request))
}

async fn call(link: &DeviceLink, request: &[u8]) -> Result<TcpStream, DeviceError> {
    let addr = link.addr;
    let no = |why: String| {
        let advice = "is `beeline device link` still waiting, on a machine this one can reach?";
        DeviceError::Connection(format!("no answer at {addr} ({why}); {advice}"))
    };
    let connected = timeout(DEVICE_STEP_WAIT, TcpStream::connect(addr)).await;
    let connected = connected.map_err(|_| no("it took too long".to_owned()))?;
    let mut stream = connected.map_err(|e| no(e.to_string()))?;
    let call = pb::DeviceCall {
        token: link.token.to_vec(),
        commitment: sha256(request).to_vec(),
    };
    write(&mut stream, Kind::Call(call)).await?;
    Ok(stream)
}

/// Who answers: a device of the pinned user in the pinned network. The hash of its offer.
async fn shown(
    stream: &mut TcpStream,
    link: &DeviceLink,
    request: &[u8],
) -> Result<(EnvelopeHash, Label), DeviceError> {
    let Kind::Shown(shown) = read(stream, DEVICE_STEP_WAIT).await? else {
        return Err(gone("the other device does not keep to the order"));
    };
    let chain = pinned(link, &shown.chain)?;
    let audiences = [link.user.0];
    let offer: Verified<pb::DeviceOffer> =
        open(&shown.offer, &Expect::new(link.network, &audiences))
            .map_err(|e| DeviceError::NotVerified(e.to_string()))?;
    chain
        .device(offer.signer().device_fp())
        .map_err(DeviceError::chain)?;
    let payload = offer.payload();
    if payload.commitment != sha256(request) || payload.nonce.len() != 32 {
        let why = "it answers somebody else's call: somebody may sit between";
        return Err(DeviceError::NotVerified(why.to_owned()));
    }
    Ok((offer.hash(), chain.membership.handle.clone()))
}

/// A chain of the pinned user in the pinned network.
fn pinned(link: &DeviceLink, chain: &[u8]) -> Result<VerifiedChain, DeviceError> {
    let chain = VerifiedChain::open(chain, link.network).map_err(DeviceError::chain)?;
    if chain.user() != link.user {
        let why = "it is another user than the link names";
        return Err(DeviceError::NotVerified(why.to_owned()));
    }
    Ok(chain)
}

/// Believes nothing of the answer but what verifies against the link and our own keys.
fn accept(
    link: &DeviceLink,
    keys: Keys,
    label: Option<&Label>,
    taken: pb::DeviceTaken,
) -> Result<(Identity, pb::Role), DeviceError> {
    let no = |why: &str| DeviceError::NotVerified(why.to_owned());
    let chain = pinned(link, &taken.chain)?;
    let fp = keys.device.verify_key().device_fp();
    let listed = chain.device(fp).map_err(DeviceError::chain)?.clone();
    if listed.control_key != keys.control.public() || label.is_some_and(|l| *l != listed.label) {
        return Err(no("the list names this device with another key or name"));
    }
    if !taken.revocations.is_empty() {
        let list = chain.descriptor.open_revocations(&taken.revocations);
        let list = list.map_err(DeviceError::chain)?;
        if chain.membership.is_revoked_by(list.payload()) {
            return Err(no("the user's membership is revoked"));
        }
    }
    let fit = |origin: &String| origin.len() <= ORIGIN_LEN_MAX && origin.starts_with("http");
    let count = taken.gateways.len();
    if !(1..=ORIGINS_MAX).contains(&count) || !taken.gateways.iter().all(fit) {
        return Err(no("it names no gateways that could be"));
    }
    let network = &chain.descriptor.verified.payload().label;
    let identity = Identity {
        network_label: Label::new(network).map_err(|_| no("the network has no name"))?,
        network: link.network,
        user: chain.membership.handle.clone(),
        device: listed.label,
        user_public: chain.membership.user_key,
        user_key: None,
        device_key: keys.device,
        control_key: keys.control,
        gateways: taken.gateways,
        chain: taken.chain,
        revocations: taken.revocations,
    };
    Ok((identity, chain.membership.role()))
}
