"""What becomes of messages when something breaks under stock clients; and the oracle that judges it."""

from dataclasses import replace

import pytest

from benchmarks.report import write_block, write_results
from faults.cluster import get_pauses
from faults.oracle import judge
from faults.run import run
from faults.scenarios import SCENARIOS
from webfarm.testing import SHARDS

SHORT = ("kill-worker", "drain", "hup", "restart-redis-and-cut", "cut", "cut-redis", "flush", "sentinel-kill")
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.mark.cluster
@pytest.mark.parametrize("name", SHORT)
def test_what_is_promised_holds_under_faults(name):
    scenario = BY_NAME[name]
    outcome = run(replace(scenario, env={**scenario.env, "WEBFARM_SHARDS": str(SHARDS)}), quick=True)
    assert outcome.faults == [], "\n".join(outcome.verdict.examples)


# The oracle


def make_run(names="abc", count=9):
    """Return the events of a run without a fault: each says ``count`` messages in turn, everybody receives all."""
    events = [{"event": "connect", "client": name, "recovered": False, "ms": None} for name in names]
    for number in range(count):
        for name in names:
            is_last = number == count - 1
            message = {"number": number, "room": "common"}
            answer = {"number": number, "id": f"{1700000000000000 + len(events)}"}
            events.append({"event": "sent", "client": name, "last": is_last} | message)
            events.append({"event": "acknowledged", "client": name} | answer)
            events += [{"event": "got", "client": other, "sender": name} | message | answer for other in names]
    return events + [{"event": "end", "client": name, "connected": True} for name in names]


def find(events, client, number, sender="a", event="got"):
    """Return where an event stands in a run."""
    wanted = {"event": event, "client": client, "number": number} | ({"sender": sender} if event == "got" else {})
    return next(index for index, one in enumerate(events) if wanted.items() <= one.items())


def find_end(events, client):
    return next(index for index, one in enumerate(events) if one["event"] == "end" and one["client"] == client)


def reconnect(events, client, index, *, recovered):
    """Insert a lost connection, and a new one, before an event."""
    events[index:index] = [
        {"event": "disconnect", "client": client, "reason": "transport close"},
        {"event": "connect", "client": client, "recovered": recovered, "ms": 120},
    ]


def make_private(events, room="user b"):
    """Make all of a run's messages but the last ones go to one user."""
    last = max(event["number"] for event in events if event["event"] == "sent")
    events[:] = [
        event | ({"room": room} if "room" in event and event["number"] < last else {})
        for event in events
        if event["event"] != "got" or event["client"] == "b" or event["number"] == last
    ]


def test_a_run_without_a_fault_passes():
    verdict = judge(make_run())
    assert verdict.faults == {}
    assert (verdict.sent, verdict.acknowledged, verdict.failed) == (27, 27, 0)
    assert (verdict.recovered, verdict.not_recovered, verdict.p50) == (0, 0, None)


@pytest.mark.parametrize("number", [4, 8])  # in the middle, and at the end
def test_a_dropped_message_is_found(number):
    events = make_run()
    del events[find(events, "b", number)]
    assert judge(events).faults == {"acknowledged, lost": 1, "silent gaps": 1}


def test_a_message_that_is_dropped_before_it_was_acknowledged_is_a_gap_alone():
    events = make_run()
    del events[find(events, "a", 4, event="acknowledged")]
    del events[find(events, "b", 4)]
    assert judge(events).faults == {"silent gaps": 1}


def test_a_message_that_nobody_got_is_lost():
    events = make_run(names="a")
    del events[find(events, "a", 0)]
    assert judge(events).faults == {"acknowledged, lost": 1}


def test_a_doubled_message_is_found():
    events = make_run()
    events.insert(find(events, "b", 6), events[find(events, "b", 5)])
    assert judge(events).faults == {"duplicates": 1}


def test_swapped_messages_are_found():
    events = make_run()
    first, second = find(events, "b", 5, "a"), find(events, "b", 5, "c")
    events[first], events[second] = events[second], events[first]
    faults = judge(events).faults
    assert faults.keys() == {"out of order", "orders differ"}


def test_differing_orders_are_found_without_ids_too():
    events = make_run()
    first, second = find(events, "b", 5, "a"), find(events, "b", 5, "c")
    events[first], events[second] = events[second], events[first]
    faults = judge([event | ({"id": None} if "id" in event else {}) for event in events]).faults
    assert faults.keys() == {"orders differ"}


def test_a_message_that_is_stored_twice_is_found():
    events = make_run()
    index = find(events, "b", 5, "c")
    again = {"event": "got", "sender": "a", "number": 5, "room": "common", "id": str(int(events[index]["id"]) + 1)}
    events[index + 2 : index + 2] = [again | {"client": name} for name in "abc"]
    assert judge(events).faults["stored twice"] == 1


def test_what_is_stored_twice_has_no_place_in_the_order():
    events = make_run()
    index = find(events, "b", 4, "a")
    reconnect(events, "b", index, recovered=False)
    first = events.pop(index + 2)
    later = find(events, "b", 5, "a")
    events.insert(later, first | {"id": str(int(events[later]["id"]) - 1)})
    assert judge(events).faults.keys() == {"stored twice"}


def test_a_message_that_was_stored_again_is_no_gap_between_its_two_places():
    events = make_run()
    index = find(events, "b", 5, "a")
    again = events[index] | {"id": str(int(events[find(events, "b", 6, "a")]["id"]) - 1)}
    later = find(events, "b", 6, "a")
    events.insert(later, again)
    reconnect(events, "b", later, recovered=False)
    assert judge(events).faults.keys() == {"stored twice"}


def test_a_gap_is_silent_only_on_a_recovered_connection():
    for recovered in (True, False):
        events = make_run()
        reconnect(events, "b", find(events, "b", 4), recovered=recovered)
        del events[find(events, "b", 4)]
        verdict = judge(events)
        assert bool(verdict.faults) == recovered
        assert (verdict.recovered, verdict.not_recovered) == (recovered, not recovered)
        assert verdict.p50 == verdict.p99 == 120


def test_what_is_missing_at_the_end_is_no_gap_for_a_client_that_has_gone():
    events = make_run()
    del events[find(events, "b", 8, "c")]
    events[find_end(events, "b")]["connected"] = False
    assert judge(events).faults == {}


def test_a_client_that_hears_nothing_after_coming_back_is_found():
    events = make_run()
    index = find(events, "b", 4)
    reconnect(events, "b", index, recovered=False)
    events = [
        event
        for place, event in enumerate(events)
        if place < index or (event["event"], event["client"]) != ("got", "b")
    ]
    assert judge(events).faults == {"acknowledged, lost": 3, "silent gaps": 3}  # everybody's last word


def test_a_message_to_a_user_may_be_repeated_on_a_new_connection_alone():
    for recovered in (True, False):
        events = make_run()
        make_private(events)
        index = find(events, "b", 5)
        again = events[find(events, "b", 4, "c")]
        reconnect(events, "b", index, recovered=recovered)
        events.insert(index + 2, again)
        assert judge(events).faults == ({"duplicates": 1} if recovered else {})


def test_ids_are_ordered_as_numbers():
    events = make_run()
    shorter = [event | ({"id": str(int(event["id"]) - 1700000000000000)} if "id" in event else {}) for event in events]
    assert judge(shorter).faults == {}


def test_each_table_has_its_place_in_results_md(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n\nold\n")
    for peer, text in (("webfarm", "old"), ("node", "two"), ("webfarm", "one")):
        write_block(path, f"faults: {peer}", text)
    write_results(path, "# Results\n\nnew\n")
    tables = [
        f"<!-- faults: {peer} -->\n{text}\n<!-- end of faults: {peer} -->"
        for peer, text in (("webfarm", "one"), ("node", "two"))
    ]
    assert path.read_text() == "\n\n".join(["# Results\n\nnew", *tables]) + "\n"


def test_a_pause_is_what_a_room_waited_while_there_was_talk():
    rooms = {"red": (1.0, 2.0, 5.5), "blue": (1.0, 4.0, 9.0), "user 1": (1.0,)}
    events = [{"event": "got", "room": room, "at": at} for room, times in rooms.items() for at in times]
    events += [{"event": "sent", "at": at, "last": last} for at, last in ((0.0, False), (6.0, False), (9.0, True))]
    assert get_pauses(events) == {"red": 3.5, "blue": 3.0}


class SiteWithoutLog:
    peer = "webfarm"
    log = ""

    def get_reasons(self):
        return {"twin": 1}

    def get_stored(self):
        return set()


def test_a_scenario_says_what_does_not_hold():
    site = SiteWithoutLog()
    events = make_run()
    reconnect(events, "b", find(events, "b", 4), recovered=False)
    verdict = judge(events)
    assert BY_NAME["cut"].find_faults(site, events, verdict) == [
        "only 0 of 1 recovered {'twin': 1}",
        "27 of what was acknowledged are not in the log",
    ]
    assert BY_NAME["flush"].find_faults(site, events, verdict) == []
    assert BY_NAME["flush"].find_faults(site, events, replace(verdict, recovered=1)) == ["1 of 2 recovered"]
