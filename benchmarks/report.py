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

from benchmarks.harness import PEERS, ROOT, find_node
from chat.programs import find_redis

#: script -> peer -> one dictionary of figures per round
Figures = Mapping[str, Mapping[str, list[dict[str, float]]]]

#: What a table of ``make faults`` begins with in RESULTS.md.
FAULTS = "<!-- faults: "

_HEAD = ("", "", "Node", "stock", "webfarm", "to Node", "to stock")
_TEXT = """# Results

{machine}

{date}, commit `{commit}`, {rounds} of each script; the peers take turns within a round, each run has fresh servers and
a fresh Redis (no persistence). The figures are medians over the rounds, in brackets the lowest and the highest.
*to Node* and *to stock* are webfarm's figure divided by theirs: below 1 is less. ▲ marks the rows where more is better.

{table}

## How they are taken

Node is socket.io {socketio} with @socket.io/redis-adapter {adapter}; stock is python-socketio {stock} on gunicorn's
gevent worker with gevent-websocket and `socketio.RedisManager`; webfarm is an app on `chat.realtime` alone. Each is two
processes on two ports, tied through Redis, without a balancer; the clients connect to both directly, over websocket
alone, uncompressed. The handlers (`benchmarks/servers/`) do the same on all three. CPU time is user and system time of
the two processes with all their threads, from the kernel's clock of each; Redis' is in rows of its own. Everything
shares one machine, so times are comparable within a table only. The load generator takes its part of the cores, in
percent of all CPU time (medians for Node, stock, webfarm, those that can): {shares}.

{methods}
"""


def format_table(modules: Mapping[str, ModuleType], figures: Figures) -> str:
    """Return the table for a terminal."""
    rows = [_HEAD, *_get_rows(modules, figures, has_ranges=False)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(left + right).rstrip())
    return "\n".join(lines)


def format_results(modules: Mapping[str, ModuleType], figures: Figures, rounds: int) -> str:
    """Return the text of RESULTS.md."""
    rows = [_HEAD, ("---", "---", *["---:"] * 5), *_get_rows(modules, figures, has_ranges=True)]
    methods = [f"**{name}.** {' '.join((module.__doc__ or '').split())}" for name, module in modules.items()]
    return _TEXT.format(
        machine=describe_machine(),
        date=datetime.now(UTC).date(),
        commit=get_commit(),
        rounds=f"{rounds} round{'s' if rounds > 1 else ''}",
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
        socketio=_get_package_version("socket.io"),
        adapter=_get_package_version("@socket.io/redis-adapter"),
        stock=version("python-socketio"),
        shares="; ".join(_get_shares(figures)),
        methods="\n\n".join(methods),
    )


def write_results(path: Path, text: str) -> None:
    """Write RESULTS.md, but for the tables of ``make faults`` at its end, which stay."""
    _, begin, faults = path.read_text().partition(FAULTS) if path.exists() else ("", "", "")
    path.write_text(f"{text.rstrip()}\n" + (f"\n{begin}{faults}" if begin else ""))


def write_faults(path: Path, peer: str, text: str) -> None:
    """Put a table of ``make faults`` between the peer's markers in RESULTS.md, or at its end if it has none."""
    begin, end = f"{FAULTS}{peer} -->", f"<!-- end of faults: {peer} -->"
    before, _, rest = path.read_text().partition(begin)
    after = rest.partition(end)[2] if rest else "\n"
    path.write_text(f"{before.rstrip()}\n\n{begin}\n{text}\n{end}{after}")


def get_peers(module: ModuleType) -> tuple[str, ...]:
    """Return the peers that can do what a script asks for."""
    peers: tuple[str, ...] = getattr(module, "ABLE", PEERS)
    return peers


def _get_rows(modules: Mapping[str, ModuleType], figures: Figures, *, has_ranges: bool) -> Iterator[tuple[str, ...]]:
    for script, module in modules.items():
        for index, metric in enumerate(module.METRICS):
            runs = {peer: figures[script].get(peer, []) for peer in PEERS}
            values = {peer: [run[metric.key] for run in runs[peer] if metric.key in run] for peer in PEERS}
            medians = {peer: median(values[peer]) if values[peer] else 0 for peer in PEERS}
            label = f"{metric.label}, {metric.unit}{' ▲' if metric.is_higher_better else ''}"
            cells = [_format(values[peer], has_range=has_ranges) for peer in PEERS]
            ratios = [_format_ratio(medians["webfarm"], medians[peer]) for peer in ("node", "stock")]
            yield ("" if index else script, label, *cells, *ratios)


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
    changed = _ask("git", "status", "--porcelain", "--", "chat", "gunicorn.conf.py")
    return f"{commit} with changes" if changed else commit


def _get_package_version(name: str) -> str:
    found = re.search(r'"version": "([^"]+)"', (ROOT / f"benchmarks/node_modules/{name}/package.json").read_text())
    return found[1] if found else "?"


def _ask(*argv: str) -> str:
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
