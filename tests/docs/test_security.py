# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests that docs/security.md names are there."""

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def test_the_tests_that_show_it() -> None:
    text = (_ROOT / "docs" / "security.md").read_text()
    names = set(re.findall(r"`(test_\w+)`", text))
    files = set(re.findall(r"`(tests/[\w/.]+)`", text))
    assert len(names) > 5
    assert len(files) > 5
    sources = [path.read_text() for path in (_ROOT / "tests").rglob("*.py")]
    defined = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    assert names <= defined, names - defined
    assert all((_ROOT / file).exists() for file in files), files
