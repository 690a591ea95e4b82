/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where things are, physically and virtually. The kernel half is a linear map of RAM at
 * PAGE_OFFSET, with the devices 1 GiB above it; the task's half is described in mmu.c.
 */
#ifndef DEMO_MEMORY_H
#define DEMO_MEMORY_H

#define PAGE_SHIFT	12
#define PAGE_SIZE	(1 << PAGE_SHIFT)
#define SECTION_SIZE	0x200000		/* what one level-2 block maps */

#define PHYS_OFFSET	0x40000000		/* RAM */
#define GICD_PHYS	0x08000000
#define GICC_PHYS	0x08010000
#define UART_PHYS	0x09000000

#define TEXT_OFFSET	0x80000

/* The heap is the one 2 MiB block after the block that holds the image. */
#define HEAP_PHYS	(PHYS_OFFSET + SECTION_SIZE)
#define HEAP_SIZE	SECTION_SIZE

#define THREAD_SIZE	0x4000			/* a kernel stack */

#ifdef __ASSEMBLER__
#define PAGE_OFFSET	0xffff800000000000
#else
#define PAGE_OFFSET	0xffff800000000000UL
#define DEVICE_OFFSET	(PAGE_OFFSET + 0x40000000UL)
#define phys_to_virt(pa)	((unsigned long)(pa) - PHYS_OFFSET + PAGE_OFFSET)
#define device_virt(pa)		((unsigned long)(pa) + DEVICE_OFFSET)
#endif

/* The task's address space. */
#define USER_TEXT	0x400000
#define USER_STACK	0x7ff000		/* one page */
#define USER_STACK_TOP	(USER_STACK + PAGE_SIZE)

#endif
