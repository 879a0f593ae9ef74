//! The thread that receives: opens chunks in the buffers they came in, writes them, and says how
//! far each file is. What takes long beside that, syncing and naming, is done on further threads.

use super::pieces::Pieces;
use super::sending::OutWork;
use super::work::{failed, thread};
use super::{FilesError, Inbox, Offer, Opened, Sink};
use crate::limits::{FILE_REPORT_CHUNKS, FILE_REPORT_WAIT};
use crate::rtc;
use beeline_proto::file::frame::{self, ChunkFrame};
use beeline_proto::id::MessageId;
use bytes::BytesMut;
use client_core::files::io::FileEvent;
use client_core::files::rows::FileInKey;
use client_core::input::LinkId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use tokio::sync::mpsc;

/// What the thread is told.
pub(super) enum InWork {
    /// Make ready to write.
    Prepare { key: FileInKey, offer: Box<Offer> },
    /// Write a small file that came with its offer.
    Put {
        key: FileInKey,
        offer: Box<Offer>,
        content: Vec<u8>,
    },
    /// Write what comes on this link.
    Take { key: FileInKey, link: LinkId },
    /// Write a chunk that came in parts.
    Write {
        key: FileInKey,
        index: u64,
        sealed: Vec<u8>,
    },
    /// Drop what comes.
    Leave(FileInKey),
    /// Put it in its place.
    Finish(FileInKey),
    /// Remove what there is.
    Discard(FileInKey),
    /// It is in its place.
    Forget(FileInKey),
    /// Remove what there is of any other file.
    Sweep(BTreeSet<MessageId>),
}

/// A file that is being received.
struct Part {
    sink: Box<Sink>,
    /// Chunks that are not there.
    missing: u64,
}

/// Chunks of one file that come on one link.
struct Taking {
    key: FileInKey,
    /// Written and not said.
    unsaid: u64,
    /// Of a chunk that comes in several frames.
    pieces: Pieces,
}

struct Receiving {
    inbox: Option<Inbox>,
    out: mpsc::Sender<OutWork>,
    reports: mpsc::Sender<FileEvent>,
    parts: BTreeMap<FileInKey, Part>,
    taking: BTreeMap<(LinkId, MessageId), Taking>,
}

/// What comes: work of the driver, and what happens on links.
type Todo = (
    mpsc::Receiver<InWork>,
    mpsc::Receiver<(rtc::LinkId, rtc::FileEvent)>,
);

/// Starts the thread.
pub(super) fn start(
    inbox: Option<Inbox>,
    (mut work, mut frames): Todo,
    out: mpsc::Sender<OutWork>,
    reports: mpsc::Sender<FileEvent>,
) -> io::Result<()> {
    let mut receiving = Receiving {
        inbox,
        out,
        reports,
        parts: BTreeMap::new(),
        taking: BTreeMap::new(),
    };
    // Only to wait for several things at once; nothing else runs on it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    thread("beeline-receive", move || {
        runtime.block_on(async {
            let mut say = None;
            loop {
                // What the core said of a file comes before its chunks.
                tokio::select! {
                    biased;
                    next = work.recv() => match next {
                        Some(next) => receiving.take(next).await,
                        None => return,
                    },
                    Some((link, event)) = frames.recv() => {
                        receiving.on_link(LinkId(link.0), event).await;
                        if say.is_none() && receiving.has_unsaid() {
                            say = Some(Box::pin(tokio::time::sleep(FILE_REPORT_WAIT)));
                        }
                    }
                    () = when(say.as_mut()) => {
                        say = None;
                        receiving.say_all().await;
                    }
                }
            }
        });
    })
}

/// Returns at that time; never, where there is none.
async fn when(at: Option<&mut Pin<Box<tokio::time::Sleep>>>) {
    match at {
        Some(at) => at.await,
        None => std::future::pending().await,
    }
}

impl Receiving {
    async fn take(&mut self, work: InWork) {
        match work {
            InWork::Prepare { key, offer } => {
                let event = match self.prepare(key, &offer) {
                    Ok(event) => event,
                    Err(error) => self.given_up(key, &error),
                };
                self.report(event).await;
            }
            InWork::Put {
                key,
                offer,
                content,
            } => {
                let inbox = self.inbox.clone();
                let put = move || {
                    let inbox = inbox.ok_or(FilesError::Incomplete)?;
                    inbox.put(&offer, content)
                };
                self.place(key, put).await;
            }
            InWork::Take { key, link } => {
                let new = Taking {
                    key,
                    unsaid: 0,
                    pieces: Pieces::default(),
                };
                self.taking.entry((link, key.1)).or_insert(new).key = key;
            }
            InWork::Write { key, index, sealed } => self.on_parts(key, index, sealed).await,
            InWork::Leave(key) => self.taking.retain(|_, taking| taking.key != key),
            InWork::Finish(key) => self.finish(key).await,
            InWork::Sweep(wanted) => {
                let swept = self.inbox.as_ref().map(|inbox| inbox.sweep(&wanted));
                if let Some(Err(error)) = swept {
                    tracing::warn!(%error, "what was left of files was not removed");
                }
            }
            InWork::Discard(key) | InWork::Forget(key) => {
                self.parts.remove(&key);
                let forgotten = self.inbox.as_ref().map(|inbox| inbox.forget(key.1));
                if let Some(Err(error)) = forgotten {
                    tracing::warn!(%error, "what was left of a file was not removed");
                }
            }
        }
    }

    fn prepare(&mut self, key: FileInKey, offer: &Offer) -> Result<FileEvent, FilesError> {
        if !self.parts.contains_key(&key) {
            let promised = self.parts.values().map(|part| {
                let len = part.sink.shape().len();
                len.saturating_sub(part.sink.have_bytes())
            });
            let promised = promised.sum();
            let inbox = self.inbox.as_ref().ok_or(FilesError::Incomplete)?;
            match inbox.begin(offer, promised)? {
                Opened::Finished(path) => {
                    let path = path.display().to_string();
                    return Ok(FileEvent::Finished { key, path });
                }
                Opened::Receiving(sink) => {
                    self.parts.insert(key, Part { sink, missing: 0 });
                }
            }
        }
        let mut missing = Vec::new();
        if let Some(part) = self.parts.get_mut(&key) {
            let ranges = part.sink.missing();
            missing.extend(ranges.map(|r| (u64::from(r.start), u64::from(r.end - r.start))));
            part.missing = missing.iter().map(|(_, count)| count).sum();
            // What is written from here on counts for the chunks asked for next.
            let same = self.taking.values_mut().filter(|taking| taking.key == key);
            same.for_each(|taking| taking.unsaid = 0);
        }
        Ok(FileEvent::Prepared { key, missing })
    }

    async fn on_link(&mut self, link: LinkId, event: rtc::FileEvent) {
        match event {
            // A sending thread that is gone sends nothing.
            rtc::FileEvent::Room => drop(self.out.send(OutWork::Room(link)).await),
            rtc::FileEvent::Frame(mut bytes) => self.on_frame(link, &mut bytes).await,
        }
    }

    /// A chunk came: written, if it belongs to what is taken on this link.
    async fn on_frame(&mut self, link: LinkId, bytes: &mut BytesMut) {
        let Ok(chunk) = frame::parse(bytes) else {
            return tracing::debug!(link = link.0, "a frame without a chunk");
        };
        let at = (link, chunk.offer);
        if !chunk.is_whole() {
            return self.on_piece(at, &chunk, bytes).await;
        }
        let sealed = &mut bytes[chunk.sealed];
        self.on_chunk(at, chunk.index, sealed).await;
    }

    /// A piece of a chunk came: the link takes no frame with all of it.
    async fn on_piece(&mut self, at: (LinkId, MessageId), chunk: &ChunkFrame, bytes: &[u8]) {
        let piece = &bytes[chunk.sealed.clone()];
        let taking = self.taking.get_mut(&at);
        let whole = taking.and_then(|taking| taking.pieces.take(chunk, piece));
        if let Some(mut sealed) = whole {
            self.on_chunk(at, chunk.index, &mut sealed).await;
        }
    }

    /// A chunk came in parts, through others.
    async fn on_parts(&mut self, key: FileInKey, index: u64, mut sealed: Vec<u8>) {
        let at = (LinkId::RELAYED, key.1);
        let taken = self.taking.get(&at).is_some_and(|taking| taking.key == key);
        if let Ok(index) = u32::try_from(index)
            && taken
        {
            self.on_chunk(at, index, &mut sealed).await;
            // These come slowly: each of them is told.
            self.say_all().await;
        }
    }

    async fn on_chunk(&mut self, at: (LinkId, MessageId), index: u32, sealed: &mut [u8]) {
        let Some(taking) = self.taking.get_mut(&at) else {
            return;
        };
        let key = taking.key;
        let Some(part) = self.parts.get_mut(&key) else {
            return;
        };
        match part.sink.accept(index, sealed) {
            Ok(accepted) => {
                if accepted.new_bytes > 0 {
                    taking.unsaid += 1;
                    part.missing = part.missing.saturating_sub(1);
                }
                if let Some(checkpoint) = accepted.checkpoint {
                    // One at a time for each file; what fails shows at the next chunk.
                    let started = thread("beeline-sync", move || drop(checkpoint.run()));
                    if let Err(error) = started {
                        tracing::warn!(%error, "no thread to sync a file");
                    }
                }
                if taking.unsaid >= FILE_REPORT_CHUNKS || part.missing == 0 {
                    self.say(at).await;
                }
            }
            Err(error) => {
                self.taking.remove(&at);
                let event = self.given_up(key, &error);
                self.report(event).await;
            }
        }
    }

    /// A file cannot go on. One that may later is opened anew then, which looks for room first.
    fn given_up(&mut self, key: FileInKey, error: &FilesError) -> FileEvent {
        let event = failed(key, error);
        if matches!(event, FileEvent::Stuck { .. }) {
            self.parts.remove(&key);
        }
        event
    }

    /// Says what was written of one file.
    async fn say(&mut self, at: (LinkId, MessageId)) {
        let Some(taking) = self.taking.get_mut(&at) else {
            return;
        };
        let chunks = std::mem::take(&mut taking.unsaid);
        let (key, link) = (taking.key, at.0);
        let left = self.parts.get(&key).map_or(0, |part| part.missing);
        self.report(FileEvent::Written {
            key,
            link,
            chunks,
            left,
        })
        .await;
    }

    fn has_unsaid(&self) -> bool {
        self.taking.values().any(|taking| taking.unsaid > 0)
    }

    /// Says what was written of every file.
    async fn say_all(&mut self) {
        let unsaid = self.taking.iter().filter(|(_, taking)| taking.unsaid > 0);
        for at in unsaid.map(|(at, _)| *at).collect::<Vec<_>>() {
            self.say(at).await;
        }
    }

    async fn finish(&mut self, key: FileInKey) {
        let Some(mut part) = self.parts.remove(&key) else {
            return;
        };
        self.place(key, move || part.sink.finish()).await;
    }

    /// Puts a file in its place, on a thread of its own: it is synced there.
    async fn place(
        &self,
        key: FileInKey,
        finish: impl FnOnce() -> Result<PathBuf, FilesError> + Send + 'static,
    ) {
        let reports = self.reports.clone();
        let finish = move || {
            let event = match finish() {
                Ok(path) => FileEvent::Finished {
                    key,
                    path: path.display().to_string(),
                },
                Err(error) => failed(key, &error),
            };
            // Nobody listening is how a client shuts down.
            let _ = reports.blocking_send(event);
        };
        if let Err(error) = thread("beeline-finish", finish) {
            let path = std::path::Path::new("the thread that names files");
            let error = FilesError::disk("start", path, error);
            self.report(failed(key, &error)).await;
        }
    }

    async fn report(&self, event: FileEvent) {
        // Nobody listening is how a client shuts down.
        let _ = self.reports.send(event).await;
    }
}
