/* SPDX-License-Identifier: BSD-2-Clause */
/* An intrusive, circular, doubly linked list. Not thread safe: the owner of the head serialises. */
#ifndef EXITLESS_BASE_LIST_H
#define EXITLESS_BASE_LIST_H

#include "base/util.h"

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

/* Adds @node at the tail of @head. */
static inline void list_add(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

/* Removes @node; it becomes a list of its own, so that a second removal does nothing. */
static inline void list_del(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

#define list_entry(node, type, member) container_of(node, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)
/* Walks @head; the current node may be removed (and freed) in the body. */
#define list_for_each(it, head, member)                                                            \
	for (__typeof__(it) it##_next = (it = list_entry((head)->next, __typeof__(*it), member),   \
					list_entry(it->member.next, __typeof__(*it), member));     \
	     &it->member != (head);                                                                \
	     it = it##_next, it##_next = list_entry(it->member.next, __typeof__(*it), member))

#endif
