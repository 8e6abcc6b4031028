"""From a handshake to a user, or a refusal: by itself, and on the wire."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
import redis

from tests.kit.clients import SECRET, Client, get_refusals, opening
from tests.kit.offsets import get_keys
from webfarm.auth import Identity, authenticate, create_token
from webfarm.errors import BadRequest, Unauthorized
from webfarm.socketio.identity import create_guest
from webfarm.testing import starting_workers, wait_until


def environ(query=""):
    return {"QUERY_STRING": query}


def test_open_mode_believes_the_query():
    assert authenticate(environ("EIO=4&userId=anna%20b"), None, None) == Identity("anna b")


def test_without_user_id_one_is_a_guest_of_ones_own():
    assert authenticate(environ(), None, None).user is None
    first, second = create_guest(), create_guest()
    assert first != second
    assert first.startswith("guest-")


BAD_USER_IDS = ["", "1&userId=2", "a%0Ab", "%7F", "x" * 129, "x" * 10_000]


@pytest.mark.parametrize("user_id", BAD_USER_IDS)
def test_a_bad_user_id_is_refused(user_id):
    with pytest.raises(BadRequest, match="userId must be given once"):
        authenticate(environ(f"userId={user_id}"), None, None)


def test_the_tokens_sub_is_the_user_and_its_exp_the_end():
    auth = {"token": token(exp=4_000_000_000, rooms=["private:a"])}
    expected = Identity("anna", 4_000_000_000, ("private:a",))
    assert authenticate(environ(), auth, SECRET) == expected
    assert authenticate(environ("userId=anna"), auth, SECRET) == expected


def test_another_users_id_beside_ones_own_token_is_refused():
    with pytest.raises(Unauthorized, match="not the token's user"):
        authenticate(environ("userId=bob"), {"token": create_token("anna", SECRET, 60)}, SECRET)


def token(key=SECRET, algorithm="HS256", **claims):
    claims = {"sub": "anna", "exp": time.time() + 60} | claims
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm=algorithm)


REFUSED = {
    "nothing": None,
    "a text": "text",
    "an empty object": {},
    "a number": {"token": 5},
    "a list": {"token": [token()]},
    "no token": {"token": "a.b.c"},
    "100 KB": {"token": "x" * 100_000},
    "100 KB, signed": {"token": token(more="x" * 100_000)},
    "a lone surrogate": {"token": "\ud800"},
    "another key": {"token": token(key="t" * 64)},
    "a signature cut off": {"token": token().rpartition(".")[0] + "."},
    "alg none": {"token": token(key="", algorithm="none")},
    "alg HS384": {"token": token(algorithm="HS384")},
    "alg HS512": {"token": token(algorithm="HS512")},
    "expired": {"token": token(exp=time.time() - 1)},
    "not yet valid": {"token": token(nbf=time.time() + 60)},
    "no exp": {"token": token(exp=None)},
    "an exp that is no number": {"token": token(exp="tomorrow")},
    "an endless exp": {"token": token(exp=float("inf"))},
    "an exp beyond all numbers": {"token": token(exp=10**400)},
    "no sub": {"token": token(sub=None)},
    "an empty sub": {"token": token(sub="")},
    "a sub with a control character": {"token": token(sub="a\nb")},
    "a sub that is too long": {"token": token(sub="x" * 129)},
    "rooms that are no list": {"token": token(rooms="private:a")},
    "rooms that are no names": {"token": token(rooms=[5])},
}


@pytest.mark.parametrize("auth", REFUSED.values(), ids=REFUSED)
def test_a_missing_bad_or_expired_token_is_refused(auth):
    with pytest.raises(Unauthorized):
        authenticate(environ(), auth, SECRET)


# On the wire


@pytest.fixture(scope="module")
def secret_workers(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX="auth", WEBFARM_SECRET=SECRET, WEBFARM_MAX_CONNECTIONS_PER_USER="20")


@pytest.fixture
def client(secret_workers):
    """Opens clients, which end with the test."""
    with opening(Client) as open_any:
        yield lambda worker=0, *args, **auth: open_any(secret_workers.urls[worker], *args, **auth)


def refuse(raw_client, url, auth, query=""):
    """Join with ``auth``; return the refusal's data."""
    raw = raw_client(url, join=False, query=query)
    raw.send("40" if auth is None else "40" + json.dumps(auth))
    text = raw.receive()
    assert text.startswith("44"), text
    return json.loads(text[2:])["data"]


def test_who_is_refused_is_told_why_and_leaves_nothing_behind(secret_workers, redis_server, raw_client):
    url = secret_workers.urls[0]
    with redis.Redis.from_url(redis_server.url) as server:
        before = sorted(server.scan_iter("{auth:*}:session*"))
        started = time.monotonic()
        for auth in REFUSED.values():
            if not isinstance(auth, str):  # which is no packet at all
                assert refuse(raw_client, url, auth)["code"] == "unauthorized"
        for user_id in BAD_USER_IDS:  # of which HTTP lets 8 KB through
            assert refuse(raw_client, url, {"token": token()}, f"&userId={user_id[:7000]}")["code"] == "bad_request"
        assert refuse(raw_client, url, {"token": token()}, "&userId=bob")["code"] == "unauthorized"
        assert time.monotonic() - started < 10
        assert sorted(server.scan_iter("{auth:*}:session*")) == before
    assert "connect sid=" not in secret_workers.output
    for part in (SECRET, token().partition(".")[0], "x" * 100):
        assert part not in secret_workers.output


def test_a_token_that_expires_ends_its_connections_on_every_node_and_their_sessions(secret_workers, client):
    short = token(exp=time.time() + 3, sub="carol")
    clients = [client(worker, token=short) for worker in (0, 1)]
    stays = client(0, token=token(sub="dave"))
    for one in clients:
        one.get(1, "disconnect")
    before = get_refusals(secret_workers.urls[0]).get("unknown", 0)
    again = client(0, token=token(sub="carol"), pid=clients[0].pid)
    assert again.sid != clients[0].sid
    assert get_refusals(secret_workers.urls[0])["unknown"] == before + 1
    assert stays.call("leave", {"room": "none"})["ok"]


def test_a_session_expires_also_while_its_client_is_away(secret_workers, redis_server, client):
    exp = time.time() + 2
    away = client(0, token=token(exp=exp, sub="erin"))
    away.cut()
    secret_workers.wait_for_line(f"disconnect sid={away.sid}")
    with redis.Redis.from_url(redis_server.url) as server:
        wait_until(lambda: not server.exists(get_keys("auth", away.sid).session(away.sid)), "the session's end")
    assert exp <= time.time() < exp + 2
    again = client(1, token=token(sub="erin"), pid=away.pid)
    assert again.sid != away.sid


def test_who_comes_back_with_a_newer_token_stays_as_long_as_that_is_valid(client):
    exp = time.time() + 2
    first = client(0, token=token(exp=exp, sub="fred"))
    first.cut()
    again = client(1, token=token(exp=exp + 2, sub="fred"), pid=first.pid)
    assert again.sid == first.sid
    again.get(1, "disconnect")
    assert time.time() >= exp + 2


def test_who_comes_back_with_an_expired_token_is_refused(secret_workers, client, raw_client):
    first = client(0, token=token(sub="gina"))
    first.cut()
    auth = {"token": token(exp=time.time() - 1, sub="gina"), "pid": first.pid}
    assert refuse(raw_client, secret_workers.urls[1], auth)["code"] == "unauthorized"


def test_no_log_has_a_token_or_a_pid_at_any_level(redis_server, node, raw_client):
    secret = token(sub="jane")
    with starting_workers(redis_server.url) as start_workers:
        workers = start_workers(1, WEBFARM_SECRET=SECRET, WEBFARM_LOG_LEVEL="debug")
        for transports in (["websocket"], ["polling", "websocket"]):
            name = "-".join(transports)
            node.connect(name, workers.urls[0], auth={"token": secret}, transports=transports)
            assert node.call(name, "leave", {"room": "none"})["ok"]
        client = Client(workers.urls[0], token=secret)
        client.stack.close()
        workers.wait_for_line("Received packet MESSAGE data 0<hidden>")
        for packet in (f'40["{secret}"]', f'40/other,"{secret}"'):  # not where a token belongs
            assert raw_client(workers.urls[0], join=False).send(packet) is None
        workers.wait_for_line("Received packet MESSAGE data 0/other,<hidden>")
        for text in (secret, secret.rpartition(".")[2], client.pid, SECRET):
            assert text not in workers.output


def test_of_21_connections_at_once_20_are_let_in(secret_workers, redis_server, client, raw_client):
    auth = {"token": token(sub="hugo")}

    def join(number):
        raw = raw_client(secret_workers.urls[number % 2], join=False)
        raw.send("40" + json.dumps(auth))
        text = raw.receive()
        return raw, json.loads(text[2:]).get("data", {}).get("code", "in")

    with ThreadPoolExecutor(21) as pool:
        joined = list(pool.map(join, range(21)))
    assert sorted(code for _, code in joined) == ["in"] * 20 + ["too_many_connections"]
    with redis.Redis.from_url(redis_server.url) as server:
        assert server.zcard(get_keys("auth", "hugo").user_sessions("/", "hugo")) == 20
    next(raw for raw, code in joined if code == "in").close()

    def is_let_in():
        return join(0)[1] == "in"

    wait_until(is_let_in, "room for another")
    assert join(1)[1] == "too_many_connections"


def test_who_comes_back_is_not_refused_for_the_connection_that_it_has_lost(client):
    """Nobody has noticed its end yet."""
    auth = {"token": token(sub="iris")}
    clients = [client(number % 2, **auth) for number in range(20)]
    for worker in (0, 1):
        assert client(worker, pid=clients[worker].pid, **auth).sid == clients[worker].sid


def test_who_went_away_to_connect_again_can_not_come_back_as_well(secret_workers, redis_server, client, raw_client):
    auth = {"token": token(sub="kate")}
    first = client(0, **auth)
    first.cut()
    secret_workers.wait_for_line(f"disconnect sid={first.sid}")
    others = [client(number % 2, **auth) for number in range(20)]
    assert refuse(raw_client, secret_workers.urls[1], auth | {"pid": first.pid})["code"] == "too_many_connections"
    assert get_refusals(secret_workers.urls[1])["full"] == 1
    others[0].socket.send("41")  # goodbye
    key = get_keys("auth", others[0].sid).session(others[0].sid)
    with redis.Redis.from_url(redis_server.url) as server:
        wait_until(lambda: not server.hexists(key, "pid"), "the session's end")
    assert client(1, pid=first.pid, **auth).sid == first.sid


def test_what_a_killed_worker_held_is_not_counted(redis_server, raw_client):
    """Its lease has ended, though its sessions could still be resumed."""
    with starting_workers(redis_server.url) as start_workers:
        workers = start_workers(2, WEBFARM_PREFIX="killed", WEBFARM_MAX_CONNECTIONS_PER_USER="2")

        def join(worker):
            raw = raw_client(workers.urls[worker], join=False, query="&userId=anna")
            raw.send("40")
            return raw.receive()

        assert all(join(0).startswith("40") for _ in range(2))
        assert "too_many_connections" in join(1)
        os.kill(workers.get_worker(workers.ports[0]), signal.SIGKILL)
        wait_until(lambda: join(1).startswith("40"), "the lease's end", 15)
