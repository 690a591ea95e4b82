# SPDX-License-Identifier: GPL-2.0-or-later
"""The interrupts of a Linux guest, as /proc/interrupts has them (show_interrupts, kernel/irq/proc.c).

The lines that the architecture adds, of the interrupts between processors, are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .code_references import addresses_formed
from .structs import Structs, explained
from .trees import maple_tree, xarray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from armprobe.machine import Machine

_USER: Final = "irq_to_desc"  # looks one up in the tree, which has a symbol only with CONFIG_KALLSYMS_ALL
_TREES: Final = "irq_desc_tree", "sparse_irqs"
_LONGEST_NAME: Final = 255
_CHAINED: Final = "bad_chained_irq"  # the handler of chained_action (kernel/irq/handle.c)


class Interrupt(NamedTuple):
    """An interrupt that has a handler, or has occurred.

    `occurred` is how often. `chip` is its controller, whose driver may print the name itself, and `hardware` the number
    there, None if it has none. `trigger` is Level or Edge. `actions` are the names under which handlers are registered,
    and `handlers` their functions' addresses. `address` is that of its struct irq_desc.
    """

    number: int
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
    """The interrupts by number; `cpu_offset` is what is added to the address of a CPU's variable.

    Raises MachineError, saying why.
    """
    with explained("the guest's interrupts"):
        found = (_interrupt(machine, structs, each, cpu_offset) for each in _descriptors(machine, structs))
        return sorted((each for each in found if each is not None), key=lambda each: each.number)


def _descriptors(machine: Machine, structs: Structs) -> Iterator[int]:
    """The addresses of the irq_descs: in a maple tree since 6.5, in an xarray before."""
    symbols = machine.symbols
    tree = next((symbol.address for name in _TREES if (symbol := symbols.in_kernel(name)) is not None), None)
    if tree is None:
        user = symbols.in_kernel(_USER)
        formed = addresses_formed(machine.memory.u32, user) if user is not None else []
        if not formed:
            raise MachineError(f"the tree of them is not found by the code of {_USER}()")
        tree = formed[0]
    return maple_tree(structs, tree) if structs.has("irq_desc", "resend_node") else xarray(structs, tree)


def _interrupt(machine: Machine, structs: Structs, desc: int, cpu_offset: int) -> Interrupt | None:
    """The interrupt of a descriptor; None for one that is not shown."""
    if structs.number(desc, "irq_desc", "status_use_accessors") & structs.constant("IRQ_HIDDEN"):
        return None
    counts = structs.number(desc, "irq_desc", "kstat_irqs")
    count = structs.u32(counts + cpu_offset) if counts else 0
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
    chained = [handler for handler in handlers if _named(machine, handler) == _CHAINED]
    if not count and (not names or chained):
        return None
    chip = structs.number(desc, "irq_desc", "irq_data.chip")
    domain = structs.number(desc, "irq_desc", "irq_data.domain")
    own = structs.number(desc, "irq_desc", "name")
    state = structs.number(
        structs.number(desc, "irq_desc", "irq_data.common"), "irq_common_data", "state_use_accessors"
    )
    shown, itself = _chip(machine, structs, chip)
    return Interrupt(
        structs.number(desc, "irq_desc", "irq_data.irq"),
        count,
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
