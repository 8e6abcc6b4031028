"""A worker says that it takes no new clients, and why; and it says so when it has as many as it can carry."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time

import pytest
import redis
import requests

from webfarm.testing import get_free_ports, get_status, wait_until


def ask(url):
    """Return what /readyz says: ``ready``, or why not."""
    return requests.get(f"{url}/readyz", timeout=5).text.removeprefix("not ready: ").strip()


class Gate:
    """A way to Redis on which connections that subscribe can be made to fall silent, in both directions."""

    def __init__(self, port):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.is_silent = False
        self._sockets = [self._listener]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [near, far]
                subscribes = threading.Event()
                for ways in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(*ways, subscribes), daemon=True).start()

    def _pass_on(self, source, target, subscribes):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if b"SUBSCRIBE" in data:
                    subscribes.set()
                if not (self.is_silent and subscribes.is_set()):
                    target.sendall(data)
            for one in (source, target):
                one.shutdown(socket.SHUT_RDWR)

    def close(self):
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def gate(redis_server):
    gate = Gate(redis_server.port)
    yield gate
    gate.close()


def test_a_worker_to_which_nothing_comes_is_deaf_within_3_s_and_hears_again(gate, workers):
    process = workers(1, url=gate.url)
    gate.is_silent = True
    wait_until(lambda: ask(process.urls[0]) == "deaf", "readyz to notice", 3)
    process.wait_for_line("Redis lost reason=")
    gate.is_silent = False
    wait_until(lambda: ask(process.urls[0]) == "ready", "a new subscription", 10)
    process.wait_for_line("Redis back after_s=")


def test_a_worker_whose_loop_stood_still_says_so_and_is_ready_again(workers):
    process = workers(1)
    worker = process.get_worker(process.ports[0])
    os.kill(worker, signal.SIGSTOP)
    time.sleep(2.6)  # what is tested is what two seconds and a half do
    os.kill(worker, signal.SIGCONT)
    assert ask(process.urls[0]) == "lag"
    process.wait_for_line("the event loop was late late_s=2.")
    wait_until(lambda: ask(process.urls[0]) == "ready", "its recovery", 6)
    assert "Redis lost" not in process.output  # it was there all the time


def test_a_worker_whose_redis_takes_no_writes_says_why(own_redis, workers):
    own_redis.start()
    process = workers(1, url=own_redis.url)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", "1")
        assert "maxmemory" in process.wait_for_line("Redis takes no writes: ")
        assert ask(process.urls[0]) == "redis"
        client.config_set("maxmemory", "0")
        wait_until(lambda: ask(process.urls[0]) == "ready", "readyz to notice", 3)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_full_worker_refuses_clients_and_answers_for_itself(workers, node, transport):
    process = workers(1, "--worker-connections", "3")
    url = process.urls[0]
    for name in "abc":
        node.connect(name, url, query={"userId": name}, transports=[transport])
    answer = requests.get(f"{url}/socket.io/?EIO=4&transport=polling", timeout=5)
    assert (answer.status_code, answer.text) == (503, "This worker is full; please try again.\n")
    assert ask(url) == "full"
    assert get_status(f"{url}/healthz") == 200
    text = requests.get(f"{url}/metrics", timeout=5).text
    assert "webfarm_max_connections 3.0\n" in text and "webfarm_ready 0.0\n" in text
    assert 'webfarm_connections_refused_total{reason="full"} 1.0\n' in text
    process.wait_for_line("connect refused code=full address=127.0.0.1")
    assert node.call("a", "message", "to all")["ok"]
    for name in "abc":
        node.wait_for(name, "message")
    node.close("c")
    wait_until(lambda: ask(url) == "ready", "room for another")
    node.connect("d", url, transports=[transport])


def test_at_the_limit_of_open_files_health_clients_and_redis_still_work(redis_server, start, node):
    """400 connections that ask for nothing come to a worker that may open 200 files, and are nobody's harm."""
    port = get_free_ports()
    process = start(
        "/bin/sh",
        "-c",
        'ulimit -n 200; exec "$0" -m gunicorn',
        sys.executable,
        env={"PORT": str(port), "REDIS_URL": redis_server.url, "WEBFARM_PREFIX": "files", "WEBFARM_DRAIN_S": "0"},
    )
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: get_status(f"{url}/readyz") == 200, "the worker")
    node.connect("a", url, transports=["websocket"])
    with contextlib.ExitStack() as stack:
        for number in range(400):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            if number % 50 == 49:
                assert get_status(f"{url}/healthz") == 200
                assert ask(url) == "ready"
        text = requests.get(f"{url}/metrics", timeout=5).text
        assert "process_max_fds 200.0\n" in text and "webfarm_max_connections 100.0\n" in text
        node.connect("b", url, transports=["websocket"])
        assert node.call("b", "message", "there")["ok"]
        node.wait_for("a", "message")
    assert "Too many open files" not in process.output and "Traceback" not in process.output
