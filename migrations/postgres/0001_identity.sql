-- Who exists. Written with synchronous_commit on: an answered join is on the disk. Labels compare
-- by bytes, so that pages come in the same order as from SQLite.

-- Keys that bearer tokens are signed with.
CREATE TABLE token_keys (
    seed       BYTEA  NOT NULL PRIMARY KEY CHECK (length(seed) = 32),
    created_ms BIGINT NOT NULL
);

-- A network is its authority key's fingerprint; the label is for URLs.
CREATE TABLE networks (
    network_no          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    label               TEXT COLLATE "C" NOT NULL UNIQUE,
    fp                  BYTEA  NOT NULL UNIQUE CHECK (length(fp) = 32),
    descriptor          BYTEA  NOT NULL,
    descriptor_version  BIGINT NOT NULL,
    revocations         BYTEA  NOT NULL DEFAULT '',
    revocations_version BIGINT NOT NULL DEFAULT 0,
    next_serial         BIGINT NOT NULL DEFAULT 1,
    registrar_seed      BYTEA  NOT NULL CHECK (length(registrar_seed) = 32),
    -- NULL where the authority key is kept offline.
    authority_seed      BYTEA  CHECK (authority_seed IS NULL OR length(authority_seed) = 32),
    created_ms          BIGINT NOT NULL
);

-- Members, revoked ones included: a handle is never given to another key.
CREATE TABLE users (
    user_no      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network_no   BIGINT NOT NULL REFERENCES networks (network_no),
    handle       TEXT COLLATE "C" NOT NULL,
    user_fp      BYTEA  NOT NULL CHECK (length(user_fp) = 32),
    role         INTEGER NOT NULL,
    serial       BIGINT NOT NULL,
    revoked      BOOLEAN NOT NULL DEFAULT FALSE,
    membership   BYTEA  NOT NULL,
    list_version BIGINT NOT NULL,
    device_list  BYTEA  NOT NULL,
    joined_ms    BIGINT NOT NULL,
    UNIQUE (network_no, handle),
    UNIQUE (network_no, user_fp),
    UNIQUE (network_no, serial)
);

-- What the device lists in force name: one owner per label and per key.
CREATE TABLE devices (
    network_no BIGINT NOT NULL REFERENCES networks (network_no),
    label      TEXT COLLATE "C" NOT NULL,
    device_fp  BYTEA  NOT NULL CHECK (length(device_fp) = 32),
    user_no    BIGINT NOT NULL REFERENCES users (user_no),
    PRIMARY KEY (network_no, label),
    UNIQUE (network_no, device_fp)
);

CREATE INDEX devices_by_user ON devices (user_no);

CREATE TABLE invites (
    network_no BIGINT NOT NULL REFERENCES networks (network_no),
    invite_key BYTEA  NOT NULL CHECK (length(invite_key) = 32),
    role       INTEGER NOT NULL,
    uses       BIGINT NOT NULL,
    used       BIGINT NOT NULL DEFAULT 0,
    expires_ms BIGINT NOT NULL,
    envelope   BYTEA  NOT NULL,
    PRIMARY KEY (network_no, invite_key),
    CHECK (used BETWEEN 0 AND uses)
);

-- One row per use; two joins can never share a slot.
CREATE TABLE invite_uses (
    network_no BIGINT NOT NULL,
    invite_key BYTEA  NOT NULL,
    slot       BIGINT NOT NULL,
    user_fp    BYTEA  NOT NULL CHECK (length(user_fp) = 32),
    used_ms    BIGINT NOT NULL,
    PRIMARY KEY (network_no, invite_key, slot),
    UNIQUE (network_no, invite_key, user_fp),
    FOREIGN KEY (network_no, invite_key) REFERENCES invites (network_no, invite_key)
        ON DELETE CASCADE
);
