# SPDX-License-Identifier: GPL-2.0-or-later
"""The mounted file systems of a Linux guest, read from its memory, in the order of /proc/mounts.

A namespace has a list of its mounts (fs/mount.h). From 6.8 on it has a tree instead, which is not read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

if TYPE_CHECKING:
    from armprobe.machine import Machine

    from .types import Types

_MOST: Final = 1000  # mounts
_MOST_FOLDERS: Final = 4000  # of all mount points, and mounts in mounts
_LONGEST: Final = 255  # bytes of a name: NAME_MAX
_LONGEST_DEVICE: Final = 4096  # bytes: PATH_MAX
_READ_ONLY: Final = 0x40  # MNT_READONLY (include/linux/mount.h)
_OF_MOUNT: Final = {
    1: "nosuid",
    2: "nodev",
    4: "noexec",
    8: "noatime",
    0x10: "nodiratime",
    0x20: "relatime",
    0x80: "nosymfollow",
}  # show_mnt_opts(), fs/proc_namespace.c
_OF_SUPER_BLOCK: Final = {1 << 4: "sync", 1 << 7: "dirsync", 1 << 6: "mand", 1 << 25: "lazytime"}  # show_sb_opts()


class Mount(NamedTuple):
    """A mounted file system, as in /proc/mounts. `options` are without those that only its own driver knows."""

    device: str
    path: str
    type: str
    options: tuple[str, ...]


class MountTable:
    """Reads the mounts. Raises MachineError if the kernel's types do not say how."""

    def __init__(self, machine: Machine, types: Types) -> None:
        self._memory = machine.memory
        self._types = types
        self._left = 0  # folders that may still be read
        if "list" not in types["mnt_namespace"].members:
            raise MachineError("this kernel keeps its mounts in a tree, as v6.8 and later do, which cannot be read yet")
        self._vfsmount = self._at("mount", "mnt")

    def of(self, task: int) -> list[Mount]:
        """Those in the namespace of the task whose task_struct is at `task`. Raises MachineError, saying why."""
        try:
            return self._read(task)
        except MachineError as error:
            raise MachineError(f"the guest's mounts cannot be read: {error}") from None

    def _read(self, task: int) -> list[Mount]:
        proxy = self._pointer(task, "task_struct", "nsproxy")
        head = self._pointer(proxy, "nsproxy", "mnt_ns") + self._at("mnt_namespace", "list")
        self._left = _MOST_FOLDERS
        entry, found, seen = self._memory.u64(head), list[Mount](), set[int]()
        while entry != head:
            if entry in seen:
                raise MachineError("the list of them leads in a circle")
            if len(found) == _MOST:
                raise MachineError(f"there are more than {_MOST:,}, or the list of them is damaged")
            seen.add(entry)
            found.append(self._mount(entry - self._at("mount", "mnt_list")))
            entry = self._memory.u64(entry)
        return found

    def _mount(self, mount: int) -> Mount:
        vfsmount = mount + self._vfsmount
        block = self._pointer(vfsmount, "vfsmount", "mnt_sb")
        flags = self._memory.u32(vfsmount + self._at("vfsmount", "mnt_flags"))
        of_block = self._pointer(block, "super_block", "s_flags")
        name = self._string(self._pointer(self._pointer(block, "super_block", "s_type"), "file_system_type", "name"))
        subtype = self._pointer(block, "super_block", "s_subtype")
        options = ["ro" if flags & _READ_ONLY or of_block & 1 else "rw"]
        options += [word for bit, word in _OF_SUPER_BLOCK.items() if of_block & bit]
        options += [word for bit, word in _OF_MOUNT.items() if flags & bit]
        return Mount(
            self._string(self._pointer(mount, "mount", "mnt_devname"), _LONGEST_DEVICE),
            self._path(mount),
            f"{name}.{self._string(subtype)}" if subtype else name,
            tuple(options),
        )

    def _path(self, mount: int) -> str:
        """Where it is mounted, from the root of the namespace on."""
        names: list[str] = []
        while True:
            parent = self._pointer(mount, "mount", "mnt_parent")
            if parent == mount:
                return "/" + "/".join(reversed(names))
            dentry = self._pointer(mount, "mount", "mnt_mountpoint")
            while True:
                self._step()
                above = self._pointer(dentry, "dentry", "d_parent")
                if above == dentry:
                    break
                name = dentry + self._at("dentry", "d_name") + self._at("qstr", "name")
                names.append(self._string(self._memory.u64(name)))
                dentry = above
            mount = parent

    def _step(self) -> None:
        if not self._left:
            raise MachineError("their paths have too many folders, or lead in a circle")
        self._left -= 1

    def _at(self, struct: str, member: str) -> int:
        return self._types[struct].offset(member)

    def _pointer(self, address: int, struct: str, member: str) -> int:
        return self._memory.u64(address + self._at(struct, member) & (1 << 64) - 1)

    def _string(self, address: int, limit: int = _LONGEST) -> str:
        return self._memory.read_string(address, limit).decode("utf-8", "replace")
