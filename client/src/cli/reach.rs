//! How a command reaches the home: by owning it, or through the process that does.

use super::args::LinkArgs;
use super::fail::Failure;
use super::line::StatusLine;
use super::print::Printer;
use crate::ipc::caller::{CallError, Caller};
use crate::ipc::server::Server;
use beeline::error::{HomeError, StartError};
use beeline::home::Home;
use beeline::rtc::IceMode;
use beeline::{Client, Options};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a home may be between two owners: one drains, the other starts.
const CHANGE_OF_OWNER: Duration = Duration::from_secs(10);

/// Pause before the home is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// What every command knows.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The home.
    pub(crate) home: Home,
    /// The output.
    pub(crate) printer: Printer,
    /// What other devices may learn of this host's addresses.
    pub(crate) ice: IceMode,
}

/// A client of our own, serving the home's socket.
pub(crate) struct Owned {
    /// The client.
    pub(crate) client: Client,
    server: Server,
}

/// The way to the home.
pub(crate) enum Way {
    /// We own it.
    Own(Box<Owned>),
    /// Another process does.
    Through(Caller),
}

impl Context {
    /// Where the home keeps the certificate authorities given to `join --ca`.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.home.dir().join("ca.pem")
    }

    /// Options of a client of this home.
    pub(crate) fn options(&self, command: &str, link: &LinkArgs) -> Options {
        Options {
            home: self.home.dir().to_owned(),
            command: format!("beeline {command}"),
            ca: Some(self.ca_file()).filter(|file| file.exists()),
            ice_servers: link.ice_servers.clone(),
            ice: self.ice,
            rtc_ports: link
                .rtc_ports
                .as_ref()
                .map(|ports| (*ports.start(), *ports.end())),
            ..Options::default()
        }
    }

    /// Owns the home, or fails naming who does. An owner that only passes through, such as
    /// `send`, is waited for.
    pub(crate) async fn own(&self, options: Options) -> Result<Owned, Failure> {
        let deadline = Instant::now() + CHANGE_OF_OWNER;
        loop {
            let client = match Client::start(options.clone()).await {
                Ok(client) => client,
                Err(StartError::Home(HomeError::Busy { ref command, .. }))
                    if !stays(command) && Instant::now() < deadline =>
                {
                    sleep(TRY_AGAIN).await;
                    continue;
                }
                Err(error) => return Err(Failure::new(error.to_string())),
            };
            let server = Server::start(&client, &self.home)?;
            return Ok(Owned { client, server });
        }
    }

    /// The process that owns the home, if there is one; one that starts or ends is waited for.
    pub(crate) async fn owner(&self) -> Result<Option<Caller>, Failure> {
        let deadline = Instant::now() + CHANGE_OF_OWNER;
        while let Some((pid, command)) = self.home.owner() {
            if let Some(caller) = Caller::connect(&self.home).await {
                return Ok(Some(caller));
            }
            if Instant::now() >= deadline {
                let socket = self.home.socket();
                return Err(Failure::new(format!(
                    "process {pid} ({command}) owns the home and does not answer on {}: end it",
                    socket.display()
                )));
            }
            sleep(TRY_AGAIN).await;
        }
        Ok(None)
    }

    /// Owns the home, or reaches its owner.
    pub(crate) async fn reach(&self, options: Options) -> Result<Way, Failure> {
        let deadline = Instant::now() + CHANGE_OF_OWNER;
        loop {
            let busy = match Client::start(options.clone()).await {
                Ok(client) => {
                    let server = Server::start(&client, &self.home)?;
                    return Ok(Way::Own(Box::new(Owned { client, server })));
                }
                Err(error @ StartError::Home(HomeError::Busy { .. })) => error,
                Err(error) => return Err(Failure::new(error.to_string())),
            };
            if let Some(caller) = Caller::connect(&self.home).await {
                return Ok(Way::Through(caller));
            }
            if Instant::now() >= deadline {
                let text = format!(
                    "{busy}; it does not answer on {}",
                    self.home.socket().display()
                );
                return Err(Failure::new(text));
            }
            sleep(TRY_AGAIN).await;
        }
    }
}

/// Whether what is sent through the process that owns the home stays as hidden as asked: links are
/// that process's.
pub(crate) async fn as_hidden(context: &Context, owner: &mut Caller) -> Result<(), CallError> {
    let asked = context.ice;
    if asked == IceMode::All {
        return Ok(());
    }
    let lines = owner.status().await?;
    let line = lines.first().map(|json| serde_json::from_str(json));
    let has = match line {
        Some(Ok(StatusLine { ice: Some(ice), .. })) => ice,
        _ => IceMode::All.name().to_owned(),
    };
    if has == asked.name() || has == IceMode::RelayOnly.name() {
        return Ok(());
    }
    Err(CallError::Failed(Failure::usage(format!(
        "the process that owns the home links with --ice {has}, and --ice {asked} is asked for: \
         start that one with it"
    ))))
}

/// Whether an owner stays until somebody ends it.
fn stays(command: &str) -> bool {
    let word = command.strip_prefix("beeline ").unwrap_or(command);
    ["listen", "run", "serve"]
        .iter()
        .any(|stays| word.starts_with(stays))
}

impl Owned {
    /// Ends the calls of others, drains, and gives the home back.
    pub(crate) async fn shutdown(self) {
        self.server.stop().await;
        self.client.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listen_run_and_serve_stay() {
        assert!(stays("beeline listen") && stays("beeline run") && stays("beeline serve"));
        assert!(!stays("beeline send") && !stays("starting"));
    }
}
