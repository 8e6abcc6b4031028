"""Offsets: how a client shows up to where it has everything, in every shard of the log.

Of one shard an offset is its epoch and an id. Of more it is packed, as base64url: for each shard a byte of its epoch,
then the newest id, then how far each shard's id is behind that one.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import crc_hqx
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

#: An id of each shard: everything of its rooms up to there; 0: none.
Ids = tuple[int, ...]

_ID_BYTES = 7  # of microseconds since 1970: enough until 4253
_MAX_DIGITS = 16
_MAX_LENGTH = 16_384


def encode_offset(epochs: Sequence[str], ids: Sequence[int]) -> str:
    """Return how a client shows that it has everything up to ``ids``; both by shard."""
    if len(ids) == 1:
        return f"{epochs[0]}.{ids[0]}"
    newest = max(ids)
    packed = bytearray(_pack_epochs(tuple(epochs)))
    packed += newest.to_bytes(_ID_BYTES)
    for id in ids:
        behind = newest - id + 1 if id else 0
        while behind > 0x7F:
            packed.append(behind & 0x7F | 0x80)
            behind >>= 7
        packed.append(behind)
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_offset(offset: Any, epochs: Sequence[str]) -> Ids:
    """Return the ids that a client's offset shows, by shard; 0 where it shows none of the shard's epoch.

    An offset of one shard shows the same of each: of a farm that has moved to more, whose epochs stayed.
    """
    nothing = (0,) * len(epochs)
    if not isinstance(offset, str) or len(offset) > _MAX_LENGTH or not offset.isascii():
        return nothing
    epoch, dot, digits = offset.partition(".")
    if dot:
        id = int(digits) if digits.isdigit() and len(digits) <= _MAX_DIGITS else 0
        return tuple(id if own == epoch else 0 for own in epochs)
    try:
        packed = urlsafe_b64decode(offset + "=" * (-len(offset) % 4))
        own_epochs, rest = packed[: len(epochs)], packed[len(epochs) + _ID_BYTES :]
        newest = int.from_bytes(packed[len(epochs) : len(epochs) + _ID_BYTES])
        behind = list(_unpack(rest))
    except ValueError:
        return nothing
    if len(behind) != len(epochs):
        return nothing
    pairs = zip(behind, own_epochs, _pack_epochs(tuple(epochs)), strict=True)
    return tuple(max(newest - number + 1, 0) if number and own == code else 0 for number, own, code in pairs)


def get_latest(one: Ids, other: Ids) -> Ids:
    """Return the later id of each shard; an empty tuple has none."""
    return tuple(map(max, one, other)) if one and other else one or other


@lru_cache(maxsize=64)
def _pack_epochs(epochs: tuple[str, ...]) -> bytes:
    return bytes(crc_hqx(epoch.encode(), 0) & 0xFF for epoch in epochs)


def _unpack(data: bytes) -> Iterator[int]:
    number, shift = 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number, shift = 0, 0
    if shift:
        raise ValueError("the last number does not end")
