# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths of open files, as /proc has them: d_path() and the d_dname() of file systems that are not mounted anywhere."""

from __future__ import annotations

from typing import Final

from armprobe.machine import Symbols
from armprobe.machine.errors import MachineError

from .structs import Structs

_LONGEST_NAME: Final = 255  # bytes: NAME_MAX
_DELETED: Final = " (deleted)"


class FilePaths:
    """Reads them with `structs`. All methods raise MachineError."""

    def __init__(self, structs: Structs, symbols: Symbols) -> None:
        self._structs, self._symbols = structs, symbols

    def of(self, file: int) -> str:
        """The path of the struct file at `file`."""
        structs = self._structs
        return self.path(structs.number(file, "file", "f_path.mnt"), structs.number(file, "file", "f_path.dentry"))

    def path(self, vfsmount: int, dentry: int) -> str:
        """The path of a struct dentry in a struct vfsmount."""
        structs = self._structs
        if (special := self._special(dentry)) is not None:
            return special
        deleted = _DELETED if self._is_deleted(dentry) else ""
        mount = vfsmount - structs.offset("mount", "mnt")
        names: list[str] = []
        while True:
            root = structs.number(mount, "mount", "mnt.mnt_root")
            while dentry != root:
                above = structs.number(dentry, "dentry", "d_parent")
                if above == dentry:
                    break
                names.append(self._name(dentry))
                dentry = above
            parent = structs.number(mount, "mount", "mnt_parent")
            if parent == mount:
                return "/" + "/".join(reversed(names)) + deleted
            dentry, mount = structs.number(mount, "mount", "mnt_mountpoint"), parent

    def _name(self, dentry: int) -> str:
        return self._structs.string(self._structs.number(dentry, "dentry", "d_name.name"), _LONGEST_NAME)

    def _is_deleted(self, dentry: int) -> bool:
        """Whether no folder has it any more (d_unlinked(), include/linux/dcache.h)."""
        structs = self._structs
        unhashed = structs.number(dentry, "dentry", "d_hash.pprev") == 0
        return unhashed and structs.number(dentry, "dentry", "d_parent") != dentry

    def _special(self, dentry: int) -> str | None:
        """What d_dname() prints; None for a dentry without that."""
        structs = self._structs
        operations = structs.number(dentry, "dentry", "d_op")
        function = structs.number(operations, "dentry_operations", "d_dname") if operations else 0
        named = self._symbols.at(function) if function else None
        if named is None:
            return None
        inode = structs.number(dentry, "dentry", "d_inode")
        number = structs.number(inode, "inode", "i_ino") if inode else 0
        match named[0].name:
            case "pipefs_dname":
                return f"pipe:[{number}]"
            case "sockfs_dname":
                return f"socket:[{number}]"
            case "anon_inodefs_dname":
                return f"anon_inode:{self._name(dentry)}"
            case "simple_dname":
                return f"/{self._name(dentry)}{_DELETED}"
            case "ns_dname":
                return f"{self._name_space(dentry, inode)}:[{number}]"
        return f"{self._name(dentry)}:[{number}]"

    def _name_space(self, dentry: int, inode: int) -> str:
        """The kind of a name space (ns_dname(), fs/nsfs.c). Its operations are in the dentry, or behind the inode."""
        structs = self._structs
        try:
            operations = structs.number(dentry, "dentry", "d_fsdata")
            return structs.string(structs.number(operations, "proc_ns_operations", "name"), _LONGEST_NAME)
        except MachineError:
            common = structs.number(inode, "inode", "i_private")
            operations = structs.number(common, "ns_common", "ops")
            return structs.string(structs.number(operations, "proc_ns_operations", "name"), _LONGEST_NAME)
