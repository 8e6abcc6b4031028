"""Handlers: their order, their failures, what they may wait for, and what is left of their clients."""

import contextlib
import json
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from tests.kit.example import Example
from tests.kit.wire import TEXT, frame
from webfarm.testing import starting_processes, wait_until

PATH = "/socket.io/?EIO=4&transport=websocket"


class Handlers(Example):
    """``tests/kit/handlers.py`` under gunicorn. Its handlers fail as they are told."""

    expects_tracebacks = True

    @staticmethod
    def get_argv(name):
        return [sys.executable, "-m", "gunicorn", "-c", "python:webfarm.gunicorn", "tests.kit.handlers:app"]


@pytest.fixture(scope="module")
def server():
    with starting_processes(Handlers) as start:
        yield start("handlers", WEBFARM_MAX_OUTBOX_BYTES="200000")


@pytest.fixture(scope="module")
def hasty():
    """A server whose clients have half a second to join a namespace."""
    with starting_processes(Handlers) as start:
        yield start("handlers", WEBFARM_CONNECT_TIMEOUT_S="0.5")


class Client:
    """A Socket.IO client by hand, over a websocket."""

    def __init__(self, wire, auth=None):
        self.wire = wire.upgrade(PATH)
        assert self.wire.receive().startswith("0{")
        self.wire.send("40" + (json.dumps(auth) if auth else ""))

    def join(self):
        assert self.wire.receive().startswith('40{"sid":')
        assert self.wire.receive() == '42["early","from the connect handler"]'
        return self

    def emit(self, event, *args, id=""):
        self.wire.send(f"42{id}" + json.dumps([event, *args]))

    def wait_for(self, start):
        """Return the next packet that begins with ``start``, passing over others."""
        while not (packet := self.wire.receive()).startswith(start):
            pass
        return packet

    def answer(self, question, answer):
        """Wait for ``question`` and acknowledge it."""
        packet = self.wait_for("42")
        number = packet[2 : packet.index("[")]
        assert json.loads(packet[2 + len(number) :]) == ["question", question]
        self.wire.send(f"43{number}" + json.dumps([answer]))

    def call(self, event, *args):
        self.emit(event, *args, id="7")
        return json.loads(self.wait_for("437")[3:])


@pytest.fixture
def connect(server, wire):
    return lambda auth=None: Client(wire(server.url), auth)


@pytest.fixture
def client(connect):
    return connect().join()


def test_what_the_connect_handler_emits_comes_after_the_answer(connect):
    connect().join()


def test_a_handler_may_ask_its_own_client(client):
    client.emit("ask", "how much?", id="1")
    client.answer("how much?", "42 pounds")
    assert client.wait_for("43") == '431["42 pounds"]'


def test_an_acknowledgement_overtakes_the_events_before_it(client):
    client.emit("ask", "?", id="1")
    for number in range(50):
        client.emit("note", number)
    client.answer("?", "!")
    assert client.wait_for("43") == '431["!"]'


@pytest.mark.parametrize("text", ['430["x"]', '43999["x"]', '431["x"]'])
def test_an_acknowledgement_of_nothing_changes_nothing(client, text):
    client.wire.send(text)
    client.emit("ask", "?", id="5")
    client.answer("?", "!")
    assert client.wait_for("43") == '435["!"]'


def test_one_clients_events_wait_for_each_other_those_of_others_do_not(client, connect):
    other = connect().join()
    client.emit("wait", "in line", id="1")
    client.emit("note", "behind", id="2")
    assert other.call("note", "beside") == ["beside"]
    assert "behind" not in other.call("noted")[0]
    other.emit("open", "in line")
    assert client.wait_for("43") == '431["in line"]'
    assert client.wait_for("43") == '432["behind"]'


def test_thousands_of_events_behind_one_that_waits_are_all_handled_in_order(client, connect):
    """Reading pauses meanwhile, so a part of them waits in the kernel or with the client."""
    count = 6000
    client.emit("wait", "long line")
    frames = b"".join(frame(TEXT, f'42["note","n{number}"]'.encode()) for number in range(count))
    sending = threading.Thread(target=client.wire.write, args=(frames,))
    sending.start()
    other = connect().join()
    assert other.call("note", "beside") == ["beside"]
    other.emit("open", "long line")
    sending.join(20)
    noted = wait_until(lambda: len(notes := get_notes(other)) == count and notes, "all events")
    assert noted == [f"n{number}" for number in range(count)]


def test_reading_pauses_also_for_events_that_came_with_the_handshake(server, connect, wire):
    other = connect().join()
    texts = ["40", '42["wait","from the start"]', *('42["note",1]' for _ in range(1_100))]
    behind = wire(server.url).upgrade(
        "/socket.io/?EIO=4&transport=websocket", b"".join(frame(TEXT, text.encode()) for text in texts)
    )
    large, sent, total = frame(TEXT, b'42["note","' + b"x" * 100_000 + b'"]'), 0, 400
    behind.socket.settimeout(1)
    with contextlib.suppress(TimeoutError):
        for _ in range(total):
            behind.socket.sendall(large)
            sent += 1
    assert sent < total  # the rest waits with the client, not in the worker
    other.emit("open", "from the start")


def get_notes(client):
    return [value for value in client.call("noted")[0] if str(value).startswith("n")]


def test_a_failed_handler_is_answered_and_logged_with_event_and_user(server, client):
    sid = client.call("enter", "somewhere")[0][0]
    answer = client.call("fail", "fault")
    assert answer == [
        {"ok": False, "error": {"code": "internal", "message": "The server failed to handle this event."}}
    ]
    line = server.wait_for_line("the handler of event 'fail'")
    assert sid in line and "(user 'user-" in line
    server.wait_for_line("ZeroDivisionError: as it was told")
    assert client.call("note", "still here") == ["still here"]


def test_a_refusal_is_answered_with_its_code(client):
    assert client.call("fail", "refuse") == [{"ok": False, "error": {"code": "forbidden", "message": "No."}}]


def test_what_the_store_could_not_take_is_not_answered(client):
    client.emit("fail", "away", id="1")
    client.emit("note", "after", id="2")
    assert client.wait_for("43") == '432["after"]'


def test_a_connect_handler_that_fails_closes_the_connection_and_leaves_nothing(client, connect):
    before = get_state(client)
    connect({"fail": True}).wire.receive_close()
    wait_until(lambda: (after := get_state(client)) | {"connects": 0} == before | {"connects": 0} and after, "its end")


def test_a_connection_that_ends_while_its_connect_handler_runs_leaves_nothing(server, client):
    """python-socketio 5.18 keeps such a client for ever, and never calls its disconnect handler."""
    before = get_state(client)
    url = f"{server.url}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(requests.get(url, timeout=5).text[1:])["sid"]
    requests.post(f"{url}&sid={sid}", data='40{"gate":"late"}', timeout=5)
    wait_until(lambda: get_state(client)["connects"] == before["connects"] + 1, "the connect handler")
    requests.post(f"{url}&sid={sid}", data="1", timeout=5)
    client.emit("open", "late")
    wait_until(lambda: get_state(client)["disconnects"] == before["disconnects"] + 1, "the disconnect handler")
    expected = {key: before[key] for key in ("environs", "connections", "clients")}
    wait_until(lambda: expected.items() <= get_state(client).items(), "nothing to be left")


def get_state(client):
    return client.call("state")[0]


def test_rooms_are_what_was_entered(client):
    sid, *rooms = client.call("enter", "a")[0]
    assert rooms == ["a"]
    assert client.call("enter", "b") == [[sid, "a", "b"]]
    assert client.call("enter", "a") == [[sid, "a", "b"]]


def test_the_environ_is_kept_with_what_was_put_into_it(connect):
    client = connect({"token": "x"}).join()
    environ = client.call("environ")[0]
    assert environ["QUERY_STRING"] == PATH.partition("?")[2]
    assert environ["HTTP_UPGRADE"] == "websocket"
    assert environ["test.auth"] == {"token": "x"}
    assert environ["test.complete"]
    assert client.call("environ")[0]["test.count"] == 2


def get_rss(pid):
    [line] = [row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS")]
    return int(line.split()[1])


def test_a_client_that_does_not_read_is_closed_and_costs_no_more_than_its_outbox(server, client, connect):
    """Its room gets 60 MB meanwhile; the others in the room get all of it."""
    deaf = connect().join()
    before, rss = get_state(client), get_rss(server.worker)
    for member in (deaf, client):
        member.call("enter", "busy")
    assert receive_flood(client, "busy", 10_000, 6000) == 6000
    after = get_state(client)
    assert after["slow"] == after["slow_counted"] == before["slow"] + 1
    assert after["clients"] == before["clients"] - 1
    assert get_rss(server.worker) - rss < 20_000
    server.wait_for_line("closed: slow client")


def test_a_burst_that_the_client_reads_is_no_reason_to_close_it(client):
    """50 times the outbox, three times the outbox in one turn of the loop."""
    client.call("enter", "burst")
    assert receive_flood(client, "burst", 60_000, 160) == 160


def receive_flood(client, room, size, count):
    """Have ``room`` flooded as fast as ``client`` reads; return how many messages it received."""
    received = 0
    client.emit("flood", room, size, count, id="1")
    while not (packet := client.wire.receive()).startswith("431"):
        if '"ready?"' in packet:
            client.wire.send(f"43{packet[2 : packet.index('[')]}[]")
        else:
            received += 1
    return received


@pytest.mark.parametrize("kind", ["timeout", "answer"])
def test_whatever_a_handler_does_it_is_answered_and_the_next_event_handled(client, kind):
    assert client.call("fail_late", kind)[0]["error"]["code"] == "internal"
    assert client.call("note", "next") == ["next"]


def test_a_handler_that_exits_ends_nothing_but_itself(server, client):
    worker = server.worker
    client.emit("fail_late", "exit")
    assert client.call("note", "next") == ["next"]
    assert server.worker == worker


def test_leaving_one_namespace_does_not_harm_a_binary_event_of_another(client):
    client.wire.send("40/fails,")
    client.wait_for("40/fails,")
    client.wire.send("41/fails,")
    client.wire.send('451-7["note",{"_placeholder":true,"num":0}]')
    client.wire.send(b"attachment")
    assert client.wait_for("461-7") == '461-7[{"_placeholder":true,"num":0}]'


def test_nothing_stays_of_a_client_whose_disconnect_handler_fails(server, client):
    client.wire.send("40/fails,")
    client.wait_for("40/fails,")
    client.wire.send('42/fails,["kick","/fails"]')
    client.wait_for("41/fails,")
    server.wait_for_line("the disconnect handler of")
    client.wire.send("40/fails,")  # it would be connected already
    assert client.wait_for("4").startswith('40/fails,{"sid"')


def test_a_connect_handler_that_waits_holds_up_only_its_own_namespace(client, connect):
    other = connect().join()
    client.call("enter", "shared")
    client.wire.send('40/slow,{"gate":"slow namespace"}')
    other.emit("flood", "shared", 10, 5)
    assert client.wait_for("42") == '42["drop","xxxxxxxxxx"]'
    other.emit("open", "slow namespace")
    client.wait_for("40/slow,")


def test_a_connect_handler_refuses_by_an_error_of_a_client(connect):
    refused = connect({"forbid": True}).wire
    expected = {"message": "Not you.", "data": {"code": "forbidden", "message": "Not you."}}
    assert json.loads(refused.receive().removeprefix("44")) == expected
    refused.send("40")
    assert refused.receive().startswith('40{"sid":')


def test_a_refused_client_gets_nothing_but_its_refusal(connect):
    refused = connect({"refuse": True}).wire
    assert refused.receive().startswith("44{")
    refused.send("40")
    assert refused.receive().startswith('40{"sid":')


def test_a_client_that_has_left_every_namespace_has_to_join_one_in_time(hasty, wire):
    client = Client(wire(hasty.url)).join()
    time.sleep(0.6)
    client.wire.send("41")
    client.wire.send('40{"refuse":true}')
    client.wire.receive_close()


def test_a_client_whose_connect_handler_takes_too_long_is_closed(hasty, wire):
    Client(wire(hasty.url), {"gate": "too late"}).wire.receive_close()


def test_a_connection_joins_a_bounded_number_of_namespaces(client):
    for number in range(100):
        client.wire.send(f"40/n{number},")
    assert client.wait_for("44") == '44/n99,{"message":"Too many namespaces"}'
    client.wire.send("41/n0,")
    client.wire.send("40/n99,")
    assert client.wait_for("40/n99,")


def test_a_question_to_a_client_that_is_gone_is_given_up(client, connect):
    asked = connect().join()
    before = get_state(client)["disconnects"]
    asked.emit("ask", "still there?")
    asked.wait_for("42")
    asked.wire.close()
    wait_until(lambda: get_state(client)["disconnects"] == before + 1, "its end", timeout_s=5)  # the question's are 10


def test_a_disconnect_waits_for_the_event_that_is_being_handled(client, connect):
    """What is behind it is not handled any more."""
    kicked = connect().join()
    sid = kicked.call("enter", "anywhere")[0][0]
    kicked.emit("wait", "kicked")
    kicked.emit("note", "behind a kick")
    wait_until(lambda: "before kicked" in client.call("noted")[0], "its event")
    client.call("kick_other", sid)
    assert kicked.wait_for("41") == "41"
    assert f"end of {sid}" not in client.call("noted")[0]
    client.emit("open", "kicked")
    noted = wait_until(lambda: f"end of {sid}" in (noted := client.call("noted")[0]) and noted, "its end")
    assert noted.index("through kicked") < noted.index(f"end of {sid}")
    assert "behind a kick" not in noted


def test_who_was_disconnected_gets_nothing_more(client, connect):
    kicked = connect().join()
    sid = kicked.call("enter", "quiet")[0][0]
    client.call("enter", "quiet")
    kicked.emit("wait", "quiet")
    wait_until(lambda: "before quiet" in client.call("noted")[0], "its event")
    client.call("kick_other", sid)
    assert receive_flood(client, "quiet", 10, 5) == 5
    client.emit("open", "quiet")
    assert kicked.wait_for("4") == "41"
    kicked.wire.send("40")
    assert kicked.wait_for("4").startswith("40{")


def test_events_of_a_client_that_is_gone_wait_for_no_redis(client, connect):
    """While Redis is unreachable, its disconnect handler still runs at once."""
    gone = connect().join()
    before = get_state(client)["disconnects_without_redis"]
    client.call("pretend_that_redis_is_away", 3)
    for number in range(50):
        gone.emit("note", number)
    gone.wire.close()
    time.sleep(3)
    assert get_state(client)["disconnects_without_redis"] == before + 1
