-- Files on their way. Their bytes are elsewhere; here is what each is, and how far.

-- Files of ours, by the message that offers each.
CREATE TABLE files_out (
    id         BLOB    PRIMARY KEY REFERENCES outbox (id) ON DELETE CASCADE,
    to_user_id TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    root       BLOB    NOT NULL CHECK (length(root) = 32),
    file_key   BLOB    NOT NULL CHECK (length(file_key) = 32),
    chunk_size INTEGER NOT NULL,
    list_len   INTEGER NOT NULL,
    files      INTEGER NOT NULL,
    -- offered, wanted, done, ended
    state      TEXT    NOT NULL,
    reason     INTEGER NOT NULL,
    -- Held back by us.
    held       INTEGER NOT NULL,
    -- On the steady clock.
    born_ms    INTEGER NOT NULL,
    -- The whole of a small file, until it is over.
    content    BLOB
) STRICT;
CREATE INDEX files_out_open ON files_out (state) WHERE state <> 'ended';

-- Files for us, by the device that offers each and the message that does.
CREATE TABLE files_in (
    device_fp    BLOB    NOT NULL CHECK (length(device_fp) = 32),
    id           BLOB    NOT NULL CHECK (length(id) = 16),
    user_fp      BLOB    NOT NULL CHECK (length(user_fp) = 32),
    from_user_id TEXT    NOT NULL,
    hash         BLOB    NOT NULL CHECK (length(hash) = 32),
    name         TEXT    NOT NULL,
    size         INTEGER NOT NULL,
    root         BLOB    NOT NULL CHECK (length(root) = 32),
    file_key     BLOB    NOT NULL CHECK (length(file_key) = 32),
    chunk_size   INTEGER NOT NULL,
    list_len     INTEGER NOT NULL,
    files        INTEGER NOT NULL,
    -- offered, accepted, done, declined, ended
    state        TEXT    NOT NULL,
    reason       INTEGER NOT NULL,
    -- Where it is, once it is done.
    path         TEXT    NOT NULL,
    -- Held back by us.
    held         INTEGER NOT NULL,
    -- Whether its sender knows what came of it.
    told         INTEGER NOT NULL,
    -- On the steady clock.
    born_ms      INTEGER NOT NULL,
    -- The whole of a small file, until it is over.
    content      BLOB,
    PRIMARY KEY (device_fp, id)
) STRICT;
CREATE INDEX files_in_open ON files_in (told) WHERE told = 0;
