# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of modules that stock kernels have loaded, in expressions and in gdb."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.kernel.btf import Btf
from armprobe.kernel.btf_dwarf import debug_sections
from armprobe.kernel.split_btf import module_types, standalone
from armprobe.machine import Machine, MachineError
from armprobe.session.symbol_file import SymbolSources, symbol_file
from tests.linux.shell import Shell  # tests have no import name to go by
from tests.oracle.references import ASKED, REFERENCES
from tests.oracle.stock_modules import NAMES, guest_with_modules, insmod
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

MUTATIONS = int(os.environ.get("ARMPROBE_FUZZ", "300"))


@pytest.fixture(scope="module", params=ASKED)
def snapshot(request: pytest.FixtureRequest) -> Path:
    return guest_with_modules(REFERENCES[request.param])


def test_their_types_in_gdb(guest: Machine, shell: Shell, gdb_path: str, tmp_path: Path) -> None:
    """As drivers/net/dummy.c of the kernel has them. Kernels before 5.11 keep no types of modules."""
    insmod(shell, *NAMES)
    path = tmp_path / "dummy.elf"
    path.write_bytes(symbol_file(SymbolSources.of_module(guest, "dummy", guest.symbols.modules["dummy"])))
    words = [gdb_path, "-nx", "-batch", str(path), "-ex", "whatis dummy_xmit", "-ex", "info scope dummy_xmit"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    typed = "type = netdev_tx_t (struct sk_buff *, struct net_device *)\n" in said
    assert typed == ("btf_module" in guest.kernel.types)  # type: ignore[union-attr]
    for register, name in enumerate(("skb", "dev") if typed else ()):
        at = said.index(f"Symbol {name} is multi-location:")
        assert f"a variable in $x{register}\n" in said[at : at + 150]
    assert module_types(guest, "no_such_module") is None


def test_arguments_of_a_module(snapshot: Path) -> None:
    """By their names in drivers/net/dummy.c, also of probes that wait for the module. Before 5.11 none has types."""
    with Session(snapshot) as session:
        shell, said = Shell(session.machine), list[str]()
        run = session.owner.call
        session.on_notice(said.append)
        line = 'kprobe dummy:dummy_dev_init if dev->mtu == 1500 print "%s %d", dev->name, dev->mtu'
        assert "what is unknown is looked up when the module dummy is loaded" in session.run(line)
        session.run("kprobe dummy:dummy_dev_init if device->mtu")
        kernel = session.machine.kernel
        assert kernel is not None
        run(insmod, shell, "dummy")
        if "btf_module" not in kernel.types:
            assert "the module dummy has no types: Linux keeps them since v5.11" in said[0]
            return
        assert "there is no symbol 'device'" in said[1]
        run(shell.run, "ip link add first type dummy; rmmod dummy")
        run(insmod, shell, "dummy")
        run(shell.run, "ip link add second type dummy")
        assert [hit.note for hit in session.kprobes.hits if hit.note] == [
            f"{name} 1500" for name in ("dummy0", "first", "dummy0", "second")
        ]
        session.run("kprobe dummy:dummy_xmit if ((struct net_device *)x1)->mtu && skb->dev == dev")
        with pytest.raises(CommandError, match=r"no symbol 'nothing'.* nor has dummy_xmit an argument of that name"):
            session.run("kprobe dummy:dummy_xmit if nothing")


def test_types_of_a_module_that_are_damaged(guest: Machine) -> None:
    base, chance, refused = Btf.of(guest), random.Random(11), 0
    assert base is not None
    count = struct.pack("<I", len(base.offsets) + 1)  # a pointer to itself's pointer, then a struct with a member
    own = b"".join(
        (
            *(bytes(4), struct.pack("<I", 2 << 24), count, bytes(4), struct.pack("<I", 2 << 24), count),
            *(bytes(4), struct.pack("<2I", 4 << 24 | 1, 8), bytes(4), count, bytes(4)),
        )
    )
    header = struct.pack("<8s4I", b"\x9f\xeb\x01\x00\x18\x00\x00\x00", 0, len(own), len(own), 1)
    assert len(Btf(standalone(base, header + own + b"\0")).offsets) == 4
    for _ in range(MUTATIONS):
        data = bytearray(own)
        for _ in range(3):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            made = standalone(base, header + data + b"\0")
        except (MachineError, ValueError, IndexError, struct.error):
            refused += 1
        else:
            with contextlib.suppress(MachineError):
                debug_sections(Btf(made), {})
    assert refused
