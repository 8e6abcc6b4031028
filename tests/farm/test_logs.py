"""A log line is one event, its fields by name; no client can write one of its own."""

import json
import logging
import os
import re

import pytest

from tests.kit.paths import ROOT
from webfarm import logs
from webfarm.testing import starting_workers

DOCUMENTED = {
    event: set(re.findall(r"`(\w+)`", fields)) | {"node", "process"}
    for events, fields in re.findall(r"^\| (`.+`) \| (?:info|warning) \| (.*) \|$", (ROOT / "docs/metrics.md").read_text(), re.M)
    for event in re.findall(r"`([^`]+)`", events)
}  # fmt: skip
STANDARD = {"asctime", "levelname", "name", "message"}


@pytest.fixture(autouse=True)
def node_name(monkeypatch):
    monkeypatch.setattr(logs, "_process", {})
    logs.set_node("here:3001")


def render(formatter, msg, *args, exc_info=None, **extra):
    record = logging.getLogger("x").makeRecord("x", logging.INFO, "f.py", 1, msg, args, exc_info, extra=extra)
    return formatter.format(record)


def render_text(msg, *args, **extra):
    """Return a line without its time and process."""
    line = render(logs.TextFormatter(), msg, *args, **extra)
    return re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", "", line).rpartition(" process=")[0]


def test_fields_stand_behind_the_text():
    line = render_text("connect", sid="a.b-c_d", user="anna", recovered=False, number=3, empty="")
    assert line == "INFO x: connect sid=a.b-c_d user=anna recovered=false number=3 empty='' node=here:3001"


FORGED = [
    "a\n2026-01-01 INFO x: connect",
    "a\r\nb",
    "a\x1b[2Kb",
    "a\u2028b",
    "a\x85b",
    "a b=c",
    "a' user='b",
    "\u202eb",
]


@pytest.mark.parametrize("value", FORGED, ids=ascii)
def test_no_value_can_end_its_line_or_look_like_another_field(value):
    line = render_text("connect", user=value)
    assert line == f"INFO x: connect user={value!a} node=here:3001"
    assert line.isprintable() and line.isascii()


@pytest.mark.parametrize("value", FORGED[:5], ids=ascii)
def test_nor_can_what_stands_in_the_text(value):
    line = render_text("failed: %s", value)
    assert line.isprintable() and len(line.splitlines()) == 1


def test_the_lines_of_a_traceback_are_indented():
    try:
        raise ValueError("a\n2026-01-01 INFO x: connect")
    except ValueError as error:
        text = render(logs.TextFormatter(), "failed", exc_info=(ValueError, error, error.__traceback__))
    first, *others = text.splitlines()
    assert " failed " in first and len(others) >= 4
    assert all(line.startswith("  ") for line in others)


def test_json_has_each_field_as_a_key():
    line = render(logs.JSONFormatter(), "connect", sid="a", user="a\nb", recovered=False)
    fields = json.loads(line)
    assert (fields["message"], fields["sid"], fields["user"], fields["recovered"]) == ("connect", "a", "a\nb", False)
    assert fields["node"] == "here:3001" and fields["process"] and "\n" not in line


def test_the_journal_is_told_how_bad_a_line_is(monkeypatch):
    """Each line, so that ``journalctl -p`` finds the whole traceback; nobody else is."""
    stderr = os.fstat(2)
    found = []
    for stream in ("1:1", f"{stderr.st_dev}:{stderr.st_ino}"):
        monkeypatch.setenv("JOURNAL_STREAM", stream)
        record = logging.makeLogRecord({"levelno": logging.ERROR, "msg": "a", "exc_text": "  b"})
        found.append(logs.StderrHandler().format(record))
    assert found == ["a\n  b", "<3>a\n<3>  b"]


def test_what_befalls_clients_is_logged_with_the_documented_fields(redis_server, node):
    """All of it from one worker: connects, refusals, a rate limit, a drain."""
    with starting_workers(redis_server.url) as start_workers:
        process = start_workers(1, WEBFARM_LOG_FORMAT="json", WEBFARM_RATE_LIMIT="2")
        url = process.urls[0]
        a = node.connect("a", url, query={"userId": "anna"}, transports=["websocket"])
        node.open("b", url, query={"userId": "x" * 200})
        node.wait_for("b", "connect_error")
        for _ in range(6):
            node.call("a", "leave", {"room": "none"})
        node.close("a")
        node.connect("c", url, query={"userId": "carl"})
        process.close()
        lines = [json.loads(line) for line in process.lines]
    found = {line["message"]: line for line in lines if line["message"] in DOCUMENTED}
    assert found.keys() >= {"connect", "disconnect", "connect refused", "event refused", "drain begins", "drain ends"}
    for message, line in found.items():
        assert line.keys() - STANDARD <= DOCUMENTED[message], message
    first = next(line for line in lines if line["message"] == "connect")
    who = {"sid", "user", "address", "connection", "node", "process"}
    assert first.keys() - STANDARD == who | {"transport", "recovered"}
    assert (first["sid"], first["user"], first["address"]) == (a["sid"], "anna", "127.0.0.1")
    assert (first["transport"], first["recovered"]) == ("websocket", False)
    assert first["node"].endswith(f":{process.ports[0]}")
    last = next(line for line in lines if line["message"] == "disconnect")
    assert (last["user"], last["reason"]) == ("anna", "client disconnect")
    assert found["connect refused"]["code"] == "bad_request"
    assert found["event refused"]["code"] == "rate_limited" and found["event refused"]["user"] == "anna"
    assert found["drain begins"]["clients"] == 1


def test_a_log_of_all_packets_takes_what_is_none(redis_server, raw_client):
    """Its sender is closed as without that log, and nothing is a traceback."""
    with starting_workers(redis_server.url) as start_workers:
        process = start_workers(1, WEBFARM_LOG_LEVEL="debug")
        for packet in ("9x", "\xb2", "", "x"):
            client = raw_client(process.urls[0])
            client.send(packet)
            assert client.receive_until_closed(5), packet
            client.close()
        process.close()
        assert "Traceback" not in process.output
