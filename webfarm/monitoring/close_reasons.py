"""Why a connection ended: in metrics, in log lines, and as the ``reason`` of disconnect handlers."""

from enum import StrEnum


class CloseReason(StrEnum):
    """A reason, equal to its text. The first five are python-engineio's (``engineio.Server.reason``)."""

    __repr__ = str.__repr__  # of what handlers are given

    SERVER_DISCONNECT = "server disconnect"
    CLIENT_DISCONNECT = "client disconnect"
    PING_TIMEOUT = "ping timeout"
    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"
    SLOW_CLIENT = "slow client"  # it left too much unread
    RATE_LIMITED = "rate limited"  # it sent too much
