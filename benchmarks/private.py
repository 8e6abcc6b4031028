"""What does a private message to a client of the other worker cost, and how long does it take?

100 clients, half of them on each worker, send to their neighbours on the other one. First 1,000 messages a second in
turn, evenly spaced, whatever is acknowledged: CPU time of the two workers per message, the time from sending to
receiving. Then 64 of them send whenever their last message is acknowledged: messages received per second.
"""

import time

from benchmarks.harness import Farm, Metric

CLIENTS, RATE, CLOSED_LOOP_SENDERS = 100, 1000, 64

METRICS = (
    Metric("cpu", "CPU per message at 1,000/s", "µs"),
    Metric("redis", "Redis' CPU per message at 1,000/s", "µs"),
    Metric("p50", "latency at 1,000/s, median", "ms"),
    Metric("p99", "latency at 1,000/s, 99 %", "ms"),
    Metric("throughput", "messages per second, closed loop", "1/s", is_higher_better=True),
    Metric("full_cpu", "CPU per message, closed loop", "µs"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    warming, seconds = (1, 3) if quick else (2, 6)
    figures: dict[str, float] = {}
    for phase in ("paced", "closed"):
        load = farm.add_load()
        load.call("connect", ports=farm.ports, count=CLIENTS)
        if phase == "paced":
            load.call("sample", every=1)
            load.call("send_paced", event="privateMessage", rate=RATE, senders=CLIENTS)
        else:
            load.call("send_closed_loop", event="privateMessage", senders=CLOSED_LOOP_SENDERS)
        time.sleep(warming)
        load.call("forget_latencies")
        before = load.call("count")
        with farm.measure() as usage:
            time.sleep(seconds)
        deliveries = load.call("count")["deliveries"] - before["deliveries"]
        if phase == "paced":
            latencies = load.call("get_latencies")
            figures |= {name: latencies[name] for name in ("p50", "p99")}
            figures |= {"cpu": usage.workers / deliveries * 1e6, "redis": usage.redis / deliveries * 1e6}
            figures["load_share"] = usage.load_share
        else:
            figures |= {"throughput": deliveries / usage.seconds, "full_cpu": usage.workers / deliveries * 1e6}
        load.call("stop")
        total = load.count_settled()
        if total["gone"] or total["deliveries"] != total["acks"]:
            raise RuntimeError(f"{phase}: {total}")
        farm.remove_load(load)
    return figures
