"""The gunicorn worker: one worker, one port.

gunicorn's master opens all listeners. Each worker serves the listener of its *slot*, so a port always leads to the same
process, as Engine.IO's sessions need. Overridden of gevent-websocket's worker (gunicorn's ``GeventWorker``), and why:

- ``load_wsgi``: the services start before the first client comes. With ``--reload``, an app that can't be loaded is an
  error page until it is fixed, not the end.
- ``server_class``, ``wsgi_handler``: our own HTTP (``webfarm.http.server``), which says itself when it is full.
- ``run``: a worker says when it can do its work (``webfarm.worker.watchdog``). A worker ends if a source file was
  edited while the worker loaded it.
- ``handle_exit``, ``handle_quit``: the clients' connections are closed before the process ends. Websockets are not in
  the pool that gunicorn waits for.
"""

import contextlib
import errno
import gc
import mmap
import os
import socket
import sys
import traceback
from collections.abc import Iterable
from time import monotonic, time
from typing import Any, NoReturn

import gevent
import gunicorn.util
from gevent.pool import Pool
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker

from webfarm.addresses import check_free, join_address
from webfarm.http.server import Handler, HTTPServer
from webfarm.monitoring.capacity import capacity
from webfarm.worker.watchdog import Watchdog

_EXIT_FAULT, _EXIT_USAGE = 1, 2
_GRACE_S = 1.0  # a newly accepted connection has sent its request by then
_START_S = 10.0
_BOOT_S = 60.0  # beyond gunicorn's timeout, for the application to be loaded
_CONFIRM_S = 5.0
_POLL_S = 0.05
_MAX_SLOTS = 1024
_TAKEN, _SERVING, _CONFIRMED = range(3)
_MANY = 2**30


class Worker(GeventWebSocketWorker):
    """A gevent worker that serves exactly one of the master's listeners."""

    slot: int
    alive: bool
    sockets: list[Any]
    #: For each slot: the number of the worker that took it last, of the worker that serves it, and of the last
    #: confirmed worker. All processes share them.
    _numbers = memoryview(mmap.mmap(-1, 3 * 4 * _MAX_SLOTS)).cast("I", (_MAX_SLOTS, 3))
    wsgi_handler = Handler
    _http: HTTPServer | None = None
    _leaving: "gevent.Greenlet[[], None] | None" = None

    @staticmethod
    def spread_binds(arbiter: Any) -> None:
        """Make ``arbiter.cfg.bind`` one address per worker.

        One ``HOST:PORT`` becomes as many consecutive ports as there are workers; as many addresses as workers stay as
        they are. Anything else ends gunicorn with a sentence (exit code 2). TTIN and TTOU are refused with a warning:
        a worker more would share a port, a worker less would leave a port that hangs.
        """
        binds, workers = arbiter.cfg.bind, arbiter.num_workers
        if arbiter.cfg.is_ssl:
            _stop(
                _EXIT_USAGE,
                "TLS is HAProxy's part (webfarm haproxy-config --tls-cert); leave --certfile and --keyfile out.",
            )
        if workers != arbiter.cfg.workers:
            if workers:  # none: the master is about to stop
                arbiter.log.warning(
                    "Each port has its worker, no more and no less; restart with -w for another number."
                )
                arbiter.num_workers = arbiter.cfg.workers
        elif workers < 1:
            _stop(_EXIT_USAGE, "there must be at least one worker (-w 1).")
        elif len(binds) == 1:
            arbiter.cfg.set("bind", _consecutive(binds[0], arbiter.cfg.address[0], workers))
        elif len(binds) != workers or len(set(binds)) != len(binds):
            sentence = "give -b once (the first port) or once per worker (-w)."
            _stop(_EXIT_USAGE, f"{workers} workers can't share {len(set(binds))} addresses: {sentence}")

    @staticmethod
    def check_ports(cfg: Any) -> None:
        """End gunicorn with a sentence (exit code 1) if a port is taken, before any port is opened."""
        if _inherits_listeners():
            return
        for address in cfg.address:
            if isinstance(address, tuple):
                _check_port(*address[:2])

    #: Makes the master report to systemd; called before it starts.
    attach_watchdog = Watchdog.attach

    def take_slot(self, workers: Iterable["Worker"]) -> None:
        """Take the slot with the fewest live ``workers``, the lowest first. Called in the master.

        A dead worker's successor gets its port. After HUP the old and the new worker share a port until the old one
        has ended.
        """
        others = list(workers)
        taken = [worker.slot for worker in others]
        taken_by_new = [worker.slot for worker in others if worker.cfg is self.cfg]  # HUP makes a new cfg
        slots = range(len(self.sockets))
        self.slot = min(slots, key=lambda slot: (taken_by_new.count(slot), taken.count(slot), slot))
        self._number = self._numbers[self.slot, _TAKEN] + 1
        self._numbers[self.slot, _TAKEN] = self._number
        self._forked = time()
        boots_until = monotonic() + _BOOT_S
        os.utime(self.tmp.fileno(), (boots_until, boots_until))  # gunicorn would wait for its first sign for ever

    @property
    def is_confirmed(self) -> bool:
        """Whether this worker does its work, or at least has lived for some seconds. For the master."""
        return self._numbers[self.slot, _CONFIRMED] == self._number

    def keep_own_listener(self) -> None:
        """Close the listeners of all other slots. Called in the worker, right after the fork."""
        own = self.sockets[self.slot]
        for listener in self.sockets:
            if listener is not own:
                listener.close()
        self.sockets = [own]

    def load_wsgi(self) -> None:
        """Load the app, then start its services, before the first client comes."""
        try:
            super().load_wsgi()
        except Exception as error:
            if not self.reloader:
                raise
            self.log.exception("The app can't be loaded; save a source file to try again.")
            for frame in traceback.extract_tb(error.__traceback__):
                self.reloader.add_extra_file(frame.filename)
            self.wsgi = gunicorn.util.make_fail_app(traceback.format_exc())
        from webfarm.service import Service

        for service in Service.get_all():
            service.start(self.node)
        gc.collect()
        gc.freeze()  # else each collection looks at all that lives as long as the process: tens of milliseconds

    def _get_edited_source(self) -> str | None:
        """Return a source file that was edited between the fork and the first look of gunicorn's reloader.

        Right after the fork the worker has loaded the app's own modules again (``webfarm.gunicorn.load_again``).
        """
        for path in self.reloader.get_files():
            with contextlib.suppress(OSError):
                if self._forked < os.stat(path).st_mtime <= time():
                    return str(path)
        return None

    @property
    def node(self) -> str:
        """This worker's name in the cluster: ``host:port``."""
        address = self.sockets[0].getsockname()
        return f"{socket.gethostname()}:{address[1] if isinstance(address, tuple) else address}"

    def run(self) -> None:
        """Serve until a signal comes; end at once if a source file was edited while this worker loaded it."""
        if self.reloader and (edited := self._get_edited_source()):
            self.log.info("Worker reloading: %s modified while it was loaded", edited)
            self.alive = False
            self._leave(at_once=True)
            return
        gevent.spawn(self._confirm)
        super().run()

    def _confirm(self) -> None:
        from webfarm.service import Service

        with gevent.Timeout(_CONFIRM_S, False):  # type: ignore[arg-type]
            while any(service.get_unready_reason() for service in Service.get_all()):
                gevent.sleep(_POLL_S)
        self._numbers[self.slot, _CONFIRMED] = self._number

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: close the clients' connections, one after the other, then end."""
        if self._leaving is None:
            self._leaving = gevent.spawn(self._leave)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT, SIGINT: close the clients' connections at once, then end."""
        gevent.spawn(self._leave, at_once=True)

    def _leave(self, *, at_once: bool = False) -> None:
        """Close the clients' connections, then stop accepting; until then new clients are refused.

        After HUP the port belongs to a new worker: then this one stops accepting as soon as the new one serves.
        """
        from webfarm.service import Service

        with gevent.Timeout(_START_S, False):  # type: ignore[arg-type]
            # The signal may have come while this worker was starting; a source file's change has stopped it already.
            while self.alive and (self._http is None or not self._http.started):
                gevent.sleep(0.05)
        if self._http and self._numbers[self.slot, _TAKEN] != self._number:
            with gevent.Timeout(_START_S, False):  # type: ignore[arg-type]
                while self._numbers[self.slot, _SERVING] == self._number:
                    gevent.sleep(0.05)
            self._http.close()
            gevent.sleep(_GRACE_S)
        for service in reversed(Service.get_all()):
            service.stop(at_once=at_once)
        if self._http:
            self._http.close()
            gevent.sleep(0 if at_once else _GRACE_S)
            self._http.close_idle()
        self.alive = False

    def server_class(self, *args: Any, **kwargs: Any) -> HTTPServer:
        """Make the HTTP server of this worker's listener."""
        capacity.limit(self.worker_connections)
        pool = Pool(_MANY)  # never full: the server looks for itself
        self._http = HTTPServer(*args, has_access_log=bool(self.cfg.accesslog), **kwargs | {"spawn": pool})
        self._numbers[self.slot, _SERVING] = self._number
        return self._http


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
    return [join_address(host, port + i) for i in range(count)]


def _inherits_listeners() -> bool:
    """Whether the listeners come from systemd or from the master before (USR2)."""
    return "GUNICORN_FD" in os.environ or "LISTEN_FDS" in os.environ


def _check_port(host: str, port: int) -> None:
    try:
        check_free(host, port)
    except OverflowError:
        _stop(_EXIT_USAGE, f"{port} is no port; the last one is 65535.")
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"can't be used: {error.strerror}"
        hint = "stop what uses it, or choose another (WEBFARM_BASE_PORT, PORT or -b)."
        _stop(_EXIT_FAULT, f"port {port} on {host} {reason}; {hint}")


def _stop(code: int, sentence: str) -> NoReturn:
    print(f"webfarm: {sentence}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
