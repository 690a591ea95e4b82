# SPDX-License-Identifier: GPL-2.0-or-later
"""The digest that is kept beside a kernel: it is always that of the file's content, and a damaged one is made again."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe.guests.linux import kernel_digest as module
from armprobe.guests.linux.debian import cache_directory
from armprobe.guests.linux.kernel_digest import kernel_digest
from armprobe.machine import MachineError, host_files

MOST = 1 << 20


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the cache that nobody has changed lately."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_SETTLED", 0)
    path = cache_directory() / "debian" / "kernel" / "vmlinuz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a kernel")
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content was read for a digest."""
    found: list[Path] = []
    digest = host_files.digest

    def noted(path: Path, most: int) -> object:
        found.append(path)
        return digest(path, most)

    monkeypatch.setattr(host_files, "digest", noted)
    return found


def right(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def test_it_is_read_once(kernel: Path, read: list[Path]) -> None:
    assert kernel_digest(kernel, MOST) == right(kernel)
    assert kernel_digest(kernel, MOST) == right(kernel)
    assert read == [kernel]


def _rewritten(kernel: Path) -> None:
    """Other content of the same size, with the time of change put back."""
    before = kernel.stat()
    kernel.write_bytes(b"A KERNEL")
    os.utime(kernel, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(kernel: Path) -> None:
    other = kernel.with_name("other")
    other.write_bytes(b"A KERNEL")
    other.rename(kernel)


@pytest.mark.parametrize("change", [_rewritten, _replaced])
def test_another_content_is_noticed(kernel: Path, read: list[Path], change: Callable[[Path], None]) -> None:
    kernel_digest(kernel, MOST)
    change(kernel)
    assert kernel_digest(kernel, MOST) == right(kernel)
    assert len(read) == 2


@pytest.mark.parametrize("damage", [b"", b"short", bytes(64), bytes(65)])
def test_a_damaged_one_is_made_again(kernel: Path, read: list[Path], damage: bytes) -> None:
    kernel_digest(kernel, MOST)
    kept = kernel.with_name("vmlinuz.sha256")
    whole = kept.read_bytes()
    kept.write_bytes(damage)
    assert kernel_digest(kernel, MOST) == right(kernel)
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("bit", [0, 255, 256, 511])
def test_one_with_a_changed_bit_is_made_again(kernel: Path, read: list[Path], bit: int) -> None:
    kernel_digest(kernel, MOST)
    kept = kernel.with_name("vmlinuz.sha256")
    kept.write_bytes((int.from_bytes(kept.read_bytes(), "little") ^ 1 << bit).to_bytes(64, "little"))
    assert kernel_digest(kernel, MOST) == right(kernel)
    assert len(read) == 2


def test_that_of_a_file_changed_just_now_is_not_kept(
    kernel: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SETTLED", 3600 * 10**9)
    for _ in range(2):
        assert kernel_digest(kernel, MOST) == right(kernel)
    assert read == [kernel, kernel]
    assert not kernel.with_name("vmlinuz.sha256").exists()


def test_nothing_is_kept_beside_a_kernel_elsewhere(kernel: Path, tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(b"a kernel")
    assert kernel_digest(path, MOST) == right(path)
    assert {each.name for each in tmp_path.iterdir()} == {"armprobe", "vmlinuz"}


def test_it_is_right_where_nothing_can_be_written(kernel: Path, read: list[Path]) -> None:
    kernel.with_name("vmlinuz.sha256").mkdir()
    for _ in range(2):
        assert kernel_digest(kernel, MOST) == right(kernel)
    assert read == [kernel, kernel]


def test_a_missing_or_too_large_one_is_refused(kernel: Path) -> None:
    with pytest.raises(MachineError, match="8 bytes, and 7 are the limit"):
        kernel_digest(kernel, 7)
    kernel.unlink()
    with pytest.raises(MachineError, match="No such file"):
        kernel_digest(kernel, MOST)
