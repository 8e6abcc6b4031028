"""What do others notice of a client that floods?

As in *private*, 100 clients send 1,000 messages a second, evenly: first alone, then beside a flooder. It sends 5,000 a
second to itself, ignores the answers, and connects again at once when it is closed. webfarm is the whole chat with its
default limits (50 events a second per user); Node's Socket.IO and stock python-socketio have none.
"""

import time

from benchmarks.harness import Farm, Load, Metric, latency_metrics

CLIENTS, RATE, FLOOD = 100, 1000, 5000
FARM = {"is_chat": True}

METRICS = (
    *latency_metrics("others' latency"),
    Metric("flood_p50", "the same beside a flooder, median", "ms"),
    Metric("flood_p99", "the same beside a flooder, 99 %", "ms"),
    Metric("closed", "how often the flooder is closed, per second", "1/s"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    seconds = 3 if quick else 6
    load = farm.add_load()
    load.call("connect", ports=farm.ports, count=CLIENTS)
    load.call("sample", every=1)
    load.call("send_paced", event="privateMessage", rate=RATE, senders=CLIENTS)
    alone = _measure(load, seconds)
    flooder = farm.add_load()
    flooder.call("flood", port=farm.ports[0], rate=FLOOD)
    with farm.measure() as usage:
        beside = _measure(load, seconds)
    flood = flooder.call("count_flood")
    return {
        "p50": alone["p50"],
        "p99": alone["p99"],
        "flood_p50": beside["p50"],
        "flood_p99": beside["p99"],
        "closed": flood["closed"] / usage.seconds,
        "load_share": usage.load_share,
    }


def _measure(load: Load, seconds: float) -> dict[str, float]:
    time.sleep(2)
    load.call("forget_latencies")
    time.sleep(seconds)
    latencies: dict[str, float] = load.call("get_latencies")
    return latencies
