"""A test kit for apps on ``webfarm``: real Redis, gunicorn workers, HAProxy and clients, as pytest's fixtures.

pytest finds the fixtures where ``webfarm[run,embedded,testing]`` is installed.
``pytest_plugins = ["webfarm.testing"]`` does the same. A test::

    def test_a_message_of_one_worker_arrives_on_the_other(workers, connect):
        one, other = map(connect, workers(2, app="room:app").urls)
        assert one.ask("say", "hi") == "ok"
        assert other.wait_for("said") == [["hi"]]

Each fixture ends the processes that it has started. It fails the test if one is left, or if a worker's log has a
traceback. The search for processes by ports needs Linux. A conftest may import names from here as well. Python imports
each at its first use (PYTEST_DONT_REWRITE: there is no assertion here to rewrite).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

pytest_plugins = ["webfarm.testing.plugin"]  # where a conftest names this package

_OF_SERVERS = {"LOCAL", "Farm", "Host", "RedisServer", "Workers", "starting_farm", "starting_workers"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    part = "clients" if name == "Client" else "servers" if name in _OF_SERVERS else "processes"
    return getattr(import_module(f"{__name__}.{part}"), name)
