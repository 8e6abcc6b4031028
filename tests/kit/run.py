"""``webfarm run``, with ports of its own."""

import sys
from typing import Any

from webfarm.testing import Process, get_children, get_free_ports, get_listening_ports, wait_until


class Run(Process):
    """The whole farm, ready: ``url`` is HAProxy's, ``ports`` are the workers'."""

    def __init__(self, redis_url: str, workers: int = 2, *flags: str, **env: Any) -> None:
        port, base = get_free_ports(), get_free_ports(workers)
        self.ports = range(base, base + workers)
        self.url = f"http://127.0.0.1:{port}"
        address = ["--bind", f"127.0.0.1:{port}", "--base-port", str(base), "--workers", str(workers)]
        env = {"REDIS_URL": redis_url, "WEBFARM_PREFIX": f"run{port}"} | env
        super().__init__(sys.executable, "-m", "webfarm", "run", *address, *flags, env=env)
        try:
            self.wait_for_line("webfarm is ready", 40)
        except BaseException:
            self.close()
            raise

    def find_workers(self) -> dict[int, int]:
        """Return the workers' processes, by port, once there is one on each."""
        [master] = [pid for pid in get_children(self.pid) if get_listening_ports(pid) >= set(self.ports)]

        def find() -> dict[int, int]:
            found = {port: pid for pid in get_children(master) for port in get_listening_ports(pid)}
            return found if len(found) == len(self.ports) else {}

        return wait_until(find, "a worker on each port")
