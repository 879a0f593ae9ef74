//! What a process finds in its store was perhaps only in the cache of the system: written by one
//! that ended before its sync, or whose sync failed. Before it is relied on it must be durable.

use super::disk::FaultDisk;
use beeline::error::StoreError;
use beeline::store::testing::{Direct, lay};
use beeline_proto::id::MessageId;
use beeline_vfs::Fault;
use client_core::event::DeliveryState;
use client_core::state::{OutboxRow, StoreOp, StoreResult};
use client_core::testing::label;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A process on a disk, at a directory of its own.
struct Running {
    dir: PathBuf,
    disk: FaultDisk,
    direct: Option<Direct>,
}

impl Running {
    fn try_start(dir: &str, disk: FaultDisk) -> Result<Self, StoreError> {
        let dir = Path::new(dir).to_owned();
        beeline_vfs::mount(&dir.to_string_lossy(), Box::new(disk.clone()));
        lay(&dir, Some(Arc::new(disk.clone())));
        let (direct, _) = Direct::open(&dir, (b"chain", b""))?;
        let direct = Some(direct);
        Ok(Self { dir, disk, direct })
    }

    fn start(dir: &str, disk: FaultDisk) -> Self {
        Self::try_start(dir, disk).expect("it opens")
    }

    fn send(&mut self) -> Option<StoreResult> {
        let direct = self.direct.as_mut()?;
        let written = direct.write(vec![StoreOp::QueueMessage(row())], 1);
        written.ok()?.pop()
    }

    fn count(&self) -> i64 {
        let conn = self
            .direct
            .as_ref()
            .and_then(Direct::conn)
            .expect("it runs");
        conn.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))
            .expect("it answers")
    }

    fn end(mut self) -> FaultDisk {
        self.disk.stop();
        self.direct = None;
        lay(&self.dir, None);
        beeline_vfs::unmount(&self.dir.to_string_lossy());
        self.disk
    }
}

fn row() -> OutboxRow {
    OutboxRow {
        id: MessageId([7; 16]),
        to: label("carol"),
        seq: 1,
        incarnation: 1,
        text: "hello".to_owned(),
        queued_ms: 1,
        born_ms: 1,
        envelope: None,
        parcels: Vec::new(),
        acked: Vec::new(),
        state: DeliveryState::Queued,
        idempotency_key: Some("key".to_owned()),
    }
}

/// A seed with which a power loss leaves nothing that was not synced.
fn nothing_kept() -> u64 {
    (0..)
        .find(|seed| FaultDisk::keeps(*seed) == 0)
        .expect("there is one")
}

#[test]
fn what_an_ended_process_wrote_is_durable_before_it_is_relied_on() {
    let mut first = Running::start("/durable-1", FaultDisk::default());
    first.disk.plan(|plan| plan.stop_at_sync = true);
    assert_eq!(first.send(), None, "it ends in the sync of its commit");
    let left = first.end().after_kill();

    let mut second = Running::start("/durable-2", left);
    let known = StoreResult::Known(MessageId([7; 16]));
    assert_eq!(
        second.send(),
        Some(known),
        "the caller is told that it is queued"
    );
    let left = second.end().after_power_loss(nothing_kept());

    let third = Running::start("/durable-3", left);
    assert_eq!(third.count(), 1, "what was told to be queued is there");
    third.end();
}

/// Only syncs fail, once or from then on: all of the commit is written.
fn failed_sync(syncs: u64, ended: bool) {
    let mut running = Running::start("/durable-4", FaultDisk::default());
    let from = running.disk.syncs() + 1;
    running
        .disk
        .plan(|plan| plan.fail_syncs = Some((from, syncs)));
    assert_eq!(running.send(), None, "it cannot be kept");
    if ended {
        let left = running.end().after_kill();
        running = Running::start("/durable-5", left);
    }
    let told = running.send();
    let left = running.end().after_power_loss(nothing_kept());
    let after = Running::start("/durable-6", left);
    let expected = i64::from(told.is_some());
    assert_eq!(
        after.count(),
        expected,
        "{syncs} failed, ended: {ended}, told {told:?}"
    );
    after.end();
}

#[test]
fn what_a_failed_sync_left_is_durable_before_it_is_relied_on() {
    failed_sync(1, false);
    failed_sync(1, true);
    failed_sync(u64::MAX, false);
    failed_sync(u64::MAX, true);
}

#[test]
fn a_full_disk_refuses_the_start_and_loses_nothing() {
    let mut running = Running::start("/durable-7", FaultDisk::default());
    assert!(running.send().is_some());
    let left = running.end().after_kill();
    left.plan(|plan| plan.fail_at = Some((1, u64::MAX, Fault::Full)));
    let refused = Running::try_start("/durable-8", left.clone()).err();
    let refused = refused.expect("it says why").to_string();
    assert!(refused.contains("disk is full"), "{refused}");
    let room = Running::start("/durable-9", left.after_kill());
    assert_eq!(room.count(), 1);
    room.end();
}
