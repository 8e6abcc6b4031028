"""Where the project lies, and Node."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TESTS = ROOT / "tests"
NODE = shutil.which("node") or str(ROOT / ".venv/bin/node")
