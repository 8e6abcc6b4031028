"""Offsets: what a client shows of each shard comes back as it was, in few characters."""

import random
import secrets
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webfarm.log.offset import Vector, decode_offset, get_latest

NOW = 1_795_520_454_007_527  # microseconds since 1970
EPOCHS = [f"{number}epoch{number * 7}" for number in range(16)]
ids = st.one_of(st.just(0), st.integers(1, 2**53), st.integers(NOW - 2**33, NOW + 2**33))


@given(st.lists(ids, min_size=1, max_size=16))
def test_ids_come_back_as_they_were(shown):
    epochs = EPOCHS[: len(shown)]
    offset = Vector(epochs, shown).encode()
    far = max(shown) - 2**31 if len(shown) > 1 else 0  # what is that far behind is not shown
    assert decode_offset(offset, epochs) == tuple(id if id > far else 0 for id in shown)
    assert offset.isascii() and '"' not in offset and "\\" not in offset  # it stands in a JSON text as it is


@given(
    st.lists(ids, min_size=2, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), ids, st.sampled_from("ab")), max_size=20),
)
def test_an_offset_follows_every_change(began, changes):
    epochs, shown = EPOCHS[: len(began)], list(began)
    vector = Vector(epochs, shown)
    for number, id, epoch in changes:
        shard = number % len(shown)
        shown[shard], epochs[shard] = id, epoch
        vector.show(shard, epoch, id)
        got = decode_offset(vector.encode(), epochs)
        assert all(one in (own, 0) for one, own in zip(got, shown, strict=True))
        assert all(one == own for one, own in zip(got, shown, strict=True) if own > max(shown) - 2**31)


@pytest.mark.parametrize("ahead", [-(2**31) - 1, -(2**31), 1 - 2**31, 0, 1, 2**31 - 1, 2**31, 2**32])
def test_a_change_is_shown_as_far_as_a_field_reaches_and_beyond(ahead):
    vector = Vector(EPOCHS[:2], [NOW, NOW])
    vector.show(1, EPOCHS[1], NOW + ahead)
    shown = (0 if ahead >= 2**31 else NOW, 0 if ahead <= -(2**31) else NOW + ahead)
    assert decode_offset(vector.encode(), EPOCHS[:2]) == shown


def create_ids(shards, *, idle=0):
    """Return ids of shards as they are: of busy ones at most two seconds behind, of idle ones up to ten minutes."""
    chance = random.Random(shards)
    behind = [0, *(chance.randrange(2_000_000) for _ in range(shards - 1))]
    for number in range(shards - idle, shards):
        behind[number] = chance.randrange(120_000_000, 600_000_000)
    return [NOW - one for one in behind]


@pytest.mark.parametrize(("shards", "most"), [(1, 30), (8, 64), (16, 110)])
@pytest.mark.parametrize("idle", [False, True], ids=["all are busy", "a third is idle"])
def test_an_offset_is_short(shards, most, idle):
    epochs = [f"{secrets.token_urlsafe(6)}{number}" for number in range(shards)]
    assert len(Vector(epochs, create_ids(shards, idle=shards // 3 if idle else 0)).encode()) < most


def test_of_a_shard_that_began_anew_nothing_is_shown():
    shown = create_ids(8)
    offset = Vector(EPOCHS[:8], shown).encode()
    epochs = [*EPOCHS[:3], "another", *EPOCHS[4:8]]
    assert decode_offset(offset, epochs) == (*shown[:3], 0, *shown[4:])


def test_an_offset_of_one_shard_counts_in_all():
    assert decode_offset(f"e.{NOW}", ["e"]) == (NOW,)
    assert decode_offset(f"e.{NOW}", ["e", "e", "other", "e"]) == (NOW, NOW, 0, NOW)


def test_an_offset_of_another_number_of_shards_shows_nothing():
    offset = Vector(EPOCHS[:8], create_ids(8)).encode()
    for shards in (1, 2, 7, 9, 16):
        assert decode_offset(offset, EPOCHS[:shards]) == (0,) * shards


PACKED = Vector(EPOCHS[:8], create_ids(8)).encode()
HUGE = urlsafe_b64encode(b"\xff" * 12_000).decode()


@pytest.mark.parametrize(
    "offset",
    [None, 5, ["x"], {}, "", "x", ".", "e.", ".5", "e.-1", "e.1e5", "e.5.5", f"e.{'9' * 17}", "e.\u0663", "\ud800", "a" * 20_000,
     "A" * 60, "!" * 60, PACKED[:-2], PACKED + "AAAA", HUGE],
)  # fmt: skip
def test_what_is_no_offset_shows_nothing(offset):
    for epochs in (["e"], EPOCHS[:8]):
        assert decode_offset(offset, epochs) == (0,) * len(epochs)


@given(
    st.one_of(st.text(), st.binary(max_size=60).map(lambda data: urlsafe_b64encode(data).decode())), st.integers(1, 8)
)
def test_whatever_comes_is_read_as_ids(offset, shards):
    shown = decode_offset(offset, EPOCHS[:shards])
    assert len(shown) == shards
    assert all(id >= 0 for id in shown)


def test_of_two_the_later_is_taken_of_each_shard():
    assert get_latest((5, 1), (2, 3)) == (5, 3)
    assert get_latest((), (2, 3)) == get_latest((2, 3), ()) == (2, 3)
