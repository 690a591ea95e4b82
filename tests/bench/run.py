# SPDX-License-Identifier: GPL-2.0-or-later
"""`make bench`: measures armprobe and prints a table. `--quick` repeats less; `--only NAME` measures one thing.

It says what it found and never fails for being slow. Numbers of one run may be compared with each other, for the same
cores did them all; numbers of different computers may not.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])
    from tests.bench.main import main

    sys.exit(main())
