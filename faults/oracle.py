"""The oracle: from what the clients tell, what was promised and not kept. Pure.

An event is a dictionary with ``event`` and ``client``:

========================  =========================================  ==========================================
``connect``               ``recovered``, ``ms`` since it was lost    ``None`` the first time
``disconnect``            ``reason``
``sent``                  ``number``, ``room``, ``last``             ``last``: when all was quiet again
``acknowledged``          ``number``, ``id``                         the server's id, ``None`` if it gives none
``failed``                ``number``, ``reason``                     refused, or given up
``got``                   ``sender``, ``number``, ``id``, ``room``
``end``                   ``connected``
========================  =========================================  ==========================================

A *message* is known by sender and number, whatever ids it was stored under. A client's life consists of *segments*:
each begins with a connection that was not recovered. Within a segment no message of a room may be missing between the
first and the last received one. For a client that is connected at the run's end, the segment goes up to that end.

A message to a user is delivered at least once: a repeat in a later segment is no duplicate.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
Message = tuple[str, int]  # sender, number
Stream = tuple[str, ...]  # messages with one order

#: What must be zero, whatever happened: a field of ``Verdict``, and what the table calls it.
ZEROS = {
    "lost": "acknowledged, lost",
    "duplicates": "duplicates",
    "stored_twice": "stored twice",
    "out_of_order": "out of order",
    "differing": "orders differ",
    "gaps": "silent gaps",
}
_EXAMPLES = 3


@dataclass
class Verdict:
    """What a run came to."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    lost: int = 0
    duplicates: int = 0
    stored_twice: int = 0
    out_of_order: int = 0
    differing: int = 0
    gaps: int = 0
    recovered: int = 0
    not_recovered: int = 0
    p50: float | None = None  # ms from a loss to being back
    p99: float | None = None
    longest: float | None = None
    #: Of each kind of fault the first few.
    examples: list[str] = field(default_factory=list)

    @property
    def faults(self) -> dict[str, int]:
        """What should be zero and isn't."""
        return {label: getattr(self, name) for name, label in ZEROS.items() if getattr(self, name)}


@dataclass
class _Client:
    segments: list[list[Event]] = field(default_factory=list)
    has_connected: bool = False
    is_connected: bool = False


class _Run:
    """A run's events, sorted."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.clients: dict[str, _Client] = defaultdict(_Client)
        self.rooms: dict[Message, str] = {}
        self.origins: dict[Message, list[Event]] = {}  # the segment of its sender
        self.ids: dict[Message, set[str]] = defaultdict(set)
        self.last: set[Message] = set()
        self.acknowledged: set[Message] = set()
        self.received: set[Message] = set()
        self.failed = 0
        self.recovered = Counter[bool]()
        self.times: list[float] = []
        for event in events:
            if take := getattr(self, f"_take_{event['event']}", None):
                take(event, self.clients[event["client"]])
        self.has_ids = any(self.ids.values())
        self.streams: dict[Stream, dict[Message, int]] = defaultdict(dict)
        for message in self.acknowledged | self.received:
            self.streams[self.get_stream(message)][message] = self.get_position(message)

    def _take_connect(self, event: Event, client: _Client) -> None:
        if client.has_connected:
            self.recovered[event["recovered"]] += 1
            self.times.append(event["ms"])
        client.has_connected = True
        if not event["recovered"] or not client.segments:
            client.segments.append([])

    def _take_sent(self, event: Event, client: _Client) -> None:
        message = event["client"], event["number"]
        self.rooms[message] = event["room"]
        self.origins[message] = client.segments[-1]
        if event["last"]:
            self.last.add(message)

    def _take_acknowledged(self, event: Event, client: _Client) -> None:
        message = event["client"], event["number"]
        self.acknowledged.add(message)
        if event["id"]:
            self.ids[message].add(event["id"])

    def _take_failed(self, event: Event, client: _Client) -> None:
        self.failed += 1

    def _take_got(self, event: Event, client: _Client) -> None:
        message = get_message(event)
        self.received.add(message)
        if event["id"]:
            self.ids[message].add(event["id"])
        if not client.segments:  # a server that sends before it has said that the client is connected
            client.segments.append([])
        client.segments[-1].append(event)

    def _take_end(self, event: Event, client: _Client) -> None:
        client.is_connected = event["connected"]

    def get_stream(self, message: Message) -> Stream:
        """Return the stream of a message: its room's, where there are ids, else its sender's in that room."""
        room = self.rooms[message]
        return (room,) if self.has_ids else (room, message[0])

    def get_position(self, message: Message) -> int:
        """Return its place in its stream; that of one stored twice is the first."""
        return min(map(int, self.ids[message]), default=0) if self.has_ids else message[1]


def get_message(event: Event) -> Message:
    """Return which message a ``got`` is about."""
    return event["sender"], event["number"]


def judge(events: Iterable[Event]) -> Verdict:
    """Return what a run came to."""
    run = _Run(events)
    gaps = sorted(set(_find_gaps(run)))
    unheard = {message for message in run.acknowledged - run.received if _must_be_heard(run, message)}
    lost = unheard | {message for _, message in gaps if message in run.acknowledged}
    found: dict[str, list[Any]] = {
        "lost": sorted(lost),
        "duplicates": list(_find_duplicates(run)),
        "stored_twice": [f"{m}: {sorted(ids)}" for m, ids in run.ids.items() if len(ids) > 1],
        "out_of_order": list(_find_unordered(run)),
        "differing": list(_find_differing(run)),
        "gaps": gaps,
    }
    return Verdict(
        sent=len(run.rooms),
        acknowledged=len(run.acknowledged),
        failed=run.failed,
        recovered=run.recovered[True],
        not_recovered=run.recovered[False],
        p50=_get_percentile(run.times, 50),
        p99=_get_percentile(run.times, 99),
        longest=max(run.times, default=None),
        examples=[f"{ZEROS[name]}: {one}" for name, all_ in found.items() for one in all_[:_EXAMPLES]],
        **{name: len(all_) for name, all_ in found.items()},
    )


def _must_be_heard(run: _Run, message: Message) -> bool:
    """Whether somebody must have got it: the user it was for, or its sender, unless that one lost its session."""
    return run.rooms[message].startswith("user ") or run.clients[message[0]].segments[-1] is run.origins[message]


def _find_gaps(run: _Run) -> Iterator[tuple[str, Message]]:
    """Yield who misses what."""
    for name, client in run.clients.items():
        for segment in client.segments:
            is_open = client.is_connected and segment is client.segments[-1]
            received = {get_message(event) for event in segment}
            by_stream: dict[Stream, list[int]] = defaultdict(list)
            for event in segment:
                position = int(event["id"]) if run.has_ids else event["number"]
                by_stream[run.get_stream(get_message(event))].append(position)
            for stream, positions in by_stream.items():
                end = math.inf if is_open else max(positions)
                for message, position in run.streams[stream].items():
                    if min(positions) <= position <= end and message not in received:
                        yield name, message
            if is_open:
                yield from ((name, message) for message in run.last & run.acknowledged - received)


def _find_duplicates(run: _Run) -> Iterator[str]:
    for name, client in run.clients.items():
        counts = Counter(
            (event["id"] or get_message(event), *_get_scope(event, number))
            for number, segment in enumerate(client.segments)
            for event in segment
        )
        for what, count in counts.items():
            yield from [f"{what} at {name}"] * (count - 1)


def _find_unordered(run: _Run) -> Iterator[str]:
    """Yield what came after a later one of its room, or of its sender in that room."""
    for name, client in run.clients.items():
        newest: dict[Any, int] = {}
        seen = set()
        for number, segment in enumerate(client.segments):
            for event in segment:
                scope = _get_scope(event, number)
                if (what := (event["id"] or get_message(event), scope)) in seen:
                    continue
                seen.add(what)
                orders: list[tuple[Any, int]] = [((event["sender"], scope), event["number"])]
                if event["id"]:
                    orders.append((scope, int(event["id"])))
                if any(newest.get(order, -1) > position for order, position in orders):
                    yield f"{get_message(event)} at {name}"
                for order, position in orders:
                    newest[order] = max(newest.get(order, -1), position)


def _get_scope(event: Event, segment: int) -> tuple[str, int]:
    """Return within what a message may come only once, and in order: its room; of messages to a user, the segment."""
    return event["room"], segment if event["room"].startswith("user ") else 0


def _find_differing(run: _Run) -> Iterator[str]:
    """Yield what a receiver saw in another order than the one who saw most of the room.

    What was stored twice has two places, and is a fault of its own.
    """
    rooms: dict[str, dict[str, dict[Message, None]]] = defaultdict(lambda: defaultdict(dict))
    for name, client in run.clients.items():
        for segment in client.segments:
            for event in segment:
                if len(run.ids[get_message(event)]) <= 1:
                    rooms[event["room"]][name].setdefault(get_message(event))
    for room, receivers in rooms.items():
        most = max(len(messages) for messages in receivers.values())
        longest = next(messages for messages in receivers.values() if len(messages) == most)
        places = {message: place for place, message in enumerate(longest)}
        for name, messages in receivers.items():
            newest = -1
            for message in messages:
                place = places.get(message, newest)
                if place < newest:
                    yield f"{message} in {room} at {name}"
                newest = max(newest, place)


def _get_percentile(values: list[float], percent: int) -> float | None:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1] if values else None
