# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo kernel, as shipped."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from armprobe.guests.linux.debian import KernelFiles
from tests.guests.repository import Repository
from tests.stock import stock_kernel  # tests have no import name to go by


@pytest.fixture(scope="session")
def demo() -> Path:
    """The folder of the demo kernel: its sources and demo.elf."""
    return Path(__file__).parents[2] / "guests" / "demo"


@pytest.fixture(scope="session")
def elf(demo: Path) -> Iterator[ELFFile]:
    """The shipped demo.elf, open."""
    with (demo / "demo.elf").open("rb") as file:
        yield ELFFile(file)


class Symbol(NamedTuple):
    """A symbol: its virtual address, its size in bytes, its type as pyelftools calls it."""

    address: int
    size: int
    kind: str


@pytest.fixture(scope="session")
def symbols(elf: ELFFile) -> dict[str, Symbol]:
    """The named symbols of demo.elf, by name; no two share one."""
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    found: dict[str, Symbol] = {}
    for symbol in table.iter_symbols():
        kind = symbol["st_info"]["type"]
        if symbol.name and not symbol.name.startswith("$") and kind not in ("STT_FILE", "STT_SECTION"):
            assert symbol.name not in found
            found[symbol.name] = Symbol(symbol["st_value"], symbol["st_size"], kind)
    return found


@pytest.fixture(scope="session")
def constant(demo: Path) -> Callable[[str], int]:
    """constant(name): the value of a #define in workload.h."""
    header = (demo / "include" / "workload.h").read_text()

    def value(name: str) -> int:
        found = re.search(rf"^#define {name}\s+(\w+?)(?:UL)?$", header, re.MULTILINE)
        assert found is not None, f"workload.h does not define {name}"
        return int(found[1], 0)

    return value


@pytest.fixture(scope="session")
def kernel(tool: Callable[[str, str], str]) -> KernelFiles:
    """What armprobe linux would boot."""
    tool("apt-get", "apt")
    return stock_kernel()


@pytest.fixture
def use_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """use_source(line): give apt this one line as its sources, and an empty cache; the file that configures apt."""

    def use(line: str) -> Path:
        (tmp_path / "sources.list").write_text(line + "\n")
        config = tmp_path / "apt.conf"
        settings = {"Dir::Etc::sourcelist": f"{tmp_path}/sources.list", "Dir::Etc::sourceparts": "-"}
        settings["Acquire::Retries"] = "0"  # each would wait longer
        config.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        monkeypatch.setenv("APT_CONFIG", str(config))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        for variable in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        return config

    return use


@pytest.fixture
def repository(
    tmp_path: Path, tool: Callable[[str, str], str], use_source: Callable[[str], Path]
) -> Iterator[Repository]:
    """A repository that apt trusts, with Linux 6.1.0-1 and a BusyBox."""
    tool("apt-get", "apt")
    folder = tmp_path / "repository"
    folder.mkdir()
    made = Repository(folder, tool("dpkg-deb", "dpkg"))
    made.add("busybox-static", "1:1.35.0-4", files={"bin/busybox": b"shell"})
    made.add_kernel("6.1.0-1", "6.1.10-1")
    use_source(f"deb [trusted=yes] {made.address} ./")
    yield made
    made.close()
