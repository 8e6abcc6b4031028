"""What is kept of an environment, and what is made of it again."""

import io
import tracemalloc
from wsgiref.validate import check_environ

import pytest

from webfarm.http import environ as environs

REQUEST = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/socket.io/",
    "QUERY_STRING": "EIO=4&transport=websocket&userId=a%3Db=c",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "3001",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "wsgi.url_scheme": "http",
    "HTTP_COOKIE": "a=1; b=2",
    "HTTP_EMPTY": "",
    "HTTP_X": "grüße=\xff",
}


def test_all_texts_survive():
    assert REQUEST.items() <= environs.unpack(environs.pack(REQUEST)).items()


def test_what_an_application_put_there_survives():
    put = {"flask.app": object(), "n": 5, "user": "anna", "PATH_INFO": "/a\0b"}
    assert put.items() <= environs.unpack(environs.pack(REQUEST | put)).items()


def test_nothing_of_the_connection_survives():
    given = {
        "wsgi.input": io.BytesIO(b"x"),
        "wsgi.errors": object(),
        "webfarm.upgrade": print,
        "gunicorn.sock": object(),
    }
    kept = environs.unpack(environs.pack(environs.strip(REQUEST | given)))
    assert kept["wsgi.input"].read() == b""
    assert not {"webfarm.upgrade", "gunicorn.sock"} & set(kept)


def test_what_middleware_put_there_survives():
    user = object()
    assert environs.strip(REQUEST | {"app.user": user})["app.user"] is user


def test_it_is_a_wsgi_environment_before_and_after():
    check_environ(environs.strip(REQUEST))
    check_environ(environs.unpack(environs.pack(REQUEST)))


def test_whoever_reads_one_gets_a_dict_that_may_be_changed():
    kept = environs.Environs()
    kept["e0"] = environs.strip(REQUEST)
    kept.pack("e0")
    kept["e0"]["n"] = 5
    kept.pack("e0")
    kept.pack("gone")
    assert type(kept.get("e0")) is dict
    assert REQUEST.items() <= dict(kept)["e0"].items()
    assert kept["e0"]["n"] == 5
    assert "gone" not in kept and kept.get("gone") is None
    del kept["e0"]
    assert len(kept) == 0


def test_it_costs_little_more_than_its_characters():
    characters = sum(len(key) + len(value) for key, value in REQUEST.items())
    tracemalloc.start()
    try:
        kept = [environs.pack(environs.strip(REQUEST)) for _ in range(100)]
        assert tracemalloc.get_traced_memory()[0] / len(kept) < characters + 300
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("address", ["10.0.0.1", "a\0b"], ids=["packed", "kept as it is"])
def test_one_text_can_be_had_before_and_after_it_was_packed(address):
    """No other text is taken for it, whatever a client has written there."""
    kept = environs.Environs()
    kept["a"] = {"HTTP_X": "REMOTE_ADDR=6.6.6.6", "REMOTE_ADDR": address, "wsgi.errors": None}
    for _ in range(2):
        assert kept.get_text("a", "REMOTE_ADDR") == address
        assert kept.get_text("a", "ADDR") == kept.get_text("nobody", "REMOTE_ADDR") == ""
        kept.pack("a")
