/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-flight region (vhost-user, "Inflight I/O tracking"): shared memory that outlives us, in
 * which each chain is marked from when it is taken until the driver can see that it was used. After
 * a crash the next start takes again what is marked, in the order in which it was taken.
 *
 * A mark is 1 for taken, and 2 from when it was given until that was published. At recovery the
 * ring itself tells whether the last batch of givings was published (its index, or the flags of
 * its first slot, moved past what the region says): then the 2s are done, otherwise they are
 * to be done again. Fields of the protocol's layout that this makes superfluous are kept up for
 * others who may read the region.
 *
 * The region was in the hands of the front end: each index is checked, nothing is followed further
 * than there are descriptors, and the free list of a packed region is built anew.
 */
#include "virtio/inflight.h"

#include <errno.h>
#include <stdlib.h>

#define INFLIGHT_VERSION 1

enum { MARK_FREE, MARK_TAKEN, MARK_GIVEN };

struct split_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

struct split_region {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct split_desc desc[];
};

struct packed_desc {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next, last, num;
	uint64_t counter;
	uint16_t id, flags;
	uint32_t len;
	uint64_t addr;
};

struct packed_region {
	uint64_t features;
	uint16_t version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
	uint8_t used_wrap, old_used_wrap;
	uint8_t padding[10];
	struct packed_desc desc[];
};

_Static_assert(sizeof(struct split_desc) == 16 && sizeof(struct split_region) == 16, "layout");
_Static_assert(sizeof(struct packed_desc) == 32 && sizeof(struct packed_region) == 32, "layout");

struct virtq_inflight {
	union {
		struct split_region *split;
		struct packed_region *packed;
	};
	bool is_packed;
	uint16_t num;
	uint64_t counter;
	/* to take again */
	uint16_t *again;
	unsigned n_again, next_again;
	/* given since the last publish */
	uint16_t *batch;
	unsigned n_batch;
	/* a packed chain being read: entries free_head.. of the list */
	uint16_t head, tail, count;
	uint16_t *next_free; /* our own copy of the list; UINT16_MAX: end */
	uint16_t *n_descs;   /* of the record at this head; 0: none */
	uint16_t free_head;
};

size_t virtqueue_inflight_bytes(bool packed, uint16_t num)
{
	size_t bytes = packed ? sizeof(struct packed_region) + num * sizeof(struct packed_desc)
			      : sizeof(struct split_region) + num * sizeof(struct split_desc);

	return ALIGN_UP(bytes, (size_t)64);
}

void inflight_free(struct virtqueue *vq)
{
	struct virtq_inflight *f = vq->inflight;

	if (!f)
		return;
	free(f->again);
	free(f->batch);
	free(f->next_free);
	free(f->n_descs);
	free(f);
	vq->inflight = NULL;
}

int virtqueue_inflight_set(struct virtqueue *vq, void *region, bool packed, uint16_t num)
{
	struct virtq_inflight *f;
	uint16_t version, desc_num;

	inflight_free(vq);
	if (!region)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->split = region;
	f->is_packed = packed;
	f->num = num;
	f->again = calloc(num, sizeof(*f->again));
	f->batch = calloc(num, sizeof(*f->batch));
	f->next_free = calloc(num, sizeof(*f->next_free));
	f->n_descs = calloc(num, sizeof(*f->n_descs));
	vq->inflight = f;
	if (!f->again || !f->batch || !f->next_free || !f->n_descs) {
		inflight_free(vq);
		return -ENOMEM;
	}
	version = READ_ONCE(f->split->version); /* at the same place in both */
	desc_num = READ_ONCE(f->split->desc_num);
	if (version > INFLIGHT_VERSION || (version && desc_num != num)) {
		inflight_free(vq);
		return -EINVAL;
	}
	return 0;
}

void virtqueue_inflight_clear(void *region)
{
	struct split_region *either = region; /* the version is at the same place in both */

	WRITE_ONCE(either->version, 0);
}

/* ---- recovery ---------------------------------------------------------------------------- */

struct order {
	uint64_t counter;
	uint16_t entry;
};

/* Sorts by counter, and those with the same by entry, as they come: by one byte after the other. A
 * region may be full, and hold any numbers. */
static void sort(struct order *order, struct order *other, unsigned n)
{
	uint64_t all = 0;
	bool swapped = false;

	for (unsigned i = 1; i < n; i++)
		all |= order[i].counter ^ order[0].counter;
	for (unsigned shift = 0; shift < 64; shift += 8) {
		unsigned at[257] = { 0 };
		struct order *from = swapped ? other : order, *to = swapped ? order : other;

		if (!(all >> shift & 0xff))
			continue;
		for (unsigned i = 0; i < n; i++)
			at[(from[i].counter >> shift & 0xff) + 1]++;
		for (unsigned k = 1; k < 256; k++)
			at[k] += at[k - 1];
		for (unsigned i = 0; i < n; i++)
			to[at[from[i].counter >> shift & 0xff]++] = from[i];
		swapped = !swapped;
	}
	if (swapped)
		memcpy(order, other, n * sizeof(*order));
}

static uint8_t *mark_of(struct virtq_inflight *f, unsigned i)
{
	return f->is_packed ? &f->packed->desc[i].inflight : &f->split->desc[i].inflight;
}

static void settle_marks(struct virtq_inflight *f, bool published)
{
	for (unsigned i = 0; i < f->num; i++) {
		uint8_t *mark = mark_of(f, i);

		if (READ_ONCE(*mark) == MARK_GIVEN)
			WRITE_ONCE(*mark, published ? MARK_FREE : MARK_TAKEN);
	}
}

/* Regions left by others mark the last batch by a list only. */
static void settle_split_batch(struct virtq_inflight *f, uint16_t size)
{
	uint16_t head = READ_ONCE(f->split->last_batch_head);

	for (unsigned i = 0; i < size && i < f->num && head < f->num; i++) {
		WRITE_ONCE(f->split->desc[head].inflight, MARK_FREE);
		head = READ_ONCE(f->split->desc[head].next);
	}
}

/* All that is marked, oldest first, into again[]: of @max entries, and no others may be. */
static int collect(struct virtq_inflight *f, unsigned max)
{
	struct order *order = calloc(f->num, 2 * sizeof(*order));
	unsigned n = 0;

	if (!order)
		return -ENOMEM;
	for (unsigned i = 0; i < f->num; i++) {
		if (READ_ONCE(*mark_of(f, i)) == MARK_FREE)
			continue;
		if (i >= max) {
			free(order);
			return -EINVAL;
		}
		order[n].counter = f->is_packed ? READ_ONCE(f->packed->desc[i].counter)
						: READ_ONCE(f->split->desc[i].counter);
		order[n++].entry = (uint16_t)i;
	}
	sort(order, order + f->num, n);
	for (unsigned i = 0; i < n; i++) {
		f->again[i] = order[i].entry;
		if (order[i].counter >= f->counter)
			f->counter = order[i].counter + 1;
	}
	f->n_again = n;
	free(order);
	return 0;
}

/* The records' own lists must be whole and apart from each other; the rest is free. */
static int rebuild_lists(struct virtq_inflight *f)
{
	unsigned slots = 0;

	for (unsigned i = 0; i < f->num; i++)
		f->next_free[i] = f->n_descs[i] = 0; /* 0: not seen; else 1 */
	for (unsigned i = 0; i < f->n_again; i++) {
		uint16_t at = f->again[i], n = READ_ONCE(f->packed->desc[at].num);

		slots += n;
		if (!n || slots > f->num)
			return -EINVAL;
		f->n_descs[f->again[i]] = n;
		for (; n; n--) {
			if (at >= f->num || f->next_free[at])
				return -EINVAL;
			f->next_free[at] = 1;
			at = READ_ONCE(f->packed->desc[at].next);
		}
	}
	f->free_head = UINT16_MAX;
	for (unsigned i = f->num; i-- > 0;) {
		if (f->next_free[i]) {
			f->next_free[i] = READ_ONCE(f->packed->desc[i].next);
			continue;
		}
		f->next_free[i] = f->free_head;
		WRITE_ONCE(f->packed->desc[i].next, f->free_head);
		WRITE_ONCE(f->packed->desc[i].inflight, MARK_FREE);
		f->free_head = (uint16_t)i;
	}
	/* the records' lists, from what was just checked */
	for (unsigned i = 0; i < f->n_again; i++) {
		uint16_t at = f->again[i];

		for (unsigned n = f->n_descs[f->again[i]]; n > 1; n--) {
			if (at >= f->num)
				return -EINVAL;
			at = f->next_free[at];
		}
		if (at >= f->num)
			return -EINVAL;
	}
	WRITE_ONCE(f->packed->free_head, f->free_head);
	WRITE_ONCE(f->packed->old_free_head, f->free_head);
	return (int)slots;
}

static int recover_packed(struct virtqueue *vq, uint16_t *used)
{
	struct virtq_inflight *f = vq->inflight;
	struct packed_region *region = f->packed;
	int err;

	if (READ_ONCE(region->version)) {
		uint16_t old = READ_ONCE(region->old_used_idx), now = READ_ONCE(region->used_idx);
		bool old_wrap = READ_ONCE(region->old_used_wrap) & 1;
		bool wrap = READ_ONCE(region->used_wrap) & 1;

		if (old >= vq->num || now >= vq->num)
			return -EINVAL;
		if (old != now || old_wrap != wrap) {
			const struct vring_packed_desc *d = (void *)&vq->desc[old];
			uint16_t flags = LOAD_ACQUIRE(d->flags);
			/* as the driver left it, or not: it may even be available again */
			bool published = !!(flags & 1u << VRING_PACKED_DESC_F_AVAIL) != old_wrap ||
					 !!(flags & 1u << VRING_PACKED_DESC_F_USED) == old_wrap;

			settle_marks(f, published);
			if (!published) {
				now = old;
				wrap = old_wrap;
			}
		} else {
			settle_marks(f, false);
		}
		*used = (uint16_t)(now | wrap << 15);
	} else {
		memset(region->desc, 0, f->num * sizeof(region->desc[0]));
		region->desc_num = f->num;
	}
	region->used_idx = region->old_used_idx = *used & 0x7fff;
	region->used_wrap = region->old_used_wrap = (uint8_t)(*used >> 15);
	err = collect(f, f->num);
	if (err)
		return err;
	err = rebuild_lists(f);
	STORE_RELEASE(region->version, INFLIGHT_VERSION);
	return err;
}

int inflight_recover(struct virtqueue *vq, uint16_t *used)
{
	struct virtq_inflight *f = vq->inflight;
	int err;

	f->n_again = f->next_again = f->n_batch = 0;
	f->count = 0;
	if (f->is_packed != vq->packed || f->num < vq->num)
		return -EINVAL;
	if (vq->packed)
		return recover_packed(vq, used);
	if (READ_ONCE(f->split->version)) {
		uint16_t done = (uint16_t)(*used - READ_ONCE(f->split->used_idx));

		settle_marks(f, done != 0);
		settle_split_batch(f, done);
	} else {
		memset(f->split->desc, 0, f->num * sizeof(f->split->desc[0]));
		f->split->desc_num = f->num;
	}
	WRITE_ONCE(f->split->used_idx, *used);
	STORE_RELEASE(f->split->version, INFLIGHT_VERSION);
	/* heads: the ring may be smaller than what the region is for */
	err = collect(f, vq->num);
	return err ? err : (int)f->n_again;
}

bool inflight_next(struct virtqueue *vq, uint16_t *entry)
{
	struct virtq_inflight *f = vq->inflight;

	if (f->next_again == f->n_again)
		return false;
	*entry = f->again[f->next_again++];
	return true;
}

void inflight_unnext(struct virtqueue *vq, unsigned n)
{
	vq->inflight->next_again -= n;
}

bool inflight_desc(struct virtqueue *vq, uint16_t record, unsigned i, uint16_t *entry,
		   struct virtq_desc *desc)
{
	struct virtq_inflight *f = vq->inflight;
	const struct packed_desc *d;

	if (!i)
		*entry = record;
	if (i >= f->n_descs[record] || *entry >= f->num)
		return false;
	d = &f->packed->desc[*entry];
	*entry = f->next_free[*entry];
	*desc = (struct virtq_desc){ .addr = READ_ONCE(d->addr),
				     .len = READ_ONCE(d->len),
				     .flags = READ_ONCE(d->flags),
				     .id = READ_ONCE(d->id) };
	return true;
}

/* ---- tracking ---------------------------------------------------------------------------- */

void inflight_took_split(struct virtqueue *vq, uint16_t head)
{
	struct split_desc *d = &vq->inflight->split->desc[head];

	WRITE_ONCE(d->counter, vq->inflight->counter++);
	STORE_RELEASE(d->inflight, MARK_TAKEN);
}

void inflight_saw(struct virtqueue *vq, const struct virtq_desc *desc)
{
	struct virtq_inflight *f = vq->inflight;
	uint16_t at = f->count ? f->next_free[f->tail] : f->free_head;
	struct packed_desc *d;

	/* No room is left only if buffers come back by IDs that are none: the ring holds no more
	 * than the region. */
	if (at >= f->num)
		return;
	d = &f->packed->desc[at];
	d->addr = desc->addr;
	d->len = desc->len;
	d->id = desc->id;
	d->flags = desc->flags;
	if (!f->count)
		f->head = at;
	f->tail = at;
	f->count++;
}

uint16_t inflight_took_packed(struct virtqueue *vq)
{
	struct virtq_inflight *f = vq->inflight;
	struct packed_desc *d;

	if (!f->count)
		return UINT16_MAX;
	d = &f->packed->desc[f->head];
	d->last = f->tail;
	d->num = f->count;
	d->counter = f->counter++;
	f->n_descs[f->head] = f->count;
	f->free_head = f->next_free[f->tail];
	f->count = 0;
	STORE_RELEASE(d->inflight, MARK_TAKEN);
	WRITE_ONCE(f->packed->free_head, f->free_head);
	return f->head;
}

void inflight_forget(struct virtqueue *vq)
{
	vq->inflight->count = 0;
}

static void free_record(struct virtq_inflight *f, uint16_t head)
{
	uint16_t tail = head;

	for (unsigned n = f->n_descs[head]; n > 1 && f->next_free[tail] < f->num; n--)
		tail = f->next_free[tail];
	f->n_descs[head] = 0;
	f->next_free[tail] = f->free_head;
	WRITE_ONCE(f->packed->desc[tail].next, f->free_head);
	f->free_head = head;
	WRITE_ONCE(f->packed->free_head, head);
}

void inflight_untook(struct virtqueue *vq, const struct virtq_chain *chain)
{
	struct virtq_inflight *f = vq->inflight;

	if (!f->is_packed) {
		WRITE_ONCE(f->split->desc[chain->id].inflight, MARK_FREE);
	} else if (chain->record < f->num) {
		STORE_RELEASE(f->packed->desc[chain->record].inflight, MARK_FREE);
		free_record(f, chain->record);
	}
}

void inflight_gave(struct virtqueue *vq, const struct virtq_chain *chain)
{
	struct virtq_inflight *f = vq->inflight;
	uint16_t entry = f->is_packed ? chain->record : chain->id;

	if (entry >= f->num || f->n_batch == f->num)
		return;
	if (f->is_packed) {
		struct packed_region *region = f->packed;
		unsigned used = vq->used + chain->slots;

		/* where used will be; flags of the batch's first slot tell whether it counts */
		STORE_RELEASE(region->desc[entry].inflight, MARK_GIVEN);
		region->used_wrap = (uint8_t)(vq->used_wrap ^ (used >= vq->num));
		STORE_RELEASE(region->used_idx,
			      (uint16_t)(used >= vq->num ? used - vq->num : used));
	} else {
		f->split->desc[entry].next = f->split->last_batch_head;
		WRITE_ONCE(f->split->last_batch_head, entry);
		STORE_RELEASE(f->split->desc[entry].inflight, MARK_GIVEN);
	}
	f->batch[f->n_batch++] = entry;
}

void inflight_published(struct virtqueue *vq)
{
	struct virtq_inflight *f = vq->inflight;

	for (unsigned i = 0; i < f->n_batch; i++) {
		STORE_RELEASE(*mark_of(f, f->batch[i]), MARK_FREE);
		if (f->is_packed)
			free_record(f, f->batch[i]);
	}
	f->n_batch = 0;
	if (f->is_packed) {
		WRITE_ONCE(f->packed->old_free_head, f->free_head);
		WRITE_ONCE(f->packed->old_used_wrap, f->packed->used_wrap);
		STORE_RELEASE(f->packed->old_used_idx, vq->used);
	} else {
		STORE_RELEASE(f->split->used_idx, vq->used);
	}
}
