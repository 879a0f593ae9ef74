//! `beeline-gateway`: parse, start, wait for a signal, drain.

use beeline_gateway::{Config, Gateway};
use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The signal gateway of a Beeline network.
#[derive(Parser)]
#[command(name = "beeline-gateway", version)]
struct Cli {
    /// Print one JSON object per event
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: Config,
}

/// Libraries that would print frames and headers, and so tokens, at their lowest levels.
const QUIET: [&str; 4] = [
    "tungstenite=info",
    "tokio_tungstenite=info",
    "h2=info",
    "hyper=info",
];

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = QUIET
        .iter()
        .filter_map(|d| d.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "beeline-gateway stops");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    // Before anything is open, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = Gateway::start(cli.config).await?;
    announce(cli.json, &running)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.shutdown().await;
    Ok(())
}

/// One line on stdout, flushed: the gateway serves.
fn announce(json: bool, running: &beeline_gateway::Running) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        let metrics = running.metrics_addr.map(|addr| addr.to_string());
        let line = serde_json::json!({
            "event": "ready",
            "url": running.public_url,
            "listen": running.addr.to_string(),
            "metrics": metrics,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "gateway ready at {} (listening on {})",
            running.public_url, running.addr
        )?;
    }
    out.flush()
}
