"""What does a private message to a client of the other worker cost, and how long does it take?

100 clients, half of them on each worker, send to their neighbours on the other one. First they send 1,000 messages a
second in turn, evenly spaced, without waiting for acknowledgements. The figures are CPU time of the two workers per
message, and the time from sending to receiving. Then 64 of them send whenever their last message is acknowledged:
messages received per second.
"""

import time

from benchmarks.harness import Farm, Metric, cpu_metrics, latency_metrics, rate_metric

CLIENTS, RATE, CLOSED_LOOP_SENDERS = 100, 1000, 64

METRICS = (
    *cpu_metrics("message at 1,000/s"),
    *latency_metrics("latency at 1,000/s"),
    rate_metric("closed loop: messages"),
    Metric("full_cpu", "closed loop: CPU per message", "µs"),
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
            figures |= load.call("get_latencies") | usage.per(deliveries)
        else:
            figures |= {"rate": deliveries / usage.seconds, "full_cpu": usage.per(deliveries)["cpu"]}
        load.call("stop")
        total = load.count_settled()
        if total["gone"] or total["deliveries"] != total["acks"]:
            raise RuntimeError(f"{phase}: {total}")
        farm.remove_load(load)
    return figures
