"""What does it cost to deliver a room's messages when the servers have all they can do?

1,000 clients are in one room, half of them on each worker. 8 of them (4 on each) send a message of about 100 bytes
whenever their last one is acknowledged. After a warm-up: CPU time of the two workers divided by the received
deliveries, and deliveries per second. The time from sending to receiving is taken at every 50th client. Each server
takes what it can, so their loads differ; ``latency`` has all three at the same one.
"""

import time

from benchmarks.harness import Farm, cpu_metrics, latency_metrics, rate_metric

CLIENTS, SENDERS = 1000, 8

METRICS = (*cpu_metrics("delivery"), rate_metric("deliveries"), *latency_metrics())


def run(farm: Farm, quick: bool) -> dict[str, float]:
    load = farm.add_load()
    load.call("connect", ports=farm.ports, count=CLIENTS)
    load.call("sample", every=50)
    load.call("send_closed_loop", event="message", senders=SENDERS)
    time.sleep(1 if quick else 3)
    load.call("forget_latencies")
    before = load.call("count")
    with farm.measure() as usage:
        time.sleep(3 if quick else 8)
    after = load.call("count")
    latencies = load.call("get_latencies")
    load.call("stop")
    total = load.count_settled()
    if total["gone"] or total["deliveries"] != total["acks"] * CLIENTS:
        raise RuntimeError(f"{CLIENTS} clients, but {total}")
    deliveries = after["deliveries"] - before["deliveries"]
    return {**usage.per(deliveries), "rate": deliveries / usage.seconds, **latencies}
