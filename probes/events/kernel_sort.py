# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's sort(), which decides the order of entries that compare as equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def kernel_sort(items: list[T], compare: Callable[[T, T], int]) -> None:
    """Sort in place by a bottom-up heapsort, comparison for comparison as lib/sort.c does: it is not stable."""
    size = len(items)
    root = size // 2
    if not root:
        return
    while True:
        if root:  # build the heap
            root -= 1
        else:  # take the greatest out of it
            size -= 1
            if not size:
                return
            items[0], items[size] = items[size], items[0]
        _sift_down(items, root, size, compare)


def _sift_down(items: list[T], root: int, size: int, compare: Callable[[T, T], int]) -> None:
    """Put items[root] where it belongs in the heap below it: follow the greater children down, then come back up."""
    at = root
    while 2 * at + 2 < size:
        left = 2 * at + 1
        at = left if compare(items[left], items[left + 1]) >= 0 else left + 1
    if 2 * at + 2 == size:  # the last leaf has no sibling
        at = 2 * at + 1
    while at != root and compare(items[root], items[at]) >= 0:
        at = (at - 1) // 2
    target = at
    while at != root:
        at = (at - 1) // 2
        items[at], items[target] = items[target], items[at]
