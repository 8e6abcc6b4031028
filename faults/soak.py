"""``make soak``: an hour of mixed load with random faults; does anything grow, or stay behind?

    make soak                               an hour
    make soak ARGS="--minutes 5"            less of it; a few minutes are too few to tell growth from warming up
    make soak ARGS="--write"                puts the table into RESULTS.md

Round after round some forty users talk for half a minute, on all transports, while two faults happen. Then their
connections end without a close, and the oracle judges the promises. Worker 0 lives from beginning to end; after each
round it is asked what it holds. When all that was kept for users has expired, nothing may be left in Redis but what a
farm without users has. Exit codes: 0 all as promised, 1 not, 2 wrong usage.
"""

import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import click

from benchmarks.processes import ROOT
from benchmarks.report import describe_machine, get_commit, write_block
from faults import faults
from faults.crowd import Crowd, Users
from faults.oracle import Verdict, judge
from faults.site import WORKERS, Site

_FOLDER = ROOT / ".run/faults/soak"
_USERS = Users(count=42, retries=40, rooms=("red", "blue", "green"), pad=200)
_ENV = {"WEBFARM_RECOVERY_WINDOW_S": "20", "WEBFARM_HISTORY_TTL_S": "40"}
_ROUND_S, _CALM_S = 30.0, 4.0
_FORGET_S = 240.0  # the window, the lease, the history's time, that in which a repeat is known; and some
#: Of the last third to the first: what more is growth, not noise.
_MAX_GROWTH = 1.1
_TEXT = """## An hour of faults

{machine}

{date}, commit `{commit}`: {minutes:.0f} minutes, {rounds} rounds of {users} users with two faults each, chosen at
random; {sent:,} messages sent, {acknowledged:,} acknowledged, {recovered:,} connections recovered, {anew:,} begun anew.
What was promised and not kept: {broken}. What worker 0 held after each round, when its users were gone, in the median
of the first, second and last third:

{table}
"""


def _kill_worker(site: Site, crowd: Crowd) -> None:
    site.replace_worker(random.randrange(1, WORKERS), signal.SIGKILL)


def _drain_worker(site: Site, crowd: Crowd) -> None:
    site.replace_worker(random.randrange(1, WORKERS), signal.SIGTERM)


def _stop_a_worker(site: Site, crowd: Crowd) -> None:
    with site.stopped(random.randrange(WORKERS)):
        time.sleep(random.choice((1, 8)))


def _cut(site: Site, crowd: Crowd) -> None:
    crowd.tell("cut", away=random.choice((0, 1000, 4000)), clients=random.sample(crowd.names, 20))


def _reload_haproxy(site: Site, crowd: Crowd) -> None:
    site.reload_haproxy()


def _cut_redis(site: Site, crowd: Crowd) -> None:
    site.cut_redis_connections(random.choice((None, *range(WORKERS))))


_FAULTS: tuple[Callable[[Site, Crowd], None], ...] = (
    _kill_worker,
    _drain_worker,
    _stop_a_worker,
    _cut,
    _cut_redis,
    faults.stop_readers,
    _reload_haproxy,
    faults.kill_haproxy,
    faults.restart_redis,
    faults.restart_redis_and_cut,
    faults.stop_redis,
    faults.fill_redis,
)


@dataclass(frozen=True)
class Sample:
    """What worker 0 holds, and Redis."""

    memory: float  # MiB, its own
    files: int
    greenlets: int
    objects: int
    keys: int

    @classmethod
    def take(cls, site: Site) -> "Sample":
        pid = site.get_worker(0)
        with urlopen(f"http://127.0.0.1:{site.ports[0]}/counts", timeout=30) as answer:
            counts = json.load(answer)
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        own = sum(int(row.split()[1]) for row in rows if row.startswith("Private_"))
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        with closing(site.redis) as client:
            return cls(own / 1024, files, counts["greenlets"], counts["objects"], int(client.dbsize()))


LABELS = {
    "memory": "memory of its own, MiB",
    "files": "open files",
    "greenlets": "greenlets",
    "objects": "Python objects",
    "keys": "keys in Redis",
}


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--minutes", type=click.FloatRange(min=1), default=60, show_default=True, help="How long.")
@click.option("--seed", type=int, help="Of the choice of faults (default: another one each time).")
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(minutes: float, seed: int | None, write: bool) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    seed = seed if seed is not None else random.randrange(10_000)
    random.seed(seed)
    click.echo(f"soak: {minutes:g} minutes, seed {seed}", err=True)
    verdicts, samples, broken = [], [], []
    with Site("webfarm", _FOLDER, app="benchmarks.servers.counted:app", **_ENV) as site:
        pid = site.get_worker(0)
        before = _count_keys(site)
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            chosen = random.sample(_FAULTS, 2)
            verdict = _run_round(site, chosen, len(verdicts))
            verdicts.append(verdict)
            samples.append(Sample.take(site))
            names = ", ".join(fault.__name__.strip("_").replace("_", " ") for fault in chosen)
            faults_found = "; ".join(f"{count} {label}" for label, count in verdict.faults.items())
            click.echo(
                f"soak: round {len(verdicts)}: {names}: {faults_found or 'as promised'}; {samples[-1]}", err=True
            )
            broken += [faults_found] if faults_found else []
            for example in verdict.examples:
                click.echo(f"    {example}", err=True)
        if site.get_worker(0) != pid:
            broken.append("worker 0 was replaced")
        if "Traceback" in site.log:
            broken.append("a worker's log has a traceback")
        left = _wait_until_forgotten(site, before)
    kinds = ", ".join(f"{count} of {kind}" for kind, count in left.items())
    broken += [f"left in Redis: {kinds}"] if left else []
    thirds = [samples[len(samples) * i // 3 : len(samples) * (i + 1) // 3] for i in range(3)]
    rows = {name: [_get_median(third, name) for third in thirds] for name in LABELS}
    broken += [f"{LABELS[name]} grew" for name, row in rows.items() if row[2] > _MAX_GROWTH * row[0] + 2]
    text = _format(minutes, verdicts, broken, rows)
    click.echo(text)
    if write:
        write_block(ROOT / "benchmarks/RESULTS.md", "faults: soak", text)
    sys.exit(bool(broken))


def _run_round(site: Site, chosen: list[Callable[[Site, Crowd], None]], number: int) -> Verdict:
    users = replace(_USERS, first=number * _USERS.count)  # others each time: what waits for a user is none of theirs
    with Crowd(users, [site.url], _FOLDER / "events.jsonl") as crowd:
        crowd.tell("start")
        begin = time.monotonic()
        for fault in chosen:
            time.sleep(random.uniform(1, _CALM_S))
            fault(site, crowd)
            site.wait_until_ready()
        crowd.wait_until_connected()
        time.sleep(max(_CALM_S, begin + _ROUND_S - time.monotonic()))
        return judge(crowd.finish())


def _count_keys(site: Site) -> Counter[str]:
    """Return how many keys there are of each kind in Redis."""
    with closing(site.redis) as client:
        return Counter(key.split(":")[2] for key in client.scan_iter())


def _wait_until_forgotten(site: Site, before: Counter[str]) -> Counter[str]:
    """Wait until what was kept for users has expired; return what has not, compared with ``before``."""
    deadline = time.monotonic() + _FORGET_S
    while (left := _count_keys(site) - before) and time.monotonic() < deadline:
        time.sleep(1)
    return left


def _get_median(samples: list[Sample], name: str) -> float:
    values = sorted(getattr(sample, name) for sample in samples)
    return float(values[len(values) // 2]) if values else 0.0


def _format(minutes: float, verdicts: list[Verdict], broken: list[str], rows: dict[str, list[float]]) -> str:
    table = ["| | first | second | last |", "| --- | ---: | ---: | ---: |"]
    table += [f"| {LABELS[name]} | {' | '.join(f'{value:,.0f}' for value in row)} |" for name, row in rows.items()]
    return _TEXT.format(
        machine=describe_machine(),
        date=datetime.now(UTC).date(),
        commit=get_commit(),
        minutes=minutes,
        rounds=len(verdicts),
        users=_USERS.count,
        sent=sum(verdict.sent for verdict in verdicts),
        acknowledged=sum(verdict.acknowledged for verdict in verdicts),
        recovered=sum(verdict.recovered for verdict in verdicts),
        anew=sum(verdict.not_recovered for verdict in verdicts),
        broken="; ".join(broken) or "nothing",
        table="\n".join(table),
    ).strip()


if __name__ == "__main__":
    main(prog_name="make soak ARGS=...")
