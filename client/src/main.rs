//! The `beeline` command: reads the command line, sets up logs and the runtime, ends with the exit
//! code scripts rely on.

mod cli;
#[cfg(feature = "serve")]
mod demo;
mod ipc;
#[cfg(feature = "serve")]
mod serve;

use clap::Parser as _;
use cli::args::Cli;
use cli::fail::{Exit, Failure};
use cli::print::Printer;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says otherwise: our own warnings, and nobody's chatter.
const LOGS: &str = "error,beeline=warn,client_core=warn,beeline_registry=warn,beeline_gateway=warn,\
                    webrtc=off,rtc=off";

/// Whatever `RUST_LOG` says: at their finer levels these print whole frames, tokens among them.
const QUIET: [&str; 4] = [
    "tungstenite=info",
    "tokio_tungstenite=info",
    "h2=info",
    "hyper=info",
];

/// How long the last blocking writes may hold up the end.
const LAST_WRITES: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    beeline::crash::at("main");
    let cli = Cli::parse();
    let printer = Printer::new(cli.json);
    log_to_stderr();
    let exit = match run(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            printer.failure(&failure);
            failure.exit
        }
    };
    exit.into()
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGS));
    let filter = QUIET
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// One thread for a client; every core for servers.
fn run(cli: Cli) -> Result<Exit, Failure> {
    let runtime = if cli.command.serves() {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
    } else {
        beeline::runtime().build()
    };
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let ended = runtime.block_on(cli::run(cli));
    // A reader that never reads our output must not keep the process.
    runtime.shutdown_timeout(LAST_WRITES);
    ended
}
