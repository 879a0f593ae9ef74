//! The public servers: registry, gateway and coordinator by one `beeline serve`, and coturn.

use super::program::{Program, Wrong, binary};
use super::world::{TURN, TURN_OTHER, World};
use std::path::Path;

/// What coturn and the gateway share.
const SECRET: &str = "of-the-lab-only";

/// coturn says this once it listens.
const LISTENS: &str = "Total General servers";

/// The clients' STUN and TURN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ice {
    /// STUN alone.
    Stun,
    /// STUN and TURN.
    Turn,
}

/// The servers of a scenario, running.
pub(crate) struct Servers {
    pub(crate) beeline: Program,
    pub(crate) coturn: Program,
    /// A link to join with, for a hundred.
    pub(crate) invite: String,
}

impl Servers {
    /// Starts all of them.
    pub(crate) async fn start(world: &World, ice: Ice, dir: &Path) -> Result<Self, Wrong> {
        let coturn = coturn(world, dir).await?;
        let mut beeline = beeline(world, ice, dir)?;
        let ready = beeline.event("ready").await?;
        let invite = ready["invite"].as_str().ok_or("no invite")?.to_owned();
        Ok(Self {
            beeline,
            coturn,
            invite,
        })
    }
}

/// coturn at two addresses of each family, so that it can tell kinds of NAT apart.
pub(crate) async fn coturn(world: &World, dir: &Path) -> Result<Program, Wrong> {
    let text = |path: &Path| path.display().to_string();
    let (pid, db) = (text(&dir.join("turn.pid")), text(&dir.join("turn.db")));
    let (v4, v6) = (TURN.v4.to_string(), TURN.v6.to_string());
    let (other4, other6) = (TURN_OTHER.v4.to_string(), TURN_OTHER.v6.to_string());
    let mut args = vec![
        "-n",
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--no-software-attribute",
    ];
    for listening in [&v4, &other4, &v6, &other6] {
        args.extend(["--listening-ip", listening]);
    }
    args.extend(["--relay-ip", &v4, "--relay-ip", &v6]);
    args.extend(["--realm", "example", "--use-auth-secret"]);
    args.extend([
        "--static-auth-secret",
        SECRET,
        "--pidfile",
        &pid,
        "--userdb",
        &db,
    ]);
    args.extend(["--log-file", "stdout", "--simple-log"]);
    let turnserver = "turnserver";
    let mut coturn = Program::start(&world.turn, "coturn", dir, turnserver, &args)
        .map_err(|wrong| format!("{wrong}; apt-get install coturn"))?;
    while !coturn.line().await?.contains(LISTENS) {}
    coturn.drain();
    Ok(coturn)
}

/// Registry, gateway and coordinator; where they were before, if they were.
pub(crate) fn beeline(world: &World, ice: Ice, dir: &Path) -> Result<Program, Wrong> {
    let data = dir.join("server").display().to_string();
    let secret = dir.join("secret");
    std::fs::write(&secret, SECRET).map_err(|error| format!("{}: {error}", secret.display()))?;
    let secret = secret.display().to_string();
    let mut args = vec![
        "--json",
        "serve",
        "--listen",
        "[::]:8080",
        "--grpc",
        "127.0.0.1:8081",
    ];
    args.extend([
        "--data",
        &data,
        "--public-url",
        "http://beeline.example:8080",
    ]);
    args.extend(["--coordinator-listen", "[::]:8082"]);
    args.extend(["--coordinator-url", "http://beeline.example:8082"]);
    let (v4, v6) = (format!("{}:3478", TURN.v4), format!("[{}]:3478", TURN.v6));
    let urls = [
        format!("stun:{v4}"),
        format!("stun:{v6}"),
        format!("turn:{v4}"),
    ];
    for stun in &urls[..2] {
        args.extend(["--stun", stun]);
    }
    if ice == Ice::Turn {
        args.extend(["--turn-url", &urls[2], "--turn-secret-file", &secret]);
    }
    Program::start(
        &world.servers,
        "serve",
        dir,
        binary("BEELINE_BIN", "beeline")?,
        &args,
    )
}
