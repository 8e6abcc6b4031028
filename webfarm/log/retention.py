"""How much the log keeps of each room; ``redis/scripts/log/store.lua`` trims a room when it stores."""

from typing import NamedTuple

from webfarm.defaults import HISTORY_BYTES, HISTORY_LENGTH, HISTORY_TTL_S


class Retention(NamedTuple):
    """How much of each room is kept: its newest messages, as long as all three limits hold."""

    length: int = HISTORY_LENGTH  # messages
    bytes: int = HISTORY_BYTES
    ttl_s: float = HISTORY_TTL_S  # since the room's last message
