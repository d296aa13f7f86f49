/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver's side of a virtio-net device, for load: one queue pair, polled, one descriptor per
 * buffer, and a buffer per descriptor for good (VIRTIO 1.3, sections 2.7, 2.8 and 5.1.6). It does
 * what a driver does for each frame: writes the descriptor, reads the used entry, recycles the
 * buffer. Frames are aligned to cache lines, with the header in front of them, as drivers have it.
 *
 * The other side is checked: an ID that is not out, or a length that cannot be, is an error of the
 * device.
 */
#include "client/net_load_private.h"
#include "client/vhost_user_client.h"

#include <linux/memfd.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_BASE  0x100000000ull
#define FRAME_AT    64u /* in a buffer */
#define HEADER	    ((uint32_t)sizeof(struct virtio_net_hdr_mrg_rxbuf))
#define MERGED_ROOM 2048u
#define HUGE_PAGE   (2ul << 20)
#define AVAIL_BIT   (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED_BIT    (1u << VRING_PACKED_DESC_F_USED)
#define NO_FLOW	    0xffff
#define PROTOCOL    (1ull << 0 | 1ull << 3) /* MQ, REPLY_ACK */

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* One ring. A buffer's ID is its index. */
struct side {
	struct vring_desc *desc;
	uint16_t *avail, *used; /* packed: event structures of the driver and of the device */
	uint16_t num, mask;
	uint16_t next_avail, next_used; /* split: free running; packed: slots */
	uint16_t used_seen;		/* split: the device's index as last read */
	bool avail_wrap, used_wrap;
	uint16_t flags;	  /* of a descriptor, without those of packed rings */
	uint32_t len;	  /* receive: bytes of a buffer, header included */
	uint8_t *frames;  /* where we see frame 0 */
	uint64_t address; /* where the device sees the header in front of it */
	uint32_t *at;	  /* where buffer @id lies, from there on */
	uint16_t n_free, free_head;
	uint16_t *free; /* IDs, a FIFO of num */
	uint8_t *out;	/* the device has it */
	int kick_fd;
	/* packed: the first descriptor since the last publication */
	uint64_t first_word;
	uint64_t *first_at;
};

struct net_virtio {
	struct net_port port;
	struct vhost_client vhost;
	bool packed, mergeable;
	uint8_t *memory;
	size_t bytes;
	int memory_fd;
	struct side rx, tx;
	uint16_t *tx_flow; /* whose template a buffer has */
	uint8_t *whole;	   /* a merged frame, put together to be verified */
	struct {
		uint8_t *first;
		uint32_t len;
		unsigned left;
	} merging;
};

static struct net_virtio *of_port(struct net_port *port)
{
	return container_of(port, struct net_virtio, port);
}

/* ---- rings ------------------------------------------------------------------------------- */

static ALWAYS_INLINE uint8_t *frame_of(const struct side *side, uint16_t id)
{
	return side->frames + side->at[id];
}

/* Gives buffer @id with @len bytes to the device, which sees it after publish(). */
static ALWAYS_INLINE void post(struct side *side, uint16_t id, uint32_t len, const bool packed)
{
	uint64_t address = side->address + side->at[id];
	struct vring_desc *d;
	uint64_t *second, word;

	side->out[id] = 1;
	if (!packed) {
		d = &side->desc[id];
		d->addr = address;
		store_le64(&d->len, len | (uint64_t)side->flags << 32);
		WRITE_ONCE(side->avail[2 + (side->next_avail++ & side->mask)], id);
		return;
	}
	d = &side->desc[side->next_avail];
	second = (uint64_t *)(void *)&d->len;
	word = len | (uint64_t)id << 32 |
	       (uint64_t)(side->flags | (side->avail_wrap ? AVAIL_BIT : USED_BIT)) << 48;
	d->addr = address;
	if (!side->first_at) {
		side->first_at = second;
		side->first_word = word;
	} else {
		STORE_RELEASE(*second, word);
	}
	if (++side->next_avail == side->num) {
		side->next_avail = 0;
		side->avail_wrap = !side->avail_wrap;
	}
}

/* The next @n descriptors will be written. (With split rings they need not be the next ones, but
 * they are when the device uses buffers in order.) */
static ALWAYS_INLINE void fetch_slots(const struct side *side, unsigned n)
{
	for (unsigned i = 0; i < n; i += CACHE_LINE / sizeof(*side->desc))
		prefetch_write(&side->desc[(side->next_avail + i) & side->mask]);
}

/* Makes visible what was posted (at least one); kicks if the device asks for it. */
static ALWAYS_INLINE void publish(struct net_port *port, struct side *side, const bool packed)
{
	static const uint64_t one = 1;
	bool wants;

	if (!packed) {
		STORE_RELEASE(side->avail[1], side->next_avail);
	} else {
		STORE_RELEASE(*side->first_at, side->first_word);
		side->first_at = NULL;
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	wants = packed ? (READ_ONCE(side->used[1]) & 3) != VRING_PACKED_EVENT_FLAG_DISABLE
		       : !(READ_ONCE(side->used[0]) & VRING_USED_F_NO_NOTIFY);
	if (unlikely(wants)) {
		port->kicks++;
		if (write(side->kick_fd, &one, sizeof(one)) < 0)
			port->device_errors++;
	}
}

/* Up to @max used entries, in order; IDs that were not out are left out. */
static ALWAYS_INLINE unsigned collect(struct net_port *port, struct side *side, uint16_t *ids,
				      uint32_t *lens, unsigned max, const bool packed)
{
	unsigned n = 0, entries;

	if (!packed) {
		const struct vring_used_elem *ring = (const void *)(side->used + 2);

		entries = (uint16_t)(side->used_seen - side->next_used);
		if (entries < max) {
			side->used_seen = LOAD_ACQUIRE(side->used[1]);
			entries = (uint16_t)(side->used_seen - side->next_used);
		}
		if (unlikely(entries > side->num)) {
			port->device_errors++;
			return 0;
		}
		entries = MIN(entries, max);
		for (unsigned i = 0; i < entries; i++) {
			uint64_t elem = load_le64(&ring[side->next_used++ & side->mask]);
			uint32_t id = (uint32_t)elem;

			if (unlikely(id >= side->num || !side->out[id])) {
				port->device_errors++;
				continue;
			}
			side->out[id] = 0;
			ids[n] = (uint16_t)id;
			lens[n++] = (uint32_t)(elem >> 32);
		}
		return n;
	}
	while (n < max) {
		const struct vring_desc *d = &side->desc[side->next_used];
		uint64_t word = LOAD_ACQUIRE(*(const uint64_t *)(const void *)&d->len);
		unsigned flags = (unsigned)(word >> 48), id = (uint16_t)(word >> 32);

		if (!!(flags & AVAIL_BIT) != side->used_wrap ||
		    !!(flags & USED_BIT) != side->used_wrap)
			break;
		if (unlikely(id >= side->num || !side->out[id])) {
			/* where the next one stands is not known any more */
			port->device_errors++;
			break;
		}
		side->out[id] = 0;
		ids[n] = (uint16_t)id;
		lens[n++] = (uint32_t)word;
		if (++side->next_used == side->num) {
			side->next_used = 0;
			side->used_wrap = !side->used_wrap;
		}
	}
	return n;
}

/*
 * The server's core has what it wrote, and has read what it was sent; each line that comes or goes
 * takes hundreds of cycles. So those of the next burst are fetched while this one is worked on:
 * here the frames that have come already (hints: they are checked when they are collected).
 */
static ALWAYS_INLINE void fetch_used(const struct side *side, unsigned max, const bool packed)
{
	const struct vring_used_elem *ring = (const void *)(side->used + 2);
	unsigned at = side->next_used, n = (uint16_t)(side->used_seen - side->next_used);
	bool wrap = side->used_wrap;

	if (!packed) {
		for (unsigned i = 0; i < MIN(n, max); i++, at++)
			__builtin_prefetch(frame_of(
				side,
				(uint16_t)(READ_ONCE(ring[at & side->mask].id) & side->mask)));
		return;
	}
	for (unsigned i = 0; i < max; i++) {
		const struct vring_desc *d = &side->desc[at];
		uint64_t word = READ_ONCE(*(const uint64_t *)(const void *)&d->len);
		unsigned flags = (unsigned)(word >> 48);

		if (!!(flags & AVAIL_BIT) != wrap || !!(flags & USED_BIT) != wrap)
			return;
		__builtin_prefetch(frame_of(side, (uint16_t)(word >> 32 & side->mask)));
		if (++at == side->num) {
			at = 0;
			wrap = !wrap;
		}
	}
}

/* ---- sending ----------------------------------------------------------------------------- */

static ALWAYS_INLINE void reclaim(struct net_port *port, struct side *side, const bool packed)
{
	uint32_t lens[NET_BURST];
	uint16_t ids[NET_BURST];
	unsigned n;

	do {
		n = collect(port, side, ids, lens, NET_BURST, packed);
		for (unsigned i = 0; i < n; i++)
			side->free[(side->free_head + side->n_free++) & side->mask] = ids[i];
	} while (n == NET_BURST);
}

/* Up to @n frames will be sent soon. */
static ALWAYS_INLINE void fetch_free(struct net_port *port, struct side *side, unsigned n,
				     const bool packed)
{
	if (side->n_free < n)
		reclaim(port, side, packed);
	n = MIN(n, (unsigned)side->n_free);
	for (unsigned i = 0; i < n; i++)
		prefetch_write(frame_of(side, side->free[(side->free_head + i) & side->mask]));
	fetch_slots(side, n);
}

static __attribute__((noinline)) void fill(struct net_virtio *v, const struct net_flow *flow,
					   uint16_t id)
{
	struct virtio_net_hdr_mrg_rxbuf *hdr;
	uint8_t *frame = frame_of(&v->tx, id);

	memcpy(frame, flow->frame, flow->params.size);
	hdr = (struct virtio_net_hdr_mrg_rxbuf *)(void *)(frame - HEADER);
	memset(hdr, 0, sizeof(*hdr));
	if (flow->params.gso_size) {
		hdr->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		hdr->hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		hdr->hdr.hdr_len = NET_RECORD_TCP;
		hdr->hdr.gso_size = flow->params.gso_size;
		hdr->hdr.csum_start = 34;
		hdr->hdr.csum_offset = 16;
	}
	v->tx_flow[id] = flow->id;
}

static ALWAYS_INLINE unsigned send_n(struct net_virtio *v, const struct net_flow *flow, unsigned n,
				     uint64_t stamp, uint64_t step, const bool packed)
{
	struct side *side = &v->tx;
	uint32_t len = HEADER + flow->params.size;

	if (side->n_free < n)
		reclaim(&v->port, side, packed);
	n = MIN(n, (unsigned)side->n_free);
	if (!n)
		return 0;
	fetch_free(&v->port, side, n, packed);
	for (unsigned i = 0; i < n; i++) {
		uint16_t id = side->free[side->free_head++ & side->mask];

		if (unlikely(v->tx_flow[id] != flow->id))
			fill(v, flow, id);
		net_record_write(flow, frame_of(side, id), flow->sent + i, stamp + i * step);
		post(side, id, len, packed);
	}
	side->n_free = (uint16_t)(side->n_free - n);
	publish(&v->port, side, packed);
	return n;
}

static unsigned send(struct net_port *port, const struct net_flow *flow, unsigned n, uint64_t stamp,
		     uint64_t step)
{
	struct net_virtio *v = of_port(port);

	return v->packed ? send_n(v, flow, n, stamp, step, true)
			 : send_n(v, flow, n, stamp, step, false);
}

static void announce(struct net_port *port, const void *frame, uint32_t len)
{
	struct net_virtio *v = of_port(port);
	struct side *side = &v->tx;
	uint16_t id;

	if (!side->n_free)
		return;
	id = side->free[side->free_head++ & side->mask];
	side->n_free--;
	memset(frame_of(side, id) - HEADER, 0, HEADER);
	memcpy(frame_of(side, id), frame, len);
	v->tx_flow[id] = NO_FLOW;
	post(side, id, HEADER + len, v->packed);
	publish(port, side, v->packed);
}

/* ---- receiving --------------------------------------------------------------------------- */

/* A piece of a frame that takes several buffers. True when the frame is complete. */
static __attribute__((noinline)) bool merge(struct net_virtio *v, uint8_t *frame, uint32_t len,
					    uint64_t now)
{
	if (!v->merging.left) {
		v->merging.left = load_le16(frame - 2); /* num_buffers */
		v->merging.len = 0;
		len -= HEADER;
	} else {
		/* there is no header in front of it */
		frame -= HEADER;
	}
	if (v->merging.len + len > v->port.frame_max) {
		v->port.device_errors++;
		len = 0;
	}
	memcpy(v->whole + v->merging.len, frame, len);
	v->merging.len += len;
	if (--v->merging.left)
		return false;
	net_receive(&v->port, v->whole, v->merging.len, now);
	return true;
}

static ALWAYS_INLINE unsigned receive_n(struct net_virtio *v, const bool packed)
{
	struct side *side = &v->rx;
	uint32_t lens[NET_BURST];
	uint16_t ids[NET_BURST];
	unsigned n = collect(&v->port, side, ids, lens, v->port.burst, packed), frames = n;
	uint64_t now;

	if (!n)
		return 0;
	now = time_cycles();
	for (unsigned i = 0; i < n; i++)
		__builtin_prefetch(frame_of(side, ids[i]));
	fetch_slots(side, n);
	/* who answers sends about as many */
	if (v->port.n_out)
		fetch_free(&v->port, &v->tx, n, packed);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *frame = frame_of(side, ids[i]);

		if (unlikely(lens[i] > side->len || lens[i] <= HEADER))
			v->port.device_errors++;
		else if (v->mergeable && (v->merging.left || load_le16(frame - 2) > 1))
			frames -= !merge(v, frame, lens[i], now);
		else
			net_receive(&v->port, frame, lens[i] - HEADER, now);
		post(side, ids[i], side->len, packed);
	}
	publish(&v->port, side, packed);
	fetch_used(side, v->port.burst, packed);
	return frames;
}

static unsigned receive(struct net_port *port)
{
	struct net_virtio *v = of_port(port);

	return v->packed ? receive_n(v, true) : receive_n(v, false);
}

static uint8_t *out(struct net_port *port, unsigned i)
{
	struct side *side = &of_port(port)->tx;

	return frame_of(side, (uint16_t)(i & side->mask));
}

static uint8_t *in(struct net_port *port, unsigned i)
{
	struct side *side = &of_port(port)->rx;

	return frame_of(side, (uint16_t)(i & side->mask));
}

/* ---- life -------------------------------------------------------------------------------- */

static void port_free(struct net_port *port)
{
	struct net_virtio *v = of_port(port);
	struct side *sides[] = { &v->rx, &v->tx };

	vhost_close(&v->vhost);
	for (unsigned i = 0; i < 2; i++) {
		if (sides[i]->kick_fd >= 0)
			close(sides[i]->kick_fd);
		free(sides[i]->at);
		free(sides[i]->free);
		free(sides[i]->out);
	}
	if (v->memory != MAP_FAILED)
		munmap(v->memory, v->bytes);
	if (v->memory_fd >= 0)
		close(v->memory_fd);
	free(v->tx_flow);
	free(v->whole);
	free(v);
}

static size_t ring_bytes(unsigned num)
{
	return ALIGN_UP(16 * (size_t)num, (size_t)4096) +
	       ALIGN_UP(6 + 2 * (size_t)num, (size_t)4096) +
	       ALIGN_UP(6 + 8 * (size_t)num, (size_t)4096);
}

/* An odd number of cache lines, so that the frames use all sets of a cache. */
static uint32_t stride_of(uint32_t room)
{
	uint32_t lines = (FRAME_AT + room + CACHE_LINE - 1) / CACHE_LINE;

	return (lines | 1) * CACHE_LINE;
}

/*
 * Buffers lie in no order, as a guest's do that has run for a while. In order, a core's hardware
 * would fetch the next ones ahead, from under the other core that is just about to write them.
 */
static uint32_t *scatter(unsigned num, uint32_t stride)
{
	uint32_t *at = calloc(num, sizeof(*at)), random = 1;

	for (unsigned i = 0; at && i < num; i++) {
		unsigned k;

		random = random * 1664525u + 1013904223u;
		k = (random >> 8) % (i + 1);
		at[i] = at[k];
		at[k] = i * stride;
	}
	return at;
}

/* @ring and @buffers: offsets in the memory. */
static int side_init(struct net_virtio *v, struct side *side, unsigned num, size_t ring,
		     size_t buffers, uint32_t stride)
{
	uint8_t *at = v->memory + ring;

	side->num = (uint16_t)num;
	side->mask = (uint16_t)(num - 1);
	side->desc = (void *)at;
	at += ALIGN_UP(16 * (size_t)num, (size_t)4096);
	side->avail = (void *)at;
	at += ALIGN_UP(6 + 2 * (size_t)num, (size_t)4096);
	side->used = (void *)at;
	side->avail_wrap = side->used_wrap = true;
	side->frames = v->memory + buffers + FRAME_AT;
	side->address = GUEST_BASE + buffers + FRAME_AT - HEADER;
	side->at = scatter(num, stride);
	side->free = calloc(num, sizeof(uint16_t));
	side->out = calloc(num, 1);
	side->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!side->at || !side->free || !side->out || side->kick_fd < 0)
		return -ENOMEM;
	/* no interrupts */
	if (v->packed)
		side->avail[1] = VRING_PACKED_EVENT_FLAG_DISABLE;
	else
		side->avail[0] = VRING_AVAIL_F_NO_INTERRUPT;
	return 0;
}

static int memory_init(struct net_virtio *v, bool huge)
{
	if (huge)
		v->bytes = ALIGN_UP(v->bytes, HUGE_PAGE);
	v->memory_fd = memfd_create("load", MFD_CLOEXEC | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
	if (v->memory_fd < 0 || ftruncate(v->memory_fd, (off_t)v->bytes) < 0)
		return -errno;
	v->memory = mmap(NULL, v->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			 v->memory_fd, 0);
	return v->memory == MAP_FAILED ? -errno : 0;
}

static int memory_tell(struct net_virtio *v)
{
	struct {
		uint32_t n, pad;
		struct vhost_client_region region;
	} table = { 1, 0, { GUEST_BASE, v->bytes, GUEST_BASE, 0 } };

	return vhost_request(&v->vhost, VHOST_SET_MEM_TABLE, &table, sizeof(table), v->memory_fd);
}

static int negotiate(struct net_virtio *v, const struct net_port_params *params)
{
	uint64_t offloads = 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM |
			    1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO4;
	uint64_t wanted = 1ull << VIRTIO_F_VERSION_1 | VHOST_F_PROTOCOL |
			  (uint64_t)params->packed << VIRTIO_F_RING_PACKED |
			  (uint64_t)params->in_order << VIRTIO_F_IN_ORDER |
			  (uint64_t)params->mergeable << VIRTIO_NET_F_MRG_RXBUF |
			  (params->gso ? offloads : 0);
	int err = vhost_negotiate(&v->vhost, wanted, PROTOCOL);

	if (err)
		return err;
	return v->vhost.features != wanted || !(v->vhost.protocol >> 3 & 1) ? -ENOTSUP : 0;
}

static int side_start(struct net_virtio *v, const struct side *side, unsigned index)
{
	uint8_t *rings[] = { (void *)side->desc, (void *)side->avail, (void *)side->used };
	struct vdrv ring = {
		.num = side->num,
		.desc_addr = GUEST_BASE + (uint64_t)(rings[0] - v->memory),
		.avail_addr = GUEST_BASE + (uint64_t)(rings[1] - v->memory),
		.used_addr = GUEST_BASE + (uint64_t)(rings[2] - v->memory),
	};

	/* packed: both wrap counters start at 1 */
	return vhost_ring_start(&v->vhost, index, &ring, v->packed ? 0x80008000 : 0, side->kick_fd,
				-1);
}

static const struct net_port_ops ops = {
	.send = send,
	.receive = receive,
	.announce = announce,
	.out = out,
	.in = in,
	.free = port_free,
};

/* Sets all up but the connection. */
static int lay_out(struct net_virtio *v, const struct net_port_params *params)
{
	uint32_t rx_room = params->mergeable ? MERGED_ROOM : MAX(params->frame_max, 1514u);
	uint32_t rx_stride = stride_of(rx_room), tx_stride = stride_of(params->frame_max);
	size_t rings = ring_bytes(params->ring), rx_at, tx_at;
	int err;

	rx_at = 2 * rings;
	tx_at = rx_at + (size_t)params->ring * rx_stride;
	v->bytes = ALIGN_UP(tx_at + (size_t)params->ring * tx_stride, (size_t)4096);
	v->rx.len = HEADER + rx_room;
	v->rx.flags = VRING_DESC_F_WRITE;
	err = memory_init(v, params->huge);
	if (!err)
		err = side_init(v, &v->rx, params->ring, 0, rx_at, rx_stride);
	if (!err)
		err = side_init(v, &v->tx, params->ring, rings, tx_at, tx_stride);
	if (err)
		return err;
	v->tx_flow = malloc(params->ring * sizeof(uint16_t));
	v->whole = malloc(params->frame_max + 64);
	if (!v->tx_flow || !v->whole)
		return -ENOMEM;
	v->tx.n_free = v->tx.num;
	for (unsigned i = 0; i < params->ring; i++) {
		v->tx.free[i] = (uint16_t)i;
		v->tx_flow[i] = NO_FLOW;
		post(&v->rx, (uint16_t)i, v->rx.len, v->packed);
	}
	return 0;
}

/* Addresses that are the same in each run, and no two ports' in one. */
static void make_mac(uint8_t mac[6], const char *path)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (; *path; path++)
		hash = (hash ^ (uint8_t)*path) * 0x100000001b3ull;
	mac[0] = 2;
	for (unsigned i = 1; i < 6; i++)
		mac[i] = (uint8_t)(hash >> (8 * i));
}

int net_port_virtio(const struct net_port_params *params, struct net_port **port)
{
	struct net_virtio *v;
	int err;

	if (params->ring < 16 || params->ring > 32768 || !is_power_of_two(params->ring))
		return -EINVAL;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->port = (struct net_port){ .ops = &ops,
				     .frame_max = params->frame_max,
				     .gso = params->gso };
	v->packed = params->packed;
	v->mergeable = params->mergeable;
	v->memory = MAP_FAILED;
	v->memory_fd = v->rx.kick_fd = v->tx.kick_fd = v->vhost.fd = -1;
	make_mac(v->port.mac, params->path);
	err = lay_out(v, params);
	if (!err)
		err = vhost_connect(&v->vhost, params->path);
	if (!err) {
		vhost_timeout(&v->vhost, VHOST_ANSWER_S);
		err = negotiate(v, params);
	}
	if (!err)
		err = memory_tell(v);
	if (!err)
		err = side_start(v, &v->rx, 0);
	if (!err)
		err = side_start(v, &v->tx, 1);
	if (err) {
		port_free(&v->port);
		return err;
	}
	publish(&v->port, &v->rx, v->packed);
	*port = &v->port;
	return 0;
}
