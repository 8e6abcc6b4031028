"""What a farm of some size needs: the arithmetic of ``docs/scaling.md``, from the figures of RESULTS.md.

    .venv/bin/python -m benchmarks.scaling            prints the page's tables
    .venv/bin/python -m benchmarks.scaling --write    puts them into the page

``make bench ARGS="--cluster"`` takes the figures.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from benchmarks.processes import ROOT

RESULTS, PAGE = ROOT / "benchmarks/RESULTS.md", ROOT / "docs/scaling.md"
SINGLE, CLUSTER, WAITING = "single Redis", "cluster", "cluster, WAIT 1"

USERS = 1_000_000
BUSY = 0.5  # of a core: what is left is for restarts and bursts
CLIENTS = 5_000  # of a worker
HISTORY = 100  # messages kept of each room
BACK_S = 60  # for all to be back
#: How large rooms are, and how many messages a second there are in all.
ROOMS = {"rooms of 10": (10, USERS / 60), "rooms of 1,000": (1_000, USERS / 60), "one room of everybody": (USERS, 1.0)}

_MANY = 100  # numbers of workers that are tried until one is enough


class Figures:
    """The medians in the table of ``make bench ARGS="--cluster"``."""

    def __init__(self, results: str) -> None:
        block = results.partition("<!-- cluster -->")[2].partition("<!-- end of cluster -->")[0]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", block, re.M)]
        self._columns = {name: index for index, name in enumerate(rows[0]) if name}
        self._rows: dict[tuple[str, str], list[str]] = {}
        script = ""
        for row in rows[2:]:
            script = row[0] or script
            self._rows[script, row[1].rpartition(",")[0]] = row

    def get(self, script: str, label: str, column: str = WAITING) -> float:
        """Return a figure of a script."""
        text = self._rows[script, label][self._columns[column]]
        return float(text.split(" ")[0].replace(",", ""))


@dataclass(frozen=True)
class Costs:
    """What one of each takes, on a cluster: microseconds of CPU, or bytes."""

    delivery: float  # of the worker that makes it
    private: float  # of both workers, when they have much to do
    member: float  # for a message, of each further worker that has a member in its room
    redis: float  # for a message, with members on one worker
    redis_member: float  # for a message, of each further worker that has a member
    sent: float  # bytes to a client, for each delivery
    traffic: float  # bytes of Redis, for a message with members on one worker
    traffic_member: float
    idle: float  # of a worker, each second
    redis_idle: float  # for a worker, each second

    @classmethod
    def read(cls, figures: Figures) -> "Costs":
        """Take them from the table."""

        def add(label: str) -> tuple[float, float]:
            one, eight = (figures.get("members", f"{label} per message, members on {n}") for n in _ENDS)
            return one, max((eight - one) / 7, 0.0)

        _, member = add("busy: CPU")
        redis, redis_member = add("busy: Redis' CPU")
        traffic, traffic_member = add("Redis' network")
        return cls(
            delivery=figures.get("latency", "CPU per delivery"),
            private=figures.get("private", "closed loop: CPU per message"),
            member=member,
            redis=redis,
            redis_member=redis_member,
            sent=figures.get("latency", "sent to the client for each delivery"),
            traffic=traffic,
            traffic_member=traffic_member,
            idle=figures.get("workers", "8 workers idle, CPU per second") / 8 * 1000,
            redis_idle=figures.get("workers", "Redis' CPU meanwhile, per second") / 8 * 1000,
        )


_MEMBERS_HEAD = ("workers with a member", "CPU, µs", "Redis' CPU, µs", "busy: CPU, µs", "busy: Redis' CPU, µs")
_ENDS = ("1 worker", "8 workers")


@dataclass(frozen=True)
class Need:
    """What ``USERS`` connected users need, in rooms of one size."""

    deliveries: float  # a second
    cores: float  # that workers use
    workers: int
    members: float  # workers with a member of a room
    redis_cores: float
    network: float  # bytes a second to the clients
    redis_network: float

    @classmethod
    def compute(cls, costs: Costs, size: int, messages: float) -> "Need":
        """Find how many workers are enough: the more there are, the more have a member in each room."""
        workers = math.ceil(USERS / CLIENTS)
        for _ in range(_MANY):
            members = workers * (1 - (1 - 1 / workers) ** size)
            deliveries = messages * size
            taken = messages * (costs.private + costs.member * (members - 1)) + deliveries * costs.delivery
            taken += workers * costs.idle
            enough = max(math.ceil(USERS / CLIENTS), math.ceil(taken / 1e6 / BUSY))
            if enough <= workers:
                break
            workers = enough
        stored = messages * (costs.redis + costs.redis_member * (members - 1))
        return cls(
            deliveries=deliveries,
            cores=taken / 1e6,
            workers=workers,
            members=members,
            redis_cores=(stored + workers * costs.redis_idle) / 1e6,
            network=deliveries * costs.sent,
            redis_network=messages * (costs.traffic + costs.traffic_member * (members - 1)),
        )


def render(figures: Figures) -> dict[str, str]:
    """Return the page's tables by name."""
    costs = Costs.read(figures)
    needs = {name: Need.compute(costs, *rooms) for name, rooms in ROOMS.items()}
    return {
        "costs": _format(("what one takes", SINGLE, CLUSTER, WAITING), _list_costs(figures)),
        "stored": _format(("primaries", "one by one", "in batches"), _list_stored(figures)),
        "members": _format(_MEMBERS_HEAD, _list_members(figures)),
        "million": _format((f"{USERS:,} users in", *needs), _list_needs(figures, needs)),
        "back": _format((f"{USERS:,} clients", "new", "resumed"), _list_back(figures, needs)),
        "ends": _format(("what", "ends at", "because"), _list_ends(figures, costs)),
    }


def _list_costs(figures: Figures) -> Iterator[Sequence[str]]:
    for script, label, unit in (
        ("stored", "one by one: Redis' CPU per message", "µs"),
        ("stored", "in batches: Redis' CPU per message", "µs"),
        ("private", "CPU per message at 1,000/s", "µs"),
        ("private", "closed loop: CPU per message", "µs"),
        ("latency", "CPU per delivery", "µs"),
        ("fanout", "CPU per delivery", "µs"),
        ("connect", "CPU per new client", "µs"),
        ("connect", "Redis' CPU per new client", "µs"),
        ("resume", "CPU per client that comes back", "µs"),
        ("resume", "Redis' CPU per client that comes back", "µs"),
        ("workers", "8 workers idle, CPU per second", "ms"),
        ("workers", "Redis' CPU meanwhile, per second", "ms"),
        ("idle", "RSS of a worker with 100 clients", "MiB"),
        ("idle", "RSS per idle client", "KiB"),
        ("idle", "Redis' memory per idle client", "KiB"),
        ("stored", "Redis' memory per message", "bytes"),
        ("stored", "Redis' network per message", "bytes"),
        ("latency", "sent to the client for each delivery", "bytes"),
    ):
        values = (figures.get(script, label, column) for column in (SINGLE, CLUSTER, WAITING))
        yield f"`{script}`: {label}, {unit}", *map(_round, values)


def _list_stored(figures: Figures) -> Iterator[Sequence[str]]:
    labels = [f"{kind}: messages per second of Redis' CPU" for kind in ("one by one", "in batches")]
    yield "1, a single Redis", *(_round(figures.get("stored", label, SINGLE) * BUSY) for label in labels)
    busiest = max(figures.get("stored", "the busiest primary's CPU to the mean of all"), 1.0)
    for count in (3, 6, 12):
        yield str(count), *(_round(figures.get("stored", label) * BUSY * count / busiest) for label in labels)


def _list_members(figures: Figures) -> Iterator[Sequence[str]]:
    for text in ("1 worker", "2 workers", "4 workers", "8 workers"):
        kinds = ("CPU", "Redis' CPU", "busy: CPU", "busy: Redis' CPU")
        values = [figures.get("members", f"{kind} per message, members on {text}") for kind in kinds]
        yield text.split(" ")[0], *map(_round, values)


def _list_needs(figures: Figures, needs: dict[str, Need]) -> Iterator[Sequence[str]]:
    base, client, session, stored = (
        figures.get(*where)
        for where in (
            ("idle", "RSS of a worker with 100 clients"),
            ("idle", "RSS per idle client"),
            ("idle", "Redis' memory per idle client"),
            ("stored", "Redis' memory per message"),
        )
    )
    rows: list[tuple[str, list[float]]] = [
        ("messages a second", [messages for _, messages in ROOMS.values()]),
        ("deliveries a second", [need.deliveries for need in needs.values()]),
        ("CPU of the workers, cores", [need.cores for need in needs.values()]),
        (f"workers ({CLIENTS:,} clients each, {BUSY:.0%} busy)", [need.workers for need in needs.values()]),
        ("workers with a member of a room", [need.members for need in needs.values()]),
        ("CPU of Redis, cores", [need.redis_cores for need in needs.values()]),
        (
            f"primaries ({BUSY:.0%} busy, 3 at least)",
            [max(math.ceil(need.redis_cores / BUSY), 3) for need in needs.values()],
        ),
        ("network to the clients, Mbit/s", [need.network * 8 / 1e6 for need in needs.values()]),
        ("network of Redis, Mbit/s", [need.redis_network * 8 / 1e6 for need in needs.values()]),
        (
            "memory of the workers, GiB",
            [(need.workers * base * 1024 + USERS * client) / 2**20 for need in needs.values()],
        ),
        ("Redis' memory for the sessions, GiB", [USERS * session / 2**20] * len(needs)),
        (
            f"and for {HISTORY} messages of each room, GiB",
            [USERS / size * HISTORY * stored / 2**30 for size, _ in ROOMS.values()],
        ),
    ]
    for label, values in rows:
        yield label, *map(_round, values)


def _list_back(figures: Figures, needs: dict[str, Need]) -> Iterator[Sequence[str]]:
    kinds = {"connect": "new client", "resume": "client that comes back"}
    workers = [USERS * figures.get(script, f"CPU per {what}") / 1e6 for script, what in kinds.items()]
    redis = [USERS * figures.get(script, f"Redis' CPU per {what}") / 1e6 for script, what in kinds.items()]
    count = max(need.workers for need in needs.values())
    fewest = min(need.workers for need in needs.values())
    yield "CPU of the workers, s", *map(_round, workers)
    yield "CPU of Redis, s", *map(_round, redis)
    yield f"with {fewest} workers, if these are all there is: s", *(_round(one / fewest) for one in workers)
    if count > fewest:
        yield f"with {count} workers: s", *(_round(one / count) for one in workers)
    yield "with 3 primaries, if these are: s", *(_round(one / 3) for one in redis)
    yield f"primaries, for all to be back in {BACK_S} s", *(str(math.ceil(one / BACK_S)) for one in redis)


def _list_ends(figures: Figures, costs: Costs) -> Iterator[Sequence[str]]:
    workers = math.ceil(USERS / CLIENTS)
    together = figures.get("fanout", "CPU per delivery")
    least, most = (1e6 * BUSY / (CLIENTS * cost + costs.member) for cost in (costs.delivery, together))
    hot = 1e6 * BUSY / (costs.redis + costs.redis_member * (workers - 1))
    idle = costs.redis_idle / 1000
    yield (
        f"a room with {CLIENTS:,} members on each worker",
        f"{_round(least)} to {_round(most)} messages a second",
        f"a delivery takes {_round(costs.delivery)} µs, {_round(together)} µs where many are sent together",
    )
    yield (
        f"a room with members on {workers} workers",
        f"{_round(hot)} messages a second",
        f"one room is in one shard, on one primary: {_round(costs.redis)} µs, and {_round(costs.redis_member)} µs for"
        " each further worker",
    )
    yield (
        "workers that do nothing, with 3 primaries",
        f"{_round(3 * 1000 * BUSY / idle)} workers",
        f"each has {_round(idle)} ms a second done by Redis: leases and markers of 8 shards",
    )


def _round(value: float) -> str:
    """Return two significant digits of what was measured: nobody knows more of another machine."""
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(digits, 0)}f}"


def _format(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(page: str, tables: dict[str, str]) -> str:
    """Return the page with ``tables`` between their markers."""
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}{table}\n{end}{rest.partition(end)[2]}"
    return page


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--write", is_flag=True, help="Put the tables into docs/scaling.md.")
def main(write: bool) -> None:
    tables = render(Figures(RESULTS.read_text()))
    if write:
        PAGE.write_text(fill(PAGE.read_text(), tables))
        click.echo(f"written: {PAGE.relative_to(ROOT)}", err=True)
    else:
        click.echo("\n\n".join(tables.values()))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.scaling")
