"""Offsets: how a client shows up to where it has everything, in every shard of the log.

Of one shard an offset is its epoch and an id. Of more it is packed, as base64url: four bits of each shard's epoch, a
base, which is less than the ids, and how far each shard's id is above it, in four bytes each. An id that is not above
it is not shown: what a client has received of a shard that has been quiet for half an hour stands in its session.
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
_BEHIND = 2**31  # so far is a base behind the newest id when it is set: until an id is too far ahead of it
_MAX_DIGITS = 16
_MAX_LENGTH = 16_384
_URLSAFE = bytes.maketrans(b"+/", b"-_")


class Vector:
    """Ids by shard, kept as the offset that shows them: each message changes one shard's field.

    Args:
        epochs: of each shard.
        ids: everything up to there.
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
