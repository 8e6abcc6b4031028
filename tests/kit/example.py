"""The apps in ``examples/``, each under a gunicorn of its own."""

import sys

from webfarm.testing import Process, Workers, get_free_ports, get_status, wait_until


class Example(Workers):
    """One of the apps in ``examples/`` under gunicorn, on a port of its own, without Redis."""

    def __init__(self, name: str, **env: str) -> None:
        self.ports = [get_free_ports()]
        self.urls = [f"http://127.0.0.1:{self.ports[0]}"]
        Process.__init__(self, *self.get_argv(name), env={"PORT": str(self.ports[0]), "WEBFARM_DRAIN_S": "0"} | env)
        try:
            wait_until(lambda: get_status(self.url) is not None, f"examples.{name}")
        except BaseException:
            self.close()
            print(self.output)
            raise

    @staticmethod
    def get_argv(name: str) -> list[str]:
        return [sys.executable, "-m", "gunicorn", "-c", "python:webfarm.gunicorn", f"examples.{name}:app"]

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def worker(self) -> int:
        """The process id of its worker."""
        return self.get_worker(self.ports[0])
