//! Questions about the store, on a connection that cannot write: they work while another process,
//! or nobody, owns the home, and without a network.

use super::load::{Own, contact, rows, unsigned};
use super::{custody, history, names, open};
use crate::error::{QueryError, StoreError};
use crate::home::Home;
use crate::identity::Identity;
use crate::report::{Counts, HistoryItem, RouteInfo, SafetyNumber, Story, StoryStep, Unshown, Who};
use beeline_proto::chain::VerifiedChain;
use beeline_proto::id::{Label, MessageId, NetworkFp};
use beeline_proto::keys::VerifyKey;
use beeline_proto::safety::safety_number;
use client_core::event::{Kept, REMOVED};
use client_core::files::now::FileNow;
use client_core::files::rows::FileOutState;
use client_core::limits::ROUTE_FRESH_MS;
use client_core::state::ContactRow;
use rusqlite::{Connection, OptionalExtension as _};
use std::path::Path;

/// Answers questions about one home.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    who: Who,
    user_key: VerifyKey,
}

impl Reader {
    /// Opens the store of a home somebody has joined with.
    ///
    /// # Errors
    /// [`QueryError::Home`] or [`QueryError::Store`].
    pub fn open(home: &Path) -> Result<Self, QueryError> {
        let home = Home::at(home);
        let identity = Identity::load(&home)?;
        Ok(Self::on(open::open_at_rest(&home)?, &identity))
    }

    /// The same beside the writer of its own process.
    pub(crate) fn of(home: &Home, identity: &Identity) -> Result<Self, StoreError> {
        Ok(Self::on(open::open_reader(home)?, identity))
    }

    fn on(conn: Connection, identity: &Identity) -> Self {
        Self {
            conn,
            who: identity.who(),
            user_key: identity.user_public,
        }
    }

    /// Who the home is.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// Our own chain as the store has it; `None` in a store nobody used yet.
    pub(crate) fn own_chain(&self) -> Result<Option<Own>, QueryError> {
        let sql = "SELECT chain, revocations FROM own";
        let mut statement = self.conn.prepare_cached(sql).map_err(StoreError::from)?;
        let found = statement.query_row([], |row| {
            let (chain, revocations) = (row.get(0)?, row.get(1)?);
            Ok(Own { chain, revocations })
        });
        Ok(found.optional().map_err(StoreError::from)?)
    }

    /// What to do if our user took this device off the device list, as the store knows it.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub fn removed(&self) -> Result<Option<&'static str>, QueryError> {
        let Some(own) = self.own_chain()? else {
            return Ok(None);
        };
        let chain = VerifiedChain::open(&own.chain, self.who.network);
        let chain = chain.map_err(|e| StoreError::Damaged(format!("our own chain: {e}")))?;
        let listed = chain.device(self.who.device).is_ok();
        Ok((!listed).then_some(REMOVED))
    }

    /// How much the store holds.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub fn counts(&self) -> Result<Counts, QueryError> {
        let count = |what: &str| -> Result<u64, StoreError> {
            let sql = format!("SELECT count(*) FROM {what}");
            Ok(self
                .conn
                .prepare_cached(&sql)?
                .query_row([], |row| unsigned(row, 0))?)
        };
        Ok(Counts {
            outbox: count("outbox WHERE state IN ('queued', 'trying', 'relayed', 'stored')")?,
            unshown: count("inbox WHERE show IN ('released', 'showing')")?,
            contacts: count("contacts")?,
            routes: self.routes(0)?.len() as u64,
        })
    }

    /// The route cache, most recently connected first, as of `wall_ms`.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub fn routes(&self, wall_ms: u64) -> Result<Vec<RouteInfo>, QueryError> {
        let rows = super::load::routes(&self.conn)?;
        // Our own device has a row too: it keeps the version of our record.
        let others = rows.into_iter().filter(|row| row.device != self.who.device);
        let info = others.map(|row| RouteInfo {
            user_label: row.user_label,
            device: row.device,
            signal_addr: row.signal_addr,
            found_by: row.found_by,
            connected_ms: row.connected_ms,
            seen_ms: row.seen_ms,
            fresh: row.seen_ms.max(row.connected_ms) + ROUTE_FRESH_MS > wall_ms,
            demoted: row.demoted_until_ms > wall_ms,
        });
        Ok(info.collect())
    }

    /// The last `limit` messages with a user, oldest first.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub fn history(&self, user: &Label, limit: usize) -> Result<Vec<HistoryItem>, QueryError> {
        Ok(history::history(&self.conn, user, limit)?)
    }

    /// What happened to a message.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] or [`QueryError::Store`].
    pub fn why(&self, id: MessageId) -> Result<Story, QueryError> {
        let of = [id.0];
        let found = history::find(&self.conn, id)?;
        let item =
            found.ok_or_else(|| QueryError::NotFound(format!("no message {}", id.to_text())))?;
        let side = if item.ours && item.sent_by.is_none() {
            "device_fp = x''"
        } else {
            "device_fp <> x''"
        };
        let sql = format!(
            "SELECT at_ms, state, rung, path, reason, kept, wanted FROM steps
             WHERE id = ?1 AND {side} ORDER BY step"
        );
        let steps = rows(&self.conn, &sql, of, |row| {
            let word = |column| row.get::<_, Option<String>>(column);
            Ok(StoryStep {
                at_ms: unsigned(row, 0)?,
                state: row.get(1)?,
                rung: word(2)?.and_then(|name| names::rung(&name)),
                path: word(3)?.and_then(|name| names::path(&name)),
                reason: word(4)?,
                kept: match (row.get(5)?, row.get(6)?) {
                    (Some(n), Some(k)) => Some(Kept { n, k }),
                    _ => None,
                },
            })
        })?;
        let keepers = custody::keepers(&self.conn, self.who.network, id)?;
        Ok(Story {
            item,
            steps,
            keepers,
        })
    }

    /// Messages to show, in order, at most `limit`.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub fn unshown(&self, limit: usize) -> Result<Vec<Unshown>, QueryError> {
        Ok(history::unshown(&self.conn, limit)?)
    }

    /// How far a file of ours is, and its size; `None` for one that is not.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub fn file_sent(&self, id: MessageId) -> Result<Option<(FileOutState, u64)>, QueryError> {
        Ok(super::files::sent(&self.conn, id)?)
    }

    /// The files under way and waiting, the oldest first.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub fn files(&self) -> Result<Vec<FileNow>, QueryError> {
        Ok(super::files_read::waiting(&self.conn)?)
    }

    /// The digits to compare with a user.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] for a user nothing is known of; [`QueryError::Store`].
    pub fn safety_number(&self, user: &Label) -> Result<SafetyNumber, QueryError> {
        let contact = self.contact(user)?.ok_or_else(|| {
            QueryError::NotFound(format!("nothing is known of {user}; send a message first"))
        })?;
        let digits = |chain: &[u8]| -> Result<String, QueryError> {
            let key = user_key(chain, self.who.network)?;
            safety_number(&self.who.network, &self.user_key, &key)
                .ok_or_else(|| QueryError::NotFound("that is you".to_owned()))
        };
        let claimed = contact.claimed_chain.as_deref();
        Ok(SafetyNumber {
            user: user.clone(),
            digits: digits(&contact.chain)?,
            verified: contact.verified,
            claimed: claimed.map(digits).transpose()?,
        })
    }

    fn contact(&self, user: &Label) -> Result<Option<ContactRow>, StoreError> {
        let sql = "SELECT user_fp, user_id, chain, verified, claimed_chain, knows_membership,
                       knows_devices, read_receipts
                   FROM contacts WHERE user_id = ?1";
        let mut statement = self.conn.prepare_cached(sql)?;
        let found = statement.query_row([user.as_str()], contact);
        Ok(found.optional()?)
    }
}

fn user_key(chain: &[u8], network: NetworkFp) -> Result<VerifyKey, StoreError> {
    let chain = VerifiedChain::open(chain, network)
        .map_err(|e| StoreError::Damaged(format!("a contact's chain: {e}")))?;
    Ok(chain.membership.user_key)
}
