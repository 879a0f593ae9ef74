"""HPKE (RFC 9180), base mode, one-shot, the one suite of Beeline: DHKEM(X25519, HKDF-SHA256),
HKDF-SHA256, AES-256-GCM. Written out from the RFC."""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .refusal import Refused

KEM_SUITE = b"KEM" + (0x0020).to_bytes(2, "big")
HPKE_SUITE = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (0x0020, 0x0001, 0x0002))


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    """LabeledExtract."""
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, hashlib.sha256)


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """LabeledExpand."""
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    out, block, count = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + labeled + bytes([count]), hashlib.sha256)
        out, count = out + block, count + 1
    return out[:length]


def public_of(secret: bytes) -> bytes:
    """The X25519 public key of a secret."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def derive_secret(ikm: bytes) -> bytes:
    """DeriveKeyPair: the ephemeral secret from 32 random bytes."""
    return _expand(KEM_SUITE, _extract(KEM_SUITE, b"", b"dkp_prk", ikm), b"sk", b"", 32)


def _dh(secret: bytes, public: bytes) -> bytes:
    """X25519; a shared secret of zeros is refused (RFC 9180 §7.1.4)."""
    try:
        peer = X25519PublicKey.from_public_bytes(public)
        shared = X25519PrivateKey.from_private_bytes(secret).exchange(peer)
    except ValueError:
        raise Refused("bad_key") from None
    if shared == bytes(32):
        raise Refused("bad_key")
    return shared


def schedule(dh: bytes, enc: bytes, recipient: bytes, info: bytes) -> tuple[bytes, bytes, bytes]:
    """The shared secret, and from it key and base nonce."""
    eae_prk = _extract(KEM_SUITE, b"", b"eae_prk", dh)
    shared = _expand(KEM_SUITE, eae_prk, b"shared_secret", enc + recipient, 32)
    context = b"\x00" + _extract(HPKE_SUITE, b"", b"psk_id_hash", b"")
    context += _extract(HPKE_SUITE, b"", b"info_hash", info)
    secret = _extract(HPKE_SUITE, shared, b"secret", b"")
    key = _expand(HPKE_SUITE, secret, b"key", context, 32)
    return shared, key, _expand(HPKE_SUITE, secret, b"base_nonce", context, 12)


def seal(recipient: bytes, info: bytes, aad: bytes, plain: bytes, ikm: bytes) -> tuple:
    """Encapsulated key and ciphertext."""
    secret = derive_secret(ikm)
    enc = public_of(secret)
    _, key, nonce = schedule(_dh(secret, recipient), enc, recipient, info)
    return enc, AESGCM(key).encrypt(nonce, plain, aad)


def open_sealed(secret: bytes, enc: bytes, info: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    """The plaintext."""
    try:
        dh = _dh(secret, enc)
        _, key, nonce = schedule(dh, enc, public_of(secret), info)
        return AESGCM(key).decrypt(nonce, ciphertext, aad)
    except (InvalidTag, Refused):
        raise Refused("does_not_open") from None
