"""Offsets: a client shows the id in each shard of the log up to which it has everything.

For one shard an offset is its epoch and an id. For several it is packed, as base64url. First come four bits of each
shard's epoch, then a base that is less than the newest ids. The distance of each shard's id above it follows, in four
bytes. An id that is not above the base is not shown. That is the id of a shard that was quiet for half an hour; the
client's session has it.
"""

from base64 import urlsafe_b64decode
from binascii import b2a_base64, crc_hqx
from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from struct import Struct
from typing import Any

#: An id of each shard: everything of its rooms up to there; 0: none.
Ids = tuple[int, ...]

_BASE, _FIELD = Struct(">Q"), Struct(">I")
_MAX_AHEAD = 2**32 - 1  # microseconds: 71 minutes
_BEHIND = 2**31  # the distance of a new base behind the newest id; it stays until an id is too far ahead of it
_MAX_DIGITS = 16
_MAX_LENGTH = 16_384
_URLSAFE = bytes.maketrans(b"+/", b"-_")


class Vector:
    """Ids by shard, kept as their packed offset: each message changes one field.

    Args:
        epochs: of each shard.
        ids: of each shard.
    """

    def __init__(self, epochs: Sequence[str], ids: Sequence[int]) -> None:
        self._epochs, self._ids = list(epochs), list(ids)
        self._is_packed = len(ids) > 1
        self._first = (len(ids) + 1) // 2 + _BASE.size  # where the fields begin
        self._packed = bytearray()
        self._pack()

    def show(self, shard: int, epoch: str, id: int) -> None:
        """Change a shard's id, which is of ``epoch``."""
        self._ids[shard] = id
        ahead = id - self._base
        if self._epochs[shard] != epoch or not 0 < ahead <= _MAX_AHEAD:
            self._epochs[shard] = epoch
            self._pack()
        elif self._is_packed:
            _FIELD.pack_into(self._packed, self._first + _FIELD.size * shard, ahead)

    def encode(self) -> str:
        """Return the offset."""
        if not self._is_packed:
            return f"{self._epochs[0]}.{self._ids[0]}"
        return b2a_base64(self._packed, newline=False).translate(_URLSAFE).rstrip(b"=").decode()  # twice as fast

    def _pack(self) -> None:
        self._base = max(max(self._ids) - _BEHIND, 0)
        fields = [_FIELD.pack(max(id - self._base, 0)) for id in self._ids]
        self._packed[:] = _pack_epochs(tuple(self._epochs)) + _BASE.pack(self._base) + b"".join(fields)


def decode_offset(offset: Any, epochs: Sequence[str]) -> Ids:
    """Return the ids that a client's offset shows, by shard; 0 where it shows none of the shard's epoch.

    An offset of one shard shows the same id for each shard: the farm moved to more shards, and the epochs stayed.
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
    start = (count + 1) // 2
    first = start + _BASE.size
    if len(data) != first + _FIELD.size * count:
        return nothing
    [base] = _BASE.unpack_from(data, start)
    fields = (ahead for [ahead] in _FIELD.iter_unpack(data[first:]))
    own = _pack_epochs(tuple(epochs))
    shown = zip(fields, _unpack_codes(data[:start]), _unpack_codes(own), strict=False)  # codes are in pairs
    return tuple(base + ahead if ahead and one == other else 0 for ahead, one, other in shown)


def get_latest(one: Ids, other: Ids) -> Ids:
    """Return the later id of each shard; an empty tuple has none."""
    latest = tuple(map(max, one, other)) if one and other else one or other
    return other if latest == other else latest  # which may be many clients'


@lru_cache(maxsize=64)
def _pack_epochs(epochs: tuple[str, ...]) -> bytes:
    codes = [crc_hqx(epoch.encode(), 0) & 0xF for epoch in epochs]
    return bytes(high << 4 | low for high, low in zip_longest(codes[::2], codes[1::2], fillvalue=0))


def _unpack_codes(packed: bytes) -> list[int]:
    return [code for byte in packed for code in (byte >> 4, byte & 0xF)]
