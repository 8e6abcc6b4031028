"""Offsets: how a client shows up to where it has everything, in every shard of the log.

Of one shard an offset is its epoch and an id. Of more it is packed, as base64url: for each shard a byte of its epoch,
then the newest id, then how far each shard's id is behind it, in as many bytes each as the one needs that is farthest.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import crc_hqx
from collections.abc import Sequence
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
    width = ((newest - min(ids)).bit_length() + 7) // 8
    behind = [(newest - id).to_bytes(width) for id in ids]
    packed = b"".join((_pack_epochs(tuple(epochs)), newest.to_bytes(_ID_BYTES), *behind))
    return urlsafe_b64encode(packed).decode().rstrip("=")


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
    codes, newest, packed = data[:count], data[count : count + _ID_BYTES], data[count + _ID_BYTES :]
    width, rest = divmod(len(packed), count)
    if rest or len(newest) < _ID_BYTES or width > _ID_BYTES:
        return nothing
    behind = (int.from_bytes(packed[i * width : (i + 1) * width]) for i in range(count))
    pairs = zip(behind, codes, _pack_epochs(tuple(epochs)), strict=True)
    top = int.from_bytes(newest)
    return tuple(max(top - number, 0) if code == own else 0 for number, code, own in pairs)


def get_latest(one: Ids, other: Ids) -> Ids:
    """Return the later id of each shard; an empty tuple has none."""
    latest = tuple(map(max, one, other)) if one and other else one or other
    return other if latest == other else latest  # which may be many clients'


@lru_cache(maxsize=64)
def _pack_epochs(epochs: tuple[str, ...]) -> bytes:
    return bytes(crc_hqx(epoch.encode(), 0) & 0xFF for epoch in epochs)
