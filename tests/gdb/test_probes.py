# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes set from gdb, and what gdb shows at each of their stages."""

import re

import pytest

from armprobe.commands import GdbError, GdbSession, GdbStop, Session
from tests.gdb.oracle import HITS, Demo, Reference, Registers, registers

pytestmark = pytest.mark.sample(of="files")


def says(stop: GdbStop, probe: str, stage: str, signal: str = "SIGTRAP, Trace/breakpoint trap") -> None:
    """The stop is a probe's, and says which and at what stage."""
    assert re.match(rf"{probe}: stage {stage}, hit \d+\n\nProgram received signal {signal}\.\n", stop.console), stop


def differences(ours: Registers, theirs: Registers, apart: tuple[str, ...] = ()) -> dict[str, tuple[str, str]]:
    assert ours.keys() == theirs.keys()
    return {n: (hex(ours[n]), hex(theirs[n])) for n in ours if ours[n] != theirs[n] and n not in apart}


def test_kprobe_stages(gdb: GdbSession, demo: Demo, qemu: Reference) -> None:
    """Every register at pre and post is QEMU's before and after the probed instruction, in every hit.

    QEMU ran the first calls of kmalloc before it looked at kfree, which is also the order of the workload.
    """
    gdb.execute("kprobe kfree stop=pre,post")
    for before, after in qemu.kfree:
        stop = gdb.continue_to_stop()
        says(stop, "kprobe kfree", "pre")
        assert (stop.pc, stop.function) == (demo.address("kfree"), "kfree")
        assert not differences(registers(gdb), before)
        stop = gdb.continue_to_stop()
        says(stop, "kprobe kfree", "post")
        assert (stop.pc, stop.function) == (demo.address("kfree") + 4, "kfree")
        assert not differences(registers(gdb), after)


def test_kretprobe_stages(gdb: GdbSession, demo: Demo, qemu: Reference) -> None:
    """Likewise at entry and return. A kernel's own handler would see the trampoline in x30 on return: gdb does not."""
    gdb.execute("kretprobe kmalloc stop=entry,return")
    for entry, left in qemu.kmalloc:
        stop = gdb.continue_to_stop()
        says(stop, "kretprobe kmalloc", "entry")
        assert (stop.pc, stop.function) == (demo.address("kmalloc"), "kmalloc")
        assert not differences(registers(gdb), entry)
        assert gdb.evaluate("size") == str(entry["x0"])
        stop = gdb.continue_to_stop()
        says(stop, "kretprobe kmalloc", "return")
        assert (stop.pc, stop.function) == (entry["x30"], demo.function_at(entry["x30"]))
        assert not differences(registers(gdb), left)


def test_callers(gdb: GdbSession, demo: Demo) -> None:
    """x30 at entry is behind one of the calls that objdump lists, and gdb's unwinder finds that caller."""
    callers = demo.return_addresses("kfree")
    assert len(callers) >= 4
    gdb.execute("kprobe kfree stop=pre")
    seen = set()
    for _ in range(60):
        gdb.continue_to_stop()
        x30 = gdb.register("x30")
        assert x30 in callers
        seen.add(x30)
    assert len(seen) >= 3
    frames = re.findall(r"^#(\d+)  (?:0x([0-9a-f]+) in )?(\w+) \(", gdb.execute("backtrace"), re.MULTILINE)
    assert frames[0][2] == "kfree"
    assert frames[1][1:] == (f"{x30:x}", demo.function_at(x30))
    assert [name for _, _, name in frames][-3:] == ["workload_run", "start_kernel", "__primary_switched"]


def test_a_kretprobe_that_is_entered_does_not_hide_the_caller(gdb: GdbSession, demo: Demo) -> None:
    """At entry gdb unwinds as it would without the probe."""
    gdb.execute("kretprobe kmalloc stop=entry")
    gdb.execute("kretprobe kmalloc stop=entry")
    gdb.continue_to_stop()
    assert gdb.register("x30") in demo.return_addresses("kmalloc")
    assert re.findall(r"^#\d+ .*?(\w+) \(", gdb.execute("backtrace"), re.MULTILINE)[:3] == [
        "kmalloc", "slab_round", "workload_round",
    ]  # fmt: skip


def test_the_native_commands_are_the_machines(gdb: GdbSession, session: Session) -> None:
    said = gdb.execute("kprobe kfree stop=pre")
    assert said == gdb.execute("monitor kprobe kfree stop=pre").replace("kprobe 2", "kprobe 1")
    assert gdb.execute("probes") == gdb.execute("monitor probes") == session.run("probes")
    assert gdb.execute("armprobe probes") == session.run("probes")
    gdb.continue_to_stop()
    assert [probe.hits for probe in session.kprobes.list()] == [1, 1]
    assert "kprobe kfree, hit 1, stage pre:" in gdb.execute("regs 1")
    assert gdb.execute("kprobe-disable 1") == "kprobe 1 (kfree) is disabled\n"
    assert gdb.execute("monitor unregister all").count(" is gone: 1 hits, 0 missed") == 2


def test_completion(gdb: GdbSession, demo: Demo) -> None:
    names = sorted(name for name in demo.symbols if name.startswith("kf"))
    assert names == ["kfree"]
    assert gdb.execute("complete kprobe kf") == "kprobe kfree\n"
    assert gdb.execute("complete armprobe check kf") == "armprobe check kfree\n"
    functions = {name for name in demo.symbols if name.startswith("pcrel_b")}
    assert functions <= set(gdb.execute("complete kretprobe pcrel_b").replace("kretprobe ", "").split())
    assert gdb.execute("complete kprobe kfree stop=pre,").split() == ["kprobe", "kfree", "stop=pre,post"]
    assert gdb.execute("complete kpro").split("\n")[0] == "kprobe"


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("kprobe kfre", r"ENOENT: there is no symbol 'kfre': did you mean kfree\?"),
        ("kprobe vectors", r"EINVAL: vectors is on the kernel's blacklist \(entry_text\): .*"),
        ("kprobe insn_ldxr+4", r"EINVAL: insn_ldxr\+0x4 is behind the load exclusive at insn_ldxr: .*"),
        ("kprobe kfree+2", "EINVAL: .* is misaligned: A64 instructions are at multiples of 4"),
        ("kretprobe kfree+4", r"EINVAL: kfree\+0x4 is not the entry of a function, .*"),
        ("kprobe kfree stop=before", "stop= cannot be 'before': choose from pre, post"),
        ("unregister kfree", "there is no probe 'kfree': probes lists them by number and name"),
    ],
)
@pytest.mark.sample
def test_refusals(gdb: GdbSession, session: Session, line: str, refusal: str) -> None:
    """One sentence, an error for gdb's scripts, and nothing left behind."""
    with pytest.raises(GdbError) as error:
        gdb.execute(line)
    assert re.fullmatch(refusal, str(error.value))
    with pytest.raises(GdbError) as by_monitor:
        gdb.execute(f"monitor {line}")
    assert str(by_monitor.value) == str(error.value)
    assert session.kprobes.list() == []
    gdb.execute("kprobe kfree stop=pre")
    says(gdb.continue_to_stop(), "kprobe kfree", "pre")


def test_what_a_function_returns_can_be_changed(gdb: GdbSession) -> None:
    """The caller computes with the x0 set at the return stage: slab_round and string_round check their results."""
    gdb.execute("kretprobe strlen stop=return")
    stop = gdb.continue_to_stop()
    assert (stop.function, gdb.evaluate("workload.failures")) == ("string_round", "0")
    assert gdb.register("x0") == int(gdb.evaluate("len"))
    gdb.execute("set $x0 = $x0 + 1")
    gdb.execute("unregister all")
    gdb.execute("tbreak sort_round")
    assert gdb.continue_to_stop().function == "sort_round"
    assert gdb.evaluate("workload.failures") == "1"
    assert '"strlen"' in gdb.evaluate("workload.first_failure")


def test_no_memory(gdb: GdbSession, session: Session) -> None:
    """kmalloc made to fail once: its caller goes on without, and the batch ends in MISMATCH."""
    gdb.execute("kretprobe kmalloc stop=return")
    gdb.continue_to_stop()
    gdb.execute("set $x0 = 0")
    gdb.execute("unregister all")
    gdb.execute("tbreak workload_run if 0")
    gdb.execute("tbreak batch_report")
    gdb.continue_to_stop()
    assert '"kmalloc"' in gdb.evaluate("workload.first_failure")
    gdb.execute("finish")
    assert b"MISMATCH" in session.machine.console.read()


def test_an_argument_can_be_changed(gdb: GdbSession) -> None:
    """x0 set at pre is what the function gets: ksize says to which class the object belongs."""
    gdb.execute("kprobe kmalloc stop=pre")
    gdb.continue_to_stop()
    gdb.execute("set $x0 = 3000")
    gdb.execute("unregister all")
    gdb.execute("finish")
    assert gdb.evaluate("ksize((void *) $x0)") == "4096"


def test_a_function_can_be_skipped(gdb: GdbSession) -> None:
    """PC moved at pre: next_random does not run, and its caller takes what x0 has."""
    gdb.execute("kprobe next_random stop=pre")
    gdb.continue_to_stop()
    seed = gdb.evaluate("workload.random")
    gdb.execute("set $x0 = 99")
    gdb.execute("set $pc = $x30")
    gdb.execute("unregister all")
    gdb.execute("tbreak *kmalloc")
    gdb.continue_to_stop()
    assert gdb.evaluate("size") == str(1 + 99 % 700)
    assert gdb.evaluate("workload.random") == seed


def test_a_jump_at_pre(gdb: GdbSession, demo: Demo, session: Session) -> None:
    """gdb's own jump leaves the hit: what comes after is hit as usual."""
    gdb.execute("kprobe next_random stop=pre")
    gdb.continue_to_stop()
    gdb.execute("set $x0 = 99")
    gdb.execute("tbreak *kmalloc")
    gdb.execute("jump *$x30")
    assert gdb.register("pc") == demo.address("kmalloc")
    says(gdb.continue_to_stop(), "kprobe next_random", "pre")
    (probe,) = session.kprobes.list()
    assert (probe.hits, probe.nmissed) == (2, 0)


def test_calls_at_a_stop(gdb: GdbSession, session: Session) -> None:
    """gdb calls guest functions at a stop between the stages, and the hit goes on as if nothing had been."""
    gdb.execute("kprobe kfree stop=pre,post")
    gdb.execute("kretprobe kmalloc stop=entry,return")
    for stage in ("entry", "return"):
        stop = gdb.continue_to_stop()
        says(stop, "kretprobe kmalloc", stage)
        before = registers(gdb)
        assert gdb.evaluate("fib(10)") == "55"
        assert gdb.execute("guest-call fib 11") == "0x59 (89)\n"
        assert registers(gdb) == before
    gdb.execute("kprobe-disable kmalloc")
    for stage in ("pre", "post"):
        says(gdb.continue_to_stop(), "kprobe kfree", stage)
        before = registers(gdb)
        assert gdb.evaluate("ackermann(2, 3)") == "9"
        assert registers(gdb) == before
    says(gdb.continue_to_stop(), "kprobe kfree", "pre")
    assert sorted((probe.name, probe.hits) for probe in session.kprobes.list()) == [("kfree", 2), ("kmalloc", 1)]
    assert session.kprobes.outstanding == []


WHILE_STEPPING = "EXC_BREAKPOINT, Breakpoint"
"""gdb takes a SIGTRAP at the end of a step of its own for nothing else."""


def test_probes_and_breakpoints_at_one_place(gdb: GdbSession, session: Session) -> None:
    """A breakpoint of gdb's comes first; then the probe's stages, once each."""
    gdb.execute("kprobe kfree stop=pre,post")
    gdb.execute("break *kfree")
    for _ in range(3):
        stop = gdb.continue_to_stop()
        assert stop.reason == "breakpoint-hit"
        assert stop.console.startswith("\nBreakpoint 1, kfree (")
        for stage in ("pre", "post"):  # gdb steps over its breakpoint, twice
            says(gdb.continue_to_stop(), "kprobe kfree", stage, WHILE_STEPPING)
    (probe,) = session.kprobes.list()
    assert probe.hits == 3


def test_a_probe_and_a_watchpoint_at_one_store(gdb: GdbSession) -> None:
    """gdb steps over the store before it tells of it, which is where the probe stops: there is one stop for both."""
    gdb.execute("tbreak *workload_round")
    gdb.continue_to_stop()
    gdb.execute("watch workload.random")
    stop = gdb.continue_to_stop()
    assert stop.pc is not None
    gdb.execute(f"kprobe {stop.pc - 4:#x} stop=pre,post")
    for hit in (1, 2):
        before = gdb.evaluate("workload.random")
        assert gdb.continue_to_stop().pc == stop.pc - 4
        assert gdb.evaluate("$_stage") == '"pre"'
        both = gdb.continue_to_stop()
        assert (both.reason, both.pc, both.raw["value"]["old"]) == ("watchpoint-trigger", stop.pc, before)
        assert both.raw["value"]["new"] == gdb.evaluate("workload.random") != before
        assert f"stage post, hit {hit}" in both.console
        assert gdb.evaluate("$_stage") == '"post"'


def test_a_probe_stops_a_line_step(gdb: GdbSession, demo: Demo) -> None:
    """A probe on an instruction in the midst of the line that gdb steps over."""
    start, size = demo.symbols["string_round"]
    snprintf = next(
        at for at in range(start, start + size, 4)
        if demo.instructions[at].name == "bl" and demo.instructions[at].operands.endswith("<snprintf>")
    )  # fmt: skip
    gdb.execute("tbreak string_round")
    gdb.continue_to_stop()
    gdb.execute("next")
    gdb.execute(f"kprobe {snprintf - 4:#x} stop=pre,post")
    for stage, pc in (("pre", snprintf - 4), ("post", snprintf)):
        said = gdb.execute("next")
        assert f"kprobe {snprintf - 4:#x}: stage {stage}, hit 1\n\nProgram received signal {WHILE_STEPPING}.\n" in said
        assert gdb.register("pc") == pc
    assert "\tworkload_mix(w, len);" in gdb.execute("next")


def test_breakpoints_do_not_skip_probed_instructions(gdb: GdbSession, session: Session, demo: Demo) -> None:
    """gdb does not see our BRK: it would take it for the program's, and go on behind it."""
    gdb.execute("tbreak workload_run")
    gdb.continue_to_stop()
    gdb.execute("kprobe next_random")
    address = demo.address("next_random")
    assert session.machine.memory.u32(address) == 0xD4200080  # BRK #4
    assert gdb.read_memory(address, 8) == demo.initial(address, 8)
    gdb.execute("break *next_random")
    for _ in range(20):
        gdb.continue_to_stop()
    gdb.execute("delete")
    gdb.execute("tbreak batch_report")
    gdb.continue_to_stop()
    gdb.execute("finish")
    assert b" ok\r\n" in session.machine.console.read()


PC_RELATIVE = (
    *("adr", "adrp", "ldr_literal", "ldrsw_literal", "b", "bl", "bcond", "cbz", "cbnz", "tbz", "tbnz"),
    *("ret", "br", "blr", "blr_x30"),
)
"""Of guests/demo/arch/pcrel.S."""


@pytest.mark.parametrize("function", ["kfree", "virt_to_page", *(f"pcrel_{how}" for how in PC_RELATIVE)])
@pytest.mark.sample
def test_stepping_over_a_probed_instruction(gdb: GdbSession, session: Session, function: str) -> None:
    """stepi does what it does without the probe, to every register, whether the instruction is executed out of line or
    simulated. The function is called once or more in every round, with the stack where it was."""
    gdb.execute(f"tbreak *{function}")
    gdb.continue_to_stop()
    start = session.machine.snapshot()
    assert gdb.step().reason == "end-stepping-range"
    without = registers(gdb)
    session.machine.restore(start)
    gdb.execute("maintenance flush register-cache")
    gdb.execute(f"kprobe {function}")
    assert gdb.step().reason == "end-stepping-range"
    assert registers(gdb) == without
    (probe,) = session.kprobes.list()
    assert (probe.hits, probe.nmissed) == (1, 0)


def test_recorded_registers(gdb: GdbSession, session: Session, qemu: Reference) -> None:
    """A probe that does not stop records the same registers; gdb shows them long after."""
    gdb.execute("kretprobe kmalloc")
    gdb.execute("tbreak list_round")
    gdb.continue_to_stop()
    hits = [hit for hit in session.kprobes.hits if hit.number <= HITS]
    assert [hit.stage.value for hit in hits] == ["entry", "return"] * HITS
    for i, hit in enumerate(hits):
        theirs = qemu.kmalloc[i // 2][i % 2]
        ours = {**{f"x{n}": value for n, value in enumerate(hit.regs.regs)}, "sp": hit.regs.sp, "pc": hit.regs.pc}
        apart = ("x30",) if hit.stage.value == "return" else ()
        assert not differences(ours, {n: v for n, v in theirs.items() if n != "cpsr"}, apart)
    last = session.kprobes.hits[-1]
    shown = gdb.execute("regs kmalloc stage=return")
    assert f"x0 : {last.regs.regs[0]:016x}" in shown


def test_what_gdb_knows_of_a_stop(gdb: GdbSession, demo: Demo) -> None:
    """Convenience variables for scripts: void but at a probe's stop."""
    variables = ("$_kprobe", "$_stage", "$_hit", "$_retval")

    def values() -> list[str]:
        return [gdb.evaluate(name) for name in variables]

    gdb.execute("tbreak slab_round")
    gdb.continue_to_stop()
    assert values() == ["void"] * 4
    gdb.execute("kretprobe kmalloc stop=entry,return")
    gdb.execute("kprobe kfree+8 stop=pre,post")
    gdb.continue_to_stop()
    assert values() == ['"kmalloc"', '"entry"', "1", "void"]
    assert gdb.evaluate('$_streq($_stage, "entry")') == "1"
    gdb.continue_to_stop()
    assert values() == ['"kmalloc"', '"return"', "1", f"{gdb.register('x0'):#x}"]
    assert gdb.execute("whatis $_retval") == "type = void *\n"
    assert gdb.evaluate("ksize($_retval)") == gdb.evaluate("ksize((void *) $x0)")
    gdb.execute("stepi")
    assert values() == ["void"] * 4
    gdb.execute("kprobe-disable kmalloc")
    for stage in ("pre", "post"):
        gdb.continue_to_stop()
        assert values() == ['"kfree+0x8"', f'"{stage}"', "1", "void"]
    gdb.execute("unregister all")
    gdb.execute("kretprobe fib stop=return maxactive=1")  # which returns a number
    gdb.continue_to_stop()
    assert values() == ['"fib"', '"return"', "1", gdb.evaluate("(unsigned long) $x0")]
    assert gdb.execute("whatis $_retval") == gdb.execute("whatis fib(1)")


def test_the_probes_and_pt_regs_in_gdb(gdb: GdbSession, session: Session) -> None:
    gdb.execute("kretprobe kmalloc stop=return,entry")
    gdb.continue_to_stop()
    entry = registers(gdb)
    assert gdb.execute("info kprobes") == gdb.execute("probes") == gdb.execute("monitor info kprobes")
    assert gdb.execute("info kprobes").splitlines()[1].split()[3:] == ["kmalloc", "1", "0", "stop=entry,return"]
    assert "List the probes" in gdb.execute("help info kprobes")
    with pytest.raises(GdbError, match="hit 1 of kmalloc has not recorded the stage return: it has entry"):
        gdb.execute("pt-regs return")
    said = gdb.execute("pt-regs")
    gdb.continue_to_stop()
    assert said == gdb.execute("pt-regs entry") == gdb.execute("monitor pt-regs entry")
    assert said.startswith("kretprobe kmalloc, hit 1, stage entry:\n  pc : ")
    assert f"x0 : {entry['x0']:016x}\n" in said
    assert gdb.execute("pt-regs").startswith("kretprobe kmalloc, hit 1, stage return:\n")
    assert f"x0 : {gdb.register('x0'):016x}\n" in gdb.execute("pt-regs")


def test_the_backtrace_of_armprobe_is_gdb_s(gdb: GdbSession, session: Session) -> None:
    """At every stage: the same addresses, one called by the other."""
    gdb.execute("kretprobe slab_round")
    gdb.execute("kretprobe kmalloc stop=entry,return")
    gdb.execute("kprobe kfree stop=pre,post")
    for _ in range(4):
        gdb.continue_to_stop()
        ours = re.findall(r"^#\d+ +0x([0-9a-f]+) (\w+)\+", gdb.execute("monitor backtrace"), re.MULTILINE)
        theirs = re.findall(r"^#\d+  (?:0x([0-9a-f]+) in )?(\w+) \(", gdb.execute("backtrace"), re.MULTILINE)
        assert ours[1:] == theirs[1:]
        assert (int(ours[0][0], 16), ours[0][1]) == (gdb.register("pc"), theirs[0][1])
        if session.kprobes.hits[-1].stage.value == "return":
            gdb.execute("kprobe-disable kmalloc")
