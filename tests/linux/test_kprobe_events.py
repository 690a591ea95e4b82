# SPDX-License-Identifier: GPL-2.0-or-later
"""Our probes and the guest kernel's own kprobe_events on one function, in one run: the two logs, hit for hit.

On each kernel that there is an era for, by the rules of that.

`long do_sys_openat2(int dfd, const char __user *filename, struct open_how *how)` (fs/open.c).
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from armprobe.machine import Machine, MachineError
from armprobe.probes import Hit, Kprobe, Kprobes, Kretprobe, KretprobeInstance, PtRegs, Stage
from tests.linux.shell import Event, Shell
from tests.oracle.guests import at_shell
from tests.oracle.references import ASKED, REFERENCES, Reference, fetch  # tests have no import name to go by

pytestmark = pytest.mark.sample(of="files")

FUNCTION: Final = "do_sys_openat2"
REGISTERS: Final = (*(f"x{n}" for n in range(31)), "sp", "pc", "pstate")
ALL: Final = " ".join(f"{name}=%{name}" for name in REGISTERS)
ENTRY: Final = f"p:entry {FUNCTION} dfd=%x0:s32 name=+0(%x1):ustring"
RETURN: Final = f"r:return {FUNCTION} result=$retval:s64"

TOO_LONG: Final = "n" * 300
COMMANDS: Final = (
    "cat /proc/version",
    "cat /nonexistent",
    f"cat /{TOO_LONG}",
    "cat /proc/version/below",
    "ls /",
    "ls /sys/class/tty",
    "(: > /proc)",
    "echo some > /tmp/file; cat /tmp/file; rm /tmp/file",
    "cd /tmp; cat ./there ../etc/here; cd",
    "cat /proc/self/status /proc/self/maps",
    "mkdir /tmp/d; ls -a /tmp/d; rmdir /tmp/d",
    "head -c 4 /dev/urandom | md5sum",
)
EXPECTED: Final = {  # errno of the first open of each (errno(3))
    "/proc/version": range(3, 10),
    "/nonexistent": [-2],
    f"/{TOO_LONG}": [-36],
    "/proc/version/below": [-20],
    "/proc": [-21],
    "./there": [-2],
}


class Open(NamedTuple):
    """What our own handlers saw of one call."""

    dfd: int
    name: str
    result: int


class Recorded:
    """Our probes on the function, their handlers reading guest memory."""

    def __init__(self, machine: Machine, kprobes: Kprobes) -> None:
        self.memory = machine.memory
        self.opens: list[Open] = []
        self.kprobe = Kprobe(FUNCTION, pre_handler=self.pre, post_handler=self.post)
        self.kretprobe = Kretprobe(FUNCTION, entry_handler=self.entry, handler=self.returned, maxactive=64)
        self.pre_names: list[str] = []
        self.posts = 0
        kprobes.register_kprobe(self.kprobe)
        kprobes.register_kretprobe(self.kretprobe)

    def name(self, address: int) -> str:
        """As the guest prints a `ustring`: in quotes, or "(fault)" where nothing is mapped."""
        try:
            return f'"{self.memory.read_string(address, 4096).decode()}"'
        except MachineError:
            return "(fault)"

    def pre(self, probe: Kprobe, regs: PtRegs) -> None:
        self.pre_names.append(self.name(regs.argument(1)))

    def post(self, probe: Kprobe, regs: PtRegs, flags: int) -> None:
        self.posts += 1
        assert flags == 0

    def entry(self, instance: KretprobeInstance, regs: PtRegs) -> None:
        instance.data = regs.argument(0), self.name(regs.argument(1))

    def returned(self, instance: KretprobeInstance, regs: PtRegs) -> None:
        dfd, name = instance.data
        self.opens.append(Open(signed(dfd, 32), name, signed(regs.return_value, 64)))


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def between_marks(names: list[str]) -> slice:
    """The hits from the open of /first to that of /last, which exist nowhere."""
    return slice(names.index('"/first"'), names.index('"/last"') + 1)


def work(shell: Shell) -> None:
    """Give both something to see."""
    shell.run("cat /first 2>&1")
    for command in COMMANDS:
        shell.run(command)
    shell.run("cat /last 2>&1")


@pytest.fixture(scope="module", params=ASKED)
def reference(request: pytest.FixtureRequest) -> Reference:
    return REFERENCES[request.param]


@pytest.fixture(scope="module")
def snapshot(reference: Reference) -> Path:
    return at_shell(fetch(reference))


@pytest.fixture
def kprobes(guest: Machine) -> Kprobes:
    return Kprobes(guest)


@pytest.mark.parametrize("first", ["ours", "guest"])
@pytest.mark.parametrize("last", ["ours", "guest"])
@pytest.mark.sample
def test_opens(guest: Machine, shell: Shell, kprobes: Kprobes, first: str, last: str) -> None:
    """File names, results, call sites, order and times of all opens of a dozen commands.

    Whoever came first, and whoever leaves last; and the text is the guest's own again in the end.
    """
    entry = guest.symbols[FUNCTION].address
    text = guest.memory.read(entry, 64)
    if first == "guest":
        shell.probe_events(ENTRY, RETURN)
    ours = Recorded(guest, kprobes)
    if first == "ours":
        shell.probe_events(ENTRY, RETURN)
    for log in (kprobes.hits, ours.opens, ours.pre_names):
        log.clear()
    work(shell)
    hits = list(kprobes.hits)
    theirs = shell.trace()
    if last == "ours":
        shell.no_probe_events()
    kprobes.unregister(ours.kprobe)
    kprobes.unregister(ours.kretprobe)
    if last == "guest":
        shell.no_probe_events()
    assert guest.memory.read(entry, 64) == text
    assert "armprobe" in shell.run("uname -a")

    entries = [event for event in theirs if event.event == "entry"]
    window = between_marks([event.arguments["name"] for event in entries])
    entries = entries[window]
    returns = [event for event in theirs if event.event == "return" and event.seconds > entries[0].seconds][
        : len(entries)
    ]
    our_window = between_marks([seen.name for seen in ours.opens])
    opens = ours.opens[our_window]
    assert len(entries) >= len(COMMANDS) + 5

    # What was opened, and what came of it. No open is within another.
    assert [event.arguments["name"] for event in entries] == [seen.name for seen in opens]
    assert [event.arguments["dfd"] for event in entries] == [str(seen.dfd) for seen in opens]
    assert [event.arguments["result"] for event in returns] == [str(seen.result) for seen in opens]
    assert ours.pre_names[between_marks(ours.pre_names)] == [seen.name for seen in opens]
    for name, results in EXPECTED.items():
        # An int, whose upper half AAPCS64 leaves open: Debian's 7.2 does not extend its sign.
        result = next(seen.result for seen in opens if seen.name == f'"{name}"')
        assert (result & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31) in results

    # Where, as each of the two prints it, and when: the trace clock and ours are one counter, read moments apart.
    pre = select(hits, Stage.PRE)[between_marks(ours.pre_names)]
    left = select(hits, Stage.RETURN)[our_window]
    assert len(pre) == len(left) == len(opens)
    assert {event.place for event in entries} == {f"{FUNCTION}+0x0/{guest.symbols[FUNCTION].size:#x}"}
    sites = {event.place for event in returns}
    assert len(sites) == 1
    assert re.fullmatch(rf"__arm64_sys_openat\+0x[0-9a-f]+/0x[0-9a-f]+ <- {FUNCTION}", next(iter(sites)))
    for event, hit in zip((*entries, *returns), (*pre, *left), strict=True):
        flags, seconds, _, place = kprobes.trace_line(hit, ()).split(maxsplit=5)[2:6]
        # Debian's 7.2 counts preemption (CONFIG_PREEMPT_LAZY): whether and how deep are columns that ours leaves open.
        columns = [0, 2] if kprobes.era.name == "v7.2" else range(len(event.flags))
        assert [flags[i] for i in columns] == [event.flags[i] for i in columns]
        assert f"({event.place})" == place.strip()
        assert float(seconds.rstrip(":")) == pytest.approx(hit.seconds, abs=1e-6)
    offsets = [event.seconds - hit.seconds for event, hit in zip((*entries, *returns), (*pre, *left), strict=True)]
    assert max(offsets) - min(offsets) < 200e-6

    # Nobody missed any.
    assert (ours.kprobe.nmissed, ours.kretprobe.nmissed, ours.kretprobe.kp.nmissed) == (0, 0, 0)
    assert ours.posts == ours.kprobe.hits
    assert kprobes.errors == []


def select(hits: list[Hit], stage: Stage) -> list[Hit]:
    return [hit for hit in hits if hit.stage is stage]


def test_all_registers(guest: Machine, shell: Shell, kprobes: Kprobes) -> None:
    """struct pt_regs of both kinds of probe, whole, as the guest's own handlers saw it.

    At one place handlers run newest first, so that the kprobes come before the kretprobes have taken x30. On return
    x30 is the trampoline, and either has its own; but a trampoline that is a BRK leaves x30 as it is, ours, which the
    guest's then finds there.
    """
    shell.probe_events(f"r:return {FUNCTION} {ALL}", f"p:entry {FUNCTION} {ALL}")
    kprobes.register_kretprobe(Kretprobe(FUNCTION))
    kprobes.register_kprobe(Kprobe(FUNCTION))
    shell.run("cat /proc/version")
    shell.run("cat /nonexistent")
    hits = [hit for hit in kprobes.hits if hit.task is not None and hit.task.comm == "cat"]
    processes = {hit.task.pid for hit in hits if hit.task is not None}
    theirs = [event for event in shell.trace() if event.pid in processes]
    own = {"x30"} if kprobes.trampoline == "direct" else set()
    for name, stage, expected in (("entry", Stage.PRE, set()), ("return", Stage.RETURN, own)):
        events, seen = [event for event in theirs if event.event == name], select(hits, stage)
        assert len(events) == len(seen) >= 2
        for event, hit in zip(events, seen, strict=True):
            ours, guests = words(hit.regs), words_of(event)
            assert {name for name in REGISTERS if ours[name] != guests[name]} == expected


def words(regs: PtRegs) -> dict[str, int]:
    return dict(zip(REGISTERS, (*regs.regs, regs.sp, regs.pc, regs.pstate), strict=True))


def words_of(event: Event) -> dict[str, int]:
    return {name: int(event.arguments[name], 16) for name in REGISTERS}


def test_counts(guest: Machine, shell: Shell, kprobes: Kprobes) -> None:
    """The guest's kprobe_profile counts as many hits as we do, on functions of all kinds and through real work."""
    functions = ("vfs_read", "kfree", "__kmalloc", "handle_mm_fault", "schedule", "tick_sched_handle", "try_to_wake_up")
    definitions = [f"p:{name} {name}" for name in functions if name in guest.symbols]
    assert len(definitions) >= 5
    probes = [kprobes.register_kprobe(Kprobe(d.split()[1], record=False, disabled=True)) for d in definitions]
    for definition in definitions:
        shell.run(f"echo '{definition}' >> /sys/kernel/tracing/kprobe_events")
    # Enabled in one go of the guest's, during which ours are too: the difference is what that itself does.
    shell.run("echo 1 > /sys/kernel/tracing/events/kprobes/enable")
    before = profile(shell)
    for probe in probes:
        kprobes.enable(probe)
    shell.run("for i in 1 2 3; do cat /proc/version /proc/meminfo | sort | wc -l; done; ls /bin | wc -l; sleep 0.1")
    for probe in probes:
        kprobes.disable(probe)
    after = profile(shell)
    for definition, probe in zip(definitions, probes, strict=True):
        name = definition.split()[1]
        assert probe.hits > 0, name
        assert probe.nmissed == 0, name
        own = after[name] - before[name]
        assert probe.hits <= own <= probe.hits * 1.5 + 300, name  # theirs also see profile() itself
    shell.no_probe_events()


def profile(shell: Shell) -> dict[str, int]:
    """Hits by event."""
    lines = shell.run("cat /sys/kernel/tracing/kprobe_profile").splitlines()
    return {line.split()[0]: int(line.split()[1]) for line in lines}
