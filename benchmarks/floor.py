"""What does a plain command cost three primaries, to a single Redis, when there is little to do?

    .venv/bin/python -m benchmarks.floor

One client and no webfarm: 500 SET a second in all, of 300 bytes, spread evenly, in turns of 1.5 s. Any program on a
cluster pays that at such a load, as each primary is woken for a third of the commands.
"""

import time
from statistics import median, quantiles
from typing import Any

import click
import redis

from benchmarks.processes import get_cpu_seconds
from benchmarks.store import Store, open_store

RATE, TURN_S, KEYS, VALUE = 500, 1.5, 1_000, "x" * 300


def measure(rounds: int) -> list[tuple[float, float]]:
    """Return the CPU time of one SET (µs) of each round: that of a single Redis, and of three primaries in all."""
    figures = []
    with open_store("single") as single, open_store("primaries") as primaries:
        clients = redis.Redis(port=single.ports[0]), redis.RedisCluster("127.0.0.1", primaries.ports[0])
        for number in range(rounds + 1):  # the first one warms up
            pair = _take_turn(single, clients[0]), _take_turn(primaries, clients[1])
            figures += [pair] if number else []
        for client in clients:
            client.close()
    return figures


def _take_turn(store: Store, client: Any) -> float:
    before, start = _get_cpu(store), time.monotonic()
    count = int(RATE * TURN_S)
    for number in range(count):
        time.sleep(max(start + number / RATE - time.monotonic(), 0))
        client.set(f"key{number % KEYS}", VALUE)
    return (_get_cpu(store) - before) / count * 1e6


def _get_cpu(store: Store) -> float:
    return sum(get_cpu_seconds(process.pid) for process in store.primaries)


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--rounds", type=click.IntRange(min=2), default=10, show_default=True)
def main(rounds: int) -> None:
    figures = measure(rounds)
    low, middle, high = quantiles([primaries / single for single, primaries in figures], n=4)
    single, primaries = (median(column) for column in zip(*figures, strict=True))
    click.echo(f"SET, {RATE} a second: {single:.3g} µs of a single Redis, {primaries:.3g} µs of three primaries")
    click.echo(f"ratio, median and quartiles of {rounds} rounds: {middle:.2f} ({low:.2f}-{high:.2f})")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.floor")
