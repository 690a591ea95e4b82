# SPDX-License-Identifier: GPL-2.0-or-later
"""A vmcore of a stock kernel, as pyelftools and drgn read it: what they find is what the guest and our commands say."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from armprobe.commands import CommandError, Session
from armprobe.session.symbol_file import SymbolSources, symbol_file


def test_the_file(session: Session, tmp_path: Path) -> None:
    machine, path = session.machine, tmp_path / "guest.vmcore"
    release = session.guest.sh("uname -r").out.strip()
    task = int(session.ask("print $task").number)
    session.run(f"vmcore {path}")
    with path.open("rb") as file:
        elf = ELFFile(file)
        assert (elf["e_type"], elf["e_machine"]) == ("ET_CORE", "EM_AARCH64")
        notes, memory = elf.iter_segments()
        assert isinstance(notes, NoteSegment)
        status, info = notes.iter_notes()
        assert (status["n_name"], status["n_type"], info["n_name"]) == ("CORE", "NT_PRSTATUS", "VMCOREINFO")
        # struct user_pt_regs is at 112 in struct elf_prstatus (arch/arm64/include/uapi/asm/ptrace.h, linux/elfcore.h).
        (pc,) = struct.unpack_from("<Q", notes.data(), 12 + 8 + 112 + 32 * 8)  # behind the note's header and name
        assert pc == machine.registers.pc
        assert (memory["p_paddr"], memory["p_memsz"]) == (machine.ram.base, machine.ram.size)
        # A struct task_struct is in the linear map: the slab allocator has it from there.
        assert memory["p_vaddr"] + machine.memory.translate(task).physical - memory["p_paddr"] == task
        assert memory.data() == bytes(machine.ram.data)
        assert f"OSRELEASE={release}\n".encode() in notes.data()
    assert path.stat().st_blocks * 512 < machine.ram.size / 2, "zeros are holes"
    with pytest.raises(CommandError, match="say force to replace it"):
        session.run(f"vmcore {path}")


@pytest.mark.sample(of="tests")
def test_drgn_reads_it(session: Session, tmp_path: Path) -> None:
    drgn = pytest.importorskip("drgn", reason="drgn is not installed: pip install 'armprobe[drgn]'")
    from drgn.helpers.linux.pid import find_task, for_each_task

    session.run("kretprobe vfs_read stop=return")  # where frame records are complete, by which drgn unwinds
    session.run("console cat /proc/version")
    path, types = tmp_path / "guest.vmcore", tmp_path / "types.elf"
    session.run(f"vmcore {path}")
    types.write_bytes(symbol_file(SymbolSources.of(session.machine)))
    prog = drgn.Program()
    prog.set_core_dump(path)
    prog.main_module("kernel", create=True).try_file(types, force=True)
    found = {(task.pid.value_(), task.comm.string_().decode()) for task in for_each_task(prog)}
    assert found == {(task.pid, task.comm) for task in session.ask("tasks")}
    assert str(prog["init_task"].nsproxy[0]) == session.run("print *init_task.nsproxy").strip()
    assert prog["jiffies"] == session.ask("print jiffies").number
    for pid in (session.ask("print $pid").number, 1):  # the CPU's task, by the note, and one that sleeps
        ours = [frame.location.address for frame in session.ask(f"backtrace {pid}").frames if not frame.el0]
        theirs = [frame.pc for frame in prog.stack_trace(find_task(prog, pid))]
        assert theirs[: len(ours)] == ours, pid
        assert len(ours) > 5


def test_a_guest_that_lies(session: Session, tmp_path: Path) -> None:
    right = b"NUMBER(VA_BITS)=48"
    for wrong, words in (
        (b"NUMBER(VA_BITS)=99", "has addresses of 99 bits, which no kernel has"),
        (b"NUMBER(VX_BITS)=48", "does not say where its linear map is"),
    ):
        ram, at = session.machine.ram, -1
        while (at := ram.pages.find(right, at + 1)) >= 0:  # there are copies
            ram.data[at : at + len(right)] = wrong
        right = wrong
        with pytest.raises(CommandError, match=words):
            session.run(f"vmcore {tmp_path / 'guest.vmcore'}")
    assert list(tmp_path.iterdir()) == []
