//! Requests of the core to the registry, a few at a time, and the STUN and TURN servers.

use super::Driver;
use crate::clock;
use crate::identity::Identity;
use crate::limits::{
    ICE_REFRESH_MAX, ICE_REFRESH_MIN, ICE_RETRY_MIN, OWN_ORIGINS_MAX, REST_CONCURRENT, REST_QUEUE,
};
use crate::options::Options;
use crate::report::Fact;
use crate::rest::{Gateways, Rest};
use crate::rtc::{IceMode, IceServer, OwnServers, RtcConfig};
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
    /// The addresses of our servers were looked up.
    OwnServers,
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
    /// Where our servers are, as far as it is known.
    own_servers: OwnServers,
    /// Whether it was said that nothing can be linked, for want of a TURN server.
    said_alone: bool,
}

impl Registry {
    pub(super) fn new(
        identity: Arc<Identity>,
        options: Options,
        tls: Arc<rustls::ClientConfig>,
        gateways: Gateways,
        own_servers: OwnServers,
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
            own_servers,
            said_alone: false,
        };
        registry.plan_ice_servers(Duration::ZERO);
        registry.find_servers();
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
        self.find_servers();
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
        self.find_servers();
    }

    /// Looks up where gateways and registries are: no peer has us send there. Where STUN and TURN
    /// servers are is learned when links look them up.
    fn find_servers(&mut self) {
        if self.options.offline {
            return;
        }
        let origins = self.gateways.dial.iter().chain(&self.gateways.registries);
        let hosts: Vec<String> = origins
            .filter_map(|origin| host_and_port(origin))
            .take(OWN_ORIGINS_MAX)
            .collect();
        let known = self.own_servers.clone();
        self.running.spawn(async move {
            for host in hosts {
                match tokio::net::lookup_host(&host).await {
                    Ok(found) => known.add(found),
                    Err(error) => tracing::debug!(%error, host, "a server's address is not known"),
                }
            }
            Finished::OwnServers
        });
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

    /// The configuration with the servers given, and the next question after their time.
    fn on_ice_servers(
        &mut self,
        answer: Result<(Vec<IceServer>, u64), crate::error::RestError>,
    ) -> Option<RtcConfig> {
        let (servers, ttl) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "no STUN or TURN servers from the gateway");
                if let Ok(config) = self.options.rtc(&[]) {
                    self.say_if_alone(&config);
                }
                self.plan_ice_servers(self.ice_pause);
                self.ice_pause = (self.ice_pause * 2).min(ICE_REFRESH_MIN);
                return None;
            }
        };
        self.ice_pause = ICE_RETRY_MIN;
        let half = Duration::from_secs(ttl / 2);
        self.plan_ice_servers(half.clamp(ICE_REFRESH_MIN, ICE_REFRESH_MAX));
        match self.options.rtc(&servers) {
            Ok(config) => {
                self.say_if_alone(&config);
                Some(RtcConfig {
                    own_servers: self.own_servers.clone(),
                    ..config
                })
            }
            Err(error) => {
                tell_unusable(&error);
                None
            }
        }
    }
}

impl Registry {
    /// Says once, where only TURN may be used and there is none, what that means.
    fn say_if_alone(&mut self, config: &RtcConfig) {
        let alone = config.mode == IceMode::RelayOnly && !config.has_turn();
        if alone && !self.said_alone {
            tracing::warn!(
                "only TURN may be used (--ice relay-only), and no TURN server is known: there are \
                 no links, messages and, slowly, files go through the signalling sockets of \
                 gateway and coordinators; give a server with --ice-server \
                 turn:USER:PASSWORD@HOST:PORT, or ask the operator for one"
            );
        }
        self.said_alone = alone;
    }
}

/// What to look up to know where a server is.
fn host_and_port(origin: &str) -> Option<String> {
    let uri: http::Uri = origin.parse().ok()?;
    let standard = match uri.scheme_str() {
        Some("https" | "wss") => 443,
        _ => 80,
    };
    let port = uri.port_u16().unwrap_or(standard);
    Some(format!("{}:{port}", uri.host()?))
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
            Finished::OwnServers => {}
            Finished::IceServersDue => self.registry.ask_ice_servers(),
            Finished::IceServers(answer) => {
                if let Some(config) = self.registry.on_ice_servers(answer)
                    && let Err(error) = self.links.configure(config)
                {
                    tell_unusable(&error);
                }
            }
        }
    }
}

fn tell_unusable(error: &dyn std::error::Error) {
    tracing::warn!(%error, "the gateway's STUN and TURN servers cannot be used");
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

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn a_server_is_looked_up_with_its_port() {
        for (origin, wanted) in [
            ("https://beeline.example", Some("beeline.example:443")),
            ("http://beeline.example", Some("beeline.example:80")),
            ("http://[2001:db8::10]:8080", Some("[2001:db8::10]:8080")),
            (
                "https://beeline.example:8443/",
                Some("beeline.example:8443"),
            ),
            ("nowhere", Some("nowhere:80")),
            ("/path", None),
            ("", None),
        ] {
            assert_eq!(host_and_port(origin).as_deref(), wanted, "{origin}");
        }
    }
}
