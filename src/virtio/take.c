/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One implementation of chains for both kinds of ring: the functions that do the work take the kind
 * as a constant and are always inlined, so that the compiler makes one straight path of each. The
 * common chain, one descriptor in the region that served last, goes through without a call.
 */
#include "virtio/ring.h"

#include <errno.h>

#define PACKED_AHEAD  16 /* packed: slots */
#define DESC_PER_LINE (CACHE_LINE / 16)

#define NOWHERE UINT64_MAX /* vq->last_in: not known, or there is none */

enum { CHAIN_OK, CHAIN_FULL, CHAIN_BROKEN };

static uint64_t load_u64(const void *p)
{
	/* tables may be at any address */
	typedef uint64_t __attribute__((aligned(1), may_alias)) any_u64;

	return *(const volatile any_u64 *)p;
}

/* Reads a descriptor once, in two loads. Field by field into @d: returned as a whole it would be
 * copied through the stack, which stalls on the fields just written. */
static ALWAYS_INLINE void load_desc(struct virtq_desc *d, const void *p, const bool packed)
{
	uint64_t second = load_u64((const uint8_t *)p + 8);

	/* packed: flags say that the rest may be read */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	d->addr = load_u64(p);
	d->len = (uint32_t)second;
	if (packed) {
		d->id = d->next = (uint16_t)(second >> 32);
		d->flags = (uint16_t)(second >> 48);
	} else {
		d->flags = (uint16_t)(second >> 32);
		d->id = d->next = (uint16_t)(second >> 48);
	}
}

static ALWAYS_INLINE int add_piece(struct virtqueue *vq, struct virtq_chain *chain,
				   struct virtq_arena *arena, const struct virtq_desc *d)
{
	bool in = d->flags & VRING_DESC_F_WRITE;
	unsigned access = in ? MEMORY_READ | MEMORY_WRITE : MEMORY_READ;
	void *host;
	int n = 1;

	if (unlikely(!in && chain->n_in))
		return CHAIN_BROKEN;
	if (unlikely(!d->len))
		return CHAIN_OK;
	if (unlikely(chain->error)) {
		if (in)
			vq->last_in = d->addr + d->len - 1;
		return CHAIN_OK;
	}
	host = memory_at(&vq->reader, d->addr, d->len, access);
	if (likely(host && arena->n < arena->max)) {
		arena->iov[arena->n++] = (struct iovec){ host, d->len };
	} else {
		n = memory_iov(&vq->reader, d->addr, d->len, access, arena->iov + arena->n,
			       arena->max - arena->n);
		if (n < 0) {
			chain->error = n;
			if (in)
				vq->last_in = d->addr + d->len - 1;
			return CHAIN_OK;
		}
		arena->n += (unsigned)n;
	}
	if (in) {
		chain->n_in = (uint16_t)(chain->n_in + n);
		chain->in_bytes += d->len;
	} else {
		chain->n_out = (uint16_t)(chain->n_out + n);
		chain->out_bytes += d->len;
	}
	return CHAIN_OK;
}

/* One descriptor more is read: false if the chain is too long for that. */
static ALWAYS_INLINE bool walk_on(struct virtqueue *vq)
{
	return likely(vq->walked++ < vq->walk_end);
}

/* A chain begins: no longer than a table may be, and what names it. */
static ALWAYS_INLINE void walk_begin(struct virtqueue *vq)
{
	vq->last_in = NOWHERE;
	vq->walk_end = vq->walked + VIRTQ_CHAIN_MAX + 1;
}

/* Is left for the next call (CHAIN_FULL): no more of it need be read. Any other chain with an error
 * is read to its end, where its status may be. */
static ALWAYS_INLINE bool is_for_later(const struct virtq_chain *chain,
				       const struct virtq_arena *arena)
{
	return unlikely(chain->error == -E2BIG) && chain->iov != arena->iov;
}

/*
 * Sections 2.7.5.3, 2.8.7: a table elsewhere, at the end of a chain (2.7.5.3.1, 2.8.19: never with
 * NEXT). Packed ones are read in order, split ones by NEXT.
 */
static __attribute__((noinline)) int add_indirect(struct virtqueue *vq, struct virtq_chain *chain,
						  struct virtq_arena *arena,
						  const struct virtq_desc *d, bool packed)
{
	uint32_t n = d->len / 16, at = 0;
	const uint8_t *table;

	if (!vq->indirect || !n || d->len % 16 || n > VIRTQ_CHAIN_MAX ||
	    d->flags & VRING_DESC_F_NEXT)
		return CHAIN_BROKEN;
	table = memory_at(&vq->reader, d->addr, d->len, MEMORY_READ);
	for (uint32_t count = 0; count < n; count++) {
		struct virtq_desc entry;
		uint8_t copy[16];

		if (!walk_on(vq))
			return CHAIN_BROKEN;
		if (table) {
			load_desc(&entry, table + 16 * at, packed);
		} else if (!memory_read(&vq->reader, d->addr + 16 * at, copy, sizeof(copy))) {
			load_desc(&entry, copy, packed);
		} else {
			chain->error = -EFAULT;
			vq->last_in = NOWHERE;
			return CHAIN_OK;
		}
		if (entry.flags & VRING_DESC_F_INDIRECT)
			return CHAIN_BROKEN;
		if (vq->only_read)
			entry.flags &= (uint16_t)~VRING_DESC_F_WRITE;
		if (add_piece(vq, chain, arena, &entry) == CHAIN_BROKEN)
			return CHAIN_BROKEN;
		if (is_for_later(chain, arena))
			return CHAIN_OK;
		if (packed) {
			at++;
			continue;
		}
		if (!(entry.flags & VRING_DESC_F_NEXT))
			return CHAIN_OK;
		if (entry.next >= n)
			return CHAIN_BROKEN;
		at = entry.next;
	}
	/* a split table that is not at its end after n entries is a loop */
	return packed ? CHAIN_OK : CHAIN_BROKEN;
}

static int add_desc(struct virtqueue *vq, struct virtq_chain *chain, struct virtq_arena *arena,
		    const struct virtq_desc *d, bool packed)
{
	if (unlikely(d->flags & VRING_DESC_F_INDIRECT))
		return add_indirect(vq, chain, arena, d, packed);
	return add_piece(vq, chain, arena, d);
}

/* The chain that starts at @at (split: descriptor, packed: slot), whose first descriptor was read
 * into @first; all of it. What is wrong behind an error of a split chain only ends it. */
static __attribute__((noinline)) int read_chain(struct virtqueue *vq, struct virtq_chain *chain,
						struct virtq_arena *arena, uint16_t at,
						const struct virtq_desc *first, bool packed)
{
	struct virtq_desc d = *first;
	unsigned count = 0;

	walk_begin(vq);
	do {
		if (unlikely(count == vq->num || !walk_on(vq)))
			goto wrong;
		if (count++)
			load_desc(&d, &vq->desc[at], packed);
		if (packed && unlikely(vq->inflight != NULL))
			inflight_saw(vq, &d);
		if (unlikely(add_desc(vq, chain, arena, &d, packed) == CHAIN_BROKEN)) {
			/* the slots of a packed one are counted all the same */
			if (!chain->error || !packed)
				goto wrong;
			vq->last_in = NOWHERE;
		}
		if (is_for_later(chain, arena))
			break;
		if (packed) {
			at = (uint16_t)(at + 1 == vq->num ? 0 : at + 1);
		} else if (likely(!(d.flags & VRING_DESC_F_NEXT))) {
			break;
		} else {
			at = d.next;
			if (unlikely(at >= vq->num))
				goto wrong;
		}
	} while (d.flags & VRING_DESC_F_NEXT);
	if (packed) {
		chain->id = d.id;
		chain->slots = (uint16_t)count;
	}
	return CHAIN_OK;
wrong:
	vq->last_in = NOWHERE;
	return chain->error && !packed ? CHAIN_OK : CHAIN_BROKEN;
}

/*
 * What the common chain needs of a queue and an arena, in registers: a descriptor's chain and piece
 * are stored for each, and the compiler cannot know that these are not what the queue has in
 * memory.
 */
struct fast {
	uint64_t addr, size; /* the region that served last; size 0: none, or not for this queue */
	uint8_t *host;
	struct iovec *iov, *iov_end;
};

static ALWAYS_INLINE void fast_begin(struct fast *fast, const struct virtqueue *vq,
				     const struct virtq_arena *arena, const bool write)
{
	const struct memory_reader *reader = &vq->reader;
	unsigned access = write ? MEMORY_READ | MEMORY_WRITE : MEMORY_READ;

	fast->addr = reader->addr;
	fast->size = vq->inflight || (reader->access & access) != access ? 0 : reader->size;
	fast->host = reader->host;
	fast->iov = arena->iov + arena->n;
	fast->iov_end = arena->iov + arena->max;
}

static ALWAYS_INLINE void fast_end(const struct fast *fast, struct virtq_arena *arena)
{
	arena->n = (unsigned)(fast->iov - arena->iov);
}

/* The first two lines, for what stands behind a header. */
static ALWAYS_INLINE void prefetch_buffer(const uint8_t *buffer, bool write)
{
	if (write) {
		prefetch_write(buffer);
		prefetch_write(buffer + CACHE_LINE);
	} else {
		__builtin_prefetch(buffer);
		__builtin_prefetch(buffer + CACHE_LINE);
	}
}

/* The common chain: one descriptor, in the region that served last, to be written to or not as the
 * one before was. False: not one of those, and nothing is changed. */
static ALWAYS_INLINE bool read_single(struct fast *fast, struct virtq_chain *chain,
				      const struct virtq_desc *d, const bool write)
{
	const uint16_t looked_at = VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE;
	uint64_t skip = d->addr - fast->addr;
	struct iovec *iov = fast->iov;

	if (unlikely((d->flags & looked_at) != (write ? VRING_DESC_F_WRITE : 0) ||
		     skip >= fast->size || d->len - 1ull >= fast->size - skip ||
		     iov == fast->iov_end))
		return false;
	fast->iov++;
	iov->iov_base = fast->host + skip;
	iov->iov_len = d->len;
	chain->iov = iov;
	chain->out_bytes = write ? 0 : d->len;
	chain->in_bytes = write ? d->len : 0;
	/* one store each: n_out, n_in, slots, id; record, again, error */
	store_le64(&chain->n_out, (write ? 1ull << 16 : 1) | 1ull << 32 | (uint64_t)d->id << 48);
	store_le64(&chain->record, 0);
	prefetch_buffer(fast->host + skip, write);
	return true;
}
_Static_assert(offsetof(struct virtq_chain, n_in) == offsetof(struct virtq_chain, n_out) + 2 &&
		       offsetof(struct virtq_chain, slots) ==
			       offsetof(struct virtq_chain, n_out) + 4 &&
		       offsetof(struct virtq_chain, id) ==
			       offsetof(struct virtq_chain, n_out) + 6 &&
		       offsetof(struct virtq_chain, record) + 8 == sizeof(struct virtq_chain),
	       "fields that are stored together");

/* A packed chain that was in flight, from the record of it. */
static int read_record(struct virtqueue *vq, struct virtq_chain *chain, struct virtq_arena *arena,
		       uint16_t record)
{
	struct virtq_desc d = { 0 };
	uint16_t entry;
	unsigned i;

	walk_begin(vq);
	for (i = 0; inflight_desc(vq, record, i, &entry, &d); i++) {
		if (!walk_on(vq))
			return CHAIN_BROKEN;
		if (add_desc(vq, chain, arena, &d, true) == CHAIN_BROKEN) {
			if (!chain->error)
				return CHAIN_BROKEN;
			vq->last_in = NOWHERE;
		}
	}
	chain->id = d.id;
	chain->slots = (uint16_t)i;
	chain->record = record;
	return i ? CHAIN_OK : CHAIN_BROKEN;
}

/* With an error: what is left of it is the last byte to be written to. */
static __attribute__((noinline)) int finish_bad_chain(struct virtqueue *vq,
						      struct virtq_chain *chain,
						      struct virtq_arena *arena, unsigned start)
{
	void *last;

	arena->n = start;
	if (start && (chain->error == -E2BIG || start == arena->max))
		return CHAIN_FULL;
	chain->n_in = chain->n_out = 0;
	chain->in_bytes = chain->out_bytes = 0;
	last = vq->last_in == NOWHERE
		       ? NULL
		       : memory_at(&vq->reader, vq->last_in, 1, MEMORY_READ | MEMORY_WRITE);
	if (last) {
		arena->iov[arena->n++] = (struct iovec){ last, 1 };
		chain->n_in = 1;
		chain->in_bytes = 1;
	}
	COUNT(vq->stats.bad_chains, 1);
	return CHAIN_OK;
}

/* After the pieces: errors and room. */
static ALWAYS_INLINE int finish_chain(struct virtqueue *vq, struct virtq_chain *chain,
				      struct virtq_arena *arena, unsigned start)
{
	return likely(!chain->error) ? CHAIN_OK : finish_bad_chain(vq, chain, arena, start);
}

static __attribute__((noinline)) unsigned take_again(struct virtqueue *vq,
						     struct virtq_chain *chains, unsigned max,
						     struct virtq_arena *arena)
{
	uint16_t entry;
	unsigned n;

	for (n = 0; n < max && !virtqueue_walked_far(vq) && inflight_next(vq, &entry); n++) {
		struct virtq_chain *chain = &chains[n];
		unsigned start = arena->n;
		int result;

		*chain = (struct virtq_chain){
			.iov = arena->iov + start, .id = entry, .slots = 1, .again = true
		};
		if (vq->packed) {
			result = read_record(vq, chain, arena, entry);
		} else {
			struct virtq_desc first;

			load_desc(&first, &vq->desc[entry], false);
			result = read_chain(vq, chain, arena, entry, &first, false);
		}
		if (result == CHAIN_OK)
			result = finish_chain(vq, chain, arena, start);
		if (result == CHAIN_BROKEN) {
			virtqueue_break(vq);
			break;
		}
		if (result == CHAIN_FULL) {
			inflight_unnext(vq, 1);
			break;
		}
	}
	COUNT(vq->in_flight, n);
	COUNT(vq->stats.resubmitted, n);
	return n;
}

/* Split: how many entries of the available ring are new; 0 too when that cannot be true. */
static ALWAYS_INLINE unsigned split_available(struct virtqueue *vq, unsigned wanted)
{
	unsigned n = (uint16_t)(vq->avail_seen - vq->avail);

	if (n >= wanted)
		return n;
	vq->avail_seen = LOAD_ACQUIRE(vq->avail_ring[1]);
	n = (uint16_t)(vq->avail_seen - vq->avail);
	if (unlikely(n > vq->num)) {
		virtqueue_break(vq);
		vq->avail_seen = vq->avail;
		return 0;
	}
	return n;
}

/* Any chain that read_single() does not know. @first by value: the fast way keeps it in registers.
 */
static __attribute__((noinline)) int read_any(struct virtqueue *vq, struct virtq_chain *chain,
					      struct virtq_arena *arena, uint16_t at,
					      struct virtq_desc first, bool packed)
{
	unsigned start = arena->n;
	int result;

	if (unlikely(virtqueue_walked_far(vq)))
		return CHAIN_FULL;
	*chain = (struct virtq_chain){ .iov = arena->iov + start, .id = at, .slots = 1 };
	result = read_chain(vq, chain, arena, at, &first, packed);
	if (result == CHAIN_OK)
		result = finish_chain(vq, chain, arena, start);
	if (result == CHAIN_OK)
		return result;
	if (vq->inflight && packed)
		inflight_forget(vq);
	if (result == CHAIN_BROKEN)
		virtqueue_break(vq);
	return result;
}

/* Either, and what a tracked queue remembers of it: @fast is what it was, with what the slow way
 * changed. */
static ALWAYS_INLINE bool read_next(struct virtqueue *vq, struct virtq_chain *chain,
				    struct virtq_arena *arena, struct fast *fast, unsigned at,
				    const struct virtq_desc *d, const bool packed, const bool write)
{
	int result;

	if (likely(read_single(fast, chain, d, write)))
		return true;
	fast_end(fast, arena);
	result = read_any(vq, chain, arena, (uint16_t)at, *d, packed);
	fast_begin(fast, vq, arena, write);
	if (result != CHAIN_OK)
		return false;
	vq->writes = !chain->n_out;
	if (likely(chain->n_out))
		prefetch_buffer(chain->iov->iov_base, false);
	if (vq->inflight && packed)
		chain->record = inflight_took_packed(vq);
	else if (vq->inflight)
		inflight_took_split(vq, (uint16_t)at);
	return true;
}

/*
 * Fetching ahead. What the driver wrote is in its core's cache, and a chain is found through three
 * lines, one after the other: entry, descriptor, buffer. So while a batch is worked on, the lines
 * of the next one are on their way: its descriptors, and the entries after that, from
 * virtqueue_take(); its buffers from virtqueue_fetch(). All of that are hints: nothing is
 * remembered of what they read.
 */
static ALWAYS_INLINE void fetch_entries(struct virtqueue *vq, unsigned n)
{
	unsigned mask = vq->num - 1u, avail = vq->avail, used = vq->used;
	const struct vring_used_elem *used_ring = (const void *)(vq->used_ring + 2);
	unsigned ready = MIN((unsigned)(uint16_t)(vq->avail_seen - avail), n);
	const uint16_t *ring = vq->avail_ring + 2;
	const struct vring_desc *desc = vq->desc;

	for (unsigned i = 0; i < ready; i++)
		__builtin_prefetch(&desc[READ_ONCE(ring[(avail + i) & mask]) & mask]);
	for (unsigned i = 0; i < n; i += CACHE_LINE / 2)
		__builtin_prefetch(&ring[(avail + n + i) & mask]);
	for (unsigned i = 0; i < n; i += CACHE_LINE / sizeof(*used_ring))
		prefetch_write(&used_ring[(used + i) & mask]);
	vq->fetched = (uint16_t)ready;
}

static ALWAYS_INLINE void fetch_buffer(const struct memory_reader *reader, uint64_t addr,
				       bool write)
{
	uint64_t skip = addr - reader->addr;

	if (likely(skip < reader->size))
		prefetch_buffer(reader->host + skip, write);
}

void virtqueue_fetch(struct virtqueue *vq, unsigned max, bool write)
{
	const struct memory_reader reader = vq->reader;
	unsigned num = vq->num, mask = num - 1, at = vq->avail, n;
	const struct vring_desc *desc = vq->desc;
	const uint16_t *ring = vq->avail_ring + 2;
	bool wrap = vq->avail_wrap;

	if (!vq->packed) {
		n = MIN((unsigned)(uint16_t)(vq->avail_seen - at), max);
		for (unsigned i = 0; i < n; i++, at++) {
			uint16_t head = READ_ONCE(ring[at & mask]);

			fetch_buffer(&reader, load_u64(&desc[head & mask].addr), write);
		}
		return;
	}
	for (unsigned i = 0; i < max && packed_available(vq, (uint16_t)at, wrap); i++) {
		fetch_buffer(&reader, load_u64(&desc[at].addr), write);
		if (++at == num) {
			at = 0;
			wrap = !wrap;
		}
	}
}

static ALWAYS_INLINE unsigned take_split(struct virtqueue *vq, struct virtq_chain *chains,
					 unsigned max, struct virtq_arena *arena, const bool write)
{
	unsigned num = vq->num, mask = num - 1, avail = vq->avail;
	unsigned n, n_avail = MIN(split_available(vq, max), max);
	const uint16_t *ring = vq->avail_ring + 2;
	const struct vring_desc *desc = vq->desc;
	struct fast fast;

	/* those that were not there yet when the others were fetched */
	for (n = vq->fetched; n < n_avail; n++)
		__builtin_prefetch(&desc[READ_ONCE(ring[(avail + n) & mask]) & mask]);
	fast_begin(&fast, vq, arena, write);
	for (n = 0; n < n_avail; n++) {
		uint16_t head = READ_ONCE(ring[(avail + n) & mask]);
		struct virtq_desc d;

		if (unlikely(head >= num)) {
			virtqueue_break(vq);
			break;
		}
		load_desc(&d, &desc[head], false);
		d.id = head;
		if (unlikely(!read_next(vq, &chains[n], arena, &fast, head, &d, false, write)))
			break;
	}
	fast_end(&fast, arena);
	vq->avail = (uint16_t)(avail + n);
	fetch_entries(vq, n);
	return n;
}

static ALWAYS_INLINE unsigned take_packed(struct virtqueue *vq, struct virtq_chain *chains,
					  unsigned max, struct virtq_arena *arena, const bool write)
{
	unsigned n, at = vq->avail, num = vq->num;
	const struct vring_desc *desc = vq->desc;
	bool wrap = vq->avail_wrap;
	struct fast fast;

	fast_begin(&fast, vq, arena, write);
	for (n = 0; n < max; n++) {
		struct virtq_desc d;

		/* used descriptors are written where these are read */
		if (!(at % DESC_PER_LINE))
			prefetch_write(&desc[(at + PACKED_AHEAD) & (num - 1)]);
		load_desc(&d, &desc[at], true);
		if (!is_available(d.flags, wrap))
			break;
		if (unlikely(!read_next(vq, &chains[n], arena, &fast, at, &d, true, write)))
			break;
		at += chains[n].slots;
		if (at >= num) {
			at -= num;
			wrap = !wrap;
		}
	}
	fast_end(&fast, arena);
	vq->avail = (uint16_t)at;
	vq->avail_wrap = wrap;
	return n;
}

unsigned virtqueue_take(struct virtqueue *vq, struct virtq_chain *chains, unsigned max,
			struct virtq_arena *arena)
{
	unsigned n = 0;

	if (unlikely(vq->draining || vq->broken))
		return 0;
	if (unlikely(vq->inflight != NULL)) {
		n = take_again(vq, chains, max, arena);
		if (n || vq->broken)
			return n;
	}
	/* a queue's chains mostly go one way */
	if (vq->packed)
		n = vq->writes ? take_packed(vq, chains, max, arena, true)
			       : take_packed(vq, chains, max, arena, false);
	else
		n = vq->writes ? take_split(vq, chains, max, arena, true)
			       : take_split(vq, chains, max, arena, false);
	COUNT(vq->in_flight, n);
	COUNT(vq->stats.chains, n);
	return n;
}

void virtqueue_put_back(struct virtqueue *vq, const struct virtq_chain *chains, unsigned n)
{
	COUNT(vq->in_flight, 0u - n);
	COUNT(vq->stats.chains, 0 - (uint64_t)n);
	while (n--) {
		if (chains[n].again) {
			inflight_unnext(vq, 1);
			continue;
		}
		if (!vq->packed) {
			vq->avail--;
		} else {
			int at = vq->avail - chains[n].slots;

			if (at < 0) {
				at += vq->num;
				vq->avail_wrap = !vq->avail_wrap;
			}
			vq->avail = (uint16_t)at;
		}
		if (vq->inflight)
			inflight_untook(vq, &chains[n]);
	}
}
