"""The settings: one frozen dataclass, and the only reader of the environment.

Each field names its variable, its parser and its default; a test compares the README's table with these fields. Reading
a field that the environment gave is noted. At its start a worker warns of a variable whose field nothing has read.
"""

import difflib
import ipaddress
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self
from urllib.parse import urlsplit

from webfarm import defaults
from webfarm.defaults import LEASE_S
from webfarm.errors import SettingsError
from webfarm.redis.url import URL_RULE, check_redis_url, get_default_shards, get_default_wait_replicas, without_password

_KEY_LENGTH = 16  # a random key of this length can't be guessed

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OPEN_MODE = "WEBFARM_SECRET is not set: every client is believed to be the userId that it names (open mode)."
_NO_SETTINGS = frozenset(("WEBFARM_RUN_KEY",))  # `webfarm run` sets them for its own workers

_read: set[str] = set()  # the fields that were read in this process


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


def _app(text: str) -> str:
    """a module and its WSGI application like wsgi:app"""
    module, _, name = text.partition(":")
    if not module or not name or not text.isprintable() or " " in text:
        raise ValueError
    return text


def _prefix(text: str) -> str:
    """1 to 32 letters, digits, dots, dashes or underscores, and neither socketio nor flask-socketio"""
    if (
        text in ("socketio", "flask-socketio")  # the channels of farms with the default prefix
        or not 1 <= len(text) <= 32
        or not all(c.isascii() and (c.isalnum() or c in "._-") for c in text)
    ):
        raise ValueError
    return text


def _setting(
    env: str,
    parse: Callable[[str], Any],
    default: Any,
    *,
    secret: bool = False,
    is_for_app: bool = True,
    is_for_farm: bool = True,
) -> Any:
    """Declare a field that is read from the variable ``env``.

    Args:
        env: the variable.
        parse: reads its text; raises ``ValueError``, and says in its docstring which text is expected.
        default: the value without the variable.
        secret: whether errors and ``repr`` hide the value.
        is_for_app: whether the app must use it; otherwise the commands and gunicorn's configuration do.
        is_for_farm: whether ``Farm`` uses it in the name of every app.
    """
    metadata = {"env": env, "parse": parse, "secret": secret, "is_for_app": is_for_app, "is_for_farm": is_for_farm}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings; durations are in seconds, sizes in bytes."""

    redis_url: str = _setting("REDIS_URL", _redis_url, defaults.REDIS_URL, is_for_app=False)
    shards: int = _setting("WEBFARM_SHARDS", _int(1, 1024), None)
    wait_replicas: int = _setting("WEBFARM_WAIT_REPLICAS", _int(0, 100), None)
    host: str = _setting("WEBFARM_HOST", _host, defaults.HOST, is_for_app=False)
    base_port: int = _setting("WEBFARM_BASE_PORT", _int(1, 65535), defaults.BASE_PORT, is_for_app=False)
    workers: int = _setting("WEBFARM_WORKERS", _int(1, 1024), defaults.WORKERS, is_for_app=False)
    port: int | None = _setting("PORT", _int(1, 65535), None, is_for_app=False)
    app: str = _setting("WEBFARM_APP", _app, defaults.APP, is_for_app=False)
    secret: str | None = _setting("WEBFARM_SECRET", _secret, None, secret=True)
    allowed_origins: tuple[str, ...] | None = _setting("WEBFARM_ALLOWED_ORIGINS", _origins, None)
    trusted_proxies: tuple[str, ...] = _setting("WEBFARM_TRUSTED_PROXIES", _networks, defaults.TRUSTED_PROXIES)
    recovery_window_s: float = _setting("WEBFARM_RECOVERY_WINDOW_S", _seconds(0), defaults.RECOVERY_WINDOW_S)
    history_length: int = _setting("WEBFARM_HISTORY_LENGTH", _int(1), defaults.HISTORY_LENGTH)
    history_bytes: int = _setting("WEBFARM_HISTORY_BYTES", _int(1), defaults.HISTORY_BYTES)
    history_ttl_s: float = _setting("WEBFARM_HISTORY_TTL_S", _seconds(1), defaults.HISTORY_TTL_S)
    max_message_bytes: int = _setting("WEBFARM_MAX_MESSAGE_BYTES", _int(1), defaults.MAX_MESSAGE_BYTES)
    max_outbox_bytes: int = _setting("WEBFARM_MAX_OUTBOX_BYTES", _int(1), defaults.MAX_OUTBOX_BYTES)
    rate_limit: int = _setting("WEBFARM_RATE_LIMIT", _int(0), defaults.RATE_LIMIT)
    rate_limit_bytes: int = _setting("WEBFARM_RATE_LIMIT_BYTES", _int(0), defaults.RATE_LIMIT_BYTES)
    max_connections_per_user: int = _setting(
        "WEBFARM_MAX_CONNECTIONS_PER_USER", _int(1), defaults.MAX_CONNECTIONS_PER_USER
    )
    max_rooms_per_client: int = _setting(
        "WEBFARM_MAX_ROOMS_PER_CLIENT", _int(1), defaults.MAX_ROOMS_PER_CLIENT, is_for_farm=False
    )
    connect_timeout_s: float = _setting("WEBFARM_CONNECT_TIMEOUT_S", _positive_seconds, defaults.CONNECT_TIMEOUT_S)
    ping_interval_s: float = _setting("WEBFARM_PING_INTERVAL_S", _positive_seconds, defaults.PING_INTERVAL_S)
    ping_timeout_s: float = _setting("WEBFARM_PING_TIMEOUT_S", _positive_seconds, defaults.PING_TIMEOUT_S)
    drain_s: float = _setting("WEBFARM_DRAIN_S", _seconds(0), defaults.DRAIN_S)
    prefix: str = _setting("WEBFARM_PREFIX", _prefix, defaults.PREFIX)
    admin_password: str | None = _setting("WEBFARM_ADMIN_PASSWORD", _non_empty, None, secret=True)
    api_key: str | None = _setting("WEBFARM_API_KEY", _non_empty, None, secret=True)
    log_level: str = _setting(
        "WEBFARM_LOG_LEVEL", _choice("debug", "info", "warning", "error"), defaults.LOG_LEVEL, is_for_app=False
    )
    log_format: str = _setting("WEBFARM_LOG_FORMAT", _choice("text", "json"), defaults.LOG_FORMAT, is_for_app=False)

    #: Sentences about the environment that a start should log once.
    warnings: tuple[str, ...] = ()
    #: The names of the fields that the environment has set.
    given: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Take from Redis' URL what follows from it: on a cluster, for example, each message waits for a replica."""
        values = vars(self)  # which notes no read
        if values["shards"] is None:
            object.__setattr__(self, "shards", get_default_shards(values["redis_url"]))
        if values["wait_replicas"] is None:
            object.__setattr__(self, "wait_replicas", get_default_wait_replicas(values["redis_url"]))

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in super().__getattribute__("__dict__").get("given", ()) and not _is_listing():
            _read.add(name)
        return value

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
        values["given"] = frozenset(values)
        values["warnings"] = (
            *(() if "WEBFARM_SECRET" in environ else [_OPEN_MODE]),
            *_warn_of_key(values.get("api_key")),
            *(
                _unknown_warning(name, known)
                for name in sorted(environ)
                if name.startswith("WEBFARM_") and name not in known and name not in _NO_SETTINGS
            ),
        )
        settings = cls(**values)
        _check(vars(settings))
        return settings

    @property
    def engine_options(self) -> dict[str, Any]:
        """The times and sizes that an ``EngineServer``, or the ``Server`` around one, takes as arguments."""
        fields_of = {
            "ping_interval": "ping_interval_s",
            "ping_timeout": "ping_timeout_s",
            "max_http_buffer_size": "max_message_bytes",
            "max_outbox_bytes": "max_outbox_bytes",
            "drain_s": "drain_s",
        }
        _read.update(self.given.intersection(fields_of.values()))
        return {option: getattr(self, name) for option, name in fields_of.items()}


def _is_listing() -> bool:
    """Return whether ``repr``, ``==``, ``asdict`` or ``replace`` reads a field: these read all fields and use none."""
    return sys._getframe(2).f_globals.get("__name__") in ("dataclasses", __name__)


def list_unused(settings: Settings) -> list[str]:
    """Return the variables that the environment has set for the app, and that nothing in this process has read."""
    return [
        one.metadata["env"]
        for one in fields(Settings)
        if one.name in settings.given and one.metadata["is_for_app"] and one.name not in _read
    ]


def explain_unused(env: str) -> str:
    """Return a sentence for a variable of ``list_unused``: which code would use it."""
    [unused] = [one for one in fields(Settings) if one.metadata.get("env") == env]
    code = "webfarm.Farm would, or" if unused.metadata["is_for_farm"] else "only this repository's chat does; else"
    return f"{env} is set, but this app does not use it: {code} read farm.settings.{unused.name}."


def forget_reads() -> None:
    """Take what was read so far for unused: gunicorn's configuration reads settings, too."""
    _read.clear()


def _parse(setting: Any, env: str, text: str) -> Any:
    try:
        return setting.metadata["parse"](text)
    except (ValueError, UnicodeError):
        expected = setting.metadata["parse"].__doc__
        shown = f"{len(text)} characters" if setting.metadata["secret"] else f"value {without_password(text)!r}"
        raise SettingsError(f"{env} has {shown}: expected {expected}.") from None


def _check(values: Mapping[str, Any]) -> None:
    """Raise ``SettingsError`` if two settings contradict each other."""
    workers, first_port = values["workers"], values["base_port"]
    if first_port + workers - 1 > 65535:
        raise SettingsError(
            f"WEBFARM_BASE_PORT has value '{first_port}': {workers} workers need ports up to"
            f" {first_port + workers - 1}, and the last port is 65535."
        )
    ttl_s, needed_s = values["history_ttl_s"], values["recovery_window_s"] + LEASE_S
    if ttl_s < needed_s:
        raise SettingsError(
            f"WEBFARM_HISTORY_TTL_S has value '{ttl_s:g}': expected at least {needed_s:g}, which is"
            f" WEBFARM_RECOVERY_WINDOW_S and {LEASE_S}; otherwise Redis forgets what a client missed before it is back."
        )


def _warn_of_key(key: str | None) -> list[str]:
    if key is None or len(key) >= _KEY_LENGTH:
        return []
    return [f"WEBFARM_API_KEY has {len(key)} characters, and guesses have no limit: use {_KEY_LENGTH} or more."]


def _unknown_warning(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"{name} is not a setting of this version" + (f"; did you mean {close[0]}?" if close else ".")
