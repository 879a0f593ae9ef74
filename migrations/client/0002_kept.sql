-- Parcels kept for other devices, by order of arrival (n). One page of a recipient is one range
-- scan of kept_page; sums by (recipient, user) are read from it alone.
CREATE TABLE kept (
    n          INTEGER PRIMARY KEY,
    recipient  BLOB    NOT NULL CHECK (length(recipient) = 32),
    user_fp    BLOB    NOT NULL CHECK (length(user_fp) = 32),
    id         BLOB    NOT NULL CHECK (length(id) = 32),
    -- By the clock of keeping, below.
    expires_ms INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    parcel     BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX kept_once ON kept (recipient, id);
CREATE INDEX kept_page ON kept (recipient, n, user_fp, bytes);
CREATE INDEX kept_end ON kept (expires_ms);

-- The clock of keeping, which runs while the process does, and the wall clock at the same moment:
-- at most one row.
CREATE TABLE kept_clock (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    clock_ms INTEGER NOT NULL,
    wall_ms  INTEGER NOT NULL
) STRICT;
