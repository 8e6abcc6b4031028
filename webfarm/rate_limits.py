"""How much a user may send to a worker: a token bucket of events and bytes.

https://en.wikipedia.org/wiki/Token_bucket
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from webfarm.errors import Flooding, RateLimited

_BURST, _BURST_BYTES = 2, 4  # times what is allowed in a second


class Buckets:
    """A bucket for each user, full at first, out of which each event takes one event and its bytes.

    An event may take more bytes than the bucket has; the user then owes them. So an event of any size can pass.

    Args:
        rate: events that come back in a second; 0: events have no limit.
        rate_bytes: bytes that come back in a second; 0: bytes have no limit.
        clock: returns the time, in seconds.
        burst: events in a full bucket; by default those of two seconds.
    """

    def __init__(
        self, rate: float, rate_bytes: float, clock: Callable[[], float] = monotonic, *, burst: float = 0
    ) -> None:
        self._rate, self._rate_bytes = rate, rate_bytes
        self._burst = burst or _BURST * rate or math.inf
        self._burst_bytes = _BURST_BYTES * rate_bytes or math.inf
        self._clock = clock
        self._buckets: OrderedDict[str, list[float]] = OrderedDict()  # when it was filled, events, bytes

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, user: str, size: int) -> bool:
        """Take an event of ``size`` bytes out of the user's bucket; return whether it was not empty before."""
        now = self._clock()
        bucket = self._buckets.get(user)
        if bucket is None:
            self._drop_full(now)
            bucket = self._buckets[user] = [now, self._burst, self._burst_bytes]
        events, bytes = self._refill(bucket, now)
        bucket[0] = now
        if events < 1 or bytes <= 0:
            bucket[1], bucket[2] = events, bytes
            return False
        bucket[1], bucket[2] = events - 1, bytes - size
        return True

    def has_event(self, user: str) -> bool:
        """Return whether the user's bucket has an event; take none."""
        bucket = self._buckets.get(user)
        return bucket is None or self._refill(bucket, self._clock())[0] >= 1

    def _refill(self, bucket: list[float], now: float) -> tuple[float, float]:
        """Return the events and bytes that are in the bucket now."""
        filled_at, events, bytes = bucket
        events += (now - filled_at) * self._rate
        bytes += (now - filled_at) * self._rate_bytes
        return (
            events if events < self._burst else self._burst,  # quicker than ``min``
            bytes if bytes < self._burst_bytes else self._burst_bytes,
        )

    def _drop_full(self, now: float) -> None:
        """Drop the two oldest buckets if they are full again: a new one would be full, too.

        For each new bucket two are looked at, so that few full ones are kept.
        """
        for _ in range(min(2, len(self._buckets))):
            user, bucket = self._buckets.popitem(last=False)
            events, bytes = self._refill(bucket, now)
            if events < self._burst or bytes < self._burst_bytes:
                self._buckets[user] = bucket


class RateLimits:
    """The limits of what users may send; all connections of one user share them.

    Args:
        rate: events a second; 0: any number.
        rate_bytes: bytes a second; 0: any number.
        clock: returns the time, in seconds.
    """

    def __init__(self, rate: float, rate_bytes: float, clock: Callable[[], float] = monotonic) -> None:
        self._allowed = Buckets(rate, rate_bytes, clock)
        self._refused = Buckets(rate, rate_bytes, clock)

    def admit(self, user: str, size: int) -> None:
        """Let an event of ``size`` bytes through, or refuse it.

        Raises:
            RateLimited: the user sends more than the limit.
            Flooding: the user goes on: the events refused have used up a bucket of their own.
        """
        if self._allowed.take(user, size):
            return
        if self._refused.take(user, size):
            raise RateLimited("You send too much; wait a second.")
        raise Flooding(f"user {user!r} goes on sending more than is allowed")
