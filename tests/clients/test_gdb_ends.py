# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions side by side, and the end of a stub or a guest under one: a clear error in time, and no process left."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from armprobe.clients import GdbError, GdbSession, GdbTimeout, UnexpectedStop
from armprobe.commands import Session
from tests.soak import AT_LENGTH
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.sample(of="files")

SESSIONS = 50 if AT_LENGTH else 12
AT_ONCE = 8


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`armprobe serve demo` in a process of its own. Its address is `address(tmp_path)`."""
    command = [sys.executable, "-m", "armprobe", "serve", "demo", "--listen", address(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: (tmp_path / "stub").exists() or process.poll() is not None, "the stub listens")
            assert process.poll() is None
            yield process
        finally:
            process.kill()


def address(folder: Path) -> str:
    return f"unix:{folder}/stub"


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # finds a zombie too
    except ProcessLookupError:
        return True
    return False


def use(gdb_path: str) -> tuple[int, list[tuple[int, ...]]]:
    """One session on a guest of its own: gdb's process, and what was seen at each stop."""
    seen = []
    with Session("demo") as session, GdbSession(session, gdb=gdb_path, timeout=PATIENCE) as gdb:
        bp = gdb.breakpoint("kfree", condition="x0 != 0")
        for _ in range(5):
            gdb.cont()
            gdb.expect_stop(breakpoint=bp)
            seen.append((bp.hits, gdb.registers["x0"], *(frame.address for frame in gdb.frames())))
    return gdb._process.pid, seen


@pytest.mark.soak
def test_sessions_in_parallel_see_what_one_alone_sees(gdb_path: str) -> None:
    pid, alone = use(gdb_path)
    assert [hits for hits, *_ in alone] == [1, 2, 3, 4, 5]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda _: use(gdb_path), range(SESSIONS)))
    assert all(seen == alone for _, seen in results)
    assert all(is_gone(each) for each, _ in [*results, (pid, [])])


def test_a_stub_that_is_killed_while_the_machine_runs(
    stub: subprocess.Popen[bytes], tmp_path: Path, gdb_path: str
) -> None:
    with GdbSession(address(tmp_path), gdb=gdb_path) as gdb:
        gdb.cont()
        threading.Timer(0.5, stub.kill).start()  # whether it comes before or after the wait begins
        began = time.monotonic()
        with pytest.raises(
            GdbError, match=r"(?s)Remote connection closed|Remote communication error.*exec-continue"
        ) as e:
            gdb.expect_stop(timeout=PATIENCE)
        assert not isinstance(e.value, GdbTimeout)
        assert time.monotonic() - began < PATIENCE
        with pytest.raises(GdbError):
            gdb.cont()
    assert is_gone(gdb._process.pid)


def test_a_stub_that_is_killed_while_the_machine_is_stopped(
    stub: subprocess.Popen[bytes], tmp_path: Path, gdb_path: str
) -> None:
    with GdbSession(address(tmp_path), gdb=gdb_path) as gdb:
        stub.kill()
        stub.wait()
        with pytest.raises(GdbError):
            gdb.read_memory(gdb.register("pc"), 4)
    assert is_gone(gdb._process.pid)


def test_a_stub_that_hangs(stub: subprocess.Popen[bytes], tmp_path: Path, gdb_path: str) -> None:
    with GdbSession(address(tmp_path), gdb=gdb_path) as gdb:
        gdb.cont()
        stub.send_signal(signal.SIGSTOP)
        with pytest.raises(GdbTimeout, match="waited 1 s for the machine to stop"):
            gdb.expect_stop(timeout=1)
    assert is_gone(gdb._process.pid)


def test_a_guest_that_ends(gdb_path: str) -> None:
    with Session("demo") as session, GdbSession(session, gdb=gdb_path) as gdb:
        with gdb.breakpoint("kfree"):
            gdb.continue_to_stop()
        gdb.execute("set $pc = machine_power_off")
        gdb.cont()
        with pytest.raises(UnexpectedStop, match=r"expected a stop .*stopped otherwise: exited-normally") as caught:
            gdb.expect_stop(reason="breakpoint-hit")
        assert caught.value.stop.pc is None
        with pytest.raises(GdbError):
            gdb.cont()
    assert is_gone(gdb._process.pid)


def test_the_end_of_the_context_ends_gdb_after_an_error_too(gdb_path: str) -> None:
    with Session("demo") as session:
        gdb = GdbSession(session, gdb=gdb_path)
        gdb.cont()
        with pytest.raises(ZeroDivisionError), gdb:
            raise ZeroDivisionError
        assert is_gone(gdb._process.pid)


def test_an_interrupted_close_still_ends_gdb(gdb_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session("demo") as session:
        gdb = GdbSession(session, gdb=gdb_path)
        process, ordinary = gdb._process, gdb._process.wait

        def wait(timeout: float | None = None) -> int:
            if timeout is not None:  # the wait for gdb to exit by itself
                raise KeyboardInterrupt
            return ordinary()

        os.kill(process.pid, signal.SIGSTOP)
        monkeypatch.setattr(process, "wait", wait)
        with pytest.raises(KeyboardInterrupt):
            gdb.close()
        assert is_gone(process.pid)
        gdb.close()
