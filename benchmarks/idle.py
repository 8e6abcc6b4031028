"""How much memory does a client take that is connected and does nothing?

After 200 others for warming up, 8,000 clients connect, 50 at a time, half of them on each worker. Then both workers
have time to become quiet. What the two workers have grown by, divided by 8,000: RSS, PSS, and USS (pages of their own);
and the data that Redis holds. A last message to the room shows that all are still there.
"""

import time

from benchmarks.harness import Farm, Metric

METRICS = (
    *(Metric(kind, f"{kind.upper()} per idle client", "KiB") for kind in ("rss", "pss", "uss")),
    Metric("base", "RSS of a worker with 100 clients", "MiB"),
    Metric("redis", "Redis' memory per idle client", "KiB"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    clients = 2000 if quick else 8000
    load = farm.add_load()
    load.call("connect", ports=farm.ports, count=200)
    farm.settle()
    before, held = farm.get_memory(), farm.store.get_memory()
    with farm.measure() as usage:
        load.call("connect", ports=farm.ports, count=clients)
        farm.settle(at_least_s=4)
    after, holds = farm.get_memory(), farm.store.get_memory()
    load.call("send_paced", event="message", rate=1, senders=1)
    time.sleep(1.5)
    load.call("stop")
    total = load.count_settled()
    if total["gone"] or not total["acks"] or total["deliveries"] != total["acks"] * (200 + clients):
        raise RuntimeError(f"{200 + clients} clients, but {total}")
    grown = {key.lower(): (after[key] - before[key]) / clients / 1024 for key in before}
    return {
        **grown,
        "base": before["Rss"] / farm.size / 2**20,
        "redis": (holds - held) / clients / 1024,
        "load_share": usage.load_share,
    }
