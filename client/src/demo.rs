//! `beeline demo`: the specification's story, live, in one process on loopback. Real servers, four
//! real clients, real WebRTC; every line printed is an event that happened, with its time.

mod story;

use crate::cli::args::{KeepArgs, LinkArgs};
use crate::cli::fail::{Exit, Failure};
use crate::cli::line::{Line, StepLine};
use crate::cli::print::Printer;
use crate::cli::serve_args::ServeArgs;
use crate::cli::stop::Stop;
use crate::serve::Servers;
use beeline::report::ClientEvent;
use beeline::{Client, Options};
use beeline_proto::id::Label;
use client_core::event::PeerState;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use story::{Story, elapsed_ms};
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
    let running = start_servers(servers, &dir.path().join("server")).await?;
    let invite = running.invite().await?;
    let mut stage = Stage::new(printer);
    stage
        .say("servers", "registry and gateway run on 127.0.0.1")
        .await?;
    for name in ["alice", "bob", "carol", "dave"] {
        stage.arrive(dir.path(), &invite, name).await?;
    }

    stage.chapter("Nobody is connected yet: the registry is asked, the last resort");
    stage.deliver("alice", "bob", "Hello Bob!").await?;

    stage.chapter("Bob knows Carol and Dave. Alice has met neither");
    for friend in ["carol", "dave"] {
        stage
            .deliver_unseen("bob", friend, "Are you there?")
            .await?;
    }
    stage
        .say("bob", "is connected to alice, carol and dave")
        .await?;
    stage.deliver("alice", "carol", "Hello Carol!").await?;
    stage.until_direct("alice", "carol").await?;
    stage
        .deliver("alice", "carol", "Hello again, Carol.")
        .await?;

    let ended = servers.spawn(running.shutdown()).await;
    ended.map_err(|_| Failure::new("the servers did not end as asked"))?;
    stage.chapter("Registry and gateway are gone. Alice writes to Dave, whom she never met");
    stage.deliver("alice", "dave", "Hello Dave!").await?;
    stage.until_direct("alice", "dave").await?;
    stage
        .deliver("alice", "dave", "No server saw this.")
        .await?;

    stage.chapter(
        "The end. Each message was sealed for its receiver; Bob handed on what he cannot read",
    );
    stage.leave().await;
    Ok(())
}

async fn start_servers(runtime: &Runtime, data: &Path) -> Result<Servers, Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let args = ServeArgs {
        listen: any,
        grpc: any,
        data: None,
        no_coordinator: true,
        coordinator_listen: None,
        coordinator_url: None,
        ca: None,
        link: LinkArgs::default(),
        keep: KeepArgs::default(),
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

/// Somebody in the story.
struct Person {
    name: &'static str,
    client: Client,
    events: Receiver<ClientEvent>,
}

/// Where the story is told.
struct Stage {
    printer: Printer,
    people: Vec<Person>,
    /// When the first message was sent; the clock runs on from there.
    began: Option<Instant>,
    /// Told before the next line.
    chapter: Option<&'static str>,
}

impl Stage {
    fn new(printer: Printer) -> Self {
        Self {
            printer,
            people: Vec::new(),
            began: None,
            chapter: None,
        }
    }

    /// What the next lines are about.
    fn chapter(&mut self, title: &'static str) {
        self.chapter = Some(title);
    }

    async fn line(&mut self, mut line: StepLine) -> Result<(), Failure> {
        self.open_chapter().await?;
        let now = || {
            self.began
                .map(|began| elapsed_ms(began.into_std(), Instant::now().into_std()))
        };
        line.elapsed_ms = line.elapsed_ms.or_else(now);
        self.printer.line(&Line::Step(line)).await
    }

    async fn open_chapter(&mut self) -> Result<(), Failure> {
        let Some(title) = self.chapter.take() else {
            return Ok(());
        };
        let line = StepLine {
            what: title.to_owned(),
            ..StepLine::default()
        };
        self.printer.line(&Line::Step(line)).await
    }

    async fn say(&mut self, who: &str, what: &str) -> Result<(), Failure> {
        let (who, what) = (who.to_owned(), what.to_owned());
        let line = StepLine {
            who,
            what,
            ..StepLine::default()
        };
        self.line(line).await
    }

    /// Somebody joins and comes online.
    async fn arrive(
        &mut self,
        dir: &Path,
        invite: &str,
        name: &'static str,
    ) -> Result<(), Failure> {
        let options = Options {
            home: dir.join(name),
            command: "beeline demo".to_owned(),
            loopback: true,
            ..Options::default()
        };
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{name}: {error}"));
        let joined = beeline::join::join(&options, invite, name, None).await;
        let joined = joined.map_err(|error| failed(&error))?;
        let client = Client::start(options)
            .await
            .map_err(|error| failed(&error))?;
        let online = timeout(STEP_TIMEOUT, client.wait_online()).await;
        online
            .map_err(|_| failed(&"did not come online"))?
            .map_err(|error| failed(&error))?;
        let events = client.subscribe();
        self.people.push(Person {
            name,
            client,
            events,
        });
        let what = format!("joined {} and is online", joined.who.network_label);
        self.say(name, &what).await
    }

    fn person(&self, name: &str) -> Result<&Person, Failure> {
        let found = self.people.iter().find(|person| person.name == name);
        found.ok_or_else(|| Failure::new(format!("{name} is not in this story")))
    }

    /// One message, with everything that happens on the way.
    async fn deliver(&mut self, from: &str, to: &str, text: &str) -> Result<(), Failure> {
        self.began.get_or_insert_with(Instant::now);
        self.say(from, &format!("sends \"{text}\" to {to}")).await?;
        let mut story = self.send(from, to, text).await?;
        self.follow(&mut story, Story::is_over).await?;
        story.verdict()
    }

    /// One message that is not told about.
    async fn deliver_unseen(&mut self, from: &str, to: &str, text: &str) -> Result<(), Failure> {
        let mut story = self.send(from, to, text).await?;
        let over = async {
            while !story.is_over() {
                for (who, event) in self.next().await? {
                    story.tell(who, &event);
                }
            }
            Ok::<(), Failure>(())
        };
        within_step(over).await?;
        story.verdict()
    }

    /// Tells what happens until a link of their own is open between two people.
    async fn until_direct(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let linked = connected(&self.person(from)?.client).await?;
        if linked.iter().any(|peer| peer == to) {
            return Ok(());
        }
        let mut story = Story::of_link(from, to, self.clock());
        self.follow(&mut story, Story::is_linked).await
    }

    async fn send(&mut self, from: &str, to: &str, text: &str) -> Result<Story, Failure> {
        for person in &mut self.people {
            while person.events.try_recv().is_ok() {}
        }
        let label = Label::new(to).map_err(|error| Failure::new(error.to_string()))?;
        let sender = &self.person(from)?.client;
        let peers = connected(sender).await?;
        let sent = sender.send(&label, text, None).await;
        let sent = sent.map_err(|error| Failure::new(error.to_string()))?;
        let began = self.clock();
        Ok(Story::new((from, to), sent.id, began, peers.len()))
    }

    /// When the clock of the story began to run.
    fn clock(&self) -> std::time::Instant {
        self.began.unwrap_or_else(Instant::now).into_std()
    }

    async fn follow(&mut self, story: &mut Story, over: fn(&Story) -> bool) -> Result<(), Failure> {
        let told = async {
            while !over(story) {
                for (who, event) in self.next().await? {
                    for line in story.tell(who, &event) {
                        self.line(line).await?;
                    }
                }
            }
            for line in story.sum_up() {
                self.line(line).await?;
            }
            Ok(())
        };
        within_step(told).await
    }

    /// Waits for something to happen, and returns all that has, in the order it did.
    async fn next(&mut self) -> Result<Vec<(&'static str, ClientEvent)>, Failure> {
        let lost = |error: RecvError| Failure::new(format!("the story was lost: {error}"));
        let waiting = self.people.iter_mut().map(|person| {
            let name = person.name;
            Box::pin(async move { (name, person.events.recv().await) })
        });
        let ((name, first), ..) = futures::future::select_all(waiting).await;
        let mut events = vec![(name, first.map_err(lost)?)];
        for person in &mut self.people {
            loop {
                match person.events.try_recv() {
                    Ok(event) => events.push((person.name, event)),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                    Err(TryRecvError::Lagged(n)) => return Err(lost(RecvError::Lagged(n))),
                }
            }
        }
        events.sort_by_key(|(_, event)| event.at);
        Ok(events)
    }

    /// Everybody says goodbye.
    async fn leave(mut self) {
        // The last chapter has no lines of its own; a closed output was told before.
        let _ = self.open_chapter().await;
        for person in self.people {
            person.client.shutdown().await;
        }
    }
}

async fn within_step(told: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let ended = timeout(STEP_TIMEOUT, told).await;
    ended.map_err(|_| Failure::new("nothing came of it in 30 s"))?
}

/// The peers somebody is connected to.
async fn connected(client: &Client) -> Result<Vec<String>, Failure> {
    let peers = client
        .peers()
        .await
        .map_err(|error| Failure::new(error.to_string()))?;
    let linked = peers
        .iter()
        .filter(|peer| peer.state == PeerState::Connected);
    Ok(linked.map(|peer| peer.label.to_string()).collect())
}
