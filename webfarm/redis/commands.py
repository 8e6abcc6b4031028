"""What is asked of Redis: commands and scripts, and what is published."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import redis
from gevent.hub import Waiter

from webfarm.redis.scripts import get_source

if TYPE_CHECKING:
    from webfarm.redis.pipeline import Pipeline

Command = tuple[Any, ...]
Answer = Callable[[Any], object]


class Commands(ABC):
    """Commands and scripts, each asked by a greenlet that waits for its answer, or with a callback."""

    is_cluster = False

    @property
    @abstractmethod
    def life(self) -> object:
        """Which connection this is; ``None`` while there is none."""

    @property
    @abstractmethod
    def connection(self) -> "Pipeline | None":
        """The connection itself, to one Redis, which follows no move; ``None``: it isn't known which one."""

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
        """Run the script ``name`` (``webfarm.redis.scripts``); return its answer. Raises ``redis.RedisError``."""
        waiter: Any = Waiter()
        self.ask_script(name, keys, arguments, waiter.switch)
        return _get_answer(waiter)

    def execute(self, *command: Any) -> Any:
        """Execute a command; return its answer, texts as bytes. Raises ``redis.RedisError``."""
        waiter: Any = Waiter()
        self.ask(command, waiter.switch)
        return _get_answer(waiter)

    def publish(self, channel: str, data: str | bytes) -> int:
        """Publish on a channel; return how many heard it. Raises ``redis.RedisError``."""
        heard: int = self.execute("PUBLISH", channel, data)
        return heard

    def list_channels(self, start: str) -> list[str]:
        """Return those of a shard's channels that begin with ``start`` and are listened to."""
        what = "SHARDCHANNELS" if self.is_cluster else "CHANNELS"
        return [channel.decode() for channel in self.execute("PUBSUB", what, f"{start}*")]


def _get_answer(waiter: Any) -> Any:
    answer = waiter.get()
    if isinstance(answer, Exception):
        raise answer
    return answer


@cache
def _get_sha(name: str, is_cluster: bool) -> str:
    source = get_source(name, is_cluster=is_cluster)
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
