"""The contents of files: shapes, proofs, sealed chunks, frames, lists."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import blake3, stubs
from .refusal import Refused

DOMAIN = b"beeline/file-chunk/v1"
SIZE_MAX = 1 << 40
CHUNKS_MAX = 1 << 24
CHUNK_MIN, CHUNK_MAX = 1024, 65536
TAG, HASH = 16, 32


def chunks(size: int, chunk_size: int) -> int:
    """How many chunks a content has."""
    if size > SIZE_MAX:
        raise Refused("TOO_LARGE")
    if not CHUNK_MIN <= chunk_size <= CHUNK_MAX or chunk_size & (chunk_size - 1):
        raise Refused("CHUNK_LEN")
    count = -(-size // chunk_size)
    if count > CHUNKS_MAX:
        raise Refused("TOO_MANY_CHUNKS")
    return count


def siblings(count: int, index: int) -> list[int]:
    """The places of a chunk's siblings, from below; a place without one is left out."""
    found = []
    while count > 1:
        if index ^ 1 < count:
            found.append(index ^ 1)
        count, index = -(-count // 2), index // 2
    return found


def prove(root: bytes, count: int, index: int, chunk_size: int, data: bytes, proof: bytes) -> None:
    """Checks that `data` is the chunk of the content with this root."""
    if count == 1:
        node = blake3.digest(data)
    else:
        node, at, width = blake3.subtree(data, index * chunk_size), index, count
        hashes = [proof[i : i + HASH] for i in range(0, len(proof), HASH)]
        while width > 1:
            if at ^ 1 < width:
                sibling, top = hashes.pop(0), width == 2
                pair = (node, sibling) if at & 1 == 0 else (sibling, node)
                node = blake3.parent(*pair, root=top)
            width, at = -(-width // 2), at // 2
    if node != root:
        raise Refused("NOT_IN_TREE")


class Content:
    """One offer's content."""

    def __init__(self, key: bytes, offer: bytes, size: int, chunk_size: int, root: bytes):
        self.count, self.size, self.chunk_size = chunks(size, chunk_size), size, chunk_size
        self.root, self.cipher = root, AESGCM(key)
        self.aad = DOMAIN + offer + root + size.to_bytes(8, "big") + chunk_size.to_bytes(4, "big")

    def seal(self, index: int, data: bytes, proof: bytes) -> bytes:
        """A chunk as it travels."""
        return self.cipher.encrypt(bytes(8) + index.to_bytes(4, "big"), data + proof, self.aad)

    def plain(self, index: int, sealed: bytes) -> bytes:
        """Data and proof of a sealed chunk."""
        try:
            return self.cipher.decrypt(bytes(8) + index.to_bytes(4, "big"), sealed, self.aad)
        except InvalidTag:
            raise Refused("DOES_NOT_OPEN") from None

    def open(self, index: int, sealed: bytes) -> bytes:
        """The data of a sealed chunk, proved."""
        if index >= self.count:
            raise Refused("NO_SUCH_CHUNK")
        length = min(self.chunk_size, self.size - index * self.chunk_size)
        if len(sealed) != length + HASH * len(siblings(self.count, index)) + TAG:
            raise Refused("LENGTH")
        plain = self.plain(index, sealed)
        data, proof = plain[:length], plain[length:]
        prove(self.root, self.count, index, self.chunk_size, data, proof)
        return data


def frame(offer: bytes, index: int, sealed: bytes) -> bytes:
    """The message of the channel `file` with one chunk."""
    item = {"file_chunk": {"offer_id": offer, "index": index, "data": sealed}}
    return stubs.message("beeline.peer.v1.PeerFrame")(items=[item]).SerializeToString()


def pieces(offer: bytes, index: int, sealed: bytes, room: int) -> list[bytes]:
    """The messages of a chunk in pieces of `room` bytes, for a link that takes no longer ones."""
    frames = []
    for at in range(0, len(sealed), room):
        more = at + room < len(sealed)
        item = {"offer_id": offer, "index": index, "data": sealed[at : at + room], "at": at}
        item = {"file_chunk": item | {"more": more}}
        message = stubs.message("beeline.peer.v1.PeerFrame")(items=[item])
        frames.append(message.SerializeToString())
    return frames


def files_of(data: bytes, size: int) -> list[dict]:
    """The files of a folder whose content has `size` bytes, from its list."""
    try:
        read = stubs.message("beeline.peer.v1.FolderList").FromString(data)
    except Exception:
        raise Refused("LIST") from None
    files = [{"path": file.path, "size": file.size} for file in read.files]
    if len(data) + sum(file["size"] for file in files) != size:
        raise Refused("LIST")
    if any(file["path"].endswith("/") and file["size"] for file in files):
        raise Refused("LIST")
    return files
