"""HAProxy with our configuration, in front of real workers: TLS, limits, two of them side by side, growing."""

import contextlib
import http.client
import json
import socket
import ssl
import time
from collections import Counter
from functools import partial

import pytest
import requests

from tests.kit.front import Front
from tests.kit.wire import Closed, Wire
from webfarm.run.programs import find_haproxy
from webfarm.testing import get_free_ports, get_status, is_alive, starting_processes, starting_workers, wait_until

pytestmark = pytest.mark.cluster

PREFIX = "front"


@pytest.fixture(scope="module")
def start_workers(redis_server):
    with starting_workers(redis_server.url) as start:
        yield partial(start, WEBFARM_PREFIX=PREFIX)


@pytest.fixture(scope="module")
def ranges(start_workers):
    """Two workers, as ``--server`` takes them."""
    ports = start_workers(2).ports
    return [f"127.0.0.1:{ports[0]}-{ports[-1]}"]


@pytest.fixture(scope="module")
def start_front(ranges, tmp_path_factory):
    """Starts HAProxies in front of the two workers."""
    with starting_processes(Front) as start:
        yield partial(start, tmp_path_factory.mktemp("front"), ranges)


def get_session(front, user=None):
    """Open a polling session; return its Engine.IO sid."""
    query = "" if user is None else f"&userId={user}"
    answer = requests.get(f"{front.url}/socket.io/?EIO=4&transport=polling{query}", timeout=10)
    return json.loads(answer.text[1:])["sid"]


def get_servers(front, count):
    return {user: get_session(front, user).partition(".")[0] for user in range(count)}


# TLS


@pytest.fixture(scope="module")
def tls(start_front, pem):
    return start_front(tls_cert=pem, http_bind=f"127.0.0.1:{get_free_ports()}")


def shake_hands(front, pem, **settings):
    """Return the protocol and the application's protocol that are agreed on."""
    context = ssl.create_default_context(cafile=pem)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.set_ciphers(settings.pop("ciphers", "ALL:@SECLEVEL=0"))
    for name, value in settings.items():
        setattr(context, name, value)
    plain = socket.create_connection(("127.0.0.1", front.port))
    with plain, context.wrap_socket(plain, server_hostname="localhost") as wrapped:
        return wrapped.version(), wrapped.selected_alpn_protocol()


def test_tls_is_modern_and_speaks_http_2(tls, pem):
    assert shake_hands(tls, pem) == ("TLSv1.3", "h2")
    old = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    assert shake_hands(tls, pem, **old) == ("TLSv1.2", "h2")
    assert shake_hands(tls, pem, **old, ciphers="ECDHE-RSA-CHACHA20-POLY1305") == ("TLSv1.2", "h2")
    for bad in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA:@SECLEVEL=0"):
        with pytest.raises(ssl.SSLError):
            shake_hands(tls, pem, **old, ciphers=bad)


def test_http_is_sent_on_to_https(tls, pem):
    plain = tls.options["http_bind"]
    path = "/demo?userId=a%20b"
    for host, name in (("example.org", "example.org"), ("example.org:80", "example.org"), ("[::1]:80", "[::1]")):
        answer = requests.post(f"http://{plain}{path}", headers={"Host": host}, allow_redirects=False, timeout=10)
        assert (answer.status_code, answer.headers["Location"]) == (308, f"https://{name}:{tls.port}{path}")
        assert "Strict-Transport-Security" not in answer.headers  # RFC 6797: over TLS alone
    assert requests.get(f"http://{plain}/healthz", verify=pem, timeout=10).url == f"{tls.url}/healthz"


def test_browsers_are_told_to_stay_with_https(tls, pem):
    for path, status in (("/", 200), ("/haproxy?stats", 200), ("/socket.io/?j=0", 403)):
        answer = requests.get(tls.url + path, verify=pem, timeout=10)
        assert (answer.status_code, answer.headers["Strict-Transport-Security"]) == (status, "max-age=63072000")


def test_the_worker_knows_that_the_browser_speaks_https(tls, pem):
    url = f"{tls.url}/socket.io/?EIO=4&transport=polling"
    for origin, status in ((tls.url, 200), (tls.url.replace("https", "http"), 400)):
        headers = {"Origin": origin, "X-Forwarded-Proto": "http"}
        assert requests.get(url, headers=headers, verify=pem, timeout=10).status_code == status


# Retention


def ask(front, source, text="GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"):
    """Return the status that an address of this machine gets, ``None`` if it is turned away."""
    with contextlib.suppress(ConnectionError), contextlib.ExitStack() as stack:
        address = ("127.0.0.1", front.port)
        wire = stack.enter_context(socket.create_connection(address, source_address=(source, 0), timeout=20))
        wire.sendall(text.encode())
        if answer := wire.recv(4096):
            return int(answer.split()[1])
    return None


def test_a_flood_of_connections_from_one_address_does_not_hurt_another(start_front):
    front = start_front(source_rate=5)
    flood = [ask(front, "127.0.0.2") for _ in range(50)]
    assert None in flood
    assert flood[:5] == [200] * 5
    assert [ask(front, "127.0.0.3") for _ in range(5)] == [200] * 5


def test_what_one_address_holds_open_is_bounded(start_front):
    front = start_front(source_connections=20, source_rate=0)
    with contextlib.ExitStack() as stack:

        def is_full():
            """Hold one more, as HAProxy's threads may take the next before the last; then ask."""
            address = ("127.0.0.1", front.port)
            stack.enter_context(socket.create_connection(address, source_address=("127.0.0.2", 0)))
            return ask(front, "127.0.0.2") is None

        assert not any(is_full() for _ in range(15))
        wait_until(is_full, "the limit")
        assert ask(front, "127.0.0.3") == 200
    wait_until(lambda: ask(front, "127.0.0.2") == 200, "room for another one")


@pytest.mark.parametrize(
    "headers", ["X: " + "x" * 20_000 + "\r\n", "".join(f"X-{i}: x\r\n" for i in range(200))], ids=["long", "many"]
)
def test_headers_without_measure_are_refused(front, headers):
    text = f"GET /healthz HTTP/1.1\r\nHost: a\r\n{headers}\r\n"
    assert ask(front, "127.0.0.1", text) in (400, 431)


@pytest.fixture(scope="module")
def front(start_front):
    return start_front()


def shorten(text):
    for line in ("timeout http-request 10s", "wait-for-body time 10s"):
        assert line in text
        text = text.replace(line, line.replace("10s", "1s"))
    return text


@pytest.mark.parametrize(
    "text",
    [
        "GET /healthz HTTP/1.1\r\nHost: a\r\n",
        "POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
    ],
    ids=["headers", "body"],
)
def test_a_slow_request_is_closed_in_time_and_others_go_on(start_front, text):
    front = start_front(edit=shorten)
    with contextlib.closing(Wire(front.url)) as slow:
        began = time.monotonic()
        slow.write(text.encode())
        with pytest.raises((Closed, OSError)):
            while time.monotonic() - began < 10:
                slow.write(b"X")
                with contextlib.suppress(TimeoutError):
                    status, _, _ = slow.read_response(0.1)
                    assert status == 408
                assert ask(front, "127.0.0.1") == 200
        assert time.monotonic() - began > 0.9


# Statistics


def test_statistics_are_for_this_machine_but_not_for_what_a_proxy_on_it_passes_on(front):
    url = f"{front.url}/haproxy?stats"
    assert requests.get(url, timeout=10).status_code == 200
    for auth in (None, ("admin", "")):
        headers = {"X-Forwarded-For": "203.0.113.5"}
        assert requests.get(url, headers=headers, auth=auth, timeout=10).status_code == 403


@pytest.mark.parametrize("path", ["/metrics", "/%6Detrics", "/metrics?a"])
def test_the_workers_figures_are_for_this_machine(front, path):
    assert "webfarm_connections" in requests.get(front.url + path, timeout=10).text
    elsewhere = {"X-Forwarded-For": "203.0.113.9"}
    assert requests.get(front.url + path, headers=elsewhere, timeout=10).status_code == 403


def test_statistics_are_for_the_admin_wherever_it_is(start_front):
    password = "p\u00e4ssword: long"
    front = start_front(admin_password=password)
    elsewhere = {"X-Forwarded-For": "203.0.113.5"}

    def get(user, text):
        auth = (user.encode(), text.encode())
        return requests.get(f"{front.url}/haproxy?stats;csv", headers=elsewhere, auth=auth, timeout=10).status_code

    assert get("admin", password) == 200
    assert get("admin", "password") == get("root", password) == 401
    answer = requests.get(f"{front.url}/haproxy?stats", headers=elsewhere, timeout=10)
    assert (answer.status_code, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")


def test_passwords_of_the_statistics_can_not_be_guessed_for_long(start_front):
    front = start_front(admin_password="right")
    elsewhere = {"X-Forwarded-For": "10.0.0.1"}

    def get(password):
        url = f"{front.url}/haproxy?stats"
        return requests.get(url, auth=("admin", password), headers=elsewhere, timeout=5).status_code

    assert get("right") == 200
    assert [get(f"guess {number}") for number in range(12)] == [401] * 10 + [429] * 2
    assert get("right") == 429
    assert requests.get(front.url + "/healthz", timeout=5).status_code == 200


# Who goes where


@pytest.fixture
def told(tmp_path, start):
    """Eight ports that answer with the name that HAProxy calls them by; as ``--server`` takes them."""
    first = get_free_ports(8)
    config = tmp_path / "told.cfg"
    answer = "http-request return status 200 content-type text/plain lf-string %[req.hdr(x-webfarm-server)]"
    config.write_text(f"listen told\n mode http\n timeout client 10s\n bind 127.0.0.1:{first}-{first + 7}\n {answer}\n")
    start(find_haproxy(), "-db", "-f", str(config))
    wait_until(lambda: get_status(f"http://127.0.0.1:{first + 7}/") == 200, "the ports")
    return f"127.0.0.1:{first}-{first + 7}"


def test_users_are_spread_evenly(told, tmp_path):
    counts = Counter()
    with starting_processes(Front) as start:
        connection = http.client.HTTPConnection("127.0.0.1", start(tmp_path, [told]).port, timeout=10)
        with contextlib.closing(connection):
            for user in range(2000):
                connection.request("GET", f"/?userId={user}")
                counts[connection.getresponse().read()] += 1
    assert len(counts) == 8
    assert all(215 < count < 285 for count in counts.values()), counts


def test_two_haproxies_send_a_user_to_the_same_worker(start_front, front):
    assert get_servers(front, 50) == get_servers(start_front(), 50)


def test_the_polls_of_one_session_may_alternate_between_two_haproxies(start_front, front):
    fronts = [front, start_front()]
    for user in range(4):
        sid = get_session(fronts[0], user)

        def send(number, method, data=None, sid=sid):
            url = f"{fronts[number % 2].url}/socket.io/?EIO=4&transport=polling&sid={sid}"
            answer = requests.request(method, url, data=data, timeout=10)
            assert answer.status_code == 200, answer.text
            return answer.text

        send(1, "POST", "40")
        assert send(2, "GET").startswith("40")
        for number in range(20):
            send(number, "POST", f'42{number}["who",{{}}]')
            while f"43{number}[" not in send(number + 1, "GET"):
                pass


def test_a_machine_is_added_and_nobody_who_is_connected_moves(start_front, start_workers, ranges, node):
    """The new machine is reached over IPv6."""
    front = start_front()
    before = get_servers(front, 100)
    kinds = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}
    clients = {f"{kind} {user}": transports for kind, transports in kinds.items() for user in range(2)}
    for name, transports in clients.items():
        node.connect(name, front.url, query={"userId": name[-1]}, transports=transports)
    new = start_workers(2, ready=False, WEBFARM_HOST="::1")
    for port in new.ports:
        wait_until(lambda port=port: is_ready_at(port), f"the worker on [::1]:{port}")
    front.reload([*ranges, f"[::1]:{new.ports[0]}-{new.ports[-1]}"])
    after = get_servers(front, 100)
    moved = {user: server for user, server in after.items() if server != before[user]}
    assert set(moved.values()) == {"webserver03", "webserver04"}
    assert len(moved) < 80
    node.connect("new", front.url, query={"userId": str(min(moved))})
    for name in clients:
        assert node.call(name, "privateMessage", {"toUser": str(min(moved)), "from": name})["ok"]
    assert {data["from"] for data, _ in node.wait_for("new", "privateMessage", len(clients))} == set(clients)
    for name in clients:
        assert node.get(name, "disconnect") == []


def test_an_old_process_serves_on_after_a_reload_but_not_for_ever(start_front, ranges, node):
    def edit(text):
        assert "hard-stop-after 24h" in text
        return text.replace("hard-stop-after 24h", "hard-stop-after 5s")

    front = start_front(edit=edit)
    first = node.connect("a", front.url, transports=["websocket"])
    [old] = front.find_listening()
    front.reload(ranges)
    assert node.call("a", "message", "to the old one")["ok"]
    assert node.get("a", "disconnect") == []
    wait_until(lambda: not is_alive(old), "the end of the old process")
    again = node.wait_for("a", "connect", 2)[-1]
    assert again["recovered"]
    assert again["sid"] == first["sid"]


def is_ready_at(port):
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"http://[::1]:{port}/readyz", timeout=3).status_code == 200
