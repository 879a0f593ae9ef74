//! A coordinator's authority: signatures alone. A device shows its chain and signs this socket's
//! nonce; the chain is held against the pinned network and the newest signed lists at hand. Nobody
//! is asked, so it works while registry and gateway are gone.

use super::proof::{check_membership, check_proof, claimed_network, open_chain, proven};
use super::{AuthError, Authority, Identity, ProofClaim, Proven};
use crate::clock::Clock;
use crate::core::claims::{Claims, Refused};
use crate::registry_client::lists::{ListsError, Network};
use beeline_proto::chain::{Descriptor, Device, VerifiedChain};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::NetworkFp;
use beeline_proto::pb::registry::v1::GetNetworkResponse;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Vouches for what is signed.
pub struct OfflineAuthority {
    clock: Clock,
    network: RwLock<Arc<Network>>,
    claims: Mutex<Claims>,
}

impl OfflineAuthority {
    /// For the network with this fingerprint, with the lists at hand; `revocations` may be empty.
    ///
    /// # Errors
    /// [`ListsError`]: they do not verify.
    pub fn new(
        network: NetworkFp,
        descriptor: &[u8],
        revocations: &[u8],
        clock: Clock,
    ) -> Result<Self, ListsError> {
        let network = open_lists(network, descriptor, revocations)?;
        Ok(Self {
            clock,
            network: RwLock::new(Arc::new(network)),
            claims: Mutex::default(),
        })
    }

    /// Takes over lists where they are newer; whether anything was. Open sockets are to be looked
    /// at again then.
    ///
    /// # Errors
    /// [`ListsError`]: they do not verify.
    pub fn update(&self, descriptor: &[u8], revocations: &[u8]) -> Result<bool, ListsError> {
        let newer = open_lists(self.network().fp(), descriptor, revocations)?;
        let mut network = self.network.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::make_mut(&mut network).update(newer))
    }

    fn network(&self) -> Arc<Network> {
        let network = self.network.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&network)
    }

    /// Holds the device list against those shown before, and notes it.
    fn claim(&self, chain: &VerifiedChain, device: &Device) -> Result<(), AuthError> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let user = chain.user();
        let listed = chain.devices.devices.iter();
        let listed = listed.map(|device| (device.label.as_str(), device.fp()));
        claims.see(user, chain.devices.version(), listed);
        let checked = claims.check(user, device.label.as_str(), device.fp());
        checked.map_err(|refused| match refused {
            Refused::Removed => AuthError::revoked(),
            Refused::Taken => AuthError {
                code: ErrorCode::Conflict,
                why: "the deviceId is on another user's device list",
            },
        })
    }
}

fn open_lists(
    network: NetworkFp,
    descriptor: &[u8],
    revocations: &[u8],
) -> Result<Network, ListsError> {
    let opened = Descriptor::open(descriptor, network).map_err(|_| ListsError::Invalid)?;
    let label = opened.verified.payload().label.clone();
    let lists = GetNetworkResponse {
        descriptor: descriptor.to_vec(),
        revocations: revocations.to_vec(),
    };
    Network::open(&label, &lists)
}

const NO_TOKENS: AuthError = AuthError::unauthenticated(
    "a coordinator takes no tokens: sign in with the device's proof and its chain",
);

#[async_trait::async_trait]
impl Authority for OfflineAuthority {
    async fn verify_token(&self, _token: &str) -> Result<Identity, AuthError> {
        Err(NO_TOKENS)
    }

    async fn verify_proof(&self, claim: ProofClaim<'_>) -> Result<Proven, AuthError> {
        let network = self.network();
        if claimed_network(claim.proof)? != network.fp() {
            return Err(AuthError::unauthenticated(
                "the proof is of another network",
            ));
        }
        let (chain, device) = open_chain(claim.chain, &network.descriptor, claim.device_label)?;
        check_proof(&claim, network.fp(), &device)?;
        let revocations = network.revocations.as_ref().map(|list| list.payload());
        check_membership(&chain, revocations, self.clock.now().wall_ms)?;
        self.claim(&chain, &device)?;
        Ok(proven(&network, &chain, &device, &claim))
    }

    /// What the proof showed stands.
    async fn confirm(&self, identity: Identity) -> Result<Identity, AuthError> {
        Ok(identity)
    }

    fn revoked(&self, identity: &Identity) -> Option<AuthError> {
        let network = self.network();
        let serials = &network.revocations.as_ref()?.payload().serials;
        let revoked = serials.binary_search(&identity.serial?).is_ok();
        revoked.then_some(AuthError::revoked())
    }
}
