# SPDX-License-Identifier: GPL-2.0-or-later
"""The documentation builds as a site, which MkDocs refuses where a link or an anchor leads nowhere."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's, of a MkDocs to come
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    built = build(ROOT, tmp_path)
    assert built.returncode == 0, built.stderr
    # The API's page is empty where its objects are not found.
    assert 'id="armprobe.probes.Kprobes.register_kretprobe"' in (tmp_path / "docs" / "api" / "index.html").read_text()
