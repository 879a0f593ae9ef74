//! Joining, device lists, membership renewal, members and their revocation.

use super::networks::row_of;
use super::{Member, Ops};
use crate::core::join::{Claim, JoinError};
use crate::core::lists::{
    ListError, MembershipDraft, Replace, next_revocations, replace_device_list, sign_revocations,
};
use crate::core::page::{self, List};
use crate::core::presence::{DeviceKey, Input};
use crate::directory::{Network, User};
use crate::error::Error;
use crate::limits::{PAGE, RENEW_AGE_MIN_MS};
use crate::random;
use crate::store::rows::DeviceRow;
use crate::store::{JoinOutcome, JoinRow, NetworkRow, NewDeviceList, UserRow, Written};
use beeline_proto::chain::DeviceList;
use beeline_proto::id::{Label, NetworkFp};
use beeline_proto::pb::identity::v1::Role;
use beeline_proto::pb::registry::v1::{
    JoinRequest, JoinResponse, ListMembersRequest, ListMembersResponse, Member as MemberItem,
};
use beeline_proto::time::Timestamp;
use std::sync::Arc;

fn device_rows(list: &DeviceList) -> Vec<DeviceRow> {
    let rows = list.devices.iter().map(|device| DeviceRow {
        label: device.label.to_string(),
        fp: device.fp().0,
    });
    rows.collect()
}

impl Ops {
    /// Makes an invite's holder a member.
    pub async fn join(&self, request: &JoinRequest) -> Result<JoinResponse, Error> {
        Label::new(&request.network_id)?;
        // The proof is checked first, so that a network that does not exist reads like one that
        // the proof is not for.
        let network = self.directory.network(&request.network_id);
        let fp = network.as_ref().map_or(NetworkFp([0; 32]), |n| n.fp);
        let claim = Claim::check(fp, &request.proof, &request.device_list)?;
        let network = network.ok_or(JoinError::Invite)?;
        let row = self.join_row(&network, &claim, &request.device_list)?;
        let refused = |error: JoinError| Err(Error::Join(error));
        let user: UserRow = match self.store.join(row).await? {
            JoinOutcome::Joined(user) => {
                tracing::info!(network = %network.label, user = %claim.handle, "joined");
                user
            }
            JoinOutcome::Again(user) => user,
            JoinOutcome::InviteInvalid => return refused(JoinError::Invite),
            JoinOutcome::HandleTaken => return refused(JoinError::HandleTaken(claim.handle)),
            JoinOutcome::KeyTaken => return refused(JoinError::KeyTaken),
            JoinOutcome::DeviceTaken(label) => {
                let label = Label::new(&label)?;
                return refused(JoinError::DeviceTaken(label));
            }
            JoinOutcome::Revoked => return refused(JoinError::Revoked),
        };
        let network = self.newest(&network)?;
        Ok(JoinResponse {
            membership: user.membership,
            descriptor: network.descriptor.verified.bytes().to_vec(),
            revocations: network.revocations.clone(),
        })
    }

    fn join_row(
        &self,
        network: &Arc<Network>,
        claim: &Claim,
        list: &[u8],
    ) -> Result<JoinRow, Error> {
        network.registrar()?;
        let now_ms = self.clock.now().wall_ms;
        let draft = MembershipDraft {
            network: network.fp,
            user_key: claim.user_key,
            handle: claim.handle.clone(),
            role: Role::Member,
            salt: random::bytes()?,
            issued_ms: now_ms,
            message_id: random::message_id()?,
        };
        let signer = Arc::clone(network);
        let sign = move |role: i32, serial: u64| {
            let role = Role::try_from(role).unwrap_or(Role::Member);
            let draft = MembershipDraft {
                role,
                ..draft.clone()
            };
            draft.sign(&signer.registrar, serial)
        };
        Ok(JoinRow {
            network_no: network.no,
            invite_key: claim.invite_key.to_bytes(),
            handle: claim.handle.to_string(),
            user_fp: claim.user_key.user_fp(),
            device_list: list.to_vec(),
            list_version: claim.devices.version(),
            devices: device_rows(&claim.devices),
            now_ms,
            sign: Arc::new(sign),
        })
    }

    /// Publishes a newer device list of the caller; answers the version in force.
    pub async fn put_device_list(&self, member: &Member, bytes: &[u8]) -> Result<u64, Error> {
        let user = &member.user;
        let in_force = (user.list_version, user.device_list.as_slice());
        let refuse = |error: ListError| match error {
            ListError::Older { .. } | ListError::Conflict(_) => Error::DeviceList {
                error,
                known: user.device_list.clone(),
            },
            error => Error::List(error),
        };
        let checked = replace_device_list(bytes, member.network.fp, &user.key, in_force);
        let (list, replace) = checked.map_err(refuse)?;
        if replace == Replace::Same {
            return Ok(user.list_version);
        }
        let new = NewDeviceList {
            network_no: member.network.no,
            user_no: user.no,
            known: user.list_version,
            version: list.version(),
            device_list: bytes.to_vec(),
            devices: device_rows(&list),
        };
        let written = self.store.put_device_list(new).await?;
        self.directory.forget_user(member.network.no, &user.handle);
        match written {
            Written::Done => {}
            Written::Stale => return Err(Error::Contended),
            Written::Taken => return Err(Error::Taken("id or key of a device")),
        }
        for device in &user.devices {
            if list
                .device(device.fp)
                .is_none_or(|kept| kept.label != device.label)
            {
                self.forget_device(&member.network, &device.label);
            }
        }
        Ok(list.version())
    }

    fn forget_device(&self, network: &Network, label: &Label) {
        self.presence_input(Input::Forget(DeviceKey::new(network.no, label.clone())));
    }

    /// Signs the caller's membership anew, same serial and salt. A young one is answered as it is.
    pub async fn renew_membership(&self, member: &Member) -> Result<Vec<u8>, Error> {
        let user = &member.user;
        let now_ms = self.clock.now().wall_ms;
        let young = now_ms.saturating_sub(user.issued_ms) < RENEW_AGE_MIN_MS;
        if young && now_ms < user.expires_ms {
            return Ok(user.membership.clone());
        }
        let draft = MembershipDraft {
            network: member.network.fp,
            user_key: user.key,
            handle: user.handle.clone(),
            role: user.role,
            salt: user.salt,
            issued_ms: now_ms,
            message_id: random::message_id()?,
        };
        let membership = draft.sign(member.network.registrar()?, user.serial);
        let written = self
            .store
            .put_membership(user.no, membership.clone())
            .await?;
        self.directory.forget_user(member.network.no, &user.handle);
        match written {
            Written::Done => Ok(membership),
            Written::Stale | Written::Taken => Err(Error::Revoked),
        }
    }

    /// A page of members.
    pub async fn list_members(
        &self,
        network: &Network,
        request: &ListMembersRequest,
    ) -> Result<ListMembersResponse, Error> {
        let size = page::size(request.page_size, PAGE)?;
        let after = page::after(List::Members, &request.page_token)?;
        let after = after.as_ref().map_or("", Label::as_str);
        let mut users = self.directory.users(network.no, after, size + 1).await?;
        let more = users.len() > size;
        users.truncate(size);
        let next_page_token = match users.last() {
            Some(last) if more => page::token(List::Members, last.handle.as_str()),
            _ => String::new(),
        };
        Ok(ListMembersResponse {
            members: users.iter().map(|user| item(user)).collect(),
            next_page_token,
        })
    }

    /// Revokes a user: a new list, signed; tokens and leases end at once. Revoking again answers
    /// the list in force.
    pub async fn revoke_member(&self, network: &Network, handle: &str) -> Result<Vec<u8>, Error> {
        let handle = Label::new(handle)?;
        let _one_at_a_time = self.admin.lock().await;
        let network = self.newest(network)?;
        let registrar = network.registrar()?;
        let user = self.directory.user(network.no, &handle).await?;
        let user = user.ok_or(Error::NotFound("user"))?;
        if user.revoked {
            return Ok(network.revocations.clone());
        }
        let serials = next_revocations(&network.revoked, user.serial)?;
        let known = network.revocations_version;
        let bytes = sign_revocations(
            registrar,
            network.fp,
            known + 1,
            serials,
            random::message_id()?,
        );
        let written = self
            .store
            .revoke(network.no, user.no, known, bytes.clone())
            .await?;
        self.directory.forget_user(network.no, &handle);
        if written != Written::Done {
            return Err(Error::Contended);
        }
        self.directory.put_network(&NetworkRow {
            revocations: bytes.clone(),
            revocations_version: known + 1,
            ..row_of(&network)
        })?;
        for device in &user.devices {
            self.forget_device(&network, &device.label);
        }
        tracing::info!(network = %network.label, user = %handle, "revoked");
        Ok(bytes)
    }
}

fn item(user: &User) -> MemberItem {
    MemberItem {
        user_id: user.handle.to_string(),
        role: user.role as i32,
        serial: user.serial,
        revoked: user.revoked,
        device_ids: user.devices.iter().map(|d| d.label.to_string()).collect(),
        join_time: Some(Timestamp::from_ms(user.joined_ms)),
    }
}
