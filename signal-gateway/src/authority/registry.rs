//! The gateway's authority: what the registry says, and what is remembered of it while it is down.

use super::proof::{check_membership, check_proof, claimed_network, open_chain, proven};
use super::token::{Claims, Keys, TokenCache, TokenError};
use super::{AuthError, Authority, Identity, ProofClaim, Proven};
use crate::clock::Clock;
use crate::limits::{KEYS_REFRESH_MIN_MS, TOKEN_KEYS_MAX, TOKEN_LEEWAY_S};
use crate::registry_client::lists::{Network, Networks};
use crate::registry_client::{RegistryClient, RpcError};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, Label, NetworkFp};
use beeline_proto::pb::auth::v1::{ListTokenKeysRequest, ListTokenKeysResponse};
use beeline_proto::pb::identity::v1::Chain;
use beeline_proto::pb::registry::v1::{GetDeviceRequest, GetNetworkRequest};
use prost::Message as _;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::Notify;

/// The token keys, as they came and ready for use.
#[derive(Debug, Default)]
struct KeyRing {
    keys: Keys,
    list: ListTokenKeysResponse,
    /// Monotonic moment of the last fetch, so that unknown `kid`s do not flood the registry.
    fetched_ms: Option<u64>,
}

/// Vouches for what the registry vouches for.
pub struct RegistryAuthority {
    client: Arc<RegistryClient>,
    clock: Clock,
    networks: Mutex<Networks>,
    ring: RwLock<KeyRing>,
    tokens: Mutex<TokenCache<Identity>>,
    /// Told when something came that belongs on the disk.
    changed: Notify,
}

const DOWN: AuthError = AuthError::unavailable(
    "the registry is down and nothing is remembered to sign in by; send the chain, or try later",
);

const NOT_PROVEN: AuthError =
    AuthError::unauthenticated("the proof is not this device's signature");

impl RegistryAuthority {
    /// Knows nothing yet.
    pub fn new(client: Arc<RegistryClient>, clock: Clock) -> Self {
        Self {
            client,
            clock,
            networks: Mutex::default(),
            ring: RwLock::default(),
            tokens: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The registry.
    pub fn client(&self) -> &Arc<RegistryClient> {
        &self.client
    }

    /// Wakes when something came that belongs on the disk.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// `kid` and base64url public key of each token key.
    pub fn jwks(&self) -> Vec<(String, String)> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        ring.keys
            .iter()
            .map(|(kid, x)| (kid.to_owned(), x.to_owned()))
            .collect()
    }

    /// The token keys as they came, for the disk.
    pub fn key_list(&self) -> ListTokenKeysResponse {
        self.ring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .list
            .clone()
    }

    /// All networks known.
    pub fn known_networks(&self) -> Vec<Arc<Network>> {
        self.networks().iter().map(Arc::clone).collect()
    }

    /// Whether tokens can be verified at all.
    pub fn has_keys(&self) -> bool {
        !self
            .ring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys
            .is_empty()
    }

    /// Takes over token keys, from the registry or the disk.
    pub fn put_keys(&self, list: ListTokenKeysResponse) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.fetched_ms = Some(self.clock.now().mono_ms);
        if ring.list == list {
            return;
        }
        ring.keys = Keys::new(list.keys.get(..TOKEN_KEYS_MAX).unwrap_or(&list.keys));
        ring.list = list;
        drop(ring);
        // A key that is gone takes its tokens with it.
        self.tokens().clear();
        self.changed.notify_one();
    }

    /// Takes over a network's lists, from the registry or the disk; true if anything is newer.
    pub fn put_network(&self, network: Network) -> bool {
        let label = Arc::clone(&network.label);
        let changed = self.networks().put(network);
        match changed {
            Ok(changed) => {
                if changed {
                    self.changed.notify_one();
                }
                changed
            }
            Err(error) => {
                tracing::error!(network = %label, %error, "signed lists refused");
                false
            }
        }
    }

    /// Asks for the token keys.
    pub async fn fetch_keys(&self) -> Result<(), RpcError> {
        let list = self.client.list_token_keys(ListTokenKeysRequest {}).await?;
        self.put_keys(list);
        Ok(())
    }

    /// Asks for a network's lists; true if anything is newer.
    pub async fn fetch_network(&self, label: &str) -> Result<bool, RpcError> {
        let request = GetNetworkRequest {
            network_id: label.to_owned(),
        };
        match self.client.get_network(request).await {
            Ok(lists) => match Network::open(label, &lists) {
                Ok(network) => Ok(self.put_network(network)),
                Err(error) => {
                    tracing::error!(network = label, %error, "signed lists refused");
                    Ok(false)
                }
            },
            Err(error) => {
                if error.code != ErrorCode::Unavailable {
                    self.networks().put_unknown(label, self.clock.now().mono_ms);
                }
                Err(error)
            }
        }
    }

    /// A network by its label, asked for when it is new.
    async fn network(&self, label: &str) -> Result<Arc<Network>, AuthError> {
        const UNKNOWN: AuthError = AuthError::unauthenticated("no such network here");
        if let Some(network) = self.networks().get(label) {
            return Ok(network);
        }
        let now = self.clock.now();
        if Label::new(label).is_err() || self.networks().is_unknown(label, now.mono_ms) {
            return Err(UNKNOWN);
        }
        match self.fetch_network(label).await {
            Ok(_) => self.networks().get(label).ok_or(UNKNOWN),
            Err(error) if error.code == ErrorCode::Unavailable => Err(DOWN),
            Err(_) => Err(UNKNOWN),
        }
    }

    fn networks(&self) -> MutexGuard<'_, Networks> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, TokenCache<Identity>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Verifies a token's signature and times, asking for new keys when its key is unknown.
    async fn verify_claims(&self, token: &str) -> Result<Claims, AuthError> {
        let now = self.clock.now();
        let (verified, fetched_ms) = {
            let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
            (ring.keys.verify(token, now), ring.fetched_ms)
        };
        let stale = fetched_ms.is_none_or(|at| now.mono_ms >= at + KEYS_REFRESH_MIN_MS);
        let verified = match verified {
            Err(TokenError::UnknownKey) if stale => {
                let fetched = self.fetch_keys().await;
                if fetched.is_err() && !self.has_keys() {
                    return Err(DOWN);
                }
                let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
                ring.keys.verify(token, now)
            }
            verified => verified,
        };
        verified.map_err(|error| {
            AuthError::unauthenticated(match error {
                TokenError::UnknownKey => "the token is signed by an unknown key",
                TokenError::Invalid => "the token does not verify",
                TokenError::Expired => "the token has expired; get a new one at /auth/token",
                TokenError::NotYet => "the token is not valid yet; check the clock",
            })
        })
    }

    /// The chain the registry has for a device, and whether it is revoked; the offered chain while
    /// the registry is down. A device nobody knows is refused like a wrong signature, so that a
    /// stranger learns nothing.
    async fn chain_of(
        &self,
        network: &Network,
        device_label: &str,
        offered: &[u8],
    ) -> Result<(Vec<u8>, bool), AuthError> {
        let request = GetDeviceRequest {
            network_id: network.label.to_string(),
            device_id: device_label.to_owned(),
        };
        match self.client.get_device(request).await {
            Ok(device) => Ok((device.chain, device.revoked)),
            Err(error) if error.code == ErrorCode::Unavailable => {
                let holds = self.client.grace().holds(self.clock.now());
                if offered.is_empty() || !holds {
                    Err(DOWN)
                } else {
                    Ok((offered.to_vec(), false))
                }
            }
            Err(_) => Err(NOT_PROVEN),
        }
    }

    /// The network a proof is of: known, or named by the chain and known to the registry.
    async fn network_of(&self, claim: &ProofClaim<'_>) -> Result<Arc<Network>, AuthError> {
        let fp = claimed_network(claim.proof)?;
        let known = self.networks().get_fp(&fp);
        if let Some(network) = known {
            return Ok(network);
        }
        let network = self.network(&label_in(claim.chain, fp)?).await?;
        if network.fp() == fp {
            Ok(network)
        } else {
            Err(AuthError::unauthenticated(
                "the proof is of another network",
            ))
        }
    }

    /// Looks an open socket's device up again; `None` while all is well or nobody can tell.
    pub async fn recheck(&self, identity: &Identity) -> Option<AuthError> {
        match self.confirm(identity.clone()).await {
            Ok(_) => None,
            Err(error) if error.code == ErrorCode::Unavailable => None,
            Err(error) => Some(error),
        }
    }
}

/// The networkId in the descriptor of an offered chain; nothing is verified yet.
fn label_in(chain: &[u8], fp: NetworkFp) -> Result<String, AuthError> {
    const NEEDED: AuthError = AuthError::unauthenticated(
        "this gateway does not know the network yet; send the chain in HELLO",
    );
    let chain = Chain::decode(chain).map_err(|_| NEEDED)?;
    let descriptor = beeline_proto::chain::Descriptor::open(&chain.descriptor, fp);
    let descriptor = descriptor.map_err(|_| NEEDED)?;
    Ok(descriptor.verified.payload().label.clone())
}

#[async_trait::async_trait]
impl Authority for RegistryAuthority {
    async fn verify_token(&self, token: &str) -> Result<Identity, AuthError> {
        const TOO_LONG: AuthError = AuthError::unauthenticated("the token does not verify");
        let key = TokenCache::<Identity>::key(token).ok_or(TOO_LONG)?;
        let wall_ms = self.clock.now().wall_ms;
        if let Some(identity) = self.tokens().get(&key, wall_ms) {
            return Ok(identity);
        }
        let claims = self.verify_claims(token).await?;
        let network = self.network(&claims.net).await?;
        // What the token says of the network must be what the network is.
        if claims.aud != network.fp().to_string() {
            return Err(AuthError::unauthenticated(
                "the token is for another network",
            ));
        }
        let device = DeviceFp::from_str(&claims.sub);
        let (Ok(device), Ok(label)) = (device, Label::new(&claims.dev)) else {
            return Err(AuthError::unauthenticated("the token does not verify"));
        };
        let identity = Identity {
            network: network.fp(),
            network_label: Arc::clone(&network.label),
            device,
            device_label: label.as_str().into(),
            serial: None,
            expires_ms: Some(claims.exp.saturating_mul(1_000)),
        };
        let end_ms = (claims.exp + TOKEN_LEEWAY_S).saturating_mul(1_000);
        self.tokens().put(key, end_ms, identity.clone(), wall_ms);
        Ok(identity)
    }

    async fn verify_proof(&self, claim: ProofClaim<'_>) -> Result<Proven, AuthError> {
        let network = self.network_of(&claim).await?;
        let found = self
            .chain_of(&network, claim.device_label, claim.chain)
            .await?;
        let (chain, revoked) = found;
        let (chain, device) =
            open_chain(&chain, &network.descriptor, claim.device_label).map_err(|_| NOT_PROVEN)?;
        check_proof(&claim, network.fp(), &device)?;
        if revoked {
            return Err(AuthError::revoked());
        }
        let revocations = network.revocations.as_ref().map(|list| list.payload());
        check_membership(&chain, revocations, self.clock.now().wall_ms)?;
        Ok(proven(&network, &chain, &device, &claim))
    }

    /// While the registry is down, what the token or proof said stands.
    async fn confirm(&self, mut identity: Identity) -> Result<Identity, AuthError> {
        let network = self.network(&identity.network_label).await?;
        let found = self.chain_of(&network, &identity.device_label, &[]).await;
        let (chain, revoked) = match found {
            Ok(found) => found,
            Err(error) if error.code == ErrorCode::Unavailable => return Ok(identity),
            Err(error) => return Err(error),
        };
        let (chain, device) = open_chain(&chain, &network.descriptor, &identity.device_label)?;
        if device.fp() != identity.device {
            return Err(AuthError::unauthenticated(
                "the deviceId has another key now",
            ));
        }
        if revoked {
            return Err(AuthError::revoked());
        }
        let revocations = network.revocations.as_ref().map(|list| list.payload());
        check_membership(&chain, revocations, self.clock.now().wall_ms)?;
        identity.serial = Some(chain.membership.serial());
        Ok(identity)
    }

    fn revoked(&self, identity: &Identity) -> Option<AuthError> {
        if !self.client.grace().holds(self.clock.now()) {
            const SILENT: &str = "the registry has been silent for 24 hours";
            return Some(AuthError::unavailable(SILENT));
        }
        let network = self.networks().get_fp(&identity.network)?;
        let list = network.revocations.as_ref()?;
        let serial = identity.serial?;
        let revoked = list.payload().serials.binary_search(&serial).is_ok();
        revoked.then_some(AuthError::revoked())
    }
}
