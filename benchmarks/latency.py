"""How long does a room's message take when the servers are far from busy?

1,000 clients are in one room, half of them on each worker. 8 of them, in a process of their own, send in turn, evenly
spaced, without waiting for answers. They send 20 messages a second: 20,000 deliveries. The time from sending to
receiving, of every delivery to the other 992; CPU time of the two workers divided by all deliveries.
"""

import time

from benchmarks.harness import Farm, Metric, cpu_metrics, latency_metrics

CLIENTS, SENDERS, RATE = 1000, 8, 20

METRICS = (
    *latency_metrics(),
    *cpu_metrics("delivery"),
    Metric("bytes", "sent to the client for each delivery", "bytes"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    receivers, senders = farm.add_load("receivers"), farm.add_load()
    receivers.call("connect", ports=farm.ports, count=CLIENTS - SENDERS)
    senders.call("connect", ports=farm.ports, count=SENDERS)
    senders.call("send_paced", event="message", rate=RATE, senders=SENDERS)
    time.sleep(1 if quick else 3)
    receivers.call("forget_latencies")
    before = receivers.call("count")
    with farm.measure() as usage:
        time.sleep(3 if quick else 8)
    after = receivers.call("count")
    latencies = receivers.call("get_latencies")
    senders.call("stop")
    total = receivers.count_settled()
    if total["gone"] or total["deliveries"] != senders.call("count")["acks"] * (CLIENTS - SENDERS):
        raise RuntimeError(f"{CLIENTS - SENDERS} receivers, but {total}")
    deliveries = (after["deliveries"] - before["deliveries"]) * CLIENTS / (CLIENTS - SENDERS)
    sent = (after["bytes"] - before["bytes"]) / (after["deliveries"] - before["deliveries"])
    return {**latencies, **usage.per(deliveries), "bytes": sent}
