/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A height-balanced (AVL) tree, recursive; each change returns the new root of its subtree. */
#include "avl.h"

static int height(const struct avl_node *node)
{
	return node ? node->height : 0;
}

static void update_height(struct avl_node *node)
{
	int left = height(node->left), right = height(node->right);

	node->height = 1 + (left > right ? left : right);
}

noinline struct avl_node *avl_rotate_left(struct avl_node *node)
{
	struct avl_node *top = node->right;

	node->right = top->left;
	top->left = node;
	update_height(node);
	update_height(top);
	return top;
}

noinline struct avl_node *avl_rotate_right(struct avl_node *node)
{
	struct avl_node *top = node->left;

	node->left = top->right;
	top->right = node;
	update_height(node);
	update_height(top);
	return top;
}

static noinline struct avl_node *avl_rebalance(struct avl_node *node)
{
	int balance = height(node->left) - height(node->right);

	update_height(node);
	if (balance > 1) {
		if (height(node->left->left) < height(node->left->right))
			node->left = avl_rotate_left(node->left);
		return avl_rotate_right(node);
	}
	if (balance < -1) {
		if (height(node->right->right) < height(node->right->left))
			node->right = avl_rotate_right(node->right);
		return avl_rotate_left(node);
	}
	return node;
}

/* Keys must differ: look with avl_find first. */
noinline struct avl_node *avl_insert(struct avl_node *root, struct avl_node *node)
{
	if (!root) {
		node->left = NULL;
		node->right = NULL;
		node->height = 1;
		return node;
	}
	if (node->key < root->key)
		root->left = avl_insert(root->left, node);
	else
		root->right = avl_insert(root->right, node);
	return avl_rebalance(root);
}

/* Take out the least node; *least is set to it. */
static noinline struct avl_node *avl_erase_least(struct avl_node *root, struct avl_node **least)
{
	if (!root->left) {
		*least = root;
		return root->right;
	}
	root->left = avl_erase_least(root->left, least);
	return avl_rebalance(root);
}

/* Take out node, if it is there. */
noinline struct avl_node *avl_erase(struct avl_node *root, struct avl_node *node)
{
	struct avl_node *least;

	if (!root)
		return NULL;
	if (node->key < root->key) {
		root->left = avl_erase(root->left, node);
	} else if (node->key > root->key) {
		root->right = avl_erase(root->right, node);
	} else {
		if (!root->right)
			return root->left;
		root->right = avl_erase_least(root->right, &least);
		least->left = root->left;
		least->right = root->right;
		root = least;
	}
	return avl_rebalance(root);
}

noinline struct avl_node *avl_find(struct avl_node *root, u32 key)
{
	while (root && root->key != key)
		root = key < root->key ? root->left : root->right;
	return root;
}

/* In order of key. */
noinline void avl_for_each(struct avl_node *root, avl_visit_t visit, void *context)
{
	if (!root)
		return;
	avl_for_each(root->left, visit, context);
	visit(root, context);
	avl_for_each(root->right, visit, context);
}

noinline bool avl_is_balanced(const struct avl_node *root)
{
	int balance;

	if (!root)
		return true;
	balance = height(root->left) - height(root->right);
	return balance >= -1 && balance <= 1 && avl_is_balanced(root->left) && avl_is_balanced(root->right);
}
