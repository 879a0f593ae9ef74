-- What custodians promised to keep of our messages, by their signed receipts: one row for each
-- message, recipient device and custodian. They stay with a message that is delivered, for `why`.
CREATE TABLE custody (
    message      BLOB    NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    device_fp    BLOB    NOT NULL CHECK (length(device_fp) = 32),
    custodian_fp BLOB    NOT NULL CHECK (length(custodian_fp) = 32),
    user_fp      BLOB    NOT NULL CHECK (length(user_fp) = 32),
    parcel       BLOB    NOT NULL CHECK (length(parcel) = 32),
    since_ms     INTEGER NOT NULL,
    heard_ms     INTEGER NOT NULL,
    until_ms     INTEGER NOT NULL,
    PRIMARY KEY (message, device_fp, custodian_fp)
) STRICT, WITHOUT ROWID;

-- How many custodians held it, of how many wanted, for `stored`.
ALTER TABLE steps ADD COLUMN kept INTEGER;
ALTER TABLE steps ADD COLUMN wanted INTEGER;
