# SPDX-License-Identifier: GPL-2.0-or-later
"""The mounted file systems that a task of a Linux guest sees, read from its memory, in the order of /proc/mounts.

A namespace has a list of its mounts (fs/mount.h), and since 6.8 a tree, in the order in which they were mounted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .structs import Places, Structs
from .trees import rb_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self._machine = machine
        self._memory = machine.memory
        self._types = types
        self._places: Places = {}
        self._left = 0  # folders that may still be read
        self._vfsmount = self._at("mount", "mnt")

    def of(self, task: int) -> list[Mount]:
        """Those in the namespace of the task whose task_struct is at `task`. Raises MachineError, saying why."""
        try:
            return self._read(task)
        except MachineError as error:
            raise MachineError(f"the guest's mounts cannot be read: {error}") from None

    def _read(self, task: int) -> list[Mount]:
        proxy = self._pointer(task, "task_struct", "nsproxy")
        namespace = self._pointer(proxy, "nsproxy", "mnt_ns")
        root = self._pointer(task, "task_struct", "fs") + self._at("fs_struct", "root")
        below = self._pointer(root, "path", "mnt"), self._pointer(root, "path", "dentry")
        self._left = _MOST_FOLDERS
        found: list[Mount] = []
        for mount in self._mounts(namespace):
            if len(found) == _MOST:
                raise MachineError(f"there are more than {_MOST:,}, or what lists them is damaged")
            path = self._path(mount, below)
            if path is not None:
                found.append(self._mount(mount, path))
        return found

    def _mounts(self, namespace: int) -> Iterator[int]:
        """The addresses of the struct mounts."""
        structs = Structs(self._machine, self._types, self._places)
        if structs.has("mnt_namespace", "list"):
            yield from structs.list(namespace + self._at("mnt_namespace", "list"), "mount", "mnt_list")
            return
        for node in rb_tree(structs, structs.number(namespace, "mnt_namespace", "mounts.rb_node")):
            yield node - self._at("mount", "mnt_node")

    def _mount(self, mount: int, path: str) -> Mount:
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
            path,
            f"{name}.{self._string(subtype)}" if subtype else name,
            tuple(options),
        )

    def _path(self, mount: int, root: tuple[int, int]) -> str | None:
        """Where it is mounted, from a root on: a struct vfsmount and a dentry. None if it is not below that.

        That is so of the nullfs which is behind all file systems since 7.0, as prepend_path() finds (fs/d_path.c).
        """
        names: list[str] = []
        dentry = self._pointer(mount + self._vfsmount, "vfsmount", "mnt_root")
        while (mount + self._vfsmount, dentry) != root:
            self._step()
            if dentry == self._pointer(mount + self._vfsmount, "vfsmount", "mnt_root"):
                parent = self._pointer(mount, "mount", "mnt_parent")
                if parent == mount:
                    return None
                mount, dentry = parent, self._pointer(mount, "mount", "mnt_mountpoint")
                continue
            above = self._pointer(dentry, "dentry", "d_parent")
            if above == dentry:
                return None
            name = dentry + self._at("dentry", "d_name") + self._at("qstr", "name")
            names.append(self._string(self._memory.u64(name)))
            dentry = above
        return "/" + "/".join(reversed(names))

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
