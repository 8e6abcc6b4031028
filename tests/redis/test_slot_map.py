"""SlotMap: which primary has a slot, by the cluster's word and by moves since."""

import pytest
import redis

from webfarm.redis.slot_map import SlotMap

A, B, NEW = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)
REPLICA = ("10.0.0.4", 4)
ROWS = [
    [0, 99, [b"10.0.0.1", 1, b"id-a", []], [b"10.0.0.4", 4, b"id-r", []]],
    [100, 199, [b"10.0.0.2", 2, b"id-b", []]],
]


def test_each_slot_has_the_primary_of_its_range():
    slots = SlotMap(ROWS)
    assert [slots.get_primary(slot) for slot in (0, 99, 100, 199)] == [A, A, B, B]
    assert [slots.count_replicas(slot) for slot in (0, 100, 5000)] == [1, 0, 0]
    assert slots.primaries == {A, B}
    assert slots.nodes == [A, REPLICA, B]


def test_a_slot_that_nobody_has_told_of_has_no_primary():
    for slots in (SlotMap(), SlotMap(ROWS)):
        assert slots.get_primary(200) is None
        with pytest.raises(redis.ConnectionError, match="who has slot 200"):
            slots.require_primary(200)


def test_a_move_counts_more_than_the_range_and_holds_for_its_slot_alone():
    slots = SlotMap(ROWS)
    assert slots.get_primary(5) == A
    slots.move(5, NEW)
    slots.move(300, NEW)
    assert [slots.get_primary(slot) for slot in (4, 5, 300)] == [A, NEW, NEW]
    assert slots.primaries == {A, B, NEW}


def test_a_node_that_does_not_know_its_own_host_has_the_one_it_was_asked_at():
    slots = SlotMap([[0, 9, [b"", 7, b"id", []]]], "10.0.0.9")
    assert slots.require_primary(3) == ("10.0.0.9", 7)
