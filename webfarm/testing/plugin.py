"""pytest's plugin of the test kit: its fixtures, which import the kit only when a test uses one.

pytest loads this module in every project where webfarm is installed, so it imports neither gevent nor Socket.IO.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from webfarm.testing.clients import Client
    from webfarm.testing.processes import Process
    from webfarm.testing.servers import Farm, RedisServer, Workers


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[RedisServer]":
    """The Redis of all tests."""
    from webfarm.testing.servers import RedisServer

    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> "Iterator[RedisServer]":
    """A Redis that the test starts, and may stop."""
    from webfarm.testing.servers import RedisServer

    server = RedisServer(tmp_path)
    yield server
    if server.process:
        server.close()


@pytest.fixture
def start() -> "Iterator[Callable[..., Process]]":
    """Starts processes that end with the test; a child left behind fails it."""
    from webfarm.testing.processes import starting_processes

    with starting_processes() as start_process:
        yield start_process


@pytest.fixture
def workers(redis_server: "RedisServer") -> "Iterator[Callable[..., Workers]]":
    """Starts ``Workers`` (count, gunicorn's flags, ``app``, ``cwd``, settings as keywords) on the Redis of all tests.

    Each call has a ``WEBFARM_PREFIX`` of its own.
    """
    from webfarm.testing.servers import starting_workers

    with starting_workers(redis_server.url) as start_workers:
        yield start_workers


@pytest.fixture
def farm(redis_server: "RedisServer", tmp_path: Path) -> "Iterator[Callable[..., Farm]]":
    """Starts workers (count, ``app``, ``cwd``, settings as keywords) and an HAProxy in front of them."""
    from webfarm.testing.servers import starting_farm

    with starting_farm(redis_server.url, tmp_path) as start_farm:
        yield start_farm


@pytest.fixture
def connect() -> "Iterator[Callable[..., Client]]":
    """Connects clients (the arguments of ``Client``), which end with the test."""
    from webfarm.testing.clients import Client

    with ExitStack() as stack:

        def connect_client(*args: Any, **kwargs: Any) -> "Client":
            client = Client(*args, **kwargs)
            stack.callback(client.disconnect)
            return client

        yield connect_client
