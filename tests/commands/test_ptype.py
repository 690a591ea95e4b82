# SPDX-License-Identifier: GPL-2.0-or-later
"""Types as text: what gdb shows of the same program."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.values import TypeDefinition
from armprobe.kernel.dwarf import Dwarf
from armprobe.kernel.type_text import definition
from tests.waiting import PATIENCE

Tool = Callable[[str, str], str]

VALUES = Path(__file__).parents[1] / "kernel" / "values.c"
DEMO = Path(__file__).parents[2] / "guests" / "demo" / "demo.elf"
OF_VALUES = (
    "struct all",
    "enum color",
    "enum minus",
    "pid_t",
    "fn_t",
    "struct empty",
    "struct list_head",
    "struct entry",
)
OF_DEMO = (
    *("struct task_struct", "struct workload", "struct pt_regs", "struct kmem_cache", "struct page", "spinlock_t"),
    *("struct file_operations", "struct irq_desc", "atomic_t", "syscall_fn_t", "struct clock_event", "struct pipe"),
)


def _gdb_shows(gdb: str, program: Path, lines: list[str]) -> list[str]:
    script = [part for line in lines for part in ("-ex", f"echo ===\\n{line}\\n", "-ex", line)]
    done = subprocess.run(
        [gdb, "-nx", "-q", "-batch", *script, program], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    return [part.partition("\n")[2].rstrip("\n") for part in done.stdout.split("===\n")[1:]]


@pytest.fixture(scope="module")
def values(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler, program = (
        tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        tmp_path_factory.mktemp("types") / "a.elf",
    )
    subprocess.run([compiler, "-g", "-nostdlib", "-Wl,--entry=0", "-o", program, VALUES], check=True)
    return program


@pytest.mark.parametrize("option", ["", "/o"])
def test_definitions_are_those_of_gdb(option: str, values: Path, gdb_path: str) -> None:
    """Where gdb shows {...} for a struct without a name in another, ours has its members; gdb heads no typedef."""
    for program, names in ((values, OF_VALUES), (DEMO, OF_DEMO)):
        types = Dwarf(program)
        for name, theirs in zip(
            names, _gdb_shows(gdb_path, program, [f"ptype{option} {n}" for n in names]), strict=True
        ):
            ours = definition(types.type(name), bool(option))
            if not theirs.startswith("/*"):
                ours = ours.removeprefix("/* offset      |    size */  ")
            if "{...}" in theirs:
                ours = re.sub(r"(?s)(?<=\n        struct )\{.*?\n        \}", "{...}", ours)
            assert ours == theirs, name


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.run("continue until=kfree")
        yield session


def test_of_an_expression(session: Session) -> None:
    assert session.run("ptype workload.lock") == "type = struct spinlock {\n    volatile u32 locked;\n}\n"
    assert session.run("whatis workload.lock") == "type = spinlock_t\n"
    assert session.run("ptype kfree") == "type = void (const void *p)\n"
    assert session.run("ptype p") == "type = const void *\n"
    assert session.run("ptype *$task") == session.run("ptype struct task_struct")


def test_as_a_value(session: Session) -> None:
    found = session.ask("ptype struct pt_regs *")
    assert isinstance(found, TypeDefinition)
    assert (found.type, found.size) == ("struct pt_regs *", 8)
    # As arch/arm64/include/asm/ptrace.h has them: regs[31], sp, pc, pstate.
    assert [(each.name, each.offset, each.size) for each in found.members[:4]] == [
        ("regs", 0, 248),
        ("sp", 248, 8),
        ("pc", 256, 8),
        ("pstate", 264, 8),
    ]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("ptype nosuch", "there is no symbol 'nosuch'"),
        ("ptype struct nosuch", "no type struct nosuch"),
        ("ptype/x workload", "ptype takes /o, for offsets"),
        ("ptype/o", "ptype takes /o, for offsets"),
        ("ptype", "ptype needs WHAT"),
    ],
)
def test_what_has_no_type_is_refused(session: Session, line: str, error: str) -> None:
    with pytest.raises(CommandError) as caught:
        session.ask(line)
    assert error in str(caught.value)
