# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m armprobe` is `armprobe`."""

import sys

from armprobe.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
