-- Who was seen where. Written in batches with synchronous_commit off: a power loss may cost the
-- last moments, and every device announces again by itself.

CREATE TABLE leases (
    network_no BIGINT NOT NULL,
    device_fp  BYTEA  NOT NULL CHECK (length(device_fp) = 32),
    device     TEXT COLLATE "C" NOT NULL,
    handle     TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    record     BYTEA  NOT NULL,
    -- deviceIds of the coordinators the device named, joined by commas.
    named      TEXT   NOT NULL,
    -- Those that confirmed it and when (Unix ms): label=ms, joined by commas, newest first.
    confirmed  TEXT   NOT NULL DEFAULT '',
    expires_ms BIGINT NOT NULL,
    seen_ms    BIGINT NOT NULL,
    PRIMARY KEY (network_no, device_fp)
)
-- Rows are rewritten in place for ever: room on each page keeps updates out of the index.
WITH (fillfactor = 70);
