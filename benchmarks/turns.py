"""What does a message cost on a cluster, to a single Redis, when they are measured within the same seconds?

    .venv/bin/python -m benchmarks.turns            prints the table (some ten minutes)
    .venv/bin/python -m benchmarks.turns --write    puts it into RESULTS.md

The tables of ``make bench`` have half a minute between the two figures of a ratio. In that time a shared machine may
become a third slower. Here all farms run at once and take turns of 1.5 s, again and again. A ratio compares two turns
of one round, and the table has the median of all rounds with the quartiles.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median, quantiles
from typing import Any, NamedTuple

import click

from benchmarks import private, stored
from benchmarks.harness import Farm, Load
from benchmarks.processes import ROOT
from benchmarks.report import describe_machine, get_commit, write_block

PEERS = {
    "single": "single Redis",
    "replicated": "single, with a replica",
    "primaries": "3 primaries",
    "cluster": "3 primaries, a replica each",
}
#: Each: what it is compared with.
BASES = {"replicated": "single", "primaries": "single", "cluster": "replicated"}


class Test(NamedTuple):
    """What is sent: how many clients there are, and what the load generator is told."""

    clients: int
    command: str
    event: str
    senders: int
    rate: int = 0  # messages a second; 0: as soon as the last one is acknowledged
    is_each: bool = False  # so many to each primary
    is_to_all: bool = False  # each client receives each message

    def get_arguments(self, farm: Farm) -> dict[str, Any]:
        """Return the arguments of the command for the load generator of a farm."""
        rate = self.rate * (len(farm.store.ports) if self.is_each else 1)
        return {"event": self.event, "senders": self.senders} | ({"rate": rate} if rate else {})


_PRIVATE = (private.CLIENTS, "send_paced", "privateMessage", private.CLIENTS)
_ROOMS = (stored.CLIENTS, "send_paced", "privateToEach", stored.CLIENTS)
TESTS = {
    "private messages, 1,000 a second": Test(*_PRIVATE, rate=private.RATE),
    "private messages, each of 64 clients when its last one is acknowledged": Test(
        private.CLIENTS, "send_closed_loop", "privateMessage", private.CLOSED_LOOP_SENDERS
    ),
    "to 1,000 rooms, 500 a second": Test(*_ROOMS, rate=stored.RATE),
    "to 1,000 rooms, 500 a second to each primary": Test(*_ROOMS, rate=stored.RATE, is_each=True),
    "to 1,000 rooms, each of 1,000 clients when its last one is acknowledged": Test(
        stored.CLIENTS, "send_closed_loop", "privateToEach", stored.CLIENTS
    ),
}
TURN_S, WARMING_S = 1.5, 0.4
FIGURES = ("cpu", "redis")  # of ``Usage.per``

Turn = dict[str, float]

_TEXT = """## A cluster beside a single Redis, turn by turn

{machine}

{date}, commit `{commit}`: CPU time per message, µs, and its ratio, with the quartiles of {rounds} rounds: of a
cluster of three primaries to a single Redis, and, where each has a replica, to a single Redis with one. Acknowledged
when the primary has it. All farms are up at once and take turns of {turn} s, so that they meet the same machine; all of
it is on its two cores. `.venv/bin/python -m benchmarks.turns --write` takes it again.

{table}
"""


def measure(rounds: int) -> Iterator[tuple[str, dict[str, list[Turn]]]]:
    """Yield each test, and the turns of each kind of Redis."""
    for name, test in TESTS.items():
        turns: dict[str, list[Turn]] = {peer: [] for peer in PEERS}
        with contextlib.ExitStack() as stack:
            farms = {peer: stack.enter_context(Farm(peer)) for peer in PEERS}
            loads = {peer: farm.add_load() for peer, farm in farms.items()}
            for peer, farm in farms.items():
                loads[peer].call("connect", ports=farm.ports, count=test.clients)
                farm.settle()
            numbers = stack.enter_context(click.progressbar(range(rounds + 1), label=name, file=sys.stderr))
            for number in numbers:  # the first one warms up
                for peer in [*PEERS][:: 1 if number % 2 else -1]:
                    turn = take_turn(farms[peer], loads[peer], test)
                    turns[peer] += [turn] if number else []
        yield name, turns


def take_turn(farm: Farm, load: Load, test: Test) -> Turn:
    """Return what a delivery cost in one turn; raise ``ClickException`` if a message or a client was lost."""
    load.call(test.command, **test.get_arguments(farm))
    time.sleep(WARMING_S)
    before = load.call("count")["deliveries"]
    with farm.measure() as usage:
        time.sleep(TURN_S)
    messages = load.call("count")["deliveries"] - before
    load.call("stop")
    total = load.count_settled()
    expected = total["acks"] * (test.clients if test.is_to_all else 1)
    if not messages or total["gone"] or total["deliveries"] != expected:
        raise click.ClickException(f"nothing came, a message was lost, or a client: {total}")
    return usage.per(messages)


def format_table(results: Iterator[tuple[str, dict[str, list[Turn]]]]) -> str:
    """Return the table, as Markdown."""
    heads = [f"{name}, ratio" if peer in BASES else name for peer, name in PEERS.items()]
    lines = [["", "", *heads], ["---", "---", *["---:"] * len(heads)]]
    for test, turns in results:
        for key, whose in zip(FIGURES, ("workers", "Redis"), strict=True):
            cells = [_format(turns, peer, key) for peer in PEERS]
            lines.append([test if key == FIGURES[0] else "", whose, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _format(turns: dict[str, list[Turn]], peer: str, key: str) -> str:
    figure = f"{median(turn[key] for turn in turns[peer]):.3g}"
    if peer not in BASES:
        return figure
    pairs = zip(turns[peer], turns[BASES[peer]], strict=True)
    low, middle, high = quantiles([one[key] / other[key] for one, other in pairs], n=4)
    return f"{figure}, **{middle:.2f}** ({low:.2f}-{high:.2f})"


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--rounds", type=click.IntRange(min=2), default=10, show_default=True)
@click.option("--write", is_flag=True, help="Put the table into RESULTS.md.")
def main(rounds: int, write: bool) -> None:
    table = format_table(measure(rounds))
    click.echo(table)
    if write:
        path = ROOT / "benchmarks/RESULTS.md"
        head = {"machine": describe_machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": get_commit()}
        write_block(path, "turns", _TEXT.format(**head, rounds=rounds, turn=TURN_S, table=table))
        click.echo(f"written: {path.relative_to(ROOT)}", err=True)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.turns")
