"""Offsets: how a client shows up to where it has everything, in every shard of the log.

Of one shard an offset is its epoch and an id. Of more it is packed, as base64url: for each shard a byte of its epoch,
then the newest id, then how far each shard's id is behind it: in four bytes each, or in eight if one is too far.
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import crc_hqx
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

#: An id of each shard: everything of its rooms up to there; 0: none.
Ids = tuple[int, ...]

_MAX_DIGITS = 16
_MAX_LENGTH = 16_384


def encode_offset(epochs: Sequence[str], ids: Sequence[int]) -> str:
    """Return how a client shows that it has everything up to ``ids``; both by shard."""
    if len(ids) == 1:
        return f"{epochs[0]}.{ids[0]}"
    newest = max(ids)
    behind = [newest - id for id in ids]
    short, long = _get_formats(len(ids))
    try:
        packed = short.pack(newest, *behind)
    except struct.error:
        packed = long.pack(newest, *behind)
    return urlsafe_b64encode(_pack_epochs(tuple(epochs)) + packed).decode().rstrip("=")


def decode_offset(offset: Any, epochs: Sequence[str]) -> Ids:
    """Return the ids that a client's offset shows, by shard; 0 where it shows none of the shard's epoch.

    An offset of one shard shows the same of each: of a farm that has moved to more, whose epochs stayed.
    """
    count = len(epochs)
    nothing = (0,) * count
    if not isinstance(offset, str) or len(offset) > _MAX_LENGTH or not offset.isascii():
        return nothing
    epoch, dot, digits = offset.partition(".")
    if dot:
        id = int(digits) if digits.isdigit() and len(digits) <= _MAX_DIGITS else 0
        return tuple(id if own == epoch else 0 for own in epochs)
    try:
        data = urlsafe_b64decode(offset + "=" * (-len(offset) % 4))
    except ValueError:
        return nothing
    codes, packed = data[:count], data[count:]
    form = next((form for form in _get_formats(count) if form.size == len(packed)), None)
    if form is None:
        return nothing
    newest, *behind = form.unpack(packed)
    pairs = zip(behind, codes, _pack_epochs(tuple(epochs)), strict=True)
    return tuple(max(newest - number, 0) if code == own else 0 for number, code, own in pairs)


def get_latest(one: Ids, other: Ids) -> Ids:
    """Return the later id of each shard; an empty tuple has none."""
    latest = tuple(map(max, one, other)) if one and other else one or other
    return other if latest == other else latest  # which may be many clients'


@cache
def _get_formats(shards: int) -> tuple[struct.Struct, struct.Struct]:
    return struct.Struct(f">Q{shards}I"), struct.Struct(f">Q{shards}Q")


@lru_cache(maxsize=64)
def _pack_epochs(epochs: tuple[str, ...]) -> bytes:
    return bytes(crc_hqx(epoch.encode(), 0) & 0xFF for epoch in epochs)
