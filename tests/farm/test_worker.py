"""One worker, one port: slots, gunicorn's own flags, replacement, and the end."""

import json
import os
import signal
import socket
import sys
import threading

import pytest
import requests

from tests.kit.paths import ROOT
from webfarm.run.programs import find_redis
from webfarm.testing import get_children, get_free_ports, get_status, is_alive, wait_until


def get_pids(process):
    return {port: process.get_worker(port) for port in process.ports}


def test_each_worker_serves_a_port_of_its_own(workers):
    process = workers(3)
    assert len(set(get_pids(process).values())) == 3


def test_nothing_is_loaded_before_gevent_has_patched(workers):
    process = workers(1)
    process.close()
    assert "Warning" not in process.output


def test_a_killed_workers_successor_has_its_port(workers):
    process = workers(3)
    before = get_pids(process)
    port = process.ports[1]
    os.kill(before[port], signal.SIGKILL)
    wait_until(lambda: len(get_children(process.pid)) == 3 and not is_alive(before[port]), "the successor")
    process.wait_until_ready()
    after = get_pids(process)
    assert after.pop(port) != before.pop(port)
    assert after == before


def test_hup_replaces_all_workers_and_refuses_no_connection(workers):
    process = workers(2)
    before = get_pids(process)
    stop, statuses = threading.Event(), []

    def ask(url):
        while not stop.is_set():
            for path in ("/healthz", "/socket.io/?EIO=4&transport=polling"):
                statuses.append(requests.get(url + path, timeout=10).status_code)

    threads = [threading.Thread(target=ask, args=(url,)) for url in process.urls]
    for thread in threads:
        thread.start()
    try:
        process.kill(signal.SIGHUP)
        wait_until(lambda: not any(map(is_alive, before.values())), "the end of the old workers")
        count = len(statuses)
        wait_until(lambda: len(statuses) > count + 20, "answers of the new workers")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert not set(before.values()) & set(get_pids(process).values())


def test_a_worker_whose_loop_stands_still_is_replaced_and_one_that_starts_slowly_is_not(start, tmp_path):
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n"
        "started = pathlib.Path(__file__ + '.started')\n"
        "if not started.exists():\n"
        "    started.touch()\n"
        "    time.sleep(3)\n"
        "def app(environ, start_response):\n"
        "    while environ['PATH_INFO'] == '/block': pass\n"
        "    start_response('200 OK', [])\n"
        "    return [b'']\n"
    )
    port = get_free_ports()
    flags = ("--timeout", "2", "--pythonpath", f"{ROOT},{tmp_path}")
    process = start(sys.executable, "-m", "gunicorn", *flags, "slow:app", env={"PORT": str(port)})
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: get_status(url) == 200, "the worker")
    assert process.output.count("Booting worker") == 1
    get_status(f"{url}/block")
    wait_until(lambda: process.output.count("Booting worker") == 2 and get_status(url) == 200, "another worker")


def test_workers_exit_when_the_master_is_killed(workers):
    process = workers(2)
    children = get_children(process.pid)
    process.kill(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, children)), "the workers' end", 5)


def test_port_runs_one_worker_on_exactly_that_port(redis_server, start):
    port = get_free_ports()
    process = start(
        sys.executable,
        "-m",
        "gunicorn",
        env={"PORT": str(port), "REDIS_URL": redis_server.url, "WEBFARM_WORKERS": "4"},
    )
    wait_until(lambda: get_status(f"http://127.0.0.1:{port}/readyz") == 200, "the worker")
    assert len(get_children(process.pid)) == 1


def test_w_and_one_b_give_number_and_first_port(redis_server, start):
    first = get_free_ports(3)
    start(
        sys.executable,
        "-m",
        "gunicorn",
        "-w",
        "3",
        "-b",
        f"127.0.0.1:{first}",
        env={"REDIS_URL": redis_server.url},
    )
    for port in range(first, first + 3):
        wait_until(lambda port=port: get_status(f"http://127.0.0.1:{port}/readyz") == 200, f"port {port}")


def test_as_many_b_as_workers_are_taken_as_they_are(redis_server, start):
    first = get_free_ports(3)
    binds = ["-b", f"127.0.0.1:{first + 2}", "-b", f"127.0.0.1:{first}"]
    start(sys.executable, "-m", "gunicorn", "-w", "2", *binds, env={"REDIS_URL": redis_server.url})
    for port in (first, first + 2):
        wait_until(lambda port=port: get_status(f"http://127.0.0.1:{port}/readyz") == 200, f"port {port}")
    assert get_status(f"http://127.0.0.1:{first + 1}/readyz") is None


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["-w", "3", "-b", "127.0.0.1:4001", "-b", "127.0.0.1:4002"], "webfarm: 3 workers can't share 2 addresses: "
         "give -b once (the first port) or once per worker (-w)."),
        (["-w", "2", "-b", "unix:/tmp/chat.sock"], "webfarm: 2 workers need 2 ports: 'unix:/tmp/chat.sock' is no HOST:PORT "
         "to count up from."),
        (["-w", "0"], "webfarm: there must be at least one worker (-w 1)."),
        (["-k", "sync"], "webfarm: the worker class must be webfarm.Worker; leave -k out."),
        (["-w", "1", "-b", "127.0.0.1:99999"], "webfarm: 99999 is no port; the last one is 65535."),
        (["-w", "2", "-b", ":4001", "-b", ":4001"], "webfarm: 2 workers can't share 1 addresses: "
         "give -b once (the first port) or once per worker (-w)."),
        (["--certfile", "cert.pem", "--keyfile", "key.pem"], "webfarm: TLS is HAProxy's part (webfarm haproxy-config --tls-cert); "
         "leave --certfile and --keyfile out."),
        (["-w", "2", "-b", "127.0.0.1:65535"], "webfarm: 2 workers from port 65535 would need port 65536; the last port is 65535."),
    ],
)  # fmt: skip
def test_other_flags_are_refused_with_a_sentence(start, flags, sentence):
    process = start(sys.executable, "-m", "gunicorn", *flags)
    assert process.wait() == 2
    assert process.lines[-1] == sentence
    assert "Traceback" not in process.output


def test_a_bad_setting_stops_the_start_with_one_sentence(start):
    process = start(sys.executable, "-m", "gunicorn", env={"WEBFARM_WORKERS": "many"})
    assert process.wait() == 2
    assert process.lines == ["webfarm: WEBFARM_WORKERS has value 'many': expected a whole number from 1 to 1024."]


def test_an_unknown_setting_is_warned_of_once(workers):
    process = workers(2, WEBFARM_WROKERS="3")
    assert process.output.count("WEBFARM_WROKERS is not a setting of this version; did you mean WEBFARM_WORKERS?") == 1


def test_a_port_in_use_is_one_sentence(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(sys.executable, "-m", "gunicorn", env={"PORT": str(port)})
        assert process.wait() == 1
    assert process.lines[-1] == (
        f"webfarm: port {port} on 127.0.0.1 is in use; stop what uses it, or choose another (WEBFARM_BASE_PORT, PORT or -b)."
    )
    assert not any("Traceback" in line for line in process.lines)


@pytest.mark.parametrize("signum", [signal.SIGTTIN, signal.SIGTTOU])
def test_a_worker_more_or_less_than_ports_is_refused(workers, signum):
    process = workers(2)
    before = get_pids(process)
    process.kill(signum)
    process.wait_for_line("Each port has its worker, no more and no less; restart with -w for another number.")
    assert get_pids(process) == before


def test_hup_gives_each_port_a_worker_also_when_one_had_none(workers):
    """The old worker of another port must not be counted against the new one of that port."""
    process = workers(3)
    for _ in range(3):
        before = get_pids(process)
        os.kill(before[process.ports[0]], signal.SIGKILL)
        process.kill(signal.SIGHUP)
        wait_until(lambda before=before: not any(map(is_alive, before.values())), "the end of the old workers")
        wait_until(lambda: len(get_children(process.pid)) == 3, "no worker more than ports")
        process.wait_until_ready()
        assert len(set(get_pids(process).values())) == 3


def test_a_stop_does_not_wait_for_idle_connections(workers):
    process = workers(1)
    with requests.Session() as session:
        assert session.get(process.urls[0] + "/healthz", timeout=5).status_code == 200
        process.kill(signal.SIGTERM)
        assert process.wait(6) == 0


def test_a_stop_takes_seconds_and_sends_clients_away(workers, node):
    process = workers(1)
    node.connect("a", process.urls[0], transports=["websocket"])
    node.connect("b", process.urls[0], transports=["polling"])
    process.kill(signal.SIGTERM)
    assert process.wait(8) == 0
    assert node.wait_for("a", "disconnect") and node.wait_for("b", "disconnect")
    assert process.output.count("reason='server disconnect'") == 2
    assert "Traceback" not in process.output


def test_without_redis_the_worker_starts_says_so_and_connects_when_it_comes(own_redis, workers, node):
    process = workers(1, url=own_redis.url, ready=False)
    url = process.urls[0]
    wait_until(lambda: get_status(f"{url}/healthz") == 200, "the worker")
    answer = requests.get(f"{url}/readyz", timeout=5)
    assert (answer.status_code, answer.text) == (503, "not ready: redis\n")
    assert get_status(f"{url}/") == 200
    process.wait_for_line("Redis does not answer, trying again twice a second")
    node.open("waiting", url, transports=["websocket"])
    own_redis.start()
    wait_until(lambda: get_status(f"{url}/readyz") == 200, "readiness", 3)
    node.wait_for("waiting", "connect")
    assert node.get("waiting", "connect_error") == []


def test_while_redis_is_away_nothing_is_acknowledged_and_clients_stay(own_redis, workers, node):
    own_redis.start()
    process = workers(1, url=own_redis.url)
    url = process.urls[0]
    node.connect("a", url)
    own_redis.close()
    wait_until(lambda: get_status(f"{url}/readyz") == 503, "readyz to notice", 3)
    assert node.call("a", "message", "lost?", timeout_s=1) is None
    own_redis.start()
    wait_until(lambda: get_status(f"{url}/readyz") == 200, "readyz to come back", 3)
    assert node.call("a", "message", "there")["ok"]
    assert [args[0] for args in node.wait_for("a", "message")] == ["there"]
    assert node.get("a", "disconnect") == []


def test_a_frozen_redis_is_noticed_too(own_redis, workers):
    own_redis.start()
    process = workers(1, url=own_redis.url)
    os.kill(own_redis.process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: get_status(f"{process.urls[0]}/readyz") == 503, "readyz to notice", 4)
    finally:
        os.kill(own_redis.process.pid, signal.SIGCONT)
    wait_until(lambda: get_status(f"{process.urls[0]}/readyz") == 200, "readyz to come back", 4)


def test_json_logs(workers):
    process = workers(1, WEBFARM_LOG_FORMAT="json")
    line = json.loads(process.wait_for_line("Booting worker"))
    assert (line["levelname"], line["name"]) == ("INFO", "gunicorn.error")
    assert all(line.startswith("{") for line in process.lines)


def test_debug_logs_every_packet(workers, node):
    process = workers(1, WEBFARM_LOG_LEVEL="debug")
    node.connect("a", process.urls[0])
    for packet in ("Sending packet OPEN", "Received packet MESSAGE data 0"):
        process.wait_for_line(packet)


def test_redis_by_sentinel(own_redis, tmp_path, start, workers, node):
    """Without a replica that has it nothing is acknowledged; what is sent again then is stored once all the same."""
    own_redis.start()
    port, replica_port = get_free_ports(2), get_free_ports()
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor farm 127.0.0.1 {own_redis.port} 1\n")
    start(find_redis(), str(config), "--sentinel")
    process = workers(2, url=f"redis+sentinel://127.0.0.1:{port}/0/farm")
    for name, url in zip("ab", process.urls, strict=True):
        node.connect(name, url, query={"userId": name})
    assert node.call("a", "privateMessage", {"toUser": "b", "id": "1"}, timeout_s=2) is None
    replica = ("--port", str(replica_port), "--dir", str(tmp_path), "--save", "", "--appendonly", "no")
    start(find_redis(), *replica, "--replicaof", f"127.0.0.1 {own_redis.port}")

    def is_acknowledged():
        return (node.call("a", "privateMessage", {"toUser": "b", "id": "1"}, timeout_s=2) or {}).get("ok")

    wait_until(is_acknowledged, "the replica")
    assert node.call("a", "privateMessage", {"toUser": "b", "id": "2"})["ok"]
    assert [args[0]["id"] for args in node.wait_for("b", "privateMessage", 2)] == ["1", "2"]
