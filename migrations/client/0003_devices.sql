-- Several devices of one user.

-- Who has acknowledged a message of ours, while other devices are still to get it: a delivered
-- message with rows here is still served.
CREATE TABLE outbox_acks (
    message   BLOB NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    device_fp BLOB NOT NULL CHECK (length(device_fp) = 32),
    PRIMARY KEY (message, device_fp)
) STRICT, WITHOUT ROWID;
