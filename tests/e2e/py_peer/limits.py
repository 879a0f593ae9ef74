"""The bounds of docs/PROTOCOL.md section 16 a peer meets, and its own; each with its reason."""

SDP_LEN_MAX = 8_192
CANDIDATE_LEN_MAX = 512
CANDIDATES_MAX = 32
SESSIONS_PENDING_MAX = 2
FRAME_LEN_DEFAULT = 16_384
FRAME_ITEMS_MAX = 64
ACK_ITEMS_MAX = 64
SIGNAL_FRAME_LEN_MAX = 65_536
TEXT_LEN_MAX = 12_000
HELLO_TIMEOUT_S = 5
SESSION_TIMEOUT_S = 30
PARCEL_TTL_MAX_S = 2_592_000

STORE_PAGE_MAX = 64
STORE_CURSOR_LEN_MAX = 32
STORE_TICKET_LEN_MAX = 1_024

# "1 to 3 devices", says the schema of PeerFound.
FOUND_DEVICES_MAX = 3
# Section 13: only a Nack makes a new seal of an envelope, this often at most.
RESEALS_MAX = 5
# What we remember, so that nobody fills our memory; a test network is far smaller.
PEOPLE_MAX = 256
PARCELS_SEEN_MAX = 4_096
MESSAGES_SEEN_MAX = 4_096
SESSIONS_SEEN_MAX = 1_024
# Section 11: "candidates may overtake their offer: keep a few".
EARLY_MAX = 64
# Section 14: what a peer answers on a link stays below this many times what came on it.
ANSWER_BYTES_FACTOR = 4
# Section 14: bytes a pair of users may have handed on, a second and at once.
RELAY_BYTES_PER_S = 32 * 1024
RELAY_BYTES_BURST = 1024 * 1024
# Parcels we keep for one device.
KEPT_MAX = 256
# Users and messages in flight, queries without an answer.
WAITING_MAX = 64
# How long the other side may take to close after our GOODBYE; it is polite, not needed.
GOODBYE_WAIT_S = 2
# Frames and events waiting in this process for their turn; more is a flood.
QUEUE_MAX = 1_024
