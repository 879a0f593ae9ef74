//! `beeline network`: create, invite, members, revoke.

use super::fail::{Exit, Failure};
use super::line::{Line, MemberLine};
use super::network_args::{NetworkAction, Role, role_name};
use super::reach::Context;
use super::registry::{Registry, refused};
use beeline_proto::chain::Descriptor;
use beeline_proto::envelope;
use beeline_proto::id::{Label, NetworkFp};
use beeline_proto::invite::InviteLink;
use beeline_proto::keys::{SigningKey, VerifyKey};
use beeline_proto::limits::INVITE_TTL_MAX_S;
use beeline_proto::pb::identity::v1::{Invite, Role as PbRole};
use beeline_proto::pb::registry::v1 as pb;
use beeline_proto::time::Timestamp;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// Pages of members asked for: 100 each, so a network of a million is listed to its end.
const PAGES_MAX: usize = 10_000;

/// Administers a network.
pub(crate) async fn network(context: &Context, action: NetworkAction) -> Result<Exit, Failure> {
    match action {
        NetworkAction::Create { id, data, registry } => {
            create(context, id, &data, registry.as_deref()).await?;
        }
        NetworkAction::Invite {
            uses,
            expires,
            role,
            authority,
        } => {
            let registry = Registry::reach(context, &authority).await?;
            invite(context, registry, role, uses, expires).await?;
        }
        NetworkAction::Members { authority } => {
            members(context, Registry::reach(context, &authority).await?).await?;
        }
        NetworkAction::Revoke { user, authority } => {
            let mut registry = Registry::reach(context, &authority).await?;
            let request = registry.request(pb::RevokeMemberRequest {
                network_id: registry.network.to_string(),
                user_id: user.to_string(),
            });
            let revoked = registry.service.revoke_member(request).await;
            revoked.map_err(|status| refused(&status))?;
            let user = user.to_string();
            context.printer.line(&Line::Revoked { user }).await?;
        }
    }
    Ok(Exit::Done)
}

async fn create(
    context: &Context,
    id: Label,
    data: &Path,
    registry: Option<&str>,
) -> Result<(), Failure> {
    let mut registry = Registry::as_operator(data, registry, Some(&id)).await?;
    let request = registry.request(pb::CreateNetworkRequest {
        network_id: id.to_string(),
        descriptor: Vec::new(),
    });
    let created = registry.service.create_network(request).await;
    let created = created.map_err(|status| refused(&status))?.into_inner();
    let line = Line::Network {
        network: created.network_id,
        fingerprint: signer(&created.descriptor)?.to_string(),
    };
    context.printer.line(&line).await
}

/// The network a descriptor says it is of: its signer is the authority key.
fn signer(descriptor: &[u8]) -> Result<NetworkFp, Failure> {
    let damaged = || Failure::new("the registry answered with a damaged descriptor");
    let raw = envelope::split(descriptor).map_err(|_| damaged())?;
    let key = VerifyKey::from_bytes(raw.signer_key).map_err(|_| damaged())?;
    Ok(key.network_fp())
}

async fn invite(
    context: &Context,
    mut registry: Registry,
    role: Role,
    uses: u32,
    expires: Duration,
) -> Result<(), Failure> {
    let key = random_key()?;
    let ttl_s = u32::try_from(expires.as_secs()).unwrap_or(INVITE_TTL_MAX_S);
    if ttl_s == 0 {
        return Err(Failure::usage("--expires is at least 1s"));
    }
    let request = registry.request(pb::CreateInviteRequest {
        network_id: registry.network.to_string(),
        invite_key: key.verify_key().to_bytes().to_vec(),
        role: role.to_pb().into(),
        uses,
        ttl_s,
    });
    let made = registry.service.create_invite(request).await;
    let made = made.map_err(|status| refused(&status))?.into_inner();
    let (link, invite) = link_of(&registry, key, &made)?;
    let line = Line::Invite {
        invite: link.to_text(),
        role: role_name(invite.role()).to_owned(),
        uses: invite.uses,
        expires_at: Timestamp::from_ms(invite.expires_ms).to_string(),
    };
    context.printer.line(&line).await
}

/// The link, after checking that the registry signed what was asked of it.
fn link_of(
    registry: &Registry,
    key: SigningKey,
    made: &pb::CreateInviteResponse,
) -> Result<(InviteLink, Invite), Failure> {
    let foreign = |error: &dyn std::fmt::Display| {
        Failure::new(format!(
            "the registry answered for another network: {error}"
        ))
    };
    let network = match registry.pinned {
        Some(network) => network,
        None => signer(&made.descriptor)?,
    };
    let descriptor = Descriptor::open(&made.descriptor, network).map_err(|e| foreign(&e))?;
    let invite = descriptor
        .open_invite(&made.invite)
        .map_err(|e| foreign(&e))?;
    if invite.payload().invite_key != key.verify_key().to_bytes() {
        return Err(Failure::new(
            "the registry signed an invite for another key; ask again",
        ));
    }
    let gateways = descriptor.verified.payload().gateway_origins.clone();
    if gateways.is_empty() {
        return Err(Failure::new(
            "the network names no gateway yet, so nobody could join: start one, then ask again",
        ));
    }
    let link = InviteLink {
        network_id: registry.network.clone(),
        network,
        key,
        gateways,
    };
    Ok((link, invite.payload().clone()))
}

fn random_key() -> Result<SigningKey, Failure> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|error| Failure::new(format!("the system gave no random numbers: {error}")))?;
    Ok(SigningKey::from_seed(&seed))
}

async fn members(context: &Context, mut registry: Registry) -> Result<(), Failure> {
    let mut page_token = String::new();
    for _ in 0..PAGES_MAX {
        let request = registry.request(pb::ListMembersRequest {
            network_id: registry.network.to_string(),
            page_size: 0,
            page_token,
        });
        let page = registry.service.list_members(request).await;
        let page = page.map_err(|status| refused(&status))?.into_inner();
        for member in page.members {
            let role = PbRole::try_from(member.role).unwrap_or(PbRole::Unspecified);
            let line = Line::Member(MemberLine {
                user: member.user_id,
                role: role_name(role).to_owned(),
                serial: member.serial,
                revoked: member.revoked,
                devices: member.device_ids,
                joined_at: member.join_time.map(|at| at.to_string()),
            });
            context.printer.line(&line).await?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
    Err(Failure::new("the list of members does not end"))
}
