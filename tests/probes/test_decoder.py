# SPDX-License-Identifier: GPL-2.0-or-later
"""The decoder against the kernel's own answers and against what a disassembler says the instructions are."""

from __future__ import annotations

import random

import capstone
import pytest

from armprobe import probes
from armprobe.probes import Verdict, decode
from armprobe.probes.eras import ERAS
from armprobe.probes.eras.exclusives import load_exclusive_before

REJECTED, SIMULATED, GOOD = Verdict.REJECTED, Verdict.GOOD_NO_SLOT, Verdict.GOOD

# Assembled with GNU as. The verdicts are those of arm_kprobe_decode_insn in Debian's 6.1 kernel.
KNOWN = {
    "nop": (0xD503201F, GOOD),
    "yield": (0xD503203F, REJECTED),
    "wfi": (0xD503207F, REJECTED),
    "csdb": (0xD503229F, REJECTED),
    "xpaclri": (0xD50320FF, GOOD),
    "paciasp": (0xD503233F, GOOD),
    "autiasp": (0xD50323BF, REJECTED),
    "bti c": (0xD503245F, GOOD),
    "b .": (0x14000000, SIMULATED),
    "bl .": (0x94000000, SIMULATED),
    "b.eq .": (0x54000000, SIMULATED),
    "bc.eq .": (0x54000010, GOOD),
    "cbz x0, .": (0xB4000000, SIMULATED),
    "tbnz x0, #33, .": (0xB7080000, SIMULATED),
    "adr x0, .": (0x10000000, SIMULATED),
    "adrp x0, .": (0x90000000, SIMULATED),
    "br x1": (0xD61F0020, SIMULATED),
    "blr x30": (0xD63F03C0, SIMULATED),
    "ret": (0xD65F03C0, SIMULATED),
    "retaa": (0xD65F0BFF, REJECTED),
    "braaz x0": (0xD61F081F, REJECTED),
    "blraaz x0": (0xD63F081F, REJECTED),
    "eret": (0xD69F03E0, REJECTED),
    "eretaa": (0xD69F0BFF, REJECTED),
    "svc #0": (0xD4000001, REJECTED),
    "hvc #0": (0xD4000002, REJECTED),
    "smc #0": (0xD4000003, REJECTED),
    "brk #0x800": (0xD4210000, REJECTED),
    "hlt #0": (0xD4400000, REJECTED),
    "msr daifset, #2": (0xD50342DF, REJECTED),
    "msr tpidr_el1, x0": (0xD518D080, REJECTED),
    "mrs x0, daif": (0xD53B4220, REJECTED),
    "mrs x30, daif": (0xD53B423E, REJECTED),
    "mrs x0, sp_el0": (0xD5384100, GOOD),
    "mrs x0, nzcv": (0xD53B4200, GOOD),
    "isb": (0xD5033FDF, GOOD),
    "ldr x0, .": (0x58000000, SIMULATED),
    "ldr w0, .": (0x18000000, SIMULATED),
    "ldrsw x0, .": (0x98000000, SIMULATED),
    "prfm pldl1keep, .": (0xD8000000, REJECTED),
    "ldr q0, .": (0x9C000000, GOOD),
    "ldxr x0, [x1]": (0xC85F7C20, REJECTED),
    "stxr w2, x0, [x1]": (0xC8027C20, REJECTED),
    "ldaxp x0, x1, [x2]": (0xC87F8440, REJECTED),
    "ldar x0, [x1]": (0xC8DFFC20, GOOD),
    "cas x0, x1, [x2]": (0xC8A07C41, GOOD),
    "ldadd x0, x1, [x2]": (0xF8200041, GOOD),
    "udf #0": (0x00000000, GOOD),
    "stp x29, x30, [sp, #-16]!": (0xA9BF7BFD, GOOD),
    "add x0, x0, #1": (0x91000400, GOOD),
}


@pytest.mark.parametrize("text", KNOWN)
def test_known_instructions(text: str) -> None:
    word, verdict = KNOWN[text]
    assert decode(word).verdict is verdict


# What each mnemonic makes of the verdict; a mnemonic that is not here is executed in a slot.
_SIMULATED = {"b", "bl", "cbz", "cbnz", "tbz", "tbnz", "adr", "adrp", "br", "blr", "ret"}
_REJECTED = {
    "svc", "hvc", "smc", "brk", "hlt", "dcps1", "dcps2", "dcps3", "eret", "eretaa", "eretab", "msr", "retaa", "retab",
    "braa", "braaz", "brab", "brabz", "blraa", "blraaz", "blrab", "blrabz",
    "ldxr", "ldxrb", "ldxrh", "ldxp", "ldaxr", "ldaxrb", "ldaxrh", "ldaxp",
    "stxr", "stxrb", "stxrh", "stxp", "stlxr", "stlxrb", "stlxrh", "stlxp",
    "casp", "caspa", "caspl", "caspal",  # exclusives by their encoding
    "smstart", "smstop", "cfinv", "xaflag", "axflag",  # MSR (immediate) by theirs
    "yield", "wfe", "wfi", "sev", "sevl", "esb", "psb", "csdb", "hint", "dgh", "tsb",
    "autia1716", "autib1716", "autiaz", "autiasp", "autibz", "autibsp",
}  # fmt: skip


def expected(instruction: capstone.CsInsn) -> Verdict | None:
    """The verdict by the mnemonic alone; None where the mnemonic does not decide."""
    name = instruction.mnemonic
    if name == "drps" or name.startswith("bc.") or (name == "adr" and instruction.op_str[0] == "z"):  # of SVE
        return GOOD
    if name in _SIMULATED or name.startswith("b."):
        return SIMULATED
    if name in _REJECTED:
        # capstone also calls unallocated words of other system instructions MSR, of a register with op0 = 0 or 1.
        return None if instruction.op_str.startswith(("s0_", "s1_")) else REJECTED
    if name == "mrs":
        return REJECTED if instruction.op_str.endswith("daif") else GOOD
    if name in ("ldr", "ldrsw", "prfm") and "#0x" in instruction.op_str and "[" not in instruction.op_str:
        if name == "prfm":
            return REJECTED
        return SIMULATED if instruction.op_str[0] in "wx" else GOOD
    return None if name in ("sys", "sysl", "at", "dc", "ic", "tlbi", "udf") else GOOD


def test_agrees_with_a_disassembler() -> None:
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)
    rng = random.Random(1)
    words = [rng.getrandbits(32) for _ in range(20000)]
    for mask, value, *_ in ERAS["v6.1"].rows:
        words += [value | rng.getrandbits(32) & ~mask for _ in range(100)]
        words += [value ^ 1 << bit for bit in range(32)]
    compared, verdicts = 0, set()
    for word in words:
        instruction = next(disassembler.disasm(word.to_bytes(4, "little"), 0x40000000), None)
        if instruction is None:
            continue
        verdict = expected(instruction)
        if verdict is not None:
            found = decode(word)
            assert found.verdict is verdict, f"{word:#010x} {instruction.mnemonic} {instruction.op_str}: {found}"
            compared += 1
            verdicts.add(verdict)
    assert compared > 10000
    assert verdicts == {REJECTED, SIMULATED, GOOD}


def test_reasons_and_warnings() -> None:
    for word, verdict in KNOWN.values():
        found = decode(word)
        assert bool(found.reason) == (verdict is REJECTED)
        assert bool(found.simulator) == (verdict is SIMULATED)
    for text in ("udf #0", "ldr q0, .", "bc.eq ."):
        assert decode(KNOWN[text][0]).warning
    assert not decode(KNOWN["nop"][0]).warning
    assert not decode(KNOWN["bc.eq ."][0], "v7.2").warning


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="32-bit"):
        decode(1 << 32)
    with pytest.raises(probes.ProbeError, match=r"there is no era 'v9'.*v6\.1"):
        decode(0, era="v9")


LDXR, STXR, LDAR, STLR, ADD = 0xC85F7C20, 0xC8027C20, 0xC8DFFC20, 0xC89FFC20, 0x91000400
CAS, CASP = 0xC8A27C23, 0x48227C24


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ([ADD] * 8, None),
        ([LDXR], 1),
        ([LDXR, ADD], 2),
        ([LDXR, STXR], None),
        ([STXR, LDXR, ADD], 2),
        ([LDAR], 1),  # the mask ignores bit 23
        ([LDXR, STLR], None),  # likewise
        ([LDXR, *[ADD] * 31], 32),
        ([LDXR, *[ADD] * 32], None),  # out of reach
    ],
)
def test_atomic_scan(before: list[int], found: int | None) -> None:
    """`found` is how many instructions before the probed one the load exclusive is."""
    start = 0x1000
    words = {start + 4 * i: word for i, word in enumerate(before)}
    address = start + 4 * len(before)
    expected_address = None if found is None else address - 4 * found
    assert load_exclusive_before(ERAS["v6.1"].exclusives, words.__getitem__, address, start) == expected_address


@pytest.mark.parametrize(
    ("before", "found"),
    [([LDXR], 1), ([LDAR], None), ([LDXR, STXR], None), ([LDXR, STLR], 2), ([LDXR, CAS, ADD], 3), ([LDXR, CASP], None)],
)
def test_atomic_scan_since_v6_15(before: list[int], found: int | None) -> None:
    """Neither LDAR and STLR nor CAS are taken for exclusives any more; CASP, with bit 23 clear, is."""
    words = {4 * i: word for i, word in enumerate(before)}
    address = 4 * len(before)
    expected = None if found is None else address - 4 * found
    assert load_exclusive_before(ERAS["v7.2"].exclusives, words.__getitem__, address, 0) == expected


def test_atomic_scan_stays_in_the_function() -> None:
    words = {0x1000: LDXR, 0x1004: ADD, 0x1008: ADD}
    assert load_exclusive_before(ERAS["v6.1"].exclusives, words.__getitem__, 0x1008, 0x1004) is None


def test_the_first_scan_looks_at_31_instructions() -> None:
    """v4.8 scans down to, not including, the 32nd (`scan_start > scan_end`); later kernels include it."""
    words = {0x1000: LDXR} | {0x1000 + 4 * i: ADD for i in range(1, 33)}
    for era, reach in (("v4.8", 31), ("v5.4", 32), ("v5.10", 32), ("v6.1", 32), ("v6.9", 32), ("v7.2", 32)):
        rules = ERAS[era].exclusives
        assert load_exclusive_before(rules, words.__getitem__, 0x1000 + 4 * reach, 0x1000) == 0x1000
        assert load_exclusive_before(rules, words.__getitem__, 0x1004 + 4 * reach, 0x1000) is None
