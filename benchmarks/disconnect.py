"""What do the remaining clients notice when most others are cut off at once?

8,000 idle clients, half of them on each worker. 50 more, in a process of their own, send 250 acknowledged echoes a
second in turn, evenly spaced, whatever is answered. The process that holds 6,000 of the idle clients is then killed:
the kernel closes all its connections. The figures are the round trips of the echoes in the 3 s before and in the 3 s
after. CPU time is that of the two workers in the 3 s after, less that in the 3 s before, divided by 6,000.
"""

import time

from benchmarks.harness import Farm, Metric
from benchmarks.load import now_us

MEASURING, RATE, WINDOW_S = 50, 250, 3

METRICS = (
    Metric("before", "echo before, 99 %", "ms"),
    Metric("after", "echo after, 99 %", "ms"),
    Metric("added", "added by the cut, 99 %", "ms"),
    Metric("worst", "echo after, slowest", "ms"),
    Metric("cpu", "CPU per client that was cut", "µs"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    leaving, staying = (1500, 500) if quick else (6000, 2000)
    doomed, idle, measuring = farm.add_load(), farm.add_load(), farm.add_load()
    idle.call("connect", ports=farm.ports, count=staying)
    doomed.call("connect", ports=farm.ports, count=leaving)
    measuring.call("connect", ports=farm.ports, count=MEASURING)
    farm.settle()
    measuring.call("send_echoes", rate=RATE)
    time.sleep(1)
    start = now_us()
    with farm.measure() as quiet:
        time.sleep(WINDOW_S)
    cut = now_us()
    with farm.measure() as cutting:
        farm.remove_load(doomed)
        time.sleep(max(0.0, WINDOW_S - (now_us() - cut) / 1e6))
    before = measuring.call("get_echoes", since_us=start, until_us=cut)
    after = measuring.call("get_echoes", since_us=cut, until_us=cut + WINDOW_S * 1_000_000)
    gone = idle.call("count")["gone"] + measuring.call("count")["gone"]
    if gone:
        raise RuntimeError(f"{gone} of the clients that should have stayed are gone")
    return {
        "before": before["p99"],
        "after": after["p99"],
        "added": after["p99"] - before["p99"],
        "worst": after["max"],
        "cpu": (cutting.workers - quiet.workers) / leaving * 1e6,
        "load_share": cutting.load_share,
    }
