"""What does a client cost that stops reading while its room is busy?

50 clients in one room, half of them on each worker, get 100 messages of 10 KB a second. One more joins and reads
nothing for 30 seconds, in which 30 MB are sent to it. The workers' RSS before, at its highest meanwhile, and after the
client has left. (What the kernel buffers for a socket is in no process's RSS.)
"""

import socket
import time

from benchmarks.harness import Farm, Metric
from benchmarks.receivers import connect

CLIENTS, RATE = 50, 100

METRICS = (
    Metric("before", "RSS before", "MiB"),
    Metric("during", "RSS meanwhile, highest", "MiB"),
    Metric("after", "RSS after", "MiB"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    load = farm.add_load()
    load.call("connect", ports=farm.ports, count=CLIENTS)
    load.call("send_paced", event="bulk", rate=RATE, senders=CLIENTS)
    time.sleep(3)
    before = _get_rss(farm)
    with socket.create_connection(("127.0.0.1", farm.ports[0])) as deaf:
        connect(deaf, CLIENTS)
        highest, end = before, time.monotonic() + (8 if quick else 30)
        with farm.measure() as usage:
            while time.monotonic() < end:
                time.sleep(0.25)
                highest = max(highest, _get_rss(farm))
    time.sleep(3)
    after = _get_rss(farm)
    load.call("stop")
    return {"before": before, "during": highest, "after": after, "load_share": usage.load_share}


def _get_rss(farm: Farm) -> float:
    return farm.get_memory()["Rss"] / 2**20
