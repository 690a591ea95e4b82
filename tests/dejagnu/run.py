# SPDX-License-Identifier: GPL-2.0-or-later
"""`make dejagnu`: tests of GDB's own test suite on armprobe's stub and on QEMU's; docs/dejagnu.md has the results.

The suite is that of Debian's package gdb-source, the gdb is gdb-multiarch of the same version, and test programs are
linked with picolibc for the bare machine (bare.ld, crt0.S, runtime.c).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from armprobe.guests.linux.debian import cache_directory

_HERE: Final = Path(__file__).parent
_DOCUMENT: Final = _HERE.parents[1] / "docs" / "dejagnu.md"
_LOGS: Final = _HERE.parents[1] / "build" / "dejagnu"
_SOURCE: Final = Path("/usr/src/gdb.tar.xz")
_PICOLIBC: Final = Path("/usr/lib/picolibc/aarch64-linux-gnu")
_COMPILER: Final = "aarch64-linux-gnu-gcc"
STUBS: Final = ("armprobe", "qemu")
_BEGIN, _END = "<!-- make dejagnu -->\n", "<!-- end -->\n"
_RESULT: Final = re.compile(r"^([A-Z]+): ((gdb\.\w+/[\w.-]+)\.exp: .*)$", re.MULTILINE)
_BAD: Final = ("FAIL", "XPASS", "UNRESOLVED", "ERROR")
_SITE: Final = """\
set host_triplet x86_64-pc-linux-gnu
set build_triplet x86_64-pc-linux-gnu
set target_triplet aarch64-none-elf
set tool gdb
set srcdir {suite}
set objdir {folder}
set subdir .
set boards_dir {boards}
set GDB gdb-multiarch
set gdb_test_timeout 30
set TCL_LIBRARY ""
set enable_libctf no
"""

Results = Mapping[str, Sequence[tuple[str, str]]]
"""Of each test, the results, such as "PASS", and what each is of."""


def tests() -> list[str]:
    """The tests, as "gdb.base/break"."""
    return (_HERE / "tests.txt").read_text().split()


def explanations() -> dict[str, str]:
    """Why what fails fails: by the beginning of what gdb.sum says failed."""
    return dict(tomllib.loads((_HERE / "known.toml").read_text()))


def _suite() -> Path:
    """Where GDB's test suite is unpacked. Raises FileNotFoundError if the package is not installed."""
    if not _SOURCE.exists():
        raise FileNotFoundError("GDB's test suite is not installed (Debian: apt-get install gdb-source)")
    folder = cache_directory() / "gdb" / "testsuite"  # by another name runtest does not find the parts of it
    if not folder.exists():
        print("unpacking GDB's test suite", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished, tarfile.open(_SOURCE) as archive:
            members = [member for member in archive if member.name.startswith("gdb/gdb/testsuite/")]
            archive.extractall(unfinished, members)
            (Path(unfinished) / "gdb" / "gdb" / "testsuite").rename(folder)
    return folder


def _support(folder: Path) -> None:
    """Compile what every test program is linked with."""
    flags = ["-c", "-O1", "-fno-pic", "-fno-stack-protector", "-ftls-model=local-exec"]
    flags += ["-isystem", f"{_PICOLIBC}/include"]
    for source in ("crt0.S", "runtime.c"):
        output = folder / Path(source).with_suffix(".o")
        subprocess.run([_COMPILER, *flags, str(_HERE / source), "-o", str(output)], check=True)
    shutil.copy(_HERE / "bare.ld", folder)


def _start(stub: str, names: Sequence[str], suite: Path, socket: Path) -> subprocess.Popen[bytes]:
    folder = _LOGS / stub
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _support(folder)
    (folder / "site.exp").write_text(_SITE.format(suite=suite, folder=folder, boards=_HERE / "boards"))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "ARMPROBE_STUB": stub,
        "ARMPROBE_DEJAGNU": str(folder),
        "ARMPROBE_PICOLIBC": str(_PICOLIBC),
        "ARMPROBE_PYTHON": sys.executable,
        "ARMPROBE_SOCKET": str(socket),
    }
    command = ["runtest", "--tool", "gdb", "--target_board=armprobe", "--srcdir", str(suite)]
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            [*command, *(f"{name}.exp" for name in names)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def read(summary: str) -> Results:
    """What is in a gdb.sum, by test: each result, and what of."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for result, what, name in _RESULT.findall(summary):
        found[name].append((result, what))
    return found


def _results(names: Mapping[str, Sequence[str]], suite: Path) -> dict[str, Results]:
    """Run tests, `names` by stub: both stubs' at the same time."""
    with tempfile.TemporaryDirectory(prefix="armprobe-") as sockets:
        runs = {stub: _start(stub, names[stub], suite, Path(sockets) / stub) for stub in STUBS if names[stub]}
        for run in runs.values():
            run.wait()
    return {stub: read((_LOGS / stub / "gdb.sum").read_text(errors="replace")) for stub in runs}


def bad(results: Results, known: Mapping[str, str]) -> dict[str, list[str]]:
    """What did not come out as it should and is not explained, by test."""
    unexplained = {
        name: [what for result, what in of if result in _BAD and why(what, known) is None]
        for name, of in results.items()
    }
    return {name: those for name, those in unexplained.items() if those}


def _cell(results: Sequence[tuple[str, str]]) -> str:
    counts = Counter(result for result, _ in results)
    names = {"PASS": "pass", **{bad: bad for bad in _BAD}, "XFAIL": "xfail", "KFAIL": "kfail", "KPASS": "kpass"}
    shown = [f"{counts[result]} {name}" for result, name in names.items() if counts[result]]
    skipped = counts["UNSUPPORTED"] + counts["UNTESTED"]
    return ", ".join(shown + [f"{skipped} not applicable"] * bool(skipped)) or "-"


def why(what: str, known: Mapping[str, str]) -> str | None:
    """The explanation of a failure, or None."""
    return next((reason for beginning, reason in known.items() if what.startswith(beginning)), None)


def _report(results: Mapping[str, Results], names: Sequence[str], known: Mapping[str, str]) -> str:
    def row(title: str, those: Sequence[str]) -> str:
        cells = (_cell([each for name in those for each in results[stub].get(name, ())]) for stub in STUBS)
        return f"| {title} | {' | '.join(cells)} |\n"

    lines = ["| test | armprobe | QEMU 7.2 |\n| --- | --- | --- |\n", *(row(name, [name]) for name in names)]
    lines += [row("all", names), "\n## What fails with armprobe\n\n"]
    reasons: dict[str, set[str]] = defaultdict(set)
    for of in results[STUBS[0]].values():
        for result, what in of:
            if result in _BAD:
                reasons[why(what, known) or "**Not explained.**"].add(what)
    for reason, those in reasons.items():
        lines += [f"* {reason}\n", *(f"  * `{what}`\n" for what in sorted(those))]
    return "".join(lines if reasons else [*lines, "Nothing.\n"])


def main() -> int:
    """Run the tests and write the document; 1 if something fails with armprobe that is not explained."""
    parser = argparse.ArgumentParser(description="Runs tests of GDB's test suite. Takes some minutes.")
    parser.add_argument("tests", nargs="*", help="such as gdb.base/break; all of tests.txt, and the document, without")
    options = parser.parse_args()
    names = options.tests or tests()
    for program, package in (("runtest", "dejagnu"), (_COMPILER, "gcc-aarch64-linux-gnu"), ("gdb-multiarch",) * 2):
        if shutil.which(program) is None:
            print(f"error: {program} is not installed (Debian: apt-get install {package})", file=sys.stderr)
            return 1
    try:
        suite = _suite()
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    known = explanations()
    results = _results(dict.fromkeys(STUBS, names), suite)
    # The suite has races and time-outs of its own, which a busy computer brings out: what fails is tried again, alone.
    again = {stub: list(bad(of, known)) for stub, of in results.items()}
    for stub, repeated in _results(again, suite).items():
        results[stub] = {**results[stub], **repeated}
    for stub, of in results.items():
        failed = [what for those in bad(of, known).values() for what in those]
        print(f"{stub}: {len(failed)} failed unexplained", *failed, sep="\n  ")
    if not options.tests:
        before, _, rest = _DOCUMENT.read_text().partition(_BEGIN)
        _, end, after = rest.partition(_END)
        _DOCUMENT.write_text(f"{before}{_BEGIN}{_report(results, names, known)}{end}{after}")
    return int(bool(bad(results[STUBS[0]], known)))


if __name__ == "__main__":
    sys.exit(main())
