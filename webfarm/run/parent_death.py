"""Child processes that end with their parent, also when it is killed."""

import ctypes
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def get_preexec() -> Callable[[], None] | None:
    """Return the ``preexec_fn`` of a child that the kernel stops when its parent ends; ``None`` but on Linux."""
    return _die_with_parent if sys.platform == "linux" else None


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
