# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of types in BTF (Linux include/uapi/linux/btf.h), and the beginning of BTF's header."""

from typing import Final

INT, POINTER, ARRAY, STRUCT, UNION, ENUM, FORWARD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(1, 12)
FUNCTION, PROTOTYPE, VARIABLE, SECTION, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)
MAGIC: Final = b"\x9f\xeb\x01\x00\x18\x00\x00\x00"
"""The magic number, version, flags, and hdr_len of 24."""
