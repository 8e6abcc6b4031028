"""The admin's password: who guesses it, and what stands for it."""

import time

import jwt
import pytest

from webfarm.errors import RateLimited, Unauthorized
from webfarm.web.admin_auth import AdminAuth

PASSWORD = "a password"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def auth(clock):
    return AdminAuth(PASSWORD, "chat", clock)


def guess(auth, count, address="192.0.2.1"):
    for _ in range(count):
        with pytest.raises(Unauthorized):
            auth.check("admin", "wrong", address)


def test_ten_guesses_then_one_every_six_seconds(auth, clock):
    guess(auth, 10)
    with pytest.raises(RateLimited):
        auth.check("admin", PASSWORD, "192.0.2.1")
    clock.now += 6.1
    guess(auth, 1)
    with pytest.raises(RateLimited):
        auth.check("admin", PASSWORD, "192.0.2.1")
    clock.now += 6.1
    auth.check("admin", PASSWORD, "192.0.2.1")


def test_who_knows_it_is_never_limited(auth):
    for _ in range(50):
        auth.check("admin", PASSWORD, "192.0.2.1")


def test_each_address_guesses_for_itself_and_a_network_of_ipv6_is_one(auth):
    guess(auth, 10)
    auth.check("admin", PASSWORD, "192.0.2.2")
    guess(auth, 10, "2001:db8::1")
    with pytest.raises(RateLimited):
        auth.check("admin", PASSWORD, "2001:db8::2")
    auth.check("admin", PASSWORD, "2001:db8:0:1::1")


def test_an_address_of_ipv4_is_one_also_where_ipv6_is_spoken(auth):
    guess(auth, 10, "::ffff:192.0.2.1")
    auth.check("admin", PASSWORD, "::ffff:192.0.2.2")
    with pytest.raises(RateLimited):
        auth.check("admin", PASSWORD, "192.0.2.1")


def test_what_is_no_text_is_no_guess(auth):
    for user, password in ((None, None), ("admin", None), ("admin", [PASSWORD]), (1, PASSWORD)):
        for _ in range(20):
            with pytest.raises(Unauthorized):
                auth.check(user, password, "192.0.2.1")
    auth.check("admin", PASSWORD, "192.0.2.1")


def test_a_session_is_of_this_password_and_this_farm(auth):
    session = auth.create_session()
    assert AdminAuth(PASSWORD, "chat").is_session(session)
    assert not AdminAuth("another", "chat").is_session(session)
    assert not AdminAuth(PASSWORD, "other").is_session(session)


@pytest.mark.parametrize("token", [None, 1, "", "a.b.c", b"\xff", [], {}, "\ud800"])
def test_what_is_no_session_is_none(auth, token):
    assert not auth.is_session(token)


def test_a_session_expires(auth, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 13 * 3600)
    session = auth.create_session()
    assert jwt.decode(session, options={"verify_signature": False})["sub"] == "admin"
    assert not auth.is_session(session)
