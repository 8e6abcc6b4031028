"""A connection that was not let in: a counter, and a log line with fields by name (``extra``)."""

import logging
from typing import Any

from webfarm.monitoring.counters import counters
from webfarm.monitoring.throttle import Throttled

log = Throttled(logging.getLogger("webfarm.clients"))

_MAX_CODE = 64  # characters


def log_refusal(code: str, environ: dict[str, Any], **fields: Any) -> None:
    """Count and log a refused connection.

    Args:
        code: why, in a word; an app's own code that is too long counts as ``refused``.
        environ: the request's WSGI environment.
        fields: what else the line says. None of them may hold a secret.
    """
    code = code if isinstance(code, str) and len(code) <= _MAX_CODE else "refused"
    counters.connections_refused[code] += 1
    log.info("connect refused", extra={"code": code, "address": environ.get("REMOTE_ADDR"), **fields})
