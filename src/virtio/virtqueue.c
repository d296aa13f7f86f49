/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One implementation of chains for both kinds of ring: the functions that do the work take the kind
 * as a constant and are always inlined, so that the compiler makes one straight path of each. The
 * common chain, one descriptor in the region that served last, goes through without a call.
 *
 * Pointers to the rings are looked up once per memory table (memory_reader.generation).
 */
#include "virtio/virtqueue.h"

#include "base/event.h"
#include "base/rcu.h"
#include "virtio/inflight.h"

#include <errno.h>
#include <unistd.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define AVAIL_BIT     (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED_BIT      (1u << VRING_PACKED_DESC_F_USED)
#define PREFETCH      4u /* chains ahead of the one being read */

enum { CHAIN_OK, CHAIN_FULL, CHAIN_BROKEN };

int virtqueue_init(struct virtqueue *vq, struct memory_space *space)
{
	pthread_mutexattr_t attr;

	memset(vq, 0, sizeof(*vq));
	vq->call_fd = vq->err_fd = -1;
	memory_reader_init(&vq->reader, space);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&vq->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return 0;
}

void virtqueue_done(struct virtqueue *vq)
{
	if (vq->call_fd >= 0)
		close(vq->call_fd);
	if (vq->err_fd >= 0)
		close(vq->err_fd);
	vq->call_fd = vq->err_fd = -1;
	inflight_free(vq);
	pthread_mutex_destroy(&vq->lock);
}

/* ---- control ----------------------------------------------------------------------------- */

static bool resolve(struct virtqueue *vq)
{
	const struct virtq_config *c = &vq->config;
	size_t num = c->num, avail_bytes = vq->packed ? 4 : 6 + 2 * num;
	size_t used_bytes = vq->packed ? 4 : 6 + 8 * num;

	vq->generation = vq->reader.generation;
	vq->desc = memory_at(&vq->reader, c->desc, 16 * num, MEMORY_READ | MEMORY_WRITE);
	vq->avail_ring = memory_at(&vq->reader, c->avail, avail_bytes, MEMORY_READ);
	vq->used_ring = memory_at(&vq->reader, c->used, used_bytes, MEMORY_READ | MEMORY_WRITE);
	/* regions need not be aligned as guest addresses are */
	vq->reachable = vq->desc && vq->avail_ring && vq->used_ring &&
			!((uintptr_t)vq->desc % 16) && !((uintptr_t)vq->used_ring % 4) &&
			!((uintptr_t)vq->avail_ring % (vq->packed ? 4 : 2));
	return vq->reachable;
}

static void set_position(struct virtqueue *vq, uint32_t base)
{
	if (vq->packed) {
		vq->avail = base & 0x7fff;
		vq->avail_wrap = base >> 15 & 1;
		vq->used = base >> 16 & 0x7fff;
		vq->used_wrap = base >> 31;
	} else {
		vq->avail = vq->avail_seen = (uint16_t)base;
		vq->used = vq->published = READ_ONCE(vq->used_ring[1]);
	}
}

/* What was in flight lies in the slots between used and avail. */
static int recover(struct virtqueue *vq)
{
	uint16_t used = vq->packed ? (uint16_t)(vq->used | vq->used_wrap << 15) : vq->used;
	int slots = inflight_recover(vq, &used);

	if (slots < 0)
		return slots;
	if (vq->packed) {
		unsigned avail = (used & 0x7fffu) + (unsigned)slots;

		if ((used & 0x7fff) >= vq->num || slots > vq->num)
			return -EINVAL;
		vq->used = used & 0x7fff;
		vq->used_wrap = used >> 15;
		vq->avail_wrap = vq->used_wrap ^ (avail >= vq->num);
		vq->avail = (uint16_t)(avail >= vq->num ? avail - vq->num : avail);
	} else {
		vq->avail = vq->avail_seen = (uint16_t)(used + slots);
	}
	return 0;
}

int virtqueue_start(struct virtqueue *vq, const struct virtq_config *config)
{
	bool packed = config->features >> VIRTIO_F_RING_PACKED & 1;
	int err;

	if (vq->started)
		return -EBUSY;
	if (!config->num || config->num > VIRTQ_NUM_MAX ||
	    (!packed && !is_power_of_two(config->num)))
		return -EINVAL;
	if (config->desc % 16 || config->avail % (packed ? 4 : 2) || config->used % 4)
		return -EINVAL;
	if (packed && ((config->base & 0x7fff) >= config->num ||
		       (config->base >> 16 & 0x7fff) >= config->num))
		return -EINVAL;
	vq->config = *config;
	vq->num = (uint16_t)config->num;
	vq->packed = packed;
	vq->event_idx = config->features >> VIRTIO_RING_F_EVENT_IDX & 1;
	vq->indirect = config->features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	vq->in_order = config->features >> VIRTIO_F_IN_ORDER & 1;
	memory_reader_begin(&vq->reader);
	if (!resolve(vq))
		return -EFAULT;
	set_position(vq, config->base);
	if (vq->inflight) {
		err = recover(vq);
		if (err)
			return err;
	}
	vq->batch_open = false;
	vq->unpublished = 0;
	WRITE_ONCE(vq->in_flight, 0);
	vq->broken = vq->draining = false;
	vq->always_notify = true;
	WRITE_ONCE(vq->started, true);
	return 0;
}

bool virtqueue_drain(struct virtqueue *vq)
{
	vq->draining = true;
	return !vq->started || !vq->in_flight;
}

void virtqueue_resume(struct virtqueue *vq)
{
	vq->draining = false;
}

void virtqueue_stop(struct virtqueue *vq)
{
	if (vq->started && vq->unpublished && virtqueue_begin(vq))
		virtqueue_publish(vq);
	WRITE_ONCE(vq->started, false);
	vq->draining = false;
	WRITE_ONCE(vq->in_flight, 0);
}

uint32_t virtqueue_base(const struct virtqueue *vq)
{
	if (!vq->packed)
		return vq->avail;
	return vq->avail | (uint32_t)vq->avail_wrap << 15 | (uint32_t)vq->used << 16 |
	       (uint32_t)vq->used_wrap << 31;
}

uint32_t virtqueue_used_base(const struct virtqueue *vq)
{
	uint32_t used = vq->used | (uint32_t)vq->used_wrap << 15;

	return vq->packed ? used | used << 16 : vq->used;
}

void virtqueue_enable(struct virtqueue *vq, bool on)
{
	/* read without the lock by who picks a queue */
	WRITE_ONCE(vq->enabled, on);
}

void virtqueue_log(struct virtqueue *vq, bool writes, bool used)
{
	vq->log_writes = writes;
	vq->log_used = writes && used;
}

static void swap_fd(int *slot, int fd)
{
	int old = __atomic_exchange_n(slot, fd, __ATOMIC_ACQ_REL);

	if (old < 0)
		return;
	rcu_wait();
	close(old);
}

void virtqueue_set_call(struct virtqueue *vq, int fd)
{
	swap_fd(&vq->call_fd, fd);
	if (READ_ONCE(vq->started))
		event_fd_signal(fd);
}

void virtqueue_set_err(struct virtqueue *vq, int fd)
{
	swap_fd(&vq->err_fd, fd);
}

void virtqueue_notify(struct virtqueue *vq)
{
	event_fd_signal(LOAD_ACQUIRE(vq->call_fd));
}

void virtqueue_break(struct virtqueue *vq)
{
	if (vq->broken)
		return;
	vq->broken = true;
	COUNT(vq->stats.broken, 1);
	event_fd_signal(LOAD_ACQUIRE(vq->err_fd));
}

bool virtqueue_begin(struct virtqueue *vq)
{
	if (unlikely(!vq->started || vq->broken))
		return false;
	memory_reader_begin(&vq->reader);
	if (unlikely(vq->generation != vq->reader.generation))
		resolve(vq);
	return vq->reachable;
}

/* ---- chains ------------------------------------------------------------------------------ */

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
	if (unlikely(chain->error || !d->len))
		return CHAIN_OK;
	host = memory_at(&vq->reader, d->addr, d->len, access);
	if (likely(host && arena->n < arena->max)) {
		arena->iov[arena->n++] = (struct iovec){ host, d->len };
	} else {
		n = memory_iov(&vq->reader, d->addr, d->len, access, arena->iov + arena->n,
			       arena->max - arena->n);
		if (n < 0) {
			chain->error = n;
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

/* Section 2.7.5.3, 2.8.7: a table elsewhere; packed ones are read in order, split ones by NEXT. */
static __attribute__((noinline)) int add_indirect(struct virtqueue *vq, struct virtq_chain *chain,
						  struct virtq_arena *arena,
						  const struct virtq_desc *d, bool packed)
{
	uint32_t n = d->len / 16, at = 0;
	const uint8_t *table;

	if (!vq->indirect || !n || d->len % 16 ||
	    n > MAX((uint32_t)vq->num, (uint32_t)VIRTQ_CHAIN_MAX) ||
	    (!packed && d->flags & VRING_DESC_F_NEXT))
		return CHAIN_BROKEN;
	table = memory_at(&vq->reader, d->addr, d->len, MEMORY_READ);
	for (uint32_t count = 0; count < n; count++) {
		struct virtq_desc entry;
		uint8_t copy[16];

		if (table) {
			load_desc(&entry, table + 16 * at, packed);
		} else if (!memory_read(&vq->reader, d->addr + 16 * at, copy, sizeof(copy))) {
			load_desc(&entry, copy, packed);
		} else {
			chain->error = -EFAULT;
			return CHAIN_OK;
		}
		if (entry.flags & VRING_DESC_F_INDIRECT)
			return CHAIN_BROKEN;
		if (add_piece(vq, chain, arena, &entry) == CHAIN_BROKEN)
			return CHAIN_BROKEN;
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

static ALWAYS_INLINE int add_desc(struct virtqueue *vq, struct virtq_chain *chain,
				  struct virtq_arena *arena, const struct virtq_desc *d,
				  const bool packed)
{
	if (unlikely(d->flags & VRING_DESC_F_INDIRECT))
		return add_indirect(vq, chain, arena, d, packed);
	return add_piece(vq, chain, arena, d);
}

/* The chain that starts at @at (split: descriptor, packed: slot), all of it. */
static ALWAYS_INLINE int read_chain(struct virtqueue *vq, struct virtq_chain *chain,
				    struct virtq_arena *arena, uint16_t at, const bool packed)
{
	struct virtq_desc d;
	unsigned count = 0;

	do {
		if (unlikely(count == vq->num))
			return CHAIN_BROKEN;
		load_desc(&d, &vq->desc[at], packed);
		count++;
		if (packed && unlikely(vq->inflight != NULL))
			inflight_saw(vq, &d);
		if (unlikely(add_desc(vq, chain, arena, &d, packed) == CHAIN_BROKEN))
			return CHAIN_BROKEN;
		if (packed) {
			at = (uint16_t)(at + 1 == vq->num ? 0 : at + 1);
		} else if (likely(!(d.flags & VRING_DESC_F_NEXT) ||
				  d.flags & VRING_DESC_F_INDIRECT)) {
			break;
		} else {
			at = d.next;
			if (unlikely(at >= vq->num))
				return CHAIN_BROKEN;
		}
	} while (d.flags & VRING_DESC_F_NEXT);
	if (packed) {
		chain->id = d.id;
		chain->slots = (uint16_t)count;
	}
	return CHAIN_OK;
}

/* A packed chain that was in flight, from the record of it. */
static int read_record(struct virtqueue *vq, struct virtq_chain *chain, struct virtq_arena *arena,
		       uint16_t record)
{
	struct virtq_desc d = { 0 };
	unsigned i;

	for (i = 0; inflight_desc(vq, record, i, &d); i++)
		if (add_desc(vq, chain, arena, &d, true) == CHAIN_BROKEN)
			return CHAIN_BROKEN;
	chain->id = d.id;
	chain->slots = (uint16_t)i;
	chain->record = record;
	return i ? CHAIN_OK : CHAIN_BROKEN;
}

/* After the pieces: errors and room. */
static ALWAYS_INLINE int finish_chain(struct virtqueue *vq, struct virtq_chain *chain,
				      struct virtq_arena *arena, unsigned start)
{
	if (likely(!chain->error))
		return CHAIN_OK;
	arena->n = start;
	if (chain->error == -E2BIG && start)
		return CHAIN_FULL;
	chain->n_in = chain->n_out = 0;
	chain->in_bytes = chain->out_bytes = 0;
	COUNT(vq->stats.bad_chains, 1);
	return CHAIN_OK;
}

static __attribute__((noinline)) unsigned take_again(struct virtqueue *vq,
						     struct virtq_chain *chains, unsigned max,
						     struct virtq_arena *arena)
{
	uint16_t entry;
	unsigned n;

	for (n = 0; n < max && inflight_next(vq, &entry); n++) {
		struct virtq_chain *chain = &chains[n];
		unsigned start = arena->n;
		int result;

		*chain = (struct virtq_chain){
			.iov = arena->iov + start, .id = entry, .slots = 1, .again = true
		};
		result = vq->packed ? read_record(vq, chain, arena, entry)
				    : read_chain(vq, chain, arena, entry, false);
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

static ALWAYS_INLINE bool packed_available(const struct virtqueue *vq, uint16_t slot, bool wrap)
{
	const struct vring_packed_desc *d = (const struct vring_packed_desc *)&vq->desc[slot];
	uint16_t flags = LOAD_ACQUIRE(d->flags);

	return !!(flags & AVAIL_BIT) == wrap && !!(flags & USED_BIT) != wrap;
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

/* Split: the head of the chain that is taken after @ahead others. */
static ALWAYS_INLINE void prefetch_desc(struct virtqueue *vq, unsigned ahead)
{
	unsigned mask = vq->num - 1u;

	__builtin_prefetch(
		&vq->desc[READ_ONCE(vq->avail_ring[2 + ((vq->avail + ahead) & mask)]) & mask]);
}

static ALWAYS_INLINE unsigned take(struct virtqueue *vq, struct virtq_chain *chains, unsigned max,
				   struct virtq_arena *arena, const bool packed)
{
	unsigned mask = vq->num - 1u, n, n_avail = max, n_seen = 0;

	if (!packed) {
		uint16_t seen = vq->avail_seen;

		n_seen = split_available(vq, max);
		n_avail = MIN(n_seen, max);
		/* descriptors of chains that were not known before; those behind them later */
		if (vq->avail_seen != seen)
			for (unsigned i = 0; i < n_seen && i < PREFETCH; i++)
				prefetch_desc(vq, i);
	}
	for (n = 0; n < n_avail; n++) {
		struct virtq_chain *chain = &chains[n];
		unsigned start = arena->n;
		uint16_t at = vq->avail;
		int result;

		if (packed) {
			if (!packed_available(vq, at, vq->avail_wrap))
				break;
		} else {
			at = READ_ONCE(vq->avail_ring[2 + (at & mask)]);
			if (unlikely(at >= vq->num)) {
				virtqueue_break(vq);
				break;
			}
			if (n + PREFETCH < n_seen)
				prefetch_desc(vq, PREFETCH);
		}
		*chain = (struct virtq_chain){ .iov = arena->iov + start, .id = at, .slots = 1 };
		result = read_chain(vq, chain, arena, at, packed);
		if (likely(result == CHAIN_OK))
			result = finish_chain(vq, chain, arena, start);
		if (unlikely(result != CHAIN_OK)) {
			if (vq->inflight && packed)
				inflight_forget(vq);
			if (result == CHAIN_BROKEN)
				virtqueue_break(vq);
			break;
		}
		if (likely(chain->n_out))
			__builtin_prefetch(chain->iov[0].iov_base);
		if (packed) {
			unsigned next = vq->avail + chain->slots;

			if (next >= vq->num) {
				next -= vq->num;
				vq->avail_wrap = !vq->avail_wrap;
			}
			vq->avail = (uint16_t)next;
			if (unlikely(vq->inflight != NULL))
				chain->record = inflight_took_packed(vq);
		} else {
			vq->avail++;
			if (unlikely(vq->inflight != NULL))
				inflight_took_split(vq, at);
		}
	}
	COUNT(vq->in_flight, n);
	COUNT(vq->stats.chains, n);
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
		if (n)
			return n;
	}
	return vq->packed ? take(vq, chains, max, arena, true)
			  : take(vq, chains, max, arena, false);
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

/* ---- used -------------------------------------------------------------------------------- */

static __attribute__((noinline)) void log_buffers(struct virtqueue *vq,
						  const struct virtq_chain *chain, uint32_t len)
{
	const struct iovec *in = chain->iov + chain->n_out;
	uint64_t left = len;

	for (unsigned i = 0; i < chain->n_in; i++) {
		uint64_t here = MIN(left, (uint64_t)in[i].iov_len);

		/* the last piece always: a status byte may stand at its end */
		if (i + 1u == chain->n_in)
			here = in[i].iov_len;
		memory_dirty_host(&vq->reader, in[i].iov_base, here);
		left -= MIN(left, here);
	}
}

void virtqueue_give(struct virtqueue *vq, const struct virtq_chain *chain, uint32_t len)
{
	if (unlikely(vq->log_writes && len))
		log_buffers(vq, chain, len);
	if (unlikely(vq->inflight != NULL))
		inflight_gave(vq, chain);
	COUNT(vq->in_flight, 0u - 1);
	if (!vq->packed) {
		struct vring_used_elem *elem =
			&((struct vring_used_elem *)(vq->used_ring + 2))[vq->used & (vq->num - 1)];

		WRITE_ONCE(elem->id, chain->id);
		WRITE_ONCE(elem->len, len);
		vq->used++;
		vq->unpublished++;
	} else {
		struct vring_packed_desc *d = (struct vring_packed_desc *)&vq->desc[vq->used];
		uint16_t flags = (uint16_t)((vq->used_wrap ? AVAIL_BIT | USED_BIT : 0) |
					    (len ? VRING_DESC_F_WRITE : 0));
		unsigned next = vq->used + chain->slots;

		WRITE_ONCE(d->len, len);
		WRITE_ONCE(d->id, chain->id);
		if (!vq->batch_open) {
			/* the driver looks at this one first: it is written last */
			vq->batch_open = true;
			vq->first_slot = vq->used;
			vq->first_flags = flags;
		} else {
			STORE_RELEASE(d->flags, flags);
		}
		if (next >= vq->num) {
			next -= vq->num;
			vq->used_wrap = !vq->used_wrap;
		}
		vq->used = (uint16_t)next;
		vq->unpublished += chain->slots;
	}
}

/* Marks @n slots of @bytes each of the array at @base, from @at, round its end. */
static __attribute__((noinline)) void log_ring(struct virtqueue *vq, uint64_t base, unsigned bytes,
					       unsigned at, unsigned n)
{
	unsigned first;

	n = MIN(n, (unsigned)vq->num);
	first = MIN(n, vq->num - at);
	memory_dirty(&vq->reader, base + (uint64_t)at * bytes, (uint64_t)first * bytes);
	memory_dirty(&vq->reader, base, (uint64_t)(n - first) * bytes);
}

static bool wants_split(struct virtqueue *vq, uint16_t old)
{
	if (!vq->event_idx)
		return !(READ_ONCE(vq->avail_ring[0]) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(READ_ONCE(vq->avail_ring[2 + vq->num]), vq->used, old);
}

static bool wants_packed(struct virtqueue *vq, unsigned slots)
{
	/* both fields in one load */
	uint32_t event = READ_ONCE(*(const uint32_t *)vq->avail_ring);
	unsigned flags = event >> 16 & 3, at = event & 0x7fff;
	bool wrap = event >> 15 & 1;

	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	if (wrap != vq->used_wrap)
		at -= vq->num;
	return vring_need_event((uint16_t)at, vq->used, (uint16_t)(vq->used - slots));
}

bool virtqueue_publish(struct virtqueue *vq)
{
	unsigned n = vq->unpublished;
	bool wants;

	if (n) {
		uint16_t old = vq->published;

		if (vq->packed) {
			struct vring_packed_desc *d =
				(struct vring_packed_desc *)&vq->desc[vq->first_slot];

			STORE_RELEASE(d->flags, vq->first_flags);
			vq->batch_open = false;
			if (unlikely(vq->log_used))
				log_ring(vq, vq->config.desc, 16, vq->first_slot, n);
		} else {
			STORE_RELEASE(vq->used_ring[1], vq->used);
			vq->published = vq->used;
			if (unlikely(vq->log_used)) {
				log_ring(vq, vq->config.used + 4, 8, old & (vq->num - 1u), n);
				memory_dirty(&vq->reader, vq->config.used, 4);
			}
		}
		vq->unpublished = 0;
		if (unlikely(vq->inflight != NULL))
			inflight_published(vq);
		/* what the driver wants is read after it can see what it got */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		wants = vq->packed ? wants_packed(vq, n) : wants_split(vq, old);
		if (unlikely(vq->always_notify)) {
			vq->always_notify = false;
			wants = true;
		}
		if (wants)
			COUNT(vq->stats.notified, 1);
		else
			COUNT(vq->stats.suppressed, 1);
	} else {
		wants = false;
	}
	if (unlikely(vq->draining && !vq->in_flight && vq->drained))
		vq->drained(vq, vq->drained_arg);
	return wants;
}

/* ---- kicks ------------------------------------------------------------------------------- */

bool virtqueue_pending(struct virtqueue *vq)
{
	if (vq->draining)
		return false;
	if (vq->packed)
		return packed_available(vq, vq->avail, vq->avail_wrap);
	return LOAD_ACQUIRE(vq->avail_ring[1]) != vq->avail;
}

bool virtqueue_kicks(struct virtqueue *vq, bool on)
{
	uint64_t offset = 0;

	if (vq->packed) {
		struct vring_packed_desc_event *event = (void *)vq->used_ring;

		WRITE_ONCE(event->flags,
			   on ? VRING_PACKED_EVENT_FLAG_ENABLE : VRING_PACKED_EVENT_FLAG_DISABLE);
	} else if (vq->event_idx) {
		offset = 4 + 8ull * vq->num;
		/* An index that was passed asks for nothing; once round the ring it may ask for one
		 * kick too many. */
		if (on)
			WRITE_ONCE(vq->used_ring[2 + 4 * vq->num], vq->avail);
	} else {
		WRITE_ONCE(vq->used_ring[0], on ? 0 : VRING_USED_F_NO_NOTIFY);
	}
	if (unlikely(vq->log_used))
		memory_dirty(&vq->reader, vq->config.used + offset, 4);
	if (!on)
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (likely(!virtqueue_pending(vq)))
		return false;
	virtqueue_kicks(vq, false);
	return true;
}
