-- leases.db: who was seen where. Written with synchronous=NORMAL, in batches: a power loss may
-- cost the last seconds, and every device announces again by itself.

CREATE TABLE leases (
    network_no INTEGER NOT NULL,
    device_fp  BLOB    NOT NULL CHECK (length(device_fp) = 32),
    device     TEXT    NOT NULL,
    handle     TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    record     BLOB    NOT NULL,
    -- deviceIds of the coordinators the device named, joined by commas.
    named      TEXT    NOT NULL,
    -- Those that confirmed it and when (Unix ms): label=ms, joined by commas, newest first.
    confirmed  TEXT    NOT NULL DEFAULT '',
    expires_ms INTEGER NOT NULL,
    seen_ms    INTEGER NOT NULL,
    PRIMARY KEY (network_no, device_fp)
) STRICT, WITHOUT ROWID;
