"""Run one scenario; put many into a table."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.processes import ROOT
from faults.crowd import Crowd
from faults.oracle import ZEROS, Verdict, judge
from faults.scenarios import Scenario

_WARM_S, _AFTER_S = 2.0, 3.0  # of talk before and after the fault
_FEW = 12  # users, when it has to be quick
_HEAD = ("fault", "sent", "acknowledged", *ZEROS.values(), "recovered", "not", "reconnect p50, p99 (ms)", "")


@dataclass(frozen=True)
class Outcome:
    """What a scenario came to; ``faults`` is empty if all is as promised."""

    scenario: Scenario
    verdict: Verdict
    faults: Sequence[str]
    figures: str  # what else was counted


def get_folder(scenario: Scenario, peer: str) -> Path:
    """Return where the logs and the events of its last run are."""
    return ROOT / ".run/faults" / (scenario.site.kind or peer) / scenario.name


def run(scenario: Scenario, peer: str = "webfarm", *, quick: bool = False) -> Outcome:
    """Start a farm and its users, let the fault happen while they talk, and judge."""
    folder = get_folder(scenario, peer)
    users = replace(scenario.users, count=_FEW) if quick else scenario.users
    with scenario.site(peer, folder, has_masters=scenario.has_masters, **scenario.env) as site:
        with Crowd(users, [site.url], folder / "events.jsonl") as crowd:
            crowd.tell("start")
            time.sleep(_WARM_S)
            scenario.happen(site, crowd)
            time.sleep(_AFTER_S)
            events = crowd.finish()
        verdict = judge(events)
        found = scenario.find_faults(site, events, verdict, is_timed=not quick)
        return Outcome(scenario, verdict, found, scenario.figures(site, events))


def format_table(outcomes: Sequence[Outcome]) -> str:
    """Return the table in Markdown."""
    rows = [_HEAD, ("---", *["---:"] * (len(_HEAD) - 2), "---"), *map(_get_row, outcomes)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _get_row(outcome: Outcome) -> tuple[str, ...]:
    verdict = outcome.verdict
    counts = [verdict.sent, verdict.acknowledged, *(getattr(verdict, name) for name in ZEROS)]
    counts += [verdict.recovered, verdict.not_recovered]
    times = f"{verdict.p50:.0f}, {verdict.p99:.0f}" if verdict.p50 is not None else "-"
    return (
        outcome.scenario.title,
        *(f"{count:,}" for count in counts),
        times,
        "; ".join([*(outcome.faults or ["as promised"]), *filter(None, [outcome.figures])]),
    )
