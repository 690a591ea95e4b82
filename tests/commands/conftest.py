# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of the commands share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.commands.debian import KernelFiles
from armprobe.commands.gdb_session import GdbSession

from ..stock import stock_kernel  # noqa: TID252  # tests have no import name to go by
from .repository import Repository
from .toy import ToySession


@pytest.fixture
def session() -> ToySession:
    return ToySession()


@pytest.fixture
def gdb_path(tool: Callable[[str, str], str]) -> str:
    return tool("gdb-multiarch", "gdb-multiarch")


@pytest.fixture
def gdb(session: ToySession, gdb_path: str) -> Iterator[GdbSession]:
    """A gdb attached to the session through armprobe's own stub."""
    with GdbSession(session, gdb=gdb_path) as gdb:
        yield gdb


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's own history."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


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
