# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of states of the whole guest."""

from __future__ import annotations

import shlex

from armprobe.commands import values

from .layout import Column, Table, described
from .text import as_text


@as_text.register(values.SnapshotRows)
def _(value: values.SnapshotRows) -> str:
    if not value:
        return "there are no snapshots; snapshot NAME takes one\n"
    columns = (
        Column("name"),
        Column("instructions", right=True),
        Column("seconds", right=True),
        Column("place"),
    )
    rows = [(row.name, f"{row.instructions:,}", f"{row.seconds:.6f}", described(row.location)) for row in value]
    return Table(columns, rows).plain()


@as_text.register(values.SnapshotTaken)
def _(value: values.SnapshotTaken) -> str:
    row = value.snapshot
    instead = ", instead of an older one" if value.replaced else ""
    return f"snapshot {row.name}: {_when(row)}{instead}\n"


@as_text.register(values.PutBack)
def _(value: values.PutBack) -> str:
    return f"back at {value.state}: {_when(value)}\n"


def _when(value: values.SnapshotRow | values.PutBack) -> str:
    return f"{described(value.location)}, after {value.instructions:,} instructions, {value.seconds:.6f} s"


@as_text.register(values.Saved)
def _(value: values.Saved) -> str:
    disk = "" if value.disk is None else f" --disk {_word(value.disk)}"
    back = "" if value.start is None else f", or back, to position {value.start:,} at most"
    return f"saved; armprobe {_word(value.file)}{disk} goes on from here{back}\n"


def _word(file: str) -> str:
    """The name of a file as a word for a shell, which is no option, and no verb of armprobe's."""
    name = file if "/" in file else f"./{file}"
    # A name that cannot be shown as it is comes in quotes already.
    return name if name.startswith("'") else shlex.quote(name)


@as_text.register(values.VmcoreSaved)
def _(value: values.VmcoreSaved) -> str:
    size = f"{value.size / (1 << 20):,.1f} MiB"
    return f"saved, {size}; drgn -c {_word(value.file)} opens it, and so does crash VMLINUX {_word(value.file)}\n"


@as_text.register(values.Disk)
def _(value: values.Disk) -> str:
    if value.image is None:
        return "the guest has no disk; --disk IMAGE gives it one\n"
    size, written = (f"{count / (1 << 20):,.1f} MiB" for count in (value.size, value.written))
    now = f"; its present content is in {value.file}" if value.file is not None else ""
    return f"{value.image}, {size}, of which the guest has written {written}{now}\n"
