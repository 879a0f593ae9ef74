//! Collecting: what custodians keep for us, asked for page by page on each new link to one. A
//! parcel goes the way of every other; the custodian is told to delete it only once its message is
//! committed, or can never be accepted. Anything else stays with it: a second copy costs less than
//! a lost message.

use crate::input::LinkId;
use crate::limits::{
    COLLECT_AGAIN_MS, COLLECT_ANSWER_MS, COLLECT_DOUBLINGS_MAX, COLLECT_PAGES_MAX,
    COLLECT_SETTLED_MAX, COLLECT_UNDER_WAY_MAX, KEEP_BUSY_MS, KEEP_FULL_MS,
};
use crate::manager::PeerManager;
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::id::{MessageId, ParcelId};
use beeline_proto::limits::{STORE_CURSOR_LEN_MAX, STORE_PAGE_MAX};
use beeline_proto::parcel::{Kind as ParcelKind, Parcel};
use beeline_proto::pb::peer::v1::nack::Reason;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{Refusal, StoreDelete, StoreFetch, StorePage};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, VecDeque};

/// What became of a kept parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its message is committed, now or before, or can never be: it may go.
    Settled,
    /// It may be acceptable later, by another key, chain or decision: it stays where it is.
    Stays,
    /// It could not be taken now: it is asked for again.
    Again,
}

/// What is collected over one link.
#[derive(Debug, Default)]
struct Collecting {
    /// The question that is open: its message id.
    asked: Option<MessageId>,
    /// When it was asked, or something of the answer came, monotonic milliseconds.
    heard_ms: u64,
    /// Where the next page starts, while there is one to ask for.
    next: Option<Vec<u8>>,
    /// Where the page asked for starts.
    at: Vec<u8>,
    /// Pages asked for in this pass.
    pages: u32,
    /// Refusals in a row.
    refusals: u32,
    /// Parcels that may still come of the page asked for.
    expected: usize,
    /// Parcels handed to the inbox and not yet committed.
    under_way: usize,
    /// Parcels to be deleted.
    settled: VecDeque<ParcelId>,
    /// Something was left behind that is to be asked for again.
    again: bool,
}

/// What is collected over all links.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    by_link: BTreeMap<LinkId, Collecting>,
}

impl Collected {
    /// Links collected over, and parcel ids that wait to be named.
    pub(crate) fn len(&self) -> (usize, usize) {
        let settled = self.by_link.values().map(|c| c.settled.len());
        (self.by_link.len(), settled.sum())
    }
}

impl PeerManager {
    /// A link to somebody who keeps is open: asks for what is there, from the beginning.
    pub(crate) fn start_collecting(&mut self, now: Now, id: LinkId) {
        let ready = self.links.get(id).and_then(|link| link.ready());
        if planted!(KeptNotFetched) {
            return;
        }
        if ready.is_some_and(|ready| ready.can_store) && !self.draining {
            let collecting = Collecting {
                next: Some(Vec::new()),
                ..Collecting::default()
            };
            self.collected.by_link.insert(id, collecting);
            self.ask_for_page(now, id);
        }
    }

    /// Whether anything is still asked for, on its way, or to be named. Who is silent for too long
    /// has nothing for us.
    pub(crate) fn is_collecting(&self, now: Now, id: LinkId) -> bool {
        let collecting = self.collected.by_link.get(&id);
        collecting.is_some_and(|c| {
            let hoped = c.heard_ms.saturating_add(COLLECT_ANSWER_MS) > now.mono_ms;
            let asking = (c.asked.is_some() && hoped) || c.next.is_some() || c.again;
            asking || c.under_way > 0 || !c.settled.is_empty()
        })
    }

    /// A link is gone.
    pub(crate) fn stop_collecting(&mut self, id: LinkId) {
        self.collected.by_link.remove(&id);
        self.timers.cancel(&Timer::Collect(id));
    }

    /// Asks for the next page, unless there is none or enough is under way.
    fn ask_for_page(&mut self, now: Now, id: LinkId) {
        let Some(collecting) = self.collected.by_link.get_mut(&id) else {
            return;
        };
        if collecting.asked.is_some() || collecting.under_way >= COLLECT_UNDER_WAY_MAX {
            return;
        }
        let Some(after) = collecting.next.take() else {
            if collecting.again && collecting.under_way == 0 {
                let at_ms = now.mono_ms + COLLECT_AGAIN_MS;
                self.timers.arm_if_idle(Timer::Collect(id), at_ms);
            }
            return;
        };
        let Some((device, session)) = self.links.get(id).map(|l| (l.device, l.session)) else {
            return;
        };
        let context = self.me.context_on(self.crypto.as_mut(), device, session);
        let asked = context.as_ref().map(|c| c.message_id.clone());
        let asked = asked.and_then(|id| MessageId::try_from(id.as_slice()).ok());
        let fetch = StoreFetch {
            context,
            after: after.clone(),
            limit: STORE_PAGE_MAX as u32,
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &fetch);
        let said = self.say(id, Kind::StoreFetch(envelope));
        let Some(collecting) = self.collected.by_link.get_mut(&id) else {
            return;
        };
        if said {
            collecting.asked = asked;
            collecting.heard_ms = now.mono_ms;
            collecting.pages += 1;
            collecting.expected = STORE_PAGE_MAX;
            collecting.at = after;
        } else {
            collecting.next = Some(after);
            let at_ms = now.mono_ms + KEEP_BUSY_MS;
            self.timers.arm_if_idle(Timer::Collect(id), at_ms);
        }
    }

    /// A custodian hands over a parcel it kept for us.
    pub(crate) fn on_kept_item(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        let Some(collecting) = self.collected.by_link.get_mut(&id) else {
            return self.out.counters.count("kept-unasked");
        };
        collecting.heard_ms = now.mono_ms;
        let expected = collecting.expected > 0;
        collecting.expected = collecting.expected.saturating_sub(1);
        let parcel = match Parcel::parse(bytes) {
            Ok(parcel) if parcel.header().kind == ParcelKind::Message => parcel,
            _ => {
                let detail = format!("link {} hands over what is no kept parcel", id.0);
                return self.out.warn(now, "parcel-refused", detail);
            }
        };
        // What we asked for comes at our own pace; what comes by itself is held to a rate.
        if !expected && !self.opens.take(now.mono_ms) {
            self.out.counters.count("too-many-parcels");
            return self.settle_kept(now, Way::Kept(id), parcel.id(), Fate::Again);
        }
        if planted!(DeletedBeforeCommit) {
            self.settle_kept(now, Way::Kept(id), parcel.id(), Fate::Settled);
        }
        self.on_message_parcel(now, &parcel, Way::Kept(id));
    }

    /// A kept parcel goes into the inbox; what becomes of it follows.
    pub(crate) fn note_under_way(&mut self, way: Way) {
        if let Way::Kept(id) = way
            && let Some(collecting) = self.collected.by_link.get_mut(&id)
        {
            collecting.under_way += 1;
        }
    }

    /// What the inbox had under way is decided.
    pub(crate) fn end_under_way(&mut self, now: Now, way: Way, parcel: ParcelId, fate: Fate) {
        if let Way::Kept(id) = way
            && let Some(collecting) = self.collected.by_link.get_mut(&id)
        {
            collecting.under_way = collecting.under_way.saturating_sub(1);
        }
        self.settle_kept(now, way, parcel, fate);
    }

    /// A parcel cannot be accepted: whether that may change. Only what no key, no chain and no
    /// decision of a person can ever make acceptable is deleted where it is kept.
    pub(crate) fn fate_of(&self, parcel: &Parcel, reason: Reason) -> Fate {
        let header = parcel.header();
        let dead = match reason {
            // The key is here and does not open it: nobody has one that does.
            Reason::UnknownKey => self.bundles.secret(header.key_id).is_some(),
            Reason::Revoked => {
                let contact = self.contacts.of_device(header.from);
                contact.is_some_and(|contact| self.me.revokes(&contact.chain))
            }
            Reason::Invalid | Reason::Conflict => true,
            Reason::Full => return Fate::Again,
            Reason::NeedChain | Reason::UserKeyChanged | Reason::Unspecified => false,
        };
        if dead { Fate::Settled } else { Fate::Stays }
    }

    /// What became of a parcel, if a custodian kept it.
    pub(crate) fn settle_kept(&mut self, now: Now, way: Way, parcel: ParcelId, fate: Fate) {
        let Way::Kept(id) = way else {
            return;
        };
        let Some(collecting) = self.collected.by_link.get_mut(&id) else {
            return;
        };
        match fate {
            Fate::Settled => {
                collecting.settled.push_back(parcel);
                if collecting.settled.len() > COLLECT_SETTLED_MAX {
                    // Asked for again on the next link, and then deleted.
                    collecting.settled.pop_front();
                }
            }
            Fate::Again => collecting.again = true,
            Fate::Stays => self.out.counters.count("kept-stays"),
        }
        self.go_on_collecting(now, id);
    }

    /// Names what is settled to the custodian, a full list at a time or all once nothing more is
    /// under way, and asks for what comes next.
    fn go_on_collecting(&mut self, now: Now, id: LinkId) {
        loop {
            let Some(collecting) = self.collected.by_link.get(&id) else {
                return;
            };
            let settled = collecting.settled.len();
            let full = settled >= STORE_PAGE_MAX;
            if settled == 0 || !(full || collecting.under_way == 0) {
                break;
            }
            if !self.say_delete(id) {
                let at_ms = now.mono_ms + KEEP_BUSY_MS;
                self.timers.arm_if_idle(Timer::Collect(id), at_ms);
                break;
            }
        }
        self.ask_for_page(now, id);
    }

    fn say_delete(&mut self, id: LinkId) -> bool {
        let Some((device, session)) = self.links.get(id).map(|l| (l.device, l.session)) else {
            return false;
        };
        let Some(collecting) = self.collected.by_link.get(&id) else {
            return false;
        };
        let ids = collecting.settled.iter().take(STORE_PAGE_MAX);
        let parcel_ids: Vec<Vec<u8>> = ids.map(|id| id.to_vec()).collect();
        let count = parcel_ids.len();
        let delete = StoreDelete {
            context: self.me.context_on(self.crypto.as_mut(), device, session),
            parcel_ids,
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &delete);
        let said = self.say(id, Kind::StoreDelete(envelope));
        if said && let Some(collecting) = self.collected.by_link.get_mut(&id) {
            collecting.settled.drain(..count);
        }
        said
    }

    /// A page has ended.
    pub(crate) fn on_store_page(&mut self, now: Now, id: LinkId, page: &StorePage) {
        let Some(collecting) = self.collected.by_link.get_mut(&id) else {
            return self.out.counters.count("page-unasked");
        };
        if collecting.asked.take().is_none() {
            return self.out.counters.count("page-unasked");
        }
        collecting.refusals = 0;
        let came = STORE_PAGE_MAX - collecting.expected;
        collecting.expected = 0;
        // One that promises more and gives nothing would never end.
        let goes_on = page.more
            && came > 0
            && collecting.pages < COLLECT_PAGES_MAX
            && (1..=STORE_CURSOR_LEN_MAX).contains(&page.next.len())
            && page.next != collecting.at;
        if goes_on {
            collecting.next = Some(page.next.clone());
        }
        self.go_on_collecting(now, id);
    }

    /// A question was refused: it is asked again when that may help. Whether it was one of these.
    pub(crate) fn on_fetch_refused(&mut self, now: Now, id: LinkId, refusal: &Refusal) -> bool {
        let Some(collecting) = self.collected.by_link.get_mut(&id) else {
            return false;
        };
        let asked = collecting.asked.map(MessageId::to_vec);
        if asked.as_deref() != Some(refusal.subject.as_slice()) {
            return false;
        }
        collecting.asked = None;
        collecting.expected = 0;
        if refusal.retry_after_ms > 0 {
            collecting.next = Some(collecting.at.clone());
            // Longer each time: whoever always says "soon" must not keep us busy.
            let least_ms = KEEP_BUSY_MS << collecting.refusals.min(COLLECT_DOUBLINGS_MAX);
            collecting.refusals = collecting.refusals.saturating_add(1);
            let said_ms = u64::from(refusal.retry_after_ms);
            let wait_ms = said_ms.max(least_ms).min(KEEP_FULL_MS);
            self.timers.arm(Timer::Collect(id), now.mono_ms + wait_ms);
        }
        true
    }

    /// It is time to ask again, or to say what could not be said.
    pub(crate) fn on_collect(&mut self, now: Now, id: LinkId) {
        let Some(collecting) = self.collected.by_link.get_mut(&id) else {
            return;
        };
        let resting = collecting.asked.is_none() && collecting.next.is_none();
        if resting && collecting.again && collecting.under_way == 0 {
            collecting.again = false;
            collecting.pages = 0;
            collecting.next = Some(Vec::new());
        }
        self.go_on_collecting(now, id);
    }
}
