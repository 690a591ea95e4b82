# SPDX-License-Identifier: GPL-2.0-or-later
"""The interrupts of a Linux guest, as /proc/interrupts has them (show_interrupts, kernel/irq/proc.c).

The architecture adds those between processors (IPI), and a count of errors (arch_show_interrupts,
arch/arm64/kernel/smp.c). Each IPI is an interrupt too, which is hidden.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .code_references import addresses_loaded, formed_by
from .structs import Structs, explained
from .trees import maple_tree, xarray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from armprobe.machine import Machine

_USER: Final = "irq_to_desc"  # looks one up in the tree, which has a symbol only with CONFIG_KALLSYMS_ALL
_TREES: Final = "irq_desc_tree", "sparse_irqs"
_LONGEST_NAME: Final = 255
_ARCHITECTURE: Final = "arch_show_interrupts"
_FIRST_IPI: Final = "Rescheduling interrupts"  # ipi_types[0]
_CHAINED: Final = "bad_chained_irq"  # the handler of chained_action (kernel/irq/handle.c)


class Interrupt(NamedTuple):
    """An interrupt that has a handler, or has occurred, or is one between processors.

    `label` is its number, or IPI0 and so on. `occurred` is how often. `chip` is its controller, whose driver may print
    the name itself, and `hardware` the number there, None if it has none. `trigger` is Level or Edge. `name` is that of
    its flow, or what an IPI is for. `actions` are the names under which handlers are registered, and `handlers` their
    functions' addresses. `address` is that of its struct irq_desc.
    """

    number: int
    label: str
    occurred: int
    chip: str
    prints_itself: bool
    hardware: int | None
    trigger: str
    name: str
    actions: tuple[str, ...]
    handlers: tuple[int, ...]
    address: int


def interrupts(machine: Machine, structs: Structs, cpu_offset: int) -> list[Interrupt]:
    """The interrupts by number, and then those between processors, if the kernel's code shows what they are called.

    `cpu_offset` is what is added to the address of a CPU's variable. Raises MachineError, saying why.
    """
    with explained("the guest's interrupts"):
        hidden, found = list[Interrupt](), list[Interrupt]()
        for desc in _descriptors(machine, structs):
            each = _interrupt(machine, structs, desc, cpu_offset)
            chained = any(_named(machine, handler) == _CHAINED for handler in each.handlers)
            if structs.number(desc, "irq_desc", "status_use_accessors") & structs.constant("IRQ_HIDDEN"):
                hidden.append(each)
            elif each.occurred or (each.handlers and not chained):
                found.append(each)
        ipis = zip(sorted(hidden), _ipi_names(machine, structs), strict=False)
        named = [each._replace(label=f"IPI{at}", name=name) for at, (each, name) in enumerate(ipis)]
        return sorted(found) + named


def interrupt_errors(machine: Machine, structs: Structs) -> int | None:
    """How many interrupts nobody wanted (irq_err_count); None if the kernel's code does not show where it counts them.

    Raises MachineError, saying why.
    """
    with explained("the guest's interrupts"):
        shows = machine.symbols.in_kernel(_ARCHITECTURE)
        loaded = addresses_loaded(machine.memory.u32, shows) if shows is not None else []
        return structs.u64(loaded[-1]) if loaded else None  # it is printed last


def _ipi_names(machine: Machine, structs: Structs) -> list[str]:
    """What ipi_types has, whose address the function that prints it forms."""
    for table in formed_by(machine, _ARCHITECTURE):
        with contextlib.suppress(MachineError):
            if structs.string(structs.u64(table), _LONGEST_NAME) == _FIRST_IPI:
                count = structs.constant(
                    "MAX_IPI" if structs.has_constant("MAX_IPI") else "NR_IPI"
                )  # the former is newer
                return [structs.string(structs.u64(table + 8 * each), _LONGEST_NAME) for each in range(count)]
    return []


def _descriptors(machine: Machine, structs: Structs) -> Iterator[int]:
    """The addresses of the irq_descs: in a maple tree since 6.5, in an xarray before."""
    symbols = machine.symbols
    tree = next((symbol.address for name in _TREES if (symbol := symbols.in_kernel(name)) is not None), None)
    if tree is None:
        formed = formed_by(machine, _USER)
        if not formed:
            raise MachineError(f"the tree of them is not found by the code of {_USER}()")
        tree = formed[0]
    return maple_tree(structs, tree) if structs.has("irq_desc", "resend_node") else xarray(structs, tree)


def _interrupt(machine: Machine, structs: Structs, desc: int, cpu_offset: int) -> Interrupt:
    """The interrupt of a descriptor."""
    counts = structs.number(desc, "irq_desc", "kstat_irqs")
    names, handlers = list[str](), list[int]()
    action = structs.number(desc, "irq_desc", "action")
    seen: set[int] = set()
    while action:
        if action in seen:
            raise MachineError("the handlers of one lead in a circle")
        seen.add(action)
        handlers.append(structs.number(action, "irqaction", "handler"))
        name = structs.number(action, "irqaction", "name")
        names.append(structs.string(name, _LONGEST_NAME) if name else "(null)")
        action = structs.number(action, "irqaction", "next")
    chip = structs.number(desc, "irq_desc", "irq_data.chip")
    domain = structs.number(desc, "irq_desc", "irq_data.domain")
    own = structs.number(desc, "irq_desc", "name")
    state = structs.number(
        structs.number(desc, "irq_desc", "irq_data.common"), "irq_common_data", "state_use_accessors"
    )
    shown, itself = _chip(machine, structs, chip)
    number = structs.number(desc, "irq_desc", "irq_data.irq")
    return Interrupt(
        number,
        str(number),
        structs.u32(counts + cpu_offset) if counts else 0,
        shown,
        itself,
        structs.number(desc, "irq_desc", "irq_data.hwirq") if domain else None,
        "Level" if state & structs.constant("IRQD_LEVEL") else "Edge",
        structs.string(own, _LONGEST_NAME) if own else "",
        tuple(names),
        tuple(handlers),
        desc,
    )


def _chip(machine: Machine, structs: Structs, chip: int) -> tuple[str, bool]:
    """The name of a controller, and whether its driver prints it."""
    if not chip:
        return "None", False
    printer = _named(machine, structs.number(chip, "irq_chip", "irq_print_chip"))
    name = structs.number(chip, "irq_chip", "name")
    if printer == "gic_irq_print_chip":  # drivers/irqchip/irq-gic.c, with the number of the GIC; this machine has one
        return "GIC-0", True
    return structs.string(name, _LONGEST_NAME) if name else "-", bool(printer)


def _named(machine: Machine, function: int) -> str:
    found = machine.symbols.at(function) if function else None
    return found[0].name if found is not None and not found[1] else ""
