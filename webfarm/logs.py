"""How a log line looks: as text, or as JSON. The fields that it was given (``extra``) stand behind the text by name.

Both have one line for one event, whatever a client has put into a field. Only a traceback has lines of its own, which
are indented. gunicorn's configuration imports this before anything is patched.
"""

import contextlib
import logging
import os
import time
from typing import Any

from pythonjsonlogger.json import JsonFormatter

_STANDARD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime"))
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:@#/+_-")

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}  # syslog's

_process: dict[str, str] = {}  # what each line of this process tells


def set_node(node: str) -> None:
    """Have each line of this process say that it is of ``node``."""
    _process["node"] = node


class StderrHandler(logging.StreamHandler[Any]):
    """To stderr; where that is systemd's journal, which then takes it off again, each line begins with its priority."""

    def __init__(self) -> None:
        super().__init__()
        self._is_journal = False
        with contextlib.suppress(OSError):  # no stderr
            stream = os.fstat(2)
            self._is_journal = os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._is_journal:
            return text
        return "\n".join(f"<{_PRIORITIES.get(record.levelno, 6)}>{line}" for line in text.split("\n"))


class TextFormatter(logging.Formatter):
    """``time LEVEL logger: text key=value key='another value'``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._second, self._time = -1, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        second = int(record.created)
        if second != self._second:  # to format it costs as much as all the rest
            self._second, self._time = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._time},{int(record.msecs):03}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        parts = [_escape(super().formatMessage(record))]
        parts += [f"{key}={_quote(value)}" for key, value in record.__dict__.items() if key not in _STANDARD]
        parts += [f"{key}={value}" for key, value in _process.items()]
        parts.append(f"process={record.process}")
        return " ".join(parts)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(f"  {_escape(line)}" for line in super().formatException(ei).split("\n"))


class JSONFormatter(JsonFormatter):
    """One object; fields are keys of their own."""

    def __init__(self) -> None:
        super().__init__(["asctime", "levelname", "name", "message", "process"])

    def process_log_record(self, log_data: Any) -> Any:
        log_data.update(_process)
        return super().process_log_record(log_data)


def _quote(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if text and _BARE.issuperset(text) else ascii(text)


def _escape(text: str) -> str:
    """Return ``text`` without a character that ends a line, or does more to a terminal than to be shown."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
