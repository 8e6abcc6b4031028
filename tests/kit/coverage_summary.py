"""``python -m tests.kit.coverage_summary``: what the last ``make test`` has covered, a line for each wing.

It ends with 1 if the whole is below ``FLOOR``.
"""

import sys
from collections import defaultdict

import coverage
from tabulate import tabulate

from tests.kit.paths import ROOT

FLOOR = 70  # percent of lines and branches: a little less than there was when the floor was set


def summarize(data: coverage.Coverage) -> tuple[list[tuple[str, int, float]], float]:
    """Return name, lines and branches, and the covered share in percent of each wing; then the share of all."""
    wings: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name in data.get_data().measured_files():
        numbers = data._analyze(name).numbers
        parts = name.removeprefix(f"{ROOT}/").split("/")
        wing = "/".join(parts[:2]) if len(parts) > 2 else parts[0]
        covered, total = numbers.ratio_covered
        wings[wing][0] += covered
        wings[wing][1] += total
    rows = [(name, total, 100 * covered / max(total, 1)) for name, (covered, total) in sorted(wings.items())]
    covered, total = (sum(numbers[index] for numbers in wings.values()) for index in (0, 1))
    return rows, 100 * covered / max(total, 1)


def main() -> int:
    data = coverage.Coverage(config_file=str(ROOT / "setup.cfg"))
    data.load()
    rows, share = summarize(data)
    print(tabulate(rows, ("covered by the tests' own process", "lines, branches", "%"), floatfmt=".0f"))
    print(f"coverage: {share:.1f} %, the floor is {FLOOR} %")
    return int(share < FLOOR)


if __name__ == "__main__":
    sys.exit(main())
