"""The systemd units, as far as they can be checked without a running systemd."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")


@pytest.fixture
def units(tmp_path):
    """Copies of the units with paths and a user that this machine has."""
    for source in (ROOT / "systemd").iterdir():
        text = source.read_text().replace("/opt/chat/.venv/bin/gunicorn", f"{sys.executable} -m gunicorn")
        text = text.replace("/opt/chat", str(ROOT))
        (tmp_path / source.name).write_text(re.sub(r"^(User|Group)=chat$", r"\1=root", text, flags=re.M))
    return tmp_path


def analyze(folder, *args):
    command = ["systemd-analyze", *args, "./chat@3001.service"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_verify_is_clean(units):
    done = analyze(units, "verify", "./chat.target")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_hardened(units):
    shutil.copy(units / "chat@.service", units / "chat@3001.service")
    level = re.search(r"exposure level for .*: ([\d.]+)", analyze(units, "security", "--offline=true").stdout)
    assert level and float(level[1]) <= 2.0


def test_a_wrong_setting_is_not_tried_again():
    """gunicorn exits with 2 for one (test_worker); the unit must know that code."""
    assert "RestartPreventExitStatus=2\n" in (ROOT / "systemd" / "chat@.service").read_text()
