"""What may go wrong with several shards: between their clocks, their epochs, and the moments at which each is read."""

import contextlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
import redis

from tests.kit.clients import Client, name, opening
from webfarm import Emitter, Retention
from webfarm.errors import Error
from webfarm.log.batch import Outgoing, describe_batch, join_batches
from webfarm.log.entry import VOLATILE, decode_body, encode_body, make_messages
from webfarm.log.offset import Vector, decode_offset
from webfarm.protocol.engine_packet import EnginePacket
from webfarm.redis.blocking import list_shards
from webfarm.redis.keys import find_shard
from webfarm.sessions.replay import Replay
from webfarm.testing import get_status, starting_workers, wait_until

SHARDS, PREFIX = 8, "shardfaults"
EPOCHS = ("first", "second", "third")


@pytest.fixture(scope="module")
def site(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX=PREFIX, WEBFARM_SHARDS=str(SHARDS), WEBFARM_PING_INTERVAL_S="0.3")


@pytest.fixture
def client():
    with opening(Client) as open_client:
        yield open_client


@pytest.fixture
def server(redis_server):
    with contextlib.closing(redis.Redis.from_url(redis_server.url)) as client:
        yield client


def name_room_in(*shards):
    return next(room for room in iter(name, None) if find_shard(room, SHARDS) in shards)


# Offsets


@pytest.mark.parametrize("behind", [0, 1, 255, 256, 2**31 - 1, 2**31, 2**40, 1_790_000_000_000_000])
def test_an_offset_shows_all_positions_but_of_a_shard_that_is_far_behind(behind):
    ids = (1_790_000_000_000_000, 1_790_000_000_000_000 - behind, 1_789_999_999_999_999)
    shown = ids[1] if behind < 2**31 else 0
    assert decode_offset(Vector(EPOCHS, ids).encode(), EPOCHS) == (ids[0], shown, ids[2])


def test_an_offset_shows_nothing_of_a_shard_whose_life_began_anew():
    offset = Vector(EPOCHS, (7, 8, 9)).encode()
    assert decode_offset(offset, ("first", "another", "third")) == (7, 0, 9)
    assert decode_offset(offset[:-1] + "é", EPOCHS) == decode_offset("A" * 20_000, EPOCHS) == (0, 0, 0)


def test_an_offset_of_eight_shards_is_short():
    epochs, newest = [f"epoch{shard}" for shard in range(8)], 1_790_000_000_000_000
    assert len(Vector(epochs, [newest - 1_000_000 * shard for shard in range(8)]).encode()) < 64
    days = 86_400_000_000 * 10
    assert len(Vector(epochs, [newest - days, *[newest] * 7]).encode()) < 80


# What is sent to a client that joins


def make(shard, id, text, node=None):
    """Return a message as it is replayed, or, with the node's positions, as it comes live."""
    packet = f'2["message","{text}, 1"]'
    offset = "" if node is None else Vector(EPOCHS, node).encode()
    return make_messages(decode_body(b"".join(encode_body([packet]))), shard, id, offset)


def merge(replay, *held):
    waiting = [message for messages in held for message in messages]
    return [
        (message.packet.split('"')[3].partition(",")[0], decode_offset(message.packet.split('"')[-2], EPOCHS))
        for message in replay.merge(waiting)
        if message.id
    ]


def test_what_comes_live_while_other_shards_are_read_does_not_take_the_offset_back():
    """The node's position in the second shard was still at 50, where the client has had 80 and is sent 85."""
    replay = Replay(make(1, 85, "missed"), (90, 86, 0), (70, 80, 0), EPOCHS)
    sent = merge(replay, make(0, 100, "live", node=(100, 50, 40)))
    assert sent == [("missed", (70, 85, 0)), ("live", (100, 85, 0))]


def test_no_offset_is_past_what_is_sent_later():
    """The clocks of two shards differ, and the node had passed 120 in the second one when the first one's 100 came."""
    replay = Replay(make(1, 110, "missed"), (90, 115, 0), (70, 80, 0), EPOCHS)
    sent = merge(replay, make(0, 100, "live", node=(100, 120, 40)))
    assert sent == [("live", (100, 80, 0)), ("missed", (100, 110, 0))]


def test_the_order_of_a_shard_is_kept_whatever_comes_of_others_in_between():
    """Of many rooms some are read later: 97 is replayed, and 96, of another room, came live after another shard's 100."""
    replay = Replay(make(1, 97, "later"), (90, 94, 0), (70, 80, 0), EPOCHS)
    live = make(0, 100, "other", node=(100, 95, 0)), make(1, 96, "earlier", node=(100, 96, 0))
    assert merge(replay, *live) == [("earlier", (70, 96, 0)), ("later", (70, 97, 0)), ("other", (100, 97, 0))]


def test_what_is_not_in_the_log_stays_behind_all_that_came_before_it():
    volatile = EnginePacket('42["volatile"]')
    waiting = [*make(0, 100, "b", node=(100, 0, 0)), *make(1, 95, "a", node=(100, 95, 0)), volatile]
    merged = Replay(make(1, 94, "missed"), (90, 94, 0), (70, 80, 0), EPOCHS).merge(waiting)
    assert [message.id for message in merged] == [94, 95, 100, 0]


def test_an_attachment_stays_behind_its_text_and_has_no_offset():
    body = decode_body(b"".join(encode_body(['51-["image",{"_placeholder":true,"num":0}]', b"data"])))
    live = make_messages(body, 0, 100, Vector(EPOCHS, (100, 50, 40)).encode())
    text, attachment = Replay([], (90, 86, 0), (70, 80, 0), EPOCHS).merge(live)
    offset = Vector(EPOCHS, (100, 80, 0)).encode()
    assert text.packet == '451-["image",{"_placeholder":true,"num":0},"' + offset + '"]'
    assert attachment.packet == b"data"


# On the wire


def store(server, room, text, copies):
    """Store what was emitted to several rooms, as it stands in the last one."""
    shard = list_shards(server, PREFIX, SHARDS).get_of_room("/", room)
    message = Outgoing("/", room, encode_body([f'2["message",{{"text":"{text}"}}]'], copies=copies))
    clock = (shard.keys.format, "unused", "", 0)
    batch = describe_batch(shard.keys, Retention(), clock, shard.keys.batch(name()), 1, [message])
    shard.commands.run("log/store", (), join_batches([batch]))


def test_who_joined_a_room_after_its_copy_was_sent_gets_the_one_of_another_room(site, client, server):
    a = client(site.urls[0], name())
    one, other = name_room_in(1), name_room_in(2)
    a.call("join", {"room": other})
    b = client(site.urls[1], name())
    b.call("join", {"room": one})
    before = int(b.call("message", {"room": one})["id"])
    a.call("join", {"room": one})
    after = int(b.call("message", {"room": one})["id"])
    store(server, other, "before it joined", [(one, before)])
    store(server, other, "has its copy", [(one, after)])
    store(server, other, "last", [])
    assert [data.get("text") for data, *_ in a.get(3)] == [None, "before it joined", "last"]


@pytest.mark.parametrize("shard", [0, 3])
def test_what_can_not_be_read_on_a_room_s_channel_disturbs_nobody(site, client, server, shard):
    a, room = client(site.urls[0], name()), name_room_in(shard)
    a.call("join", {"room": room})
    stream = list_shards(server, PREFIX, SHARDS).get_of_room("/", room).keys.stream("/", room)
    for garbage in (b"nonsense", b"\n\xff", b"[[[\n2[]", b'{"skip":7}\n2["message"]'):
        assert server.publish(stream, VOLATILE + garbage) == 1
        assert server.publish(stream, garbage) == 1
    assert a.call("message", {"room": room, "n": 1})["ok"]
    assert [data["n"] for data, *_ in a.get(1)] == [1]
    assert "Traceback" not in site.output


def test_who_has_left_an_inbox_comes_back_to_its_session(site, client, server):
    taken = {find_shard(room, SHARDS) for room in ("common", "*", "/")}
    user = name()
    while find_shard(f"user:{user}", SHARDS) in {*taken, find_shard(user, SHARDS)}:
        user = name()[: 6 + len(user) % 7]  # of names of one length, all differ from their rooms, or none
    a = client(site.urls[0], user)
    a.cut()
    session = list_shards(server, PREFIX, SHARDS).get(a.sid).keys.session(a.sid)
    wait_until(lambda: server.hget(session, "is_open") == b"0", "the loss to be noticed")
    assert server.hdel(session, f"floor:user:{user}") == 1
    assert client(site.urls[1], user, pid=a.pid).sid == a.sid


def test_a_client_gets_all_rooms_again_once_and_in_order_however_often_it_is_cut(site, client):
    user, rooms = name(), [name_room_in(shard) for shard in range(SHARDS)]
    b = client(site.urls[1], name())
    a = client(site.urls[0], user)
    for one in (a, b):
        for room in rooms:
            assert one.call("join", {"room": room})["ok"]
    got, pid = [], a.pid
    for turn in range(6):
        for room in rooms:
            b.call("message", {"room": room, "n": turn})
        a.get(1 + turn % 2)
        a.cut()
        got += [event[1:] for event in a.events]
        offset = got[-1][2]
        a = client(site.urls[turn % 2], user, pid=pid, offset=offset)
        assert a.pid == pid
    a.wait(lambda: sum(data["n"] == 5 for data, *_ in [*got, *(event[1:] for event in a.events)]) == len(rooms))
    got += [event[1:] for event in a.events]
    for room in rooms:
        assert [data["n"] for data, *_ in got if data["room"] == room] == list(range(6))


def test_what_an_offset_shows_of_a_shard_in_which_a_client_has_no_room_is_not_believed(site, client, server):
    user, room = name(), name_room_in(1)
    a, b = client(site.urls[0], user), client(site.urls[1], name())
    for one in (a, b):
        assert one.call("join", {"room": room})["ok"]
    b.call("message", {"room": room, "n": 1})
    [[_, _, offset]] = a.get(1)
    a.cut()
    b.call("message", {"room": room, "n": 2})
    session = server.hkeys(list_shards(server, PREFIX, SHARDS).get(a.sid).keys.session(a.sid))
    rooms = [field.decode().removeprefix("floor:") for field in session if field.startswith(b"floor:")]
    taken = {find_shard(one, SHARDS) for one in ("/", *rooms)}
    fields = [b"\0\0\0\0" if shard in taken else b"\xff" * 4 for shard in range(SHARDS)]
    hostile = urlsafe_b64encode(urlsafe_b64decode(offset + "=")[: SHARDS // 2] + b"\xff" * 8 + b"".join(fields))
    again = client(site.urls[1], user, pid=a.pid, offset=hostile.decode().rstrip("="))
    assert again.sid == a.sid
    b.call("message", {"room": room, "n": 3})
    again.wait(lambda: again.events and again.events[-1][1]["n"] == 3)
    assert [args[0]["n"] for _, *args in again.events][-2:] == [2, 3]


def test_a_start_with_another_number_of_shards_is_refused_and_stores_nothing(redis_server, workers, server):
    workers(1, WEBFARM_PREFIX="othernumber", WEBFARM_SHARDS="1")
    site = workers(1, ready=False, WEBFARM_PREFIX="othernumber", WEBFARM_SHARDS="8")
    site.wait_for_line("Redis holds what a farm with one shard has stored; set WEBFARM_SHARDS=1")
    assert get_status(f"{site.urls[0]}/readyz") == 503
    assert [key for key in server.scan_iter("{othernumber:*}:clock")] == [b"{othernumber:0}:clock"]
    with pytest.raises(Error, match="set WEBFARM_SHARDS=1"):
        Emitter(redis_server.url, "othernumber", shards=8)
