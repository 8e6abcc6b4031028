"""The table, and RESULTS.md."""

import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import NamedTuple

from benchmarks.harness import PEERS, find_node
from benchmarks.processes import ROOT
from webfarm.run.programs import find_redis

#: script -> peer -> one dictionary of figures per round
Figures = Mapping[str, Mapping[str, list[dict[str, float]]]]


class Comparison(NamedTuple):
    """A table: which scripts, whose figures in which columns, and which are divided by which."""

    scripts: tuple[str, ...]
    columns: Mapping[str, str]  # by peer
    peers: tuple[str, ...]  # that can do what scripts ask for, unless they say other ones
    ratios: Mapping[str, tuple[str, str]]  # of two peers, by heading
    text: str  # with the table in it


#: What the tables at the end of RESULTS.md begin with, which are kept when what is in front of them is written.
_BLOCK = "<!-- "

_SERVERS_TEXT = """# Results

{machine}

{date}, commit `{commit}`, {rounds} of each script; the peers take turns within a round, each run has fresh servers and
a fresh Redis (no persistence). The figures are medians over the rounds, in brackets the lowest and the highest.
*to Node* and so on are webfarm's figure divided by theirs: below 1 is less. ▲ marks the rows where more is better.

{table}

## How they are taken

Node is socket.io {socketio} with @socket.io/redis-adapter {adapter}; stock is python-socketio {stock} on gunicorn's
gevent worker with gevent-websocket and `socketio.RedisManager`; Flask-SocketIO {flask} stands on the same, with its
message queue; webfarm is an app on `webfarm` alone. Each is two
processes on two ports, tied through Redis, without a balancer; the clients connect to both directly, over websocket
alone, uncompressed. The handlers (`benchmarks/servers/`) do the same on all four. CPU time is user and system time of
the two processes with all their threads, from the kernel's clock of each; Redis' is in rows of its own. Everything
shares one machine, so times are comparable within a table only. The load generator takes its part of the cores, in
percent of all CPU time (medians for Node, stock, Flask-SocketIO, webfarm, those that can): {shares}.

{methods}
"""
_STORES_TEXT = """## On a Redis Cluster

{machine}

{date}, commit `{commit}`, {rounds} of each script: webfarm on a single Redis, and on a Redis Cluster of three primaries
with a replica each, with 8 shards of the log; acknowledged when the primary has it (*cluster*: the same work as with
the single Redis), and when a replica has it, too (*cluster, WAIT 1*: the default there). Where it matters what a
replica costs its primary, a single Redis that has one is beside them. They take turns within a round, each run has
fresh servers and a fresh Redis (no persistence). The figures are medians over the rounds, in brackets the lowest and
the highest; a ratio is to the single Redis, the last one to that with a replica: below 1 is less. ▲ marks the rows
where more is better. Redis' CPU is that of all primaries. All of it, replicas too, is on the same cores, and the load
generator takes its part of them, in percent of all CPU time (medians for each column): {shares}.
`make bench ARGS="--cluster"` takes the figures again.

{table}

Scripts that are not described above:

{methods}
"""

#: webfarm beside others: what RESULTS.md begins with.
SERVERS = Comparison(
    (
        "fanout",
        "latency",
        "connect",
        "idle",
        "disconnect",
        "large",
        "private",
        "workers",
        "deaf",
        "flood",
        "listing",
    ),
    {"node": "Node", "stock": "stock", "flask": "Flask-SocketIO", "webfarm": "webfarm"},
    PEERS,
    {"to Node": ("webfarm", "node"), "to stock": ("webfarm", "stock"), "to Flask-SocketIO": ("webfarm", "flask")},
    _SERVERS_TEXT,
)

#: webfarm on one Redis and on a cluster.
CLUSTERS = Comparison(
    ("fanout", "latency", "private", "connect", "resume", "idle", "workers", "stored", "members"),
    {
        "single": "single Redis",
        "replicated": "single, with a replica",
        "cluster": "cluster",
        "waiting": "cluster, WAIT 1",
    },
    ("single", "cluster", "waiting"),
    {
        "ratio": ("cluster", "single"),
        "ratio, WAIT 1": ("waiting", "single"),
        "ratio, with a replica": ("cluster", "replicated"),
    },
    _STORES_TEXT,
)


def format_table(comparison: Comparison, modules: Mapping[str, ModuleType], figures: Figures) -> str:
    """Return the table for a terminal."""
    rows = [_get_head(comparison), *_get_rows(comparison, modules, figures, has_ranges=False)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(left + right).rstrip())
    return "\n".join(lines)


def format_results(comparison: Comparison, modules: Mapping[str, ModuleType], figures: Figures, rounds: int) -> str:
    """Return the text of RESULTS.md, or of its block."""
    head = _get_head(comparison)
    rows = [
        head,
        ("---", "---", *["---:"] * (len(head) - 2)),
        *_get_rows(comparison, modules, figures, has_ranges=True),
    ]
    described = () if comparison is SERVERS else SERVERS.scripts
    methods = [
        f"**{name}.** {' '.join((module.__doc__ or '').split())}"
        for name, module in modules.items()
        if name not in described
    ]
    return comparison.text.format(
        machine=describe_machine(),
        date=datetime.now(UTC).date(),
        commit=get_commit(),
        rounds=f"{rounds} round{'s' if rounds > 1 else ''}",
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
        socketio=_get_package_version("socket.io"),
        adapter=_get_package_version("@socket.io/redis-adapter"),
        stock=version("python-socketio"),
        flask=version("flask-socketio"),
        shares="; ".join(_get_shares(figures)),
        methods="\n\n".join(methods),
    )


def write_results(path: Path, text: str) -> None:
    """Write RESULTS.md, but for the blocks at its end, which stay."""
    _, begin, blocks = path.read_text().partition(_BLOCK) if path.exists() else ("", "", "")
    path.write_text(f"{text.rstrip()}\n" + (f"\n{begin}{blocks}" if begin else ""))


def write_block(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the markers of the block ``name`` in RESULTS.md, or at its end if it has none."""
    begin, end = f"{_BLOCK}{name} -->", f"<!-- end of {name} -->"
    before, _, rest = path.read_text().partition(begin)
    after = rest.partition(end)[2] if rest else "\n"
    path.write_text(f"{before.rstrip()}\n\n{begin}\n{text.strip()}\n{end}{after}")


def get_peers(comparison: Comparison, module: ModuleType) -> tuple[str, ...]:
    """Return the peers that can do what a script asks for."""
    peers: tuple[str, ...] = getattr(module, "ABLE", comparison.peers)
    return peers


def _get_head(comparison: Comparison) -> tuple[str, ...]:
    return "", "", *comparison.columns.values(), *comparison.ratios


def _get_rows(
    comparison: Comparison, modules: Mapping[str, ModuleType], figures: Figures, *, has_ranges: bool
) -> Iterator[tuple[str, ...]]:
    for script, module in modules.items():
        name = script
        for metric in module.METRICS:
            runs = {peer: figures[script].get(peer, []) for peer in comparison.columns}
            values = {peer: [run[metric.key] for run in runs[peer] if metric.key in run] for peer in comparison.columns}
            if not any(values.values()):
                continue
            medians = {peer: median(values[peer]) if values[peer] else 0 for peer in comparison.columns}
            label = f"{metric.label}, {metric.unit}{' ▲' if metric.is_higher_better else ''}"
            cells = [_format(values[peer], has_range=has_ranges) for peer in comparison.columns]
            ratios = [_format_ratio(medians[own], medians[other]) for own, other in comparison.ratios.values()]
            yield (name, label, *cells, *ratios)
            name = ""


def format_number(value: float) -> str:
    """Return three significant digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _format(values: list[float], *, has_range: bool) -> str:
    if not values:
        return "-"
    text = format_number(median(values))
    if not has_range or len(values) == 1:
        return text
    return f"{text} ({format_number(min(values))} to {format_number(max(values))})"


def _format_ratio(own: float, other: float) -> str:
    """Return nothing where a difference is no more than noise about zero."""
    return f"{own / other:.2f}" if own > 0 and other > 0 else "-"


def _get_shares(figures: Figures) -> Iterator[str]:
    for script, by_peer in figures.items():
        shares = [f"{median(run['load_share'] for run in runs):.0f}" for runs in by_peer.values()]
        yield f"{script} {', '.join(shares)}"


def describe_machine() -> str:
    """Return processor, system and programs in a sentence."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    cores = len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE))
    programs = [
        f"Python {platform.python_version()}",
        f"Node {_ask(find_node(), '--version').lstrip('v')}",
        _describe_redis(),
    ]
    name = model[1] if model else platform.machine()
    return f"{name}, {cores} cores, {platform.system()} {platform.release()}; {', '.join(programs)}."


def _describe_redis() -> str:
    answer = _ask(find_redis(), "--version")
    found = re.search(r"\bv=(\S+)", answer)
    return f"{'Valkey' if 'alkey' in answer else 'Redis'} {found[1] if found else answer}"


def get_commit() -> str:
    """Return what is checked out, and whether the server was changed since."""
    commit = _ask("git", "rev-parse", "--short", "HEAD")
    changed = _ask("git", "status", "--porcelain", "--", "webfarm", "chat", "gunicorn.conf.py")
    return f"{commit} with changes" if changed else commit


def _get_package_version(name: str) -> str:
    found = re.search(r'"version": "([^"]+)"', (ROOT / f"benchmarks/node_modules/{name}/package.json").read_text())
    return found[1] if found else "?"


def _ask(*argv: str) -> str:
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
