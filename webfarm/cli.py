"""The ``webfarm`` command."""

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import click

from webfarm import auth, haproxy
from webfarm.commands import remote
from webfarm.errors import ClientError, Error, SettingsError
from webfarm.names import NAME_RULE, is_name
from webfarm.settings import Settings


class _Command(click.Group):
    """Turns the package's errors into one sentence on stderr and an exit code: 1 a fault, 2 wrong usage."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Error as error:
            click.echo(f"webfarm: {error}", err=True)
            context.exit(2 if isinstance(error, SettingsError | ClientError) else 1)


@click.group(cls=_Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("webfarm"), prog_name="webfarm")
def main() -> None:
    """A horizontally scaled Socket.IO chat server: workers on ports of their own, HAProxy in front, Redis behind."""


for command in (remote.emit, remote.kick, remote.erase):
    main.add_command(command)


@main.command()
@click.option("--workers", type=click.IntRange(1, 1024), help="Number of workers (WEBFARM_WORKERS, default 2).")
@click.option("--bind", default="127.0.0.1:3000", show_default=True, help="Where HAProxy listens.")
@click.option(
    "--base-port",
    type=click.IntRange(1, 65535),
    help="Port of the first worker (WEBFARM_BASE_PORT, default 3001).",
)
@click.option("--no-haproxy", is_flag=True, help="Only Redis and the workers.")
@click.option(
    "--cluster",
    type=click.IntRange(3, 32),
    metavar="N",
    help="A Redis Cluster instead of a single Redis: N primaries and N replicas, on ports from 6401.",
)
@click.option("--reload", is_flag=True, help="Restart the workers when a source file changes.")
def run(workers: int | None, base_port: int | None, bind: str, no_haproxy: bool, **options: Any) -> None:
    """Run the whole farm in the foreground: Redis, workers, HAProxy. Ctrl-C stops all of it.

    REDIS_URL names the Redis to use. Without it: the one that answers at the default URL, else redis-server or
    valkey-server on PATH, else the bundled Valkey. HAProxy: on PATH, else the bundled one.
    """
    from webfarm.run import farm

    environ = dict(os.environ)
    if "PORT" in environ:
        click.echo("webfarm: PORT is ignored here: workers count up from WEBFARM_BASE_PORT (--base-port).", err=True)
    overrides = {"WEBFARM_WORKERS": workers, "WEBFARM_BASE_PORT": base_port}
    environ |= {name: str(value) for name, value in overrides.items() if value is not None}
    sys.exit(farm.run(environ, bind=None if no_haproxy else bind, **options))


@main.command("haproxy-config")
@click.option(
    "--server", "servers", multiple=True, metavar="HOST:FIRST-LAST", default=["127.0.0.1:3001-3002"], show_default=True,
    help="The workers of one machine; once per machine. They become webserver01, webserver02, ...",
)  # fmt: skip
@click.option("--bind", default="*:3000", show_default=True, help="Where HAProxy listens.")
@click.option("--tls-cert", type=click.Path(), metavar="FILE", help="PEM file with certificate and key: speak TLS.")
@click.option(
    "--http-bind",
    metavar="HOST:PORT",
    help="Where browsers are sent on to HTTPS (default with --tls-cert and port 443: port 80 there); 'none' for none.",
)
@click.option("--metrics-bind", metavar="HOST:PORT", help="Where HAProxy's Prometheus exporter listens (default none).")
@click.option(
    "--source-rate",
    type=click.IntRange(0),
    default=haproxy.DEFAULT_SOURCE_RATE,
    show_default=True,
    help="New connections a second from one address; 0 for no limit.",
)
@click.option(
    "--source-connections",
    type=click.IntRange(0),
    default=haproxy.DEFAULT_SOURCE_CONNECTIONS,
    show_default=True,
    help="Open connections from one address; 0 for no limit.",
)
@click.option("--user", metavar="NAME", help="User and group that a HAProxy started by root becomes.")
def haproxy_config(
    servers: tuple[str, ...], bind: str, tls_cert: str | None, http_bind: str | None, **options: Any
) -> None:
    """Print the HAProxy configuration.

    Timeouts follow WEBFARM_PING_INTERVAL_S and WEBFARM_PING_TIMEOUT_S. HAProxy's statistics, at /haproxy?stats, are for its
    own machine; with WEBFARM_ADMIN_PASSWORD also for the user admin from elsewhere.
    """
    settings = Settings.from_env(os.environ)
    text = haproxy.render(
        haproxy.parse_ranges(servers),
        bind=bind,
        heartbeat_s=settings.ping_interval_s + settings.ping_timeout_s,
        tls_cert=os.path.abspath(tls_cert) if tls_cert else None,
        http_bind=haproxy.choose_http_bind(bind, tls_cert, http_bind),
        admin_password=settings.admin_password,
        **options,
    )
    click.echo(text, nl=False)


def _listing(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all listings have."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One array of objects instead of a table."),
        click.option("--node", help="Only this node: its name, its address, or HAProxy's name of it."),
        click.option("--room", help="Only this room, or what has clients there."),
        click.option("--user", help="Only this user, or what its clients are in."),
    ):
        function = option(function)
    return function


def _print_listing(name: str, as_json: bool, filters: dict[str, str | None]) -> None:
    from webfarm.commands import listing

    settings = Settings.from_env(os.environ)
    click.echo(listing.render(name, settings, listing.Filters(**filters), as_json=as_json))


@main.command()
@_listing
def clients(as_json: bool, **filters: str | None) -> None:
    """List who is connected, on all workers. REDIS_URL and WEBFARM_PREFIX say to which farm."""
    _print_listing("clients", as_json, filters)


@main.command()
@_listing
def rooms(as_json: bool, **filters: str | None) -> None:
    """List the rooms that somebody is in, with what is stored of each."""
    _print_listing("rooms", as_json, filters)


@main.command()
@_listing
def nodes(as_json: bool, **filters: str | None) -> None:
    """List the workers that live, on all machines."""
    _print_listing("nodes", as_json, filters)


@main.command()
@click.argument("user")
@click.option(
    "--ttl",
    type=click.IntRange(1),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="How long it is valid.",
)
@click.option("--room", "rooms", multiple=True, help="A private room that USER may join; may be given several times.")
def token(user: str, ttl: int, rooms: tuple[str, ...]) -> None:
    """Print a signed token for USER; needs WEBFARM_SECRET."""
    secret = Settings.from_env(os.environ).secret
    if secret is None:
        raise SettingsError("WEBFARM_SECRET is not set: it is the key that tokens are signed with.")
    if not is_name(user):
        raise SettingsError(f"USER must be {NAME_RULE}.")
    click.echo(auth.create_token(user, secret, ttl, rooms))


@main.command()
@click.argument("source", metavar="FROM_URL")
@click.argument("target", metavar="TO_URL")
@click.option("--shards", type=click.IntRange(1, 1024), help="Of the target (WEBFARM_SHARDS; 8 on a cluster, else 1).")
def migrate(source: str, target: str, shards: int | None) -> None:
    """Copy a stopped farm's messages and sessions from the Redis at FROM_URL to that at TO_URL, and check what arrived.

    WEBFARM_PREFIX says which farm. Clients that come back within WEBFARM_RECOVERY_WINDOW_S of the end recover, and get what
    they missed. FROM_URL stays as it is.
    """
    from webfarm.commands.migrate import Copied, migrate  # Redis' packages are slow to import

    def show(copied: Copied) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{copied} so far", err=True, nl=False)

    environ = dict(os.environ) | ({"WEBFARM_SHARDS": str(shards)} if shards else {})
    Settings.from_env(environ | {"REDIS_URL": source})
    settings = Settings.from_env(environ | {"REDIS_URL": target})
    copied = migrate(source, target, settings, show)
    if sys.stderr.isatty():
        click.echo(err=True)
    click.echo(f"{copied}, copied and compared. Start the farm with REDIS_URL={target}.")


@main.command()
@click.option(
    "--server", "servers", multiple=True, metavar="HOST:FIRST-LAST",
    help="The workers of one machine; once per machine (default: WEBFARM_HOST, WEBFARM_BASE_PORT, WEBFARM_WORKERS).",
)  # fmt: skip
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="Where browsers come: HAProxy.")
@click.option("--no-haproxy", is_flag=True, help="Look at the workers alone.")
@click.option("--json", "as_json", is_flag=True, help="One array of objects: {level, subject, text, remedy}.")
def doctor(servers: tuple[str, ...], url: str, no_haproxy: bool, as_json: bool) -> None:
    """Look at this machine, Redis, the workers and HAProxy; say what to do about each fault.

    It reads the same environment as the workers. Where systemd starts them:
    set -a; . /etc/webfarm/webfarm.env; set +a; webfarm doctor
    """
    from webfarm.doctor import examine, render, summarize  # Redis' packages are slow to import

    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"'{url}' is no URL, like https://chat.example.org.")
    findings = []
    for finding in examine(os.environ, haproxy.parse_ranges(servers), None if no_haproxy else url):
        findings.append(finding)
        if not as_json:
            click.echo(render(finding))
    click.echo(json.dumps([finding.to_dict() for finding in findings]) if as_json else summarize(findings))
    sys.exit(any(finding.level == "fault" for finding in findings))
