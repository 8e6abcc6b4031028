"""Commands and scripts for Redis, and publishing: as a worker or another process asks one shard."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import redis
from gevent.hub import Waiter

from webfarm.redis.keys import Keys
from webfarm.redis.scripts import get_source

Command = tuple[Any, ...]
Answer = Callable[[Any], object]

#: How long ``WAIT`` gives replicas to confirm a write, in milliseconds.
REPLICAS_MS = 1_000


class Asking(Protocol):
    """What asks the Redis of a shard. All methods raise ``redis.RedisError``."""

    def run(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """Run a script (``webfarm.redis.scripts``); return its answer."""

    def execute(self, *command: Any) -> Any:
        """Execute a command; return its answer, texts as bytes."""

    def publish(self, channel: str, data: str | bytes) -> int:
        """Publish on a shard's channel; return the number of listeners."""


class AnyShard(Protocol):
    """A shard: a ``Shard`` of a worker, or a ``BlockingShard``."""

    @property
    def keys(self) -> Keys:
        """The names of its keys and channels."""

    @property
    def commands(self) -> Asking:
        """Asks its Redis."""


class Commands(ABC):
    """Commands and scripts; the answer comes to a greenlet that waits for it, or to a callback."""

    is_cluster = False

    @property
    @abstractmethod
    def life(self) -> object:
        """The identity of the present connection; ``None`` while there is none."""

    @property
    @abstractmethod
    def connection(self) -> "Connection | None":
        """The connection itself, to one Redis, which follows no move; ``None``: nobody knows to which one."""

    @abstractmethod
    def ask(self, command: Command, on_answer: Answer) -> None:
        """Execute a command; ``on_answer`` is called in the hub with its answer, or with a ``redis.RedisError``."""

    def ask_script(self, name: str, keys: Sequence[Any], arguments: Sequence[Any], on_answer: Answer) -> None:
        """Run a script, as ``ask`` executes a command; if Redis has lost it, it is loaded first."""
        command = self.describe_script(name, keys, arguments)

        def on_first_answer(answer: Any) -> None:
            if isinstance(answer, redis.exceptions.NoScriptError):  # somebody has flushed them
                self.ask(("SCRIPT", "LOAD", get_source(name, is_cluster=self.is_cluster)), lambda _: None)
                self.ask(command, on_answer)
            else:
                on_answer(answer)

        self.ask(command, on_first_answer)

    def describe_script(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Command:
        """Return the command that runs a script which Redis has."""
        return "EVALSHA", _get_sha(name, self.is_cluster), len(keys), *keys, *arguments

    def run(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """Run a script (``webfarm.redis.scripts``); return its answer. Raises ``redis.RedisError``."""
        waiter: Any = Waiter()
        self.ask_script(name, keys, arguments, waiter.switch)
        return _get_answer(waiter)

    def execute(self, *command: Any) -> Any:
        """Execute a command; return its answer, texts as bytes. Raises ``redis.RedisError``."""
        waiter: Any = Waiter()
        self.ask(command, waiter.switch)
        return _get_answer(waiter)

    def publish(self, channel: str, data: str | bytes) -> int:
        """Publish on a channel; return the number of listeners. Raises ``redis.RedisError``."""
        heard: int = self.execute("PUBLISH", channel, data)
        return heard

    def list_channels(self, start: str) -> list[str]:
        """Return those of a shard's channels that begin with ``start`` and have listeners."""
        kind = "SHARDCHANNELS" if self.is_cluster else "CHANNELS"
        return [channel.decode() for channel in self.execute("PUBSUB", kind, f"{start}*")]


class Connection(Commands):
    """Commands over one connection to one Redis."""

    @abstractmethod
    def ask_written(self, command: Command, replicas: int, on_answer: Callable[[Any, Any], object]) -> None:
        """Execute a command, and wait for replicas to have what it has written: one ``WAIT`` for all sent together.

        ``on_answer`` is called in the hub with its answer, and with how many have it, or a ``redis.RedisError`` each.
        """


def _get_answer(waiter: Any) -> Any:
    answer = waiter.get()
    if isinstance(answer, Exception):
        raise answer
    return answer


@cache
def _get_sha(name: str, is_cluster: bool) -> str:
    source = get_source(name, is_cluster=is_cluster)
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
