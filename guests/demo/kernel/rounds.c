/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of a round of the workload. Each mixes what it computed into the checksum. */
#include "avl.h"
#include "digest.h"
#include "file.h"
#include "list.h"
#include "pac.h"
#include "pcrel.h"
#include "printk.h"
#include "recursion.h"
#include "sched.h"
#include "slab.h"
#include "sort.h"
#include "string.h"
#include "uaccess.h"
#include "workload.h"

#define SLAB_OBJECTS	24
#define LIST_ITEMS	12
#define TREE_KEYS	16
#define SORT_ITEMS	24

/* Allocate objects of random sizes, write in each, give them back in another order. */
noinline void slab_round(struct workload *w)
{
	u8 *objects[SLAB_OBJECTS];
	size_t sizes[SLAB_OBJECTS];
	unsigned int i;

	for (i = 0; i < SLAB_OBJECTS; i++) {
		sizes[i] = 1 + next_random(w) % 700;
		objects[i] = kmalloc(sizes[i], i % 8 ? GFP_KERNEL : GFP_KERNEL | __GFP_ZERO);
		workload_check(w, objects[i], "kmalloc");
		if (objects[i])
			memset(objects[i], i + 1, sizes[i] < 32 ? sizes[i] : 32);
	}
	for (i = 0; i < SLAB_OBJECTS; i++) {
		unsigned int n = i * 7 % SLAB_OBJECTS;

		if (!objects[n])
			continue;
		workload_mix(w, ksize(objects[n]));
		workload_mix(w, objects[n][0]);
		kfree(objects[n]);
	}
}

struct list_item {
	struct list_head node;
	u32 key;
};

/* Odd keys go to the end of the list, even ones to its beginning. */
noinline void list_round(struct workload *w)
{
	struct list_head head;
	unsigned int i;

	list_init(&head);
	for (i = 0; i < LIST_ITEMS; i++) {
		struct list_item *item = kmalloc(sizeof(*item), GFP_KERNEL);

		workload_check(w, item, "list_item");
		if (!item)
			continue;
		item->key = next_random(w);
		if (item->key & 1)
			list_add_tail(&item->node, &head);
		else
			list_add(&item->node, &head);
	}
	workload_mix(w, list_count(&head));
	while (head.next != &head) {
		struct list_item *item = container_of(head.next, struct list_item, node);

		workload_mix(w, item->key);
		list_del(&item->node);
		kfree(item);
	}
}

static noinline void tree_visit(struct avl_node *node, void *context)
{
	workload_mix(context, node->key);
}

/* Fill a tree, look at it in order, take every second key out, look again, empty it. */
noinline void tree_round(struct workload *w)
{
	struct avl_node *root = NULL, *nodes[TREE_KEYS];
	unsigned int i;

	for (i = 0; i < TREE_KEYS; i++) {
		u32 key = next_random(w) & 0xff;

		nodes[i] = NULL;
		if (avl_find(root, key))
			continue;
		nodes[i] = kmalloc(sizeof(**nodes), GFP_KERNEL);
		workload_check(w, nodes[i], "avl_node");
		if (!nodes[i])
			continue;
		nodes[i]->key = key;
		root = avl_insert(root, nodes[i]);
	}
	workload_check(w, avl_is_balanced(root), "avl_insert");
	avl_for_each(root, tree_visit, w);
	for (i = 0; i < TREE_KEYS; i += 2) {
		if (!nodes[i])
			continue;
		root = avl_erase(root, nodes[i]);
		kfree(nodes[i]);
		nodes[i] = NULL;
	}
	workload_check(w, avl_is_balanced(root), "avl_erase");
	avl_for_each(root, tree_visit, w);
	for (i = 0; i < TREE_KEYS; i++) {
		if (!nodes[i])
			continue;
		root = avl_erase(root, nodes[i]);
		kfree(nodes[i]);
	}
	workload_check(w, !root, "empty tree");
}

noinline void string_round(struct workload *w)
{
	char line[48], copy[48], shortened[8];
	u32 value = next_random(w);
	char *colon;
	int len;

	len = snprintf(line, sizeof(line), "round %u: %08x %d", w->round, value, -(int)(value % 1000));
	workload_mix(w, len);
	workload_check(w, strlen(line) == (size_t)len, "strlen");
	workload_mix(w, digest(&fnv1a_ops, line, len));

	workload_check(w, strscpy(copy, line, sizeof(copy)) == len, "strscpy");
	workload_check(w, !strcmp(copy, line), "strcmp");
	workload_mix(w, strscpy(shortened, line, sizeof(shortened)));
	workload_check(w, !strncmp(shortened, line, 7) && strcmp(shortened, line) < 0, "strncmp");

	colon = strchr(line, ':');
	workload_check(w, colon, "strchr");
	if (colon)
		workload_mix(w, colon - line);

	memcpy(copy, line, sizeof(copy));
	memmove(copy + 3, copy, len);
	workload_check(w, !memcmp(copy + 3, line, len), "memmove");
	workload_mix(w, digest(&crc32_ops, copy, len + 3));
}

noinline void sort_round(struct workload *w)
{
	u32 values[SORT_ITEMS], copy[SORT_ITEMS];
	unsigned int i;

	for (i = 0; i < SORT_ITEMS; i++)
		values[i] = next_random(w);
	memcpy(copy, values, sizeof(copy));
	sort(values, SORT_ITEMS, sizeof(u32), cmp_u32, swap_u32);
	quick_sort(copy, 0, SORT_ITEMS - 1, cmp_u32_reverse);
	for (i = 0; i < SORT_ITEMS; i++) {
		workload_mix(w, values[i]);
		workload_check(w, copy[SORT_ITEMS - 1 - i] == values[i], "quick_sort");
	}
}

noinline void recursion_round(struct workload *w)
{
	workload_mix(w, fib(4 + w->round % 5));
	workload_mix(w, hanoi(2 + w->round % 4, 0, 2, 1));
	workload_mix(w, ackermann(2, w->round % 3));
}

noinline void digest_round(struct workload *w)
{
	u32 data[8];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(data); i++)
		data[i] = next_random(w);
	for (i = 0; i < NR_DIGESTS; i++)
		workload_mix(w, digest(digests[i], data, sizeof(data)));
	workload_mix(w, pac_sum(data, ARRAY_SIZE(data)));
	workload_mix(w, kprobes_text_mix(data[0], data[1]));
	workload_mix(w, nokprobe_symbol_mix(data[2], data[3]));
}

noinline void lock_round(struct workload *w)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		spin_lock(&w->lock);
		w->locked_count++;
		spin_unlock(&w->lock);
		atomic_add_return(i, &w->atomic_count);
		insn_ldxr(&w->exclusive_count);
	}
	workload_mix(w, w->locked_count);
	workload_mix(w, w->atomic_count.counter);
	workload_mix(w, w->exclusive_count);
}

noinline void pcrel_round(struct workload *w)
{
	u32 x = next_random(w);

	workload_mix(w, pcrel_adr());
	workload_mix(w, pcrel_adrp());
	workload_mix(w, pcrel_ldr_literal());
	workload_mix(w, pcrel_ldr_literal_w());
	workload_mix(w, pcrel_ldrsw_literal());
	workload_mix(w, pcrel_b(x));
	workload_mix(w, call_pcrel_bl(x));
	workload_mix(w, call_pcrel_bcond(x, 0x80000000));
	workload_mix(w, pcrel_cbz(x & 1));
	workload_mix(w, pcrel_cbnz(x & 2));
	workload_mix(w, pcrel_tbz((u64)x << 24));
	workload_mix(w, pcrel_tbnz(x));
	workload_mix(w, pcrel_ret(x));
	workload_mix(w, pcrel_br(x, pcrel_leaf));
	workload_mix(w, call_pcrel_blr(x, pcrel_leaf));
	workload_mix(w, call_pcrel_blr_x30());
}

noinline void insn_round(struct workload *w)
{
	workload_mix(w, insn_mrs_daif());
	workload_mix(w, insn_msr_daifclr(1));
	workload_mix(w, insn_yield(2));
	workload_mix(w, insn_prfm_literal(3));
	workload_mix(w, insn_nop(4));
}

/* Nothing is mapped here: not in the kernel's half, not in the task's. */
#define BAD_KERNEL_ADDRESS	((const void *)0xffff900000000000)
#define BAD_USER_ADDRESS	((const void *)0x1000)

noinline void uaccess_round(struct workload *w)
{
	u32 value = next_random(w), copy = 0;

	workload_mix(w, copy_from_kernel_nofault(&copy, &value, sizeof(copy)));
	workload_check(w, copy == value, "copy_from_kernel_nofault");
	workload_mix(w, copy_from_kernel_nofault(&copy, BAD_KERNEL_ADDRESS, sizeof(copy)));
	workload_mix(w, copy_from_user(&copy, BAD_USER_ADDRESS, sizeof(copy)));
	workload_mix(w, copy_from_user(&copy, &value, sizeof(copy)));
}

/* Let the EL0 task have its turn, and take what it wrote. */
noinline void task_round(struct workload *w)
{
	char line[PIPE_SIZE];
	size_t n;

	schedule();
	n = pipe_drain(&user_pipe, line, sizeof(line));
	workload_mix(w, n);
	workload_mix(w, digest(&crc32_ops, line, n));
}
