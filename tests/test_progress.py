# SPDX-License-Identifier: GPL-2.0-or-later
"""A line of progress gets to the terminal while the test is still at it, from a worker too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).parent.parent
CONFTEST = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.progress import configure as pytest_configure
"""
TEST = """
import os
from tests.progress import progress

def test_that_takes_long():
    print("nobody sees this")
    progress("booting a kernel")
    os._exit(0)  # before pytest has said a word of it
"""


@pytest.mark.parametrize(("workers", "name"), [("0", "tests"), ("1", "gw0")])
def test_a_line_is_seen_at_once(tmp_path: Path, workers: str, name: str) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-n", workers, "--max-worker-restart=0", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert f"{name}: booting a kernel" in done.stderr.splitlines()
    assert "nobody sees this" not in done.stdout + done.stderr
