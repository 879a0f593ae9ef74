//! Real clients as children: homes on disk, real servers, real links.

use crate::measure::{Samples, now, text};
use crate::role::{Child, Desk};
use beeline::{Client, ClientEvent, Fact, Options, join};
use beeline_proto::id::{Label, MessageId};
use client_core::event::{DeliveryState, Event, PeerState};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// How long one request may take before it is said to hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sends under way at once while an outbox is filled.
const AT_ONCE: u64 = 200;

/// Some clients in one process.
pub(crate) struct Peers {
    child: Child,
    /// Gone with them.
    dir: tempfile::TempDir,
}

impl Peers {
    /// Joins and starts `count` users called `name0`, `name1` and so on; they are online when this
    /// returns.
    pub(crate) fn start(
        core: usize,
        invite: &str,
        name: &str,
        count: usize,
    ) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(text)?;
        let home = dir.path().display().to_string();
        let child = Child::start(core, "peers", &[&home, invite, name, &count.to_string()])?;
        Ok(Self { child, dir })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The directory of the homes.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Has the first client open a link to each of these users.
    pub(crate) fn connect(&mut self, users: &[String]) -> Result<(), String> {
        self.child.ask(&json!({ "connect": users })).map(drop)
    }

    /// Sends texts to a user one by one, each after `pause` from the last; returns the time from
    /// `send` to DELIVERED of each, microseconds.
    pub(crate) fn deliver(
        &mut self,
        to: &str,
        count: usize,
        pause: Duration,
    ) -> Result<Vec<f64>, String> {
        let pause_ms = pause.as_millis() as u64;
        let request = json!({ "deliver": to, "count": count, "pause_ms": pause_ms });
        let answer = self.child.ask(&request)?;
        let micros = answer
            .get("micros")
            .and_then(Value::as_array)
            .ok_or("no times")?;
        micros
            .iter()
            .map(|value| value.as_f64().ok_or("no number".into()))
            .collect()
    }

    /// Queues texts to a user, all at once or one after the other; returns how many were durable
    /// per second, delivered per second, and how many commits of the disk that took.
    pub(crate) fn queue(
        &mut self,
        to: &str,
        count: usize,
        at_once: bool,
    ) -> Result<[f64; 3], String> {
        let answer = self
            .child
            .ask(&json!({ "queue": to, "count": count, "at_once": at_once }))?;
        let number = |key: &str| answer.get(key).and_then(Value::as_f64).ok_or("no number");
        Ok([number("durable")?, number("delivered")?, number("commits")?])
    }

    /// Has one of the clients deliver a text to a user, so that it knows the user's keys.
    pub(crate) fn meet(&mut self, client: usize, user: &str) -> Result<(), String> {
        let request = json!({ "deliver": user, "client": client, "count": 1 });
        self.child.ask(&request).map(drop)
    }

    /// Has one of the clients queue texts to a user who is away, many at once.
    pub(crate) fn fill(&mut self, client: usize, to: &str, count: usize) -> Result<(), String> {
        let request = json!({ "fill": to, "client": client, "count": count });
        self.child.ask(&request).map(drop)
    }

    /// Has one of the clients queue texts one by one; returns the time until each was durable,
    /// microseconds.
    pub(crate) fn send(
        &mut self,
        client: usize,
        to: &str,
        count: usize,
    ) -> Result<Samples, String> {
        let answer = self
            .child
            .ask(&json!({ "send": to, "client": client, "count": count }))?;
        let micros = answer.get("micros").and_then(Value::as_array);
        let micros = micros.ok_or("no times")?.iter().filter_map(Value::as_f64);
        Ok(Samples(micros.collect()))
    }

    /// Ends one of the clients and starts it again; returns how long the start took, seconds.
    pub(crate) fn restart(&mut self, client: usize) -> Result<f64, String> {
        let answer = self
            .child
            .ask(&json!({ "restart": true, "client": client }))?;
        answer
            .get("seconds")
            .and_then(Value::as_f64)
            .ok_or("no time".into())
    }
}

/// The role: `peers DIR INVITE NAME COUNT`.
pub(crate) fn play(args: &[String], desk: &mut Desk) -> Result<(), String> {
    let [dir, invite, name, count] = args else {
        return Err("peers DIR INVITE NAME COUNT".into());
    };
    let count: usize = count.parse().map_err(text)?;
    let runtime = beeline::runtime().build().map_err(text)?;
    let local = tokio::task::LocalSet::new();
    let mut clients = Vec::new();
    for number in 0..count {
        let user = format!("{name}{number}");
        let options = Options {
            home: Path::new(dir).join(&user),
            command: "bench".to_owned(),
            loopback: true,
            ..Options::default()
        };
        let client = runtime.block_on(local.run_until(start(options.clone(), invite, &user)))?;
        clients.push((client, options));
    }
    desk.say(&json!({ "clients": count }));
    let block_on = |work| runtime.block_on(local.run_until(work));
    desk.serve(block_on, async |request| {
        let done = tokio::time::timeout(PATIENCE, serve(&mut clients, &request)).await;
        done.unwrap_or_else(|_| Err(format!("{request} takes too long")))
    });
    runtime.block_on(local.run_until(async {
        for (client, _) in &clients {
            client.shutdown().await;
        }
    }));
    Ok(())
}

pub(crate) async fn start(options: Options, invite: &str, user: &str) -> Result<Client, String> {
    join::join(&options, invite, user, None)
        .await
        .map_err(text)?;
    let client = Client::start(options).await.map_err(text)?;
    client.wait_online().await.map_err(text)?;
    Ok(client)
}

async fn serve(clients: &mut [(Client, Options)], request: &Value) -> Result<Value, String> {
    let which = request.get("client").and_then(Value::as_u64).unwrap_or(0);
    let which = clients.get_mut(which as usize).ok_or("no such client")?;
    if request.get("restart").is_some() {
        return restart(which).await;
    }
    let client = &which.0;
    let user = |key: &str| request.get(key).and_then(Value::as_str);
    let count = request.get("count").and_then(Value::as_u64).unwrap_or(0);
    if let Some(users) = request.get("connect").and_then(Value::as_array) {
        return connect(client, users.iter().filter_map(Value::as_str)).await;
    }
    if let Some(to) = user("deliver") {
        let pause = request.get("pause_ms").and_then(Value::as_u64).unwrap_or(0);
        return deliver(client, &label(to)?, count, Duration::from_millis(pause)).await;
    }
    if let Some(to) = user("queue") {
        let at_once = request
            .get("at_once")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        return queue(client, &label(to)?, count, at_once).await;
    }
    if let Some(to) = user("fill") {
        return fill(client, &label(to)?, count).await;
    }
    if let Some(to) = user("send") {
        return send(client, &label(to)?, count).await;
    }
    Err(format!("{request} is not understood"))
}

async fn restart((client, options): &mut (Client, Options)) -> Result<Value, String> {
    client.shutdown().await;
    let start = now();
    *client = Client::start(options.clone()).await.map_err(text)?;
    let seconds = start.elapsed().as_secs_f64();
    client.wait_online().await.map_err(text)?;
    Ok(json!({ "seconds": seconds }))
}

async fn fill(client: &Client, to: &Label, count: u64) -> Result<Value, String> {
    for first in (0..count).step_by(AT_ONCE as usize) {
        let sends = (first..count.min(first + AT_ONCE)).map(|number| async move {
            let sent = client.send(to, &body(number), None).await;
            sent.map(drop).map_err(text)
        });
        futures::future::try_join_all(sends).await?;
    }
    Ok(json!({}))
}

async fn send(client: &Client, to: &Label, count: u64) -> Result<Value, String> {
    let mut micros = Vec::new();
    for number in 0..count {
        let start = now();
        client.send(to, &body(number), None).await.map_err(text)?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(json!({ "micros": micros }))
}

pub(crate) fn label(text: &str) -> Result<Label, String> {
    Label::new(text).map_err(crate::measure::text)
}

pub(crate) async fn connect(
    client: &Client,
    users: impl Iterator<Item = &str>,
) -> Result<Value, String> {
    let mut events = client.subscribe();
    let mut waiting = BTreeSet::new();
    for user in users {
        let user = label(user)?;
        client.connect(&user).await.map_err(text)?;
        waiting.insert(user);
        // One at a time: how fast many are made at once is not the question here.
        while !waiting.is_empty() {
            if let Fact::Core(Event::PeerState { user, to, .. }) = next(&mut events).await?.fact
                && to == PeerState::Connected
            {
                waiting.remove(&user);
            }
        }
    }
    Ok(json!({}))
}

pub(crate) async fn next(
    events: &mut broadcast::Receiver<ClientEvent>,
) -> Result<ClientEvent, String> {
    events.recv().await.map_err(text)
}

/// Which message of ours was delivered, if the event says so.
fn delivered(event: &ClientEvent) -> Option<MessageId> {
    match &event.fact {
        Fact::Core(Event::MessageState(told)) if told.state == DeliveryState::Delivered => {
            Some(told.id)
        }
        _ => None,
    }
}

pub(crate) async fn deliver(
    client: &Client,
    to: &Label,
    count: u64,
    pause: Duration,
) -> Result<Value, String> {
    let mut events = client.subscribe();
    let mut micros = Vec::new();
    for number in 0..count {
        tokio::time::sleep(pause).await;
        let start = now();
        let sent = client.send(to, &body(number), None).await.map_err(text)?;
        let at = loop {
            let event = next(&mut events).await?;
            if delivered(&event) == Some(sent.id) {
                break event.at;
            }
        };
        micros.push((at - start).as_secs_f64() * 1e6);
    }
    Ok(json!({ "micros": micros }))
}

fn body(number: u64) -> String {
    format!("{number:>8} {}", "x".repeat(191))
}

async fn queue(client: &Client, to: &Label, count: u64, at_once: bool) -> Result<Value, String> {
    let mut events = client.subscribe();
    let commits = client.status().await.map_err(text)?.commits;
    let start = now();
    let sends = (0..count).map(|number| async move {
        client
            .send(to, &body(number), None)
            .await
            .map(|sent| sent.id)
            .map_err(text)
    });
    let ids: Vec<MessageId> = if at_once {
        futures::future::try_join_all(sends).await?
    } else {
        let mut ids = Vec::new();
        for send in sends {
            ids.push(send.await?);
        }
        ids
    };
    let durable = start.elapsed();
    let commits = client.status().await.map_err(text)?.commits - commits;
    let last = all_delivered(&mut events, ids).await?;
    let rate = |time: Duration| count as f64 / time.as_secs_f64();
    Ok(json!({ "durable": rate(durable), "delivered": rate(last - start), "commits": commits }))
}

async fn all_delivered(
    events: &mut broadcast::Receiver<ClientEvent>,
    ids: Vec<MessageId>,
) -> Result<Instant, String> {
    let mut waiting: BTreeSet<MessageId> = ids.into_iter().collect();
    loop {
        let event = next(events).await?;
        if let Some(id) = delivered(&event) {
            waiting.remove(&id);
        }
        if waiting.is_empty() {
            return Ok(event.at);
        }
    }
}
