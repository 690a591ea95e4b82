# SPDX-License-Identifier: GPL-2.0-or-later
"""drgn on a session's Linux guest, with nothing but its memory: the extra `drgn` (pip install 'armprobe[drgn]').

drgn gets the guest's physical memory and VMCOREINFO, and for types the debug information that is made from the guest's
BTF. Variables are those of `machine.kernel.variable`.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from armprobe.kernel import Linux
from armprobe.kernel.variables import PER_CPU_OFFSET
from armprobe.kernel.vmcoreinfo import vmcoreinfo
from armprobe.machine import MachineError
from armprobe.session.symbol_file import SymbolSources, symbol_file

if TYPE_CHECKING:
    from armprobe.session import Session


def program(session: Session) -> Any:
    """A `drgn.Program` of the guest as it is whenever drgn reads: stopped, or between two slices while it runs.

    Raises MachineError if drgn is not installed, if the guest is no Linux, and where its types cannot be read.
    """
    try:
        import drgn
    except ImportError:
        raise MachineError("drgn is not installed: pip install 'armprobe[drgn]'") from None
    machine, call = session.machine, session.owner.call
    kernel = machine.kernel
    if not isinstance(kernel, Linux):
        raise MachineError("drgn is for Linux guests, which this one is not")
    info, sources = call(vmcoreinfo, machine), call(SymbolSources.of, machine)
    if sources.btf is None:
        raise MachineError(sources.why_no_types or "this kernel has no type information (BTF), which drgn needs")
    flags = drgn.PlatformFlags.IS_64_BIT | drgn.PlatformFlags.IS_LITTLE_ENDIAN
    made = drgn.Program(drgn.Platform(drgn.Architecture.AARCH64, flags))

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        return call(machine.memory.physical.read, address, count)

    made.add_memory_segment(machine.ram.base, machine.ram.size, read, physical=True)
    made.set_linux_kernel_custom("".join(f"{name}={value}\n" for name, value in info.items()), True)
    with tempfile.NamedTemporaryFile(suffix=".elf") as file:
        file.write(symbol_file(sources))
        file.flush()
        main = made.main_module("kernel", create=True)
        main.try_file(file.name, force=True)  # which drgn keeps open

    adds_offset = any(each.name == PER_CPU_OFFSET for each in sources.variables)

    def find(prog: Any, name: str, flags: Any, filename: str | None) -> Any:
        found = call(kernel.find_variable, name)
        if found is None or found.type is None:
            return None
        # drgn's per_cpu() adds the CPU's offset where __per_cpu_offset has a symbol (linux_helper_per_cpu_ptr).
        offset = call(lambda: kernel.cpu_offset) if found.per_cpu and adds_offset else 0
        return drgn.Object(prog, str(found.type), address=(found.address - offset) % (1 << 64))

    def named(prog: Any, name: str | None, address: int | None, one: bool) -> list[Any]:
        symbols = machine.symbols
        at = call(symbols.at, address) if address is not None else None
        found = [] if at is None else [at[0]]
        if address is None and name is not None:
            found = call(symbols.named, name)
        kind, binding = drgn.SymbolKind.FUNC, drgn.SymbolBinding.GLOBAL
        return [drgn.Symbol(each.name, each.address, max(each.size, 1), binding, kind) for each in found]

    made.register_object_finder("armprobe", find, enable_index=0)
    made.register_symbol_finder("armprobe", named, enable_index=0)
    return made
