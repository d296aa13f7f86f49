/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring's registers live in a page that the guest writes at any time. They are read once per batch
 * into a snapshot, with the masks that silicon applies, and the snapshot is what is validated and
 * used. Length 0, a head or a tail outside the ring all mean "empty": drivers program rings in any
 * order, some after the enable bit (Windows), so nothing is latched and nothing is an error.
 *
 * The head is ours and only shown in the page. A driver that sets up a ring writes it (to 0): a
 * value that differs from what we showed last is the driver's, and is taken over.
 */
#include "nic/e1000/e1000.h"

/* from the ring's base register */
enum { RING_BAH = 4, RING_LEN = 8, RING_HEAD = 0x10, RING_TAIL = 0x18 };

void e1000_head_init(struct e1000_head *head, uint32_t *page)
{
	head->page = page;
	head->published = READ_ONCE(*page);
	head->head = head->published & RING_PTR_MASK;
}

void e1000_ring_load(struct e1000 *dev, uint32_t bal, struct e1000_head *head,
		     struct e1000_ring *ring)
{
	/* the tail first: what the driver wrote before it is then visible */
	uint32_t tail = e1000_page(dev, bal + RING_TAIL);
	struct e1000_ring_words words = {
		.tail = tail,
		.len = e1000_page(dev, bal + RING_LEN),
		.base = e1000_page(dev, bal),
	};
	uint32_t len = words.len & RING_LEN_MASK;
	uint32_t shown = READ_ONCE(*head->page);

	if (unlikely(shown != head->published)) {
		head->published = shown;
		head->head = shown & RING_PTR_MASK;
	}
	ring->base = (uint64_t)e1000_page(dev, bal + RING_BAH) << 32 |
		     (words.base & RING_BASE_MASK);
	ring->n = len / RING_DESC_BYTES;
	ring->tail = tail & RING_PTR_MASK;
	ring->words = words;
	if (unlikely(ring->tail >= ring->n || head->head >= ring->n ||
		     ring->base + len < ring->base))
		ring->n = 0;
}

void e1000_head_publish(struct e1000_head *head)
{
	uint32_t expected = head->published;

	if (__atomic_compare_exchange_n(head->page, &expected, head->head, false, __ATOMIC_RELEASE,
					__ATOMIC_RELAXED)) {
		head->published = head->head;
	} else {
		head->published = expected;
		head->head = expected & RING_PTR_MASK;
	}
}
