"""Does a private message cost more in a farm of more workers?

100 clients, spread evenly, send 1,000 messages a second to their neighbours on the next worker. The figure is CPU time
of all workers per message, with two workers and with eight. What eight workers and Redis spend when nothing happens is
in rows of their own; it is part of the rows above.
"""

import time

from benchmarks.harness import Farm, Metric

CLIENTS, RATE, MORE = 100, 1000, 8

METRICS = (
    Metric("cpu_2", "CPU per message, 2 workers", "µs"),
    Metric("cpu_8", "CPU per message, 8 workers", "µs"),
    Metric("idle_8", "8 workers idle, CPU per second", "ms"),
    Metric("redis_idle_8", "Redis' CPU meanwhile, per second", "ms"),
    Metric("redis_2", "Redis' CPU per message, 2 workers", "µs"),
    Metric("redis_8", "Redis' CPU per message, 8 workers", "µs"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    figures = _measure(farm, quick)
    with Farm(farm.peer, MORE) as larger:
        figures |= _measure(larger, quick)
    return figures


def _measure(farm: Farm, quick: bool) -> dict[str, float]:
    farm.settle()
    with farm.measure() as idle:
        time.sleep(2 if quick else 4)
    load = farm.add_load()
    load.call("connect", ports=farm.ports, count=CLIENTS)
    load.call("send_paced", event="privateMessage", rate=RATE, senders=CLIENTS)
    time.sleep(1 if quick else 2)
    before = load.call("count")["deliveries"]
    with farm.measure() as usage:
        time.sleep(3 if quick else 6)
    figures = usage.per(load.call("count")["deliveries"] - before)
    load.call("stop")
    farm.remove_load(load)
    size = farm.size
    return {
        f"cpu_{size}": figures["cpu"],
        f"redis_{size}": figures["redis"],
        f"idle_{size}": 1000 * idle.workers / idle.seconds,
        f"redis_idle_{size}": 1000 * idle.redis / idle.seconds,
        "load_share": figures["load_share"],
    }
