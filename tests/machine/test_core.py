# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine has cores, and who acts on one is given it or asks for it."""

import ast
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import unicorn

from armprobe import machine
from armprobe.machine import Core, Machine
from armprobe.machine.core import engine

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("machine", "kernel", "expressions", "probes", "traces", "stub", "session", "clients", "commands", "guests")
HVC = 0xD400_0002 | 0x1234 << 5  # Arm ARM, C6.2, HVC


def test_a_claim_is_given_the_core_that_raised() -> None:
    """Of its own machine; its context has the registers, and what is written there is what the guest goes on with."""
    guests = [machine.load("demo", memory="4M") for _ in range(2)]
    given: list[Core] = []

    def claim(core: Core) -> bool:
        given.append(core)
        core.context.x[1] = core.context.x[0] + 1
        return True

    for number, guest in enumerate(guests):
        guest.run(until="kfree")
        guest.memory.write(guest.registers.pc, struct.pack("<I", HVC))
        guest.claim_hvc(0x1234, claim)
        guest.registers.x[0] = number
        guest.step()
    assert given == [guest.core for guest in guests]
    assert [core.machine for core in given] == guests
    assert [guest.registers.x[1] for guest in guests] == [1, 2]


def test_a_machine_s_registers_are_its_first_core_s() -> None:
    guest: Machine = machine.load("demo", memory="4M")
    assert guest.cores == [guest.core]
    guest.registers.x[5] = 7
    assert guest.core.registers.x[5] == guest.core.load().x[5] == 7


OF_ONE_CORE = {Path("probes/control_block.py"), Path("machine/core/native_engine.py")}
"""Files whose objects are made for a core and used with that one only, which may keep its registers."""


def stores_a_context(value: ast.expr) -> bool:
    """Whether an expression is a core's context, or the view of its general registers."""
    if isinstance(value, ast.Attribute) and value.attr == "x":
        value = value.value
    return isinstance(value, ast.Attribute) and value.attr.lstrip("_") == "context"


@pytest.mark.parametrize("text", ["machine.core.context", "self._core.context.x", "self._context.x"])
def test_such_expressions_are_recognized(text: str) -> None:
    assert stores_a_context(ast.parse(text, mode="eval").body)


def test_nothing_keeps_the_registers_of_a_core_from_when_it_was_made() -> None:
    """With several cores, an object that did would go on with those of the wrong one."""
    found = set()
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            makers = [
                node
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.FunctionDef) and node.name == "__init__"
            ]
            for node in (node for maker in makers for node in ast.walk(maker)):
                if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
                    if any(stores_a_context(value) for value in values):
                        found.add((file.relative_to(ROOT), node.lineno))
    assert {place for place in found if place[0] not in OF_ONE_CORE} == set()


@pytest.mark.parametrize(("buffer", "times"), [(None, 1), (1 << 20, 5)])
def test_more_code_than_there_is_room_for(
    buffer: int | None, times: int, bare: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is translated each time that the guest comes by, and the guest does not notice."""
    if buffer is not None:
        monkeypatch.setattr(engine, "_BUFFER", buffer)
    blocks = 4000
    guest = bare(f"loop: .rept {blocks}; add x1, x1, #1; b .+4; .endr; b loop")
    translated = list[int]()
    guest.core.engine.hook_add(unicorn.UC_HOOK_EDGE_GENERATED, lambda _, block, *__: translated.append(block.pc))
    guest.run(instructions=5 * (2 * blocks + 1))
    assert guest.registers.x[1] == 5 * blocks
    assert len(translated) // blocks == times
