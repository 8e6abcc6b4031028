"""What happens to a farm while its users talk: a function each, whose first line the table shows."""

import signal
import time

from faults.crowd import Crowd
from faults.site import WORKERS, Site

LEASE_S = 6
RELOADS = 20
ROUNDS = 3  # of a fault that happens again and again

# Workers


def kill_worker(site: Site, crowd: Crowd) -> None:
    """`kill -9` of a worker, again and again."""
    for number in range(ROUNDS):
        site.replace_worker(number % WORKERS, signal.SIGKILL)
        crowd.wait_until_connected()
        time.sleep(1)


def drain(site: Site, crowd: Crowd) -> None:
    """SIGTERM of each worker in turn."""
    for number in range(WORKERS):
        site.replace_worker(number, signal.SIGTERM)
        crowd.wait_until_connected()


def hup(site: Site, crowd: Crowd) -> None:
    """HUP of gunicorn's master."""
    site.reload_workers()
    crowd.wait_until_connected()


def rolling_restart(site: Site, crowd: Crowd) -> None:
    """300 users; each worker's systemd unit restarted, one after the other."""
    for number in range(WORKERS):
        site.restart_worker(number)


def kill_all_workers(site: Site, crowd: Crowd) -> None:
    """Every worker killed at once."""
    site.kill_all_workers()
    crowd.wait_until_connected()


def stop_worker(site: Site, crowd: Crowd) -> None:
    """SIGSTOP of a worker for 8 s."""
    with site.stopped(0):
        time.sleep(8)


def kill_worker_of_old_connections(site: Site, crowd: Crowd) -> None:
    """`kill -9` of a worker whose connections are older than the window (3 s)."""
    time.sleep(5)
    site.replace_worker(0, signal.SIGKILL)
    crowd.wait_until_connected()


def wake_worker(site: Site, crowd: Crowd) -> None:
    """A worker stopped until its lease ended, which then wakes; its users resumed elsewhere and joined another room."""
    names = crowd.get_users_of(site.get_server(0))
    with site.stopped(0):
        crowd.tell("cut", clients=names)
        crowd.wait_for("connect", len(names))
        crowd.tell("join", clients=names, room="green")
        time.sleep(LEASE_S)


def trim(site: Site, crowd: Crowd) -> None:
    """A worker stopped, and off its subscriptions, past the trimming of the streams (20 messages kept)."""
    with site.stopped(0):
        site.cut_redis_connections(0)
        time.sleep(4)


# Connections


def cut(site: Site, crowd: Crowd) -> None:
    """Every client's TCP connection reset."""
    for _ in range(ROUNDS):
        crowd.tell("cut")
        crowd.wait_for("connect", len(crowd.names))
        time.sleep(1)


def cut_replay(site: Site, crowd: Crowd) -> None:
    """Half of the connections cut for 4 s, and again in the middle of the replay of the rooms."""
    names = crowd.names[::2]
    for again in (1, 7, 30, 90):
        crowd.tell("cut", away=4000, again=again, clients=names)
        crowd.wait_for("connect", 2 * len(names))


def two_tabs(site: Site, crowd: Crowd) -> None:
    """A second tab resumes the session of one that is connected."""
    time.sleep(1)
    for name in crowd.names[:6]:
        crowd.tell("twin", client=name)
    crowd.wait_for("connect", 6)


def two_tabs_at_once(site: Site, crowd: Crowd) -> None:
    """Two tabs resume one session at once."""
    names = crowd.names[:6]
    crowd.tell("cut", clients=names)
    for name in names:
        crowd.tell("twin", client=name)
    crowd.wait_for("connect", 2 * len(names))


def stop_readers(site: Site, crowd: Crowd) -> None:
    """Half of the readers stopped for 10 s."""
    with crowd.half_stopped():
        time.sleep(10)
    crowd.wait_until_connected()


def reload_haproxy(site: Site, crowd: Crowd) -> None:
    """HAProxy reloaded 20 times, while others come and go and ask on connections that are kept."""
    with crowd.visited():
        for _ in range(RELOADS):
            site.reload_haproxy()
            crowd.wait_for("visit", 1)


def kill_haproxy(site: Site, crowd: Crowd) -> None:
    """`kill -9` of HAProxy, and its restart."""
    site.kill_haproxy()
    site.start_haproxy()
    crowd.wait_until_connected()


# Redis


def restart_redis(site: Site, crowd: Crowd) -> None:
    """`kill -9` of Redis, and its restart with the append-only file."""
    for _ in range(2):
        _take_redis_away(site, 0.5)


def restart_redis_and_cut(site: Site, crowd: Crowd) -> None:
    """`kill -9` of Redis, and its restart; every client's TCP connection reset meanwhile."""
    site.kill_redis()
    crowd.tell("cut")
    time.sleep(0.5)
    site.start_redis()
    crowd.wait_until_connected()


def redis_away_10_s(site: Site, crowd: Crowd) -> None:
    """Redis away for 10 s."""
    _take_redis_away(site, 10)


def redis_away_40_s(site: Site, crowd: Crowd) -> None:
    """Redis away for 40 s."""
    _take_redis_away(site, 40)


def _take_redis_away(site: Site, seconds: float) -> None:
    site.kill_redis()
    time.sleep(seconds)
    site.start_redis()
    site.wait_until_ready()


def stop_redis(site: Site, crowd: Crowd) -> None:
    """SIGSTOP of Redis for 4 s."""
    site.signal_redis(signal.SIGSTOP)
    time.sleep(4)
    site.signal_redis(signal.SIGCONT)
    site.wait_until_ready()


def cut_redis(site: Site, crowd: Crowd) -> None:
    """Redis' connections cut every 2 s."""
    for _ in range(ROUNDS):
        site.cut_redis_connections()
        time.sleep(2)


def cut_redis_without_ids(site: Site, crowd: Crowd) -> None:
    """Redis' connections cut every 2 s; messages without an `id`, each sent once."""
    cut_redis(site, crowd)


def cut_aof(site: Site, crowd: Crowd) -> None:
    """Redis back without the last entries of its append-only file; first back is a client that had seen less."""
    crowd.tell("cut", away=4000, clients=crowd.names[::2])
    time.sleep(2)
    site.kill_redis()
    site.cut_aof_tail(32 * 1024)
    site.start_redis()
    site.wait_until_ready()
    crowd.wait_until_connected()


def flush(site: Site, crowd: Crowd) -> None:
    """FLUSHALL."""
    site.flush_redis()
    time.sleep(2)
    crowd.wait_until_connected()


def fill_redis(site: Site, crowd: Crowd) -> None:
    """Redis full for 5 s."""
    site.set_redis_full(True)
    time.sleep(5)
    site.set_redis_full(False)
    site.wait_until_ready()


def redis_read_only(site: Site, crowd: Crowd) -> None:
    """Redis read-only for 5 s."""
    site.set_redis_read_only(True)
    time.sleep(5)
    site.set_redis_read_only(False)
    site.wait_until_ready()


# All of it


def storm(site: Site, crowd: Crowd) -> None:
    """Connections, workers, HAProxy, Redis' connections and Redis itself, one after the other."""
    for number in range(2):
        site.signal_worker(number, signal.SIGKILL)
        crowd.tell("cut")
        site.cut_redis_connections()
        time.sleep(1)
        site.kill_haproxy()
        site.start_haproxy()
        site.cut_redis_connections()
        time.sleep(1)
        site.kill_redis()
        crowd.tell("cut")
        site.start_redis()
        site.wait_until_ready()
    crowd.wait_until_connected()


# No fault


def send_twice(site: Site, crowd: Crowd) -> None:
    """No fault, but each message sent twice."""
    time.sleep(3)


def join_and_send(site: Site, crowd: Crowd) -> None:
    """No fault, but each message goes to a room that was joined just before."""
    time.sleep(3)
