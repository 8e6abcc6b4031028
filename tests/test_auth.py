"""From a handshake to a user, or a refusal."""

import time

import jwt
import pytest

from chat.auth import authenticate, create_guest, create_token
from chat.errors import BadRequest, Unauthorized

SECRET = "s" * 32


def environ(query=""):
    return {"QUERY_STRING": query}


def test_open_mode_believes_the_query():
    assert authenticate(environ("EIO=4&userId=anna%20b"), None, None) == "anna b"


def test_without_user_id_one_is_a_guest_of_ones_own():
    assert authenticate(environ(), None, None) is None
    first, second = create_guest(), create_guest()
    assert first != second
    assert first.startswith("guest-")


@pytest.mark.parametrize("query", ["userId=", "userId=1&userId=2", "userId=a%0Ab", "userId=%7F", "userId=" + "x" * 129])
def test_a_bad_user_id_is_refused(query):
    with pytest.raises(BadRequest, match="userId must be given once"):
        authenticate(environ(query), None, None)


def test_the_tokens_sub_is_the_user():
    auth = {"token": create_token("anna", SECRET, 60)}
    assert authenticate(environ(), auth, SECRET) == "anna"
    assert authenticate(environ("userId=anna"), auth, SECRET) == "anna"


def test_another_users_id_beside_ones_own_token_is_refused():
    with pytest.raises(Unauthorized, match="not the token's user"):
        authenticate(environ("userId=bob"), {"token": create_token("anna", SECRET, 60)}, SECRET)


def token(key=SECRET, algorithm="HS256", **claims):
    return jwt.encode({"sub": "anna", "exp": time.time() + 60} | claims, key, algorithm=algorithm)


@pytest.mark.parametrize(
    "auth",
    [
        None,
        "text",
        {},
        {"token": 5},
        {"token": "x" * 100_000},
        {"token": "\ud800"},
        {"token": token(key="t" * 32)},
        {"token": token(key="", algorithm="none")},
        {"token": token(key="s" * 64, algorithm="HS512")},
        {"token": token(exp=time.time() - 1)},
        {"token": token(nbf=time.time() + 60)},
        {"token": token(sub="")},
        {"token": jwt.encode({"sub": "anna"}, SECRET)},
        {"token": jwt.encode({"exp": time.time() + 60}, SECRET)},
    ],
)
def test_a_missing_bad_or_expired_token_is_refused(auth):
    with pytest.raises(Unauthorized):
        authenticate(environ(), auth, SECRET)
