# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that several functions have: the first is taken, as kallsyms_lookup_name does, and whoever asks is told."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.commands import CommandError, Session
from armprobe.machine import Symbols
from armprobe.machine.symbols import Symbol
from armprobe.probes import Kprobe, Kprobes, Kretprobe
from tests.patchable import ROUNDS, build

Tool = Callable[[str, str], str]


@pytest.fixture(scope="module")
def program(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tool, tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def addresses(tool: Tool, program: Path) -> list[int]:
    """Where nm(1) has the functions called `same`."""
    nm = tool("aarch64-linux-gnu-nm", "binutils-aarch64-linux-gnu")
    text = subprocess.run([nm, program], capture_output=True, text=True, check=True).stdout
    found = sorted(int(address, 16) for address in re.findall(r"^(\w+) t same$", text, re.MULTILINE))
    assert len(found) == 2
    return found


@pytest.fixture
def session(program: Path) -> Iterator[Session]:
    with Session(program, memory="16M") as session:
        yield session


@pytest.mark.parametrize(
    "line",
    [
        "kprobe same",
        "kretprobe same stop=entry",
        "kprobe fill if x0 == same",
        'kprobe fill print "%lx", same',
        "examine same 4",
        "disassemble same+8 1",
        "call same 4",
        "continue until=same+8",
        "check same",
        "decode same",
    ],
)
def test_it_is_said_which_was_taken(session: Session, addresses: list[int], line: str) -> None:
    first, second = addresses
    said = session.run(line)
    assert said.count("2 symbols are called same") == 1
    assert f"warning: 2 symbols are called same: the one at {first:#x} was taken." in said
    assert f"give its address: {second:#x}\n" in said
    assert f"{first:#x}" in said.replace("0x00000000", "0x")
    assert "called" not in session.run(line.replace("same", f"{second:#x}"))


def test_a_refusal_says_so_too(session: Session, addresses: list[int]) -> None:
    said: list[str] = []
    with pytest.raises(CommandError, match="EINVAL"):
        session.execute("kprobe same+2", said.append)  # misaligned
    assert "".join(said).startswith(f"warning: 2 symbols are called same: the one at {addresses[0]:#x} was taken")


def test_each_is_listed_and_can_be_probed_by_its_address(session: Session, addresses: list[int]) -> None:
    listed = session.run("symbols same").splitlines()
    assert [int(line.split()[0], 16) for line in listed] == addresses
    session.run(f"kprobe {addresses[1]:#x}")
    session.run("kprobe 'sam?'")  # a pattern means them all
    session.run("continue")
    assert [(probe.addr, probe.hits) for probe in session.probes.values()] == [
        (addresses[1], ROUNDS),
        (addresses[0], ROUNDS),
        (addresses[1], ROUNDS),
    ]


def test_in_python(program: Path, addresses: list[int]) -> None:
    guest = machine.load(program, memory="16M")
    first, second = addresses
    assert [symbol.address for symbol in guest.symbols.named("same")] == addresses
    assert [symbol.name for symbol in guest.symbols.named("fill")] == ["fill"]
    assert guest.symbols.named("nothing") == []
    kprobes = Kprobes(guest)
    for probe in (kprobes.register_kprobe(Kprobe("same")), kprobes.register_kretprobe(Kretprobe("same"))):
        (warning,) = probe.warnings
        assert warning.startswith(f"2 symbols are called same: the one at {first:#x} was taken")
    assert kprobes.register_kprobe(Kprobe("fill")).warnings == []
    assert kprobes.register_kprobe(Kprobe(addr=second)).warnings == []
    with pytest.warns(UserWarning, match="2 symbols are called same") as caught:
        guest.run(until="same")
    assert caught[0].filename == __file__


def test_many_names_and_modules() -> None:
    """Symbols of modules count, symbols at one address are one, and of many the first few are named."""
    many = [Symbol("f", 0x1000 * at, 16, "function") for at in range(1, 9)]
    symbols = Symbols([*many, Symbol("f", 0x2000, 8, "other"), Symbol("g", 0x20000, 4, "object")])
    symbols.modules = {"mod": Symbols([Symbol("g", 0x90000, 4, "function"), Symbol("h", 0x90010, 4, "function")])}
    assert [symbol.address for symbol in symbols.named("f")] == [0x1000 * at for at in range(1, 9)]
    assert symbols.ambiguity("f").endswith("0x2000, 0x3000, 0x4000 or one of 4 more ('symbols f')")
    assert symbols.ambiguity("g").endswith("0x20000 was taken. To choose another, give its address: 0x90000 [mod]")
    assert symbols.ambiguity("mod:g") == symbols.ambiguity("h") == symbols.ambiguity("mod:nothing") == ""
