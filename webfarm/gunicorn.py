"""gunicorn's configuration: one gevent worker per port.

``gunicorn`` in the project's root takes it from here (``gunicorn.conf.py``), and so does an app of one's own::

    gunicorn -c python:webfarm.gunicorn MODULE:app

gunicorn's own flags win over the environment: ``-w N`` sets the number of workers, one ``-b HOST:PORT`` the first
port, as many ``-b`` as workers every port.
"""

import contextlib
import importlib
import os
import resource
import signal
import sys
from typing import Any

from webfarm.addresses import join_address
from webfarm.errors import SettingsError
from webfarm.logs import set_node
from webfarm.settings import Settings, forget_reads

try:
    settings = Settings.from_env(os.environ)
except SettingsError as error:
    print(f"webfarm: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(2)

worker_class = "webfarm.Worker"
workers = 1 if settings.port else settings.workers
bind = join_address(settings.host, settings.port or settings.base_port)

timeout = 30  # without a sign of life from its event loop a worker is replaced
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # those signs must not wait for a disk
worker_connections = 65_536  # clients per worker; as many as open files allow where that is less
backlog = 4096  # connections that wait while a worker is replaced
graceful_timeout = int(settings.drain_s) + 5  # the worker itself stops two seconds or so after the drain
control_socket_disable = True  # its default path is shared by all masters of one user
proc_name = "webfarm"
forget_reads()  # an app may leave unused what is read here


def nworkers_changed(server: Any, new_value: int, old_value: int | None) -> None:
    """One listener per worker; called before the listeners are made, and again on HUP, TTIN and TTOU."""
    if not hasattr(server.worker_class, "spread_binds"):
        print("webfarm: the worker class must be webfarm.Worker; leave -k out.", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    server.worker_class.spread_binds(server)


def on_starting(server: Any) -> None:
    """Say once what the environment has that it should not; let a worker open as many files as allowed."""
    for warning in settings.warnings:
        server.log.warning(warning)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it; the limit then stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server.worker_class.check_ports(server.cfg)
    server.worker_class.attach_watchdog(server)


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker its slot, which is the listener it serves."""
    worker.take_slot(server.WORKERS.values())


def post_fork(server: Any, worker: Any) -> None:
    """Keep the slot's own listener, close the others."""
    if server.cfg.reload:
        load_anew(server.log)
    worker.keep_own_listener()
    set_node(worker.node)


def load_anew(log: Any) -> None:
    """Load what the master has loaded of an app's own modules: it may have been edited since (``--reload``)."""
    for name in ("webfarm.errors", "webfarm.settings"):
        try:
            importlib.reload(sys.modules[name])
        except Exception:
            log.exception("%s can't be loaded; it stays as it was.", name)


def post_worker_init(worker: Any) -> None:
    """The app is loaded: the first worker says which settings it leaves unused."""
    from webfarm.settings import list_unused  # with ``--reload`` the module was loaded again

    for name in list_unused(settings) if worker.slot == 0 else ():
        worker.log.warning("%s is set, but this app does not use it: webfarm.Farm would, or read farm.settings.", name)


def worker_int(worker: Any) -> None:
    """A source file was edited (``--reload``): send the clients away at once; they are back as soon as it is loaded."""
    worker.handle_quit(signal.SIGQUIT, None)


_packets = "INFO" if settings.log_level == "debug" else "WARNING"
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "webfarm.logs.TextFormatter"},
        "json": {"()": "webfarm.logs.JSONFormatter"},
    },
    "handlers": {"stderr": {"class": "webfarm.logs.StderrHandler", "formatter": settings.log_format}},
    "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
    "loggers": {
        # Each logs one line per packet, at INFO.
        "engineio": {"level": _packets},
        "socketio": {"level": _packets},
        "geventwebsocket": {"level": "WARNING"},
        "websockets": {"level": "WARNING"},
        "gunicorn.error": {"level": settings.log_level.upper(), "handlers": [], "propagate": True},
        "gunicorn.access": {"level": "INFO", "handlers": [], "propagate": True},
    },
}
