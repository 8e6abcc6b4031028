"""A test kit for apps on ``webfarm``: real Redis, gunicorn workers, HAProxy and clients, as pytest's fixtures.

In a project's ``conftest.py``::

    pytest_plugins = ["webfarm.testing"]

and in a test::

    def test_what_is_said_on_one_worker_is_heard_on_the_other(workers, client):
        one, other = map(client, workers(2, app="room:app").urls)
        assert one.ask("say", "hi") == "ok"
        assert other.wait_for("said") == [["hi"]]

Each fixture ends what it has started, and fails the test if something is left, or if a worker's log has a traceback.
What it needs comes with the extras ``embedded`` and ``testing``; what looks for processes by ports needs Linux.
A conftest may import names from here as well (PYTEST_DONT_REWRITE: there is no assertion here to rewrite).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from webfarm.testing.clients import Client
from webfarm.testing.processes import (
    SHARDS,
    Process,
    get_children,
    get_free_ports,
    get_listening_ports,
    get_status,
    is_alive,
    starting_processes,
    wait_until,
)
from webfarm.testing.servers import (
    LOCAL,
    Farm,
    Host,
    RedisServer,
    Workers,
    starting_farm,
    starting_workers,
)

__all__ = [
    "LOCAL",
    "SHARDS",
    "Client",
    "Farm",
    "Host",
    "Process",
    "RedisServer",
    "Workers",
    "get_children",
    "get_free_ports",
    "get_listening_ports",
    "get_status",
    "is_alive",
    "starting_farm",
    "starting_processes",
    "starting_workers",
    "wait_until",
]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis of all tests."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may stop; it isn't started yet."""
    server = RedisServer(tmp_path)
    yield server
    if server.process:
        server.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts processes that end with the test, and fails it if one of them leaves a child behind."""
    with starting_processes() as start_process:
        yield start_process


@pytest.fixture
def workers(redis_server: RedisServer) -> Iterator[Callable[..., Workers]]:
    """Starts ``Workers`` (count, gunicorn's flags, ``app``, settings as keywords) on the Redis of all tests, with a
    ``WEBFARM_PREFIX`` of their own."""
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers


@pytest.fixture
def farm(redis_server: RedisServer, tmp_path: Path) -> Iterator[Callable[..., Farm]]:
    """Starts workers (count, ``app``, settings as keywords) and an HAProxy in front of them."""
    with starting_farm(redis_server.url, tmp_path) as start_farm:
        yield start_farm


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    """Connects clients (the arguments of ``Client``), which end with the test."""
    with ExitStack() as stack:

        def connect(*args: Any, **kwargs: Any) -> Client:
            client = Client(*args, **kwargs)
            stack.callback(client.disconnect)
            return client

        yield connect
