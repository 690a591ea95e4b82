# SPDX-License-Identifier: GPL-2.0-or-later
"""What is removed from the user's cache, and what stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from armprobe.guests.linux import cache
from armprobe.guests.linux.debian import cache_directory

DAY = 24 * 3600
SIZE = 1 << 20


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def snapshot(name: str, age: float) -> Path:
    """A file in the place of a snapshot, last used `age` seconds ago."""
    path = cache.snapshot_folder() / f"{name}.snapshot"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(SIZE))  # so that it takes room on a file system that compresses
    path.with_suffix(".lock").touch()
    cache.describe(path, f"kernel {name}")
    with path.open("rb+") as file:
        os.fsync(file.fileno())  # the file system allocates its blocks
    os.utime(path, (time.time() - age,) * 2)
    return path


def there() -> set[str]:
    return {path.stem for path in cache.snapshot_folder().glob("*.snapshot")}


def test_the_oldest_go_first() -> None:
    for name, age in (("new", 2 * DAY), ("old", 4 * DAY), ("older", 5 * DAY), ("middle", 3 * DAY)):
        snapshot(name, age)
    removed = cache.keep_within(2 * SIZE + SIZE // 2)
    assert [entry.made_of for entry in removed] == ["kernel older", "kernel old"]
    assert there() == {"new", "middle"}
    assert {path.stem for path in cache.snapshot_folder().iterdir()} == {"new", "middle"}, "its lock and words are left"


def test_within_the_limit_all_stay() -> None:
    snapshot("one", 9 * DAY)
    assert cache.keep_within(2 * SIZE) == []
    assert there() == {"one"}


def test_those_of_the_last_day_stay() -> None:
    for name, age in (("today", 0), ("yesterday", DAY - 600), ("before", DAY + 600)):
        snapshot(name, age)
    cache.keep_within(0)
    assert there() == {"today", "yesterday"}


def test_one_that_is_read_today_stays() -> None:
    path = snapshot("read", 9 * DAY)
    os.utime(path, (time.time(), time.time() - 9 * DAY))
    assert cache.keep_within(0) == []


USER = """
import sys
from pathlib import Path
from armprobe.guests.linux import cache
cache.hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_what_another_process_uses_stays_until_it_ends() -> None:
    path = snapshot("used", 9 * DAY)
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "held\n"
        assert time.time() - path.stat().st_mtime < DAY / 2, "its use is not marked"
        os.utime(path, (time.time() - 9 * DAY,) * 2)
        (entry,) = cache.entries()
        assert entry.in_use
        assert cache.remove([entry]) == []
        assert cache.keep_within(0) == []
        assert there() == {"used"}
        user.communicate()
    (entry,) = cache.entries()
    assert not entry.in_use
    assert cache.keep_within(0) == [entry]


def test_what_this_process_uses_stays() -> None:
    path = snapshot("mine", 0)
    cache.hold(path)
    (entry,) = cache.entries()
    assert entry.in_use
    assert cache.remove([entry]) == []


def test_one_that_was_made_anew_is_held_too() -> None:
    path = snapshot("twice", 0)
    cache.hold(path)
    path.unlink()
    snapshot("twice", 0)
    assert not _is_locked(path)
    cache.hold(path)
    assert _is_locked(path)


def _is_locked(path: Path) -> bool:
    """Whether another process finds it locked: flock(1) fails then."""
    return subprocess.run(["flock", "--nonblock", str(path), "true"], check=False, timeout=600).returncode != 0


def test_what_is_in_the_cache() -> None:
    snapshot("one", 0)
    kernel = cache_directory() / "debian" / "trixie" / "6.12.1-arm64_6.12.1-1"
    kernel.mkdir(parents=True)
    (kernel / "vmlinuz").write_bytes(bytes(100))
    (kernel.parent / "current").symlink_to(kernel.name)
    (cache_directory() / "symbols").mkdir()
    (cache_directory() / "symbols" / "1.elf").write_bytes(bytes(100))
    (cache_directory() / "oracle").mkdir()
    assert [(entry.kind, entry.path.name) for entry in cache.entries()] == [
        ("kernels", kernel.name),
        ("snapshots", "one.snapshot"),
        ("symbols", "1.elf"),
        ("other", "oracle"),
    ]
    assert cache.entries()[0].made_of == "Linux 6.12.1-arm64 and BusyBox, from Debian's package 6.12.1-1"
    assert cache.remove(cache.entries(["kernels", "other"]))
    assert [entry.kind for entry in cache.entries()] == ["snapshots", "symbols"]


def test_no_cache_at_all() -> None:
    assert cache.entries() == []
    assert cache.keep_within(0) == []
