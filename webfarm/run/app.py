"""Whether an app can be served: tried in a child process before ``webfarm run`` starts anything.

``python -m webfarm.run.app MODULE:APP`` imports the app as a worker does, with the standard library patched by gevent.
Its exit code says what failed; what the app prints is kept apart from it.
"""

import subprocess
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from gunicorn.errors import AppImportError
from gunicorn.util import import_app

from webfarm.errors import Error

_TIMEOUT_S = 60
_NO_MODULE, _NO_ATTRIBUTE, _NOT_CALLABLE, _FAILED = 10, 11, 12, 13


def check_app(app: str, environ: Mapping[str, str]) -> None:
    """Import ``app`` (``MODULE:APP``, of the current folder) in a child process.

    Raises:
        Error: the app isn't found, isn't a WSGI application, or fails to import; its traceback is then on stderr.
    """
    argv = [sys.executable, "-m", "webfarm.run.app", app]
    try:
        done = subprocess.run(argv, env=dict(environ), capture_output=True, check=False, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Error(f"{app} takes more than {_TIMEOUT_S} s to import: start its long work in a handler.") from None
    if done.returncode:
        if done.returncode not in (_NO_MODULE, _NO_ATTRIBUTE, _NOT_CALLABLE):
            sys.stderr.buffer.write(done.stderr)
            sys.stderr.flush()
        raise Error(get_sentence(app, done.returncode))


def get_sentence(app: str, code: int) -> str:
    """Return what failed, by the exit code of the child process, and what to do about it."""
    module, _, name = app.partition(":")
    if code == _NO_MODULE:
        hint = "go to the folder of the app, and name the app as MODULE:APP"
        return f"there is no module {module!r} in {Path.cwd()}: {hint}."
    if code == _NO_ATTRIBUTE:
        return f"the module {module!r} has no {name!r}: name the WSGI application that it has (MODULE:APP)."
    if code == _NOT_CALLABLE:
        return f"{app} is no WSGI application, as it can't be called: name a Flask app, or a webfarm.Farm."
    return f"{app} can't be imported: fix the error above, and start again."


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
        import_app(app)
    except AppImportError:
        return _NOT_CALLABLE
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return _report(app, error)
    return 0


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
