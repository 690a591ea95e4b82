# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe doctor` and `armprobe cache`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import unicorn

from armprobe.commands.cli import main
from armprobe.commands.cli.parser import parse
from armprobe.commands.computer import without_home
from armprobe.guests.linux import cache, cache_directory


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_doctor_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--no-config"]) == 0
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert rows["unicorn"] == unicorn.__version__
    assert rows["Python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert rows["calibration"] == "the engine's own registers are used"
    assert rows["kernel"].startswith("none fetched")
    assert rows["snapshot"].startswith("none of this version")


def test_doctor_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--no-config", "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["command"], line["ok"]) == ("doctor", True)
    value = line["value"]
    versions = {package["name"]: package["version"] for package in value["packages"]}
    assert versions["unicorn"] == unicorn.__version__
    assert "test" not in [extra["name"] for extra in value["extras"]], "that is for developers of armprobe"
    gdb = subprocess.run(["gdb-multiarch", "--version"], capture_output=True, text=True, check=True, timeout=600)
    assert value["gdb"].startswith(gdb.stdout.splitlines()[0])
    assert (value["live_registers"], value["problems"]) == (True, [])


def test_doctor_without_gdb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["doctor", "--no-config"]) == 0
    assert "gdb-multiarch is not installed (Debian: apt-get install gdb-multiarch)" in capsys.readouterr().out


def test_doctor_does_not_tell_the_name_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    main(["doctor", "--no-config", "--json"])
    text = capsys.readouterr().out
    assert json.loads(text)["value"]["cache"] == "~/cache/armprobe"
    assert str(tmp_path) not in text


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/ada")
    assert [without_home(path) for path in ("/users/ada/x", "/users/ada", "/users/adam/x", "/usr")] == [
        "~/x",
        "~",
        "/users/adam/x",
        "/usr",
    ]


def snapshot(name: str, days: float) -> Path:
    path = cache.snapshot_folder() / f"{name}.snapshot"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 5000)
    os.utime(path, (time.time() - days * 24 * 3600,) * 2)
    return path


def test_cache_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == "the cache is empty\n"
    cache.describe(snapshot("one", 3.5), "6.1.0, 256M")
    assert main(["cache", "list", "snapshots"]) == 0
    assert "3 days  snapshots/one.snapshot  6.1.0, 256M" in capsys.readouterr().out
    assert main(["cache", "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    (entry,) = line["value"]
    assert line["command"] == "cache list"
    assert (entry["kind"], entry["path"], entry["in_use"]) == ("snapshots", "snapshots/one.snapshot", False)
    assert 3.4 * 86400 < entry["age"] < 3.6 * 86400


def test_cache_clear(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = snapshot("old", 2), snapshot("new", 0)
    (cache_directory() / "symbols").mkdir()
    symbols = cache_directory() / "symbols" / "1.elf"
    symbols.touch()
    assert main(["cache", "clear"]) == 0
    assert (old.exists(), new.exists(), symbols.exists()) == (False, True, True)
    assert main(["cache", "clear", "symbols"]) == 0
    assert (new.exists(), symbols.exists()) == (True, False)
    cache.hold(new)
    capsys.readouterr()
    assert main(["cache", "clear", "--all"]) == 0
    assert "snapshots/new.snapshot stays: it is in use" in capsys.readouterr().out
    assert new.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clean"], "armprobe cache has no 'clean': it has list and clear"),
        (["clear", "kernel"], "the cache has no 'kernel': it has kernels, snapshots, symbols, other"),
    ],
)
def test_cache_with_wrong_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", *words]) == 1
    assert capsys.readouterr().err == f"armprobe: {message}\n"


def test_the_limit_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "armprobe.toml").write_text('cache_limit = "1G"\n')
    monkeypatch.chdir(tmp_path)
    assert parse(["linux"]).cache_limit == "1G"
