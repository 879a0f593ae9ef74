//! `beeline-registry`: starts a registry, says where it is, serves until told to stop.

use beeline_registry::{Config, Registry, Running};
use clap::Parser;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// The registry of Beeline: who exists, who was seen where.
#[derive(Debug, Parser)]
#[command(name = "beeline-registry", version)]
struct Cli {
    #[command(flatten)]
    config: Config,

    /// Make sure this network exists, its keys held here
    #[arg(long, value_name = "ID")]
    network: Option<String>,

    /// Say where it serves as one line of JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    // Before anything is served, so that no signal is missed.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let origins = (
        cli.config.gateway_origins.clone(),
        cli.config.registry_origins.clone(),
    );
    let running = Registry::start(cli.config).await?;
    let mut network = None;
    if let Some(label) = &cli.network {
        network = Some(
            running
                .ensure_network(Some(label), &origins.0, &origins.1)
                .await?,
        );
    }
    say_ready(&running, network.as_deref(), cli.json)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    running.shutdown().await;
    Ok(())
}

fn say_ready(running: &Running, network: Option<&str>, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let grpc = running.grpc_addr.to_string();
    if json {
        let line = serde_json::json!({
            "event": "ready",
            "grpc": grpc,
            "metrics": running.metrics_addr.map(|addr| addr.to_string()),
            "network": network,
            "gatewayTokenFile": running.gateway_token_path,
            "operatorTokenFile": running.operator_token_path,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "registry: gRPC on {grpc}")?;
    }
    out.flush()
}
