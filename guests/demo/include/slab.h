/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_SLAB_H
#define DEMO_SLAB_H

#include "types.h"

#define GFP_KERNEL	0x0cc0u		/* the values Linux 6.1 gives these flags */
#define __GFP_ZERO	0x0100u

/* One class of objects of one size, and those of them that are free. */
struct kmem_cache {
	const char *name;
	size_t object_size;
	void *freelist;			/* the first word of a free object points to the next */
	unsigned long nr_free;
	unsigned long nr_active;
	unsigned long nr_pages;
	u64 nr_allocs;
	u64 nr_frees;
};

/* What is known of a page of the heap. */
struct page {
	struct kmem_cache *slab_cache;	/* whose objects it holds */
};

#define NR_CACHES	9

extern struct kmem_cache kmalloc_caches[NR_CACHES];

void *alloc_page(void);
struct page *virt_to_page(const void *p);
void *kmem_cache_alloc(struct kmem_cache *cache, unsigned int flags);
void kmem_cache_free(struct kmem_cache *cache, void *object);
void *kmalloc(size_t size, unsigned int flags);
void kfree(const void *p);
size_t ksize(const void *p);

#endif
