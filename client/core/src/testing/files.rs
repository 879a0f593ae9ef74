//! The bytes of files in a world: what a driver has on its disk, and chunks on their way. A chunk
//! is modelled by the root of the content it is of and its index: it is good if both are what was
//! offered.

use super::node::NodeId;
use super::{Happening, World, label};
use crate::files::io::{FileCall, FileCommand, FileEvent, FileSource};
use crate::files::ranges::Ranges;
use crate::files::rows::{FileInKey, FileInfo, SmallFile};
use crate::input::{Command, CommandId, Input, LinkId};
use beeline_proto::file::Shape;
use beeline_proto::id::{MessageId, sha256};
use beeline_proto::pb::peer::v1::FileReason;
use std::collections::{BTreeMap, BTreeSet};

/// Chunks a sink gathers before it makes them durable and says so.
const BATCH: u64 = 4;

/// How long a sink waits for a whole batch, milliseconds.
const BATCH_MS: u64 = 5;

/// A chunk on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The offer it says it is of.
    pub id: MessageId,
    /// Root of the content it is of.
    pub root: [u8; 32],
    /// Its place.
    pub index: u64,
}

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is full.
    Full,
    /// It does not write.
    Broken,
}

/// A part of a file that is not in its place.
#[derive(Debug, Clone)]
struct Part {
    info: FileInfo,
    missing: Ranges,
}

/// The bytes of files on one machine.
#[derive(Debug, Default)]
pub struct Disk {
    /// What can be sent: the root of the content under each name.
    pub sources: BTreeMap<String, [u8; 32]>,
    /// Files in their place: their roots.
    pub done: BTreeMap<FileInKey, [u8; 32]>,
    /// What is wrong with it.
    pub fault: Option<Fault>,
    /// Chunks handed to links, over all processes.
    pub sent: u64,
    /// Chunks sealed to go through others, over all processes.
    pub sealed: u64,
    /// Chunks that came and were there already.
    pub repeated: u64,
    parts: BTreeMap<FileInKey, Part>,
    // What ends with the process.
    open: BTreeMap<MessageId, FileInfo>,
    taking: BTreeSet<(FileInKey, LinkId)>,
    unsaid: BTreeMap<FileInKey, (LinkId, Ranges)>,
    stopped: BTreeSet<(MessageId, LinkId)>,
}

impl Disk {
    /// The process ends: what was not durable is gone.
    pub(super) fn crash(&mut self) {
        self.open.clear();
        self.taking.clear();
        self.unsaid.clear();
        self.stopped.clear();
    }

    /// Chunks of unfinished files that are kept.
    pub fn kept(&self) -> u64 {
        let parts = self.parts.values();
        parts
            .map(|part| part.info.chunks() - part.missing.len())
            .sum()
    }

    /// A part of a file nobody waits for, as a process leaves that ends too early.
    pub fn leave_part(&mut self, key: FileInKey, info: FileInfo) {
        let missing = Ranges::all(info.chunks());
        self.parts.insert(key, Part { info, missing });
    }

    /// Whether nothing unfinished lies about.
    pub fn is_tidy(&self) -> bool {
        self.parts.is_empty()
    }
}

impl World {
    /// Offers a file of so many bytes, with chunks of 64 KiB.
    pub fn send_file(&mut self, id: NodeId, to: &str, name: &str, size: u64) -> CommandId {
        self.counter += 1;
        let command = CommandId(self.counter);
        let root = sha256(format!("{name} {size}").as_bytes());
        let disk = &mut self.nodes[id.0].disk;
        disk.sources.insert(name.to_owned(), root);
        let file = FileSource {
            source: name.to_owned(),
            name: name.to_owned(),
            size,
            root,
            chunk_size: 64 * 1024,
            list_len: 0,
            files: 0,
            content: None,
        };
        self.offer_file(id, command, to, file);
        command
    }

    /// Offers a small file, which travels in its offer.
    pub fn send_small_file(&mut self, id: NodeId, to: &str, name: &str, size: u64) -> CommandId {
        self.counter += 1;
        let command = CommandId(self.counter);
        let content = vec![7; usize::try_from(size).expect("it is small")];
        let file = FileSource {
            source: name.to_owned(),
            name: name.to_owned(),
            size,
            root: sha256(&content),
            chunk_size: 64 * 1024,
            list_len: 0,
            files: 0,
            content: Some(SmallFile::new(content)),
        };
        self.offer_file(id, command, to, file);
        command
    }

    fn offer_file(&mut self, id: NodeId, command: CommandId, to: &str, file: FileSource) {
        let call = FileCall::Send {
            command,
            to: label(to),
            file: Box::new(file),
            idempotency_key: None,
        };
        self.input(id, Input::Command(Command::File(call)));
    }

    /// Gives a file up, or holds it back.
    pub fn file_call(&mut self, id: NodeId, call: FileCall) {
        self.input(id, Input::Command(Command::File(call)));
    }

    fn report(&mut self, id: NodeId, after_ms: u64, event: FileEvent) {
        let at = self.now_ms + after_ms;
        self.schedule_at(id, at, Happening::Input(Input::File(event)));
    }

    /// Carries out what a core wants with the bytes of files.
    pub(super) fn command_file(&mut self, id: NodeId, command: FileCommand) {
        let disk = &mut self.nodes[id.0].disk;
        match command {
            FileCommand::Open {
                id: file,
                source,
                info,
            } => {
                let good = disk.sources.get(&source) == Some(&info.root);
                let event = if good {
                    disk.open.insert(file, info);
                    FileEvent::Opened { id: file }
                } else {
                    let detail = format!("{source} is gone");
                    FileEvent::Unreadable { id: file, detail }
                };
                self.report(id, 1, event);
            }
            FileCommand::Send {
                id: file,
                link,
                from,
                count,
                turn,
            } => self.send_chunks(id, (file, link), (from, count), turn),
            FileCommand::Seal { id: file, index } => {
                if let Some(info) = disk.open.get(&file) {
                    let sealed = sealed(info, index);
                    disk.sealed += 1;
                    let event = FileEvent::Sealed {
                        id: file,
                        index,
                        sealed,
                    };
                    self.report(id, 1, event);
                }
            }
            FileCommand::Write { key, index, sealed } => self.write(id, key, index, &sealed),
            FileCommand::Stop { id: file, link } => {
                disk.stopped.insert((file, link));
            }
            FileCommand::Shut { id: file } => {
                disk.open.remove(&file);
            }
            FileCommand::Prepare { key, info } => self.prepare(id, key, info),
            FileCommand::Take { key, link } => {
                disk.taking.insert((key, link));
            }
            FileCommand::Leave { key } => disk.taking.retain(|(other, _)| *other != key),
            FileCommand::Put { key, info } => self.put(id, key, &info),
            FileCommand::Finish { key } => self.finish(id, key),
            FileCommand::Discard { key } => {
                disk.parts.remove(&key);
                disk.unsaid.remove(&key);
            }
            FileCommand::Forget { .. } => {}
            FileCommand::Sweep { wanted } => disk.parts.retain(|key, _| wanted.contains(key)),
        }
    }

    fn send_chunks(
        &mut self,
        id: NodeId,
        (file, link): (MessageId, LinkId),
        (from, count): (u64, u64),
        turn: u64,
    ) {
        let after = self.timing.link_ms;
        let disk = &mut self.nodes[id.0].disk;
        disk.stopped.remove(&(file, link));
        let Some(root) = disk.open.get(&file).map(|info| info.root) else {
            return;
        };
        disk.sent += count;
        let Some((other, remote)) = self.file_channel(id, link) else {
            return;
        };
        for index in from..from + count {
            let chunk = Chunk {
                id: file,
                root,
                index,
            };
            let chunks = match self.on_chunk.as_mut() {
                Some(hook) => hook(id, other, chunk),
                None => vec![chunk],
            };
            for chunk in chunks {
                let at = self.now_ms + after;
                self.schedule_at(other, at, Happening::Chunk(remote, chunk));
            }
        }
        let sent = FileEvent::Sent {
            id: file,
            link,
            count,
            turn,
        };
        self.report(id, 1, sent);
    }

    /// The other end of a link whose channels are open.
    fn file_channel(&self, id: NodeId, link: LinkId) -> Option<(NodeId, LinkId)> {
        let end = self.node(id).ends.get(&link)?;
        let (other, remote, _) = end.remote.filter(|_| end.open)?;
        let muted = self.muted.contains(&(id, other));
        (!muted).then_some((other, remote))
    }

    fn prepare(&mut self, id: NodeId, key: FileInKey, info: FileInfo) {
        let disk = &mut self.nodes[id.0].disk;
        let event = if disk.done.contains_key(&key) {
            let path = info.name.clone();
            FileEvent::Finished { key, path }
        } else if disk.fault.is_some() && !disk.parts.contains_key(&key) {
            failed(key, disk.fault)
        } else if disk.fault == Some(Fault::Full) {
            stuck(key)
        } else {
            // What is not said to be written counts as missing.
            disk.unsaid.remove(&key);
            let new = || Part {
                missing: Ranges::all(info.chunks()),
                info: info.clone(),
            };
            let part = disk.parts.entry(key).or_insert_with(new);
            let missing = part.missing.iter().collect();
            FileEvent::Prepared { key, missing }
        };
        self.report(id, 1, event);
    }

    /// A chunk came in parts.
    fn write(&mut self, id: NodeId, key: FileInKey, index: u64, bytes: &[u8]) {
        let part = self.nodes[id.0].disk.parts.get(&key);
        let good = part.is_some_and(|part| sealed(&part.info, index) == bytes);
        let root = part.map_or([0; 32], |part| part.info.root);
        let chunk = Chunk {
            id: key.1,
            root: if good { root } else { [0; 32] },
            index,
        };
        self.take_chunk(id, LinkId::RELAYED, chunk);
    }

    /// A chunk came.
    pub(super) fn take_chunk(&mut self, id: NodeId, link: LinkId, chunk: Chunk) {
        let disk = &mut self.nodes[id.0].disk;
        let taking = disk.taking.iter();
        let mut taking = taking.filter(|((_, file), on)| *file == chunk.id && *on == link);
        let Some((key, _)) = taking.next().copied() else {
            return;
        };
        let Some(part) = disk.parts.get(&key) else {
            return;
        };
        if chunk.root != part.info.root || chunk.index >= part.info.chunks() {
            disk.taking.remove(&(key, link));
            let (reason, detail) = (FileReason::Corrupt, "a forged chunk".to_owned());
            let event = FileEvent::Failed {
                key,
                reason,
                detail,
            };
            return self.report(id, 0, event);
        }
        if disk.fault.is_some() {
            disk.taking.remove(&(key, link));
            let event = match disk.fault {
                Some(Fault::Full) => stuck(key),
                fault => failed(key, fault),
            };
            return self.report(id, 0, event);
        }
        let (_, unsaid) = disk.unsaid.entry(key).or_insert((link, Ranges::default()));
        if !part.missing.contains(chunk.index) || unsaid.contains(chunk.index) {
            disk.repeated += 1;
            return;
        }
        unsaid.insert(chunk.index, 1);
        if unsaid.len() >= BATCH {
            return self.flush_chunks(id, key);
        }
        let at = self.now_ms + BATCH_MS;
        self.schedule_at(id, at, Happening::Flush(key));
    }

    /// What came becomes durable.
    pub(super) fn flush_chunks(&mut self, id: NodeId, key: FileInKey) {
        let disk = &mut self.nodes[id.0].disk;
        let unsaid = disk.unsaid.remove(&key);
        let (Some((link, unsaid)), Some(part)) = (unsaid, disk.parts.get_mut(&key)) else {
            return;
        };
        for (from, count) in unsaid.iter() {
            part.missing.remove(from, count);
        }
        let event = FileEvent::Written {
            key,
            link,
            chunks: unsaid.len(),
            left: part.missing.len(),
        };
        self.report(id, 0, event);
    }

    fn put(&mut self, id: NodeId, key: FileInKey, info: &FileInfo) {
        let disk = &mut self.nodes[id.0].disk;
        let content = info.content.as_ref().expect("only a small one is put");
        let good = sha256(&content.0) == info.root;
        let event = match (disk.fault, good) {
            (None, true) => {
                disk.done.insert(key, info.root);
                let path = info.name.clone();
                FileEvent::Finished { key, path }
            }
            (None, false) => FileEvent::Failed {
                key,
                reason: FileReason::Corrupt,
                detail: "a forged content".to_owned(),
            },
            (fault, _) => failed(key, fault),
        };
        self.report(id, 1, event);
    }

    fn finish(&mut self, id: NodeId, key: FileInKey) {
        let disk = &mut self.nodes[id.0].disk;
        let Some(part) = disk.parts.remove(&key) else {
            return;
        };
        assert!(part.missing.is_empty(), "finished with chunks missing");
        disk.done.insert(key, part.info.root);
        let path = part.info.name;
        self.report(id, 1, FileEvent::Finished { key, path });
    }
}

/// What stands for a sealed chunk: as long as that, and no other's.
fn sealed(info: &FileInfo, index: u64) -> Vec<u8> {
    let shape = Shape::new(info.size, info.chunk_size).ok();
    let len = shape.and_then(|shape| shape.sealed_len(u32::try_from(index).ok()?));
    let tag = sha256(&[info.root.as_slice(), &index.to_be_bytes()].concat());
    let byte = |at: usize| tag[at % tag.len()] ^ (at / tag.len()) as u8;
    (0..len.unwrap_or(0)).map(byte).collect()
}

fn stuck(key: FileInKey) -> FileEvent {
    FileEvent::Stuck {
        key,
        reason: FileReason::NoRoom,
        detail: "the disk is full".to_owned(),
    }
}

fn failed(key: FileInKey, fault: Option<Fault>) -> FileEvent {
    let (reason, detail) = match fault {
        Some(Fault::Full) => (FileReason::NoRoom, "the disk is full"),
        _ => (FileReason::NotWritten, "the disk does not write"),
    };
    FileEvent::Failed {
        key,
        reason,
        detail: detail.to_owned(),
    }
}
