-- Parcels kept for other devices, by order of arrival (n). One page of a recipient is one range
-- scan of kept_page; sums by (recipient, user) are read from it alone.
CREATE TABLE kept (
    n          INTEGER PRIMARY KEY,
    recipient  BLOB    NOT NULL CHECK (length(recipient) = 32),
    user_fp    BLOB    NOT NULL CHECK (length(user_fp) = 32),
    id         BLOB    NOT NULL CHECK (length(id) = 32),
    -- On the steady clock.
    expires_ms INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    parcel     BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX kept_once ON kept (recipient, id);
CREATE INDEX kept_page ON kept (recipient, n, user_fp, bytes);
CREATE INDEX kept_end ON kept (expires_ms);
