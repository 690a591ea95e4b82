# SPDX-License-Identifier: GPL-2.0-or-later
"""What the documentation shows is what happens."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from armprobe.machine.loaders import DEMO
from tests.docs.transcript import ROOT, Example, examples, matches, replay
from tests.stock import stock_snapshot  # tests have no import name to go by

TRANSCRIPTS = (
    "README.md",
    "docs/tutorial.md",
    "docs/how-to.md",
    "docs/api.md",
    "docs/questions.md",
    "docs/history.md",
    "docs/devices.md",
    "docs/expressions.md",
    "docs/time-travel.md",
    "docs/traces.md",
    "docs/events.md",
    "docs/debuggers.md",
)
ALL = [(name, example) for name in TRANSCRIPTS for example in examples((ROOT / name).read_text())]


def ready_for(example: Example, tool: Callable[[str, str], str]) -> None:
    """Skip, or fail under CI, where a program is absent or Debian's kernel cannot be had."""
    words = example.start.command.split()
    if "gdb" in words or "demo" in words or any("GdbSession" in text for text in example.files.values()):
        tool("gdb-multiarch", "gdb-multiarch")
    if "linux" in words or any("linux" in text for text in example.files.values()):
        tool("apt-get", "apt")
        stock_snapshot()


@pytest.mark.parametrize(("document", "example"), ALL, ids=[f"{name}: {example.name}" for name, example in ALL])
@pytest.mark.sample
def test_an_example_gives_what_is_printed(
    document: str, example: Example, tool: Callable[[str, str], str], tmp_path: Path
) -> None:
    ready_for(example, tool)
    wrong = replay(example, tmp_path)
    assert not wrong, f"{document} no longer says what happens:\n" + "\n".join(wrong)


def test_every_document_has_examples() -> None:
    assert {name for name, _ in ALL} == set(TRANSCRIPTS)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("hits 0", "hits 0", True),
        ("hits 0", "hits 1341", False),
        ("hits 1341", "hits 7", False),
        ("hits 1341", "hits 987", True),
        ("kfree at 0xffff800000083c90", "kfree at 0xffff800000083c94", True),
        ("kfree at 0xffff800000083c90", "kmalloc at 0xffff800000083c90", False),
        ("at ... (kfree)", "at kmalloc+0x4 (kfree)", True),
        ("at ... (kfree)", "at kmalloc+0x4 (kmalloc)", False),
        ("a\n...\nc", "a\nc", True),
        ("a\n...\nc", "a\nb\nb\nc", True),
        ("a\n...\nc", "a\nb", False),
        ("a", "a\nb", False),
        ("a\nb", "a", False),
    ],
)
def test_what_counts_as_the_same(expected: str, printed: str, same: bool) -> None:
    assert matches(expected.splitlines(), printed.splitlines()) is same


def test_a_wrong_example_is_noticed(tmp_path: Path) -> None:
    block = "```console\n$ armprobe\n...\narmprobe> kprobe kfree\nkretprobe 1: kfree at 0xffff800000083c90\n```\n"
    (example,) = examples(block)
    (wrong,) = replay(example, tmp_path)
    assert "kprobe 1: kfree" in wrong


# In transcripts of the demo kernel: NAME at ADDRESS, ADDRESS NAME, NAME (ADDRESS).
PLACES = re.compile(
    r"\b(?P<at>[a-z_]\w+)(?P<at_offset>\+0x[0-9a-f]+)? (?:at |\()(?P<at_address>0xffff8000000[89a-f][0-9a-f]{4})\b"
    r"|(?P<address>0xffff8000000[89a-f][0-9a-f]{4}) (?P<name>[a-z_]\w+)(?P<offset>\+0x[0-9a-f]+)?"
)


@pytest.mark.parametrize("document", TRANSCRIPTS)
def test_addresses_are_those_of_the_shipped_demo_kernel(document: str) -> None:
    """As its symbol table has them, which pyelftools reads."""
    with DEMO.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        addresses = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    wrong, count = [], 0
    for block in re.findall(r"^```console\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL):
        for place in PLACES.finditer(block):
            name, offset = place["at"] or place["name"], place["at_offset"] or place["offset"] or "0"
            if name in addresses:
                count += 1
                if addresses[name] + int(offset, 0) != int(place["at_address"] or place["address"], 0):
                    wrong.append(place[0])
    assert wrong == []
    assert count > 5 or document not in ("README.md", "docs/tutorial.md")
