"""A request of a node to all nodes: its text, and the nodes that are to answer it."""

from typing import Any

from gevent.event import Event

from webfarm.protocol import strict_json


class Request:
    """A request that is being answered by the nodes that live, and by any other process that has heard it.

    A node that lives and has not heard the request is just connecting to Redis. A process that has heard it without a
    lease is a stranger: a node that was stalled for too long, or is about to end.

    Args:
        is_one_enough: the request is answered by the first node that answers with something true.
    """

    def __init__(self, *, is_one_enough: bool = False) -> None:
        self._is_one_enough = is_one_enough
        self.answers: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self.is_answered = Event()
        self._reached = 0
        self._nodes: dict[str, int] | None = None  # how often each has heard it; not known before it was published

    def expect(self, reached: int, nodes: dict[str, int]) -> None:
        """So many have heard it. Of each living node ``nodes`` says how many; 0: it is just connecting to Redis."""
        self._reached, self._nodes = reached, nodes
        self._check()

    def add(self, message: dict[str, Any]) -> None:
        """A node has answered."""
        if "error" in message:
            self.failed[message["node"]] = str(message["error"])
        else:
            self.answers[message["node"]] = message["answer"]
        self._check()

    def count_strangers(self) -> int:
        """Return how many processes without a lease have heard it and not answered."""
        nodes = self._nodes or {}
        answered = sum(1 for node in (*self.answers, *self.failed) if not nodes.get(node))
        return self._reached - sum(nodes.values()) - answered

    def find_missing(self, listening: set[str]) -> dict[str, str]:
        """Return the nodes that have not answered, and why; strangers that are ``listening`` have a name."""
        nodes, answered = self._nodes or {}, self.answers.keys() | self.failed.keys()
        strangers = listening - nodes.keys() - answered
        silent = {node for node, heard in nodes.items() if heard} - answered
        gone = range(1, self.count_strangers() - len(strangers) + 1)
        return (
            self.failed
            | {node: "it is not connected to Redis" for node in sorted(nodes.keys() - silent - answered)}
            | {node: "it has not answered" for node in sorted(silent | strangers)}
            | {f"gone ({number})": "it has ended meanwhile" for number in gone}
        )

    def _check(self) -> None:
        if self._is_one_enough and any(self.answers.values()):
            self.is_answered.set()
        elif self._nodes is not None:
            is_heard = all(node in self.answers or node in self.failed for node, heard in self._nodes.items() if heard)
            if is_heard and self.count_strangers() <= 0:
                self.is_answered.set()


def encode_request(
    name: str, arguments: dict[str, Any], node: str = "", number: int = 0, *, others_only: bool = False
) -> str:
    """Return a request as it is published; ``node`` is answered under ``number``, if there is one."""
    message = {"name": name, "arguments": arguments, "node": node, "number": number, "others_only": others_only}
    return strict_json.dumps(message)
