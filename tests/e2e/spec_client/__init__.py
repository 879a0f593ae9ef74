"""A second Beeline client, in Python, from nothing but the specification, docs/PROTOCOL.md, the
schema in proto/ and the gateway's /openapi.json.

It shares no code with the Rust implementation, so where both agree, the documents are enough.

    python -m spec_client vectors PROTO_TESTDATA     checks every golden vector
    python -m spec_client story --url … --grpc … --invite …    plays two users against servers
    python -m spec_client join|token|announce|peer|offer …     one step of it
"""
