"""The settings: one frozen dataclass, and the only reader of the environment.

Each field names its variable, how the text is read and what is expected of it; the README's table is
held to these fields by a test.
"""

import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self
from urllib.parse import urlsplit

from webfarm.errors import SettingsError
from webfarm.redis.url import URL_RULE, check_redis_url, get_default_shards, get_default_wait_replicas, without_password

#: How long a node that is not heard of counts as living, in seconds.
LEASE_S = 6

_KEY_LENGTH = 16  # what nobody guesses, if it is random

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OPEN_MODE = "WEBFARM_SECRET is not set: every client is believed to be the userId that it names (open mode)."


def _int(low: int, high: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not _WHOLE_NUMBER.fullmatch(text):
            raise ValueError
        value = int(text)
        if value < low or (high is not None and value > high):
            raise ValueError
        return value

    bounds = f"from {low} to {high}" if high is not None else f"of at least {low}"
    parse.__doc__ = f"a whole number {bounds}"
    return parse


def _seconds(low: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or value < low:
            raise ValueError
        return value

    parse.__doc__ = f"a number of seconds of at least {low:g}"
    return parse


def _positive_seconds(text: str) -> float:
    """a number of seconds above 0"""
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise ValueError
    return value


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in names:
            raise ValueError
        return text.lower()

    parse.__doc__ = f"one of {', '.join(names)}"
    return parse


def _redis_url(text: str) -> str:
    check_redis_url(text)
    return text


_redis_url.__doc__ = URL_RULE


def _secret(text: str) -> str:
    """a secret of at least 32 bytes"""
    if len(text.encode()) < 32:
        raise ValueError
    return text


def _non_empty(text: str) -> str:
    """a text that is not empty"""
    if not text.strip():
        raise ValueError
    return text


def _host(text: str) -> str:
    """an address to bind, like 127.0.0.1"""
    text = text.removeprefix("[").removesuffix("]")
    if not text or not text.isprintable() or any(c in text for c in " /[]"):
        raise ValueError
    return text


def _origins(text: str) -> tuple[str, ...]:
    """a comma-separated list of origins like https://chat.example.org, or *"""
    return tuple(parse_origin(part.strip()) for part in text.split(","))


def parse_origin(text: str) -> str:
    """Return an origin as browsers write it: lower case, without the scheme's own port. Raises ``ValueError``."""
    parts = urlsplit(text.rstrip("/").lower())
    if text == "*":
        return text
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.path or parts.query or parts.username:
        raise ValueError
    return f"{parts.scheme}://{parts.netloc}".removesuffix(f":{_DEFAULT_PORTS[parts.scheme]}")


def _networks(text: str) -> tuple[str, ...]:
    """a comma-separated list of addresses or networks like 127.0.0.1,10.0.0.0/8"""
    return tuple(str(ipaddress.ip_network(part.strip(), strict=False)) for part in text.split(","))


def _prefix(text: str) -> str:
    """1 to 32 letters, digits, dots, dashes or underscores, and not socketio, the default farm's channel"""
    if (
        text == "socketio"
        or not 1 <= len(text) <= 32
        or not all(c.isascii() and (c.isalnum() or c in "._-") for c in text)
    ):
        raise ValueError
    return text


def _setting(env: str, parse: Callable[[str], Any], default: Any, *, secret: bool = False) -> Any:
    """Declare a field read from the variable ``env``; ``secret`` keeps its value out of errors and ``repr``."""
    return field(default=default, metadata={"env": env, "parse": parse, "secret": secret}, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set; durations in seconds, sizes in bytes."""

    redis_url: str = _setting("REDIS_URL", _redis_url, "redis://localhost:6379/0")
    shards: int = _setting("WEBFARM_SHARDS", _int(1, 1024), 1)
    wait_replicas: int = _setting("WEBFARM_WAIT_REPLICAS", _int(0, 100), 0)
    host: str = _setting("WEBFARM_HOST", _host, "127.0.0.1")
    base_port: int = _setting("WEBFARM_BASE_PORT", _int(1, 65535), 3001)
    workers: int = _setting("WEBFARM_WORKERS", _int(1, 1024), 2)
    port: int | None = _setting("PORT", _int(1, 65535), None)
    secret: str | None = _setting("WEBFARM_SECRET", _secret, None, secret=True)
    allowed_origins: tuple[str, ...] | None = _setting("WEBFARM_ALLOWED_ORIGINS", _origins, None)
    trusted_proxies: tuple[str, ...] = _setting("WEBFARM_TRUSTED_PROXIES", _networks, ("127.0.0.1/32",))
    recovery_window_s: float = _setting("WEBFARM_RECOVERY_WINDOW_S", _seconds(0), 120.0)
    history_length: int = _setting("WEBFARM_HISTORY_LENGTH", _int(1), 10_000)
    history_bytes: int = _setting("WEBFARM_HISTORY_BYTES", _int(1), 16_777_216)
    history_ttl_s: float = _setting("WEBFARM_HISTORY_TTL_S", _seconds(1), 86_400.0)
    max_message_bytes: int = _setting("WEBFARM_MAX_MESSAGE_BYTES", _int(1), 1_000_000)
    max_outbox_bytes: int = _setting("WEBFARM_MAX_OUTBOX_BYTES", _int(1), 1_048_576)
    rate_limit: int = _setting("WEBFARM_RATE_LIMIT", _int(0), 50)
    rate_limit_bytes: int = _setting("WEBFARM_RATE_LIMIT_BYTES", _int(0), 1_000_000)
    max_connections_per_user: int = _setting("WEBFARM_MAX_CONNECTIONS_PER_USER", _int(1), 20)
    max_rooms_per_client: int = _setting("WEBFARM_MAX_ROOMS_PER_CLIENT", _int(1), 100)
    connect_timeout_s: float = _setting("WEBFARM_CONNECT_TIMEOUT_S", _positive_seconds, 10.0)
    ping_interval_s: float = _setting("WEBFARM_PING_INTERVAL_S", _positive_seconds, 25.0)
    ping_timeout_s: float = _setting("WEBFARM_PING_TIMEOUT_S", _positive_seconds, 20.0)
    drain_s: float = _setting("WEBFARM_DRAIN_S", _seconds(0), 10.0)
    prefix: str = _setting("WEBFARM_PREFIX", _prefix, "webfarm")
    admin_password: str | None = _setting("WEBFARM_ADMIN_PASSWORD", _non_empty, None, secret=True)
    api_key: str | None = _setting("WEBFARM_API_KEY", _non_empty, None, secret=True)
    run_key: str | None = _setting("WEBFARM_RUN_KEY", _non_empty, None, secret=True)
    log_level: str = _setting("WEBFARM_LOG_LEVEL", _choice("debug", "info", "warning", "error"), "info")
    log_format: str = _setting("WEBFARM_LOG_FORMAT", _choice("text", "json"), "text")

    #: Sentences about the environment that a start should log once.
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from ``environ`` (usually ``os.environ``).

        Raises:
            SettingsError: a value is bad; the text names the variable, its value and what was expected.
        """
        known = {f.metadata["env"]: f for f in fields(cls) if f.metadata}
        values: dict[str, Any] = {f.name: _parse(f, env, environ[env]) for env, f in known.items() if env in environ}
        if "WEB_CONCURRENCY" in environ and "WEBFARM_WORKERS" not in environ:
            values["workers"] = _parse(known["WEBFARM_WORKERS"], "WEB_CONCURRENCY", environ["WEB_CONCURRENCY"])
        values = _get_defaults(values.get("redis_url", "")) | values
        values["warnings"] = (
            *(() if "WEBFARM_SECRET" in environ else [_OPEN_MODE]),
            *_warn_of_key(values.get("api_key")),
            *(
                _unknown_warning(name, known)
                for name in sorted(environ)
                if name.startswith("WEBFARM_") and name not in known
            ),
        )
        settings = cls(**values)
        if settings.base_port + settings.workers - 1 > 65535:
            raise SettingsError(
                f"WEBFARM_BASE_PORT has value '{settings.base_port}': {settings.workers} workers need ports up to"
                f" {settings.base_port + settings.workers - 1}, and the last port is 65535."
            )
        if settings.history_ttl_s < settings.recovery_window_s + LEASE_S:
            needed = settings.recovery_window_s + LEASE_S
            raise SettingsError(
                f"WEBFARM_HISTORY_TTL_S has value '{settings.history_ttl_s:g}': expected at least {needed:g},"
                f" WEBFARM_RECOVERY_WINDOW_S and {LEASE_S} more, or what a client missed is gone before it is back."
            )
        return settings

    @property
    def engine_options(self) -> dict[str, Any]:
        """What an ``EngineServer``, or a ``Server`` around one, is told of times and sizes."""
        return {
            "ping_interval": self.ping_interval_s,
            "ping_timeout": self.ping_timeout_s,
            "max_http_buffer_size": self.max_message_bytes,
            "max_outbox_bytes": self.max_outbox_bytes,
            "drain_s": self.drain_s,
        }

    @property
    def channel(self) -> str:
        """The Redis channel that stock python-socketio emitters publish on."""
        return "socketio" if self.prefix == "webfarm" else self.prefix


def _get_defaults(redis_url: str) -> dict[str, int]:
    """Return the defaults that depend on what kind of Redis it is."""
    return {"shards": get_default_shards(redis_url), "wait_replicas": get_default_wait_replicas(redis_url)}


def _parse(setting: Any, env: str, text: str) -> Any:
    try:
        return setting.metadata["parse"](text)
    except (ValueError, UnicodeError):
        expected = setting.metadata["parse"].__doc__
        shown = f"{len(text)} characters" if setting.metadata["secret"] else f"value {without_password(text)!r}"
        raise SettingsError(f"{env} has {shown}: expected {expected}.") from None


def _warn_of_key(key: str | None) -> list[str]:
    if key is None or len(key) >= _KEY_LENGTH:
        return []
    return [f"WEBFARM_API_KEY has {len(key)} characters, and nobody who guesses is held up: use {_KEY_LENGTH} or more."]


def _unknown_warning(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"{name} is not a setting of this version" + (f"; did you mean {close[0]}?" if close else ".")
