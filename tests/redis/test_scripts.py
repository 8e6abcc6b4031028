"""What the scripts in Redis promise, each called as it is."""

import time

import pytest
import redis

from webfarm.log.batch import Outgoing, describe_batch, join_batches
from webfarm.log.retention import Retention
from webfarm.redis.keys import Keys
from webfarm.redis.scripts import get_source

LENGTH, BYTES, TTL_MS = 10_000, 1_000_000, 60_000
LEASES, MARKS = "{t:0}:node:", "{t:0}:mark:"


class Shard:
    """A shard as one worker sees it."""

    def __init__(self, client):
        self.client = client
        self.keys = Keys("t")
        self.epoch, self.newest, self.batch = "", 0, 0

    def call(self, script, keys, *args):
        return self.client.eval(get_source(script), len(keys), *keys, *args)

    def clock(self, fresh="e1"):
        return "1", fresh, self.epoch, self.newest

    def store(self, *messages, node="n", number=None, length=LENGTH, bytes=BYTES, fresh="e1"):
        """Each message is (room, body) or (room, head, tail, once, known ms, recipient)."""
        self.batch += 1
        number = number or self.batch
        args = [self.keys.absent, self.keys.clock, self.keys.batch(node), *self.clock(fresh), number]
        args += [length, bytes, TTL_MS, self.keys.users_sids]
        for room, head, tail, once, known, recipient in (m + ("", "", 0, "")[len(m) - 2 :] for m in messages):
            stream = self.keys.stream("/", room)
            args += [stream, self.keys.room_of(stream), self.keys.once(stream, once), self.keys.session(recipient)]
            args += [known, 1 if recipient else 0, head, tail]
        [[epoch, *answers]] = self.call("log/store", [], 1, len(messages), *args)
        return epoch.decode(), [(int(id), nodes) if id else nodes.decode() for id, nodes in answers]

    def read(self, *starts, most=100, most_bytes=BYTES, fresh="e1"):
        streams = [self.keys.stream("/", room) for room, _ in starts]
        keys = [self.keys.clock, *(key for s in streams for key in (s, self.keys.room_of(s)))]
        _, _, is_all, missing, found = self.call(
            "log/read", keys, *self.clock(fresh), most, most_bytes, *(start for _, start in starts)
        )
        entries = [
            (starts[found[i]][0], int(found[i + 1]), int(found[i + 2]), found[i + 3]) for i in range(0, len(found), 4)
        ]
        return is_all, [starts[i][0] for i in missing], entries

    def connect(self, sid, *inboxes, most=3, **fields):
        streams = [self.keys.stream("/", room) for room in inboxes]
        keys = [self.keys.clock, self.keys.session(sid), self.keys.user_sessions("/", fields.get("user", ""))]
        keys += [key for s in streams for key in (s, self.keys.room_of(s), self.keys.pointer(s))]
        defaults = {"pid": "p", "owner": "u", "node": "n", "generation": 1, "is_open": 1, "namespace": "/"}
        pairs = [part for pair in (defaults | fields).items() for part in pair]
        where = sid, most if "user" in fields else 0, self.keys.sessions, LEASES
        floors = [f"floor:{room}" for room in inboxes]
        return self.call("sessions/connect", keys, *self.clock(), 5000, 100, *where, *floors, *pairs)

    def take(self, sid, pid="p", owner="u", node="m", is_open_here=1, most=3):
        keys = self.keys
        return self.call(
            "sessions/take",
            [keys.clock, keys.session(sid), keys.leaving],
            *self.clock(),
            *(pid, owner, node, 5000, sid, "/", is_open_here, most, 5_000_000),
            *(keys.sessions, LEASES, MARKS, keys.users),
            *(keys.clients, keys.rooms_of_nodes, keys.members, keys.present),
        )

    def change(self, sid, *operations, node="n", generation=1):
        keys = [self.keys.clock, self.keys.session(sid)]
        return self.call("sessions/change", keys, *self.clock(), node, generation, 5000, self.keys.users, *operations)[
            2
        ]

    def end(self, *sids, room="", namespace="/"):
        keys = [self.keys.session(sid) for sid in sids]
        return self.call("sessions/end", keys, namespace, room and f"floor:{room}", self.keys.users)


@pytest.fixture
def shard(redis_server):
    client = redis.Redis.from_url(redis_server.url)
    yield Shard(client)
    for key in client.scan_iter("{t:*"):
        client.delete(key)
    client.close()


def test_ids_rise_over_all_rooms_and_each_entry_names_the_one_before_it(shard):
    epoch, stored = shard.store(("a", "1"), ("b", "2"), ("a", "3"))
    ids = [id for id, _ in stored]
    assert ids == sorted(set(ids))
    assert epoch == "e1"
    is_all, missing, entries = shard.read(("a", 0), ("b", 0))
    assert (is_all, missing) == (1, [])
    assert entries == [("a", ids[0], 0, b"1"), ("a", ids[2], ids[0], b"3"), ("b", ids[1], 0, b"2")]


def test_a_message_is_published_with_its_id_and_the_nodes_that_got_it_are_counted(shard):
    with shard.client.pubsub() as pubsub:
        pubsub.subscribe(shard.keys.stream("/", "a"))
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        _, [(id, nodes), (_, nobody)] = shard.store(("a", "head ", " tail"), ("b", "x"))
        assert (nodes, nobody) == (1, 0)
        data = pubsub.get_message(timeout=5)["data"].decode()
    assert data == f"{id} 0 e1 head {id} tail"


def test_a_batch_whose_answer_was_lost_is_stored_once(shard):
    first = shard.store(("a", "1"), ("a", "2"), number=7)
    assert shard.store(("a", "1"), ("a", "2"), number=7) == first
    assert len(shard.read(("a", 0))[2]) == 2
    assert shard.store(("a", "3"), number=8) != first
    assert shard.store(("a", "1"), number=7, node="other")[1] != first[1][:1]


def test_a_repeated_batch_writes_so_that_replicas_can_be_waited_for(shard):
    shard.store(("a", "1"), number=7)
    shard.client.pexpire(shard.keys.batch("n"), 1000)
    shard.store(("a", "1"), number=7)
    assert shard.client.pttl(shard.keys.batch("n")) > 50_000


def test_of_several_batches_one_that_is_refused_takes_no_other_with_it(shard):
    shards = [Keys("t", number, 3) for number in range(3)]
    shard.client.hset(shards[1].clock, "format", "other")
    batches = [
        describe_batch(
            keys, Retention(), (keys.format, "e1", "", 0), keys.batch("n"), 7, [Outgoing("/", "a", (text, b""))]
        )
        for keys, text in zip(shards, (b"1", b"22", b"333"), strict=True)
    ]
    first, refused, last = shard.call("log/store", [], *join_batches(batches))
    assert (first[0], first[1][1], last[0], last[1][1]) == (b"e1", 0, b"e1", 0)
    assert isinstance(refused, redis.ResponseError)
    assert "FORMAT other" in str(refused)
    stored = [[entry[b"b"] for _, entry in shard.client.xrange(keys.stream("/", "a"))] for keys in shards]
    assert stored == [[b"1"], [], [b"333"]]
    assert shard.call("log/store", [], *join_batches([batches[0], batches[2]])) == [first, last]  # none is stored twice
    assert shard.client.xlen(shards[2].stream("/", "a")) == 1


def test_a_batch_that_comes_late_is_not_stored_again(shard):
    shard.store(("a", "1"), number=7)
    shard.store(("a", "2"), number=8)
    with pytest.raises(redis.ResponseError, match="STALE"):
        shard.store(("a", "1"), number=7)
    assert len(shard.read(("a", 0))[2]) == 2


def test_a_message_is_stored_once_under_its_key_as_long_as_that_is_known(shard):
    _, [first] = shard.store(("a", "1", "", "u:id", 60_000))
    _, [again, other_room] = shard.store(("a", "changed", "", "u:id", 60_000), ("b", "1", "", "u:id", 60_000))
    assert again == first
    assert other_room != first
    assert len(shard.read(("a", 0))[2]) == 1
    shard.client.delete(shard.keys.once(shard.keys.stream("/", "a"), "u:id"))  # as when its time is over
    assert shard.store(("a", "1", "", "u:id", 60_000))[1] != [first]


def test_a_repeat_is_recognised_before_its_recipient_is_looked_for(shard):
    shard.connect("sid")
    _, [first] = shard.store(("sid", "1", "", "u:id", 60_000, "sid"))
    shard.client.delete(shard.keys.session("sid"))
    _, [again, new] = shard.store(("sid", "1", "", "u:id", 60_000, "sid"), ("sid", "2", "", "", 0, "sid"))
    assert again == first
    assert new == "recipient"


def test_a_bad_message_does_not_fail_its_batch(shard):
    shard.client.set(shard.keys.stream("/", "bad"), "no stream")
    shard.client.set(shard.keys.room_of(shard.keys.stream("/", "worse")), "no hash")
    _, [before, bad, worse, after] = shard.store(("a", "1"), ("bad", "2"), ("worse", "3"), ("a", "4"))
    assert "WRONGTYPE" in bad
    assert "WRONGTYPE" in worse
    assert before[0] < after[0]
    assert int(shard.client.hget(shard.keys.clock, "id")) == after[0]
    shard.client.delete(shard.keys.stream("/", "bad"))


def test_rooms_are_trimmed_by_length_and_what_is_missing_is_noticed(shard):
    ids = [shard.store(("a", str(n)), length=3)[1][0][0] for n in range(6)]
    assert [entry[1] for entry in shard.read(("a", ids[2]))[2]] == ids[3:]
    assert shard.read(("a", ids[2]))[1] == []
    assert shard.read(("a", ids[1]))[1] == ["a"]
    assert shard.read(("a", ids[5]))[1:] == ([], [])


def test_rooms_are_trimmed_by_bytes_but_the_newest_message_stays(shard):
    ids = [shard.store(("a", "x" * 100), bytes=1000)[1][0][0] for n in range(30)]
    kept = [entry[1] for entry in shard.read(("a", ids[-11]))[2]]
    assert kept == ids[-10:]
    assert shard.read(("a", ids[-12]))[1] == ["a"]
    _, [(large, _)] = shard.store(("a", "x" * 5000), bytes=1000)
    assert [entry[1] for entry in shard.read(("a", ids[-1]))[2]] == [large]


def test_more_than_is_asked_for_is_no_answer(shard):
    shard.store(*[("a", "x" * 10)] * 5)
    assert shard.read(("a", 0), most=5)[0] == 1
    assert shard.read(("a", 0), most=4)[0] == 0
    assert shard.read(("a", 0), most_bytes=49)[0] == 0


def test_both_keys_of_a_room_expire_and_a_busy_one_lives_on(shard):
    shard.store(("a", "1"))
    stream = shard.keys.stream("/", "a")
    for key in (stream, shard.keys.room_of(stream)):
        assert TTL_MS <= shard.client.pttl(key) <= TTL_MS * 1.1
        shard.client.pexpire(key, 1000)
    shard.client.hset(shard.keys.room_of(stream), "due", "0")  # as when a tenth of the time has passed
    shard.store(("a", "2"))
    assert shard.client.pttl(stream) >= TTL_MS


@pytest.mark.parametrize("script", ["store", "read", "mark"])
def test_the_epoch_is_new_when_somebody_has_seen_more_than_the_clock(shard, script):
    shard.store(("a", "1"))
    shard.epoch, shard.newest = "e1", int(shard.client.hget(shard.keys.clock, "id")) + 10
    if script == "store":
        epoch, [(id, _)] = shard.store(("a", "2"), fresh="e2")
        assert id > shard.newest
        assert epoch == "e2"
    elif script == "read":
        shard.read(("a", 0), fresh="e2")
    else:
        shard.call("log/mark", [shard.keys.clock], *shard.clock("e2"), "channel", 1)
    assert shard.client.hget(shard.keys.clock, "epoch") == b"e2"
    shard.epoch = "e1"  # one who has not heard of it begins no third one
    assert shard.store(("a", "3"), fresh="e3")[0] == "e2"


def test_the_epoch_is_new_when_the_clock_is_gone_and_ids_still_rise(shard):
    _, [(id, _)] = shard.store(("a", "1"))
    shard.client.delete(shard.keys.clock)
    shard.epoch, shard.newest = "e1", id
    epoch, [(next_id, _)] = shard.store(("a", "2"), fresh="e2")
    assert (epoch, next_id > id) == ("e2", True)


def test_what_another_format_wrote_is_not_touched(shard):
    shard.client.hset(shard.keys.clock, mapping={"format": "99", "epoch": "e", "id": "5"})
    with pytest.raises(redis.ResponseError, match="FORMAT 99"):
        shard.store(("a", "1"))
    assert not shard.client.exists(shard.keys.stream("/", "a"))


def test_a_marker_brings_the_clock(shard):
    _, [(id, _)] = shard.store(("a", "1"))
    with shard.client.pubsub() as pubsub:
        pubsub.subscribe("{t:0}:own")
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        shard.call("log/mark", [shard.keys.clock], *shard.clock(), "{t:0}:own", "12.5")
        assert pubsub.get_message(timeout=5)["data"].decode() == f"clock {id} e1 12.5"


def test_a_new_session_finds_what_waits_in_its_inbox_from_the_pointer_on(shard):
    ids = [shard.store(("user:u", str(n)))[1][0][0] for n in range(3)]
    shard.epoch = "e1"
    assert [int(id) for id in shard.connect("sid", "user:u")[2][1::4]] == ids
    pointer = shard.keys.pointer(shard.keys.stream("/", "user:u"))
    shard.call("log/confirm", [pointer], 60_000, ids[1])
    shard.call("log/confirm", [pointer], 60_000, ids[0])  # another tab, behind
    assert [int(id) for id in shard.connect("other", "user:u")[2][1::4]] == ids[2:]
    assert int(shard.client.hget(shard.keys.session("other"), "floor:user:u")) == ids[1]


def test_a_session_is_not_written_in_an_epoch_that_is_over(shard):
    shard.store(("a", "1"))
    shard.epoch = "e0"
    assert shard.connect("sid")[0] == b"e1"
    assert not shard.client.exists(shard.keys.session("sid"))


@pytest.fixture
def session(shard):
    shard.store(("a", "1"))
    shard.epoch = "e1"
    shard.connect("sid")
    return shard


def test_a_session_is_given_to_who_knows_its_pid_and_is_its_owner(session):
    assert session.take("nobody") == [b"unknown"]
    assert session.take("sid", pid="guessed") == [b"unknown"]
    assert session.take("sid", owner="somebody else") == [b"foreign"]
    reason, fields, dead_node = session.take("sid")
    assert (reason, dead_node) == (b"", b"")
    assert fields[fields.index(b"generation") + 1] == b"2"


def test_what_the_owner_before_still_writes_is_refused(session):
    assert session.change("sid", "join", "floor:room", "") == b""
    session.take("sid")
    assert session.change("sid", "join", "floor:late", "") == b"taken"
    assert session.change("sid", "join", "floor:room", "", node="m", generation=2) == b""
    assert not session.client.hexists(session.keys.session("sid"), "floor:late")
    renewed = session.call(
        "sessions/renew",
        [session.keys.session("sid"), session.keys.session("none")],
        *("n", 5000, 1, session.keys.users, 1, 0, 1, 0),
    )
    assert renewed == [0, b"taken", 1, b"missing"]


def test_a_session_with_very_many_rooms_is_written_again(session):
    fields = [part for number in range(5_000) for part in (f"floor:{number}", number)]
    keys = [session.keys.session("many"), session.keys.user_sessions("/", "")]
    assert session.call("sessions/restore", keys, 60_000, "n", 1, *fields) == b""
    assert session.client.hlen(session.keys.session("many")) == 5_000
    assert session.client.pttl(session.keys.session("many")) > 50_000


def test_a_full_redis_keeps_sessions_alive(session):
    key = session.keys.session("sid")
    session.client.pexpire(key, 1_000)
    session.client.config_set("maxmemory", "1")
    try:
        assert session.call("sessions/renew", [key], "n", 50_000, 1, session.keys.users, 1, 7) == []
    finally:
        session.client.config_set("maxmemory", "0")
    assert session.client.pttl(key) > 40_000


def test_the_owner_before_is_told(session):
    with session.client.pubsub() as pubsub:
        pubsub.subscribe(MARKS + "n")
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        session.take("sid")
        assert pubsub.get_message(timeout=5)["data"] == b"taken sid 1"


def test_two_tabs_do_not_both_resume_one_session(session):
    session.client.set(LEASES + "m", "1")
    assert session.take("sid")[0] == b""
    assert session.take("sid", node="k") == [b"twin"]
    session.client.hset(session.keys.session("sid"), "resumed", "1")  # long ago
    assert session.take("sid", node="k")[0] == b""


def test_a_session_whose_connection_was_lost_or_whose_node_died_is_given_again_at_once(session):
    assert session.take("sid")[0] == b""  # by a node without a lease
    assert session.take("sid", node="k")[0] == b""
    session.client.set(LEASES + "k", "1")
    assert (
        session.call("sessions/renew", [session.keys.session("sid")], "k", 5000, 0, session.keys.users, 3, 0) == []
    )  # it lost the connection
    assert session.take("sid")[0] == b""


def test_a_session_that_was_ended_is_never_given_or_written_again(session):
    assert session.change("sid", "end", "", "") == b""
    assert session.take("sid") == [b"unknown"]
    assert session.change("sid", "join", "floor:room", "") == b"ended"


def test_a_session_of_another_epoch_is_not_given(session):
    session.client.hset(session.keys.clock, "epoch", "e2")
    assert session.take("sid") == [b"epoch"]


@pytest.mark.parametrize(("expires", "reason"), [("1", b"expired"), ("0", b""), (str(2**53), b"")])
def test_a_session_that_has_expired_is_not_given(session, expires, reason):
    session.client.hset(session.keys.session("sid"), "expires", expires)
    assert session.take("sid")[0] == reason


@pytest.mark.parametrize(("in_ms", "lives_ms"), [(2000, 2000), (9000, 5000), (-1000, 0), (None, 5000)])
def test_a_session_whose_connection_was_lost_does_not_outlive_its_end(session, in_ms, lives_ms):
    key = session.keys.session("sid")
    session.client.hset(key, "expires", int(time.time() * 1000) + in_ms if in_ms else 0)
    session.call("sessions/renew", [key], "n", 5000, 0, session.keys.users, 1, 0)
    assert max(session.client.pttl(key), 0) == pytest.approx(lives_ms, abs=1000)


@pytest.fixture
def full(shard):
    """A user with as many sessions as it may have, on a node that lives."""
    shard.store(("a", "1"))
    shard.epoch = "e1"
    shard.client.set(LEASES + "n", "1")
    for number in range(3):
        assert shard.connect(f"sid{number}", user="anna")[3] == b""
    return shard


def test_a_user_has_so_many_sessions_and_no_more(full):
    assert full.connect("late", user="anna")[3] == b"full"
    assert not full.client.exists(full.keys.session("late"))
    assert full.client.zcard(full.keys.user_sessions("/", "anna")) == 3
    assert full.connect("late", user="bob")[3] == b""
    assert full.connect("guest")[3] == b""


def test_a_user_without_a_limit_has_any_number_of_sessions_and_they_are_known(full):
    assert full.connect("late", user="anna", most=0)[3] == b""
    full.client.hset(full.keys.session("sid1"), "resumed", "1")
    assert full.take("sid1", node="n", most=0)[0] == b""
    assert full.client.zcard(full.keys.user_sessions("/", "anna")) == 4
    assert full.connect("guest", most=0)[3] == b""
    assert not full.client.exists(full.keys.user_sessions("/", ""))


def test_what_has_ended_or_expired_is_among_a_users_sessions_no_more(full):
    sids = full.keys.user_sessions("/", "anna")
    assert full.change("sid0", "end", "", "") == b""
    assert full.end("sid1") == [1]
    assert full.client.zrange(sids, 0, -1) == [b"sid2"]
    full.client.zadd(sids, {f"over{n}": 1 for n in range(100)})
    full.call("sessions/renew", [full.keys.session("sid2")], "n", 5000, 0, full.keys.users, 1, 0)
    assert full.client.zrange(sids, 0, -1) == [b"sid2"]


def test_of_a_users_notes_the_newest_are_kept(shard):
    key = shard.keys.notes("anna")

    def note(name, is_new=1):
        return shard.call("nodes/grant", [key], name, 60_000, is_new, 3)

    for number in range(5):
        assert note(f"n{number}") == 1
        shard.client.zadd(key, {f"n{number}": time.time() * 1000 + 1_000 * (number + 1)})  # long ago
    assert note("n2", 0) == 1
    assert set(shard.client.zrange(key, 0, -1)) == {b"n2", b"n3", b"n4"}
    assert note("n0", 0) == 0


@pytest.mark.parametrize("loss", ["closed", "ended", "expired", "its node died"])
def test_a_session_without_an_open_connection_leaves_room_for_another(full, loss):
    key, sids, node = full.keys.session("sid1"), full.keys.user_sessions("/", "anna"), "n"
    if loss == "closed":
        full.call("sessions/renew", [key], "n", 5000, 0, full.keys.users, 1, 0)
    elif loss == "ended":
        full.change("sid1", "end", "", "")
    elif loss == "expired":
        full.client.delete(key)
    else:
        node = "m"
        full.client.delete(LEASES + "n")
        full.client.set(LEASES + node, "1")
        for sid in ("sid0", "sid2"):
            full.client.hset(full.keys.session(sid), "node", node)
    assert full.connect("next", user="anna", node=node)[3] == b""
    assert full.connect("late", user="anna", node=node)[3] == b"full"
    is_away = loss in ("closed", "its node died")
    assert (full.client.zscore(sids, "sid1") or 0) > 0 if is_away else full.client.zscore(sids, "sid1") is None


@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_session_is_taken_again_whether_the_loss_of_its_connection_was_noticed_or_not(full, is_noticed):
    full.client.set(LEASES + "m", "1")
    if is_noticed:
        full.call("sessions/renew", [full.keys.session("sid1")], "n", 5000, 0, full.keys.users, 1, 0)
    assert full.take("sid1")[0] == b""
    assert full.client.zcount(full.keys.user_sessions("/", "anna"), 0, 0) == 3
    assert full.connect("late", user="anna")[3] == b"full"


def test_who_went_away_to_connect_again_can_not_have_all_of_it_back(full):
    for sid in ("sid0", "sid1"):
        full.call("sessions/renew", [full.keys.session(sid)], "n", 5000, 0, full.keys.users, 1, 0)
    for sid in ("next0", "next1"):
        assert full.connect(sid, user="anna")[3] == b""
    assert full.take("sid0", node="n") == [b"full"]
    assert full.connect("late", user="anna")[3] == b"full"
    full.change("next0", "end", "", "")
    assert full.take("sid0", node="n")[0] == b""  # the session is still there
    assert full.take("sid1", node="n") == [b"full"]


def test_what_a_dead_node_held_does_not_hinder_whom_it_held(full):
    full.client.delete(LEASES + "n")
    full.client.set(LEASES + "m", "1")
    assert [full.take(f"sid{number}")[0] for number in (0, 1, 2, 2)] == [b"", b"", b"", b"twin"]


def test_a_users_sessions_are_kept_as_long_as_they_are_renewed(full):
    sids = full.keys.user_sessions("/", "anna")
    assert 0 < full.client.pttl(sids) <= 5000
    full.client.delete(sids)
    full.call("sessions/renew", [full.keys.session("sid1")], "n", 7000, 1, full.keys.users, 1, 0)
    assert full.client.zrange(sids, 0, -1) == [b"sid1"]
    assert full.client.pttl(sids) > 5000


def test_a_session_that_is_written_again_is_among_its_users(full):
    key, sids = full.keys.session("sid1"), full.keys.user_sessions("/", "anna")
    full.client.delete(key, sids)
    fields = {"pid": "p", "user": "anna", "node": "n", "generation": 1}
    pairs = [part for field in fields.items() for part in field]
    for _ in range(2):  # by two who found that it was missing
        assert full.call("sessions/restore", [key, sids], 7000, "n", 1, *pairs) == b""
    assert full.client.hget(key, "pid") == b"p"
    assert full.client.zrange(sids, 0, -1, withscores=True) == [(b"sid1", 0)]
    assert full.client.pttl(sids) > 5000


@pytest.mark.parametrize("reason", [b"taken", b"ended"])
def test_a_session_that_another_has_or_that_has_ended_is_not_written_again(full, reason):
    key, sids = full.keys.session("sid1"), full.keys.user_sessions("/", "anna")
    full.client.hincrby(key, "generation", 1 if reason == b"taken" else -1)
    before = full.client.hgetall(key)
    assert full.call("sessions/restore", [key, sids], 7000, "n", 1, "data", "old", "generation", 1) == reason
    assert full.client.hgetall(key) == before


def test_a_users_sessions_are_kept_as_long_as_any_of_them_can_be_resumed(full):
    key, sids = full.keys.session("sid1"), full.keys.user_sessions("/", "anna")
    full.client.pexpire(sids, 1000)  # as when its last renewal is long ago
    full.call("sessions/renew", [key], "n", 4000, 0, full.keys.users, 1, 0)  # its connection was lost
    assert full.client.pttl(sids) >= full.client.pttl(key) > 3000
    assert full.client.zscore(sids, "sid1") / 1000 == pytest.approx(time.time() + 4, abs=1)
    full.client.pexpire(sids, 9000)
    full.call("sessions/renew", [full.keys.session("sid2")], "n", 4000, 0, full.keys.users, 1, 0)
    assert full.client.pttl(sids) > 8000
    full.client.pexpire(full.keys.session("sid0"), 2000)
    full.change("sid0", "join", "floor:a", "")
    assert full.client.pttl(full.keys.session("sid0")) <= 2000  # a change renews neither


def test_who_was_sent_something_is_known_by_its_user(full):
    def get_sids():
        return full.client.zrange(full.keys.user_sids("/", "anna"), 0, -1)

    full.store(("sid0", "x"), ("a", "x"))
    assert get_sids() == []
    full.store(("sid0", "x", "", "", 0, "sid0"), ("sid1", "x", "", "", 0, "sid1"), ("bob", "x", "", "", 0, "bob"))
    assert get_sids() == [b"sid0", b"sid1"]
    assert TTL_MS < full.client.pttl(full.keys.user_sids("/", "anna")) <= TTL_MS * 1.1
    until_ms = full.client.zscore(full.keys.user_sids("/", "anna"), "sid0")
    assert until_ms / 1000 == pytest.approx(time.time() + TTL_MS * 1.1 / 1000, abs=1)
    full.client.zadd(full.keys.user_sids("/", "anna"), {"sid0": 1})  # as when nothing of it is stored any more
    full.store(("sid2", "x", "", "", 0, "sid2"))
    assert get_sids() == [b"sid1", b"sid2"]


def test_history_is_read_backwards_as_far_as_it_fits(shard):
    ids = [shard.store(("a", f"{n:010}"))[1][0][0] for n in range(20)]
    stream = shard.keys.stream("/", "a")

    def read(before, most, most_bytes):
        return [int(id) for id in shard.call("log/history", [stream], before, most, most_bytes)[::2]]

    assert read(ids[-1], 100, 1000) == ids[-2::-1]
    assert read(ids[-1], 3, 1000) == ids[-2:-5:-1]
    assert read(ids[-1], 100, 95) == ids[-2:-11:-1]
    shard.store(("a", "x" * 1000))
    assert read(10**16, 2, 100) == ids[:-3:-1]


# Ending and erasing


def erase(shard, room):
    stream = shard.keys.stream("/", room)
    return shard.call("log/erase", [stream, shard.keys.room_of(stream), shard.keys.pointer(stream)], TTL_MS)


def test_an_ended_session_can_be_neither_taken_nor_written_until_it_would_have_expired(shard):
    shard.epoch, _ = shard.store(("a", "x"))
    shard.connect("s", **{"floor:a": 1})
    key = shard.keys.session("s")
    assert shard.end("s", "none", room="b") == []
    assert shard.end("s", room="a", namespace="/other") == []
    assert shard.end("s", "none", room="a") == [1]
    assert shard.end("s") == []
    assert shard.take("s") == [b"unknown"]
    assert shard.change("s", "join", "floor:b", "") == b"ended"
    assert shard.call("sessions/renew", [key], "n", 5000, 1, 1, 0) == [0, b"ended"]
    assert shard.client.hgetall(key) == {b"generation": b"0"}
    assert 0 < shard.client.pttl(key) <= 5000


def test_an_erased_room_is_complete_only_for_who_had_all_of_it(shard):
    _, [(first, _), (last, _)] = shard.store(("a", "x"), ("a", "y"))
    assert erase(shard, "a") == 2
    assert shard.read(("a", first)) == (1, ["a"], [])
    assert shard.read(("a", last)) == (1, [], [])
    _, [(new, _)] = shard.store(("a", "z"))
    assert shard.read(("a", first))[1] == ["a"]
    assert shard.read(("a", last)) == (1, [], [("a", new, last, b"z")])


def test_what_is_stored_after_an_erasure_is_bounded_and_expires(shard):
    shard.store(*[("a", "x" * 40)] * 5)
    erase(shard, "a")
    shard.store(*[("a", "y" * 40)] * 5, bytes=100)
    stream = shard.keys.stream("/", "a")
    assert shard.client.xlen(stream) == 2
    assert TTL_MS < shard.client.pttl(stream) <= TTL_MS * 1.1
    assert TTL_MS < shard.client.pttl(shard.keys.room_of(stream)) <= TTL_MS * 1.1


def test_an_erased_inbox_begins_behind_what_was_erased(shard):
    shard.epoch, [(_, _), (last, _)] = shard.store(("a", "x"), ("a", "y"))
    erase(shard, "a")
    assert shard.connect("s", "a")[2] == []
    assert int(shard.client.hget(shard.keys.session("s"), "floor:a")) == last


def test_erasing_what_is_not_there_leaves_nothing(shard):
    assert erase(shard, "a") == 0
    assert shard.client.keys("{t:*") == []
