"""BLAKE3, unkeyed, with 32 bytes of output, and its tree: written out from the paper for clarity,
far too slow for files."""

IV = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
    0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
BLOCK, CHUNK = 64, 1024
MASK = 0xFFFFFFFF


def _mix(state: list, places: tuple, x: int, y: int) -> None:
    a, b, c, d = places
    for word, turn_d, turn_b in ((x, 16, 12), (y, 8, 7)):
        state[a] = (state[a] + state[b] + word) & MASK
        state[d] ^= state[a]
        state[d] = (state[d] >> turn_d | state[d] << (32 - turn_d)) & MASK
        state[c] = (state[c] + state[d]) & MASK
        state[b] ^= state[c]
        state[b] = (state[b] >> turn_b | state[b] << (32 - turn_b)) & MASK


def _compress(chaining: tuple, block: bytes, counter: int, flags: int) -> tuple:
    padded = block.ljust(BLOCK, b"\0")
    words = [int.from_bytes(padded[at : at + 4], "little") for at in range(0, BLOCK, 4)]
    state = [*chaining, *IV[:4], counter & MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for half, places in enumerate((COLUMNS, DIAGONALS)):
            for at, four in enumerate(places):
                _mix(state, four, words[8 * half + 2 * at], words[8 * half + 2 * at + 1])
        words = [words[at] for at in PERMUTATION]
    return tuple(state[at] ^ state[at + 8] for at in range(8))


def _to_bytes(words: tuple) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def _words(data: bytes) -> tuple:
    return tuple(int.from_bytes(data[at : at + 4], "little") for at in range(0, 32, 4))


def parent(left: bytes, right: bytes, root: bool = False) -> bytes:
    """The hash of two neighbours; `root` where they are all there is."""
    return _to_bytes(_compress(IV, left + right, 0, PARENT | (ROOT if root else 0)))


def _chunk(data: bytes, number: int, root: bool) -> bytes:
    chaining = IV
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)] or [b""]
    for at, block in enumerate(blocks):
        last = at + 1 == len(blocks)
        flags = (CHUNK_START if at == 0 else 0) | (CHUNK_END if last else 0)
        flags |= ROOT if last and root else 0
        chaining = _compress(chaining, block, number, flags)
    return _to_bytes(chaining)


def subtree(data: bytes, start: int, root: bool = False) -> bytes:
    """The hash of bytes that begin at `start` of a content; `root` where they are all of it."""
    if len(data) <= CHUNK:
        return _chunk(data, start // CHUNK, root)
    left = CHUNK
    while left * 2 < len(data):
        left *= 2
    return parent(subtree(data[:left], start), subtree(data[left:], start + left), root)


def digest(data: bytes) -> bytes:
    """The hash of a whole content."""
    return subtree(data, 0, root=True)
