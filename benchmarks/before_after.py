"""What does a message cost in one tree, to another tree, when both are measured within the same seconds?

    .venv/bin/python -m benchmarks.before_after BEFORE AFTER    prints the table (some five minutes)

``BEFORE`` and ``AFTER`` are checkouts, each with its own ``.venv``. Each tree's server runs under that tree's Python,
with its own Redis. Both farms are up at once and take turns of 1.5 s (``benchmarks.turns``); a ratio compares the two
turns of one round. The load generator is this tree's, for both.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import click

from benchmarks import fanout, private
from benchmarks.harness import WORKERS, Farm
from benchmarks.turns import FIGURES, Test, Turn, take_turn

TESTS = {
    "private messages, closed loop": Test(
        private.CLIENTS, "send_closed_loop", "privateMessage", private.CLOSED_LOOP_SENDERS
    ),
    "private messages, 1,000 a second": Test(
        private.CLIENTS, "send_paced", "privateMessage", private.CLIENTS, rate=private.RATE
    ),
    "fan-out, a delivery": Test(fanout.CLIENTS, "send_closed_loop", "message", fanout.SENDERS, is_to_all=True),
}
SIDES = ("before", "after")


class TreeFarm(Farm):
    """The workers of a checkout, beside a single Redis."""

    def __init__(self, tree: Path) -> None:
        super().__init__("single")
        self._tree = tree

    def _get_commands(self) -> Iterator[tuple[list[str], dict[str, str]]]:
        settings = {"BASE_PORT": str(self.ports[0]), "WORKERS": str(WORKERS), "LOG_LEVEL": "error"}
        # A tree from before the name "webfarm" reads CHAT_* settings.
        env = {f"{prefix}_{name}": value for prefix in ("WEBFARM", "CHAT") for name, value in settings.items()}
        gunicorn = str(self._tree / ".venv/bin/gunicorn")
        yield ["env", "-C", str(self._tree), gunicorn, "-c", "gunicorn.conf.py", self._app], env


def measure(test: Test, trees: dict[str, Path], rounds: int) -> dict[str, list[Turn]]:
    """Return the turns of each side."""
    turns: dict[str, list[Turn]] = {side: [] for side in trees}
    with contextlib.ExitStack() as stack:
        farms = {side: stack.enter_context(TreeFarm(tree)) for side, tree in trees.items()}
        loads = {side: farm.add_load() for side, farm in farms.items()}
        for side, farm in farms.items():
            loads[side].call("connect", ports=farm.ports, count=test.clients)
            farm.settle()
        for number in range(rounds + 1):  # the first round warms up
            for side in [*trees][:: 1 if number % 2 else -1]:
                turn = take_turn(farms[side], loads[side], test)
                turns[side] += [turn] if number else []
    return turns


def format_table(results: Iterator[tuple[str, dict[str, list[Turn]]]]) -> Iterator[str]:
    """Yield the table's lines, as Markdown: medians, and the ratio with its quartiles."""
    yield "| | | before, µs | after, µs | ratio (quartiles) |\n| --- | --- | ---: | ---: | ---: |"
    for name, turns in results:
        for key, whose in zip(FIGURES, ("workers", "Redis"), strict=True):
            before, after = ([turn[key] for turn in turns[side]] for side in SIDES)
            low, middle, high = quantiles([b / a for a, b in zip(before, after, strict=True)], n=4)
            ratio = f"**{middle:.2f}** ({low:.2f}-{high:.2f})"
            yield f"| {name} | {whose} | {median(before):.3g} | {median(after):.3g} | {ratio} |"


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.argument("before", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.argument("after", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.option("--rounds", type=click.IntRange(min=2), default=20, show_default=True)
def main(before: Path, after: Path, rounds: int) -> None:
    trees = dict(zip(SIDES, (before, after), strict=True))
    for line in format_table((name, measure(test, trees, rounds)) for name, test in TESTS.items()):
        click.echo(line)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.before_after")
