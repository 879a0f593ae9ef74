//! Pages of what is kept: a recipient asks for one after another and gets them as fast as its link
//! takes them, one at a time, so that a link holds one page in memory and no more. What is
//! deposited while it is linked is pushed; what did not fit is read again later.

use crate::bounded::Bucket;
use crate::input::{LinkId, StoreFailure};
use crate::limits::{
    KEEP_BUSY_MS, LINK_QUEUE_MAX, PAGE_AHEAD, PAGE_BYTES_MAX, STORE_ASKS_BURST, STORE_ASKS_PER_S,
};
use crate::manager::PeerManager;
use crate::outputs::Write;
use crate::state::{KeptParcel, StoreOp, StoreResult};
use beeline_proto::code::ErrorCode;
use beeline_proto::limits::STORE_PAGE_MAX;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{StoreFetch, StorePage};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, VecDeque};

/// A page that goes out.
#[derive(Debug)]
struct Page {
    parcels: VecDeque<KeptParcel>,
    /// Order of its last parcel, or where it began.
    last: u64,
    more: bool,
    /// Whether the recipient asked for it, and hears of its end.
    asked: bool,
}

/// What one link is served.
#[derive(Debug)]
struct Serving {
    /// The page being read: what it starts after, how the recipient names it (nothing where it
    /// did not ask).
    reading: Option<(u64, Vec<u8>)>,
    page: Option<Page>,
    /// Lowest order of what was deposited and not pushed.
    owed: Option<u64>,
    asks: Bucket,
}

/// What all links are served.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    by_link: BTreeMap<LinkId, Serving>,
}

impl Pages {
    pub(crate) fn start(&mut self, id: LinkId, now_ms: u64) {
        let serving = Serving {
            reading: None,
            page: None,
            owed: None,
            asks: Bucket::new(STORE_ASKS_PER_S, STORE_ASKS_BURST, now_ms),
        };
        self.by_link.insert(id, serving);
    }

    pub(crate) fn end(&mut self, id: LinkId) {
        self.by_link.remove(&id);
    }

    /// Whether another STORE_FETCH or STORE_DELETE is looked at.
    pub(crate) fn may_ask(&mut self, id: LinkId, now_ms: u64) -> bool {
        let serving = self.by_link.get_mut(&id);
        serving.is_some_and(|serving| serving.asks.take(now_ms))
    }

    /// Whether a new parcel may go out at once: nothing older is on its way or owed.
    pub(crate) fn may_push(&self, id: LinkId) -> bool {
        self.by_link
            .get(&id)
            .is_some_and(|s| s.reading.is_none() && s.page.is_none() && s.owed.is_none())
    }

    /// Notes that a parcel of this order is still to go.
    pub(crate) fn owe(&mut self, id: LinkId, order: u64) {
        if let Some(serving) = self.by_link.get_mut(&id) {
            let owed = serving.owed.unwrap_or(order);
            serving.owed = Some(owed.min(order));
        }
    }

    /// Links served.
    pub(crate) fn len(&self) -> usize {
        self.by_link.len()
    }
}

/// A place as recipients carry it.
fn cursor(order: u64) -> Vec<u8> {
    order.to_be_bytes().to_vec()
}

/// Reads a place we gave out; the beginning is empty.
fn read_cursor(bytes: &[u8]) -> Option<u64> {
    match bytes {
        [] => Some(0),
        bytes => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
    }
}

impl PeerManager {
    /// A recipient asks what is kept for it: only for itself, whoever it says it is.
    pub(crate) fn on_store_fetch(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        let may = self.pages.may_ask(id, now.mono_ms);
        let fetch = may.then(|| self.open_on_link::<StoreFetch>(now, id, bytes, "fetch-refused"));
        let Some(fetch) = fetch else {
            return self.out.counters.count("too-many-fetches");
        };
        let (Some(fetch), Some(link)) = (fetch, self.links.get(id)) else {
            return;
        };
        let recipient = link.device;
        let subject = fetch.context().message_id.to_vec();
        let after = read_cursor(&fetch.payload().after);
        let limit = fetch.payload().limit;
        let fits = (1..=STORE_PAGE_MAX as u32).contains(&limit);
        let (Some(after), true) = (after, fits) else {
            let detail = format!("link {} asks for a page that cannot be", id.0);
            self.out.warn(now, "fetch-refused", detail);
            return self.refuse_item(id, subject, (ErrorCode::InvalidArgument, 0));
        };
        if self.draining {
            return self.refuse_item(id, subject, (ErrorCode::Unavailable, 0));
        }
        let Some(serving) = self.pages.by_link.get_mut(&id) else {
            return;
        };
        if serving.reading.is_some() || serving.page.is_some() {
            self.out.counters.count("fetch-in-fetch");
            return self.refuse_item(id, subject, (ErrorCode::RateLimited, KEEP_BUSY_MS));
        }
        if !self.keeping.has_any(recipient) {
            // Most who ask: nothing is read for them.
            let next = cursor(after);
            self.say(id, Kind::StorePage(StorePage { next, more: false }));
            return;
        }
        if serving.owed.is_some_and(|owed| after < owed) {
            // It is among what was asked for.
            serving.owed = None;
        }
        self.read_page(id, after, limit, subject);
    }

    fn read_page(&mut self, id: LinkId, after: u64, limit: u32, subject: Vec<u8>) {
        let Some(recipient) = self.links.get(id).map(|link| link.device) else {
            return;
        };
        if let Some(serving) = self.pages.by_link.get_mut(&id) {
            serving.reading = Some((after, subject));
            let op = StoreOp::ReadKept {
                recipient,
                after,
                limit,
                bytes_max: PAGE_BYTES_MAX,
            };
            self.out.write(vec![op], Write::ReadKept(id));
        }
    }

    /// A page is read, or could not be.
    pub(crate) fn on_page_read(
        &mut self,
        now: Now,
        id: LinkId,
        results: Result<Vec<StoreResult>, StoreFailure>,
    ) {
        let Some(serving) = self.pages.by_link.get_mut(&id) else {
            return;
        };
        let Some((after, subject)) = serving.reading.take() else {
            return;
        };
        let results = match results {
            Ok(results) => results,
            Err(failure) => {
                self.out.warn(now, "store-failed", failure.detail);
                if subject.is_empty() {
                    // What we would have pushed is asked for on the next link.
                    return;
                }
                return self.refuse_item(id, subject, (ErrorCode::Unavailable, KEEP_BUSY_MS));
            }
        };
        let Some(StoreResult::Page { parcels, more }) = results.into_iter().next() else {
            return self.out.counters.count("store-answer");
        };
        let last = parcels.last().map_or(after, |parcel| parcel.order);
        // What it holds, or its recipient goes on to, is owed no more.
        if serving.owed.is_some_and(|owed| owed <= last || more) {
            serving.owed = None;
        }
        serving.page = Some(Page {
            parcels: parcels.into(),
            last,
            more,
            asked: !subject.is_empty(),
        });
        self.dirty.insert(id);
    }

    /// Hands the next parcels of a page to a link, as far as it takes them, and then says where
    /// the next page starts.
    pub(crate) fn feed_page(&mut self, id: LinkId) {
        loop {
            let ready = self.links.get(id).and_then(|link| link.ready());
            let room = ready.map_or(0, |ready| ready.queue.room());
            let Some(serving) = self.pages.by_link.get_mut(&id) else {
                return;
            };
            if room + PAGE_AHEAD <= LINK_QUEUE_MAX {
                return;
            }
            let Some(page) = serving.page.as_mut() else {
                return self.read_owed(id);
            };
            if let Some(parcel) = page.parcels.pop_front() {
                self.say(id, Kind::Kept(parcel.parcel));
                continue;
            }
            let (last, more, asked) = (page.last, page.more, page.asked);
            serving.page = None;
            if asked {
                let next = cursor(last);
                self.say(id, Kind::StorePage(StorePage { next, more }));
            } else if more {
                self.pages.owe(id, last.saturating_add(1));
            }
        }
    }

    /// Reads what was deposited and could not be pushed.
    fn read_owed(&mut self, id: LinkId) {
        let Some(serving) = self.pages.by_link.get_mut(&id) else {
            return;
        };
        if serving.reading.is_some() || self.draining {
            return;
        }
        if let Some(owed) = serving.owed.take() {
            self.read_page(
                id,
                owed.saturating_sub(1),
                STORE_PAGE_MAX as u32,
                Vec::new(),
            );
        }
    }
}
