# SPDX-License-Identifier: GPL-2.0-or-later
"""Work for a Linux guest: processes, files, pipes, and the kernel's own tables."""

from typing import Final

_BURST: Final = (
    "ls -lR /sys/module; cat /proc/[0-9]*/stat; dd if=/dev/zero of=/tmp/x bs=4k count=50; gzip -c /tmp/x | md5sum"
)


def load(pause: float = 0) -> str:
    """A line for the shell, after which the guest works for ever. It is idle for `pause` seconds between bursts."""
    return f"while :; do {_BURST}; {f'sleep {pause:g}' if pause else ':'}; done > /dev/null 2>&1 & true"
