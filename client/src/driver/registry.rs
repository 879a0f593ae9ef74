//! Requests of the core to the registry, a few at a time, and the STUN and TURN servers.

use super::Driver;
use crate::clock;
use crate::identity::Identity;
use crate::limits::{ICE_REFRESH_MAX, ICE_REFRESH_MIN, ICE_RETRY_MIN, REST_CONCURRENT, REST_QUEUE};
use crate::options::Options;
use crate::report::Fact;
use crate::rest::{Gateways, Rest};
use crate::rtc::{IceServer, RtcFactory};
use beeline_proto::id::NetworkFp;
use client_core::Input;
use client_core::input::{RegistryAnswer, RegistryError};
use client_core::output::{RegistryCall, RequestId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A request that ended.
pub(super) enum Finished {
    Call {
        request: RequestId,
        call: &'static str,
        took: Duration,
        answer: Result<RegistryAnswer, RegistryError>,
    },
    /// It is time to ask for STUN and TURN servers.
    IceServersDue,
    IceServers(Result<(Vec<IceServer>, u64), crate::error::RestError>),
}

/// The way to the registry.
pub(super) struct Registry {
    identity: Arc<Identity>,
    options: Options,
    tls: Arc<rustls::ClientConfig>,
    rest: Arc<Rest>,
    gateways: Gateways,
    turns: Arc<Semaphore>,
    running: JoinSet<Finished>,
    /// How long to wait before servers are asked for again after a failure; doubles.
    ice_pause: Duration,
}

impl Registry {
    pub(super) fn new(
        identity: Arc<Identity>,
        options: Options,
        tls: Arc<rustls::ClientConfig>,
        gateways: Gateways,
    ) -> Self {
        let rest = Arc::new(Rest::new(Arc::clone(&identity), gateways.clone(), &tls));
        let mut registry = Self {
            identity,
            options,
            tls,
            rest,
            gateways,
            turns: Arc::new(Semaphore::new(REST_CONCURRENT)),
            running: JoinSet::new(),
            ice_pause: ICE_RETRY_MIN,
        };
        registry.plan_ice_servers(Duration::ZERO);
        registry
    }

    /// Whether the client stays without servers on purpose.
    pub(super) fn is_offline(&self) -> bool {
        self.options.offline
    }

    pub(super) fn network(&self) -> NetworkFp {
        self.identity.network
    }

    pub(super) fn link_gateways(&self) -> &[String] {
        &self.identity.gateways
    }

    /// Goes to other gateways from now on.
    pub(super) fn use_gateways(&mut self, gateways: Gateways) {
        if gateways == self.gateways {
            return;
        }
        self.gateways = gateways.clone();
        let identity = Arc::clone(&self.identity);
        self.rest = Arc::new(Rest::new(identity, gateways, &self.tls));
    }

    /// Starts a request; returns its failure where it cannot be started.
    pub(super) fn ask(&mut self, request: RequestId, call: RegistryCall) -> Option<Input> {
        let refuse = |detail: &str| {
            let detail = detail.to_owned();
            let answer = Err(RegistryError::Unreachable { detail });
            Some(Input::Registry { request, answer })
        };
        if self.options.offline {
            return refuse("this client was started offline");
        }
        if self.running.len() >= REST_QUEUE {
            return refuse("too many requests at once");
        }
        let (rest, turns) = (Arc::clone(&self.rest), Arc::clone(&self.turns));
        self.running.spawn(async move {
            // Never closed, so this waits for a turn and no more.
            let _turn = turns.acquire().await;
            let since = clock::instant();
            let answer = rest.call(&call).await;
            Finished::Call {
                request,
                call: name(&call),
                took: clock::instant().duration_since(since),
                answer,
            }
        });
        None
    }

    /// The next request to end; `None` while none runs.
    pub(super) async fn next(&mut self) -> Option<Finished> {
        loop {
            match self.running.join_next().await? {
                Ok(finished) => return Some(finished),
                Err(error) => tracing::error!(%error, "a registry request died"),
            }
        }
    }

    /// The connections of another network lead nowhere: what is under way on them ends, and what
    /// comes dials anew.
    pub(super) fn leave_connections(&mut self) {
        self.rest = Arc::new(self.rest.leave(&self.tls));
    }

    fn plan_ice_servers(&mut self, after: Duration) {
        if self.options.offline {
            return;
        }
        self.running.spawn(async move {
            tokio::time::sleep(after).await;
            Finished::IceServersDue
        });
    }

    fn ask_ice_servers(&mut self) {
        let rest = Arc::clone(&self.rest);
        let ask = async move { Finished::IceServers(rest.ice_servers().await) };
        self.running.spawn(ask);
    }

    /// The factory for the servers given, and the next question after their time.
    fn on_ice_servers(
        &mut self,
        answer: Result<(Vec<IceServer>, u64), crate::error::RestError>,
    ) -> Option<RtcFactory> {
        let (servers, ttl) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "no STUN or TURN servers from the gateway");
                self.plan_ice_servers(self.ice_pause);
                self.ice_pause = (self.ice_pause * 2).min(ICE_REFRESH_MIN);
                return None;
            }
        };
        self.ice_pause = ICE_RETRY_MIN;
        let half = Duration::from_secs(ttl / 2);
        self.plan_ice_servers(half.clamp(ICE_REFRESH_MIN, ICE_REFRESH_MAX));
        let config = self.options.rtc(&servers);
        match config.map(RtcFactory::new) {
            Ok(Ok(factory)) => Some(factory),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the gateway's STUN and TURN servers cannot be used");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the gateway's STUN and TURN servers cannot be used");
                None
            }
        }
    }
}

impl Driver {
    pub(super) fn on_registry(&mut self, finished: Finished) {
        match finished {
            Finished::Call {
                request,
                call,
                took,
                answer,
            } => {
                let failed = answer.as_ref().err().map(|error| match error {
                    RegistryError::Refused { code, detail } => format!("{code}: {detail}"),
                    RegistryError::Unreachable { detail } => detail.clone(),
                });
                let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.tell(Fact::Registry {
                    call,
                    took_us,
                    failed,
                });
                self.inputs.push_back(Input::Registry { request, answer });
            }
            Finished::IceServersDue => self.registry.ask_ice_servers(),
            Finished::IceServers(answer) => {
                if let Some(factory) = self.registry.on_ice_servers(answer) {
                    self.links.use_factory(factory);
                }
            }
        }
    }
}

/// What a request is called in events.
fn name(call: &RegistryCall) -> &'static str {
    match call {
        RegistryCall::GetPeer { .. } => "get-peer",
        RegistryCall::Announce { .. } => "announce",
        RegistryCall::GetNetwork => "get-network",
        RegistryCall::RenewMembership => "renew-membership",
        RegistryCall::PutDeviceList { .. } => "put-device-list",
        RegistryCall::Heartbeat { .. } => "heartbeat",
        RegistryCall::ListCoordinators => "list-coordinators",
    }
}
