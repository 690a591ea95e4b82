# SPDX-License-Identifier: GPL-2.0-or-later
"""A bundle: a tar file with all that armprobe needs of the network, for computers that have none."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from armprobe.guests.linux import fetch_kernel
from armprobe.guests.linux.debian import CURRENT
from armprobe.machine import host_files

from .errors import CommandError

FOLDER: Final = "armprobe-bundle"
"""What the file is unpacked to."""
_ERROR: Final = "ERROR: "  # before pip's reasons
_INSTALL: Final = """\
#!/bin/sh
# install [FOLDER]: makes a virtual environment with armprobe in FOLDER (default: armprobe), and puts the kernel into
# the user's cache. PYTHON names another Python than python3.
set -eu
bundle=$(cd "$(dirname "$0")" && pwd)
environment=${1:-armprobe}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/armprobe
# pip is the bundle's own: Debian's Python has one to give to environments only with the package python3-venv.
"${PYTHON:-python3}" -m venv --without-pip "$environment"
pip=$(echo "$bundle"/wheels/pip-*.whl)/pip
"$environment/bin/python" "$pip" install --quiet --disable-pip-version-check --no-index \\
    --find-links "$bundle/wheels" pip armprobe
mkdir -p "$cache"
cp -R "$bundle/debian" "$cache"
echo "installed: $environment/bin/armprobe"
"""


def write_bundle(path: Path, *, force: bool = False, report: Callable[[str], None] = print) -> None:
    """Write wheels of armprobe, of what it needs and of pip, Debian's kernel, BusyBox, and a script that installs them.

    A bundle that is there is replaced, and another file only with `force`. `report` is called with a line for each step
    that takes time. Raises CommandError or MachineError, one sentence, if it cannot be written.
    """
    with (
        host_files.new_file(path, _is_bundle, force=force) as file,
        tempfile.TemporaryDirectory(prefix="armprobe-bundle-") as work,
    ):
        folder = Path(work)
        kernel = fetch_kernel(report).vmlinuz.parent
        shutil.copytree(kernel, folder / "debian" / kernel.name)
        (folder / "debian" / CURRENT).symlink_to(kernel.name)
        report("making the wheels of armprobe and of what it needs")
        _make_wheels(folder / "wheels")
        script = folder / "install"
        script.write_text(_INSTALL)
        script.chmod(0o755)
        folder.chmod(0o755)
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.add(folder, FOLDER, filter=_owned_by_root)


def _make_wheels(folder: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise CommandError(f"pip makes the wheels, and {sys.executable} has none: python -m ensurepip installs it")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [*pip, "wheel", "--wheel-dir", str(folder), "pip", _requirement()], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        said = next((line for line in reversed(lines) if line.startswith(_ERROR)), lines[-1])
        raise CommandError(f"pip cannot make the wheels: {said.removeprefix(_ERROR)}")


def _requirement() -> str:
    """What pip has armprobe from (PEP 610): a checkout, a wheel, or an index."""
    installed = list(importlib.metadata.distributions(name="armprobe"))
    if not installed:
        raise CommandError("armprobe is not installed here, so pip cannot make a wheel of it: install it")
    # In a checkout the egg-info of its build may be found first, which has no origin.
    found = next((text for each in installed if (text := each.read_text("direct_url.json"))), None)
    if found is None:
        return f"armprobe=={installed[0].version}"
    origin = json.loads(found)
    vcs = origin.get("vcs_info")
    return f"armprobe @ {vcs['vcs']}+{origin['url']}@{vcs['commit_id']}" if vcs else f"armprobe @ {origin['url']}"


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def _is_bundle(file: BinaryIO) -> bool:
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            first = tar.next()
    except tarfile.TarError:
        return False
    return first is not None and first.name == FOLDER
