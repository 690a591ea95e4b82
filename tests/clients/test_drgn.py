# SPDX-License-Identifier: GPL-2.0-or-later
"""Real drgn on a stock kernel without debug information: what it finds is what the guest and our own commands say."""

import subprocess
import sys
from pathlib import Path

import pytest

from armprobe.clients.drgn import program
from armprobe.commands import Session
from armprobe.machine import MachineError
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")


def test_drgn(snapshot: Path) -> None:
    pytest.importorskip("drgn", reason="drgn is not installed: pip install 'armprobe[drgn]'")
    from drgn.helpers.linux.list import list_for_each_entry
    from drgn.helpers.linux.pid import find_task, for_each_task
    from drgn.helpers.linux.sched import cpu_curr
    from drgn.helpers.linux.slab import for_each_slab_cache

    with Session(snapshot) as session:
        prog = program(session)
        assert prog["init_task"].comm.string_() == b"swapper/0"
        tasks = {(task.pid, task.comm) for task in session.ask("tasks")}
        found = for_each_task(prog)
        assert {(task.pid.value_(), task.comm.string_().decode()) for task in found} == tasks
        ring = list_for_each_entry("struct task_struct", prog["init_task"].tasks.address_of_(), "tasks")
        assert {task.pid.value_() for task in ring} == {task.tgid for task in session.ask("tasks")}
        assert find_task(prog, 1).comm.string_() == b"init"
        trace = str(prog.stack_trace(find_task(prog, 2)))
        assert "kthreadd" in trace
        assert "ret_from_fork" in trace
        assert str(find_task(prog, 1).nsproxy[0]) == session.run("print *init_task.nsproxy").strip()
        assert cpu_curr(prog, 0).pid.value_() == session.ask("print $pid").number
        slabs = [line.split() for line in session.guest.sh("cat /proc/slabinfo").out.splitlines()[2:]]
        sizes = {cache.name.string_().decode(): cache.size.value_() for cache in for_each_slab_cache(prog)}
        assert sizes == {name: int(size) for name, _, _, size, *_ in slabs}
        with pytest.raises(MachineError, match="found when the guest has loaded one, which it has not"):
            prog["modules"]
    with Session("demo") as demo, pytest.raises(MachineError, match="drgn is for Linux guests"):
        program(demo)


def test_the_verb_runs_a_script(snapshot: Path, tmp_path: Path) -> None:
    pytest.importorskip("drgn", reason="drgn is not installed: pip install 'armprobe[drgn]'")
    script = tmp_path / "names.py"
    script.write_text("import sys\nprint(sys.argv[1:], prog['init_task'].comm.string_())\n")
    words = [sys.executable, "-m", "armprobe", "drgn", "--no-config"]

    def run(*more: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*words, *more], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
        )

    done = run("--guest", snapshot, script, "a", "b")
    assert done.stdout == "['a', 'b'] b'swapper/0'\n", done.stderr
    assert run("--guest", "demo", script).stderr == "armprobe: drgn is for Linux guests, which this one is not\n"
    assert "drgn's shell needs a terminal" in run("--guest", snapshot).stderr
