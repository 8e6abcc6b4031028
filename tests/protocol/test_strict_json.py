"""What is read is written back unchanged; what is no JSON is refused, in and out."""

import json

import pytest

from webfarm.protocol import strict_json


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[1,1.5,-0.0,1e-07,true,null,""]}',
        '"grüße 🎈"',
        '"\\ud800"',
        '"\\u0000"',
        "12345678901234567890123",
        "[18446744073709551615,18446744073709551616,-9223372036854775809,9999999999999999999]",
        "[0.1234567890123456789012345,1e22,-0]",
        '{"a":1,"a":[2]}',
        '{"":{}}',
    ],
)
def test_round_trip(text):
    value = json.loads(text)
    assert strict_json.loads(text) == value
    assert json.loads(strict_json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "1e999", "[-1e999,1234567890123456789]", "1" * 101, "{", ""]
)
def test_no_json_is_refused(text):
    with pytest.raises(ValueError):
        strict_json.loads(text)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": [None, "null", -float("inf")]}])
def test_what_json_cannot_say_is_not_written(value):
    with pytest.raises(ValueError):
        strict_json.dumps(value)


def test_text_beyond_ascii_is_not_blown_up():
    assert strict_json.dumps("ü") == '"ü"'
