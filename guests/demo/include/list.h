/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_LIST_H
#define DEMO_LIST_H

#include "types.h"

/* A circular doubly linked list; an empty one points to itself. */
struct list_head {
	struct list_head *next, *prev;
};

void list_init(struct list_head *head);
void list_add(struct list_head *entry, struct list_head *head);
void list_add_tail(struct list_head *entry, struct list_head *head);
void list_del(struct list_head *entry);
size_t list_count(const struct list_head *head);

#endif
