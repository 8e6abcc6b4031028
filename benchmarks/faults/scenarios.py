"""The rows of the table: a fault, whom it happens to, and what must hold beside the oracle's zeros."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.faults import faults
from benchmarks.faults.crowd import Crowd, Users
from benchmarks.faults.oracle import ZEROS, Event, Verdict
from benchmarks.faults.site import Site

Check = Callable[[Site, list[Event], Verdict], str]


@dataclass(frozen=True)
class Scenario:
    """One row of the table; ``happen`` does the fault, and its first line says what it is."""

    happen: Callable[[Site, Crowd], None]
    #: Whose connections must be recovered, of those that were lost; or all must "stay" connected.
    recovered: Literal["all", "none", "any", "stay"]
    users: Users = field(default_factory=Users)
    env: dict[str, str] = field(default_factory=dict)
    #: Whether all that was acknowledged is in the log at the end; what isn't may have been stored again.
    keeps_all: bool = True
    #: What else must hold: returns what does not.
    check: Check = lambda *_: ""
    #: In how many milliseconds 99 of 100 are back.
    back_within_ms: float = math.inf

    @property
    def name(self) -> str:
        return self.happen.__name__.replace("_", "-")

    @property
    def title(self) -> str:
        return (self.happen.__doc__ or "").partition("\n")[0].rstrip(".")

    def find_faults(self, site: Site, events: list[Event], verdict: Verdict, *, is_timed: bool) -> list[str]:
        """Return what should have been and wasn't; times count only if ``is_timed``."""
        counts = verdict.faults
        if not self.keeps_all:
            counts.pop(ZEROS["stored_twice"], None)
        found = [f"{count} {label}" for label, count in counts.items()]
        back, anew = verdict.recovered, verdict.not_recovered
        if (self.recovered == "stay") != (not back + anew):
            found.append(f"{back + anew} lost a connection")
        if self.recovered == "all" and anew:
            reasons = f" {site.get_reasons()}" if site.peer == "webfarm" else ""
            found.append(f"only {back} of {back + anew} recovered{reasons}")
        if self.recovered == "none" and back:
            found.append(f"{back} of {back + anew} recovered")
        if not verdict.acknowledged:
            found.append("nothing was acknowledged")
        if "Traceback" in site.log:
            found.append("a worker's log has a traceback")
        if site.peer == "webfarm":
            missing = {e["id"] for e in events if e["event"] == "acknowledged"} - site.get_stored()
            if bool(missing) == self.keeps_all:
                found.append(f"{len(missing)} of what was acknowledged are not in the log")
        if is_timed and (verdict.p99 or 0) > self.back_within_ms:
            found.append(f"p99 of the reconnects {verdict.p99} ms")
        return [*found, *filter(None, [self.check(site, events, verdict)])]


# What else must hold


def _runs_disconnect_handlers_once(site: Site, events: list[Event], verdict: Verdict) -> str:
    if site.peer != "webfarm":  # their log does not say
        return ""
    lost = sum(event["event"] == "disconnect" for event in events)
    handled = sum(line.split(" ")[4:5] == ["disconnect"] for line in site.log.splitlines())
    wanted = range(lost, lost + len({event["client"] for event in events}) + 1)  # those that quit may be there already
    return "" if handled in wanted else f"{handled} disconnect handlers for {lost} disconnects"


def _only_one_tab_stays(site: Site, events: list[Event], verdict: Verdict) -> str:
    """Of two tabs the older one is sent away by the server, for good; the other has recovered."""
    twins = [e for e in events if e["event"] == "connect" and e["client"].endswith("'")]
    resumed = {event["client"][:-1] for event in twins if event["recovered"]}
    gone = {e["client"] for e in events if e["event"] == "disconnect" and e["reason"] == "io server disconnect"}
    return "" if resumed == gone and len(resumed) == 6 else f"resumed {sorted(resumed)}, sent away {sorted(gone)}"


def _each_session_is_held_once(site: Site, events: list[Event], verdict: Verdict) -> str:
    """Of two tabs one has recovered, the other has a session of its own."""
    newest = {event["client"]: event for event in events if event["event"] == "connect"}
    pairs = [(newest[name[:-1]], tab) for name, tab in newest.items() if name.endswith("'")]
    bad = [
        one["client"] for one, other in pairs if one["recovered"] == other["recovered"] or one["sid"] == other["sid"]
    ]
    return f"of {bad} not exactly one tab has recovered" if bad or not pairs else ""


SCENARIOS = (
    Scenario(faults.kill_worker, "all", back_within_ms=2000),
    Scenario(faults.drain, "all", check=_runs_disconnect_handlers_once),
    Scenario(faults.hup, "all", check=_runs_disconnect_handlers_once),
    Scenario(faults.kill_all_workers, "all"),
    Scenario(faults.stop_worker, "stay"),
    Scenario(faults.wake_worker, "all"),
    Scenario(faults.kill_worker_of_old_connections, "all", env={"CHAT_RECOVERY_WINDOW_S": "3"}),
    Scenario(faults.trim, "none", env={"CHAT_HISTORY_LENGTH": "20"}, keeps_all=False),
    Scenario(faults.cut, "all"),
    Scenario(faults.cut_replay, "all", Users(pad=2000)),
    Scenario(faults.two_tabs, "stay", check=_only_one_tab_stays),
    Scenario(faults.two_tabs_at_once, "any", check=_each_session_is_held_once),
    Scenario(faults.stop_readers, "all", Users(pad=8000), {"CHAT_MAX_OUTBOX_BYTES": "65536"}),
    Scenario(faults.reload_haproxy, "stay"),
    Scenario(faults.kill_haproxy, "all"),
    Scenario(faults.restart_redis, "stay"),
    Scenario(faults.restart_redis_and_cut, "all"),
    Scenario(faults.redis_away_10_s, "stay", users=Users(retries=40)),
    Scenario(faults.redis_away_40_s, "stay", users=Users(retries=60)),
    Scenario(faults.stop_redis, "stay"),
    Scenario(faults.cut_redis, "stay"),
    Scenario(faults.cut_redis_without_ids, "stay", users=Users(ids=False, retries=0, ackTimeout=20_000)),
    Scenario(faults.cut_aof, "none", Users(privates=False), keeps_all=False),
    Scenario(faults.flush, "none", keeps_all=False),
    Scenario(faults.fill_redis, "stay"),
    Scenario(faults.redis_read_only, "stay"),
    Scenario(faults.storm, "all", Users(pad=1000)),
    Scenario(faults.send_twice, "stay", users=Users(times=2)),
    Scenario(faults.join_and_send, "stay", users=Users(fresh=True, retries=0, ackTimeout=10_000)),
)
