"""gunicorn's configuration for any app: one gevent worker per port.

::

    gunicorn -c python:webfarm.gunicorn MODULE:app

Without ``MODULE:app`` gunicorn serves ``WEBFARM_APP``. A project with settings of its own for gunicorn has a
``gunicorn.conf.py`` that begins with ``from webfarm.gunicorn import *``.

gunicorn's flags win over the environment: ``-w N`` sets the number of workers, and one ``-b HOST:PORT`` the first port.
As many ``-b`` as workers set every port.
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

wsgi_app = settings.app
worker_class = "webfarm.Worker"
workers = 1 if settings.port else settings.workers
bind = join_address(settings.host, settings.port or settings.base_port)

timeout = 30  # seconds; a worker whose event loop is silent that long is replaced
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a heartbeat must not wait for a disk
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
    """Log the warnings about the environment once; let a worker open as many files as allowed."""
    for warning in settings.warnings:
        server.log.warning(warning)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server.worker_class.check_ports(server.cfg)
    server.worker_class.attach_watchdog(server)


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker its slot, which is the listener it serves."""
    worker.take_slot(server.WORKERS.values())


def post_fork(server: Any, worker: Any) -> None:
    """Keep the slot's own listener, close the others."""
    if server.cfg.reload:
        load_again(server.log)
    worker.keep_own_listener()
    set_node(worker.node)


def load_again(log: Any) -> None:
    """Have the worker load the modules of the current folder that the master has loaded (``--reload``).

    Only the worker loads an app. But a ``gunicorn.conf.py`` may import modules of it, which may have changed since.
    Of webfarm itself only modules without state are loaded again, and only from a clone that is the current folder.
    """
    own = [name for name, module in sys.modules.items() if _is_of_folder(module)]
    for name in own:
        if name.partition(".")[0] != "webfarm":
            del sys.modules[name]
    for name in ("webfarm.errors", "webfarm.settings"):
        if name in own:
            try:
                importlib.reload(sys.modules[name])
            except Exception:
                log.exception("%s can't be loaded; it stays as it was.", name)


def _is_of_folder(module: Any) -> bool:
    path = getattr(module, "__file__", None) or ""
    is_installed = path.startswith((sys.prefix + os.sep, sys.base_prefix + os.sep)) or "site-packages" in path
    return path.startswith(os.getcwd() + os.sep) and module.__name__ != "__main__" and not is_installed


def post_worker_init(worker: Any) -> None:
    """The app is loaded: the first worker says whether it can be served, and what there is to warn of."""
    from webfarm.run.app import find_fault
    from webfarm.service import Service
    from webfarm.settings import explain_unused, list_unused  # with ``--reload`` the module was loaded again

    if worker.slot != 0:
        return
    if fault := find_fault(worker.app.app_uri or "", worker.wsgi):
        worker.log.error("%s", fault)
    for name in list_unused(settings):
        worker.log.warning("%s", explain_unused(name))
    for service in Service.get_all():
        for warning in service.list_warnings():
            worker.log.warning("%s", warning)


def worker_exit(server: Any, worker: Any) -> None:
    """Say in one sentence, below gunicorn's traceback, what to do about an app that can't be loaded."""
    ending = sys.exc_info()[1]
    if worker.pid != os.getpid() or worker.booted or not isinstance(ending, SystemExit) or not ending.__context__:
        return
    from webfarm.run.app import get_code, get_sentence

    app = server.app.app_uri or ""
    print(f"webfarm: {get_sentence(app, get_code(app, ending.__context__))}", file=sys.stderr, flush=True)  # noqa: T201


def worker_int(worker: Any) -> None:
    """A source file has changed (``--reload``): close the connections at once; clients resume when it is loaded."""
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
