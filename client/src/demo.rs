//! `beeline demo`: the specification's story, live, in one process on loopback. Real servers, two
//! real clients, real WebRTC; every line printed is an event that happened, with its time.

mod story;

use crate::cli::fail::{Exit, Failure};
use crate::cli::line::{Line, StepLine};
use crate::cli::print::Printer;
use crate::cli::serve_args::ServeArgs;
use crate::cli::stop::Stop;
use crate::serve::Servers;
use beeline::report::ClientEvent;
use beeline::{Client, Options};
use beeline_proto::id::Label;
use client_core::event::{DeliveryState, PeerState};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use story::Story;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, timeout};

/// A step that takes longer has failed; on a slow machine the whole story takes two seconds.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Tells the story.
pub(crate) async fn demo(printer: Printer) -> Result<Exit, Failure> {
    let mut stop = Stop::listen()?;
    // The servers on threads of their own, as if they were elsewhere.
    let servers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let servers = servers.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let dir = tempfile::tempdir()
        .map_err(|error| Failure::new(format!("no temporary directory: {error}")))?;
    let told = tokio::select! {
        told = tell(printer, &servers, &dir) => told,
        () = stop.asked() => Ok(()),
    };
    servers.shutdown_background();
    told.map(|()| Exit::Done)
}

async fn tell(printer: Printer, servers: &Runtime, dir: &TempDir) -> Result<(), Failure> {
    let stage = Stage { printer };
    let running = start_servers(servers, &dir.path().join("server")).await?;
    let invite = running.invite().await?;
    stage
        .say("servers", "registry and gateway run on 127.0.0.1")
        .await?;
    let alice = stage.arrive(dir.path(), &invite, "alice").await?;
    let carol = stage.arrive(dir.path(), &invite, "carol").await?;

    stage.say("alice", "sends \"Hello Carol!\"").await?;
    stage.deliver(&alice, &carol, "Hello Carol!").await?;
    stage
        .say("alice", "sends a second one: the link is open now")
        .await?;
    stage
        .deliver(&alice, &carol, "Are you still there?")
        .await?;

    let ended = servers.spawn(running.shutdown()).await;
    ended.map_err(|_| Failure::new("the servers did not end as asked"))?;
    stage
        .say("servers", "are gone; who is connected does not care")
        .await?;
    stage
        .deliver(&alice, &carol, "And without any server?")
        .await?;
    alice.shutdown().await;
    carol.shutdown().await;
    Ok(())
}

async fn start_servers(runtime: &Runtime, data: &Path) -> Result<Servers, Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let args = ServeArgs {
        listen: any,
        grpc: any,
        data: None,
        no_coordinator: true,
        database_url: None,
        tls_cert: None,
        tls_key: None,
        edge: beeline_gateway::EdgeArgs::default(),
        metrics: None,
        reflection: false,
    };
    let data = data.to_owned();
    let started = runtime.spawn(async move { Servers::start(&args, &data).await });
    started
        .await
        .map_err(|_| Failure::new("the servers ended while they started"))?
}

/// Where the story is told.
struct Stage {
    printer: Printer,
}

impl Stage {
    async fn say(&self, who: &str, what: &str) -> Result<(), Failure> {
        let (who, what) = (who.to_owned(), what.to_owned());
        let line = StepLine {
            who,
            what,
            ..StepLine::default()
        };
        self.printer.line(&Line::Step(line)).await
    }

    /// Somebody joins and comes online.
    async fn arrive(&self, dir: &Path, invite: &str, user: &str) -> Result<Client, Failure> {
        let options = Options {
            home: dir.join(user),
            command: "beeline demo".to_owned(),
            loopback: true,
            ..Options::default()
        };
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{user}: {error}"));
        let joined = beeline::join::join(&options, invite, user, None).await;
        let joined = joined.map_err(|error| failed(&error))?;
        let client = Client::start(options)
            .await
            .map_err(|error| failed(&error))?;
        let online = timeout(STEP_TIMEOUT, client.wait_online()).await;
        online
            .map_err(|_| failed(&"did not come online"))?
            .map_err(|error| failed(&error))?;
        let what = format!("joined {} and is online", joined.who.network_label);
        self.say(user, &what).await?;
        Ok(client)
    }

    /// One message from Alice to Carol, with everything that happens on the way.
    async fn deliver(&self, alice: &Client, carol: &Client, text: &str) -> Result<(), Failure> {
        let to = Label::new("carol").map_err(|error| Failure::new(error.to_string()))?;
        let mut seen = (alice.subscribe(), carol.subscribe());
        let asked = Instant::now();
        let sent = alice.send(&to, text, None).await;
        let sent = sent.map_err(|error| Failure::new(error.to_string()))?;
        let mut story = Story::new(sent.id, asked.into_std(), connected(alice).await?);
        let delivered = async {
            while !story.is_over() {
                for (who, event) in next(&mut seen).await? {
                    for line in story.tell(who, &event) {
                        self.printer.line(&Line::Step(line)).await?;
                    }
                }
            }
            Ok::<(), Failure>(())
        };
        let ended = timeout(STEP_TIMEOUT, delivered).await;
        ended.map_err(|_| Failure::new("the message was not delivered in time"))??;
        match story.state() {
            DeliveryState::Delivered => Ok(()),
            state => Err(Failure::new(format!(
                "the message ended as {}",
                state.name()
            ))),
        }
    }
}

/// How many peers Alice could ask.
async fn connected(client: &Client) -> Result<usize, Failure> {
    let peers = client
        .peers()
        .await
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(peers
        .iter()
        .filter(|peer| peer.state == PeerState::Connected)
        .count())
}

/// Waits for something to happen, and returns all that has, in the order it did.
async fn next(
    seen: &mut (Receiver<ClientEvent>, Receiver<ClientEvent>),
) -> Result<Vec<(&'static str, ClientEvent)>, Failure> {
    let lost = |error: RecvError| Failure::new(format!("the story was lost: {error}"));
    let mut events = vec![tokio::select! {
        event = seen.0.recv() => ("alice", event.map_err(lost)?),
        event = seen.1.recv() => ("carol", event.map_err(lost)?),
    }];
    for (who, receiver) in [("alice", &mut seen.0), ("carol", &mut seen.1)] {
        loop {
            match receiver.try_recv() {
                Ok(event) => events.push((who, event)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                Err(TryRecvError::Lagged(n)) => return Err(lost(RecvError::Lagged(n))),
            }
        }
    }
    events.sort_by_key(|(_, event)| event.at);
    Ok(events)
}
