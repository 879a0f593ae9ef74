//! Relaying: parcels for others are handed on over an open link to their recipient, or refused. A
//! parcel that was relayed once is never relayed again, so nothing can go in circles. What one user
//! may send another this way is counted, and both are told when it is too much.

use crate::bounded::Bucket;
use crate::custodian::NotTaken;
use crate::event::{DeliveryState, Event, Fabric};
use crate::input::{LinkId, SocketId};
use crate::limits::{
    FILE_PART_BUSY_MS, FILE_PARTS_BURST, RELAY_BYTES_BURST, RELAY_BYTES_PER_S, RELAY_FILE_BURST_S,
    RELAY_FILES_FACTOR, RELAY_PAIRS_MAX, RELAY_PAUSE_MS_MIN, RELAY_REQUEST_BATCH, ROUTE_DEMOTED_MS,
};
use crate::manager::PeerManager;
use crate::outbox::{Entry, Phase};
use crate::output::SignalKind;
use crate::state::StoreOp;
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, Label, MessageId, ParcelId, UserFp};
use beeline_proto::parcel::{Kind as ParcelKind, Parcel};
use beeline_proto::pb::peer::v1::Refusal;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::time::Now;
use std::collections::BTreeMap;

/// Bytes carried lately, by (from, to) user.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pairs: BTreeMap<(UserFp, UserFp), Bucket>,
    /// Parts of files are counted apart, so that they take nothing from chat.
    files: CarriedFiles,
}

/// Bytes of files carried lately.
#[derive(Debug, Default)]
struct CarriedFiles {
    pairs: BTreeMap<(UserFp, UserFp), Bucket>,
    /// Of all pairs together.
    all: Option<Bucket>,
}

impl Carried {
    /// Takes the bytes of one parcel, or says how many milliseconds to wait.
    fn take(&mut self, pair: (UserFp, UserFp), bytes: usize, now_ms: u64) -> Result<(), u64> {
        let usual = || Bucket::new(RELAY_BYTES_PER_S, RELAY_BYTES_BURST, now_ms);
        let bucket = bucket_of(&mut self.pairs, pair, usual, now_ms)?;
        take_from(bucket, bytes as u64, now_ms)
    }

    /// The same for a part of a file, where a pair has `per_s`.
    fn take_part(
        &mut self,
        pair: (UserFp, UserFp),
        bytes: usize,
        per_s: u64,
        now_ms: u64,
    ) -> Result<(), u64> {
        let new = |per_s: u64| {
            let burst = (per_s * RELAY_FILE_BURST_S).max(FILE_PARTS_BURST);
            Bucket::new(per_s, burst, now_ms)
        };
        let bucket = bucket_of(&mut self.files.pairs, pair, || new(per_s), now_ms)?;
        let bytes = bytes as u64;
        let all = self
            .files
            .all
            .get_or_insert_with(|| new(per_s * RELAY_FILES_FACTOR));
        take_from(bucket, bytes, now_ms)?;
        let taken = take_from(all, bytes, now_ms);
        if taken.is_err() {
            bucket.give_back(bytes);
        }
        taken
    }

    /// Pairs counted.
    pub(crate) fn len(&self) -> usize {
        self.pairs.len() + self.files.pairs.len()
    }
}

/// The bucket of a pair, or how many milliseconds to wait where too many others are in use.
fn bucket_of(
    pairs: &mut BTreeMap<(UserFp, UserFp), Bucket>,
    pair: (UserFp, UserFp),
    new: impl FnOnce() -> Bucket,
    now_ms: u64,
) -> Result<&mut Bucket, u64> {
    if !pairs.contains_key(&pair) && pairs.len() >= RELAY_PAIRS_MAX {
        pairs.retain(|_, bucket| !bucket.is_full(now_ms));
        if pairs.len() >= RELAY_PAIRS_MAX {
            return Err(1_000);
        }
    }
    Ok(pairs.entry(pair).or_insert_with(new))
}

fn take_from(bucket: &mut Bucket, bytes: u64, now_ms: u64) -> Result<(), u64> {
    if bucket.take_many(bytes, now_ms) {
        return Ok(());
    }
    Err(bucket.wait_ms(bytes).max(1))
}

impl PeerManager {
    /// A parcel came in a RELAY: for us, or to hand on.
    pub(crate) fn on_relay(&mut self, now: Now, id: LinkId, bytes: Vec<u8>) {
        let parcel = match Parcel::parse(&bytes) {
            Ok(parcel) => parcel,
            Err(error) => {
                let detail = format!("in a RELAY on link {}: {error}", id.0);
                return self.out.warn(now, "parcel-refused", detail);
            }
        };
        if parcel.header().to == self.me.device {
            let way = self.way_over(id, parcel.header().from);
            return self.take_parcel(now, None, &parcel, way);
        }
        let Some(sender) = self.links.get(id).map(|link| link.device) else {
            return;
        };
        let kind = parcel.header().kind;
        match self.carry(now, sender, &parcel, bytes) {
            Ok(()) if kind == ParcelKind::Message => {
                self.say(id, Kind::Relayed(parcel.id().to_vec()));
            }
            Ok(()) => {}
            Err(refused) => self.refuse_parcel(now, id, parcel.id(), refused),
        }
    }

    /// A parcel for somebody else came in a RELAY_REQUEST. It is handed on or dropped: its sender
    /// has other ways, and hears of success by the ACK.
    pub(crate) fn on_relay_request(&mut self, now: Now, parcel: &Parcel, bytes: &[u8]) {
        if !self.opens.take(now.mono_ms) {
            return self.out.counters.count("too-many-parcels");
        }
        let sender = parcel.header().from;
        if self.carry(now, sender, parcel, bytes.to_vec()).is_err() {
            self.out.counters.count("relay-request-dropped");
        }
    }

    /// Hands a parcel on over the open link to its recipient.
    fn carry(
        &mut self,
        now: Now,
        sender: DeviceFp,
        parcel: &Parcel,
        bytes: Vec<u8>,
    ) -> Result<(), NotTaken> {
        let header = parcel.header();
        // Only what the link's own device sends: a parcel is relayed once.
        let misdirected = header.from != sender && !planted!(RelayedTwice);
        if header.network != self.me.network() || misdirected {
            self.out.counters.count("relay-misdirected");
            return Err((ErrorCode::InvalidArgument, 0));
        }
        let out = self.links.ready_to(header.to);
        let out = out.filter(|_| self.me.config.can_relay && !self.draining);
        if planted!(RelayedButDropped) && out.is_some() {
            return Ok(());
        }
        let out = out.or_else(|| self.another_relay(sender));
        let Some(out) = out else {
            return Err((ErrorCode::NoRoute, 0));
        };
        // Nobody we know sent it: all strangers share one account for each recipient.
        let from = self.contacts.of_device(sender).map(|c| c.row.user);
        let to = self.contacts.of_device(header.to).map(|c| c.row.user);
        let pair = (
            from.unwrap_or(UserFp([0; 32])),
            to.unwrap_or(UserFp([0; 32])),
        );
        if header.kind == ParcelKind::File {
            return self.carry_part(now, (out, pair), bytes);
        }
        if let Err(wait_ms) = self.carried.take(pair, bytes.len(), now.mono_ms) {
            // Both ends are told, so that neither wonders.
            let both = (ErrorCode::RateLimited, wait_ms);
            self.refuse_parcel(now, out, parcel.id(), both);
            return Err(both);
        }
        let len = bytes.len();
        if !self.say(out, Kind::Relay(bytes)) {
            return Err((ErrorCode::Full, 1_000));
        }
        let label = |device| self.contacts.of_device(device).map(|c| c.row.label.clone());
        let (from, to) = (label(sender), label(header.to));
        self.out.event(Event::Fabric(Fabric::Carried {
            from,
            to,
            bytes: len,
        }));
        Ok(())
    }

    /// Hands a part of a file on, behind all else and within its own quota. Only its sender is told
    /// where it does not go: the recipient asks again anyway.
    fn carry_part(
        &mut self,
        now: Now,
        (out, pair): (LinkId, (UserFp, UserFp)),
        bytes: Vec<u8>,
    ) -> Result<(), NotTaken> {
        let per_s = self.me.config.relay_files_per_s;
        if per_s == 0 {
            return Err((ErrorCode::PermissionDenied, 0));
        }
        let ready = self.links.get(out).and_then(|link| link.ready());
        if !ready.is_some_and(|ready| ready.queue.is_light()) {
            return Err((ErrorCode::Full, FILE_PART_BUSY_MS));
        }
        let carried = &mut self.carried;
        if let Err(wait_ms) = carried.take_part(pair, bytes.len(), per_s, now.mono_ms) {
            return Err((ErrorCode::RateLimited, wait_ms));
        }
        self.out.counters.count("file-part-carried");
        self.say(out, Kind::Relay(bytes));
        Ok(())
    }

    /// Nobody but the recipient is handed a parcel.
    fn another_relay(&self, sender: DeviceFp) -> Option<LinkId> {
        if !planted!(RelayedTwice) {
            return None;
        }
        let others = self.links.by_id.values().filter(|l| l.is_ready());
        let mut others = others.filter(|link| link.device != sender);
        others.next().map(|link| link.id)
    }

    /// Says on a link why a parcel did not go on, not too often.
    pub(crate) fn refuse_parcel(&mut self, now: Now, id: LinkId, parcel: ParcelId, why: NotTaken) {
        if self.nacks.take(now.mono_ms) {
            self.refuse_item(id, parcel.to_vec(), why);
        }
    }

    /// Something we sent on a link was refused: a relay that does not hand on is not waited for.
    pub(crate) fn on_refusal(&mut self, now: Now, id: LinkId, refusal: &Refusal) {
        self.out.counters.count("refused-by-peer");
        if self.on_fetch_refused(now, id, refusal) || self.on_deposit_refused(now, id, refusal) {
            return;
        }
        if planted!(NoRouteIgnored) || self.on_part_refused(now, id, refusal) {
            return;
        }
        // Whoever is not linked to it says so anew when that changes; whoever is busy, later.
        let no_route = refusal.code == ErrorCode::NoRoute.name();
        let Some((_, to)) = self.relayed_over(id, &refusal.subject) else {
            if no_route {
                self.on_late_refusal(now, id, &refusal.subject);
            }
            return;
        };
        let wait_ms = u64::from(refusal.retry_after_ms).clamp(RELAY_PAUSE_MS_MIN, ROUTE_DEMOTED_MS);
        let pause_ms = if no_route { ROUTE_DEMOTED_MS } else { wait_ms };
        self.end_relay(now, id, to, pause_ms);
    }

    /// The message was settled another way before its relay said that it has no route: the next one
    /// does not go there.
    fn on_late_refusal(&mut self, now: Now, id: LinkId, subject: &[u8]) {
        let ready = self.links.get(id).and_then(|link| link.ready());
        let parcel = ParcelId::try_from(subject).ok();
        let to = ready.and_then(|ready| ready.handed_for(&parcel?));
        if let Some(to) = to {
            self.end_relay(now, id, to, ROUTE_DEMOTED_MS);
        }
    }

    /// Nothing more goes through this peer to the device for a while: another one takes its place,
    /// if there is one, and the ladder goes on.
    pub(crate) fn end_relay(&mut self, now: Now, id: LinkId, to: DeviceFp, pause_ms: u64) {
        let owner = self.contacts.of_device(to).map(|c| c.row.label.clone());
        let (Some(link), Some(user)) = (self.links.get_mut(id), owner) else {
            return;
        };
        let through = link.device;
        let ended = link.ready_mut().and_then(|ready| ready.relayed.remove(&to));
        self.vias
            .demote(to, through, now.mono_ms.saturating_add(pause_ms));
        if ended.is_none() {
            return;
        }
        self.timers.cancel(&Timer::Route(id, to));
        let reason = "no acknowledgement through the relay".to_owned();
        self.peer(now, &user).last_error = Some(reason);
        if self.outbox.has_waiting(&user) {
            self.pump_relays(now, &user);
            self.start_climb(now, &user);
        }
    }

    /// Remembers what was handed to a relay, for its answer.
    pub(crate) fn note_handed(&mut self, id: LinkId, to: DeviceFp, bytes: &[u8]) {
        let ready = self.links.get_mut(id).and_then(|link| link.ready_mut());
        if let (Some(ready), Ok(parcel)) = (ready, Parcel::parse(bytes)) {
            ready.note_handed(parcel.id(), to);
        }
    }

    /// A relay says that a message of ours is on the link to its recipient.
    pub(crate) fn on_relayed(&mut self, now: Now, id: LinkId, subject: &[u8]) {
        let Some((message, to)) = self.relayed_over(id, subject) else {
            return self.out.counters.count("relayed-unasked");
        };
        // A copy that is on its way says nothing of the message.
        if self.is_own_other(to) {
            return;
        }
        let fresh = self
            .outbox
            .get(&message)
            .is_some_and(|entry| entry.state() < DeliveryState::Relayed);
        if !fresh {
            return;
        }
        let path = Way::Relay(id).path();
        self.tell_path(now, message, DeliveryState::Relayed, path);
        let op = StoreOp::SetState {
            id: message,
            state: DeliveryState::Relayed,
            rung: None,
            path: Some(path),
            reason: None,
            at_ms: now.wall_ms,
        };
        self.lazily(now, op);
    }

    /// The message a parcel carries that we gave to the peer of this link, and for which device.
    fn relayed_over(&self, id: LinkId, subject: &[u8]) -> Option<(MessageId, DeviceFp)> {
        let parcel = ParcelId::try_from(subject).ok()?;
        let message = self.outbox.of_parcel(&parcel)?;
        let entry = self.outbox.get(&message)?;
        let relayed = &self.links.get(id)?.ready()?.relayed;
        let of_it = |(to, bytes): &&(DeviceFp, Vec<u8>)| {
            let out = relayed
                .get(to)
                .is_some_and(|f| f.in_flight.contains_key(&entry.order));
            out && Parcel::parse(bytes).is_ok_and(|known| known.id() == parcel)
        };
        let (to, _) = entry.row.parcels.iter().find(of_it)?;
        Some((message, *to))
    }

    /// Store and forward by the signalling socket: what waits is handed to the recipient's own
    /// socket, and to coordinators, which may be linked to it. The way out where only wss passes.
    pub(crate) fn request_relay(&mut self, now: Now, label: &Label) {
        let sockets = self.presence.sockets();
        let mut batch = Vec::new();
        // Nothing goes out before it is committed.
        let sealed = |entry: &&Entry| entry.phase == Phase::Sealed;
        let waiting = self.outbox.after(label, 0).filter(sealed);
        for entry in waiting.take(RELAY_REQUEST_BATCH) {
            let theirs = |(to, _): &&(DeviceFp, Vec<u8>)| !self.is_own_other(*to);
            batch.extend(entry.row.parcels.iter().filter(theirs).cloned());
        }
        for (to, parcel) in batch {
            let device = self.contacts.of_device(to).and_then(|c| c.device(to));
            let own = device.map(|device| device.label.clone());
            for socket in &sockets {
                let relay = self.presence.coordinator_at(*socket);
                for name in own.iter().cloned().chain(relay) {
                    if !self.relay_requests.take(now.mono_ms) {
                        return;
                    }
                    let kind = SignalKind::RelayRequest;
                    self.out.signal(*socket, kind, name, parcel.clone());
                }
            }
        }
    }

    /// A parcel for us came over a signalling socket.
    pub(crate) fn on_signal_parcel(
        &mut self,
        now: Now,
        frame: (SocketId, SignalKind, &str),
        bytes: &[u8],
    ) {
        let (socket, kind, from) = frame;
        let parcel = match Parcel::parse(bytes) {
            Ok(parcel) => parcel,
            Err(error) => {
                let detail = format!("in a signalling frame from {from}: {error}");
                return self.out.warn(now, "parcel-refused", detail);
            }
        };
        if kind == SignalKind::RelayRequest && parcel.header().to != self.me.device {
            return self.on_relay_request(now, &parcel, bytes);
        }
        self.take_parcel(now, Some(from), &parcel, Way::Socket(socket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(n: u64) -> (UserFp, UserFp) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        (UserFp(bytes), UserFp([9; 32]))
    }

    #[test]
    fn a_pair_of_users_has_its_share_and_is_told_how_long_to_wait() {
        let mut carried = Carried::default();
        let burst = RELAY_BYTES_BURST as usize;
        assert_eq!(carried.take(pair(1), burst, 0), Ok(()));
        let wait_ms = carried.take(pair(1), 1_024, 0).expect_err("used up");
        assert_eq!(wait_ms, 1_024 * 1_000 / RELAY_BYTES_PER_S + 1);
        assert_eq!(
            carried.take(pair(2), burst, 0),
            Ok(()),
            "others are not touched"
        );
        assert_eq!(carried.take(pair(1), 1_024, wait_ms), Ok(()));
    }

    #[test]
    fn files_have_a_share_of_their_own_in_each_pair_and_in_all() {
        let (mut carried, per_s) = (Carried::default(), 64 * 1_024);
        let mut part = |n, now_ms| carried.take_part(pair(n), 16_000, per_s, now_ms);
        let sent = |n, part: &mut dyn FnMut(u64, u64) -> Result<(), u64>| {
            (0..100).take_while(|_| part(n, 0).is_ok()).count()
        };
        assert_eq!(sent(1, &mut part), 12, "three seconds");
        assert_eq!(sent(2, &mut part), 12);
        // What one pair could still have, all together have not.
        assert_eq!(sent(3, &mut part), 0);
        assert_eq!(
            part(3, 10_000),
            Ok(()),
            "and it did not cost the pair anything"
        );
        let burst = RELAY_BYTES_BURST as usize;
        assert_eq!(carried.take(pair(1), burst, 0), Ok(()), "chat has its own");
    }

    #[test]
    fn pairs_are_bounded_and_idle_ones_are_forgotten() {
        let mut carried = Carried::default();
        for n in 0..RELAY_PAIRS_MAX as u64 {
            assert_eq!(carried.take(pair(n), 512, 0), Ok(()));
        }
        assert!(carried.take(pair(u64::MAX), 512, 0).is_err());
        assert_eq!(carried.len(), RELAY_PAIRS_MAX);
        assert_eq!(carried.take(pair(u64::MAX), 512, 60_000), Ok(()));
        assert_eq!(carried.len(), 1);
    }
}
