# SPDX-License-Identifier: GPL-2.0-or-later
"""Loaded into gdb by `gdb_proxy.py`: struct pt_regs as kernels show it, and that of hits. Standard library only."""

import struct
from collections.abc import Callable, Iterator
from typing import Any

import gdb
import gdb.printing

# The first members of struct pt_regs: regs[31], sp, pc, pstate (Linux include/uapi/asm/ptrace.h, struct user_pt_regs).
USER_PT_REGS = struct.Struct("<34Q")


class PtRegs:
    """Prints a struct pt_regs: pc and lr with their symbols, pstate with its flags, then all else."""

    def __init__(self, value: Any, pstate: Callable[[int], str]) -> None:
        self._value, self._pstate = value, pstate

    def children(self) -> Iterator[tuple[str, Any]]:
        """The members, most interesting first; a text is shown as it is (GDB manual, "Pretty Printing API")."""
        regs, pointer = self._value["regs"], gdb.lookup_type("void").pointer()
        yield "pc", self._value["pc"].cast(pointer)
        yield "lr", regs[30].cast(pointer)
        yield "sp", f"{int(self._value['sp']):#x}"
        yield "pstate", self._pstate(int(self._value["pstate"]))
        for number in range(30):
            yield f"x{number}", f"{int(regs[number]):#x}"
        for field in self._value.type.fields():
            if field.name and field.name not in ("regs", "user_regs", "sp", "pc", "pstate"):
                yield field.name, self._value[field]


class HitRegs(gdb.Function):  # type: ignore[misc]  # the types of gdb are known inside gdb only
    """$_pt_regs([PROBE[, STAGE]]): the registers of the last hit as a struct pt_regs.

    PROBE is a name or a number. Without a stage it is the hit's last one.
    """

    def __init__(self, answer: Callable[[str], Any]) -> None:
        """answer: gives the answer to a line of armprobe's, as in its JSON. Raises `gdb.GdbError`."""
        super().__init__("_pt_regs")
        self._answer = answer

    def invoke(self, probe: Any = None, stage: Any = None) -> Any:
        """The value. Raises `gdb.GdbError` with armprobe's reason."""
        words = [_word(each) for each in (probe, stage) if each is not None]
        line = " ".join(["regs", *words[:1], *(f"stage={word}" for word in words[1:])])
        registers = self._answer(line)[-1]["registers"]
        try:
            kind = gdb.lookup_type("struct pt_regs")
        except gdb.error:
            raise gdb.GdbError("gdb knows no struct pt_regs here: regs shows the registers of a hit") from None
        data = USER_PT_REGS.pack(*registers["x"], registers["sp"], registers["pc"], registers["pstate"])
        return gdb.Value(data.ljust(kind.sizeof, b"\0"), kind)


def _word(value: Any) -> str:
    return str(value.string() if value.type.code in (gdb.TYPE_CODE_ARRAY, gdb.TYPE_CODE_PTR) else int(value))


def register(answer: Callable[[str], Any], pstate: Callable[[int], str]) -> None:
    """Have gdb use them. pstate: gives the text for a PSTATE."""
    printer = gdb.printing.RegexpCollectionPrettyPrinter("armprobe")
    printer.add_printer("pt_regs", "^(user_)?pt_regs$", lambda value: PtRegs(value, pstate))
    gdb.printing.register_pretty_printer(None, printer, replace=True)
    HitRegs(answer)
