# SPDX-License-Identifier: GPL-2.0-or-later
"""The libraries for data, which armprobe runs without: the extra `armprobe[data]`."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import TraceError


def library(name: str, purpose: str) -> Any:
    """The module `name`. Raises TraceError if it is not installed. `purpose` is the beginning of the sentence."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise TraceError(f"{purpose} needs {package}, which is not installed: pip install 'armprobe[data]'") from None
