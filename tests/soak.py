# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests marked `soak` take a sample by default, and all that they say under `make soak`."""

from __future__ import annotations

import os
import random
from typing import Final

AT_LENGTH: Final = bool(os.environ.get("ARMPROBE_SOAK"))


def chance() -> random.Random:
    """A generator whose seed is printed. ARMPROBE_SEED gives it the seed of a run before."""
    seed = int(os.environ.get("ARMPROBE_SEED") or random.randrange(1 << 32))
    print(f"ARMPROBE_SEED={seed}")
    return random.Random(seed)
