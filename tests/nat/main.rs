//! The NAT lab: hosts behind every kind of NAT, made of network namespaces and nftables, with real
//! servers and clients. `tests/nat/run --help` says how it is run.
//!
//! The tests of this binary are the part that runs with all tests: a few pairs, and the lab's proof
//! that its NATs are what they are called.

mod client;
mod file;
mod kind;
mod play;
mod program;
mod rules;
mod scenario;
mod servers;
mod table;
#[cfg(test)]
mod tests;
mod trouble;
mod verify;
mod world;

use beeline_tests::link::{self, Shape};
use clap::{Parser, Subcommand};
use futures::StreamExt as _;
use kind::Kind;
use program::Wrong;
use scenario::Scenario;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::AsyncBufReadExt as _;
use world::Conditions;

/// Play Beeline across NATs. Needs root on Linux; leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "tests/nat/run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name every scenario and say what it is about
    List,
    /// Check the lab: coturn must name every NAT right, and aiortc link exactly where theory says
    Verify {
        /// Only these pairs with aiortc, each two kinds joined by +, and no coturn
        #[arg(long = "pair", value_name = "KIND+KIND")]
        pairs: Vec<String>,
    },
    /// Have `beeline doctor` examine a host of each kind, and print what it says
    Doctor,
    /// Measure the emulated link: bytes a second, round trips
    Link,
    /// Build the world of a pair, start its servers, and hold it until Enter, to look around in it
    Hold {
        /// Two kinds joined by +
        pair: String,
        /// With TURN
        #[arg(long)]
        turn: bool,
    },
    /// Play a scenario and print its table
    Play {
        /// Its name
        scenario: String,
        /// Only these pairs, each two kinds joined by +
        #[arg(long = "pair", value_name = "KIND+KIND")]
        pairs: Vec<String>,
        /// Other than the scenario's number of tries; an invite has uses for 49
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..50))]
        tries: Option<u8>,
        /// Print the steps of the median try below each line
        #[arg(long)]
        steps: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let done = runtime.block_on(async {
        tokio::select! {
            done = run(cli.command) => done,
            _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
        }
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            say(&format!("{wrong}\n"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is what the lab is for")]
fn say(text: &str) {
    use std::io::Write as _;
    print!("{text}");
    let _ = std::io::stdout().flush();
}

/// Whether all was as it must be.
async fn run(command: Command) -> Result<bool, Wrong> {
    match command {
        Command::List => {
            for scenario in scenario::all()? {
                say(&format!("{:<12} {}\n", scenario.name, scenario.about));
            }
            Ok(true)
        }
        Command::Verify { pairs } => verify(&pairs).await,
        Command::Doctor => doctor().await,
        Command::Link => {
            link();
            Ok(true)
        }
        Command::Hold { pair, turn } => {
            let ice = if turn {
                servers::Ice::Turn
            } else {
                servers::Ice::Stun
            };
            let held = play::Held::build(scenario::pair(&pair)?, Conditions::CABLE, ice).await?;
            say(&held.told());
            let mut line = String::new();
            let enter = tokio::io::BufReader::new(tokio::io::stdin())
                .read_line(&mut line)
                .await;
            enter.map(|_| true).map_err(|error| error.to_string())
        }
        Command::Play {
            scenario,
            pairs,
            tries,
            steps,
        } => {
            let mut scenario = scenario::named(&scenario)?;
            if !pairs.is_empty() {
                let pairs: Result<_, Wrong> =
                    pairs.iter().map(|pair| scenario::pair(pair)).collect();
                scenario.pairs = pairs?;
            }
            scenario.tries = tries.map_or(scenario.tries, usize::from);
            play(&scenario, steps).await
        }
    }
}

async fn play(scenario: &Scenario, steps: bool) -> Result<bool, Wrong> {
    let start = play::now();
    say(&table::head(scenario));
    let mut rows = Vec::new();
    for pair in &scenario.pairs {
        let row = play::play(scenario, *pair).await?;
        say(&table::line(&row));
        if steps {
            say(&table::steps(&row));
        }
        rows.push(row);
    }
    let (text, well) = table::verdict(&rows, play::now().duration_since(start));
    say(&text);
    Ok(well)
}

/// What `beeline doctor` says behind every kind of NAT.
async fn doctor() -> Result<bool, Wrong> {
    let mut well = true;
    for kind in Kind::ALL {
        let told = verify::named_by_doctor(kind).await;
        well &= told.is_ok();
        let told = told.unwrap_or_else(|wrong| wrong);
        say(&format!("-- {}\n{told}\n\n", kind.name()));
    }
    Ok(well)
}

/// The emulated link by itself.
fn link() {
    for mtu in [1_280, 1_500, 9_000, link::MTU_MAX] {
        let lasting = Duration::from_secs(3);
        let bytes = link::speed::throughput(mtu, Shape::default(), lasting);
        say(&format!(
            "MTU {mtu:>5}: {:>5} MB/s, one TCP stream\n",
            bytes / 1_000_000
        ));
    }
    for rate in [1_000_000, 10_000_000, 50_000_000] {
        let shape = Shape {
            rate: Some(rate),
            ..Shape::default()
        };
        let bytes = link::speed::throughput(1_500, shape, Duration::from_secs(3));
        let (asked, got) = (rate / 1_000, bytes / 1_000);
        say(&format!(
            "rate {asked:>6} kB/s: {got:>6} kB/s of payload, one TCP stream\n"
        ));
    }
    for ms in [0, 5, 25, 100] {
        let shape = Shape {
            delay: Duration::from_millis(ms),
            ..Shape::default()
        };
        let (p50, p99) = link::speed::round_trips(shape, 60);
        let (p50, p99) = (p50.as_micros(), p99.as_micros());
        say(&format!(
            "delay {ms:>3} ms each way: round trip p50 {p50} µs, p99 {p99} µs\n"
        ));
    }
}

/// What coturn says of a kind, and what it was asked.
async fn by_coturn(kind: Kind) -> (String, Result<(), Wrong>) {
    let told = verify::named_by_coturn(kind).await;
    (format!("coturn on {}", kind.name()), told)
}

/// What aiortc makes of a pair, and which it was.
async fn by_aiortc(pair: [Kind; 2]) -> (String, Result<(), Wrong>) {
    let told = verify::tried_by_aiortc(pair).await;
    let [one, other] = pair.map(Kind::name);
    (format!("aiortc on {one} + {other}"), told)
}

async fn verify(only: &[String]) -> Result<bool, Wrong> {
    let only: Result<Vec<_>, Wrong> = only.iter().map(|pair| scenario::pair(pair)).collect();
    let only = only?;
    let kinds = Kind::ALL.into_iter().filter(|_| only.is_empty());
    let all = kind::pairs().into_iter().map(|(one, other)| [one, other]);
    let pairs: Vec<_> = if only.is_empty() {
        all.collect()
    } else {
        only.clone()
    };
    let mut well = true;
    let named = futures::stream::iter(kinds.map(by_coturn)).buffered(verify::SIDE_BY_SIDE);
    let tried =
        futures::stream::iter(pairs.into_iter().map(by_aiortc)).buffered(verify::SIDE_BY_SIDE);
    let mut all = std::pin::pin!(named.chain(tried));
    while let Some((what, told)) = all.next().await {
        well &= told.is_ok();
        let verdict = told.map_or_else(|wrong| wrong, |()| "as it must be".to_owned());
        say(&format!("{what:<55} {verdict}\n"));
    }
    Ok(well)
}
