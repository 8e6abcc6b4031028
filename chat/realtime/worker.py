"""The gunicorn worker: one worker, one port.

gunicorn's master opens all listeners; each worker serves the one that its *slot* owns, so that a port
always leads to the same process, as Engine.IO's sessions need. Overridden of gevent-websocket's worker
(gunicorn's ``GeventWorker``): ``load_wsgi``, which starts the Socket.IO servers before the first client
comes, and ``handle_exit``, which closes their clients so that a stop takes seconds.
"""

import errno
import os
import socket
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import gevent
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker

_EXIT_FAULT, _EXIT_USAGE = 1, 2


class Worker(GeventWebSocketWorker):
    """A gevent worker that serves exactly one of the master's listeners."""

    slot: int
    sockets: list[Any]
    _servers: tuple[Any, ...] = ()

    @staticmethod
    def spread_binds(arbiter: Any) -> None:
        """Make ``arbiter.cfg.bind`` one address per worker.

        One ``HOST:PORT`` becomes as many consecutive ports as there are workers; as many addresses as
        workers stay as they are. Anything else ends gunicorn with a sentence (exit code 2). Once the
        listeners are open their number is fixed: a worker more (TTIN) is refused with a warning.
        """
        binds, workers, listeners = arbiter.cfg.bind, arbiter.num_workers, arbiter.LISTENERS
        if workers != arbiter.cfg.workers:  # TTIN or TTOU
            if workers > len(listeners):
                arbiter.log.warning("Every port has its worker; restart with -w %d to have more.", workers)
                arbiter.num_workers = len(listeners)
        elif len(binds) == 1:
            arbiter.cfg.set("bind", _consecutive(binds[0], arbiter.cfg.address[0], workers))
        elif len(binds) != workers:
            sentence = "give -b once (the first port) or once per worker (-w)."
            _stop(_EXIT_USAGE, f"{workers} workers can't share {len(binds)} addresses: {sentence}")

    @staticmethod
    def check_ports(cfg: Any) -> None:
        """End gunicorn with a sentence (exit code 1) if a port is taken, before any is opened."""
        if _inherits_listeners():
            return
        for address in cfg.address:
            if isinstance(address, tuple):
                _check_port(*address[:2])

    def take_slot(self, workers: Iterable["Worker"]) -> None:
        """Take the slot with the fewest live ``workers``, the lowest first. Called in the master.

        A dead worker's successor gets the dead one's port; after HUP old and new share one until the
        old has left.
        """
        taken = [worker.slot for worker in workers]
        self.slot = min(range(len(self.sockets)), key=lambda slot: (taken.count(slot), slot))

    def keep_own_listener(self) -> None:
        """Close the listeners of all other slots. Called in the worker, right after the fork."""
        own = self.sockets[self.slot]
        for listener in self.sockets:
            if listener is not own:
                listener.close()
        self.sockets = [own]

    def load_wsgi(self) -> None:
        """Load the app, then start its Socket.IO servers, before the first client comes."""
        super().load_wsgi()
        from chat.realtime.server import Server  # not before gevent has patched this process

        self._servers = tuple(Server.instances)
        for server in self._servers:
            server.start(self.node)

    @property
    def node(self) -> str:
        """This worker's name in the cluster: ``host:port``."""
        address = self.sockets[0].getsockname()
        return f"{socket.gethostname()}:{address[1] if isinstance(address, tuple) else address}"

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: take no new clients, send the connected ones away. ``run`` then ends by itself."""
        super().handle_exit(sig, frame)
        for server in self._servers:
            gevent.spawn(server.stop)


def _consecutive(bind: str, address: Any, count: int) -> list[str]:
    if count == 1:
        return [bind]
    if not isinstance(address, tuple):
        _stop(_EXIT_USAGE, f"{count} workers need {count} ports: '{bind}' is no HOST:PORT to count up from.")
    host, port = address[:2]
    if port == 0:
        return [bind] * count
    if port + count - 1 > 65535:
        _stop(
            _EXIT_USAGE,
            f"{count} workers from port {port} would need port {port + count - 1}; the last port is 65535.",
        )
    host = f"[{host}]" if ":" in host else host
    return [f"{host}:{port + i}" for i in range(count)]


def _inherits_listeners() -> bool:
    """Whether the listeners come from systemd or from the master before (USR2)."""
    return "GUNICORN_FD" in os.environ or "LISTEN_FDS" in os.environ


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"can't be used: {error.strerror}"
            _stop(
                _EXIT_FAULT,
                f"port {port} on {host} {reason}; stop what uses it, or choose another (CHAT_BASE_PORT, PORT or -b).",
            )


def _stop(code: int, sentence: str) -> NoReturn:
    print(f"chat: {sentence}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
