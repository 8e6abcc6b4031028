"""Peers: a node asks all nodes over one channel, and each node answers on the asker's own channel."""

import base64
import logging
from collections.abc import Callable, Iterator
from itertools import count
from time import monotonic
from typing import Any, NamedTuple, Protocol

import gevent
import redis

from webfarm.errors import Unavailable
from webfarm.nodes.request import Request, encode_request
from webfarm.protocol import strict_json
from webfarm.protocol.packet import Packet, list_arguments
from webfarm.redis.client import redis_errors_as_unavailable
from webfarm.redis.commands import AnyShard, Asking
from webfarm.redis.keys import Keys
from webfarm.sessions.end_by_room import Ended, end_session, end_sessions

log = logging.getLogger(__name__)

_TRIES, _CONFIRM_S = 3, 1.0  # for a client's node to answer
_LISTENING_S = 0.5  # for Redis to say who listens: the answers are there

Handler = Callable[..., Any]  # given a request's arguments by their names


class HomeCommands(Asking, Protocol):
    """The commands of the shard that carries the requests."""

    def list_channels(self, start: str) -> list[str]:
        """Return the channels that begin with ``start`` and have a subscriber."""


class HomeShard(Protocol):
    """The shard that carries the requests."""

    @property
    def keys(self) -> Keys:
        """The names of its keys and channels."""

    @property
    def commands(self) -> HomeCommands:
        """The connection to its Redis."""


class PeerShards(Protocol):
    """The shards of a farm, of which the first carries the requests: ``RedisManager.shards``."""

    @property
    def home(self) -> HomeShard:
        """The first shard."""

    def get(self, name: str) -> AnyShard:
        """Return the shard of a client's sid."""

    def __iter__(self) -> Iterator[AnyShard]: ...


class Answers(NamedTuple):
    """What nodes have answered, and which have not."""

    by_node: dict[str, Any]
    missing: dict[str, str]  # nodes, and why there is no answer of theirs

    @property
    def is_complete(self) -> bool:
        """Whether all nodes that were asked have answered."""
        return not self.missing


class LocalPeers:
    """The requests of a server that is alone."""

    def __init__(self) -> None:
        self.node = ""
        self.handlers: dict[str, Handler] = {}  # by a request's name; each runs in a greenlet of its own

    def ask(self, name: str, arguments: dict[str, Any], timeout_s: float, *, others_only: bool = False) -> Answers:
        """Ask all nodes; return what they answered within ``timeout_s`` seconds.

        Args:
            name: of the request.
            arguments: of its handler, by name; what JSON has words for.
            timeout_s: who has not answered by then is missing.
            others_only: this node is not asked.

        Raises:
            Unavailable: Redis does not answer.
        """
        return Answers({} if others_only else {self.node: self.handlers[name](**arguments)}, {})

    def tell(self, name: str, arguments: dict[str, Any], *, others_only: bool = False) -> int:
        """Ask all nodes, without an answer; return how many were reached. Raises ``Unavailable``."""
        if not others_only:
            gevent.spawn(self.handlers[name], **arguments)
        return int(not others_only)

    def end_sessions(self, namespace: str, room: str | None) -> Ended:
        """End the sessions of all clients in a room, connected or away. Raises ``Unavailable``."""
        return Ended(0, 0)

    def end_session(self, sid: str, namespace: str) -> None:
        """End a client's session, wherever it is. Raises ``Unavailable``."""


class Peers(LocalPeers):
    """The requests of a node among others.

    Args:
        shards: where the clients' sessions are; the first one carries the requests.
    """

    def __init__(self, shards: PeerShards) -> None:
        super().__init__()
        self._shards = shards
        self._commands, self._keys = shards.home.commands, shards.home.keys
        self._numbers = count(1)
        self._open: dict[int, Request] = {}

    def start(self, node: str) -> None:
        """Ask and answer in the name of ``node``."""
        self.node = node

    def ask(self, name: str, arguments: dict[str, Any], timeout_s: float, *, others_only: bool = False) -> Answers:
        request = Request()
        self._ask(request, name, arguments, timeout_s, others_only=others_only)
        missing = request.find_missing(self._find_listening() if request.count_strangers() > 0 else set())
        if others_only:
            request.answers.pop(self.node, None)
            missing.pop(self.node, None)
        return Answers(request.answers, missing)

    def ask_owner(self, name: str, arguments: dict[str, Any]) -> None:
        """Ask all nodes, and wait until one node has answered with a number above 0: the node of a client.

        The request is repeated. Raises ``Unavailable`` if no node answers so; it names the last failure.
        """
        failed: dict[str, str] = {}
        for _ in range(_TRIES):
            asked_at, request = monotonic(), Request(is_one_enough=True)
            self._ask(request, name, arguments, _CONFIRM_S)
            if any(request.answers.values()):
                return
            failed = request.failed or failed
            gevent.sleep(max(0.0, asked_at + _CONFIRM_S - monotonic()))
        reasons = "".join(f"; {node}: {why}" for node, why in failed.items())
        raise Unavailable(f"no node has confirmed the request {name!r} with {arguments}{reasons}")

    def _ask(
        self, request: Request, name: str, arguments: dict[str, Any], timeout_s: float, *, others_only: bool = False
    ) -> None:
        """Publish ``request``, and wait until it is answered, at most ``timeout_s``."""
        number = next(self._numbers)
        self._open[number] = request
        text = encode_request(name, arguments, self.node, number, others_only=others_only)
        try:
            request.expect(*self._publish_to_nodes(text))
            request.is_answered.wait(timeout_s)
        finally:
            del self._open[number]

    def tell(self, name: str, arguments: dict[str, Any], *, others_only: bool = False) -> int:
        reached = self._publish(encode_request(name, arguments, self.node, others_only=others_only))
        return max(reached - 1, 0) if others_only else reached

    def end_sessions(self, namespace: str, room: str | None) -> Ended:
        with redis_errors_as_unavailable():
            return end_sessions(self._shards, namespace, room)

    def end_session(self, sid: str, namespace: str) -> None:
        with redis_errors_as_unavailable():
            end_session(self._shards.get(sid), sid, namespace)

    def _publish_to_nodes(self, text: str) -> tuple[int, dict[str, int]]:
        """Publish a request; return how many heard it, and the nodes that live, each with how many of them it was."""
        keys = self._keys
        with redis_errors_as_unavailable():
            reached, *nodes = self._commands.run(
                "nodes/ask", [keys.nodes], [keys.requests, text, keys.leases, keys.marks]
            )
        return reached, {node.decode(): count for node, count in nodes}

    def _find_listening(self) -> set[str]:
        """Return all who listen, also those whose lease has ended; nobody if Redis does not say so at once."""
        marks = self._keys.marks
        channels: list[str] = []
        with gevent.Timeout(_LISTENING_S, False):  # type: ignore[arg-type]
            try:
                channels = self._commands.list_channels(marks)
            except redis.RedisError as error:
                log.debug("who listens is not known: %s", error)
        return {channel.removeprefix(marks) for channel in channels}

    def _publish(self, text: str) -> int:
        with redis_errors_as_unavailable():
            reached: int = self._commands.publish(self._keys.requests, text)
        return reached

    # From the follower, in the subscription's greenlet

    def on_request(self, data: bytes) -> None:
        """A node, this one too, or another process asks."""
        try:
            request = strict_json.loads(data)
            name, arguments = request["name"], dict(request["arguments"])
            asker, number, others_only = request["node"], request["number"], request["others_only"]
        except (ValueError, LookupError, TypeError, RecursionError):
            log.warning("a request that is none was dropped")
            return
        if not others_only or asker != self.node:
            gevent.spawn(self._handle, name, arguments, asker, number)
        elif number:
            gevent.spawn(self._answer, asker, number, {"answer": None})

    def on_answer(self, data: bytes) -> None:
        """A node has answered this one."""
        try:
            message = strict_json.loads(data)
            request = self._open.get(message["number"])
            if request is not None:
                request.add(message)
        except (ValueError, LookupError, TypeError, RecursionError):
            log.warning("an answer that is none was dropped")

    def _handle(self, name: str, arguments: dict[str, Any], asker: str, number: int) -> None:
        handler = self.handlers.get(name)
        try:
            if handler is None:
                raise Unavailable("it does not know this request")
            answer = {"answer": handler(**arguments)}
        except Unavailable as error:
            answer = {"error": str(error)}
        except (Exception, gevent.Timeout):
            log.exception("the request %r of %s failed", name, asker or "another process")
            answer = {"error": "it has failed, its log says how"}
        if number:
            self._answer(asker, number, answer)

    def _answer(self, asker: str, number: int, answer: dict[str, Any]) -> None:
        try:
            text = strict_json.dumps({"number": number, "node": self.node, **answer})
        except (TypeError, ValueError, RecursionError):
            log.exception("an answer to %s can't be written", asker)
            text = strict_json.dumps({"number": number, "node": self.node, "error": "its answer can't be written"})
        try:
            with redis_errors_as_unavailable():
                self._commands.publish(self._keys.marks + asker, f"answer {text}")
        except Unavailable as error:
            log.debug("not answered: %s", error)


def pack(data: Any) -> list[Any]:
    """Return what an emit or an acknowledgement is given so that JSON can carry it, attachments included."""
    arguments = list_arguments(data)
    if not Packet.data_is_binary(arguments):
        return [arguments]
    stripped, attachments = Packet.deconstruct_binary(arguments)
    return [stripped, *(base64.b64encode(part).decode() for part in attachments)]


def unpack(packed: list[Any]) -> Any:
    """Return what was packed: ``None``, one argument, or a tuple of several."""
    arguments = unpack_arguments(packed)
    return tuple(arguments) if len(arguments) > 1 else arguments[0] if arguments else None


def unpack_arguments(packed: list[Any]) -> list[Any]:
    """Return the arguments that were packed."""
    arguments, *attachments = packed
    if attachments:
        arguments = Packet.reconstruct_binary(arguments, [base64.b64decode(part) for part in attachments])
    return list(arguments)
