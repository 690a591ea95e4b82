# SPDX-License-Identifier: GPL-2.0-or-later
"""The C core's library: structures as the C compiler lays them out, and what is said of a library that will not do."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe.machine.errors import MachineError
from armprobe.machine.native import binding
from armprobe.machine.native.binding import LIBRARY, LibraryError, function, load, sources, structure
from armprobe.machine.native.compile import NAME, CompileError, compile_library

SOURCES = Path(__file__).parents[3] / "machine/native"

# The compiler itself fills the structures: initializers name the fields, so Python must find each value under its name.
SAMPLE = r"""
#define INNER(FIELD, ARRAY) FIELD(uint8_t, small) FIELD(uint64_t, large)
#define SAMPLE(FIELD, ARRAY) \
    FIELD(bool, yes) FIELD(int8_t, i8) FIELD(uint16_t, u16) FIELD(int32_t, i32) ARRAY(uint16_t, words, 3) \
    FIELD(const char *, text) FIELD(uint64_t, u64) ARRAY(struct inner, inners, 2) FIELD(uint8_t, last)
#define ARMPROBE_STRUCTURES(STRUCTURE) STRUCTURE(inner, INNER) STRUCTURE(sample, SAMPLE)
"""
FILL = r"""
#include "native.h"
ARMPROBE_EXPORT struct sample armprobe_sample = {
    .yes = true, .i8 = -5, .u16 = 40000, .i32 = -70000,
    .words = {1, 2, 65535}, .text = "text", .u64 = 0xfedcba9876543210, .inners = {{7, 8}, {9, 1ull << 63}},
    .last = 255};
ARMPROBE_EXPORT uint64_t armprobe_sum(struct sample *sample) { return sample->words[2] + sample->inners[1].small; }
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str, str], str]) -> ctypes.PyDLL:
    """A library with structures of this test's, made with the macros of native.h."""
    tool("cc", "gcc")
    folder = tmp_path_factory.mktemp("sample")
    header = (SOURCES / "native.h").read_text()
    begin = header.index("#define ARMPROBE_STRUCTURES(STRUCTURE) \\\n    STRUCTURE(row")
    end = header.index("#define ARMPROBE_DECLARE_FIELD")
    own = SAMPLE.replace(
        "#define ARMPROBE_STRUCTURES(STRUCTURE)", "#define ARMPROBE_STRUCTURES(STRUCTURE) STRUCTURE(row, ARMPROBE_ROW)"
    )
    (folder / "native.h").write_text(header[:begin] + own + header[end:])
    for name in ("btf.h", "devices.h", "places.h", "functions.h", "library.c"):
        shutil.copy(SOURCES / name, folder)
    (folder / "fill.c").write_text(FILL)
    compile_library(folder / NAME, folder)
    return ctypes.PyDLL(str(folder / NAME))


def test_structures_are_as_the_compiler_lays_them_out(sample: ctypes.PyDLL) -> None:
    @structure("inner", sample)
    class Inner(ctypes.Structure):
        small: int
        large: int

    @structure("sample", sample)
    class Sample(ctypes.Structure):
        yes: bool
        i8: int
        u16: int
        i32: int
        words: ctypes.Array[ctypes.c_uint16]
        text: int
        u64: int
        inners: ctypes.Array[Inner]

    filled = Sample.in_dll(sample, "armprobe_sample")
    assert (filled.yes, filled.i8, filled.u16, filled.i32, list(filled.words)) == (
        True,
        -5,
        40000,
        -70000,
        [1, 2, 65535],
    )
    assert ctypes.string_at(filled.text) == b"text"
    assert filled.u64 == 0xFEDC_BA98_7654_3210
    assert [(inner.small, inner.large) for inner in filled.inners] == [(7, 8), (9, 1 << 63)]
    assert getattr(filled, "last") == 255  # noqa: B009  Python need not declare it
    filled.words[2], filled.inners[1].small = 100, 11
    assert function("armprobe_sum", ctypes.c_uint64, ctypes.POINTER(Sample), library=sample)(filled) == 111


@pytest.mark.parametrize(
    "fields", [{"missing": "int"}, {"u64": "bool"}, {"words": "int"}, {"u16": "ctypes.Array[ctypes.c_uint16]"}], ids=str
)
def test_a_field_that_differs(sample: ctypes.PyDLL, fields: dict[str, object]) -> None:
    structure("inner", sample)(type("Inner", (ctypes.Structure,), {"__annotations__": {}}))
    different = type("Sample", (ctypes.Structure,), {"__annotations__": fields})
    with pytest.raises(
        MachineError, match=f"struct sample .* another field {next(iter(fields))} than Sample .*: run `make`"
    ):
        structure("sample", sample)(different)


def test_what_the_library_lacks() -> None:
    with pytest.raises(LibraryError, match="no function armprobe_nothing: run `make`, or"):
        function("armprobe_nothing", None)


def test_rows_describe_themselves() -> None:
    """The layout that binding.py itself is written with."""

    @structure("row")
    class Row(ctypes.Structure):
        name: int

    assert [(name, getattr(Row, name).offset) for name, *_ in Row._fields_] == [
        (name, getattr(binding._Row, name).offset) for name, *_ in binding._Row._fields_
    ]


def test_a_library_that_is_missing_or_none(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=rf"there is no {tmp_path}/{NAME}\): run `make`, or install armprobe again$"):
        load(tmp_path / NAME)
    (tmp_path / NAME).write_bytes(b"no library")
    with pytest.raises(LibraryError, match=r"C core cannot be loaded \(.*\): run `make`"):
        load(tmp_path / NAME)


def test_a_library_that_is_not_ours(tmp_path: Path, tool: Callable[[str, str], str]) -> None:
    (tmp_path / "core.c").write_text("int f(void) { return 0; }\n")
    compile_library(tmp_path / NAME, tmp_path)
    with pytest.raises(LibraryError, match=f"{tmp_path}/{NAME} is not armprobe's C core: run `make`"):
        load(tmp_path / NAME)


@pytest.mark.sample(of="tests")
def test_a_library_of_other_sources(tmp_path: Path, tool: Callable[[str, str], str]) -> None:
    """One character of a comment is enough; the same sources are loaded, whenever they were compiled."""
    tool("cc", "gcc")
    for file in SOURCES.glob("*.[ch]"):
        shutil.copy(file, tmp_path)
    compile_library(tmp_path / NAME, tmp_path)
    os.utime(tmp_path / NAME, (0, 0))
    assert sources(load(tmp_path / NAME)) == sources(LIBRARY)
    with (tmp_path / "native.h").open("a") as header:
        header.write("/* */\n")
    compile_library(tmp_path / "other.so", tmp_path)
    with pytest.raises(LibraryError, match=f"compiled from other sources than those in {SOURCES}: run `make`"):
        load(tmp_path / "other.so")


def test_errors_of_the_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "core.c").write_text("int f(void) { return missing; }\n")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(CompileError, match=r"no C compiler 'no-such-compiler' .*apt-get install gcc libc6-dev"):
        compile_library(tmp_path / NAME, tmp_path)
    monkeypatch.delenv("CC")
    if shutil.which("cc"):
        with pytest.raises(CompileError, match="did not compile armprobe's C core"):
            compile_library(tmp_path / NAME, tmp_path)
        assert "missing" in capfd.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["core.c"]


def test_the_command_says_so_in_one_sentence(tmp_path: Path) -> None:
    """A copy of the installed tree, without the library."""
    shutil.copytree(Path(binding.__file__).parents[2], tmp_path / "armprobe", ignore=shutil.ignore_patterns(NAME))
    words = [sys.executable, "-m", "armprobe", "-c", "probes"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"armprobe: armprobe's C core cannot be loaded (there is no {tmp_path}/armprobe/machine/native/{NAME}): "
        "run `make`, or install armprobe again\n"
    )
