"""What does a stored message take of Redis, and how many does one Redis store?

1,000 clients, half of them on each worker, are each in a room of their own. Messages go to one room after the other, so
that they are stored evenly over 1,000 rooms. First 500 a second, evenly spaced: nearly each is stored by a call of its
own (*one by one*). Then all clients send whenever their last message is acknowledged (*in batches*). A worker stores
all messages that came during a call in its next call to each primary. Messages per second of Redis' CPU: what one core
of Redis stores at most, if nothing else is short. What Redis receives and sends per message in the second phase,
without what goes to replicas; the data that it holds per message after both.
"""

import time

from benchmarks.harness import Farm, Load, Metric

ABLE = ("single", "replicated", "cluster", "waiting")
CLIENTS, RATE = 1000, 500

METRICS = (
    Metric("redis_paced", "one by one: Redis' CPU per message", "µs"),
    Metric("replicas_paced", "one by one: its replicas' CPU per message", "µs"),
    Metric("ceiling_paced", "one by one: messages per second of Redis' CPU", "1/s", is_higher_better=True),
    Metric("redis_closed", "in batches: Redis' CPU per message", "µs"),
    Metric("replicas_closed", "in batches: its replicas' CPU per message", "µs"),
    Metric("ceiling_closed", "in batches: messages per second of Redis' CPU", "1/s", is_higher_better=True),
    Metric("cpu_closed", "in batches: CPU per message", "µs"),
    Metric("rate", "in batches: messages per second", "1/s", is_higher_better=True),
    Metric("busiest", "the busiest primary's CPU to the mean of all", "times"),
    Metric("memory", "Redis' memory per message", "bytes"),
    Metric("traffic", "Redis' network per message", "bytes"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    figures: dict[str, float] = {}
    load = farm.add_load()
    load.call("connect", ports=farm.ports, count=CLIENTS)
    farm.settle()
    held = farm.store.get_memory()
    for phase in ("paced", "closed"):
        if phase == "paced":
            load.call("send_paced", event="privateToEach", rate=RATE, senders=CLIENTS)
        else:
            load.call("send_closed_loop", event="privateToEach", senders=CLIENTS)
        figures |= _measure(farm, load, phase, 3 if quick else 6)
        load.call("stop")
        total = load.count_settled()
        if total["gone"] or total["deliveries"] != total["acks"]:
            raise RuntimeError(f"{phase}: {total}")
    return {**figures, "memory": (farm.store.get_memory() - held) / total["deliveries"]}


def _measure(farm: Farm, load: Load, phase: str, seconds: float) -> dict[str, float]:
    time.sleep(2)
    traffic = farm.store.get_traffic()
    before = load.call("count")["deliveries"]
    with farm.measure() as usage:
        time.sleep(seconds)
    messages = load.call("count")["deliveries"] - before
    per_message = usage.per(messages)
    figures = {f"{name}_{phase}": value for name, value in per_message.items() if name != "load_share"}
    return {
        **figures,
        f"ceiling_{phase}": messages / usage.redis,
        "rate": messages / usage.seconds,
        "busiest": usage.busiest,
        "traffic": (farm.store.get_traffic() - traffic) / messages,
        "load_share": usage.load_share,
    }
