//! Beeline's servers as children: the registry with a network and an invite, the gateway.

use crate::measure::text;
use crate::role::{Child, Desk, SERVER_CORE};
use beeline_gateway::Gateway;
use beeline_proto::limits::INVITE_USES_MAX;
use beeline_proto::pb::identity::v1::Role;
use beeline_registry::Registry;
use beeline_tests::netns::Netns;
use std::time::Duration;

/// The networkId.
pub(crate) const NETWORK: &str = "bench";
/// The origin tokens are asked for; nobody dials it.
pub(crate) const ORIGIN: &str = "http://127.0.0.1:8080";
/// How long the invite lasts; the benchmark is done in minutes.
const INVITE_TTL: Duration = Duration::from_secs(3600);

/// A registry on SQLite in a directory of its own.
pub(crate) struct RegistryChild {
    pub(crate) child: Child,
    /// `http://host:port` of its gRPC.
    pub(crate) url: String,
    /// Leave to join, for many.
    pub(crate) invite: String,
    /// The gateways' credential file.
    pub(crate) gateway_token: String,
    /// Gone with the registry.
    _dir: tempfile::TempDir,
}

impl RegistryChild {
    /// Starts it.
    pub(crate) fn start(core: usize) -> Result<Self, String> {
        Self::start_by(|role, args| Child::start(core, role, args))
    }

    fn start_by(
        start: impl FnOnce(&str, &[&str]) -> Result<Child, String>,
    ) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(text)?;
        let data = dir.path().join("data").display().to_string();
        let child = start("registry", &[&data])?;
        let said = |key| child.said(key).map(str::to_owned);
        let (url, invite, gateway_token) = (said("url")?, said("invite")?, said("token")?);
        Ok(Self {
            child,
            url,
            invite,
            gateway_token,
            _dir: dir,
        })
    }
}

/// The registry's role: `registry DIR`.
pub(crate) fn registry(args: &[String], desk: &mut Desk) -> Result<(), String> {
    let config = beeline_registry::Config {
        grpc: "127.0.0.1:0".parse().map_err(text)?,
        data: args.first().ok_or("registry DIR")?.into(),
        gateway_origins: vec![ORIGIN.to_owned()],
        ..beeline_registry::Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(text)?;
    let running = runtime.block_on(Registry::start(config)).map_err(text)?;
    let invite = runtime.block_on(invite_to(&running, ORIGIN))?;
    desk.say(&serde_json::json!({
        "url": format!("http://{}", running.grpc_addr),
        "invite": invite,
        "token": running.gateway_token_path,
    }));
    while let Some(request) = desk.next() {
        let origin = request
            .get("gateway")
            .and_then(serde_json::Value::as_str)
            .unwrap_or(ORIGIN);
        desk.say(&serde_json::json!({ "invite": runtime.block_on(invite_to(&running, origin))? }));
    }
    runtime.block_on(running.shutdown());
    Ok(())
}

/// Makes sure that the network names this gateway, and invites many.
async fn invite_to(running: &beeline_registry::Running, gateway: &str) -> Result<String, String> {
    let origins = [gateway.to_owned()];
    running
        .ensure_network(Some(NETWORK), &origins, &[])
        .await
        .map_err(text)?;
    let invite = running.create_invite(NETWORK, Role::Member, INVITE_USES_MAX, INVITE_TTL);
    Ok(invite.await.map_err(text)?.to_text())
}

/// Registry and gateway that know each other, and leave to join.
pub(crate) struct Servers {
    /// The link clients join with.
    pub(crate) invite: String,
    _gateway: Child,
    _registry: RegistryChild,
}

impl Servers {
    /// Starts both on the servers' core.
    pub(crate) fn start() -> Result<Self, String> {
        let registry = RegistryChild::start(SERVER_CORE)?;
        let gateway = start_gateway(SERVER_CORE, &registry)?;
        Self::of(gateway, registry)
    }

    /// The same in a network namespace, where the gateway is at `ip`.
    pub(crate) fn start_in(space: &Netns, ip: &str) -> Result<Self, String> {
        let registry =
            RegistryChild::start_by(|role, args| Child::start_in(Some(space), role, args))?;
        let args = [&registry.url, &registry.gateway_token, ip];
        let gateway = Child::start_in(Some(space), "gateway", &args)?;
        Self::of(gateway, registry)
    }

    fn of(gateway: Child, mut registry: RegistryChild) -> Result<Self, String> {
        let request = serde_json::json!({ "gateway": gateway.said("origin")? });
        let answer = registry.child.ask(&request)?;
        let invite = answer.get("invite").and_then(serde_json::Value::as_str);
        let invite = invite.ok_or("the registry gave no invite")?.to_owned();
        Ok(Self {
            invite,
            _gateway: gateway,
            _registry: registry,
        })
    }
}

/// Starts a gateway for a registry.
pub(crate) fn start_gateway(core: usize, registry: &RegistryChild) -> Result<Child, String> {
    Child::start(core, "gateway", &[&registry.url, &registry.gateway_token])
}

/// The gateway's role: `gateway REGISTRY-URL TOKEN-FILE [IP]`, on loopback unless told otherwise.
pub(crate) fn gateway(args: &[String], desk: &mut Desk) -> Result<(), String> {
    let [registry, token, more @ ..] = args else {
        return Err("gateway REGISTRY-URL TOKEN-FILE [IP]".into());
    };
    let ip = more.first().map_or("127.0.0.1", String::as_str);
    let config = beeline_gateway::Config {
        listen: format!("{ip}:0").parse().map_err(text)?,
        registry: registry.clone(),
        gateway_token_file: token.into(),
        ..beeline_gateway::Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(text)?;
    let running = runtime.block_on(Gateway::start(config)).map_err(text)?;
    let url = format!("ws://{}", running.addr);
    desk.say(&serde_json::json!({ "url": url, "origin": running.public_url }));
    while let Some(_request) = desk.next() {
        desk.say(&serde_json::json!({ "sockets": running.sockets() }));
    }
    runtime.block_on(running.shutdown());
    Ok(())
}
