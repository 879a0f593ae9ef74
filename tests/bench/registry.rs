//! The registry over gRPC, on SQLite, beside tonic services that do one thing: signed leases beside
//! one strict verification per call, look-ups beside one SELECT per call.

use crate::calls::{Call, Lane, Load};
use crate::measure::{Goal, Report, Samples, text};
use crate::members::{self, Member};
use crate::proc::cpu_us;
use crate::role::{Child, SERVER_CORE};
use crate::servers::{NETWORK, RegistryChild};
use beeline_proto::pb::registry::v1::{AnnounceRequest, GetPeerRequest};
use prost::Message as _;

/// Members who announce and are looked up.
const MEMBERS: usize = 1_000;
/// Calls in flight when the server shall be busy.
const LANES: usize = 64;
/// Calls of one lane in a round: about two seconds of announces, as many look-ups take half one.
const ANNOUNCES: usize = 400;
const LOOKUPS: usize = 1_000;
/// Announces of each member at half the rate.
const PACED: usize = 12;
/// Rounds, the contestants in turn.
const ROUNDS: usize = 5;

/// The goals of the issue.
const ANNOUNCE_RATIO: f64 = 0.7;
const LOOKUP_RATIO: f64 = 0.7;
const P99_MS: f64 = 50.0;

/// A server, its load, and what was measured.
struct Contestant {
    server: Child,
    load: Load,
    rate: Samples,
    cpu: Samples,
}

impl Contestant {
    async fn new(server: Child) -> Result<Self, String> {
        let load = Load::connect(server.said("url")?).await?;
        let (rate, cpu) = Default::default();
        Ok(Self {
            server,
            load,
            rate,
            cpu,
        })
    }

    async fn round(&mut self, lanes: Vec<Lane>) -> Result<(), String> {
        let calls: usize = lanes.iter().map(|lane| lane.calls.len()).sum();
        let before = cpu_us(self.server.pid())?;
        self.rate.0.push(self.load.saturate(lanes).await?);
        self.cpu
            .0
            .push((cpu_us(self.server.pid())? - before) / calls as f64);
        Ok(())
    }

    /// Forgets the warm-up and whatever was measured before.
    fn clear(&mut self) {
        (self.rate, self.cpu) = Default::default();
    }
}

/// Members with tokens, and the version of their next records.
struct Crowd {
    members: Vec<Member>,
    credentials: Vec<tonic::metadata::MetadataValue<tonic::metadata::Ascii>>,
    version: u64,
}

impl Crowd {
    async fn new(registry: &RegistryChild) -> Result<Self, String> {
        let members = members::join(MEMBERS, &registry.url, &registry.invite).await?;
        let tokens = members::tokens(&members, &registry.url).await?;
        let parsed = tokens.iter().map(|token| format!("Bearer {token}").parse());
        let credentials = parsed.collect::<Result<_, _>>().map_err(text)?;
        Ok(Self {
            members,
            credentials,
            version: 1,
        })
    }

    /// New signed leases: `each` of each of the first `lanes` members.
    fn announces(&mut self, lanes: usize, each: usize) -> Vec<Lane> {
        let first = self.version;
        self.version += each as u64;
        let announce = |member: &Member, version| {
            Call::Announce(AnnounceRequest {
                network_id: NETWORK.to_owned(),
                record: member.record(version),
                coordinators: Vec::new(),
            })
        };
        let lane = |index: usize| Lane {
            credential: self.credentials[index].clone(),
            calls: (first..self.version)
                .map(|v| announce(&self.members[index], v))
                .collect(),
        };
        (0..lanes).map(lane).collect()
    }

    /// Look-ups of everybody by everybody.
    fn lookups(&self, lanes: usize, each: usize) -> Vec<Lane> {
        let lookup = |number: usize| {
            let user_id = self.members[number % self.members.len()].handle.clone();
            Call::GetPeer(GetPeerRequest {
                network_id: NETWORK.to_owned(),
                user_id,
            })
        };
        let lane = |index: usize| Lane {
            credential: self.credentials[index].clone(),
            // Strides without a common factor: neighbours in time ask for different users.
            calls: (0..each).map(|n| lookup(index * 17 + n * 7)).collect(),
        };
        (0..lanes).map(lane).collect()
    }
}

/// Reports announces and look-ups.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(text)?.block_on(async {
        let registry = RegistryChild::start(SERVER_CORE)?;
        let mut crowd = Crowd::new(&registry).await?;
        let mut ours = Contestant::new(registry.child).await?;
        announces(report, &mut ours, &mut crowd).await?;
        lookups(report, &mut ours, &crowd).await
    })
}

async fn announces(
    report: &mut Report,
    ours: &mut Contestant,
    crowd: &mut Crowd,
) -> Result<(), String> {
    let mut bare = Contestant::new(Child::start(SERVER_CORE, "bare-announce", &[])?).await?;
    // Everybody has announced before the first round: tokens are verified, records known.
    ours.load.saturate(crowd.announces(MEMBERS, 2)).await?;
    bare.load.saturate(crowd.announces(LANES, 10)).await?;
    for _ in 0..ROUNDS {
        bare.round(crowd.announces(LANES, ANNOUNCES)).await?;
        ours.round(crowd.announces(LANES, ANNOUNCES)).await?;
    }
    let half = ours.rate.quantile(0.5) / 2.0;
    let (mut our_p99, mut bare_p99) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        let times = bare
            .load
            .pace(crowd.announces(MEMBERS, PACED), half)
            .await?;
        bare_p99.0.push(times.quantile(0.99));
        let times = ours
            .load
            .pace(crowd.announces(MEMBERS, PACED), half)
            .await?;
        our_p99.0.push(times.quantile(0.99));
    }
    let named = |samples| ("bare tonic + verify_strict", samples);
    let goal = Goal::AtLeast(ANNOUNCE_RATIO);
    report.ratio(
        "announces of signed leases",
        "calls/s",
        ours.rate.clone(),
        named(bare.rate),
        goal,
    );
    report.ratio(
        "… CPU of the server",
        "µs/call",
        ours.cpu.clone(),
        named(bare.cpu),
        Goal::Told,
    );
    report.plain(
        "… p99 at half that rate",
        "ms",
        our_p99.clone(),
        Goal::AtMost(P99_MS),
    );
    report.ratio(
        "… p99 at half that rate",
        "ms",
        our_p99,
        named(bare_p99),
        Goal::Told,
    );
    Ok(())
}

async fn lookups(report: &mut Report, ours: &mut Contestant, crowd: &Crowd) -> Result<(), String> {
    let lane = crowd.lookups(1, 1).remove(0);
    let ask = GetPeerRequest {
        network_id: NETWORK.to_owned(),
        user_id: crowd.members[0].handle.clone(),
    };
    let bytes = ours.load.peer(&lane, ask).await?.encoded_len();
    let args = [&MEMBERS.to_string()[..], &bytes.to_string()];
    let mut bare = Contestant::new(Child::start(SERVER_CORE, "bare-select", &args)?).await?;
    ours.clear();
    for contestant in [&mut *ours, &mut bare] {
        contestant
            .load
            .saturate(crowd.lookups(LANES, LOOKUPS / 2))
            .await?;
    }
    for _ in 0..ROUNDS {
        bare.round(crowd.lookups(LANES, LOOKUPS)).await?;
        ours.round(crowd.lookups(LANES, LOOKUPS)).await?;
    }
    let named = |samples| ("bare tonic + SELECT", samples);
    let (rate, cpu, goal) = (
        ours.rate.clone(),
        ours.cpu.clone(),
        Goal::AtLeast(LOOKUP_RATIO),
    );
    report.ratio(
        &format!("GetPeer, {bytes} bytes"),
        "calls/s",
        rate,
        named(bare.rate),
        goal,
    );
    report.ratio(
        "… CPU of the server",
        "µs/call",
        cpu,
        named(bare.cpu),
        Goal::Told,
    );
    Ok(())
}
