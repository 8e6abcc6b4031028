"""A histogram of seconds."""

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric

_INFINITY = "+Inf"
# From the cost of a message to a wait that no user accepts.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Histogram:
    """Seconds in buckets.

    Args:
        bounds: the buckets' upper bounds, rising; longer times have a bucket of their own.
    """

    __slots__ = ("_bounds", "_buckets", "_sum")

    def __init__(self, bounds: Sequence[float] = _SECONDS) -> None:
        self._bounds = bounds
        self._buckets = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one that took ``seconds``."""
        self._buckets[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def copy_buckets(self) -> list[int]:
        """Return how many there are in each bucket by now."""
        return self._buckets.copy()

    def get_quantile(self, share: float, since: Sequence[int]) -> float | None:
        """Return the time that ``share`` of all did not exceed since ``copy_buckets``; ``None`` if there were none.

        Within a bucket the times are taken to lie evenly. Above the last bound, that bound is returned.
        """
        buckets = [now - before for now, before in zip(self._buckets, since, strict=True)]
        rank, lower = share * sum(buckets), 0.0
        if not rank:
            return None
        for count, upper in zip(buckets, self._bounds, strict=False):
            if rank <= count:
                return lower + (upper - lower) * rank / count
            rank -= count
            lower = upper
        return lower

    def collect(self, name: str, text: str) -> Metric:
        """Return it as Prometheus has it: each bucket with all below."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), _INFINITY), self._buckets, strict=True):
            total += count
            buckets.append((bound, total))
        return HistogramMetricFamily(name, text, buckets, self._sum)
