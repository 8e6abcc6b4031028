"""The commands of one shard of a cluster: each goes to the primary that has the shard at the moment."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gevent
import redis
from redis.exceptions import MovedError

from webfarm.redis.client import REFUSALS, translate
from webfarm.redis.cluster_topology import ClusterTopology
from webfarm.redis.commands import Answer, Command, Commands, Connection
from webfarm.redis.keys import Keys
from webfarm.redis.url import Address

_MOVES = 3  # of a slot, until it is given up


class ClusterCommands(Commands):
    """Commands and scripts for one shard.

    No command is executed twice: only a command that went to the wrong primary is sent again, to the right one.

    Args:
        keys: the shard's.
        topology: knows the shard's primary.
        get_commands: returns the connection to a primary.
    """

    is_cluster = True

    def __init__(self, keys: Keys, topology: ClusterTopology, get_commands: Callable[[Address], Connection]) -> None:
        self._keys = keys
        self._topology = topology
        self._get_commands = get_commands

    @property
    def life(self) -> object:
        return None if self.connection is None else self.connection.life

    @property
    def connection(self) -> Connection | None:
        address = self._topology.slots.get_primary(self._keys.slot)
        return None if address is None else self._get_commands(address)

    def ask(self, command: Command, on_answer: Answer) -> None:
        self._ask(command, on_answer, _MOVES)

    def describe_script(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Command:
        return super().describe_script(name, [*keys, self._keys.absent], arguments)

    def publish(self, channel: str, data: str | bytes) -> int:
        verb = "SPUBLISH" if channel.startswith(self._keys.tag) else "PUBLISH"
        heard: int = self.execute(verb, channel, data)
        return heard

    def _ask(self, command: Command, on_answer: Answer, moves: int) -> None:
        address = self._topology.slots.get_primary(self._keys.slot)
        if address is None:
            self._topology.when_asked(partial(self._ask_if_known, command, on_answer))
        else:
            self._get_commands(address).ask(command, partial(self._on_answer, address, command, on_answer, moves))

    def _ask_if_known(self, command: Command, on_answer: Answer) -> None:
        if self._topology.slots.get_primary(self._keys.slot) is None:
            error = redis.ConnectionError("no node of the cluster says which primary has the shard")
            gevent.get_hub().loop.run_callback(on_answer, error)
        else:
            self._ask(command, on_answer, _MOVES)

    def _on_answer(self, address: Address, command: Command, on_answer: Answer, moves: int, answer: Any) -> None:
        if isinstance(answer, redis.RedisError):
            if isinstance(answer, MovedError):
                self._topology.on_moved(answer.slot_id, (answer.host or address[0], answer.port))
                if moves:
                    self._ask(command, on_answer, moves - 1)
                    return
            elif isinstance(answer, (redis.ConnectionError, redis.TimeoutError, *REFUSALS)):
                self._topology.ask_soon()
            answer = translate(answer)
        on_answer(answer)
