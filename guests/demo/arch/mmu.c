/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page tables: 48-bit addresses, 4 KiB granule, four levels (Arm ARM D8.3).
 *
 * TTBR1  PAGE_OFFSET    RAM: the image by pages, each with its own protection; the heap as a block
 *        DEVICE_OFFSET  the GIC and the UART, as blocks
 * TTBR0  idmap          the one page of text that runs while the MMU is turned on
 *        user           the task's text and its stack
 */
#include "types.h"
#include "memory.h"
#include "mmu.h"
#include "sections.h"
#include "sysreg.h"

#define PTRS_PER_TABLE	512
#define PGTABLE_PAGES	16

#define DESC_TABLE	3UL
#define DESC_PAGE	3UL
#define DESC_BLOCK	1UL
#define DESC_ATTR(n)	((unsigned long)(n) << 2)
#define DESC_USER	(1UL << 6)
#define DESC_RDONLY	(1UL << 7)
#define DESC_INNER	(3UL << 8)
#define DESC_AF		(1UL << 10)
#define DESC_PXN	(1UL << 53)
#define DESC_UXN	(1UL << 54)

#define NORMAL		(DESC_ATTR(0) | DESC_INNER | DESC_AF)
#define PAGE_KERNEL		(NORMAL | DESC_PXN | DESC_UXN)
#define PAGE_KERNEL_RO		(PAGE_KERNEL | DESC_RDONLY)
#define PAGE_KERNEL_ROX		(NORMAL | DESC_UXN | DESC_RDONLY)
#define PAGE_USER		(PAGE_KERNEL | DESC_USER)
#define PAGE_USER_ROX		(NORMAL | DESC_PXN | DESC_USER | DESC_RDONLY)
#define PAGE_DEVICE		(DESC_ATTR(1) | DESC_AF | DESC_PXN | DESC_UXN)

#define __page_table	__attribute__((aligned(PAGE_SIZE)))

u64 swapper_pg_dir[PTRS_PER_TABLE] __page_table;
u64 idmap_pg_dir[PTRS_PER_TABLE] __page_table;
u64 user_pg_dir[PTRS_PER_TABLE] __page_table;
static u64 pgtable_pool[PGTABLE_PAGES][PTRS_PER_TABLE] __page_table;
static unsigned int pgtable_used;

char user_stack[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

/* The next-level table that table[index] refers to; makes it if there is none. */
static u64 *next_table(u64 *table, unsigned long index)
{
	if (!(table[index] & DESC_BLOCK)) {
		if (pgtable_used == PGTABLE_PAGES)
			for (;;)
				asm volatile("wfi");
		table[index] = (unsigned long)pgtable_pool[pgtable_used++] | DESC_TABLE;
	}
	return (u64 *)(table[index] & ~0xfffUL);
}

/* Map [pa, pa + size) at va, by 2 MiB blocks if everything is a multiple of that, else by pages. */
static noinline void map_range(u64 *pgd, unsigned long va, unsigned long pa, unsigned long size, u64 prot)
{
	bool blocks = !((va | pa | size) & (SECTION_SIZE - 1));
	unsigned long step = blocks ? SECTION_SIZE : PAGE_SIZE;
	unsigned long done;

	for (done = 0; done < size; done += step, va += step, pa += step) {
		u64 *pud = next_table(pgd, (va >> 39) & 511);
		u64 *pmd = next_table(pud, (va >> 30) & 511);

		if (blocks)
			pmd[(va >> 21) & 511] = pa | prot | DESC_BLOCK;
		else
			next_table(pmd, (va >> 21) & 511)[(va >> 12) & 511] = pa | prot | DESC_PAGE;
	}
}

static void map_image(char *start, char *end, u64 prot)
{
	unsigned long pa = (unsigned long)start & ~(PAGE_SIZE - 1UL);
	unsigned long last = ((unsigned long)end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1UL);

	map_range(swapper_pg_dir, phys_to_virt(pa), pa, last - pa, prot);
}

/*
 * Called with the MMU off, at the physical address: the address of an object, being formed
 * PC-relative, is here its physical one.
 */
void create_page_tables(void)
{
	unsigned long idmap = (unsigned long)__idmap_text_start;

	map_image(_text, _etext, PAGE_KERNEL_ROX);
	map_image(__start_rodata, _sdata, PAGE_KERNEL_RO);
	map_image(_sdata, _end, PAGE_KERNEL);
	map_range(swapper_pg_dir, phys_to_virt(HEAP_PHYS), HEAP_PHYS, HEAP_SIZE, PAGE_KERNEL);
	map_range(swapper_pg_dir, device_virt(GICD_PHYS), GICD_PHYS, SECTION_SIZE, PAGE_DEVICE);
	map_range(swapper_pg_dir, device_virt(UART_PHYS), UART_PHYS, SECTION_SIZE, PAGE_DEVICE);

	map_range(idmap_pg_dir, idmap, idmap, PAGE_SIZE, PAGE_KERNEL_ROX);

	map_range(user_pg_dir, USER_TEXT, (unsigned long)__user_text_load, _sdata - __user_text_load, PAGE_USER_ROX);
	map_range(user_pg_dir, USER_STACK, (unsigned long)user_stack, PAGE_SIZE, PAGE_USER);
	dsb();
}

/* Replace the identity map by the task's address space. */
void switch_to_user_mm(void)
{
	write_sysreg((unsigned long)user_pg_dir - PAGE_OFFSET + PHYS_OFFSET, ttbr0_el1);
	isb();
	asm volatile("tlbi vmalle1; dsb nsh; isb" : : : "memory");
}
