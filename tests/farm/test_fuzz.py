"""Random input, judged by the specifications: readers of a few lines here say what a right server makes of it.

The examples are the same at each run. ``FUZZ_EXAMPLES=10000`` tries so many others of each test.
"""

import contextlib
import itertools
import json
import math
import os
import re

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.kit.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Wire, frame
from webfarm.protocol import strict_json
from webfarm.protocol.packet import Packet
from webfarm.testing import is_alive

fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "300")),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

# Socket.IO packets

CONNECT, DISCONNECT, EVENT, ACK, BINARY_EVENT, BINARY_ACK = 0, 1, 2, 3, 5, 6
RESERVED = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}


class ServerPacket(Packet):
    """A packet as the server reads it."""

    json = strict_json


def read_packet(text):
    """Return what a client's packet says, ``(type, attachments, namespace, id, data)``, or ``None`` if it is none."""
    kind, rest, count = text[:1], text[1:], 0
    if kind not in list("012356"):
        return None
    if kind in "56":
        digits = take_digits(rest)
        if not rest[len(digits) :].startswith("-") or not digits or digits[0] == "0" or int(digits) > 10:
            return None
        count, rest = int(digits), rest[len(digits) + 1 :]
    namespace = None
    if rest.startswith("/"):
        name, _, rest = rest.partition(",")
        namespace = name.split("?")[0]
    number = take_digits(rest)
    rest = rest[len(number) :]
    number = int(number) if number else None
    data = read_json(rest) if rest else None
    if data is NO_JSON or not is_sound(int(kind), number, data, count):
        return None
    return int(kind), count, namespace, number, data


def take_digits(text):
    return text[: len(text) - len(text.lstrip("0123456789"))]


NO_JSON = object()


def read_json(text):
    def refuse(constant):
        raise ValueError(constant)

    try:
        value = json.loads(text, parse_constant=refuse)
    except ValueError:
        return NO_JSON
    return NO_JSON if any(isinstance(leaf, float) and not math.isfinite(leaf) for leaf in walk(value)) else value


def is_sound(kind, number, data, count):
    """Whether a packet's data is what its type asks for."""
    if kind in (EVENT, BINARY_EVENT):
        sound = isinstance(data, list) and bool(data) and isinstance(data[0], str) and data[0] not in RESERVED
    elif kind in (ACK, BINARY_ACK):
        sound = isinstance(data, list) and number is not None
    else:
        sound = number is None and (data is None or (kind == CONNECT and isinstance(data, dict)))
    places = [leaf.get("num") for leaf in walk(data) if is_placeholder(leaf)]
    return sound and (not count or sorted(map(repr, places)) == sorted(map(repr, range(count))))


def is_placeholder(value):
    return isinstance(value, dict) and value.get("_placeholder") is True


def walk(value):
    """Yield all that is in ``value``, itself included; nothing of what is in a placeholder."""
    stack = [value]
    while stack:
        item = stack.pop()
        yield item
        if isinstance(item, list):
            stack += item
        elif isinstance(item, dict) and not is_placeholder(item):
            stack += item.values()


def decode(text):
    """Return what the server's reader makes of ``text``, in the same form; only ``ValueError`` means that it is none."""
    try:
        packet = ServerPacket(encoded_packet=text)
    except ValueError:
        return None
    return packet.packet_type, packet.attachment_count, packet.namespace, packet.id, packet.data


def same(one, other):
    """Whether both are equal, ``True`` and ``1`` told apart."""
    return json.dumps(one) == json.dumps(other)


texts = st.text(st.characters(codec="utf-8"), max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
)
names = texts.filter(lambda name: name not in RESERVED)
namespaces = st.none() | texts.map(lambda name: "/" + name.replace(",", "").replace("?", ""))
numbers = st.integers(0, 2**53 - 1)


@st.composite
def packet_texts(draw):
    """The text of a proper packet."""
    kind = draw(st.sampled_from([CONNECT, DISCONNECT, EVENT, ACK, BINARY_EVENT, BINARY_ACK]))
    text, count = str(kind), 0
    if kind in (BINARY_EVENT, BINARY_ACK):
        count = draw(st.integers(1, 10))
        text += f"{count}-"
    namespace = draw(namespaces)
    text += "" if namespace is None else namespace + ","
    if kind in (CONNECT, DISCONNECT):
        auth = draw(st.none() | st.dictionaries(texts, values, max_size=3)) if kind == CONNECT else None
        return text + ("" if auth is None else json.dumps(auth))
    number = draw(numbers if kind in (ACK, BINARY_ACK) else st.none() | numbers)
    places = [{"_placeholder": True, "num": n} for n in draw(st.permutations(range(count)))]
    arguments = draw(st.permutations(draw(st.lists(values, max_size=3)) + places))
    event = [draw(names)] if kind in (EVENT, BINARY_EVENT) else []
    return text + ("" if number is None else str(number)) + json.dumps([*event, *arguments])


@fuzz
@given(packet_texts())
def test_a_proper_packet_is_read_as_it_was_written(text):
    expected = read_packet(text)
    assume(expected is not None)  # random data may hold a placeholder of its own
    assert same(decode(text), expected)


def test_the_writer_of_proper_packets_is_one():
    """The reader here takes what the specification gives as examples, or nothing would be tested."""
    assert read_packet('0/admin,{"sid":"x"}') == (0, 0, "/admin", None, {"sid": "x"})
    assert read_packet('2/admin,13["bar"]') == (2, 0, "/admin", 13, ["bar"])
    assert read_packet("1/admin,") == (1, 0, "/admin", None, None)
    placeholder = {"_placeholder": True, "num": 0}
    assert read_packet('61-15["bar",{"_placeholder":true,"num":0}]') == (6, 1, None, 15, ["bar", placeholder])
    assert [read_packet(text) for text in ("", "4{}", "2", "2{}", "2[]", '7["x"]', '5["x"]', "3[]", "1[]", "0[]")] == [
        None
    ] * 10


mutations = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace", "double", "cut"]),
        st.integers(0, 10**6),
        st.sampled_from(list('0123456789-/,?[]{}":.eE+ \n_abnNtfu\\\x00é')),
    ),
    min_size=1,
    max_size=4,
)


def mutate(text, changes):
    for change, position, character in changes:
        at = position % (len(text) + 1)
        if change == "insert":
            text = text[:at] + character + text[at:]
        elif change == "delete":
            text = text[:at] + text[at + 1 :]
        elif change == "replace":
            text = text[:at] + character + text[at + 1 :]
        elif change == "double":
            text = text[:at] + text[at : at + 5] + text[at:]
        else:
            text = text[:at]
    return text


@fuzz
@given(packet_texts(), mutations)
def test_a_damaged_packet_is_read_as_the_specification_says_or_refused(text, changes):
    text = mutate(text, changes)
    assume(not re.search("[0-9]{16}", text))  # an id may be bounded
    assert same(decode(text), read_packet(text))


@fuzz
@given(st.text(st.sampled_from(list('01235645-/,?[]{}":._plachodernumtrueNaIfy ')), max_size=40) | st.text(max_size=20))
def test_random_text_is_read_as_the_specification_says_or_refused(text):
    assert same(decode(text), read_packet(text))


@pytest.mark.parametrize(
    "text", ["2" + "[" * 100_000, '2["x",' + "[" * 100_000 + "]" * 100_000 + "]", '0{"a":' * 50_000]
)
def test_what_is_nested_without_end_is_refused(text):
    with pytest.raises((ValueError, RecursionError)):
        ServerPacket(encoded_packet=text)


@fuzz
@given(st.binary(max_size=20))
def test_bytes_are_no_packet(data):
    with pytest.raises(ValueError):
        ServerPacket(encoded_packet=data)


with_bytes = st.recursive(
    leaves | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts.filter(lambda key: key != "_placeholder"), inner, max_size=3)
    ),
    max_leaves=10,
)


@fuzz
@given(st.sampled_from([EVENT, ACK]), namespaces, numbers, names, st.lists(with_bytes, max_size=3))
def test_what_is_written_is_read_back(kind, namespace, number, name, arguments):
    data = [name, *arguments] if kind == EVENT else arguments
    assume(sum(isinstance(leaf, bytes) for leaf in walk(data)) <= 10)
    encoded = ServerPacket(kind, data=data, namespace=namespace, id=number).encode()
    text, *attachments = encoded if isinstance(encoded, list) else [encoded]
    packet = ServerPacket(encoded_packet=text)
    assert packet.attachment_count == len(attachments)
    for attachment in attachments:
        is_whole = packet.add_attachment(attachment)
        assert is_whole == (attachment is attachments[-1] and len(packet.attachments) == len(attachments))
    kinds = {EVENT: BINARY_EVENT, ACK: BINARY_ACK}
    assert packet.packet_type == (kinds[kind] if attachments else kind)
    assert (packet.namespace or "/", packet.id) == (namespace or "/", number)
    assert packet.data == data


# Websocket frames

MAX_BYTES = 3000
CONTROL = (CLOSE, PING, PONG)
CLOSE_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


@pytest.fixture(scope="module")
def server(example):
    server = example("echo_websocket", WEBFARM_MAX_MESSAGE_BYTES=str(MAX_BYTES))
    worker = server.worker
    yield server
    assert is_alive(worker)


def talk(server, data, cuts):
    """Send ``data``, cut into pieces, then the end; return the messages, the pongs and the close code that came back."""
    with contextlib.closing(Wire(server.url)) as wire:
        wire.upgrade()
        positions = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        with contextlib.suppress(ConnectionError):  # the server may have ended it before all was sent
            for start, end in itertools.pairwise(positions):
                wire.write(data[start:end])
            wire.socket.shutdown(1)
        return read_answers(wire.wait_for_end())


def read_answers(data):
    """Return the messages, pongs and close code of a server's frames: they must be proper, and end with the close."""
    messages, pongs, code = [], [], None
    while data:
        assert code is None, "something came after the close"
        opcode, length, start = data[0] & 15, data[1], 2
        assert data[0] & 0xF0 == 0x80, "reserved bits, or a fragment"
        assert length < 128, "masked"
        if length > 125:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start])
        payload, data = data[start : start + length], data[start + length :]
        assert len(payload) == length
        if opcode == CLOSE:
            code = int.from_bytes(payload[:2]) if payload else 1005
        elif opcode == PONG:
            pongs.append(payload)
        else:
            messages.append(payload.decode() if opcode == TEXT else payload)
            assert opcode in (TEXT, BINARY)
    return messages, pongs, code


def read_stream(data):
    """Return what RFC 6455 makes of a client's bytes: messages, pings, and the codes that may close the connection.

    ``None`` among the codes: the connection may end without a close frame, as the client's bytes end too early.
    """
    messages, pings, kind, message = [], [], None, b""
    while True:
        if len(data) < 2:
            return messages, pings, {None}
        fin, rsv, opcode = data[0] >> 7, data[0] & 0x70, data[0] & 15
        masked, length, start = data[1] >> 7, data[1] & 127, 2
        faults = set()
        if rsv or opcode not in (CONTINUATION, TEXT, BINARY, *CONTROL) or not masked:
            faults.add(1002)
        if opcode in CONTROL and (not fin or length > 125):
            faults.add(1002)
        if (opcode == CONTINUATION and kind is None) or (opcode in (TEXT, BINARY) and kind is not None):
            faults.add(1002)
        if length > 125:
            start = 4 if length == 126 else 10
            if len(data) < start:
                return messages, pings, faults | {None}
            length = int.from_bytes(data[2:start])
        if length + (len(message) if opcode == CONTINUATION else 0) > MAX_BYTES:
            faults.add(1009)
        key, payload, rest = data[start : start + 4], data[start + 4 : start + 4 + length], data[start + 4 + length :]
        is_complete = len(data) >= start + 4 + length
        if faults:
            return messages, pings, faults if is_complete or 1009 in faults else faults | {None}
        if not is_complete:
            return messages, pings, {None} | maybe_no_text(kind, message)
        payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        data = rest
        if opcode == CLOSE:
            codes = read_close(payload) | maybe_no_text(kind, message)
            return messages, pings, codes if kind is None else codes | {1002}
        if opcode == PING:
            pings.append(payload)
        elif opcode != PONG:
            kind, message = kind or opcode, message + payload
            if fin:
                try:
                    messages.append(message.decode() if kind == TEXT else message)
                except UnicodeDecodeError:  # what comes with it may be judged first
                    _, late_pings, codes = read_stream(data)
                    return messages, pings + late_pings, {1007} | codes - {None}
                kind, message = None, b""


def maybe_no_text(kind, message):
    """Return 1007 if what has come of a text can't become one any more: the server may say so at once, or at the end."""
    if kind != TEXT:
        return set()
    try:
        message.decode()
    except UnicodeDecodeError as error:
        return set() if error.reason == "unexpected end of data" else {1007}
    return set()


def read_close(payload):
    if not payload:
        return {1000, 1005}
    code = int.from_bytes(payload[:2])
    faults = {1002} if len(payload) == 1 or code not in CLOSE_CODES else set()
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        faults |= {1002, 1007}
    return faults or {code}


@st.composite
def streams(draw):
    """The bytes of proper frames: messages in fragments, pings and pongs in between, often a close at the end."""
    frames = []
    for _ in range(draw(st.integers(0, 6))):
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        payload = draw(
            st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))
            | st.text("x", max_size=3).map(str.encode)
        )
        payload = (
            (payload * draw(st.sampled_from([1, 1, 1, 8, 16])))
            if opcode == TEXT
            else payload + draw(st.binary(max_size=200))
        )
        ends = sorted(cut % (len(payload) + 1) for cut in draw(st.lists(st.integers(0, 2000), max_size=4)))
        pieces = [payload[start:end] for start, end in zip([0, *ends], [*ends, len(payload)], strict=True)]
        for number, piece in enumerate(pieces):
            frames.append(frame(opcode if number == 0 else CONTINUATION, piece, fin=number == len(pieces) - 1))
            if draw(st.integers(0, 3)) == 0:
                frames.append(frame(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125))))
    if draw(st.booleans()):
        code = draw(st.sampled_from([1000, 1001, 1011, 3000, 4999]))
        frames.append(frame(CLOSE, code.to_bytes(2) + draw(st.text("rå", max_size=20)).encode()))
    return b"".join(frames)


cuts = st.lists(st.integers(0, 5000), max_size=10)


@fuzz
@given(streams(), cuts)
def test_proper_frames_are_echoed_however_they_are_cut(server, data, cuts):
    messages, pings, codes = read_stream(data)
    assert len(codes) == 1
    assert talk(server, data, cuts) == (messages, pings, *codes)


damages = st.lists(
    st.tuples(
        st.sampled_from(["bit", "byte", "insert", "delete", "cut", "double"]),
        st.integers(0, 10**6),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=3,
)


def damage(data, changes):
    for change, position, value in changes:
        at = position % (len(data) + 1)
        byte = data[at : at + 1]
        if change == "bit" and byte:
            data = data[:at] + bytes([byte[0] ^ 1 << value % 8]) + data[at + 1 :]
        elif change == "byte":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif change == "insert":
            data = data[:at] + bytes([value]) * (1 + value % 9) + data[at:]
        elif change == "delete":
            data = data[:at] + data[at + 1 + value % 9 :]
        elif change == "cut":
            data = data[:at]
        else:
            data = data[:at] + data[at : at + value] + data[at:]
    return data


@fuzz
@given(streams(), damages, cuts)
def test_damaged_frames_are_echoed_up_to_the_fault_which_closes_with_its_code(server, data, changes, cuts):
    check(server, damage(data, changes), cuts)


def check(server, data, cuts):
    messages, pings, codes = read_stream(data)
    got_messages, got_pongs, code = talk(server, data, cuts)
    assert got_messages == messages
    assert got_pongs == pings[: len(got_pongs)] if 1007 in codes else got_pongs == pings
    assert code in codes


@fuzz
@given(st.binary(max_size=300), cuts)
def test_random_bytes_close_the_connection_as_the_specification_says(server, data, cuts):
    check(server, data, cuts)


def test_the_server_lives_after_all_this(server):
    data = frame(TEXT, b"still here") + frame(CLOSE, b"\x03\xe8")
    assert talk(server, data, []) == (["still here"], [], 1000)
