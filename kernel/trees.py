# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees of Linux: what they have, in order. Their depth is bounded, and `Structs` bounds what is read of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from armprobe.machine.errors import MachineError

from .structs import Structs

_DEEPEST: Final = 64
_NODE: Final = 2  # in the two lowest bits of an entry: xa_is_node() in include/linux/xarray.h
_FIRST_NODE: Final = 4096
# include/linux/maple_tree.h: the type of a node is in its address, in bits that the alignment to 256 bytes leaves.
_TYPE_SHIFT, _TYPE_MASK, _ADDRESS_MASK = 3, 0xF, ~0xFF
_LEAF, _RANGE, _ARANGE = 1, 2, 3  # maple_leaf_64, maple_range_64, maple_arange_64
_LAST: Final = (1 << 64) - 1


def xarray(structs: Structs, root: int) -> Iterator[int]:
    """The entries of the struct xarray (or radix_tree_root, before 4.20) at `root`."""
    yield from _xarray(structs, structs.number(root, "xarray", "xa_head"), 0)


def _xarray(structs: Structs, entry: int, depth: int) -> Iterator[int]:
    if entry & 3 == _NODE and entry > _FIRST_NODE:
        if depth == _DEEPEST:
            raise MachineError("a tree is too deep")
        slots = entry - _NODE + structs.offset("xa_node", "slots")
        for index in range(64):
            yield from _xarray(structs, structs.u64(slots + 8 * index), depth + 1)
    elif entry & 3 == 0 and entry:
        yield entry


def maple_tree(structs: Structs, root: int) -> Iterator[int]:
    """The entries of the struct maple_tree at `root` (lib/maple_tree.c, since 6.1)."""
    yield from _maple(structs, structs.number(root, "maple_tree", "ma_root"), _LAST, 0)


def _maple(structs: Structs, entry: int, last: int, depth: int) -> Iterator[int]:
    if entry & 3 != _NODE or entry <= _FIRST_NODE:
        if entry and entry & 3 == 0:
            yield entry
        return
    kind = entry >> _TYPE_SHIFT & _TYPE_MASK
    if kind not in (_LEAF, _RANGE, _ARANGE) or depth == _DEEPEST:
        raise MachineError(f"a maple tree has a node {entry:#x} that cannot be right")
    name, count = ("maple_arange_64", 10) if kind == _ARANGE else ("maple_range_64", 16)
    node = entry & _ADDRESS_MASK
    pivots, slots = (node + structs.offset(name, part) for part in ("pivot", "slot"))
    for index in range(count):
        pivot = structs.u64(pivots + 8 * index) if index < count - 1 else last
        if not pivot and index:
            pivot = last
        found = structs.u64(slots + 8 * index)
        if kind != _LEAF:
            if found:
                yield from _maple(structs, found, pivot, depth + 1)
        elif found and found & 3 == 0:
            yield found
        if pivot >= last:
            return


def rb_tree(structs: Structs, node: int) -> Iterator[int]:
    """The nodes of a red-black tree from its root `node`, a struct rb_node, or 0 for an empty one, in order."""
    above: list[int] = []
    while node or above:
        while node:
            if len(above) == _DEEPEST:
                raise MachineError("a tree is too deep")
            above.append(node)
            node = structs.number(node, "rb_node", "rb_left")
        node = above.pop()
        yield node
        node = structs.number(node, "rb_node", "rb_right")
