//! The signalling server that every socket belongs to: switchboard, authority, limits. A gateway
//! has one; a coordinator can embed one with an authority of its own.

use crate::authority::{AuthError, Authority, Identity, ProofClaim};
use crate::clock::Clock;
use crate::core::name::Name;
use crate::core::quota::Table;
use crate::core::session::{Grant, SignIn};
use crate::limits::{CALLERS_MAX, Limits, SIGN_IN_TIMEOUT_MS, SIGN_INS_MAX, SocketLimits};
use crate::metrics::{Metrics, RefusalLabels};
use crate::switchboard::Switchboard;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::DeviceFp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// What a signalling server is made of.
pub struct Signalling {
    /// The open sockets.
    pub switchboard: Arc<Switchboard>,
    /// Who vouches for devices.
    pub authority: Arc<dyn Authority>,
    /// The process's clocks.
    pub clock: Clock,
    /// What sockets are held to.
    pub limits: Limits,
    /// The server's own origins, normalized: a proof must name one.
    pub origins: Vec<String>,
    /// Web origins whose pages may open sockets. A client without `Origin` is no browser.
    pub web_origins: Vec<String>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The sockets' tasks.
    pub tracker: TaskTracker,
    sign_ins: Semaphore,
    sign_in_rates: Mutex<Table<DeviceFp>>,
}

/// Parts of a [`Signalling`] that the caller chooses.
pub struct Parts {
    /// The open sockets.
    pub switchboard: Arc<Switchboard>,
    /// Who vouches for devices.
    pub authority: Arc<dyn Authority>,
    /// The process's clocks.
    pub clock: Clock,
    /// What sockets are held to.
    pub limits: Limits,
    /// The server's own origins, in any spelling.
    pub origins: Vec<String>,
    /// Web origins whose pages may open sockets.
    pub web_origins: Vec<String>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Signalling {
    /// Ready to take sockets.
    pub fn new(parts: Parts) -> Self {
        let normalize = |origin: &String| beeline_proto::origin::normalize(origin);
        Self {
            switchboard: parts.switchboard,
            authority: parts.authority,
            clock: parts.clock,
            origins: parts.origins.iter().filter_map(normalize).collect(),
            web_origins: parts.web_origins,
            metrics: parts.metrics,
            tracker: TaskTracker::new(),
            sign_ins: Semaphore::new(SIGN_INS_MAX),
            sign_in_rates: Mutex::new(Table::new(parts.limits.sign_in_rate, CALLERS_MAX)),
            limits: parts.limits,
        }
    }

    /// What the socket of a device is held to.
    pub fn socket_limits(&self, device: &Name) -> SocketLimits {
        let limits = self.limits.sockets;
        match self.switchboard.is_own(device.as_str()) {
            true => limits.own(),
            false => limits,
        }
    }

    /// Checks a HELLO. A failure is counted by its code.
    pub async fn sign_in(
        &self,
        sign_in: &SignIn,
        device: &str,
        nonce: &[u8; 32],
    ) -> Result<(Identity, Grant), AuthError> {
        const SLOW: AuthError = AuthError::unavailable("signing in took too long; try again");
        let limit = Duration::from_millis(SIGN_IN_TIMEOUT_MS);
        let checked = timeout(limit, self.check(sign_in, device, nonce)).await;
        let checked = checked.unwrap_or(Err(SLOW));
        self.count(&checked);
        checked
    }

    /// Checks a token that came with the upgrade.
    pub async fn sign_in_bearer(
        &self,
        token: &str,
        device: &str,
    ) -> Result<(Identity, Grant), AuthError> {
        let sign_in = SignIn::Token(token.to_owned());
        self.sign_in(&sign_in, device, &[0; 32]).await
    }

    fn count(&self, checked: &Result<(Identity, Grant), AuthError>) {
        match checked {
            Ok(_) => {
                self.metrics.sign_ins.inc();
            }
            Err(error) => {
                let code = error.code.name().to_owned();
                self.metrics
                    .sign_ins_refused
                    .get_or_create(&RefusalLabels { code })
                    .inc();
            }
        }
    }

    async fn check(
        &self,
        sign_in: &SignIn,
        device: &str,
        nonce: &[u8; 32],
    ) -> Result<(Identity, Grant), AuthError> {
        // The semaphore is never closed.
        let _permit = self.sign_ins.acquire().await;
        let (identity, grant) = match sign_in {
            SignIn::Proof {
                proof,
                chain,
                versions,
            } => {
                let claim = ProofClaim {
                    device_label: device,
                    nonce,
                    origins: &self.origins,
                    proof,
                    chain,
                    versions: *versions,
                };
                let proven = self.authority.verify_proof(claim).await?;
                let grant = Grant {
                    proven: true,
                    expires_ms: None,
                    descriptor: proven.descriptor,
                    revocations: proven.revocations,
                };
                (proven.identity, grant)
            }
            SignIn::Token(token) => {
                let identity = self.authority.verify_token(token).await?;
                if &*identity.device_label != device {
                    const OTHER: &str = "the token is for another deviceId";
                    return Err(AuthError::unauthenticated(OTHER));
                }
                let identity = self.authority.confirm(identity).await?;
                let grant = Grant {
                    expires_ms: identity.expires_ms,
                    ..Grant::default()
                };
                (identity, grant)
            }
        };
        if let Some(error) = self.authority.revoked(&identity) {
            return Err(error);
        }
        let mut rates = self
            .sign_in_rates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match rates.take(identity.device, self.clock.now().mono_ms) {
            Ok(()) => Ok((identity, grant)),
            Err(_) => Err(AuthError {
                code: ErrorCode::RateLimited,
                why: "too many sign-ins of this device; wait a few seconds",
            }),
        }
    }
}
