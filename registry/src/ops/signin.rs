//! Challenges and tokens.

use super::{Ops, lock};
use crate::directory::{Network, User, UserDevice};
use crate::error::Error;
use crate::random;
use crate::token::Subject;
use beeline_proto::envelope::{Expect, Verified, open, split};
use beeline_proto::id::{DeviceFp, Label, NetworkFp, sha256};
use beeline_proto::limits::MEMBERSHIP_GRACE_MS;
use beeline_proto::origin;
use beeline_proto::pb::auth::v1::{
    CreateTokenRequest, CreateTokenResponse, GetChallengeRequest, GetChallengeResponse, TokenProof,
};
use beeline_proto::time::Timestamp;
use std::sync::Arc;

impl Ops {
    /// A challenge. Whether network and device exist is neither looked up nor told.
    pub fn challenge(&self, request: &GetChallengeRequest) -> Result<GetChallengeResponse, Error> {
        let network = Label::new(&request.network_id)?;
        let device = Label::new(&request.device_id)?;
        let nonce: [u8; 32] = random::bytes()?;
        let now = self.clock.now();
        let mut challenges = lock(&self.challenges);
        let end_ms = challenges.issue(now, nonce, network.as_str(), device.as_str());
        Ok(GetChallengeResponse {
            nonce: nonce.to_vec(),
            expire_time: Some(Timestamp::from_ms(end_ms)),
        })
    }

    /// A token for a device that answered its challenge. The signature is checked before anything
    /// is looked up, so that an unknown network, user or device costs and says the same as a wrong
    /// key.
    pub async fn create_token(
        &self,
        request: &CreateTokenRequest,
    ) -> Result<CreateTokenResponse, Error> {
        let label = Label::new(&request.device_id)?;
        let network = self.directory.network(&request.network_id);
        let fp = network.as_ref().map_or(NetworkFp([0; 32]), |n| n.fp);
        let proof = open_proof(&request.proof, fp)?;
        let nonce: [u8; 32] = match proof.payload().nonce.as_slice().try_into() {
            Ok(nonce) => nonce,
            Err(_) => return Err(Error::BadProof),
        };
        let now = self.clock.now();
        let answered =
            lock(&self.challenges).answer(now, &nonce, &request.network_id, label.as_str());
        if !answered {
            return Err(Error::BadProof);
        }
        let network = network.ok_or(Error::BadProof)?;
        let user = self.directory.user_of_device(network.no, &label).await?;
        let user = user.ok_or(Error::BadProof)?;
        let device = user.device(proof.signer().device_fp());
        let device = device.filter(|d| d.label == label).ok_or(Error::BadProof)?;
        check_origin(&network, &proof.payload().origin)?;
        if user.revoked {
            return Err(Error::Revoked);
        }
        if now.wall_ms > user.expires_ms.saturating_add(MEMBERSHIP_GRACE_MS) {
            return Err(Error::Expired);
        }
        let subject = subject(&network, &user, device);
        let (token, end_ms) = self.tokens.issue(now, &subject, random::bytes()?)?;
        Ok(CreateTokenResponse {
            token,
            expire_time: Some(Timestamp::from_ms(end_ms)),
        })
    }
}

/// Opens a proof that is addressed to its own signer.
fn open_proof(bytes: &[u8], network: NetworkFp) -> Result<Verified<TokenProof>, Error> {
    let raw = split(bytes).map_err(|_| Error::BadProof)?;
    let signer = DeviceFp(sha256(raw.signer_key));
    let audiences = [signer.0];
    let expect = Expect::new(network, &audiences).signer(signer.0);
    open(bytes, &expect).map_err(|_| Error::BadProof)
}

fn check_origin(network: &Network, dialled: &str) -> Result<(), Error> {
    let origin = origin::normalize(dialled).ok_or(Error::ForeignOrigin)?;
    if network.has_origin(&origin) {
        Ok(())
    } else {
        Err(Error::ForeignOrigin)
    }
}

fn subject(network: &Arc<Network>, user: &User, device: &UserDevice) -> Subject {
    Subject {
        network: network.fp,
        network_label: network.label.clone(),
        device_key: device.key,
        device_label: device.label.clone(),
        user: user.fp(),
        handle: user.handle.clone(),
        role: user.role,
    }
}
