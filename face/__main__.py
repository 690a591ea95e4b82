# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `armprobe`, which `python -m armprobe` is too."""

import gc
import signal
import sys


def main() -> int:
    """Console script entry point. Returns the exit status, as `commands.cli.main` does."""
    gc.disable()  # what is imported stays: looking for garbage among it takes a twentieth of a start
    try:
        from armprobe.commands.cli import main as run

        gc.freeze()
        gc.enable()
        return run()
    except ImportError as error:
        if error.name != "armprobe.machine.native":
            raise
        print(f"armprobe: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # imports take a moment
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
