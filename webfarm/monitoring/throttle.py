"""A log that no client can fill: one line a second for each text, with the number of the omitted lines."""

import logging
from typing import Any

import gevent

_WINDOW_S = 1.0


class Throttled(logging.LoggerAdapter[logging.Logger]):
    """A logger for lines that clients cause: ``log = Throttled(logging.getLogger(__name__))``.

    The first line with a text, arguments aside, is logged at once. The lines that follow within a second are counted;
    then the last of them is logged, with their number.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, {})
        self._counted: dict[object, tuple[int, tuple[object, ...], dict[str, Any]]] = {}

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if not self.isEnabledFor(level):
            return
        if msg in self._counted:
            self._counted[msg] = self._counted[msg][0] + 1, args, kwargs
        else:
            self._open_window(level, msg)
            self.logger.log(level, msg, *args, **kwargs)

    def _open_window(self, level: int, msg: object) -> None:
        self._counted[msg] = 0, (), {}
        gevent.spawn_later(_WINDOW_S, self._close_window, level, msg)

    def _close_window(self, level: int, msg: object) -> None:
        count, args, kwargs = self._counted.pop(msg)
        if count:
            self._open_window(level, msg)
            extra = kwargs.get("extra")
            self.logger.log(level, f"{msg} (the last of {count:,} more within a second)", *args, extra=extra)
