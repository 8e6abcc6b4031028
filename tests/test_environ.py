"""What is kept of an environment, and what is made of it again."""

import io
import tracemalloc
from wsgiref.validate import check_environ

from chat.realtime import environ as environs

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


def test_it_is_a_wsgi_environment_again():
    check_environ(environs.unpack(environs.pack(REQUEST)))


def test_it_costs_little_more_than_its_characters():
    characters = sum(len(key) + len(value) for key, value in REQUEST.items())
    tracemalloc.start()
    try:
        kept = [environs.pack(REQUEST) for _ in range(100)]
        assert tracemalloc.get_traced_memory()[0] / len(kept) < characters + 300
    finally:
        tracemalloc.stop()
