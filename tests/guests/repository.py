# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian repository made here: packages of the shapes of Debian's, with kernels that print a shell's prompt."""

import hashlib
import http.server
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

from armprobe.guests.linux.debian import PROMPT, READY

# Documentation/arch/arm64/booting.rst, section 4: a branch over the header, and its magic number
_HEADER: Final = struct.Struct("<2I6Q2I")
_MAGIC: Final = 0x644D5241
# adr x1, text; movz x2, #0x900, lsl #16; 1: ldrb w3, [x1], #1; cbz w3, 2f; str w3, [x2]; b 1b; 2: wfi; b 2b; text:
# 0x9000000 is the PL011 of QEMU's virt board, and of ours.
_CODE: Final = struct.pack(
    "<8I", 0x10000101, 0xD2A12002, 0x38401423, 0x34000063, 0xB9000043, 0x17FFFFFD, 0xD503207F, 0x17FFFFFF
)


def image(version: str) -> bytes:
    """An arm64 Image that prints its version and what a guest prints at its shell, and then waits."""
    code = _CODE + f"Linux version {version}\r\n{READY}\r\n{PROMPT}".encode() + b"\0"
    size = _HEADER.size + len(code)
    return _HEADER.pack(0x14000000 | _HEADER.size // 4, 0, 0, size, 0xA, 0, 0, 0, _MAGIC, 0) + code


class Repository:
    """Packages in `folder`, on a loopback port."""

    def __init__(self, folder: Path, dpkg_deb: str) -> None:
        self.folder = folder
        self.dpkg_deb = dpkg_deb
        self.requests: list[str] = []
        repository = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                repository.requests.append(self.path)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self.server.shutdown()
        self.server.server_close()

    def add(
        self,
        name: str,
        version: str,
        depends: str = "",
        files: dict[str, bytes] | None = None,
        architecture: str = "arm64",
    ) -> Path:
        """Put a package into the pool; `publish` makes it known."""
        tree = self.folder.parent / "trees" / f"{name}_{version}_{architecture}"
        control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        control += "Maintainer: nobody <nobody@example.org>\n"
        control += f"Depends: {depends}\n" if depends else ""
        for path, content in {"DEBIAN/control": (control + "Description: test\n").encode(), **(files or {})}.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content)
        package = self.folder / f"{name}_{version}_{architecture}.deb"
        build = [self.dpkg_deb, "--build", "--root-owner-group", str(tree), str(package)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        return package

    def remove(self, pattern: str) -> None:
        """Take the packages whose names match away, and make that known."""
        for package in self.folder.glob(f"{pattern}_*.deb"):
            package.unlink()
        self.publish()

    def publish(self) -> None:
        """Write the index of the packages in the pool (a flat repository: wiki.debian.org/DebianRepository/Format)."""
        index, architectures = "", {"all"}
        for package in sorted(self.folder.glob("*.deb")):
            content = package.read_bytes()
            fields = subprocess.check_output([self.dpkg_deb, "--field", str(package)], text=True)
            index += fields + f"Filename: ./{package.name}\nSize: {len(content)}\n"
            index += f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n"
            architectures.add(package.stem.rpartition("_")[2])
        (self.folder / "Packages").write_text(index)
        entry = f" {hashlib.sha256(index.encode()).hexdigest()} {len(index)} Packages\n"
        date = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime())
        release = f"Date: {date}\nArchitectures: {' '.join(sorted(architectures))}\nSHA256:\n{entry}"
        (self.folder / "Release").write_text(release)

    def add_kernel(self, release: str, version: str, *, split: bool = False, flavour: str = "cloud-") -> None:
        """Put a kernel of the shape of Debian's, and the meta package that depends on it, into the repository.

        With `split` it has the shape of Debian 14's packages, else that of those before. `flavour` is what names have
        before "arm64".
        """
        name = f"{release}-{flavour}arm64"
        module = f"lib/modules/{name}/kernel/drivers/net/dummy.ko"
        if split:
            depends = [f"linux-{part}-{name} (= {version})" for part in ("base", "binary", "modules")]
            self.add(f"linux-binary-{name}", version, files={f"usr/lib/modules/{name}/vmlinuz": image(name)})
            self.add(f"linux-modules-{name}", version, files={f"usr/{module}": b"module"})
            self.add(f"linux-image-{name}", version, depends=", ".join(["dracut | initramfs-tools", *depends]))
        else:
            files = {f"boot/vmlinuz-{name}": image(name), module: b"module"}
            self.add(f"linux-image-{name}", version, depends="kmod, initramfs-tools", files=files)
        self.add(f"linux-image-{flavour}arm64", version, depends=f"linux-image-{name} (= {version})")
        self.publish()

    @property
    def fetched(self) -> list[str]:
        """The packages that were asked for."""
        return [path for path in self.requests if path.endswith(".deb")]
