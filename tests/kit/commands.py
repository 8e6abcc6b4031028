"""The ``webfarm`` command, run as a user runs it."""

import subprocess
import sys

from tests.kit.paths import ROOT
from webfarm.testing import SHARDS


def run_webfarm(*args, stdin="", **env):
    command = [sys.executable, "-m", "webfarm", *args]
    environ = {"PATH": "/usr/bin:/bin", "WEBFARM_SHARDS": str(SHARDS)} | env
    return subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=ROOT, env=environ, check=False)
