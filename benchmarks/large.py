"""What do others notice of a client that sends large messages?

One client, in a process of its own, sends 900 KB a second, in one event: first one that is only acknowledged, then
one that comes back to it through Redis. Another client of the same worker, in a process of its own too, sends an
acknowledged echo every 2 ms, whatever is answered. Round trips of the echoes with the large messages, less those of a
quiet phase before: the 99th percentiles, and the slowest against the quiet phase's 99th percentile.
"""

import time

from benchmarks.harness import Farm, Load, Metric
from benchmarks.load import now_us

ECHO_RATE = 500

METRICS = (
    Metric("quiet", "quiet echo, 99 %", "ms"),
    Metric("sink_p99", "added while it is acknowledged, 99 %", "ms"),
    Metric("sink_max", "added while it is acknowledged, slowest", "ms"),
    Metric("private_p99", "added while it comes back, 99 %", "ms"),
    Metric("private_max", "added while it comes back, slowest", "ms"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    seconds = 3 if quick else 6
    measuring = farm.add_load()
    measuring.call("connect", ports=farm.ports[:1], count=1)
    measuring.call("send_echoes", rate=ECHO_RATE)
    time.sleep(2)
    quiet = _get_echoes(measuring, seconds)
    figures = {"quiet": quiet["p99"]}
    for event, name in (("sink", "sink"), ("privateLarge", "private")):
        large = farm.add_load()
        large.call("connect", ports=farm.ports[:1], count=1)
        large.call("send_paced", event=event, rate=1, senders=1)
        echoes = _get_echoes(measuring, seconds)
        large.call("stop")
        counted = large.count_settled()
        returned = counted["acks"] if event == "privateLarge" else 0
        if counted["gone"] or counted["acks"] < seconds - 1 or counted["deliveries"] != returned:
            raise RuntimeError(f"{event} for {seconds} s, but {counted}")
        farm.remove_load(large)
        figures[f"{name}_p99"] = echoes["p99"] - quiet["p99"]
        figures[f"{name}_max"] = echoes["max"] - quiet["p99"]
    return figures


def _get_echoes(measuring: Load, seconds: float) -> dict[str, float]:
    start = now_us()
    time.sleep(seconds)
    echoes: dict[str, float] = measuring.call("get_echoes", since_us=start, until_us=now_us())
    return echoes
