-- registry.db: who exists. Written with synchronous=FULL: an answered join is on the disk.

-- Keys that bearer tokens are signed with.
CREATE TABLE token_keys (
    seed       BLOB    NOT NULL PRIMARY KEY CHECK (length(seed) = 32),
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A network is its authority key's fingerprint; the label is for URLs.
CREATE TABLE networks (
    network_no          INTEGER PRIMARY KEY,
    label               TEXT    NOT NULL UNIQUE,
    fp                  BLOB    NOT NULL UNIQUE CHECK (length(fp) = 32),
    descriptor          BLOB    NOT NULL,
    descriptor_version  INTEGER NOT NULL,
    revocations         BLOB    NOT NULL DEFAULT x'',
    revocations_version INTEGER NOT NULL DEFAULT 0,
    next_serial         INTEGER NOT NULL DEFAULT 1,
    registrar_seed      BLOB    NOT NULL CHECK (length(registrar_seed) = 32),
    -- NULL where the authority key is kept offline.
    authority_seed      BLOB    CHECK (authority_seed IS NULL OR length(authority_seed) = 32),
    created_ms          INTEGER NOT NULL
) STRICT;

-- Members, revoked ones included: a handle is never given to another key.
CREATE TABLE users (
    user_no      INTEGER PRIMARY KEY,
    network_no   INTEGER NOT NULL REFERENCES networks (network_no),
    handle       TEXT    NOT NULL,
    user_fp      BLOB    NOT NULL CHECK (length(user_fp) = 32),
    role         INTEGER NOT NULL,
    serial       INTEGER NOT NULL,
    revoked      INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1)),
    membership   BLOB    NOT NULL,
    list_version INTEGER NOT NULL,
    device_list  BLOB    NOT NULL,
    joined_ms    INTEGER NOT NULL,
    UNIQUE (network_no, handle),
    UNIQUE (network_no, user_fp),
    UNIQUE (network_no, serial)
) STRICT;

-- What the device lists in force name: one owner per label and per key.
CREATE TABLE devices (
    network_no INTEGER NOT NULL REFERENCES networks (network_no),
    label      TEXT    NOT NULL,
    device_fp  BLOB    NOT NULL CHECK (length(device_fp) = 32),
    user_no    INTEGER NOT NULL REFERENCES users (user_no),
    PRIMARY KEY (network_no, label),
    UNIQUE (network_no, device_fp)
) STRICT, WITHOUT ROWID;

CREATE INDEX devices_by_user ON devices (user_no);

CREATE TABLE invites (
    network_no INTEGER NOT NULL REFERENCES networks (network_no),
    invite_key BLOB    NOT NULL CHECK (length(invite_key) = 32),
    role       INTEGER NOT NULL,
    uses       INTEGER NOT NULL,
    used       INTEGER NOT NULL DEFAULT 0,
    expires_ms INTEGER NOT NULL,
    envelope   BLOB    NOT NULL,
    PRIMARY KEY (network_no, invite_key),
    CHECK (used BETWEEN 0 AND uses)
) STRICT, WITHOUT ROWID;

-- One row per use; two joins can never share a slot.
CREATE TABLE invite_uses (
    network_no INTEGER NOT NULL,
    invite_key BLOB    NOT NULL,
    slot       INTEGER NOT NULL,
    user_fp    BLOB    NOT NULL CHECK (length(user_fp) = 32),
    used_ms    INTEGER NOT NULL,
    PRIMARY KEY (network_no, invite_key, slot),
    UNIQUE (network_no, invite_key, user_fp),
    FOREIGN KEY (network_no, invite_key) REFERENCES invites (network_no, invite_key)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
