"""What does a message cost by how many workers have a member in its room?

A farm of eight workers, and a room with eight clients, who are on one worker, then on two, four and eight, evenly; they
send 500 messages a second in turn, evenly spaced, whatever is acknowledged: each message has eight deliveries, whoever
makes them. CPU time of all workers and of Redis per message, less what they spend when nothing happens.
"""

import time

from benchmarks.harness import Farm, Metric

CLIENTS, RATE, COUNTS = 8, 500, (1, 2, 4, 8)
FARM = {"size": max(COUNTS)}

_WORKERS = {count: f"{count} worker{'s' if count > 1 else ''}" for count in COUNTS}
METRICS = (
    *(Metric(f"cpu_{count}", f"CPU per message, members on {text}", "µs") for count, text in _WORKERS.items()),
    *(Metric(f"redis_{count}", f"Redis' CPU per message, members on {text}", "µs") for count, text in _WORKERS.items()),
    *(
        Metric(f"traffic_{count}", f"Redis' network per message, members on {text}", "bytes")
        for count, text in _WORKERS.items()
    ),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    seconds = 3 if quick else 6
    farm.settle()
    idle_traffic = -farm.store.get_traffic()
    with farm.measure() as idle:
        time.sleep(seconds)
    idle_traffic += farm.store.get_traffic()
    figures: dict[str, float] = {}
    for count in COUNTS:
        load = farm.add_load()
        load.call("connect", ports=farm.ports[:count], count=CLIENTS)
        load.call("send_paced", event="message", rate=RATE, senders=CLIENTS)
        time.sleep(2)
        before, traffic = load.call("count")["acks"], farm.store.get_traffic()
        with farm.measure() as usage:
            time.sleep(seconds)
        messages, traffic = load.call("count")["acks"] - before, farm.store.get_traffic() - traffic
        share = usage.seconds / idle.seconds
        figures |= {
            f"cpu_{count}": (usage.workers - idle.workers * share) / messages * 1e6,
            f"redis_{count}": (usage.redis - idle.redis * share) / messages * 1e6,
            f"traffic_{count}": (traffic - idle_traffic * share) / messages,
            "load_share": usage.load_share,
        }
        load.call("stop")
        total = load.count_settled()
        if total["gone"] or total["deliveries"] != total["acks"] * CLIENTS:
            raise RuntimeError(f"{CLIENTS} clients, but {total}")
        farm.remove_load(load)
    return figures
