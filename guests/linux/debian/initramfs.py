# SPDX-License-Identifier: GPL-2.0-or-later
"""An initramfs that boots to a BusyBox shell on the serial console.

The archive is cpio "newc" (Linux Documentation/driver-api/early-userspace/buffer-format.rst). It is written here
because it needs only a header and two paddings, and the one Python package for it needs a system library (libarchive).
"""

import gzip
import stat
from collections.abc import Mapping, Sequence

READY = "armprobe: shell ready"
"""The line that the guest prints on its console just before the first prompt."""

PROMPT = "~ # "
"""The shell's prompt in its home directory, where it starts. Line editing asks the terminal for the cursor's place
(ESC [6n) right after it."""

_START = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
# finds itself through /proc; the links make every applet a command
/bin/busybox --install -s
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing
hostname armprobe
"""

# Modules are decompressed already. The disk is there at once: the driver's probe reads its partitions.
_DRIVERS = """\
for module in {modules}; do
    insmod "/lib/modules/$module"
done
"""

# BusyBox comes along, in a file system of its own, because the root may have no program that makes the console the
# shell's terminal. bash --norc: a prompt of the user's would not be known.
_ROOT = """\
mkdir /disk
for device in /dev/vda /dev/vda1; do
    [ -b "$device" ] && mount "$device" /disk 2>/dev/null && break
done
if [ -e /disk/bin/sh ] || [ -L /disk/bin/sh ]; then
    cd /disk
    mkdir -p dev proc root run sys tmp
    for each in dev proc sys; do
        mount --move "/$each" "$each"
    done
    mount -t tmpfs tmpfs run
    mkdir run/armprobe
    cp /bin/busybox run/armprobe
    cp /shell run/armprobe
    exec switch_root /disk /run/armprobe/busybox sh /run/armprobe/shell
fi
umount /disk 2>/dev/null
echo 'armprobe: the disk has no root file system that this kernel can mount (with a /bin/sh): this is the initramfs'
"""

SHELL_ON_ROOT = """\
armprobe=/run/armprobe/busybox
export HOME=/root PATH=/sbin:/bin:/usr/sbin:/usr/bin TERM=linux
if [ -x /bin/bash ]; then
    shell='/bin/bash --norc'
    export PS1='\\w # '
else
    shell="$armprobe sh"
    export PS1='${PWD/$HOME/\\~} # '
fi
cd
echo '%s'
while :; do
    "$armprobe" setsid "$armprobe" cttyhack $shell
done
"""

_SHELL = f"""\
export HOME=/root PATH=/bin:/sbin:/usr/bin:/usr/sbin
# \\w would do, but a static BusyBox cannot look up whose home is whose
export PS1='${{PWD/$HOME/\\~}} # '
cd
echo '{READY}'
# A shell that is left is followed by another: the kernel panics when its first process ends.
while :; do
    setsid cttyhack sh
done
"""

_DIRECTORIES = ("bin", "dev", "proc", "root", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin")
_CONSOLE = (5, 1)  # major and minor of /dev/console (Linux Documentation/admin-guide/devices.txt)


def init(modules: Sequence[str] = (), *, root: bool = False) -> bytes:
    """The script that is the first process. It loads `modules`, which are files in /lib/modules, in this order.

    With `root` it goes on with a shell on the disk's file system.
    """
    drivers = _DRIVERS.format(modules=" ".join(modules)) if modules else ""
    return "".join([_START, drivers, _ROOT if root else "", _SHELL]).encode()


def with_disk(modules: Mapping[str, bytes], *, root: bool) -> dict[str, tuple[int, bytes]]:
    """The files of an initramfs for a machine with a disk: `modules` by name, in the order in which they are loaded.

    `root`: as for `init`.
    """
    files = {f"lib/modules/{name}": (0o644, content) for name, content in modules.items()}
    shell = (SHELL_ON_ROOT % READY).encode()
    return {**files, "init": (0o755, init(tuple(modules), root=root)), **({"shell": (0o755, shell)} if root else {})}


def build_initramfs(busybox: bytes, files: Mapping[str, tuple[int, bytes]] | None = None) -> bytes:
    """The archive of `build_archive`, compressed. Raises ValueError as it does."""
    return compressed(build_archive(busybox, files))


def compressed(archive: bytes) -> bytes:
    """`archive` by gzip. The same input gives the same bytes."""
    return gzip.compress(archive, mtime=0)


def build_archive(busybox: bytes, files: Mapping[str, tuple[int, bytes]] | None = None) -> bytes:
    """The archive (cpio) of a root file system: `busybox` (a static arm64 ELF), an /init, and `files`.

    `files` maps a path to its mode and content. A mode without type bits is a regular file's. A symbolic link's content
    is its target. Missing folders are created. A file given here replaces one of the same path. The same input gives
    the same bytes. ValueError: a path is empty or has a `..` in it.
    """
    entries: dict[str, tuple[int, bytes]] = {path: (stat.S_IFDIR | 0o755, b"") for path in _DIRECTORIES}
    entries["dev/console"] = (stat.S_IFCHR | 0o600, b"")  # for /init's standard streams, before devtmpfs is mounted
    entries["bin/busybox"] = (stat.S_IFREG | 0o755, busybox)
    entries["init"] = (stat.S_IFREG | 0o755, init())
    for path, (mode, content) in (files or {}).items():
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts or ".." in parts:
            raise ValueError(f"{path!r} cannot be put into the initramfs: give a path from its root, without '..'")
        for depth in range(1, len(parts)):
            entries.setdefault("/".join(parts[:depth]), (stat.S_IFDIR | 0o755, b""))
        entries["/".join(parts)] = (mode if stat.S_IFMT(mode) else stat.S_IFREG | mode, content)
    return _cpio(entries)


def _cpio(entries: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A newc archive of `entries`, owned by root, with time 0, in their order (a folder before its contents)."""
    archive = bytearray()
    for inode, (path, (mode, content)) in enumerate([*entries.items(), ("TRAILER!!!", (0, b""))], start=1):
        device = _CONSOLE if stat.S_ISCHR(mode) else (0, 0)
        name = path.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        # inode, mode, uid, gid, nlink, mtime, size, device major and minor, the node's own, name size, checksum
        fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(name), 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        archive += bytes(-len(archive) % 4)
        archive += content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)
