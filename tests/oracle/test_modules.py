# SPDX-License-Identifier: GPL-2.0-or-later
"""What we read of the modules that stock kernels have loaded, against what those say themselves.

/proc/modules, /proc/kallsyms and sprint_symbol() are the kernel's own readings of the same lists.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.commands import CommandError, GdbSession, Session
from armprobe.kernel import Linux
from armprobe.machine import Machine, MachineError
from armprobe.probes import Kprobe, Kprobes, ProbeError, PtRegs
from armprobe.probes.symbol_text import symbol_and_size
from tests.linux.shell import TRACING, Shell  # tests have no import name to go by
from tests.oracle.references import ASKED, AT_LENGTH, DEFAULT, EVERYTHING, REFERENCES
from tests.oracle.stock_modules import NAMES, RENAMED, guest_with_modules, insmod
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

GFP_ATOMIC = 0xA20
MOV_X9_X30 = bytes.fromhex("e9031eaa")  # the first of the two words that ftrace has at the start of a function
MUTATIONS = int(os.environ.get("ARMPROBE_FUZZ", "300"))
SYMBOL = re.compile(r"^(\w+) (\w) (\S+)\s\[(\w+)\]$", re.MULTILINE)


@pytest.fixture(scope="module", params=ASKED)
def snapshot(request: pytest.FixtureRequest) -> Path:
    """A guest of each stock kernel that is asked, with some of its modules, and one of them with another name in it."""
    return guest_with_modules(REFERENCES[request.param])


# What is done with the modules, once they are read, does not depend on the kernel.
of_one_kernel = pytest.mark.parametrize("snapshot", AT_LENGTH, indirect=True)


@pytest.fixture
def era(snapshot: Path, request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["snapshot"])


def loaded(shell: Shell) -> list[str]:
    """As /proc/modules has them, the latest first."""
    return [line.split()[0] for line in shell.run("cat /proc/modules").splitlines()]


def kallsyms(shell: Shell) -> dict[str, list[tuple[int, str, str]]]:
    """Address, type letter and name of the symbols of each module, but for mapping symbols, which we leave out.

    They come after the kernel's own, through which a grep in the guest takes its time.
    """
    last = shell.run("tail -n 1000 /proc/kallsyms")
    assert "[" not in last.partition("\n")[0]
    rows: dict[str, list[tuple[int, str, str]]] = {}
    for address, letter, name, module in SYMBOL.findall(last):
        if not re.match(r"\$[xd]", name):
            rows.setdefault(module, []).append((int(address, 16), letter.lower(), name))
    return {module: sorted(symbols) for module, symbols in rows.items()}


def test_they_are_what_the_guest_says(guest: Machine, shell: Shell) -> None:
    assert dict(guest.symbols.modules) == {}
    insmod(shell, *NAMES)
    assert list(guest.symbols.modules) == loaded(shell) == list(reversed(NAMES))
    theirs = kallsyms(shell)
    assert min(map(len, theirs.values())) >= 5
    ours = {
        module: sorted((symbol.address, symbol.name, symbol.kind == "function") for symbol in symbols)
        for module, symbols in guest.symbols.modules.items()
    }
    assert ours == {
        module: sorted((address, name, letter in "tw") for address, letter, name in rows)
        for module, rows in theirs.items()
    }


def test_addresses_in_them(guest: Machine, shell: Shell) -> None:
    """Every instruction of their functions, and what lies behind those, as the kernel prints it (%pS)."""
    insmod(shell, *NAMES)
    kmalloc = "__kmalloc" if "__kmalloc" in guest.symbols else "__kmalloc_noprof"
    buffer = guest.call(kmalloc, 4096, GFP_ATOMIC)
    names: dict[int, set[str]] = {}
    for symbols in guest.symbols.modules.values():
        for symbol in symbols:
            names.setdefault(symbol.address, set()).add(symbol.name)
    compared = 0
    for symbols in guest.symbols.modules.values():
        for symbol in symbols.functions():
            end = symbol.address + symbol.size
            for address in {*range(symbol.address, min(end, symbol.address + 64), 4), end - 4}:
                length = guest.call("sprint_symbol", buffer, address)
                theirs = guest.memory.read(buffer, length).decode()
                ours = symbol_and_size(guest.symbols, address)
                assert ours.partition("+")[1:] == theirs.partition("+")[1:]
                start = address - int(theirs.partition("+")[2].partition("/")[0], 16)
                assert {ours.partition("+")[0], theirs.partition("+")[0]} <= names[start]
                compared += 1
        beyond = address + 4  # no function's, as the names of data are left out
        length = guest.call("sprint_symbol", buffer, beyond)
        theirs = guest.memory.read(buffer, length).decode()
        assert guest.symbols.describe(beyond) == re.sub("/0x[0-9a-f]+", "", theirs)
    assert compared > 100


def test_they_come_and_go(guest: Machine, shell: Shell) -> None:
    insmod(shell, *NAMES)
    first = guest.symbols.modules["dummy"]
    assert guest.symbols.modules["dummy"] is first, "read anew only when it has changed"
    assert shell.run("rmmod net_failover") == ""  # from between the others
    assert list(guest.symbols.modules) == loaded(shell) == ["dummy", "failover"]
    assert guest.symbols.modules["dummy"] is first
    assert "net_failover_create" not in guest.symbols
    assert shell.run("rmmod dummy failover") == ""
    assert dict(guest.symbols.modules) == {}
    insmod(shell, "dummy")
    assert list(guest.symbols.modules) == ["dummy"]


def test_another_in_the_same_place(guest: Machine, shell: Shell) -> None:
    """A module that is edited, built and loaded again between two looks, at the same addresses as before."""
    old, new = RENAMED
    insmod(shell, "dummy")
    before = guest.symbols[f"dummy:{old}"]
    assert shell.run("rmmod dummy; insmod /edited.ko") == ""
    assert old not in guest.symbols
    assert guest.symbols[new].address == before.address


@of_one_kernel
def test_restored_and_saved(guest: Machine, shell: Shell, tmp_path: Path) -> None:
    empty = guest.snapshot()
    insmod(shell, "dummy")
    rows = list(guest.symbols.modules["dummy"])
    guest.save(tmp_path / "saved")
    assert list(machine.load(tmp_path / "saved").symbols.modules["dummy"]) == rows
    full = guest.snapshot()
    guest.restore(empty)
    assert dict(guest.symbols.modules) == {}
    guest.restore(full)
    assert list(guest.symbols.modules["dummy"]) == rows


def test_initialisation(guest: Machine, shell: Shell) -> None:
    """A module's own initialisation is probed while it is about to run; afterwards the kernel frees that code."""
    kprobes = Kprobes(guest)
    inits: list[Kprobe] = []

    def coming(p: Kprobe, regs: PtRegs) -> None:
        inits.append(kprobes.register_kprobe(Kprobe("dummy:init_module")))

    kprobes.register_kprobe(Kprobe("do_init_module", pre_handler=coming))
    insmod(shell, "dummy")
    assert kprobes.errors == []
    (init,) = inits
    assert [hit.stage.value for hit in kprobes.hits if hit.probe is init] == ["pre", "post"]
    shell.run("sleep 1")
    assert init.gone
    assert "init_module" not in [symbol.name for symbol in guest.symbols.modules["dummy"]]
    # Where no symbol is; ENOENT since commit cc66bb914578 (v5.18)
    with pytest.raises(ProbeError, match="EINVAL" if kprobes.era.name == "v5.10" else "ENOENT"):
        kprobes.register_kprobe(Kprobe(addr=init.addr))


@of_one_kernel
def test_in_a_session(snapshot: Path) -> None:
    with Session(snapshot) as session:
        shell = Shell(session.machine)
        run = session.owner.call
        with pytest.raises(CommandError, match="no module dummy is loaded"):
            session.run("disassemble dummy:dummy_dev_init")
        run(shell.run, "insmod /dummy.ko")
        assert {"dummy:", "dummy_dev_init"} <= set(session.complete("kprobe dum"))
        assert session.complete("kprobe dummy:dummy_dev_i") == ["dummy:dummy_dev_init"]
        assert "modules       dummy\n" in session.run("info")
        address = f"{session.machine.symbols['dummy_dev_init'].address:#018x}"
        assert session.run(f"symbols {address}") == f"{address} dummy_dev_init [dummy]\n"
        assert session.run("disassemble dummy:dummy_dev_init+8 1").startswith("dummy_dev_init+0x8 [dummy]:\n")
        session.run("kprobe dummy:dummy_*")
        session.run("kretprobe dummy_dev_init")
        run(shell.run, "ip link add dummy9 type dummy")
        said = session.run("trace")
        assert re.search(r"\(dummy_dev_init\+0x0/0x\w+ \[dummy\]\)", said)
        assert re.search(r"\(register_netdevice\+0x\w+/0x\w+ <- dummy_dev_init\)", said)
        run(shell.run, "ip link del dummy9; rmmod dummy")
        probes = session.ask("probes")
        assert {probe.state for probe in probes} == {"pending"}
        run(shell.run, "insmod /dummy.ko")
        assert {probe.state for probe in session.ask("probes")} <= {
            "enabled",
            "gone",
        }  # init_module, before it was freed


def test_the_command_prints_what_proc_does(snapshot: Path) -> None:
    """With a module that another one uses, and one that taints the kernel."""
    with Session(snapshot) as session:
        shell = Shell(session.machine)
        run = session.owner.call
        assert session.run("modules") == "the guest has loaded no modules\n"
        run(insmod, shell, "failover", "net_failover", "edited")
        assert session.run("modules") == run(shell.run, "cat /proc/modules")
        assert [module.users for module in session.ask("modules")] == [(), (), ("net_failover",)]
        run(shell.run, "rmmod dummy")
        session.run("kprobe dummy:init_module stop=pre")
        session.machine.console.write(b"insmod /dummy.ko\n")
        session.run("continue")
        assert session.ask("modules")[0].state == "Loading"


@of_one_kernel
def test_damaged_modules(guest: Machine, shell: Shell) -> None:
    """Whatever is in a struct module, an answer or one sentence comes soon."""
    insmod(shell, *NAMES)
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance, memory, kernel = random.Random(seed), guest.memory, guest.kernel
    assert isinstance(kernel, Linux)
    modules, refused, said = kernel.module_table(), 0, ""
    size = kernel.types["module"].size
    lists = [kernel.types["module"].offset(name) for name in ("list", "source_list", "name", "state")]
    for number in range(MUTATIONS):
        place = chance.choice(modules).address + chance.choice([*lists, 8 * chance.randrange(size // 8)])
        other = chance.choice(modules).address + chance.choice(lists)
        value = chance.choice([0, 1, place, place + 1, other, chance.getrandbits(64), (1 << 64) - 8])
        before = memory.read(place, 8)
        memory.put(place, value.to_bytes(8, "little"))
        start = time.process_time()
        try:
            kernel.module_table()
        except MachineError as error:
            refused += 1
            said = str(error)
        assert "\n" not in said
        assert time.process_time() - start < 1, (seed, number, hex(place), hex(value))
        memory.put(place, before)
    assert 0 < refused < MUTATIONS
    assert kernel.module_table() == modules


@of_one_kernel
def test_probes_that_wait(snapshot: Path) -> None:
    """Set before a module is loaded, they are hit as often as the guest's own events, which wait for it, too."""
    with Session(snapshot) as session:
        shell, said = Shell(session.machine), list[str]()
        run = session.owner.call
        session.on_notice(said.append)
        run(shell.run, f"mount -t tracefs none {TRACING}")
        pending = "kprobe 1: dummy:dummy_setup, pending until its module is loaded\n"
        assert session.run("kprobe dummy:dummy_setup") == pending
        session.run("kprobe dummy:init_module")
        session.run("kprobe dummy:no_such_function")
        session.run("kretprobe dummy:dummy_dev_init if w0 == 0")
        session.run("kprobe dummy:dummy_setup")
        session.run("disable 5")
        assert [probe.state for probe in session.ask("probes")] == ["pending"] * 5
        assert said == []
        run(shell.probe_events, "p:mine dummy:dummy_setup")
        run(shell.run, "insmod /dummy.ko; ip link add dummy9 type dummy")
        assert [probe.state for probe in session.ask("probes")][0::2] == ["enabled", "pending", "disabled"]
        setup, init, _, returns, disabled = session.ask("probes")
        kallsyms_now = {name: address for address, _, name in kallsyms(shell)["dummy"]}
        assert setup.address == kallsyms_now["dummy_setup"]
        assert setup.hits == 2
        assert (init.hits, returns.hits, returns.met, disabled.hits) == (1, 2, 2, 0)
        run(shell.run, "rmmod dummy")
        assert [probe.state for probe in session.ask("probes")] == ["pending"] * 5
        session.run("enable 5")
        run(shell.run, "insmod /dummy.ko")
        setup, init, _, returns, disabled = session.ask("probes")
        theirs = run(shell.run, f"cat {TRACING}/kprobe_profile").split()
        assert theirs == ["mine", str(setup.hits), "0"]
        assert (init.hits, returns.hits, disabled.hits) == (2, 3, 1)
        session.run("unregister 3")
        assert "there is no symbol 'dummy:no_such_function'" in said[1]
        assert said[0].endswith(": set, as the module dummy is loaded\n")
        assert said[2] == "kprobe 5 (dummy:dummy_setup): set, but disabled, as the module dummy is loaded\n"
        assert said[3].endswith(": gone with the module dummy, and pending until that is loaded again\n")


@of_one_kernel
def test_probes_that_wait_when_the_state_is_another(snapshot: Path) -> None:
    with Session(snapshot) as session:
        shell, machine = Shell(session.machine), session.machine
        run = session.owner.call
        session.run("kprobe dummy:dummy_setup")
        empty = run(machine.snapshot)
        run(shell.run, "insmod /dummy.ko")
        full = run(machine.snapshot)
        for state, expected in ((empty, "pending"), (full, "enabled"), (empty, "pending")):
            run(machine.restore, state)
            (probe,) = session.ask("probes")
            assert probe.state == expected
        run(shell.run, "insmod /dummy.ko")
        (probe,) = session.ask("probes")
        assert probe.state == "enabled"


@of_one_kernel
def test_in_an_attached_gdb(snapshot: Path, gdb_path: str) -> None:
    """A breakpoint on a module's own initialisation, set before the module is loaded, and the module's symbols."""
    with Session(snapshot) as session, GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute("set breakpoint pending on")
        gdb.execute("break init_module")
        gdb.execute("monitor kprobe dummy:init_module")
        gdb.execute("monitor console insmod /dummy.ko; rmmod dummy; insmod /edited.ko")
        for name in ("dummy_setup", RENAMED[1]):
            stop = gdb.continue_to_stop(PATIENCE)
            assert stop.reason == "breakpoint-hit"
            assert re.search(r"#0 .*init_module \(\).*\n#1 .* do_one_initcall", gdb.execute("backtrace 2"))
            setup = int(gdb.execute(f"print/x &{name}").rpartition("0x")[2].split()[0].rstrip("}"), 16)
            assert session.machine.symbols[f"dummy:{name}"].address == setup
        assert RENAMED[0] not in gdb.execute("info functions dummy_set")
        assert gdb.execute("info sharedlibrary").count(".ko") == 1
        gdb.execute("delete")
        gdb.execute("tbreak cleanup_module")
        gdb.execute("monitor console rmmod dummy")
        gdb.continue_to_stop(PATIENCE)
        gdb.execute("tbreak __arm64_sys_exit_group")
        gdb.continue_to_stop(PATIENCE)
        assert "No shared libraries" in gdb.execute("info sharedlibrary")


@of_one_kernel
def test_a_gdb_that_attaches_later(snapshot: Path, gdb_path: str) -> None:
    with Session(snapshot) as session:
        session.owner.call(Shell(session.machine).run, "insmod /dummy.ko")
        symbol = session.machine.symbols["dummy:dummy_dev_init"]
        with GdbSession(session, gdb=gdb_path) as gdb:
            assert f"{symbol.address:#x}" in gdb.execute("info address dummy_dev_init")
            gdb.execute("kprobe dummy:dummy_dev_init")
            gdb.execute("break *dummy_dev_init+4")
            gdb.execute("monitor console ip link add dummy9 type dummy")
            gdb.continue_to_stop(PATIENCE)
            assert "dummy_dev_init" in gdb.execute("frame")
            assert "register_netdevice" in gdb.execute("backtrace")


MEMBERS = ("state", "list", "name", "kallsyms", "core_layout", "mem")
NONSENSE = (0, 1, 0xFF, 0xFFFF_FFFF, (1 << 64) - 1, 0xFFFF_8000_0000_0000, 0xFFFF << 48)


class Struct:
    """The `struct module` of the module that was loaded last, as the kernel's type information has it."""

    def __init__(self, guest: Machine) -> None:
        assert guest.kernel is not None
        self.memory, types = guest.memory, guest.kernel.types
        self.head = guest.symbols.modules._head  # type: ignore[attr-defined]
        self.address = self.memory.u64(self.head) - types["module"].offset("list")
        self.members: dict[str, int] = {}
        for member in MEMBERS:
            with contextlib.suppress(MachineError):
                self.members[member] = self.address + types["module"].offset(member)
        kallsyms = self.memory.u64(self.members["kallsyms"])
        for member in ("symtab", "num_symtab", "strtab", "typetab"):
            self.members[member] = kallsyms + types["mod_kallsyms"].offset(member)

    @contextlib.contextmanager
    def having(self, member: str, data: bytes) -> Iterator[None]:
        """Meanwhile the member is something else."""
        address = self.members[member]
        before = self.memory.read(address, len(data))
        self.memory.write(address, data)
        try:
            yield
        finally:
            self.memory.write(address, before)


@of_one_kernel
def test_nonsense_in_the_guests_memory(guest: Machine, shell: Shell) -> None:
    """Nobody is hurt by it, it takes no time, and what it does not touch is still known."""
    insmod(shell, *NAMES)
    before = {name: list(symbols) for name, symbols in guest.symbols.modules.items()}
    there = Struct(guest)
    loops = [("list", address.to_bytes(8, "little")) for address in (there.members["list"], there.address)]
    for member, data in [
        *loops,
        ("name", b"x" * 56),
        ("name", b"\0" * 56),
        *((member, value.to_bytes(8, "little")) for member in there.members for value in NONSENSE),
    ]:
        with there.having(member, data):
            guest.step()
            start = time.process_time()
            names = dict(guest.symbols.modules)
            guest.symbols.at(there.address)
            assert "dummy_dev_init" not in guest.symbols or "dummy" in guest.symbols.modules
            assert time.process_time() - start < 2, (member, data)
            assert {"failover", "net_failover"} <= names.keys(), (member, data)
        guest.step()
        assert {name: list(symbols) for name, symbols in guest.symbols.modules.items()} == before


def test_where_probes_may_go(guest: Machine, shell: Shell, era: str) -> None:
    """Each instruction of the modules' functions is offered to the guest's own register_kprobe and to ours."""
    insmod(shell, *NAMES)
    kprobes = Kprobes(guest, era)
    most = 160 if EVERYTHING else 48 if era == DEFAULT else 16  # bytes of a function
    places = {
        symbol.address + offset: f"{module}:{symbol.name}+{offset}"
        for module, symbols in guest.symbols.modules.items()
        for symbol in symbols.functions()
        # Others ftrace does not know, and kprobe_events takes no such function.
        if MOV_X9_X30 in guest.memory.read(symbol.address, 8)
        for offset in range(0, min(symbol.size, most), 4)
    }
    # By addresses: for each name 5.10 goes through all symbols.
    shell.put("/places", "\n".join(map(hex, places)).encode())
    file = f"{TRACING}/kprobe_events"
    said = shell.run(f"for a in $(cat /places); do echo p:x $a 2>/dev/null >{file} && echo $a; done; echo >{file}")
    theirs = {int(word, 16) for word in re.findall(r"^0x\w+$", said, re.MULTILINE)}
    ours = {address for address, place in places.items() if accepts(kprobes, place)}
    assert ours == theirs, [places[address] for address in sorted(ours ^ theirs)]
    assert len(theirs) > 40
    assert len(places) - len(theirs) > 10


def accepts(kprobes: Kprobes, place: str) -> bool:
    """Whether we would put a probe there."""
    try:
        kprobes.unregister(kprobes.register_kprobe(Kprobe(place)))
    except ProbeError:
        return False
    return True


def test_no_type_information(guest: Machine, shell: Shell) -> None:
    insmod(shell, "dummy")
    found = -1
    while (found := guest.ram.pages.find(b"\x9f\xeb\x01\x00\x18\x00\x00\x00", found + 1)) >= 0:  # modules have some too
        guest.ram.data[found] = 0
    assert dict(guest.symbols.modules) == {}
    with pytest.raises(MachineError, match="of this guest are not known, as this guest has no type information"):
        guest.symbols["dummy:dummy_xmit"]
