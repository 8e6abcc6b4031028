"""What does a new client cost?

After 200 others for warming up, 2,000 clients connect over websocket, 50 at a time, half of them on each worker. Each
joins the default namespace and one room. CPU time of the two workers until the last one has joined, divided by 2,000;
clients per second.
"""

from benchmarks.harness import Farm, cpu_metrics, rate_metric

METRICS = (*cpu_metrics("new client"), rate_metric("new clients"))


def run(farm: Farm, quick: bool) -> dict[str, float]:
    clients = 1000 if quick else 2000
    load = farm.add_load()
    load.call("connect", ports=farm.ports, count=200)
    with farm.measure() as usage:
        load.call("connect", ports=farm.ports, count=clients)
    return {**usage.per(clients), "rate": clients / usage.seconds}
