"""Offsets: how a client shows up to where it has everything, in every shard of the log.

Of one shard an offset is its epoch and an id. Of more it is packed, as base64url: four bits of each shard's epoch, the
newest id, then how far each shard's id is behind that, in four bytes each. One that is more than 71 minutes behind is
not shown: what its client has received of such a quiet shard stands in its session.
"""

from base64 import urlsafe_b64decode
from binascii import b2a_base64, crc_hqx
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import zip_longest
from struct import Struct
from typing import Any

#: An id of each shard: everything of its rooms up to there; 0: none.
Ids = tuple[int, ...]

_ID_BYTES = 7  # of microseconds since 1970: enough until 4253
_FAR = 2**32 - 1  # microseconds: too far behind to be shown
_MAX_DIGITS = 16
_MAX_LENGTH = 16_384
_URLSAFE = bytes.maketrans(b"+/", b"-_")


def encode_offset(epochs: Sequence[str], ids: Sequence[int]) -> str:
    """Return how a client shows that it has everything up to ``ids``; both by shard."""
    if len(ids) == 1:
        return f"{epochs[0]}.{ids[0]}"
    newest = max(ids)
    behind = [newest - id for id in ids]
    if newest - min(ids) > _FAR:
        behind = [min(distance, _FAR) for distance in behind]
    packed = _pack_epochs(tuple(epochs)) + newest.to_bytes(_ID_BYTES) + _get_struct(len(ids)).pack(*behind)
    return b2a_base64(packed, newline=False).translate(_URLSAFE).rstrip(b"=").decode()  # urlsafe_b64encode takes twice


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
    newest, packed = data[start : start + _ID_BYTES], data[start + _ID_BYTES :]
    width, rest = divmod(len(packed), count)  # four bytes; others were written by an older version
    if rest or len(newest) < _ID_BYTES or width > _ID_BYTES:
        return nothing
    behind = [int.from_bytes(packed[i * width : (i + 1) * width]) for i in range(count)]
    top, own = int.from_bytes(newest), _pack_epochs(tuple(epochs))
    shown = zip(behind, _unpack_codes(data[:start]), _unpack_codes(own), strict=False)  # codes are in pairs
    return tuple(max(top - far, 0) if one == other and far < _FAR else 0 for far, one, other in shown)


def get_latest(one: Ids, other: Ids) -> Ids:
    """Return the later id of each shard; an empty tuple has none."""
    latest = tuple(map(max, one, other)) if one and other else one or other
    return other if latest == other else latest  # which may be many clients'


@cache
def _get_struct(count: int) -> Struct:
    return Struct(f">{count}I")


@lru_cache(maxsize=64)
def _pack_epochs(epochs: tuple[str, ...]) -> bytes:
    codes = [crc_hqx(epoch.encode(), 0) & 0xF for epoch in epochs]
    return bytes(high << 4 | low for high, low in zip_longest(codes[::2], codes[1::2], fillvalue=0))


def _unpack_codes(packed: bytes) -> list[int]:
    return [code for byte in packed for code in (byte >> 4, byte & 0xF)]
