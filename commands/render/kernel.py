# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of the tables of a guest's kernel."""

from __future__ import annotations

from armprobe.commands import values

from .layout import Column, Table, described
from .text import as_text


@as_text.register(values.TaskRows)
def _(value: values.TaskRows) -> str:
    columns = (
        Column("PID", 5, right=True),
        Column("TGID", 5, right=True),
        Column("PPID", 5, right=True),
        Column("S"),
        Column("task_struct"),
        Column("comm"),
    )
    rows = [
        (
            str(task.pid),
            str(task.tgid),
            str(task.parent),
            task.state,
            f"{task.address:#018x}",
            (f"[{task.comm}]" if task.kthread else task.comm) + (" (running)" if task.running else ""),
        )
        for task in value
    ]
    return Table(columns, rows).plain()


@as_text.register(values.TaskDetails)
def _(value: values.TaskDetails) -> str:
    task = value.task
    rows = [
        ("task", f"{task.pid} {task.comm}" + (" (kernel thread)" if task.kthread else "")),
        ("process", f"{task.tgid}, parent {task.parent}"),
        ("state", value.state + (", on the CPU" if task.running else "")),
        ("task_struct", f"{task.address:#x}"),
        ("stack", f"{value.stack:#x}"),
        ("mm", f"{value.mm:#x}" if value.mm else "none"),
    ]
    if value.location is not None:
        rows.append(("goes on at", described(value.location)))
    return "".join(f"{name:<12} {said}\n" for name, said in rows) + as_text(value.backtrace)


@as_text.register(values.KernelLog)
def _(value: values.KernelLog) -> str:
    return "".join(f"{line}\n" for record in value for line in record.lines)


@as_text.register(values.Mounts)
def _(value: values.Mounts) -> str:
    return "".join(
        f"{_escaped(row.device)} {_escaped(row.path)} {_escaped(row.type)} {','.join(row.options)} 0 0\n"
        for row in value
    )


@as_text.register(values.ThreadsSeen)
def _(value: values.ThreadsSeen) -> str:
    return f"gdb's threads: {'the tasks of the guest' if value.threads == 'tasks' else 'the CPU'}\n"


@as_text.register(values.CrashesSeen)
def _(value: values.CrashesSeen) -> str:
    what = {"all": "panics, oopses and warnings", "oopses": "panics and oopses", "none": "no error"}[value.crashes]
    return f"the guest stops by itself at {what} of its kernel\n"


@as_text.register(values.ModuleRows)
def _(value: values.ModuleRows) -> str:
    return "".join(_module(row) for row in value) if value else "the guest has loaded no modules\n"


@as_text.register(values.TracepointNames)
def _(value: values.TracepointNames) -> str:
    return "".join(f"{name}\n" for name in value)


@as_text.register(values.TracepointFormat)
def _(value: values.TracepointFormat) -> str:
    """The event's format file (f_show, kernel/trace/trace_events.c)."""
    common, own = ("".join(f"\t{_field(field)}\n" for field in fields) for fields in (value.common, value.fields))
    name = value.name.rpartition(":")[2]
    return f"name: {name}\nID: {value.id}\nformat:\n{common}\n{own}\nprint fmt: {value.format}\n"


def _field(field: values.TracepointField) -> str:
    base, bracket, count = field.type.partition("[")
    located = base.startswith("__data_loc")
    declared = f"{base} {field.name}[{count}" if bracket and not located else f"{field.type} {field.name}"
    return f"field:{declared};\toffset:{field.offset};\tsize:{field.size};\tsigned:{int(field.signed)};"


def _module(row: values.ModuleRow) -> str:
    """The line of /proc/modules (m_show, kernel/module/procfs.c)."""
    users = "".join(f"{user}," for user in (*row.users, *["[permanent]"] * row.permanent)) or "-"
    changing = {"Unloading": "-", "Loading": "+"}.get(row.state, "")
    taints = f" ({row.taints}{changing})" if row.taints else ""
    return f"{row.name} {row.size} {row.references} {users} {row.state} {row.base:#018x}{taints}\n"


def _escaped(text: str) -> str:
    """A word of /proc/mounts: blanks and backslashes in octal (mangle() in fs/proc_namespace.c)."""
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\n\\#" else letter for letter in text)
