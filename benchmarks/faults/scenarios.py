"""The rows of the table: a fault, whom it happens to, and what must hold beside the oracle's zeros."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.faults import faults
from benchmarks.faults.crowd import Crowd, Users
from benchmarks.faults.oracle import Event, Verdict
from benchmarks.faults.site import Site

Check = Callable[[Site, list[Event], Verdict], str]


@dataclass(frozen=True)
class Scenario:
    """One row of the table; ``happen`` does the fault, and its first line says what it is."""

    happen: Callable[[Site, Crowd], None]
    #: Whose connections must be recovered, of those that were lost; empty: of whom doesn't matter.
    recovered: Literal["all", "none", ""] = ""
    users: Users = field(default_factory=Users)
    env: dict[str, str] = field(default_factory=dict)
    #: What else must hold: returns what does not.
    check: Check = lambda *_: ""

    @property
    def name(self) -> str:
        return self.happen.__name__.replace("_", "-")

    @property
    def title(self) -> str:
        return (self.happen.__doc__ or "").partition("\n")[0].rstrip(".")

    def find_faults(self, site: Site, events: list[Event], verdict: Verdict) -> list[str]:
        """Return what should have been and wasn't."""
        found = [f"{count} {label}" for label, count in verdict.faults.items()]
        back, anew = verdict.recovered, verdict.not_recovered
        if self.recovered and not back + anew:
            found.append("nobody lost a connection")
        if self.recovered == "all" and anew:
            found.append(f"only {back} of {back + anew} recovered")
        if self.recovered == "none" and back:
            found.append(f"{back} of {back + anew} recovered")
        if not verdict.acknowledged:
            found.append("nothing was acknowledged")
        return [*found, *filter(None, [self.check(site, events, verdict)])]


# What else must hold


def _runs_disconnect_handlers_once(site: Site, events: list[Event], verdict: Verdict) -> str:
    lost = sum(event["event"] == "disconnect" for event in events)
    handled = sum(line.split(" ")[4:5] == ["disconnect"] for line in site.log.splitlines())
    wanted = range(lost, lost + len({event["client"] for event in events}) + 1)  # those that quit may be there already
    return "" if handled in wanted else f"{handled} disconnect handlers for {lost} disconnects"


def _is_back_within_2_s(site: Site, events: list[Event], verdict: Verdict) -> str:
    return "" if verdict.p99 and verdict.p99 < 2000 else f"p99 of the reconnects {verdict.p99} ms"


def _only_one_tab_stays(site: Site, events: list[Event], verdict: Verdict) -> str:
    """Of two tabs the older one is sent away by the server, for good; the other has recovered."""
    twins = [e for e in events if e["event"] == "connect" and e["client"].endswith("'")]
    resumed = {event["client"][:-1] for event in twins if event["recovered"]}
    gone = {e["client"] for e in events if e["event"] == "disconnect" and e["reason"] == "io server disconnect"}
    return "" if resumed == gone and len(resumed) == 6 else f"resumed {sorted(resumed)}, sent away {sorted(gone)}"


def _sessions_differ(site: Site, events: list[Event], verdict: Verdict) -> str:
    """Whoever is connected at the end has a session of its own."""
    sids = {e["client"]: e["sid"] for e in events if e["event"] == "connect"}
    alive = [sids[e["client"]] for e in events if e["event"] == "end" and e["connected"]]
    return "" if len(alive) == len(set(alive)) else f"{len(alive) - len(set(alive))} sessions are held twice"


SCENARIOS = (
    Scenario(faults.kill_worker, "all", check=_is_back_within_2_s),
    Scenario(faults.drain, "all", check=_runs_disconnect_handlers_once),
    Scenario(faults.hup, "all", check=_runs_disconnect_handlers_once),
    Scenario(faults.kill_all_workers, "all"),
    Scenario(faults.stop_worker),
    Scenario(faults.wake_worker, "all"),
    Scenario(faults.kill_worker_of_old_connections, "all", env={"CHAT_RECOVERY_WINDOW_S": "3"}),
    Scenario(faults.trim, env={"CHAT_HISTORY_LENGTH": "20"}),
    Scenario(faults.cut, "all"),
    Scenario(faults.cut_replay, "all", Users(pad=2000)),
    Scenario(faults.two_tabs, check=_only_one_tab_stays),
    Scenario(faults.two_tabs_at_once, check=_sessions_differ),
    Scenario(faults.stop_readers, "", Users(pad=8000), {"CHAT_MAX_OUTBOX_BYTES": "65536"}),
    Scenario(faults.reload_haproxy),
    Scenario(faults.kill_haproxy, "all"),
    Scenario(faults.restart_redis),
    Scenario(faults.restart_redis_and_cut, "all"),
    Scenario(faults.redis_away_10_s, users=Users(retries=40)),
    Scenario(faults.redis_away_40_s, users=Users(retries=60)),
    Scenario(faults.stop_redis),
    Scenario(faults.cut_redis),
    Scenario(faults.cut_redis_without_ids, users=Users(ids=False, retries=0, ackTimeout=20_000)),
    Scenario(faults.cut_aof, "none"),
    Scenario(faults.flush, "none"),
    Scenario(faults.fill_redis),
    Scenario(faults.redis_read_only),
    Scenario(faults.send_twice, users=Users(times=2)),
    Scenario(faults.join_and_send, users=Users(fresh=True, retries=0, ackTimeout=10_000)),
)
