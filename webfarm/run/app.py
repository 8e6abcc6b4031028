"""Whether an app can be served: tried in a child process before ``webfarm run`` starts anything.

``python -m webfarm.run.app MODULE:APP`` imports the app as a worker does, with the standard library patched by gevent.
Its exit code says what failed; what the app prints is kept apart from it.
"""

import contextlib
import inspect
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from gunicorn.errors import AppImportError
from gunicorn.util import import_app

from webfarm.errors import Error
from webfarm.run.parent_death import get_preexec
from webfarm.service import Service

CONFIG = "gunicorn.conf.py"

_TIMEOUT_S = 60
_POLL_S = 0.1
_NO_MODULE, _NO_ATTRIBUTE, _NOT_CALLABLE, _FAILED, _FACTORY, _NO_FARM = 10, 11, 12, 13, 14, 15


def has_config(folder: Path) -> bool:
    """Return whether an app's folder has a configuration of gunicorn of its own.

    Raises:
        Error: that configuration would start workers that are not webfarm's.
    """
    config = folder.absolute() / CONFIG
    if config.exists() and "webfarm.gunicorn" not in config.read_text():
        raise Error(f"{config} starts other workers: begin it with 'from webfarm.gunicorn import *'.")
    return config.exists()


def check_app(app: str, environ: Mapping[str, str], raise_if_stopped: Callable[[], None]) -> None:
    """Import ``app`` (``MODULE:APP``, of the current folder) in a child process.

    Args:
        app: what gunicorn would serve.
        environ: of the child.
        raise_if_stopped: is called ten times a second; what it raises ends the child and goes on to the caller.

    Raises:
        Error: the app isn't found, can't be served, or fails to import; its traceback is then on stderr.
    """
    code, output = _run_child([sys.executable, "-m", "webfarm.run.app", app], environ, raise_if_stopped)
    if code is None:
        raise Error(f"{app} takes more than {_TIMEOUT_S} s to import: start its long work in a handler.")
    if code:
        if code not in (_NO_MODULE, _NO_ATTRIBUTE, _NOT_CALLABLE, _FACTORY, _NO_FARM):
            sys.stderr.buffer.write(output)
            sys.stderr.flush()
        raise Error(get_sentence(app, code))


def _run_child(
    argv: list[str], environ: Mapping[str, str], raise_if_stopped: Callable[[], None]
) -> tuple[int | None, bytes]:
    """Return the child's exit code, ``None`` after a minute, and its stderr. The child never outlives the call."""
    deadline = time.monotonic() + _TIMEOUT_S
    child = subprocess.Popen(
        argv,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=get_preexec(),
    )
    try:
        while time.monotonic() < deadline:
            raise_if_stopped()
            with contextlib.suppress(subprocess.TimeoutExpired):
                _, output = child.communicate(timeout=_POLL_S)
                return child.returncode, output
        return None, b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def get_sentence(app: str, code: int) -> str:
    """Return what failed, by the exit code of the child process, and what to do about it."""
    module, _, name = app.partition(":")
    hint = "go to the folder of the app, and name the app as MODULE:APP"
    sentences = {
        _NO_MODULE: f"there is no module {module!r} in {Path.cwd()}: {hint}.",
        _NO_ATTRIBUTE: f"the module {module!r} has no {name!r}: name the WSGI application that it has (MODULE:APP).",
        _NOT_CALLABLE: f"{app} is no WSGI application, as it can't be called: name a Flask app, or a webfarm.Farm.",
        _FACTORY: f"{app} does not take (environ, start_response): a factory is named with parentheses, '{app}()'.",
        _NO_FARM: f"{app} has no Farm: write farm = Farm({name if name.isidentifier() else 'app'}).",
    }
    return sentences.get(code, f"{app} can't be imported: fix the error above, and start again.")


def find_fault(app: str, application: Any) -> str | None:
    """Return a sentence if the application of ``app``, which is loaded, can't be served by webfarm's workers."""
    code = _check(application)
    return get_sentence(app, code) if code else None


def _check(application: Any) -> int:
    if not _takes_requests(application):
        return _FACTORY
    return 0 if Service.get_all() else _NO_FARM


def _takes_requests(application: Any) -> bool:
    """Whether a callable takes ``(environ, start_response)``, and needs them: a factory may have two defaults."""
    try:
        signature = inspect.signature(application)
    except (TypeError, ValueError):  # some callables of C have none
        return True
    if any(one.kind is one.VAR_POSITIONAL for one in signature.parameters.values()):
        return True
    return _can_bind(signature, None, None) and not _can_bind(signature)


def _can_bind(signature: inspect.Signature, *args: None) -> bool:
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def get_code(app: str, error: BaseException) -> int:
    """Return the exit code for an error that the import of ``app`` has raised."""
    module = app.partition(":")[0]
    is_missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
    return _NO_MODULE if is_missing else _FAILED


def _load(app: str) -> int:
    """Import the app as gunicorn does; return the exit code, after the traceback of an error on stderr."""
    module, _, name = app.partition(":")
    try:
        if not hasattr(import_module(module), name.partition("(")[0]):
            return _NO_ATTRIBUTE
        return _check(import_app(app))
    except AppImportError:
        return _NOT_CALLABLE
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return _report(app, error)


def _report(app: str, error: BaseException) -> int:
    trace = error.__traceback__
    while trace and ("importlib" in trace.tb_frame.f_code.co_filename or trace.tb_frame.f_globals is globals()):
        trace = trace.tb_next  # neither this file nor Python's import is of interest
    traceback.print_exception(error.with_traceback(trace))
    return get_code(app, error)


if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()
    sys.exit(_load(sys.argv[1]))
