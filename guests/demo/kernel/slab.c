/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The allocator: classes of 16 to 4096 bytes, each with a list of free objects cut from whole pages. */
#include "slab.h"
#include "memory.h"
#include "string.h"

#define HEAP_PAGES	(HEAP_SIZE / PAGE_SIZE)
#define HEAP_VIRT	phys_to_virt(HEAP_PHYS)
#define KMALLOC_MIN	16

static struct page mem_map[HEAP_PAGES];
static unsigned long nr_pages_used;

struct kmem_cache kmalloc_caches[NR_CACHES] = {
	{ .name = "kmalloc-16", .object_size = 16 },
	{ .name = "kmalloc-32", .object_size = 32 },
	{ .name = "kmalloc-64", .object_size = 64 },
	{ .name = "kmalloc-128", .object_size = 128 },
	{ .name = "kmalloc-256", .object_size = 256 },
	{ .name = "kmalloc-512", .object_size = 512 },
	{ .name = "kmalloc-1k", .object_size = 1024 },
	{ .name = "kmalloc-2k", .object_size = 2048 },
	{ .name = "kmalloc-4k", .object_size = 4096 },
};

/* A page that was never used, or NULL; pages are not given back. */
noinline void *alloc_page(void)
{
	if (nr_pages_used == HEAP_PAGES)
		return NULL;
	return (void *)(HEAP_VIRT + nr_pages_used++ * PAGE_SIZE);
}

/* The description of the heap page p lies in, or NULL if it is not in the heap. */
noinline struct page *virt_to_page(const void *p)
{
	unsigned long offset = (unsigned long)p - HEAP_VIRT;

	return offset < HEAP_SIZE ? &mem_map[offset >> PAGE_SHIFT] : NULL;
}

static void push_free(struct kmem_cache *cache, void *object)
{
	*(void **)object = cache->freelist;
	cache->freelist = object;
	cache->nr_free++;
}

/* Cut a new page into objects; the list ends up in order of address. */
static noinline bool kmem_cache_grow(struct kmem_cache *cache)
{
	char *page = alloc_page();
	size_t offset;

	if (!page)
		return false;
	virt_to_page(page)->slab_cache = cache;
	cache->nr_pages++;
	for (offset = PAGE_SIZE; offset; offset -= cache->object_size)
		push_free(cache, page + offset - cache->object_size);
	return true;
}

noinline void *kmem_cache_alloc(struct kmem_cache *cache, unsigned int flags)
{
	void *object;

	if (!cache->freelist && !kmem_cache_grow(cache))
		return NULL;
	object = cache->freelist;
	cache->freelist = *(void **)object;
	cache->nr_free--;
	cache->nr_active++;
	cache->nr_allocs++;
	if (flags & __GFP_ZERO)
		memset(object, 0, cache->object_size);
	return object;
}

noinline void kmem_cache_free(struct kmem_cache *cache, void *object)
{
	push_free(cache, object);
	cache->nr_active--;
	cache->nr_frees++;
}

/* At least size bytes, or NULL: if size is 0 or more than a page, or memory has run out. */
noinline void *kmalloc(size_t size, unsigned int flags)
{
	unsigned int index = 0;

	if (size - 1 >= PAGE_SIZE)
		return NULL;
	while (((size_t)KMALLOC_MIN << index) < size)
		index++;
	return kmem_cache_alloc(&kmalloc_caches[index], flags);
}

/* Give p back. NULL, and what never came from kmalloc, is ignored. */
noinline void kfree(const void *p)
{
	struct page *page = virt_to_page(p);

	if (page && page->slab_cache)
		kmem_cache_free(page->slab_cache, (void *)p);
}

/* How many bytes p really has; 0 if it did not come from kmalloc. */
noinline size_t ksize(const void *p)
{
	struct page *page = virt_to_page(p);

	return page && page->slab_cache ? page->slab_cache->object_size : 0;
}
