# SPDX-License-Identifier: GPL-2.0-or-later
"""What registering gives, row by row, from registering each on the demo kernel: a table of docs/kprobes.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from armprobe import machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe, ProbeError

Try = Callable[[Kprobes], object]


def _kprobe(symbol_name: str | None = None, addr: int | None = None, offset: int = 0) -> Try:
    return lambda kprobes: kprobes.register_kprobe(Kprobe(symbol_name, addr, offset))


def _kretprobe(symbol_name: str, offset: int = 0, data_size: int = 0) -> Try:
    return lambda kprobes: kprobes.register_kretprobe(Kretprobe(symbol_name, offset=offset, data_size=data_size))


def _twice(kprobes: Kprobes) -> None:
    kprobes.register_kprobe(kprobes.register_kprobe(Kprobe("kfree")))


def _again(kprobes: Kprobes) -> None:
    probe = kprobes.register_kprobe(Kprobe("kfree"))
    kprobes.unregister(probe)
    kprobes.register_kprobe(probe)


CASES: Final = (
    # what is asked for, what v6.1 answers, how to ask
    ("a function", "0", _kprobe("kfree")),
    ("an instruction inside a function", "0", _kprobe("kfree", offset=8)),
    ("`memcpy`, `__switch_to`", "0", _kprobe("memcpy")),
    ("an instruction that only works where it is (B, ADR, CBZ, LDR literal...)", "0", _kprobe("pcrel_adr")),
    ("symbol and address both given", "EINVAL", _kprobe("kfree", 0xFFFF_8000_0008_3C90)),
    ("neither given", "EINVAL", _kprobe()),
    ("a symbol that there is not", "ENOENT", _kprobe("kfre")),
    ("an address that no symbol covers", "ENOENT", _kprobe(addr=0x1000)),
    ("a misaligned address, by symbol + 2 too", "EINVAL", _kprobe("kfree", offset=2)),
    ("data", "EINVAL", _kprobe("jiffies")),
    ("code marked NOKPROBE_SYMBOL", "EINVAL", _kprobe("nokprobe_symbol_mix")),
    ("`.kprobes.text`", "EINVAL", _kprobe("kprobes_text_mix")),
    ("entry, irqentry, noinstr, idmap and hyp text", "EINVAL", _kprobe("gic_handle_irq")),
    ("an instruction with an exception-table entry", "EINVAL", _kprobe("__arch_copy_from_user", offset=4)),
    ("MRS of DAIF", "EINVAL", _kprobe("insn_mrs_daif")),
    ("MSR", "EINVAL", _kprobe("insn_msr_daifclr")),
    ("HINTs but NOP, BTI, PAC* and XPACLRI", "EINVAL", _kprobe("insn_yield")),
    ("PRFM (literal)", "EINVAL", _kprobe("insn_prfm_literal")),
    ("a load or store exclusive", "EINVAL", _kprobe("insn_ldxr")),
    ("an instruction between the two", "EINVAL", _kprobe("insn_ldxr", offset=4)),
    ("the same struct a second time", "EINVAL", _twice),
    ("a struct that was unregistered, its `addr` still set", "EINVAL", _again),
    ("a kretprobe off the function's entry", "EINVAL", _kretprobe("kfree", offset=8)),
    ("a kretprobe whose data_size is over 4096", "E2BIG", _kretprobe("kfree", data_size=4097)),
    ("disabling a probe that is not registered", "EINVAL", lambda kprobes: kprobes.disable(Kprobe("kfree"))),
    ("unregistering one that is not", "(an oops)", lambda kprobes: kprobes.unregister(Kretprobe("kfree"))),
)


def rows() -> list[tuple[str, str, str, str]]:
    """What is asked for, v6.1's result, armprobe's (0 or the errno's name), and the reason armprobe gives."""
    found = []
    for what, kernel, attempt in CASES:
        demo = machine.load("demo")
        demo.run(until="workload_round")
        try:
            attempt(Kprobes(demo))
        except ProbeError as error:
            found.append((what, kernel, error.errno_name, error.reason))
        else:
            found.append((what, kernel, "0", ""))
    return found


def table() -> list[tuple[str, ...]]:
    """The rows under their headings, as Markdown."""
    found: list[tuple[str, ...]] = [("asked for", "v6.1", "armprobe", "with the words")]
    escaped = str.maketrans({"_": "\\_", "*": "\\*"})
    found += ((what, kernel, result, reason.translate(escaped)) for what, kernel, result, reason in rows())
    return found
