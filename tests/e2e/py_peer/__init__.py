"""A Beeline *peer* in Python: links, messages, queries and relaying, over aiortc, from nothing but
docs/PROTOCOL.md and the schema in proto/.

It stands on `spec_client` beside it: keys, signing, sealing, chains, joining, tokens. It shares no
code with the Rust implementation, so where both agree, the documents are enough. It needs Python
3.11 or newer.

    python -m spec_client join LINK --user ID --home DIR     makes the home it runs in
    python -m py_peer run|listen|send --home DIR …           one peer of a network
    python -m py_peer story --url … --invite …               several, in one process

One process is one boot with one "database" in memory: every start is a new incarnation.
"""
