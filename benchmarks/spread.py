"""How evenly does HAProxy spread users over 8 workers?

    .venv/bin/python -m benchmarks.spread

For each way of hashing and each kind of ids it shows the fewest and the most users of a worker. First 600 users are
connected at once (75 each would be even), then 20,000 come one after the other (2,500 each). It also shows whether the
users ``0`` and ``1`` of the demo land on different workers of two. The first row is a fair die: no hash can be expected
to be better. Real HAProxy; it plays the workers too: one that waits for more, and one that answers with the server's
name.
"""

import contextlib
import csv
import http.client
import io
import random
import socket
import tempfile
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.processes import Process, get_free_ports, is_listening, wait_until
from webfarm.run.programs import find_haproxy

WORKERS, CONNECTED, COMING = 8, 600, 20_000


@dataclass(frozen=True)
class Way:
    """A way of hashing, as HAProxy's configuration has it; ``factor`` is ``hash-balance-factor``."""

    hash: str = ""
    weight: int = 1
    factor: int = 0


WAYS = (
    Way(),
    *(Way(f"{name} avalanche") for name in ("djb2", "wt6", "crc32")),
    Way("crc32"),
    *(Way(factor=factor) for factor in (150, 125, 110)),
    *(Way(weight=weight) for weight in (16, 32, 64, 128, 256)),
    Way("crc32 avalanche", 64),
    Way(weight=64, factor=110),
)
KINDS = {
    "numbers": lambda number: str(number),
    "names": lambda number: f"user-{number:05}@example.org",
    "UUIDs": lambda number: str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4)),
}


class Balancer:
    """A context manager: an HAProxy with a frontend for each way, number of workers, and what the workers do."""

    def __init__(self) -> None:
        self._first = get_free_ports(3 + 3 * len(WAYS))
        self._stats = f"http://127.0.0.1:{self._first + 2}/;csv"

    def __enter__(self) -> "Balancer":
        with contextlib.ExitStack() as stack:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "haproxy.cfg"
            path.write_text("\n".join(self._render()) + "\n")
            process = Process(find_haproxy(), "-db", "-f", str(path))
            stack.callback(process.kill)
            wait_until(lambda: is_listening(self._first + 2), "HAProxy", process)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _render(self) -> Iterator[str]:
        yield "defaults\n mode http\n option abortonclose"
        yield " timeout connect 5s\n timeout client 60s\n timeout server 60s"
        yield f"listen holding\n mode tcp\n bind 127.0.0.1:{self._first}"
        yield " tcp-request inspect-delay 60s\n tcp-request content reject if { req.len gt 10000 }"
        yield f"listen telling\n bind 127.0.0.1:{self._first + 1}"
        yield " http-request return status 200 content-type text/plain lf-string %[req.hdr(x-webfarm-server)]"
        yield f"listen statistics\n bind 127.0.0.1:{self._first + 2}\n stats enable\n stats uri /"
        for index, way in enumerate(WAYS):
            for kind, (workers, port) in enumerate(((WORKERS, 0), (WORKERS, 1), (2, 1))):
                bind = self._first + 3 + 3 * index + kind
                yield f"listen {bind}\n bind 127.0.0.1:{bind}"
                yield f" balance url_param userId\n hash-type consistent {way.hash}"
                yield f" hash-balance-factor {way.factor}\n http-send-name-header X-Webfarm-Server"
                for number in range(workers):
                    yield f" server w{number} 127.0.0.1:{self._first + port} weight {way.weight}"

    def connect(self, way: Way, users: Sequence[str]) -> list[int]:
        """Return how many connections each worker has when all users have one."""
        port = self._first + 3 + 3 * WAYS.index(way)
        with contextlib.ExitStack() as stack:
            for user in users:
                wire = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                wire.sendall(f"GET /?userId={user} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            wait_until(lambda: sum(self._count(port)) == len(users), f"{len(users)} connections")
            return self._count(port)

    def _count(self, port: int) -> list[int]:
        with urllib.request.urlopen(self._stats, timeout=10) as answer:
            rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
        return [int(row["scur"]) for row in rows if row["# pxname"] == str(port) and row["svname"].startswith("w")]

    def ask(self, way: Way, users: Sequence[str], workers: int = WORKERS) -> Counter[str]:
        """Return how many users each worker is asked by, one after the other."""
        port = self._first + 3 + 3 * WAYS.index(way) + (1 if workers == WORKERS else 2)
        counts = Counter[str]()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            for user in users:
                connection.request("GET", f"/?userId={user}")
                counts[connection.getresponse().read().decode()] += 1
        return counts


def main() -> None:
    rows = [("hash", "weight", "balance factor", *KINDS, *(f"{COMING:,} {kind}" for kind in KINDS), "0 and 1 apart")]
    rows += [("---",) * len(rows[0]), ("a fair die", "", "", *map(_throw, [CONNECTED] * 3 + [COMING] * 3), "")]
    with Balancer() as balancer:
        for way in WAYS:
            connected = [balancer.connect(way, [get_id(n) for n in range(CONNECTED)]) for get_id in KINDS.values()]
            coming = [balancer.ask(way, [get_id(n) for n in range(COMING)]).values() for get_id in KINDS.values()]
            is_apart = len(balancer.ask(way, "01", 2)) == 2
            head = (way.hash or "sdbm avalanche", str(way.weight), str(way.factor or ""))
            spreads = [f"{min(counts)} to {max(counts)}" for counts in connected]
            spreads += ["as without" if way.factor else f"{min(counts)} to {max(counts)}" for counts in coming]
            rows.append((*head, *spreads, "yes" if is_apart else "no"))
    click.echo("\n".join(f"| {' | '.join(row)} |" for row in rows))


def _throw(count: int) -> str:
    """Return the medians of the fewest and the most users of a worker over 100 throws of all."""
    throws = [sorted(Counter(random.choices(range(WORKERS), k=count)).values()) for _ in range(101)]
    fewest, most = (sorted(throw[end] for throw in throws)[50] for end in (0, -1))
    return f"{fewest} to {most}"


if __name__ == "__main__":
    main()
