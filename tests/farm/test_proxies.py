"""Who sent a request, and from which site, behind proxies and without: by the headers, and over both transports."""

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from webfarm.testing import starting_farm, starting_workers
from webfarm.web.proxies import TrustedProxies


def see(address, trusted=("127.0.0.1/32", "10.0.0.0/8"), **headers):
    """Return address, scheme and host as an application sees them, and what else it is told."""
    seen = {}
    app = TrustedProxies(lambda environ, start_response: seen.update(environ) or [], trusted)
    environ = {f"HTTP_X_FORWARDED_{name.upper()}": value for name, value in headers.items()}
    app({"REMOTE_ADDR": address, "wsgi.url_scheme": "http", "HTTP_HOST": "here:3001", **environ}, None)
    assert not any("FORWARDED" in name for name in seen)
    return seen["REMOTE_ADDR"], seen["wsgi.url_scheme"], seen["HTTP_HOST"]


@pytest.mark.parametrize(
    ("address", "headers", "expected"),
    [
        ("127.0.0.1", {}, ("127.0.0.1", "http", "here:3001")),
        ("127.0.0.1", {"for": "1.2.3.4", "proto": "https", "host": "chat.example"}, ("1.2.3.4", "https", "here:3001")),
        ("::ffff:127.0.0.1", {"for": "::1"}, ("::1", "http", "here:3001")),
        ("127.0.0.1", {"for": "6.6.6.6, 1.2.3.4, 10.1.1.1"}, ("1.2.3.4", "http", "here:3001")),
        ("127.0.0.1", {"for": "10.1.1.1, 10.1.1.2"}, ("10.1.1.1", "http", "here:3001")),
        ("127.0.0.1", {"for": "1.2.3.4, nonsense"}, ("127.0.0.1", "http", "here:3001")),
        ("127.0.0.1", {"proto": "https, http"}, ("127.0.0.1", "https", "here:3001")),
        ("127.0.0.1", {"proto": "wss"}, ("127.0.0.1", "https", "here:3001")),
        ("127.0.0.1", {"proto": "gopher"}, ("127.0.0.1", "http", "here:3001")),
        ("1.2.3.4", {"for": "5.6.7.8", "proto": "https", "host": "chat.example"}, ("1.2.3.4", "http", "here:3001")),
        ("", {"for": "5.6.7.8"}, ("", "http", "here:3001")),
    ],
)  # fmt: skip
def test_only_trusted_proxies_are_believed(address, headers, expected):
    assert see(address, **headers) == expected


def get_polling_status(url, **headers):
    return requests.get(f"{url}/socket.io/?EIO=4&transport=polling", headers=headers, timeout=10).status_code


def get_websocket_status(url, **headers):
    address = url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    try:
        with connect(address, additional_headers=headers):
            return 200
    except InvalidStatus as error:
        return error.response.status_code


TRANSPORTS = pytest.mark.parametrize("get", [get_polling_status, get_websocket_status], ids=["polling", "websocket"])


@pytest.fixture(scope="module")
def site(redis_server, tmp_path_factory):
    with starting_farm(redis_server.url, tmp_path_factory.mktemp("haproxy")) as start_farm:
        yield start_farm(1)


@pytest.mark.cluster
@TRANSPORTS
def test_behind_haproxy_a_page_of_the_same_site_is_let_in_and_another_is_not(site, get):
    assert get(site.url) == 200
    assert get(site.url, Origin=site.url) == 200
    for origin in (
        "https://evil.example",
        site.workers.urls[0],
        site.url + "0",
        site.url.replace("http", "https"),
        "null",
    ):
        assert get(site.url, Origin=origin) == 400, origin


@pytest.mark.cluster
@TRANSPORTS
def test_the_scheme_that_a_trusted_proxy_tells_is_the_browsers(site, get):
    [url] = site.workers.urls
    headers = {"X-Forwarded-Proto": "https"}
    assert get(url, Origin=url.replace("http", "https"), **headers) == 200
    assert get(url, Origin=url, **headers) == 400


@pytest.mark.cluster
@TRANSPORTS
def test_haproxy_passes_on_no_scheme_that_a_client_made_up(site, get):
    headers = {"X-Forwarded-Proto": "https"}
    assert get(site.url, Origin=site.url, **headers) == 200
    assert get(site.url, Origin=site.url.replace("http", "https"), **headers) == 400


@pytest.mark.cluster
@TRANSPORTS
def test_a_host_that_a_client_makes_up_is_not_believed_behind_haproxy(site, get):
    headers = {"X-Forwarded-Host": "evil.example"}
    assert get(site.url, Origin="http://evil.example", **headers) == 400
    assert get(site.url, Origin=site.url, **headers) == 200


@pytest.mark.cluster
def test_the_log_has_the_clients_address(site, node):
    socket = node.connect("a", site.url, extraHeaders={"X-Forwarded-For": "6.6.6.6, 7.7.7.7"})
    assert "address=7.7.7.7 " in site.workers.wait_for_line(f"connect sid={socket['sid']}")


@pytest.fixture(scope="module")
def start_workers(redis_server):
    with starting_workers(redis_server.url) as start:
        yield start


@pytest.fixture(scope="module")
def listed(start_workers):
    return start_workers(
        1, WEBFARM_ALLOWED_ORIGINS="https://a.example,http://b.example:8080", WEBFARM_TRUSTED_PROXIES="10.0.0.0/8"
    )


@TRANSPORTS
def test_a_list_of_origins_is_all_that_is_let_in(listed, get):
    [url] = listed.urls
    for origin in ("https://a.example", "http://b.example:8080"):
        assert get(url, Origin=origin) == 200
    for origin in ("http://a.example", "http://b.example", "https://a.example.evil.example", "null", url):
        assert get(url, Origin=origin) == 400, origin


@pytest.fixture(scope="module")
def untrusting(start_workers):
    return start_workers(1, WEBFARM_TRUSTED_PROXIES="10.0.0.0/8")


@TRANSPORTS
def test_who_is_no_trusted_proxy_is_not_believed(untrusting, get):
    [url] = untrusting.urls
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    assert get(url, Origin="https://evil.example", **headers) == 400
    assert get(url, Origin=url, **headers) == 200


@pytest.fixture(scope="module")
def open_to_all(start_workers):
    return start_workers(1, WEBFARM_ALLOWED_ORIGINS="*")


@TRANSPORTS
def test_a_star_lets_all_in(open_to_all, get):
    [url] = open_to_all.urls
    assert get(url, Origin="https://anywhere.example") == get(url, Origin="null") == 200


def test_a_browser_is_told_that_another_site_may_read_only_if_it_may(listed):
    url = f"{listed.urls[0]}/socket.io/?EIO=4&transport=polling"
    allowed = requests.options(url, headers={"Origin": "https://a.example"}, timeout=10)
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://a.example"
    refused = requests.options(url, headers={"Origin": "https://evil.example"}, timeout=10)
    assert refused.status_code == 400
    assert "Access-Control-Allow-Origin" not in refused.headers
