# SPDX-License-Identifier: GPL-2.0-or-later
"""How armprobe ends when it is ended from outside, and what `armprobe gdb` leaves behind."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

# In gdb's place: says that it runs and where the stub is, and waits.
_GDB = """#!/bin/sh
echo "$@"
exec cat
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_private_socket_goes_too(tmp_path: Path, number: int) -> None:
    """A terminal that is closed sends SIGHUP."""
    gdb = tmp_path / "gdb-multiarch"
    gdb.write_text(_GDB)
    gdb.chmod(0o755)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        environment = os.environ | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "TMPDIR": folder,
            "XDG_RUNTIME_DIR": folder,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "armprobe", "gdb"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert f"remote {folder}/armprobe-" in process.stdout.readline()
        assert list(Path(folder).glob("armprobe-*/stub"))
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
        assert not list(Path(folder).iterdir())
        process.stdout.close()
        assert process.stdin
        process.stdin.close()


# Ctrl-C while the command's own modules are imported.
_EARLY = """
import os, signal, sys
class Early:
    def find_spec(self, name, path, target=None):
        if name == "armprobe.session":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Early())
from armprobe.__main__ import main
sys.exit(main())
"""


def test_ctrl_c_while_it_starts() -> None:
    done = subprocess.run([sys.executable, "-c", _EARLY], capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, b"", b"")
