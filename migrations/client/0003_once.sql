-- Ages by a steady clock, secrets kept until a newer bundle is out, what settled messages must be
-- held against, a home that notices that it was copied, history that can be deleted.

-- The steady clock as kept last (NULL in a database that was just made), how often the database was
-- opened and which file it was then (0 for a file not looked at yet), when all of it was checked.
ALTER TABLE own ADD COLUMN steady_ms INTEGER;
ALTER TABLE own ADD COLUMN wall_ms INTEGER;
ALTER TABLE own ADD COLUMN opened INTEGER NOT NULL DEFAULT 0;
ALTER TABLE own ADD COLUMN inode INTEGER NOT NULL DEFAULT 0;
ALTER TABLE own ADD COLUMN checked_ms INTEGER NOT NULL DEFAULT 0;

-- born_ms and published_ms are on the steady clock; 0 while nobody has the bundle.
ALTER TABLE bundles ADD COLUMN born_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bundles ADD COLUMN published_ms INTEGER NOT NULL DEFAULT 0;
UPDATE bundles SET born_ms = made_ms, published_ms = made_ms;
ALTER TABLE bundles DROP COLUMN superseded_ms;

-- Whether a person's reading is told to the contact.
ALTER TABLE contacts ADD COLUMN read_receipts INTEGER NOT NULL DEFAULT 1;

-- sealed_to: fingerprints of the devices it was sealed to, one after the other. hash: of the
-- envelope, once that is deleted.
ALTER TABLE outbox ADD COLUMN born_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN sealed_to BLOB NOT NULL DEFAULT x'';
ALTER TABLE outbox ADD COLUMN hash BLOB;
ALTER TABLE outbox ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
UPDATE outbox SET born_ms = queued_ms;
CREATE INDEX outbox_expired ON outbox (state) WHERE state = 'expired';

-- A deleted message leaves its row as tombstone, without text and envelope. late: it was released
-- after later ones of its stream.
ALTER TABLE inbox ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inbox ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
