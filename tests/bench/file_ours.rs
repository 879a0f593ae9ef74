//! The two sides of [`file`](crate::file) as a client does it: a link on one thread, the disk on
//! another, and between them what fits a window. Who may send what to whom is left out.

use crate::measure::{now, text};
use crate::role::Desk;
use beeline::files::{Inbox, Offer, Opened, Survey};
use beeline::rtc::{
    BindTo, FileEvent, IceCandidate, LinkId, RtcConfig, RtcEvent, RtcFactory, RtcPeer,
};
use beeline_proto::file::{FileKey, Root, Shape, frame};
use beeline_proto::id::MessageId;
use beeline_proto::limits::FILE_FRAME_LEN_MAX;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Happenings of a link that may wait.
const EVENTS: usize = 256;
/// Chunks between sending and writing, at most: what a receiver may have waiting.
const WINDOW: u32 = 48;
/// Chunks a receiver writes between two words about it.
const TOLD_EVERY: u32 = 8;
/// Chunks read, proved and sealed ahead.
const AHEAD: usize = 8;
/// Idle round trips before the file, and the pace of those beside it.
const PINGS: usize = 1_000;
const PING_EVERY: Duration = Duration::from_millis(2);

/// What the first byte of a message on `msg` says.
const PING: u8 = 1;
const PONG: u8 = 2;
const OFFER: u8 = 3;
const READY: u8 = 4;
const WRITTEN: u8 = 5;

type Events<T> = mpsc::Receiver<(LinkId, T)>;

/// One side.
struct Side {
    peer: RtcPeer,
    events: Events<RtcEvent>,
    files: Events<FileEvent>,
    /// Candidates of ours so far.
    candidates: Vec<String>,
}

/// The role `our-file`: `send|receive BYTES FILE INBOX CHAT`.
pub(crate) fn play(args: &[String], desk: &mut Desk) -> Result<(), String> {
    let [side, _, file, inbox, chat] = args else {
        return Err("our-file send|receive BYTES FILE INBOX CHAT".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(text)?;
    runtime.block_on(async {
        let mut link = Side::new()?;
        if side == "send" {
            link.call(desk).await?;
            link.send(desk, Path::new(file), chat == "true").await
        } else {
            link.answer(desk).await?;
            link.receive(desk, Path::new(inbox)).await
        }
    })?;
    desk.until_the_end();
    Ok(())
}

/// The next event of a link that is not closed.
async fn told(events: &mut Events<RtcEvent>) -> Result<RtcEvent, String> {
    match events.recv().await.ok_or("the link fell silent")?.1 {
        RtcEvent::Closed { reason } => Err(format!("the link closed: {reason}")),
        event => Ok(event),
    }
}

impl Side {
    fn new() -> Result<Self, String> {
        let config = RtcConfig {
            bind: BindTo::Loopback,
            ..RtcConfig::default()
        };
        let factory = RtcFactory::new(config).map_err(text)?;
        let (events_sender, events) = mpsc::channel(EVENTS);
        let (files_sender, files) = mpsc::channel(EVENTS);
        let peer = factory.open_with_files(LinkId(1), events_sender, files_sender);
        Ok(Self {
            peer,
            events,
            files,
            candidates: Vec::new(),
        })
    }

    async fn event(&mut self) -> Result<RtcEvent, String> {
        told(&mut self.events).await
    }

    /// Our description with every candidate.
    async fn described(&mut self) -> Result<Value, String> {
        let mut ours = None;
        loop {
            match self.event().await? {
                RtcEvent::LocalDescription { sdp } => ours = Some(sdp),
                RtcEvent::Candidate(candidate) => self.candidates.push(candidate.candidate),
                RtcEvent::EndOfCandidates => break,
                _ => {}
            }
        }
        Ok(json!({ "sdp": ours, "candidates": self.candidates }))
    }

    fn take(&self, theirs: &Value, is_offer: bool) -> Result<(), String> {
        let sdp = theirs["sdp"].as_str().ok_or("no description")?;
        let taken = if is_offer {
            self.peer.accept_offer(sdp)
        } else {
            self.peer.accept_answer(sdp)
        };
        taken.map_err(text)?;
        for candidate in theirs["candidates"].as_array().into_iter().flatten() {
            let candidate = IceCandidate {
                candidate: candidate.as_str().unwrap_or_default().to_owned(),
                ..IceCandidate::default()
            };
            self.peer.add_candidate(&candidate).map_err(text)?;
        }
        Ok(())
    }

    async fn call(&mut self, desk: &mut Desk) -> Result<(), String> {
        self.peer.offer().map_err(text)?;
        let ours = self.described().await?;
        desk.say(&ours);
        let theirs = desk.next().ok_or("no answer")?;
        self.take(&theirs, false)?;
        while !matches!(self.event().await?, RtcEvent::Open { .. }) {}
        desk.say(&json!({}));
        desk.next().ok_or("told to end")?;
        Ok(())
    }

    async fn answer(&mut self, desk: &mut Desk) -> Result<(), String> {
        desk.say(&json!({}));
        let theirs = desk.next().ok_or("no offer")?;
        self.take(&theirs, true)?;
        let ours = self.described().await?;
        desk.say(&ours);
        while !matches!(self.event().await?, RtcEvent::Open { .. }) {}
        Ok(())
    }

    fn say(&self, kind: u8, body: &[u8]) -> Result<(), String> {
        let message = [&[kind], body].concat();
        self.peer.send(Bytes::from(message)).map_err(text)
    }

    /// The next message on `msg`.
    async fn heard(&mut self) -> Result<Bytes, String> {
        loop {
            if let RtcEvent::Message(message) = self.event().await? {
                return Ok(message);
            }
        }
    }

    async fn send(&mut self, desk: &mut Desk, file: &Path, chat: bool) -> Result<(), String> {
        let mut idle = Vec::new();
        for _ in 0..if chat { PINGS } else { 1 } {
            let at = now();
            self.say(PING, &[0; 200])?;
            while self.heard().await?[0] != PONG {}
            idle.push(at.elapsed().as_secs_f64() * 1e6);
            tokio::time::sleep(if chat { PING_EVERY } else { Duration::ZERO }).await;
        }
        desk.say(&json!({}));
        desk.next().ok_or("told to end")?;
        let start = now();
        let (hashed, frames) = read(file);
        let offer = hashed.await.map_err(text)??;
        let hashing_ms = start.elapsed().as_secs_f64() * 1e3;
        self.say(OFFER, &serde_json::to_vec(&offer).map_err(text)?)?;
        while self.heard().await?[0] != READY {}
        let busy = self.stream(frames, chat).await?;
        desk.say(&json!({ "idle_us": idle, "busy_us": busy, "hashing_ms": hashing_ms }));
        Ok(())
    }

    /// Sends every frame within the window, and pings meanwhile. Ends when all are written.
    async fn stream(
        &mut self,
        mut frames: mpsc::Receiver<Result<Vec<u8>, String>>,
        chat: bool,
    ) -> Result<Vec<f64>, String> {
        let (mut sent, mut written, mut total) = (0u32, 0u32, u32::MAX);
        let (mut asked, mut trips): (Option<Instant>, _) = (None, Vec::new());
        let mut pace = tokio::time::interval(PING_EVERY);
        while written < total {
            let room = sent - written < WINDOW && self.peer.has_file_room() && sent < total;
            tokio::select! {
                event = told(&mut self.events) => match event? {
                    RtcEvent::Message(message) if message[0] == PONG => {
                        trips.extend(asked.take().map(|at| at.elapsed().as_secs_f64() * 1e6));
                    }
                    RtcEvent::Message(message) if message[0] == WRITTEN => {
                        let count = message.get(1..5).and_then(|n| n.try_into().ok());
                        written = u32::from_be_bytes(count.ok_or("no count")?);
                    }
                    _ => {}
                },
                _ = pace.tick(), if chat && asked.is_none() => {
                    asked = Some(now());
                    self.say(PING, &[0; 200])?;
                }
                frame = frames.recv(), if room => match frame {
                    Some(frame) => {
                        self.peer.send_file(Bytes::from(frame?)).map_err(text)?;
                        sent += 1;
                        if !self.peer.has_file_room() {
                            // Refused, to be told of room.
                            let _ = self.peer.send_file(Bytes::new());
                        }
                    }
                    None => total = sent,
                },
                _ = self.files.recv() => {}
            }
        }
        Ok(trips)
    }

    async fn receive(&mut self, desk: &mut Desk, inbox: &Path) -> Result<(), String> {
        let offer = loop {
            let message = self.heard().await?;
            match message[0] {
                PING => self.say(PONG, &[0; 200])?,
                OFFER => break serde_json::from_slice(&message[1..]).map_err(text)?,
                _ => {}
            }
        };
        let (chunks, mut written) = write(offer, inbox);
        self.say(READY, &[])?;
        loop {
            tokio::select! {
                event = told(&mut self.events) => if let RtcEvent::Message(message) = event?
                    && message[0] == PING
                {
                    self.say(PONG, &[0; 200])?;
                },
                event = self.files.recv() => {
                    if let Some((_, FileEvent::Frame(frame))) = event {
                        chunks.try_send(frame).map_err(text)?;
                    }
                }
                word = written.recv() => match word.ok_or("the disk thread ended")?? {
                    Word::Written(count) => self.say(WRITTEN, &count.to_be_bytes())?,
                    Word::Finished(ms) => {
                        desk.say(&json!({ "finish_ms": ms }));
                        // The sender still wants to hear the last word.
                        while self.peer.buffered() > 0 {
                            tokio::task::yield_now().await;
                        }
                        return Ok(());
                    }
                },
            }
        }
    }
}

/// What an offer says, for the other side.
#[derive(serde::Serialize, serde::Deserialize)]
struct Said {
    size: u64,
    chunk_size: u32,
    root: Vec<u8>,
}

impl Said {
    fn offer(&self) -> Result<Offer, String> {
        Ok(Offer {
            id: MessageId([1; 16]),
            name: "sent".to_owned(),
            shape: Shape::new(self.size, self.chunk_size).map_err(text)?,
            root: Root::try_from(self.root.as_slice()).map_err(text)?,
            key: FileKey::try_from([5; 32].as_slice()).map_err(text)?,
            list_len: 0,
        })
    }
}

type Hashed = tokio::sync::oneshot::Receiver<Result<Said, String>>;

/// The sender's disk thread: hashes the file, says so, then makes one frame after another.
fn read(file: &Path) -> (Hashed, mpsc::Receiver<Result<Vec<u8>, String>>) {
    let (hashed, said) = tokio::sync::oneshot::channel();
    let (frames, made) = mpsc::channel(AHEAD);
    let file = file.to_owned();
    std::thread::spawn(move || {
        let hash = || {
            let survey = Survey::of(&file).map_err(text)?;
            let shape = survey.shape(FILE_FRAME_LEN_MAX).map_err(text)?;
            survey.hash(shape, &mut |_| true).map_err(text)
        };
        let mut source = match hash() {
            Ok(source) => source,
            Err(error) => return drop(hashed.send(Err(error))),
        };
        let shape = source.shape();
        let said = Said {
            size: shape.len(),
            chunk_size: shape.chunk_len(),
            root: source.root().0.to_vec(),
        };
        let Ok((offer, seal)) = said.offer().and_then(|offer| {
            let seal = offer.seal().map_err(text)?;
            Ok((offer, seal))
        }) else {
            return;
        };
        let _ = hashed.send(Ok(said));
        for index in 0..shape.chunks() {
            let frame = source.frame(&seal, offer.id, index).map_err(text);
            if frames.blocking_send(frame).is_err() {
                return;
            }
        }
    });
    (said, made)
}

/// What the receiver's disk thread says.
enum Word {
    /// So many chunks are there.
    Written(u32),
    /// All is there and has its name, which took so many milliseconds.
    Finished(f64),
}

/// The receiver's disk threads: one opens, proves and writes, another syncs.
fn write(
    said: Said,
    inbox: &Path,
) -> (mpsc::Sender<BytesMut>, mpsc::Receiver<Result<Word, String>>) {
    let (chunks, mut waiting) = mpsc::channel::<BytesMut>(WINDOW as usize);
    let (words, heard) = mpsc::channel(EVENTS);
    let inbox = inbox.to_owned();
    std::thread::spawn(move || {
        let mut work = || {
            let inbox = Inbox::open(&inbox).map_err(text)?;
            let Opened::Receiving(mut sink) = inbox.begin(&said.offer()?, 0).map_err(text)? else {
                return Err("it was there already".to_owned());
            };
            let mut count = 0;
            while !sink.is_complete() {
                let mut bytes = waiting.blocking_recv().ok_or("the link ended")?;
                let read = frame::parse(&bytes).map_err(text)?;
                let accepted = sink.accept(read.index, &mut bytes[read.sealed]);
                if let Some(checkpoint) = accepted.map_err(text)?.checkpoint {
                    std::thread::spawn(move || checkpoint.run());
                }
                count += 1;
                if count % TOLD_EVERY == 0 || sink.is_complete() {
                    words
                        .blocking_send(Ok(Word::Written(count)))
                        .map_err(text)?;
                }
            }
            let at = now();
            sink.finish().map_err(text)?;
            Ok(at.elapsed().as_secs_f64() * 1e3)
        };
        let _ = words.blocking_send(work().map(Word::Finished));
    });
    (chunks, heard)
}
