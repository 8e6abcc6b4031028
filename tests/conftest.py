"""Fixtures: those of ``webfarm.testing``, and the ones that only this project's own tests need.

- A test lies in ``tests/<wing>/test_<module>.py``. The tests of ``IN_PROCESS`` start no worker and run in one process.
- ``tests/farm/`` starts workers, HAProxy, hosts and systemd; ``tests/chat/`` tests the app; ``tests/browser/`` drives
  Chromium.
- ``tests/kit/`` holds the code that several modules share. No test module imports another one.
- The fast tests run first: ``IN_PROCESS``, then single workers, then clusters, faults and browsers.
- ``make test ARGS="-k join"`` passes its arguments to pytest.
- A test waits on a condition, with a timeout that says which one (``wait_until``).

Each fixture ends the processes that a test starts; a process that is left over fails the test.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kit.example import Example
from tests.kit.node_client import NodeClient, start_node
from tests.kit.paths import TESTS
from tests.kit.raw_client import RawClient
from tests.kit.wire import Wire
from webfarm.testing import Farm, starting_processes

pytest_plugins = ["webfarm.testing"]

#: Folders whose tests run in one process, ground first.
IN_PROCESS = (
    "protocol", "loop", "monitoring", "http", "engineio", "redis", "log", "sessions", "nodes", "manager", "socketio",
)  # fmt: skip


@pytest.fixture(scope="session")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.kit.redis_cluster import RedisCluster

    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(whole_cluster: Any) -> Iterator[Any]:
    """A cluster, whose nodes a test may stop: the next test has them all again (``tests.kit.redis_cluster``)."""
    yield whole_cluster
    whole_cluster.heal()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for a module."""
    from playwright.sync_api import sync_playwright  # slow to import, and few need it

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    flags = [
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, site: Farm) -> Iterator[Callable[..., Any]]:
    """Opens pages of the module's ``site``, each in a profile of its own; fails the test on an error in a page's console."""
    contexts: list[Any] = []
    errors: list[str] = []

    def open_page(path: str, url: str = site.url, script: str = "", **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        contexts[-1].add_init_script(script)
        page = contexts[-1].new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a certificate for this machine, which vouches for itself, with its key."""
    folder = tmp_path_factory.mktemp("a certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    path = folder / "site.pem"
    path.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return str(path)


@pytest.fixture
def node(start: Any) -> NodeClient:
    """The stock JavaScript client."""
    return start_node(start)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the fast tests first, then single workers, clusters, faults, and browsers."""
    items.sort(key=_get_stage)


def _get_stage(item: pytest.Item) -> int:
    folder = item.path.relative_to(TESTS).parts[0]
    if item.get_closest_marker("browser") or folder == "browser":
        return 4
    if "faults" in item.path.stem:
        return 3
    if item.get_closest_marker("cluster"):
        return 2
    return 0 if folder in IN_PROCESS else 1


@pytest.fixture
def raw_client() -> Iterator[Callable[..., RawClient]]:
    """Opens websockets without a Socket.IO client; ``join=False`` stops before the namespace's CONNECT."""
    with contextlib.ExitStack() as stack:

        def open_client(url: str, join: bool = True, query: str = "") -> RawClient:
            client = RawClient(url, join, query)
            stack.callback(client.close)
            return client

        yield open_client


@pytest.fixture(scope="module")
def example() -> Iterator[Callable[..., Example]]:
    """Starts example apps (name, settings as keywords), which end with the module."""
    with starting_processes(Example) as start_example:
        yield start_example


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    """Opens TCP connections to a URL, which end with the test."""
    with contextlib.ExitStack() as stack:

        def open_wire(url: str) -> Wire:
            return stack.enter_context(contextlib.closing(Wire(url)))

        yield open_wire
