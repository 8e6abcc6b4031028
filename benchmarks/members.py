"""What does a message cost by how many workers have a member in its room?

A farm of eight workers; 64 clients, eight on each, send to a room that they are not in. The room has eight members, on
one worker, then on two, four and eight, evenly. Each message has eight deliveries. First 500 messages a second, evenly
spaced, whatever is acknowledged; then (*busy*) each client sends whenever its last message is acknowledged. CPU time of
all workers and of Redis per message; in the first phase less what they spend when nothing happens.
"""

import time

from benchmarks.harness import Farm, Load, Metric, Usage

SENDERS, MEMBERS, RATE, COUNTS = 64, 8, 500, (1, 2, 4, 8)
FARM = {"size": max(COUNTS)}

_PLACES = {count: f"members on {count} worker{'s' if count > 1 else ''}" for count in COUNTS}
METRICS = tuple(
    Metric(f"{key}_{count}", f"{label} per message, {place}", unit)
    for key, label, unit in (
        ("cpu", "CPU", "µs"),
        ("redis", "Redis' CPU", "µs"),
        ("traffic", "Redis' network", "bytes"),
        ("busy_cpu", "busy: CPU", "µs"),
        ("busy_redis", "busy: Redis' CPU", "µs"),
    )
    for count, place in _PLACES.items()
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    seconds = 3 if quick else 6
    senders = farm.add_load()
    senders.call("connect", ports=farm.ports, count=SENDERS)
    senders.call("leave")
    farm.settle()
    idle_traffic = -farm.store.get_traffic()
    with farm.measure() as idle:
        time.sleep(seconds)
    idle_traffic += farm.store.get_traffic()
    figures: dict[str, float] = {}
    acknowledged = senders.call("count")["acks"]
    for count in COUNTS:
        members = farm.add_load()
        members.call("connect", ports=farm.ports[:count], count=MEMBERS)
        senders.call("send_paced", event="message", rate=RATE, senders=SENDERS)
        usage, messages, traffic = _measure(farm, senders, seconds)
        share = usage.seconds / idle.seconds
        figures |= {
            f"cpu_{count}": (usage.workers - idle.workers * share) / messages * 1e6,
            f"redis_{count}": (usage.redis - idle.redis * share) / messages * 1e6,
            f"traffic_{count}": (traffic - idle_traffic * share) / messages,
        }
        _stop(senders)
        senders.call("send_closed_loop", event="message", senders=SENDERS)
        usage, messages, _ = _measure(farm, senders, seconds)
        figures |= {
            f"busy_cpu_{count}": usage.workers / messages * 1e6,
            f"busy_redis_{count}": usage.redis / messages * 1e6,
            "load_share": usage.load_share,
        }
        _stop(senders)
        before, acknowledged = acknowledged, senders.call("count")["acks"]
        total = members.count_settled()
        if total["gone"] or total["deliveries"] != (acknowledged - before) * MEMBERS:
            raise RuntimeError(f"{acknowledged - before} messages to {MEMBERS} members, but {total}")
        farm.remove_load(members)
    return figures


def _measure(farm: Farm, senders: Load, seconds: float) -> tuple[Usage, int, int]:
    """Return what was spent, and how many messages and bytes of Redis there were."""
    time.sleep(2)
    before, traffic = senders.call("count")["acks"], farm.store.get_traffic()
    with farm.measure() as usage:
        time.sleep(seconds)
    return usage, senders.call("count")["acks"] - before, farm.store.get_traffic() - traffic


def _stop(senders: Load) -> None:
    senders.call("stop")
    senders.count_settled()
