# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of the table: what is shown, what it is compared with, and the aims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.bench.one_liners import LINES
from tests.bench.own_tracer import QUESTIONS
from tests.bench.table import Aim, Row


def _most(bound: float) -> Aim:
    return Aim(bound, at_least=False)


def _on_stubs(what: str, metric: str, unit: str, one: Aim | None, two: Aim | None) -> list[Row]:
    rows = []
    for cores, words, aim in (("one", "one core", one), ("two", "two cores", two)):
        qemu = f"gdb_{cores}_qemu_{metric}"
        rows += [
            Row(f"{what}, QEMU, {words}", qemu, unit),
            Row("  armprobe", f"gdb_{cores}_armprobe_{metric}", unit, aim, (qemu, "QEMU"), f"{what}, {words}"),
        ]
    return rows


def _one_liner(line: str, name: str) -> Row:
    against = ("one_liner_plain_seconds", "without")
    return Row(f"  {line}", f"one_liner_{name}_seconds", "s", _most(1.5), against, f"dd with {line}")


def _questions() -> Iterator[Row]:
    """The same questions, asked of the guest's own tracer: what each adds to a block of dd."""
    for name, question in QUESTIONS.items():
        yield Row(f"{question.what}, in QEMU", f"own_{name}_us", "us")
        yield Row(
            f"  {LINES[name]}",
            f"one_liner_{name}_us",
            "us",
            _most(1 / 10),
            (f"own_{name}_us", "QEMU"),
            f"{LINES[name]}, a block",
        )


def _design(what: str, metric: str, other: str) -> tuple[Row, Row]:
    against = (f"{other}_hits", other.partition("_")[2]) if other else None
    return (
        Row(what, f"{metric}_hits", "/s", against=against),
        Row("  exceptions a hit", f"{metric}_exceptions", "exceptions"),
    )


def _step_back(where: str, metric: str, median: Aim, most: Aim | None, next_one: Aim | None) -> tuple[Row, Row, Row]:
    what = f"to a random position of 10 s {where}, and one reverse-stepi"
    return (
        Row(f"{what}: median", f"{metric}_first_step_median_ms", "ms", median, name=f"first reverse-stepi {where}"),
        Row("  95th percentile", f"{metric}_first_step_95_ms", "ms", most, name="the same, 95th percentile"),
        Row("  the following 50: median", f"{metric}_next_step_ms", "ms", next_one, name="the following reverse-stepi"),
    )


_LOOP: Final = ("calls_unprobed", "unprobed")
_KPROBE: Final = ("kprobe_hits", "kprobe")
_QEMU_BOOT: Final = ("qemu_boot_seconds", "QEMU")
_UNHIT: Final = "  with a probe set that is not hit"

GROUPS: Final = {
    "Linux (Debian's kernel, 256 MiB)": (
        Row("boot to the shell", "boot_seconds", "s", _most(2.6), _QEMU_BOOT),
        Row("the same boot in QEMU (TCG)", "qemu_boot_seconds", "s"),
        Row("first `armprobe linux`: boot, write the snapshot, load it", "first_seconds", "s", against=_QEMU_BOOT),
        Row("next `armprobe linux`: resume, type, see the answer", "resume_seconds", "s", _most(0.5)),
        Row("`push` of 8 MiB, the first", "push_seconds", "s", _most(1)),
        Row("  the next", "push_again_seconds", "s"),
        Row("`sh true`, the first", "sh_seconds", "s"),
        Row("  the next", "sh_again_seconds", "s", against=("qemu_sh_again_seconds", "QEMU")),
        Row("`true` typed at the shell in QEMU, the first", "qemu_sh_seconds", "s"),
        Row("  the next", "qemu_sh_again_seconds", "s"),
        Row("`tasks`, 44 of them, the first", "tasks_seconds", "s"),
        Row("  the next", "tasks_again_seconds", "s", _most(0.005), name="`tasks` again"),
        Row("drgn on armprobe's guest: its start and all tasks", "drgn_tasks_seconds", "s"),
        Row("  all tasks again", "drgn_tasks_again_seconds", "s"),
        Row("`lx-ps` in gdb on QEMU, with a vmlinux, the first", "qemu_lx_ps_seconds", "s"),
        Row("  the next", "qemu_lx_ps_again_seconds", "s"),
        Row(
            "gdb attaches, with symbols and types",
            "linux_attach_seconds",
            "s",
            _most(1),
            ("qemu_attach_seconds", "QEMU"),
        ),
        Row("  `ptype struct task_struct`, the first", "ptype_seconds", "s", against=("qemu_ptype_seconds", "QEMU")),
        Row("  the next", "ptype_again_seconds", "s", against=("qemu_ptype_again_seconds", "QEMU")),
        Row("gdb attaches for the first time to a kernel, with symbols only", "attach_symbols_seconds", "s"),
        Row(
            "  with types",
            "attach_types_seconds",
            "s",
            _most(2),
            ("attach_symbols_seconds", "symbols only"),
            "gdb attaches for the first time to a kernel, with types",
        ),
        Row("gdb attaches again, with symbols only", "attach_symbols_again_seconds", "s"),
        Row(
            "  with types",
            "attach_types_again_seconds",
            "s",
            _most(1.2),
            ("attach_symbols_again_seconds", "symbols only"),
            "gdb attaches again, with types",
        ),
        Row("gdb attaches to QEMU, with a vmlinux", "qemu_attach_seconds", "s"),
        Row("  `ptype struct task_struct`, the first", "qemu_ptype_seconds", "s"),
        Row("  the next", "qemu_ptype_again_seconds", "s"),
        Row("`thread apply all bt`, the first", "all_bt_seconds", "s"),
        Row("  the next", "all_bt_again_seconds", "s"),
        Row("peak memory, resumed", "resume_peak_mib", "MiB", _most(700)),
        Row("peak memory, booted and saved", "boot_peak_mib", "MiB", _most(700)),
        Row("system calls (dd bs=1: read and write), QEMU", "qemu_system_calls", "/s"),
        Row("  armprobe", "system_calls", "/s", Aim(0.5), ("qemu_system_calls", "QEMU"), "system calls (dd bs=1)"),
        Row("instructions a system call", "instructions_a_system_call", "instructions"),
        Row("a hit of the guest's kprobe event on vfs_read, in QEMU", "qemu_hit_us", "us"),
        Row(
            "  of an optimised kprobe, in armprobe",
            "hit_us",
            "us",
            _most(1 / 25),
            ("qemu_hit_us", "QEMU"),
            "cost of a hit on vfs_read during dd",
        ),
        Row("kprobe hits (vfs_read during dd, handler reads x0)", "linux_hits", "/s"),
    ),
    "One-liners on Linux: CPU time of dd bs=1 in the guest": (
        Row("nothing set", "one_liner_plain_seconds", "s"),
        *(_one_liner(line, name) for name, line in LINES.items()),
    ),
    "One-liners on Linux, and the guest's own tracer: CPU time that each adds to a block of dd": tuple(_questions()),
    "Going back": (
        *_step_back("on Linux", "linux", _most(150), _most(400), _most(30)),
        *_step_back("in the demo kernel", "demo", _most(100), None, None),
        Row(
            "reverse-continue on Linux, at most 0.1 s back: median",
            "tenth_back_median_ms",
            "ms",
            _most(300),
            name="reverse-continue over 0.1 s",
        ),
        Row("  95th percentile", "tenth_back_95_ms", "ms", _most(600), name="the same, 95th percentile"),
        Row("reverse-stepi in QEMU's replay of that work, from a snapshot near it", "qemu_step_back_ms", "ms"),
        Row("  reverse-continue to the breakpoint before", "qemu_back_ms", "ms"),
        Row("1 s of Linux, forward", "second_forward_ms", "ms"),
        Row(
            "  reverse-continue over it",
            "second_back_ms",
            "ms",
            _most(2),
            ("second_forward_ms", "forward"),
            "reverse-continue over 1 s",
        ),
        Row("  last-write of a word written before it", "last_write_ms", "ms", _most(1000), name="last-write over 1 s"),
        Row("a checkpoint of the prototype's", "prototype_ms", "ms"),
        Row(
            "  of armprobe's, each 0.2 s of Linux",
            "checkpoint_ms",
            "ms",
            _most(1.5),
            ("prototype_ms", "prototype"),
            "a checkpoint",
        ),
        Row("Linux at work, --no-history", "without_history_mips", "MIPS"),
        Row(
            "  with its history",
            "with_history_mips",
            "MIPS",
            Aim(0.95),
            ("without_history_mips", "without"),
            "Linux with its history",
        ),
        Row("boot to the shell", "calls_boot_seconds", "s"),
        Row(
            "  `calls vfs_read` over it",
            "calls_seconds",
            "s",
            _most(2),
            ("calls_boot_seconds", "the boot"),
            "`calls vfs_read` over a boot",
        ),
    ),
    "Instructions": (
        Row("tight loop, bare Unicorn", "bare_loop_mips", "MIPS"),
        Row("  for reference: with a count", "counted_loop_mips", "MIPS", against=("bare_loop_mips", "bare")),
        Row("tight loop, armprobe", "loop_mips", "MIPS", Aim(0.4), ("bare_loop_mips", "bare")),
        Row(_UNHIT, "loop_probe_set_mips", "MIPS", against=("loop_mips", "without")),
        Row("demo workload", "workload_mips", "MIPS"),
        Row(_UNHIT, "workload_probe_set_mips", "MIPS", against=("workload_mips", "without")),
        Row("the same instructions of the demo workload", "workload_plain_seconds", "s"),
        Row(
            "  with cmp_u32 recorded",
            "workload_recorded_seconds",
            "s",
            _most(1.3),
            ("workload_plain_seconds", "without"),
            "time of the demo workload with cmp_u32 recorded",
        ),
        Row("Linux (dd)", "linux_mips", "MIPS"),
        Row("  by turns with the next row", "unarmed_mips", "MIPS"),
        Row(
            "  with 1,000 probes set that are not hit",
            "armed_mips",
            "MIPS",
            Aim(0.95),
            ("unarmed_mips", "without"),
            "Linux with 1,000 probes set that are not hit",
        ),
    ),
    "Optimised probes, on the demo kernel (kfree called in a loop)": (
        Row("calls, not probed", "calls_unprobed", "/s"),
        Row("kprobe, all registers recorded", "recorded_kprobe_hits", "/s", Aim(10e6)),
        Row("  against the calls", "recorded_kprobe_hits", "/s", Aim(0.5), _LOOP, "the same, against the calls"),
        Row("  only x0, before the instruction", "chosen_kprobe_hits", "/s", against=_LOOP),
        Row("kprobe, counted only", "counted_hits", "/s", against=_LOOP),
        Row("  by caller", "counted_by_caller_hits", "/s", against=_LOOP),
        Row(
            "kprobe with a condition that reads memory and is true",
            "true_memory_hits",
            "/s",
            Aim(6e6),
            name="kprobe with a condition that reads memory",
        ),
        Row(
            "kprobe with a condition on x0 that is false",
            "false_x0_hits",
            "/s",
            Aim(0.6),
            _LOOP,
        ),
        Row("  against QEMU and gdb", "false_x0_hits", "/s", against=("gdb_two_qemu_hits", "QEMU")),
        Row("kretprobe, both stages recorded", "recorded_kretprobe_hits", "/s", against=_LOOP),
        Row(
            "  with a histogram of latencies", "latency_hits", "/s", Aim(8e6), name="kretprobe with a latency histogram"
        ),
        Row("  ... by caller", "latency_by_caller_hits", "/s", against=_LOOP),
        Row("  with a condition that is false at the entry", "false_entry_hits", "/s", against=_LOOP),
        Row("  ... at the return", "false_return_hits", "/s", against=_LOOP),
        Row("kprobe that stops, condition on x0 that is false", "false_stop_hits", "/s", against=_LOOP),
        Row("kprobe with a handler, condition on x0 that is false", "false_handler_hits", "/s", against=_LOOP),
    ),
    "Handlers in Python, on the demo kernel (kfree called in a loop)": (
        Row("kprobe, handler reads x0", "kprobe_hits", "/s", Aim(1e6)),
        Row("kprobe, with a post-handler too", "kprobe_post_hits", "/s", against=_KPROBE),
        Row("kretprobe, handler reads x0", "kretprobe_hits", "/s", Aim(500_000)),
        Row("kprobe on cmp_u32 in the workload, handler reads x0", "workload_hits", "/s"),
    ),
    "Designs, on the demo kernel: hits, and exceptions a hit": (
        *_design("brk: a breakpoint behind the slot (v5.10 on)", "step_brk", ""),
        *_design("ss: software step (to v5.9)", "step_ss", "step_brk"),
        *_design("branch: no second exception (never in a kernel)", "step_branch", "step_brk"),
        *_design("an instruction that is simulated", "step_simulated", "step_brk"),
        *_design("trampoline direct: saves the registers (v4.8 on)", "return_direct", ""),
        *_design("trampoline kprobe (before the patch)", "return_kprobe", "return_direct"),
        *_design("trampoline brk (v6.9 on)", "return_brk", "return_direct"),
    ),
    "gdb on QEMU's stub and on armprobe's, by turns (demo kernel)": (
        *_on_stubs("stepi", "stepi", "/s", Aim(1.2), Aim(1.4)),
        *_on_stubs("next, in a loop of three lines", "next", "/s", Aim(1.0), Aim(1.0)),
        *_on_stubs("false condition (kfree), gdb evaluates", "hits", "/s", Aim(1.35), Aim(1.5)),
        Row(
            "  armprobe, which evaluates", "gdb_two_armprobe_hits_in_stub", "/s", against=("gdb_two_qemu_hits", "QEMU")
        ),
        *_on_stubs("dump of 64 MiB", "dump", "MiB/s", Aim(1.0), Aim(1.0)),
        *_on_stubs("attach", "attach", "ms", _most(1.4), _most(1.05)),
        *_on_stubs("info all-registers", "all_registers", "ms", _most(1.0), _most(1.0)),
    ),
}
