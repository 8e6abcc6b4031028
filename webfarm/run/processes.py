"""The processes of a farm: started in sessions of their own, read, and stopped."""

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import honcho.process
from honcho.printer import Message

from webfarm.run.parent_death import get_preexec


class Part:
    """A child process in the current folder; a thread passes its lines on.

    Args:
        name: stands in front of its lines.
        argv: its command.
        environ: its environment.
        colour: of its name.
        messages: receives its lines.
        stop_signal: asks it to stop.
        is_replaceable: whether others can do its work if it ends by itself.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        environ: Mapping[str, str],
        colour: str,
        messages: "queue.Queue[Message]",
        stop_signal: int = signal.SIGTERM,
        is_replaceable: bool = False,
    ) -> None:
        self.name = name
        self.stop_signal = stop_signal
        self.is_replaceable = is_replaceable
        self._process = _Process(list(argv), name=name, colour=colour, env=dict(environ))
        self._thread = threading.Thread(target=self._process.run, args=(messages,), name=name, daemon=True)
        self._thread.start()
        while self._thread.is_alive() and self._process.pid is None:
            time.sleep(0.001)

    @property
    def is_running(self) -> bool:
        """Whether the process lives, or a child of it, which shares its output."""
        return self._thread.is_alive()

    def signal(self, signum: int) -> None:
        if self._process.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signum)

    def kill(self) -> None:
        """Kill the process and all of its children."""
        if self._process.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


class _Process(honcho.process.Process):
    """honcho's process without a shell. On Linux the kernel stops it when this process is killed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._child_ctor = partial(honcho.process.Popen, shell=False, preexec_fn=get_preexec())

    @property
    def pid(self) -> int | None:
        """The process's id, ``None`` while it is being started."""
        return self._child.pid if self._child else None
