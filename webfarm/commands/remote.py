"""The commands that reach a running farm from outside, through its Redis: ``emit``, ``kick``, ``erase``."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from webfarm.errors import BadRequest, TooLarge
from webfarm.settings import Settings

if TYPE_CHECKING:  # Redis' and Socket.IO's packages are slow to import, and only these commands need them
    from webfarm.emitter import Emitter


@click.command()
@click.argument("event")
@click.argument("data", metavar="JSON")
@click.option("--room", help="To all clients in this room.")
@click.option("--user", help="To all clients of this user; one who is absent gets it on the next connection.")
@click.option("--all", "everybody", is_flag=True, help="To everybody.")
@click.option("--json", "as_json", is_flag=True, help="Print an object: {id, nodes}.")
def emit(event: str, data: str, room: str | None, user: str | None, everybody: bool, as_json: bool) -> None:
    """Store EVENT with the argument JSON, and deliver it; print its id and how many nodes it reached.

    Exactly one of --room, --user and --all says to whom. With - for JSON it is read from standard input.
    """
    from webfarm.socketio.external_events import create_message, get_target_room, parse_json

    settings = Settings.from_env(os.environ)
    target = get_target_room(room=room, user=user, everybody=everybody)
    text = sys.stdin.buffer.read(settings.max_message_bytes + 1) if data == "-" else os.fsencode(data)
    if len(text) > settings.max_message_bytes:
        raise TooLarge(f"A message has at most {settings.max_message_bytes} bytes (WEBFARM_MAX_MESSAGE_BYTES).")
    name, arguments = create_message(event, parse_json(text), room)
    with _open(settings) as farm:
        stored = farm.store(name, arguments, target)
    if as_json:
        click.echo(json.dumps({"id": str(stored.id), "nodes": stored.nodes}))
    else:
        click.echo(f"{stored.id}, {_count(stored.nodes, 'node')}")


@click.command()
@click.argument("user")
def kick(user: str) -> None:
    """Disconnect every client of USER, on every node, and end the sessions of those that are away.

    Who is kicked may connect anew.
    """
    from webfarm.socketio.external_events import get_target_room

    settings = Settings.from_env(os.environ)
    room = get_target_room(user=user)
    with _open(settings) as farm:
        ended, nodes = farm.disconnect(room, user=user)
    click.echo(f"{_count(ended.connected, 'client')} disconnected, {ended.away} away; {_count(nodes, 'node')} told")


@click.command()
@click.option("--user", help="What was sent to this user or its sockets, its invitations, its sessions: it is kicked.")
@click.option("--room", help="All messages of this room.")
def erase(user: str | None, room: str | None) -> None:
    """Delete what is stored of a user or of a room.

    What a user wrote in rooms is part of those rooms. Clients that had not received all that was erased
    are told so when they come back: they are not recovered.
    """
    from webfarm.socketio.external_events import get_target_room, get_user_room

    settings = Settings.from_env(os.environ)
    if (room is None) == (user is None):
        raise BadRequest("Exactly one of --user and --room is needed.")
    target = get_target_room(room=room, user=user)
    with _open(settings) as farm:
        if user is not None:
            farm.disconnect(target, user=user)
            count = farm.erase_user(user, get_user_room(user))
        else:
            count = farm.erase(target)
    click.echo(f"{_count(count, 'message')} erased")


@contextlib.contextmanager
def _open(settings: Settings) -> Iterator["Emitter"]:
    from webfarm.emitter import Emitter, Retention

    limits = Retention(settings.history_length, settings.history_bytes, settings.history_ttl_s)
    options = {"wait_replicas": settings.wait_replicas, "shards": settings.shards}
    farm = Emitter(settings.redis_url, settings.prefix, history=limits, **options)
    with contextlib.closing(farm):
        yield farm


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
