-- Several devices of one user.

-- Who has acknowledged a message of ours, while other devices are still to get it: a delivered
-- message with rows here is still served.
CREATE TABLE outbox_acks (
    message   BLOB NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    device_fp BLOB NOT NULL CHECK (length(device_fp) = 32),
    PRIMARY KEY (message, device_fp)
) STRICT, WITHOUT ROWID;

-- What our other devices said to others: history only. (device_fp, id) names one for ever.
CREATE TABLE copies (
    device_fp   BLOB    NOT NULL CHECK (length(device_fp) = 32),
    id          BLOB    NOT NULL CHECK (length(id) = 16),
    to_user_id  TEXT    NOT NULL,
    user_fp     BLOB    NOT NULL CHECK (length(user_fp) = 32),
    hash        BLOB    NOT NULL CHECK (length(hash) = 32),
    envelope    BLOB    NOT NULL,
    incarnation INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    text        TEXT    NOT NULL,
    sent_at_ms  INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    -- A deleted one leaves its row as tombstone, without text and envelope.
    deleted     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX copies_once ON copies (device_fp, id);
CREATE INDEX copies_of ON copies (id);
CREATE INDEX copies_history ON copies (to_user_id, received_ms);
