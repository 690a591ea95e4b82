/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_AVL_H
#define DEMO_AVL_H

#include "types.h"

/* A node of a height-balanced search tree; a leaf has height 1, an empty tree (NULL) 0. */
struct avl_node {
	struct avl_node *left, *right;
	u32 key;
	int height;
};

typedef void (*avl_visit_t)(struct avl_node *node, void *context);

struct avl_node *avl_rotate_left(struct avl_node *node);
struct avl_node *avl_rotate_right(struct avl_node *node);
struct avl_node *avl_insert(struct avl_node *root, struct avl_node *node);
struct avl_node *avl_erase(struct avl_node *root, struct avl_node *node);
struct avl_node *avl_find(struct avl_node *root, u32 key);
void avl_for_each(struct avl_node *root, avl_visit_t visit, void *context);
bool avl_is_balanced(const struct avl_node *root);

#endif
