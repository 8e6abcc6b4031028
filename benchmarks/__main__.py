"""``make bench``: each script beside Node, stock python-socketio and Flask-SocketIO, round by round, and one table.

    make bench                              everything, three rounds; writes RESULTS.md
    make bench ARGS="--cluster"             webfarm on a single Redis, and on a cluster; its table in RESULTS.md
    make bench ARGS="fanout idle"           these scripts alone; RESULTS.md is left as it is
    make bench ARGS="--quick"               one round, shorter and smaller; RESULTS.md is left as it is
    make bench ARGS="--streams private"     Node with its Redis Streams adapter; RESULTS.md is left as it is

The peers take turns within each round, and each run has fresh servers and a fresh Redis. The figures are medians over
the rounds. Exit codes: 0 good, 1 a fault, 2 wrong usage.
"""

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import click

from benchmarks.harness import Farm
from benchmarks.processes import ROOT
from benchmarks.report import (
    CLUSTERS,
    SERVERS,
    Comparison,
    Figures,
    format_results,
    format_table,
    get_peers,
    write_block,
    write_results,
)
from webfarm.errors import Error

SCRIPTS = tuple(dict.fromkeys((*SERVERS.scripts, *CLUSTERS.scripts)))


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.argument("scripts", nargs=-1, type=click.Choice(SCRIPTS))
@click.option("--rounds", type=click.IntRange(min=1), help="How often everything is run (default 3; 1 with --quick).")
@click.option("--quick", is_flag=True, help="Shorter and smaller, to see that it works; leaves RESULTS.md as it is.")
@click.option("--streams", is_flag=True, help="Node with its Redis Streams adapter and connection state recovery.")
@click.option("--cluster", is_flag=True, help="webfarm on a single Redis, and on a Redis Cluster.")
def main(scripts: tuple[str, ...], rounds: int | None, quick: bool, streams: bool, cluster: bool) -> None:
    comparison = CLUSTERS if cluster else SERVERS
    if others := [script for script in scripts if script not in comparison.scripts]:
        raise click.UsageError(f"{', '.join(others)} {'has no' if cluster else 'needs'} --cluster.")
    if streams:
        os.environ["NODE_ADAPTER"] = "streams"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    chosen = [script for script in comparison.scripts if script in scripts or not scripts]
    rounds = rounds or (1 if quick else 3)
    modules = {script: import_module(f"benchmarks.{script}") for script in chosen}
    figures: Figures = {script: {peer: [] for peer in get_peers(comparison, modules[script])} for script in chosen}
    for script, peer, number in _get_runs(comparison, chosen, rounds):
        if peer in figures[script]:
            with _progress(f"{script} · {peer} · round {number + 1} of {rounds}"):
                figures[script][peer].append(_run(modules[script], peer, quick))
    click.echo(format_table(comparison, modules, figures))
    if not quick and not streams and len(chosen) == len(comparison.scripts):
        path = ROOT / "benchmarks/RESULTS.md"
        text = format_results(comparison, modules, figures, rounds)
        if cluster:
            write_block(path, "cluster", text)
        else:
            write_results(path, text)
        click.echo(f"written: {path.relative_to(ROOT)}", err=True)


def _get_runs(comparison: Comparison, scripts: list[str], rounds: int) -> Iterator[tuple[str, str, int]]:
    """Yield all runs; another peer begins in each round."""
    peers = [*comparison.columns]
    for number in range(rounds):
        first = number % len(peers)
        for script in scripts:
            for peer in peers[first:] + peers[:first]:
                yield script, peer, number


def _run(module: ModuleType, peer: str, quick: bool) -> dict[str, float]:
    try:
        with Farm(peer, **getattr(module, "FARM", {})) as farm:
            figures: dict[str, float] = module.run(farm, quick)
            return figures
    except (OSError, RuntimeError, Error) as error:
        raise click.ClickException(f"{module.__name__} on {peer}: {error}") from error


@contextlib.contextmanager
def _progress(what: str) -> Iterator[None]:
    """Say on stderr what runs now, and how long it took."""
    start = time.monotonic()
    click.echo(f"bench: {what} … ", nl=False, err=True)
    try:
        yield
    finally:
        click.echo(f"{time.monotonic() - start:.0f} s", err=True)


if __name__ == "__main__":
    main(prog_name="make bench ARGS=...")
