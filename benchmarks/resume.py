"""What does it cost when clients come back?

2,000 clients, half of them on each worker, each in a room of its own and in one with all others, have had a message.
All of them are cut off at once, and resume their sessions, 50 at a time. The figures are CPU time of the two workers
and of Redis until the last one is back, divided by 2,000, and clients per second. A client that is not recovered is a
fault.
"""

from benchmarks.harness import Farm, cpu_metrics, rate_metric

METRICS = (*cpu_metrics("client that comes back"), rate_metric("clients that come back"))


def run(farm: Farm, quick: bool) -> dict[str, float]:
    clients = 1000 if quick else 2000
    load = farm.add_load()
    load.call("connect", ports=farm.ports, count=clients)
    load.call("send_once", event="message")
    load.count_settled()
    farm.settle()
    load.call("cut")
    farm.settle()
    with farm.measure() as usage:
        load.call("reconnect", ports=farm.ports)
    return {**usage.per(clients), "rate": clients / usage.seconds}
