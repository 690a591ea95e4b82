# SPDX-License-Identifier: GPL-2.0-or-later
"""The format of snapshot files once more, as somebody uses it who knows it: to take files apart and to make others."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Self

from armprobe.machine.loaders.snapshot_file import MAGIC

PAGE = 4096
FIXED = len(MAGIC) + 16


@dataclass
class Parts:
    """The header of a snapshot, its state, and the content of the other sections by name."""

    header: dict[str, Any]
    state: Any
    contents: dict[str, bytes]

    @classmethod
    def of(cls, data: bytes) -> Self:
        (length,) = struct.unpack_from("<Q", data, len(MAGIC))
        header = json.loads(data[FIXED : FIXED + length])
        contents, at = {}, FIXED + length + 4
        for section in header["sections"]:
            at += -at % PAGE
            contents[section["name"]] = data[at : at + section["size"]]
            at += section["size"]
        assert at == len(data)
        return cls(header, json.loads(contents.pop("state")), contents)

    def to_bytes(self) -> bytes:
        """A file with right sizes and checksums where the header still has a section of a name."""
        self.replace("state", json.dumps(self.state).encode())
        return whole(json.dumps(self.header).encode(), [self.contents.get(str(name), b"") for name in self._names()])

    def _names(self) -> list[Any]:
        sections = self.header.get("sections")
        found = sections if isinstance(sections, list) else []
        return [section.get("name") for section in found if isinstance(section, dict)]

    def replace(self, name: str, data: bytes) -> None:
        """Give a section another content, with the size and the checksum of that."""
        self.contents[name] = data
        sections = self.header.get("sections")
        for section in sections if isinstance(sections, list) else []:
            if isinstance(section, dict) and section.get("name") == name:
                section |= {"size": len(data), "filled": [[0, len(data)]], "crc": zlib.crc32(data)}
                return


def whole(header: bytes, contents: list[bytes]) -> bytes:
    """A file of a header and the contents of its sections."""
    data = header + zlib.crc32(header).to_bytes(4, "little")
    for content in contents:
        data += bytes(-(FIXED + len(data)) % PAGE) + content
    return MAGIC + struct.pack("<QQ", len(header), FIXED + len(data)) + data
