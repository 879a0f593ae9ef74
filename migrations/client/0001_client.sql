-- The client's store: one device in one network. Times are Unix milliseconds by the local clock;
-- incarnations and sequence numbers are unsigned 64-bit numbers kept in signed columns bit by bit.

-- Ourselves: exactly one row.
CREATE TABLE own (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    incarnation INTEGER NOT NULL,
    chain       BLOB    NOT NULL,
    revocations BLOB    NOT NULL
) STRICT;

-- Our bundles, with the secrets that open MESSAGE parcels.
CREATE TABLE bundles (
    key_id        BLOB    PRIMARY KEY CHECK (length(key_id) = 16),
    made_ms       INTEGER NOT NULL,
    superseded_ms INTEGER NOT NULL,
    secret        BLOB    NOT NULL CHECK (length(secret) = 32),
    envelope      BLOB    NOT NULL
) STRICT;

-- Users whose key is pinned. One userId means one key.
CREATE TABLE contacts (
    user_id          TEXT    PRIMARY KEY,
    user_fp          BLOB    NOT NULL CHECK (length(user_fp) = 32),
    chain            BLOB    NOT NULL,
    verified         INTEGER NOT NULL,
    claimed_chain    BLOB,
    knows_membership INTEGER NOT NULL,
    knows_devices    INTEGER NOT NULL
) STRICT;

-- The route cache of the discovery ladder.
CREATE TABLE peer_routes (
    device_fp        BLOB    PRIMARY KEY CHECK (length(device_fp) = 32),
    user_id          TEXT    NOT NULL,
    user_fp          BLOB    NOT NULL CHECK (length(user_fp) = 32),
    record           BLOB    NOT NULL,
    signal_addr      TEXT    NOT NULL,
    found_by         TEXT    NOT NULL,
    connected_ms     INTEGER NOT NULL,
    seen_ms          INTEGER NOT NULL,
    demoted_until_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX peer_routes_user ON peer_routes (user_id);

-- Messages of ours, for ever; the open ones are the outbox.
CREATE TABLE outbox (
    id              BLOB    PRIMARY KEY CHECK (length(id) = 16),
    to_user_id      TEXT    NOT NULL,
    incarnation     INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    text            TEXT    NOT NULL,
    queued_ms       INTEGER NOT NULL,
    envelope        BLOB,
    state           TEXT    NOT NULL,
    path            TEXT,
    reason          TEXT,
    idempotency_key TEXT
) STRICT;
CREATE UNIQUE INDEX outbox_idempotency ON outbox (to_user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX outbox_order ON outbox (to_user_id, incarnation, seq);
CREATE INDEX outbox_open ON outbox (state)
    WHERE state IN ('queued', 'trying', 'relayed', 'stored');
CREATE INDEX outbox_history ON outbox (to_user_id, queued_ms);

-- Their sealed forms, one per recipient device, until the message is final.
CREATE TABLE outbox_parcels (
    message   BLOB NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    device_fp BLOB NOT NULL CHECK (length(device_fp) = 32),
    parcel    BLOB NOT NULL,
    PRIMARY KEY (message, device_fp)
) STRICT;

-- The highest sequence number used per recipient, whatever became of its message.
CREATE TABLE sequences (
    to_user_id  TEXT    NOT NULL,
    incarnation INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    PRIMARY KEY (to_user_id, incarnation)
) STRICT, WITHOUT ROWID;

-- Messages for us. (device_fp, id) names one for ever: a deleted text leaves its row as tombstone.
CREATE TABLE inbox (
    device_fp    BLOB    NOT NULL CHECK (length(device_fp) = 32),
    id           BLOB    NOT NULL CHECK (length(id) = 16),
    user_fp      BLOB    NOT NULL CHECK (length(user_fp) = 32),
    from_user_id TEXT    NOT NULL,
    hash         BLOB    NOT NULL CHECK (length(hash) = 32),
    envelope     BLOB    NOT NULL,
    incarnation  INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    text         TEXT    NOT NULL,
    path         TEXT    NOT NULL,
    sent_at_ms   INTEGER NOT NULL,
    received_ms  INTEGER NOT NULL,
    -- held, released, showing, shown
    show         TEXT    NOT NULL,
    -- The order of release: the order in which to show.
    released     INTEGER
) STRICT;
CREATE UNIQUE INDEX inbox_once ON inbox (device_fp, id);
CREATE INDEX inbox_order ON inbox (device_fp, incarnation, seq);
CREATE INDEX inbox_held ON inbox (show) WHERE show = 'held';
CREATE INDEX inbox_unshown ON inbox (released) WHERE show IN ('released', 'showing');
CREATE INDEX inbox_released ON inbox (released) WHERE released IS NOT NULL;
CREATE INDEX inbox_history ON inbox (from_user_id, received_ms);

-- Per sending device and incarnation: the next sequence number whose turn it is.
CREATE TABLE streams (
    device_fp   BLOB    NOT NULL CHECK (length(device_fp) = 32),
    incarnation INTEGER NOT NULL,
    next_seq    INTEGER NOT NULL,
    PRIMARY KEY (device_fp, incarnation)
) STRICT, WITHOUT ROWID;

-- What happened to a message, for `why`. device_fp is empty for messages of ours.
CREATE TABLE steps (
    step      INTEGER PRIMARY KEY,
    device_fp BLOB    NOT NULL,
    id        BLOB    NOT NULL,
    at_ms     INTEGER NOT NULL,
    state     TEXT    NOT NULL,
    rung      TEXT,
    path      TEXT,
    reason    TEXT
) STRICT;
CREATE INDEX steps_message ON steps (id, device_fp);
