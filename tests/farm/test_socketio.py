"""Socket.IO 5 as its specification has it, on ``examples/echo_socketio.py``, over websockets and long-polling.

The client is a ``Wire`` (or plain HTTP requests) and a decoder of a few lines, written from the specification.
"""

import json

import pytest

from tests.kit.socketio_clients import PATH, Client, OverPolling, OverWebsocket, fill, parse
from tests.kit.wire import CLOSE, frame
from webfarm.testing import wait_until

INVALID_NAMESPACE = {"message": "Invalid namespace"}


@pytest.fixture(scope="module")
def server(example):
    return example("echo_socketio")


@pytest.fixture(scope="module")
def impatient(example):
    """A server that closes who joins nothing within half a second."""
    return example("echo_socketio", WEBFARM_CONNECT_TIMEOUT_S="0.5")


@pytest.fixture(params=[OverWebsocket, OverPolling])
def connect(request, wire):
    """Opens clients over each transport; they have joined nothing yet."""
    return lambda server: Client(request.param(server, wire))


@pytest.fixture
def client(connect, server):
    """A client that has joined the main namespace."""
    client = connect(server)
    client.join()
    return client


# Connecting


@pytest.mark.parametrize("auth", [None, {}, {"token": "123"}, {"a": [1, {"b": None}], "ü": "🎈"}], ids=repr)
@pytest.mark.parametrize("namespace", ["/", "/custom"])
def test_a_namespace_is_joined_with_and_without_auth(server, connect, namespace, auth):
    client = connect(server)
    assert client.join(namespace, auth)
    assert client.echoes(namespace)


def test_a_namespaces_comma_may_be_left_out_where_nothing_follows(server, connect):
    client = connect(server)
    client.send("40/custom")
    assert client.read()[:2] == (0, "/custom")


@pytest.mark.parametrize(
    "namespace", ["/random", "/cust", "/custom2", "/Custom", "/custom/", "/räume", "/*", "//", "/0"]
)
def test_an_unknown_namespace_is_refused_and_others_may_still_be_joined(server, connect, namespace):
    client = connect(server)
    client.send(f"40{namespace}")
    assert client.read() == (4, namespace, None, INVALID_NAMESPACE)
    client.send(f'40{namespace},{{"token":"x"}}')
    assert client.read() == (4, namespace, None, INVALID_NAMESPACE)
    assert client.join()
    assert client.echoes()


def test_namespaces_share_a_connection_and_do_not_mix(server, connect):
    client = connect(server)
    assert client.join("/", {"a": 1}) != client.join("/custom", {"b": 2})
    for number in range(10):
        client.send(f'42["message",{number}]', f'42/custom,["message",{number}]')
        answers = sorted(client.read() for _ in range(2))
        assert answers == [(2, "/", None, ["message-back", number]), (2, "/custom", None, ["message-back", number])]


def test_every_client_has_an_id_of_its_own(server, connect):
    assert len({connect(server).join(namespace) for namespace in ["/", "/custom"] * 10}) == 20


# Disconnecting


@pytest.mark.parametrize(("left", "kept"), [("/", "/custom"), ("/custom", "/")])
def test_a_namespace_may_be_left_and_joined_again(server, connect, left, kept):
    client = connect(server)
    sids = {client.join(left), client.join(kept)}
    client.send("41" if left == "/" else f"41{left},")
    assert client.echoes(kept)
    sids.add(client.join(left))
    assert client.echoes(left)
    assert client.echoes(kept)
    assert len(sids) == 3


def test_the_connection_stays_when_its_last_namespace_is_left(client):
    client.send("41")
    assert client.join()
    assert client.echoes()


# Events


ARGUMENTS = [
    [],
    [1, "2", {"3": [True]}],
    [None],
    [[]],
    [{}],
    ["", " ", "\u0000", '"', "\\"],
    ["grüße 🎈", "\u2028", "</script>"],
    [0, -1, 1.5, -0.25, 1e21, 2**53 - 1],
    [True, False, None],
    [{"": {"": [[[[]]]]}}],
    [{"_placeholder": True, "num": 0}],
    [{"_placeholder": False, "num": 5}],
    [list(range(1000))],
    ["x" * 100_000],
    [{str(number): number for number in range(1000)}],
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=range(len(ARGUMENTS)))
def test_an_events_arguments_come_back_untouched(client, arguments):
    client.send("42" + json.dumps(["message", *arguments]))
    assert parse(client.transport.receive()) == (2, 0, "/", None, ["message-back", *arguments])


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=range(len(ARGUMENTS)))
def test_an_acknowledgement_holds_the_arguments_untouched(client, arguments):
    client.send("4217" + json.dumps(["message-with-ack", *arguments]))
    assert parse(client.transport.receive()) == (3, 0, "/", 17, arguments)


@pytest.mark.parametrize("number", [0, 1, 9, 10, 456, 2**31, 2**53 - 1])
@pytest.mark.parametrize("namespace", ["/", "/custom"])
def test_an_acknowledgement_has_the_events_id_and_namespace(server, connect, namespace, number):
    client = connect(server)
    client.join(namespace)
    prefix = "" if namespace == "/" else namespace + ","
    client.send(f'42{prefix}{number}["message-with-ack",1]')
    assert client.read() == (3, namespace, number, [1])


def test_an_event_without_id_is_not_acknowledged(client):
    client.send('42["message-with-ack",1]')
    assert client.echoes()


def test_events_come_back_in_the_order_sent(client):
    client.send(*(f'42["message",{number}]' for number in range(200)))
    assert [client.read()[3][1] for _ in range(200)] == list(range(200))


def test_events_and_acknowledged_ones_keep_their_order(client):
    for number in range(0, 100, 2):
        client.send(f'42["message",{number}]', f'42{number}["message-with-ack",{number + 1}]')
    assert [client.read()[3][-1] for _ in range(100)] == list(range(100))


def test_clients_do_not_hear_each_other(server, connect):
    clients = [connect(server) for _ in range(5)]
    for number, client in enumerate(clients):
        client.join(auth={"number": number})
    for number, client in enumerate(clients):
        client.send(f'42["message",{number}]')
    assert [client.read()[3] for client in clients] == [["message-back", number] for number in range(5)]
    assert all(client.echoes() for client in clients)


@pytest.mark.parametrize("text", ['431["unasked"]', "430[]", '43999["x",{"y":1}]'])
def test_an_acknowledgement_that_nobody_waits_for_is_ignored(client, text):
    client.send(text)
    assert client.echoes()


# Attachments


PLACEHOLDERS = [{"_placeholder": True, "num": number} for number in range(10)]
BINARY_ARGUMENTS = [
    ([PLACEHOLDERS[0]], [b"\x01\x02\x03"]),
    ([PLACEHOLDERS[0], PLACEHOLDERS[1]], [b"\x01\x02\x03", b"\x04\x05\x06"]),
    ([PLACEHOLDERS[1], PLACEHOLDERS[0]], [b"second", b"first"]),
    ([{"file": PLACEHOLDERS[0], "more": [[PLACEHOLDERS[1]], "text"]}, 5], [b"\x00\xff", b"x" * 100_000]),
    ([PLACEHOLDERS[0]], [b""]),
    ([{str(number): placeholder for number, placeholder in enumerate(PLACEHOLDERS)}], [bytes([n]) for n in range(10)]),
]


@pytest.mark.parametrize("namespace", ["/", "/custom"])
@pytest.mark.parametrize(("arguments", "attachments"), BINARY_ARGUMENTS, ids=range(len(BINARY_ARGUMENTS)))
def test_attachments_come_back_where_they_were(server, connect, namespace, arguments, attachments):
    client = connect(server)
    client.join(namespace)
    prefix = "" if namespace == "/" else namespace + ","
    whole = fill(arguments, attachments)
    client.send(f"45{len(attachments)}-{prefix}" + json.dumps(["message", *arguments]), *attachments)
    assert client.read() == (5, namespace, None, ["message-back", *whole])
    client.send(f"45{len(attachments)}-{prefix}78" + json.dumps(["message-with-ack", *arguments]), *attachments)
    assert client.read() == (6, namespace, 78, whole)


def test_a_binary_event_and_a_plain_one_keep_their_order(client):
    client.send('451-["message",{"_placeholder":true,"num":0}]', b"first", '42["message","second"]')
    assert [client.read()[3][1] for _ in range(2)] == [b"first", "second"]


def test_a_binary_acknowledgement_that_nobody_waits_for_is_ignored(client):
    client.send('461-1[{"_placeholder":true,"num":0}]', b"x")
    assert client.echoes()


# What is no packet


NO_PACKETS = [
    "4",
    "4abc",
    "47",
    '49["message"]',
    "42",
    "42{}",
    "42[]",
    "42[null]",
    "42[{}]",
    '42"message"',
    "42null",
    "42true",
    '42["message"',
    '42["message"]x',
    '42["message",]',
    '42["message",NaN]',
    '42["message",Infinity]',
    '42["message",1e999]',
    '42abc["message-with-ack",1]',
    '42-1["message-with-ack",1]',
    '42 1["message-with-ack",1]',
    "421",
    '42["connect"]',
    '42["connect_error"]',
    '42["disconnect"]',
    '42["disconnecting"]',
    '42["newListener"]',
    '42["removeListener"]',
    "43",
    "431",
    "431{}",
    '431"x"',
    "40[]",
    '40"token"',
    "405",
    "40{",
    "41{}",
    "41[1]",
    '45["message"]',
    '45-["message"]',
    '451["message",{"_placeholder":true,"num":0}]',
    '45x-["message",{"_placeholder":true,"num":0}]',
    '45-1-["message",{"_placeholder":true,"num":0}]',
    '451-{"_placeholder":true,"num":0}',
    "42" + "[" * 10_000,
]


@pytest.mark.parametrize("text", NO_PACKETS, ids=[text[:40] for text in NO_PACKETS])
def test_what_is_no_packet_closes_the_connection(client, text):
    client.send(text)
    assert client.is_closed()


@pytest.mark.parametrize(
    "text", ["4", "4abc", "42", "42{}", '42["message",1]', "43", '431["x"]', "41", '44{"message":"x"}']
)
def test_the_first_packet_joins_a_namespace_or_the_connection_is_closed(impatient, connect, text):
    client = connect(impatient)
    client.send(text)
    assert client.is_closed()


@pytest.mark.parametrize("number", [0, 1])
def test_an_event_to_a_namespace_that_was_never_joined_closes_the_connection(client, number):
    client.send(['42/custom,["message",1]', '42/custom,1["message-with-ack",1]'][number])
    assert client.is_closed()


def test_an_event_to_a_namespace_that_was_left_closes_the_connection(client):
    client.join("/custom")
    client.send("41/custom,", '42/custom,["message",1]')
    assert client.is_closed()


NO_ATTACHMENTS = [
    [b"out of the blue"],
    ['450-["message"]'],
    ['451-["message",{"_placeholder":true,"num":0}]', '42["message","a text"]'],
    ['451-["message",{"_placeholder":true,"num":1}]', b"x"],
    ['451-["message",{"_placeholder":true,"num":-1}]', b"x"],
    ['451-["message",{"_placeholder":true,"num":"0"}]', b"x"],
    ['451-["message",{"_placeholder":true}]', b"x"],
    ['451-["message",1]', b"x"],
    ['452-["message",{"_placeholder":true,"num":0}]', b"x", b"y"],
    ['451-["message",{"_placeholder":true,"num":0}]', b"x", b"one too many"],
    [
        '4511-["message",' + ",".join(json.dumps({"_placeholder": True, "num": n}) for n in range(11)) + "]",
        *[b"x"] * 11,
    ],
    ['451-/custom,["message",{"_placeholder":true,"num":0}]', b"x"],
]


@pytest.mark.parametrize("messages", NO_ATTACHMENTS, ids=range(len(NO_ATTACHMENTS)))
def test_attachments_that_are_not_what_was_announced_close_the_connection(client, messages):
    client.send(*messages)
    assert client.is_closed()


def test_what_one_client_sends_wrong_is_not_felt_by_another(server, connect, client):
    for text in NO_PACKETS:
        other = connect(server)
        other.join()
        other.send(text)
    assert client.echoes()


# Time


@pytest.mark.parametrize("text", [None, "40/random"])
def test_a_connection_that_joins_nothing_in_time_is_closed_and_one_that_did_stays(impatient, connect, text):
    joined = connect(impatient)
    joined.join()
    late = connect(impatient)
    if text:
        late.send(text)
    assert late.is_closed()
    assert joined.echoes()


# The upgrade


def test_a_session_keeps_its_namespaces_over_an_upgrade(server, wire):
    polling = OverPolling(server, wire)
    client = Client(polling)
    client.join()
    client.join("/custom")
    sid = polling.url.rpartition("=")[2]
    ws = wire(server.url).upgrade(f"{PATH}websocket&sid={sid}")
    ws.send("2probe")
    assert ws.receive() == "3probe"
    ws.send("5")
    ws.send('42["message",1]')
    ws.send('451-/custom,["message",{"_placeholder":true,"num":0}]')
    ws.send(b"x")
    assert parse(ws.receive()) == (2, 0, "/", None, ["message-back", 1])
    assert parse(ws.receive()) == (5, 1, "/custom", None, ["message-back", {"_placeholder": True, "num": 0}])
    assert ws.receive() == b"x"


@pytest.mark.parametrize("how", ["close frame", "end of file", "41", "1"])
def test_a_client_may_leave_in_any_way_and_the_worker_goes_on(server, wire, client, how):
    other = Client(OverWebsocket(server, wire))
    other.join()
    if how == "close frame":
        other.transport.wire.write(frame(CLOSE, b"\x03\xe9"))
    elif how == "end of file":
        other.transport.wire.close()
    else:
        other.send(how)
    wait_until(client.echoes, "an answer")
