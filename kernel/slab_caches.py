# SPDX-License-Identifier: GPL-2.0-or-later
"""The caches of the kernel's slab allocator, as /proc/slabinfo has them (slab_show, mm/slab_common.c; mm/slub.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .code_references import formed_by
from .structs import Structs, explained
from .vmcoreinfo import vmcoreinfo

if TYPE_CHECKING:
    from armprobe.machine import Machine

_USER: Final = "slab_start"  # goes to the list, which has a symbol only with CONFIG_KALLSYMS_ALL
_HEAD_WITHIN: Final = 0x100  # bytes: how far into the variable whose address it forms the list may begin
_ORDER_SHIFT: Final = 16  # OO_SHIFT
_MOST_NODES: Final = 64
_LONGEST_NAME: Final = 255
_BOOTSTRAPPED: Final = "kmem_cache"  # the cache that all others are allocated from


class SlabCache(NamedTuple):
    """A cache of objects of one size. `address` is that of its struct kmem_cache.

    `active` of its `objects` are in use. `size` is that of one in bytes. `per_slab` objects are in a slab of `pages`
    pages. There are `slabs` slabs.
    """

    name: str
    active: int
    objects: int
    size: int
    per_slab: int
    pages: int
    slabs: int
    address: int


def slab_caches(machine: Machine, structs: Structs) -> list[SlabCache]:
    """The caches, the latest first. Raises MachineError, saying why."""
    with explained("the guest's slab caches"):
        if not structs.has("kmem_cache_node", "total_objects"):
            raise MachineError("this kernel does not count its slabs (CONFIG_SLUB_DEBUG)")
        nodes, head = _nodes(machine), list_head(machine, structs)
        slab = "slab" if structs.has("slab", "slab_list") else "page"  # which describes a slab before 5.17
        return [_cache(structs, cache, nodes, slab) for cache in structs.list(head, "kmem_cache", "list")]


def list_head(machine: Machine, structs: Structs) -> int:
    """The address of the variable slab_caches. Raises MachineError if it is not found."""
    named = machine.symbols.in_kernel("slab_caches")
    if named is not None:
        return named.address
    link = structs.offset("kmem_cache", "list")
    for start in formed_by(machine, _USER):
        for head in range(start, start + _HEAD_WITHIN, 8):
            try:
                last = structs.u64(head + 8)
                if structs.u64(last) != head or last == head:
                    continue
                name = structs.number(last - link, "kmem_cache", "name")
                if structs.string(name, _LONGEST_NAME) == _BOOTSTRAPPED:  # the first that was made
                    return head
            except MachineError:
                continue
    raise MachineError(f"the list of them is not found by the code of {_USER}()")


def _nodes(machine: Machine) -> list[int]:
    """The numbers of the memory nodes: those behind the last one are not there in a kmem_cache."""
    try:
        online = machine.memory.u64(int(vmcoreinfo(machine)["SYMBOL(node_online_map)"], 16))
    except (MachineError, KeyError, ValueError):
        online = 1
    return [node for node in range(_MOST_NODES) if online >> node & 1]


def _cache(structs: Structs, cache: int, nodes: list[int], slab: str) -> SlabCache:
    slabs = objects = free = 0
    for node in nodes:
        if at := structs.u64(_node_pointer(structs, cache, node)):
            slabs += structs.number(at, "kmem_cache_node", "nr_slabs.counter")
            objects += structs.number(at, "kmem_cache_node", "total_objects.counter")
            free += _free(structs, at + structs.offset("kmem_cache_node", "partial"), slab)
    layout = structs.number(cache, "kmem_cache", "oo.x")
    name = structs.string(structs.number(cache, "kmem_cache", "name"), _LONGEST_NAME)
    order, per_slab = layout >> _ORDER_SHIFT, layout & (1 << _ORDER_SHIFT) - 1
    if order > 10 or objects < free or slabs < 0:  # MAX_ORDER
        raise MachineError(f"the cache {name!r} is said to have slabs that cannot be")
    size = structs.number(cache, "kmem_cache", "size")
    return SlabCache(name, objects - free, objects, size, per_slab, 1 << order, slabs, cache)


def _node_pointer(structs: Structs, cache: int, node: int) -> int:
    """Where a cache has the address of its kmem_cache_node of a memory node: among others since 7.0."""
    if structs.has("kmem_cache", "node"):
        return cache + structs.offset("kmem_cache", "node") + 8 * node
    each = "kmem_cache_per_node_ptrs"
    return cache + structs.offset("kmem_cache", "per_node") + structs.size(each) * node + structs.offset(each, "node")


def _free(structs: Structs, partial: int, kind: str) -> int:
    """The free objects in the slabs of a list."""
    return sum(
        structs.number(slab, kind, "objects") - structs.number(slab, kind, "inuse")
        for slab in structs.list(partial, kind, "slab_list")
    )
