"""What do others notice of a client that sends large messages?

One client, in a process of its own, sends 900 KB a second, in one event. The event is first a text that is only
acknowledged, then a text that comes back through Redis, then an acknowledged list of 145,000 numbers. Another client of
the same worker, in a process of its own too, sends an acknowledged echo every 2 ms, whatever is answered. The figures
are round trips of the echoes with the large messages, less those of a quiet phase before. They are the 99th
percentiles, and the slowest against the quiet phase's 99th percentile. A server may refuse the list and close its
client, which then comes back for its next one: how many were refused.
"""

import time

from benchmarks.harness import Farm, Load, Metric
from benchmarks.load import now_us

ECHO_RATE = 500
PHASES = {"sink": "text acknowledged", "privateLarge": "text that comes back", "sinkMany": "list acknowledged"}

METRICS = (
    Metric("quiet", "quiet echo, 99 %", "ms"),
    *(
        Metric(f"{event}_{key}", f"added by a {name}, {label}", "ms")
        for event, name in PHASES.items()
        for key, label in (("p99", "99 %"), ("max", "slowest"))
    ),
    Metric("refused", "lists refused", "%"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    seconds = 3 if quick else 5
    measuring = farm.add_load()
    measuring.call("connect", ports=farm.ports[:1], count=1)
    measuring.call("send_echoes", rate=ECHO_RATE)
    time.sleep(2)
    start = now_us()
    time.sleep(seconds)
    quiet = _get_echoes(measuring, start)["p99"]
    figures = {"quiet": quiet}
    with farm.measure() as usage:
        for event in PHASES:
            large, start = farm.add_load(), now_us()
            refused = _send(large, farm.ports[:1], event, seconds)
            echoes = _get_echoes(measuring, start)
            figures |= {f"{event}_{key}": echoes[key] - quiet for key in ("p99", "max")}
            farm.remove_load(large)
            if refused and event != "sinkMany":
                raise RuntimeError(f"{refused} of {seconds} {event} were refused")
    return {**figures, "refused": 100 * refused / seconds, "load_share": usage.load_share}


def _send(large: Load, ports: list[int], event: str, seconds: int) -> int:
    """Send ``event`` once a second from a client that connects again when it is closed; return how often it was."""
    gone = connected = 0
    for _ in range(seconds):
        if gone == connected:
            large.call("connect", ports=ports, count=1)
            connected += 1
        large.call("send_once", event=event)
        time.sleep(1)
        gone = large.call("count")["gone"]
    counted = large.count_settled()
    returned = counted["acks"] if event == "privateLarge" else 0
    if counted["acks"] + counted["gone"] != seconds or counted["deliveries"] != returned:
        raise RuntimeError(f"{event} for {seconds} s, but {counted}")
    return counted["gone"]


def _get_echoes(measuring: Load, since_us: int) -> dict[str, float]:
    echoes: dict[str, float] = measuring.call("get_echoes", since_us=since_us, until_us=now_us())
    return echoes
