"""The rows of the table: a fault, whom it happens to, and what must hold beside the oracle's zeros."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from faults import cluster, faults, sentinel
from faults.cluster_site import ClusterSite
from faults.crowd import Crowd, Users
from faults.oracle import ZEROS, Event, Verdict
from faults.sentinel import SentinelSite
from faults.site import Site

Check = Callable[[Any, list[Event], Verdict], str]


@dataclass(frozen=True)
class Scenario:
    """One row of the table; ``happen`` does the fault, and its first line says what it is."""

    happen: Callable[[Any, Crowd], None]
    #: Whose connections must be recovered, of those that were lost; or all must "stay" connected.
    recovered: Literal["all", "none", "any", "stay"]
    users: Users = field(default_factory=Users)
    env: dict[str, str] = field(default_factory=dict)
    site: type[Site] = Site
    #: Whether each worker has a gunicorn of its own, as systemd's units have.
    has_masters: bool = False
    #: Whether all that was acknowledged is in the log at the end (``None``: perhaps); what isn't may be stored again.
    keeps_all: bool | None = True
    #: Whether what was not acknowledged may be stored again under another id, as Redis has lost the first one.
    may_repeat: bool = False
    #: What else must hold: returns what does not.
    check: Check = lambda *_: ""
    #: In how many milliseconds everybody is back.
    back_within_ms: float = math.inf
    #: What else was counted.
    figures: Callable[[Any, list[Event]], str] = lambda *_: ""

    @property
    def name(self) -> str:
        return self.happen.__name__.replace("_", "-")

    @property
    def title(self) -> str:
        return (self.happen.__doc__ or "").partition("\n")[0].rstrip(".")

    def find_faults(self, site: Site, events: list[Event], verdict: Verdict, *, is_timed: bool = True) -> list[str]:
        """Return what should have been and wasn't; times count only if ``is_timed``."""
        counts = verdict.faults
        if self.may_repeat or not self.keeps_all:
            counts.pop(ZEROS["stored_twice"], None)
        found = [f"{count} {label}" for label, count in counts.items()]
        back, anew = verdict.recovered, verdict.not_recovered
        if self.recovered != "any" and (self.recovered == "stay") != (not back + anew):
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
            if bool(missing) is self.keeps_all:
                found.append(f"{len(missing)} of what was acknowledged are not in the log")
        if is_timed and (verdict.longest or 0) > self.back_within_ms:
            found.append(f"somebody was away for {verdict.longest:.0f} ms")
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


def _get_failures(events: list[Event]) -> list[str]:
    return [f"{e['event']}: {e['reason']}" for e in events if e["event"] in ("visit", "asked") and e["reason"]]


def _no_visit_fails(site: Site, events: list[Event], verdict: Verdict) -> str:
    failures = _get_failures(events)
    return f"{len(failures)} visits or requests failed: {sorted(set(failures))}" if failures else ""


def _count_visits(site: Site, events: list[Event]) -> str:
    counts = Counter(event["event"] for event in events)
    return f"{counts['visit']:,} visits, {counts['asked']:,} requests, {len(_get_failures(events))} failed"


def _by_sentinel(
    happen: Callable[[SentinelSite, Crowd], None], *, is_smooth: bool = False, keeps_all: bool = True, **env: str
) -> Scenario:
    """Return a row of another primary.

    Args:
        happen: the fault.
        is_smooth: nobody notices; else what the old primary alone had is gone, and all sessions end for that.
        keeps_all: nothing of that was acknowledged.
        env: settings of the workers.
    """
    return Scenario(
        happen,
        "stay" if is_smooth else "any",
        Users(rate=10.0, retries=40, privates=is_smooth),
        env,
        SentinelSite,
        keeps_all=keeps_all or None,
        may_repeat=not is_smooth,
        figures=sentinel.count_lost,
    )


SCENARIOS = (
    Scenario(faults.kill_worker, "all", back_within_ms=2000),
    Scenario(faults.drain, "all", check=_runs_disconnect_handlers_once),
    Scenario(faults.rolling_restart, "all", Users(300, rate=0.1), has_masters=True, back_within_ms=2000),
    Scenario(faults.hup, "all", check=_runs_disconnect_handlers_once),
    Scenario(faults.kill_all_workers, "all"),
    Scenario(faults.stop_worker, "stay"),
    Scenario(faults.wake_worker, "all"),
    Scenario(faults.kill_worker_of_old_connections, "all", env={"WEBFARM_RECOVERY_WINDOW_S": "3"}),
    Scenario(faults.trim, "none", env={"WEBFARM_HISTORY_LENGTH": "20"}, keeps_all=False),
    Scenario(faults.cut, "all"),
    Scenario(faults.cut_replay, "all", Users(pad=2000)),
    Scenario(faults.two_tabs, "stay", check=_only_one_tab_stays),
    Scenario(faults.two_tabs_at_once, "any", check=_each_session_is_held_once),
    Scenario(faults.stop_readers, "all", Users(pad=8000), {"WEBFARM_MAX_OUTBOX_BYTES": "65536"}),
    Scenario(faults.reload_haproxy, "stay", check=_no_visit_fails, figures=_count_visits),
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
    _by_sentinel(sentinel.sentinel_kill, is_smooth=True),
    _by_sentinel(sentinel.sentinel_cut_off),
    _by_sentinel(sentinel.sentinel_cut_off_without_wait, keeps_all=False, WEBFARM_WAIT_REPLICAS="0"),
    _by_sentinel(sentinel.sentinel_failover_paused, is_smooth=True),
    _by_sentinel(sentinel.sentinel_failover_wait_2, WEBFARM_WAIT_REPLICAS="2"),
    _by_sentinel(sentinel.sentinel_failover, keeps_all=False),
    _by_sentinel(sentinel.sentinel_failover_without_wait, keeps_all=False, WEBFARM_WAIT_REPLICAS="0"),
    Scenario(faults.storm, "all", Users(pad=1000)),
    Scenario(faults.send_twice, "stay", users=Users(times=2)),
    Scenario(faults.join_and_send, "stay", users=Users(fresh=True, retries=0, ackTimeout=10_000)),
)


def _on_cluster(
    happen: Callable[[ClusterSite, Crowd], None], recovered: Literal["all", "stay"] = "stay", **options: Any
) -> Scenario:
    """Return a row of a Redis Cluster."""
    users = Users(rate=5.0, retries=40)
    return Scenario(happen, recovered, site=ClusterSite, **{"users": users, "figures": cluster.show_pause} | options)


#: What a single Redis has to bear, borne by a cluster, and what happens to clusters alone.
CLUSTER_SCENARIOS = (
    *(replace(scenario, site=ClusterSite) for scenario in SCENARIOS if scenario.site is Site),
    _on_cluster(cluster.primary_killed),
    _on_cluster(cluster.each_primary_killed),
    _on_cluster(cluster.primary_stopped),
    _on_cluster(cluster.primary_hands_over),
    _on_cluster(cluster.slot_moved_by_keys),
    _on_cluster(cluster.slot_moved_at_once),
    _on_cluster(cluster.node_added),
    _on_cluster(cluster.cluster_shut_down),
    _on_cluster(
        cluster.primary_unreachable,
        users=Users(rate=5.0, retries=40, rooms=cluster.ROOMS, is_loyal=True, privates=False),
        check=cluster.only_its_rooms_wait,
        figures=cluster.show_both_pauses,
    ),
    _on_cluster(cluster.worker_killed_while_unreachable, "all"),
    _on_cluster(cluster.replicas_killed),
    _on_cluster(cluster.primary_and_worker_killed, "all"),
    _on_cluster(cluster.workers_replaced_in_failover, "all"),
    _on_cluster(cluster.workers_reloaded_in_failover, "all"),
)
