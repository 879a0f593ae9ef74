//! The gateway beside the barest relay: CPU per relayed frame, time on the way, memory per socket.

use crate::measure::{Goal, Report, Samples, say, text};
use crate::members;
use crate::peerjs;
use crate::proc::{cpu_us, rss_kib};
use crate::role::{Child, LOAD_CORE, SERVER_CORE};
use crate::servers::{RegistryChild, start_gateway};
use crate::sockets::{Dialect, Pairs, Socket, dial};
use std::time::Duration;

/// Pairs of sockets that talk.
const PAIRS: usize = 256;
/// Rounds of each measurement, the contestants in turn.
const ROUNDS: usize = 5;
/// Frames a second while CPU is counted: enough to count well, far from saturation.
const CPU_RATE: u32 = 4_000;
const CPU_TIME: Duration = Duration::from_secs(5);
/// Frames a second while times are taken.
const LATENCY_RATE: u32 = 2_000;
const LATENCY_TIME: Duration = Duration::from_secs(5);
/// Before the first round: caches, allocator, branch predictors.
const WARM_UP: Duration = Duration::from_secs(2);
/// Idle sockets whose memory is counted, and how many are open before counting begins.
const IDLE: usize = 5_000;
const IDLE_BEFORE: usize = 50;
/// How long sockets are idle before their memory is counted: what signing in took is given back.
const SETTLE: Duration = Duration::from_secs(3);

/// The goals of the issue.
const CPU_RATIO: f64 = 1.25;
const P99_RATIO: f64 = 1.5;
const IDLE_KIB: f64 = 17.0;

/// A server and the sockets that talk through it.
struct Contestant {
    server: Child,
    pairs: Pairs,
    cpu: Samples,
    p50: Samples,
    p99: Samples,
}

impl Contestant {
    async fn new(
        server: Child,
        sockets: Vec<(String, Socket)>,
        dialect: Dialect,
    ) -> Result<Self, String> {
        let pairs = Pairs::new(sockets, dialect);
        let (cpu, p50, p99) = Default::default();
        let mut contestant = Self {
            server,
            pairs,
            cpu,
            p50,
            p99,
        };
        contestant.pairs.run(LATENCY_RATE, WARM_UP).await?;
        Ok(contestant)
    }

    async fn round(&mut self) -> Result<(), String> {
        let before = cpu_us(self.server.pid())?;
        let frames = self.pairs.run(CPU_RATE, CPU_TIME).await?.0.len();
        self.cpu
            .0
            .push((cpu_us(self.server.pid())? - before) / frames as f64);
        let micros = self.pairs.run(LATENCY_RATE, LATENCY_TIME).await?;
        self.p50.0.push(micros.quantile(0.5));
        self.p99.0.push(micros.quantile(0.99));
        Ok(())
    }
}

/// Opens sockets on the bare relay.
async fn bare_sockets(url: &str, count: usize) -> Result<Vec<(String, Socket)>, String> {
    let mut sockets = Vec::with_capacity(count);
    for n in 0..count {
        let label = format!("bench{n:05}_dev001");
        let socket = dial(&format!("{url}/{label}")).await?;
        sockets.push((label, socket));
    }
    Ok(sockets)
}

/// Reports CPU, times and memory.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(text)?;
    // The registry is no part of what is measured: it shares the core of the load.
    let registry = RegistryChild::start(LOAD_CORE)?;
    runtime.block_on(async {
        let count = IDLE_BEFORE + IDLE;
        let members = members::join(count, &registry.url, &registry.invite).await?;
        frames(report, &registry, &members).await?;
        idle(report, &registry, &members).await
    })
}

async fn frames(
    report: &mut Report,
    registry: &RegistryChild,
    members: &[members::Member],
) -> Result<(), String> {
    let server = Child::start(SERVER_CORE, "bare-relay", &[])?;
    let sockets = bare_sockets(server.said("url")?, PAIRS * 2).await?;
    let mut bare = Contestant::new(server, sockets, Dialect::Beeline).await?;
    let server = start_gateway(SERVER_CORE, registry)?;
    let sockets = members::sockets(&members[..PAIRS * 2], server.said("url")?).await?;
    let mut ours = Contestant::new(server, sockets, Dialect::Beeline).await?;
    let mut peerjs = match peerjs::start(SERVER_CORE)? {
        Some(server) => {
            let sockets = peerjs::sockets(server.said("url")?, PAIRS * 2).await?;
            Some(Contestant::new(server, sockets, Dialect::PeerJs).await?)
        }
        None => None,
    };
    for _ in 0..ROUNDS {
        bare.round().await?;
        ours.round().await?;
        if let Some(peerjs) = &mut peerjs {
            peerjs.round().await?;
        }
    }
    match peerjs {
        Some(peerjs) => beside_peerjs(report, &ours, peerjs),
        None => say("peerjs-server is not here: tests/bench/run fetches it where npm is"),
    }
    let bare_relay = |samples| ("bare axum relay", samples);
    let at_most = Goal::AtMost;
    report.ratio(
        "CPU per frame, 4,000/s",
        "µs",
        ours.cpu,
        bare_relay(bare.cpu),
        at_most(CPU_RATIO),
    );
    report.ratio(
        "p50 at 2,000 frames/s",
        "µs",
        ours.p50,
        bare_relay(bare.p50),
        Goal::Told,
    );
    report.ratio(
        "p99 at 2,000 frames/s",
        "µs",
        ours.p99,
        bare_relay(bare.p99),
        at_most(P99_RATIO),
    );
    Ok(())
}

/// Where the goal says only "below".
fn beside_peerjs(report: &mut Report, ours: &Contestant, peerjs: Contestant) {
    let named = |samples| ("peerjs-server", samples);
    report.ratio(
        "CPU per frame, 4,000/s",
        "µs",
        ours.cpu.clone(),
        named(peerjs.cpu),
        Goal::AtMost(1.0),
    );
    report.ratio(
        "p99 at 2,000 frames/s",
        "µs",
        ours.p99.clone(),
        named(peerjs.p99),
        Goal::Told,
    );
}

async fn idle(
    report: &mut Report,
    registry: &RegistryChild,
    members: &[members::Member],
) -> Result<(), String> {
    let server = Child::start(SERVER_CORE, "bare-relay", &[])?;
    let url = server.said("url")?.to_owned();
    let first = bare_sockets(&url, IDLE_BEFORE).await?;
    let before = rss_kib(server.pid())?;
    let rest = bare_sockets(&url, IDLE).await?;
    tokio::time::sleep(SETTLE).await;
    let bare = (rss_kib(server.pid())? - before) / IDLE as f64;
    drop((first, rest, server));

    let server = start_gateway(SERVER_CORE, registry)?;
    let url = server.said("url")?.to_owned();
    let first = members::sockets(&members[..IDLE_BEFORE], &url).await?;
    let before = rss_kib(server.pid())?;
    let rest = members::sockets(&members[IDLE_BEFORE..], &url).await?;
    tokio::time::sleep(SETTLE).await;
    let ours = (rss_kib(server.pid())? - before) / IDLE as f64;
    drop((first, rest));

    let (ours, bare) = (
        Samples(vec![ours]),
        ("bare axum relay", Samples(vec![bare])),
    );
    let name = "memory per idle proven socket, 5,000 open";
    report.plain(name, "KiB", ours.clone(), Goal::AtMost(IDLE_KIB));
    report.ratio(name, "KiB", ours, bare, Goal::Told);
    Ok(())
}
