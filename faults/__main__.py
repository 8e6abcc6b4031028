"""``make faults``: each fault while stock clients talk, and one table.

    make faults                             all of them
    make faults ARGS="--only kill-worker"   one; may be given several times
    make faults ARGS="--quick"              fewer users
    make faults ARGS="--peer node"          Node with its Redis Streams adapter, or stock python-socketio (stock)
    make faults ARGS="--cluster"            on a Redis Cluster, with what happens to clusters alone
    make faults ARGS="--write"              puts the table into RESULTS.md

Logs and events of each scenario's last run are in ``.run/faults``. Exit codes: 0 all as promised, 1 not, 2 wrong usage.
"""

import signal
import sys
import time
from datetime import UTC, datetime

import click
from redis import RedisError

from benchmarks.processes import ROOT
from benchmarks.report import describe_machine, get_commit, write_block
from faults.crowd import Users
from faults.oracle import ZEROS
from faults.run import Outcome, format_table, get_folder, run
from faults.scenarios import CLUSTER_SCENARIOS, SCENARIOS, Scenario
from faults.site import WORKERS, Site
from webfarm.errors import Error

_NAMES = {
    "webfarm": "webfarm",
    "node": "Node with the Redis Streams adapter and connection state recovery",
    "stock": "stock python-socketio",
    "cluster": "webfarm on a Redis Cluster",
}
_PEERS = click.Choice(("webfarm", "node", "stock"))
_REDIS = {
    "": "Redis with its append-only file",
    "cluster": "a Redis Cluster of three primaries and three replicas with their append-only files, 8 shards, `WAIT 1`;"
    " what\nbefalls Redis befalls all nodes at once, unless a row says which",
}
_NO_HUP = "hup"  # gunicorn's own; Node has nothing like it
_TEXT = """## Faults: {name}

{machine}

{date}, commit `{commit}`: what becomes of the messages of {users} stock JavaScript clients (a third each on websocket,
on polling, on polling with upgrade) that talk while something breaks under them: {workers} workers behind HAProxy,
{redis}. All columns from *{first}* to *{last}* must be zero.

{table}
"""


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--only", multiple=True, type=click.Choice(sorted({one.name for one in SCENARIOS + CLUSTER_SCENARIOS})))
@click.option("--peer", default="webfarm", type=_PEERS, help="Whose servers (default webfarm).")
@click.option("--cluster", is_flag=True, help="On a Redis Cluster (webfarm alone).")
@click.option("--quick", is_flag=True, help="Fewer users.")
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(only: tuple[str, ...], peer: str, cluster: bool, quick: bool, write: bool) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    if cluster and peer != "webfarm":
        raise click.UsageError("--cluster is webfarm's alone.")
    scenarios = CLUSTER_SCENARIOS if cluster else SCENARIOS
    chosen = [scenario for scenario in scenarios if scenario.name in only or not only]
    if peer == "node":
        chosen = [scenario for scenario in chosen if scenario.name != _NO_HUP]
    if peer != "webfarm":
        chosen = [scenario for scenario in chosen if scenario.site is Site]  # its clients of Redis know no sentinels
    outcomes = [found for scenario in chosen if (found := _run(scenario, peer, quick))]
    click.echo(format_table(outcomes))
    if write:
        path = ROOT / "benchmarks/RESULTS.md"
        name = "cluster" if cluster else peer
        write_block(path, f"faults: {name}", _format(name, outcomes))
        click.echo(f"written: {path.relative_to(ROOT)}", err=True)
    sys.exit(len(outcomes) < len(chosen) or any(outcome.faults for outcome in outcomes))


def _run(scenario: Scenario, peer: str, quick: bool) -> Outcome | None:
    """Run one, and say what came of it; ``None`` if it could not be run to its end."""
    start = time.monotonic()
    click.echo(f"faults: {peer} · {scenario.name} … ", nl=False, err=True)
    try:
        outcome = run(scenario, peer, quick=quick)
    except (OSError, RuntimeError, Error, RedisError) as error:
        click.echo(f"broken off: {error}; see {get_folder(scenario, peer).relative_to(ROOT)}", err=True)
        return None
    click.echo(f"{'; '.join(outcome.faults) or 'as promised'}, {time.monotonic() - start:.0f} s", err=True)
    for example in outcome.verdict.examples:
        click.echo(f"    {example}", err=True)
    return outcome


def _format(name: str, outcomes: list[Outcome]) -> str:
    labels = list(ZEROS.values())
    return _TEXT.format(
        name=_NAMES[name],
        redis=_REDIS.get(name, _REDIS[""]),
        machine=describe_machine(),
        date=datetime.now(UTC).date(),
        commit=get_commit(),
        users=Users().count,
        workers=WORKERS,
        first=labels[0],
        last=labels[-1],
        table=format_table(outcomes),
    ).strip()


if __name__ == "__main__":
    main(prog_name="make faults ARGS=...")
