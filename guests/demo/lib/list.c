/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A circular doubly linked list, its links inside the entries. */
#include "list.h"

noinline void list_init(struct list_head *head)
{
	head->next = head;
	head->prev = head;
}

static void insert_between(struct list_head *entry, struct list_head *prev, struct list_head *next)
{
	entry->prev = prev;
	entry->next = next;
	prev->next = entry;
	next->prev = entry;
}

/* Put entry first. */
noinline void list_add(struct list_head *entry, struct list_head *head)
{
	insert_between(entry, head, head->next);
}

/* Put entry last. */
noinline void list_add_tail(struct list_head *entry, struct list_head *head)
{
	insert_between(entry, head->prev, head);
}

noinline void list_del(struct list_head *entry)
{
	entry->prev->next = entry->next;
	entry->next->prev = entry->prev;
	entry->next = NULL;
	entry->prev = NULL;
}

noinline size_t list_count(const struct list_head *head)
{
	const struct list_head *entry;
	size_t n = 0;

	for (entry = head->next; entry != head; entry = entry->next)
		n++;
	return n;
}
