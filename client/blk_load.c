/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory: per queue its ring, then for each request a cache line with header (16 bytes) and status
 * (at 32), then the data, page-aligned. A request's slot and its data stay the same; a free slot is
 * used again last in, first out, so that a shallow load touches little memory.
 *
 * Verification: each queue has a part of the disk of its own and keeps the number of the last write
 * to each block in it. No two requests for one block are in flight at once if one of them writes.
 */
#include "client/blk_load.h"

#include "client/load.h"
#include "client/vhost_user_client.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECTOR	      512u
#define PAGE	      4096u
#define HUGE	      (2u << 20)
#define STATUS	      32
#define BLOCK_MAX     (1u << 20)
#define VERIFY_BYTES  (1ull << 30)
#define F(name)	      (1ull << VIRTIO_BLK_F_##name)
#define RING(name)    (1ull << VIRTIO_RING_F_##name)
#define PACKED	      (1ull << VIRTIO_F_RING_PACKED)
#define V1	      (1ull << VIRTIO_F_VERSION_1)
#define PROTOCOL      (1ull << 0 | 1ull << 3 | 1ull << 9) /* MQ, REPLY_ACK, CONFIG */
#define MEM_SLOTS     (1ull << 15)
#define PACKED_BASE   0x80008000u
#define BUSY_TRIES    64
#define STAYS_UNKNOWN 0 /* a block that this load has not written */
#define DRAIN_S	      10
#define SETTLE_S      0.005

struct request {
	struct virtio_blk_outhdr *hdr;
	volatile uint8_t *status;
	uint64_t *data;
	struct vdrv_buf bufs[3];
	uint64_t start; /* cycles */
	uint64_t block; /* of the queue's part */
	bool write, in_flight;
	struct request *next;
};

struct queue {
	struct vdrv ring;
	unsigned busy;
	struct request *free, *requests;
	int kick, call;
	uint64_t random, next_block;
	double due, interval; /* cycles: open loop */
	uint32_t *writes;     /* verify: number of the last write to each block */
	uint8_t *in_flight;   /* verify: requests for each block; 0xff: one that writes */
};

struct blk_load {
	struct blk_load_config config;
	struct vhost_client c;
	uint64_t capacity, first, blocks; /* of each queue's part: bytes, from its index times */
	unsigned queues_there;
	uint8_t *mem;
	size_t mem_bytes;
	int memfd;
	struct queue queues[BLK_LOAD_QUEUES_MAX];
	bool draining; /* after what was measured */
	struct blk_load_stats stats;
};

/* ---- data -------------------------------------------------------------------------------- */

/* xorshift64*, Vigna 2014 */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static uint64_t content(const struct blk_load *load, const struct queue *q, uint64_t block,
			uint32_t write)
{
	uint64_t x = load->config.seed ^ (uint64_t)(q - load->queues) << 60 ^ block << 24 ^ write;

	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
	return x ^ x >> 29;
}

static void fill(const struct blk_load *load, uint64_t *data, uint64_t x)
{
	for (uint32_t i = 0; i < load->config.block_bytes / 8; i++)
		data[i] = x + i * 0xff51afd7ed558ccdull;
}

static bool is_filled(const struct blk_load *load, const uint64_t *data, uint64_t x)
{
	uint64_t bad = 0;

	for (uint32_t i = 0; i < load->config.block_bytes / 8; i++)
		bad |= data[i] ^ (x + i * 0xff51afd7ed558ccdull);
	return !bad;
}

/* ---- requests ---------------------------------------------------------------------------- */

static bool may_start(struct queue *q, uint64_t block, bool write)
{
	if (!q->in_flight)
		return true;
	if (q->in_flight[block] == 0xff || (write && q->in_flight[block]) ||
	    q->in_flight[block] == 0xfe)
		return false;
	q->in_flight[block] = write ? 0xff : (uint8_t)(q->in_flight[block] + 1);
	return true;
}

static bool choose(struct blk_load *load, struct queue *q, struct request *r)
{
	uint64_t random = next_random(&q->random);

	r->write = (random >> 8) % 100 >= load->config.read_percent;
	for (unsigned i = 0; i < BUSY_TRIES; i++) {
		if (load->config.sequential) {
			r->block = q->next_block;
			q->next_block = q->next_block + 1 == load->blocks ? 0 : q->next_block + 1;
		} else {
			r->block = (uint64_t)((unsigned __int128)next_random(&q->random) *
						      load->blocks >>
					      64);
		}
		if (may_start(q, r->block, r->write))
			return true;
	}
	return false;
}

static bool start_one(struct blk_load *load, struct queue *q, uint64_t now)
{
	struct request *r = q->free;
	uint64_t part = (uint64_t)(q - load->queues) * load->first;

	if (!choose(load, q, r))
		return false;
	q->free = r->next;
	r->hdr->type = r->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
	r->hdr->sector = (part + r->block * load->config.block_bytes) / SECTOR;
	*r->status = 0xee;
	r->bufs[1].write = !r->write;
	r->start = now;
	r->in_flight = true;
	if (q->writes && r->write)
		fill(load, r->data, content(load, q, r->block, ++q->writes[r->block]));
	else if (q->writes)
		memset(r->data, 0x5a, load->config.block_bytes); /* what was read here before */
	vdrv_add(&q->ring, r->bufs, 3, r, load->config.indirect);
	q->busy++;
	return true;
}

static void start(struct blk_load *load, struct queue *q)
{
	uint64_t now = time_cycles(), one = 1;

	while (q->free) {
		uint64_t at = now;

		if (q->interval > 0) {
			if (q->due > (double)now)
				break;
			at = (uint64_t)q->due;
		}
		if (!start_one(load, q, at))
			break;
		q->due += q->interval;
	}
	if (!vdrv_publish(&q->ring))
		return;
	load->stats.kicks++;
	/* a full eventfd is signalled */
	if (write(q->kick, &one, sizeof(one)) < 0)
		return;
}

static void finish(struct blk_load *load, struct queue *q, struct request *r, uint64_t now)
{
	bool good = *r->status == VIRTIO_BLK_S_OK;

	if (!load->draining) {
		histogram_add(&load->stats.latency, load_ns(now - r->start));
		if (r->write)
			load->stats.writes++;
		else
			load->stats.reads++;
	}
	if (!good)
		load->stats.errors++;
	if (q->writes) {
		uint32_t write = q->writes[r->block];

		if (good && !r->write && write != STAYS_UNKNOWN &&
		    !is_filled(load, r->data, content(load, q, r->block, write)))
			load->stats.wrong++;
		q->in_flight[r->block] = r->write ? 0 : (uint8_t)(q->in_flight[r->block] - 1);
	}
	r->in_flight = false;
	r->next = q->free;
	q->free = r;
	q->busy--;
}

unsigned blk_load_poll(struct blk_load *load, bool start_more)
{
	unsigned n = 0;

	for (unsigned i = 0; i < load->config.queues; i++) {
		struct queue *q = &load->queues[i];
		struct request *r = NULL;
		uint64_t now = 0;
		uint32_t len;

		while (q->busy && (r = vdrv_get(&q->ring, &len))) {
			if (!now)
				now = time_cycles();
			finish(load, q, r, now);
			n++;
		}
		if (start_more && q->free)
			start(load, q);
	}
	return n;
}

unsigned blk_load_busy(const struct blk_load *load)
{
	unsigned busy = 0;

	for (unsigned i = 0; i < load->config.queues; i++)
		busy += load->queues[i].busy;
	return busy;
}

static void run_until(struct blk_load *const *loads, unsigned n, uint64_t end, const int *stop,
		      struct blk_run_result *result)
{
	do {
		unsigned done = 0;

		for (unsigned i = 0; i < n; i++)
			done += blk_load_poll(loads[i], true);
		result->loops++;
		result->idle_loops += !done;
	} while (time_cycles() < end && !(stop && READ_ONCE(*stop)));
}

/* What waits in an open loop when the measurement ends has waited that long: a server that stands
 * still then is not spared. */
static void charge_waiting(struct blk_load *load, uint64_t now)
{
	double ns_per_cycle = 1e9 / load_cycles_per_s();

	for (unsigned i = 0; i < load->config.queues; i++) {
		struct queue *q = &load->queues[i];
		double late = (double)now - q->due;
		uint64_t unsent;

		if (q->interval <= 0)
			continue;
		for (unsigned k = 0; k < load->config.depth; k++) {
			if (!q->requests[k].in_flight)
				continue;
			histogram_add(&load->stats.latency, load_ns(now - q->requests[k].start));
			load->stats.unfinished++;
		}
		if (late < 0)
			continue;
		unsent = (uint64_t)(late / q->interval) + 1;
		/* from the youngest on */
		late = MAX(late - (double)(unsent - 1) * q->interval, 0.0);
		histogram_add_even(&load->stats.latency, late * ns_per_cycle,
				   q->interval * ns_per_cycle, unsent);
		load->stats.unsent += unsent;
	}
}

static int drain(struct blk_load *const *loads, unsigned n)
{
	uint64_t until = time_now_ns() + DRAIN_S * NS_PER_S;
	unsigned busy;

	do {
		busy = 0;
		for (unsigned i = 0; i < n; i++) {
			loads[i]->draining = true;
			blk_load_poll(loads[i], false);
			busy += blk_load_busy(loads[i]);
		}
	} while (busy && time_now_ns() < until);
	return busy ? -ETIMEDOUT : 0;
}

/* What is due before now is not sent any more, and not measured. */
static void forget_due(struct blk_load *const *loads, unsigned n)
{
	double now = (double)time_cycles();

	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < loads[i]->config.queues; k++)
			loads[i]->queues[k].due = MAX(loads[i]->queues[k].due, now);
}

int blk_loads_run(struct blk_load *const *loads, unsigned n, const struct blk_run_phases *phases,
		  struct blk_run_result *result)
{
	double cycles_per_s = load_cycles_per_s();
	uint64_t start = time_cycles(), end;

	*result = (struct blk_run_result){ 0 };
	forget_due(loads, n);
	run_until(loads, n, start + (uint64_t)(phases->warmup_s * cycles_per_s), phases->stop,
		  result);
	if (phases->begin) {
		phases->begin(phases->arg);
		/* what was due meanwhile, or waited for that, is not measured */
		forget_due(loads, n);
		run_until(loads, n, time_cycles() + (uint64_t)(SETTLE_S * cycles_per_s),
			  phases->stop, result);
	}
	for (unsigned i = 0; i < n; i++)
		blk_load_clear(loads[i]);
	*result = (struct blk_run_result){ 0 };
	start = time_cycles();
	run_until(loads, n, start + (uint64_t)(phases->seconds * cycles_per_s), phases->stop,
		  result);
	end = time_cycles();
	result->seconds = (double)(end - start) / cycles_per_s;
	for (unsigned i = 0; i < n; i++)
		charge_waiting(loads[i], end);
	if (phases->end)
		phases->end(phases->arg);
	return drain(loads, n);
}

/* ---- making ------------------------------------------------------------------------------ */

static int read_config(struct blk_load *load)
{
	struct {
		uint32_t offset, size, flags;
		struct virtio_blk_config config;
	} __attribute__((packed))
	m = { .size = offsetof(struct virtio_blk_config, max_discard_seg) };
	uint32_t len = sizeof(m), bytes = 12 + m.size;
	struct vhost_header header;
	int err = vhost_send(&load->c, VHOST_GET_CONFIG, 0, &m, bytes, NULL, 0);

	if (!err)
		err = vhost_receive(&load->c, &header, &m, &len, NULL);
	if (err)
		return err;
	if (header.request != VHOST_GET_CONFIG || len != bytes)
		return -EPROTO;
	load->capacity = m.config.capacity * SECTOR;
	/* there is one always */
	load->queues_there = load->c.features & F(MQ) ? MAX(m.config.num_queues, (__virtio16)1) : 1;
	return 0;
}

static int choose_span(struct blk_load *load)
{
	const struct blk_load_config *config = &load->config;
	uint64_t span = load->capacity;

	if (config->span_bytes)
		span = MIN(span, config->span_bytes);
	if (config->verify)
		span = MIN(span, VERIFY_BYTES);
	load->blocks = span / config->block_bytes;
	if (config->verify) {
		load->blocks /= config->queues;
		load->first = load->blocks * config->block_bytes;
	}
	return load->blocks ? 0 : -EINVAL;
}

static unsigned ring_size(const struct blk_load_config *config)
{
	unsigned num = 64;

	while (num < config->depth * (config->indirect ? 1 : 3))
		num *= 2;
	return num;
}

static size_t queue_bytes(const struct blk_load_config *config)
{
	return vdrv_bytes(ring_size(config)) + ALIGN_UP((size_t)config->depth * 64, (size_t)PAGE) +
	       (size_t)config->depth * ALIGN_UP(config->block_bytes, PAGE);
}

static int queue_start(struct blk_load *load, unsigned i, uint64_t addr)
{
	const struct blk_load_config *config = &load->config;
	struct queue *q = &load->queues[i];
	unsigned num = ring_size(config);
	uint64_t lines = addr + vdrv_bytes(num);
	uint64_t data = lines + ALIGN_UP((uint64_t)config->depth * 64, (uint64_t)PAGE);
	int err = vdrv_init(&q->ring, load->mem + addr, addr, num, load->c.features);

	if (err)
		return err;
	q->random = config->seed ^ (i + 1) * 0x9e3779b97f4a7c15ull;
	q->next_block = config->verify ? 0 : load->blocks / config->queues * i;
	q->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->requests = calloc(config->depth, sizeof(*q->requests));
	if (q->kick < 0 || q->call < 0 || !q->requests)
		return -ENOMEM;
	for (unsigned k = config->depth; k--;) {
		struct request *r = &q->requests[k];
		uint64_t line = lines + 64ull * k;
		uint64_t block = data + (uint64_t)k * ALIGN_UP(config->block_bytes, PAGE);

		r->hdr = (void *)(load->mem + line);
		r->status = load->mem + line + STATUS;
		r->data = (void *)(load->mem + block);
		r->bufs[0] = (struct vdrv_buf){ line, sizeof(*r->hdr), false };
		r->bufs[1] = (struct vdrv_buf){ block, config->block_bytes, false };
		r->bufs[2] = (struct vdrv_buf){ line + STATUS, 1, true };
		r->next = q->free;
		q->free = r;
	}
	if (config->verify) {
		q->writes = calloc(load->blocks, sizeof(*q->writes));
		q->in_flight = calloc(load->blocks, 1);
		if (!q->writes || !q->in_flight)
			return -ENOMEM;
	}
	if (config->rate_per_s > 0 && config->depth) {
		q->interval = load_cycles_per_s() / config->rate_per_s;
		q->due = (double)time_cycles();
	}
	vdrv_notifications(&q->ring, false);
	return vhost_ring_start(&load->c, i, &q->ring, config->packed ? PACKED_BASE : 0, q->kick,
				q->call);
}

static int memory_make(struct blk_load *load)
{
	struct vhost_client_region region = { 0 };
	struct {
		uint32_t n, pad;
		struct vhost_client_region region;
	} table = { .n = 1 };

	load->mem_bytes = ALIGN_UP(load->config.queues * queue_bytes(&load->config), (size_t)HUGE);
	load->memfd = memfd_create("exitless-load", MFD_CLOEXEC);
	if (load->memfd < 0 || ftruncate(load->memfd, (off_t)load->mem_bytes) < 0)
		return -errno;
	load->mem = mmap(NULL, load->mem_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			 load->memfd, 0);
	if (load->mem == MAP_FAILED) {
		load->mem = NULL;
		return -ENOMEM;
	}
	region.size = load->mem_bytes;
	if (load->c.protocol & MEM_SLOTS)
		return vhost_add_region(&load->c, &region, load->memfd);
	table.region = region;
	return vhost_request(&load->c, VHOST_SET_MEM_TABLE, &table, sizeof(table), load->memfd);
}

static int connect_load(struct blk_load *load)
{
	const struct blk_load_config *config = &load->config;
	uint64_t wanted = V1 | (config->packed ? PACKED : 0) |
			  (config->indirect ? RING(INDIRECT_DESC) : 0) |
			  (config->event_idx ? RING(EVENT_IDX) : 0);
	int err = vhost_connect(&load->c, config->path);

	if (!err) {
		vhost_timeout(&load->c, VHOST_ANSWER_S);
		err = vhost_negotiate(&load->c, wanted | F(RO) | F(MQ) | F(FLUSH),
				      PROTOCOL | MEM_SLOTS);
	}
	if (err)
		return err;
	if ((load->c.features & wanted) != wanted || (load->c.protocol & PROTOCOL) != PROTOCOL)
		return -EOPNOTSUPP;
	if (load->c.features & F(RO) && config->read_percent < 100)
		return -EROFS;
	err = read_config(load);
	if (!err && config->queues > load->queues_there)
		err = -ERANGE;
	return err ? err : choose_span(load);
}

struct blk_load *blk_load_new(const struct blk_load_config *config, unsigned *queues)
{
	struct blk_load *load;
	int err = -EINVAL;

	if (!config->queues || config->queues > BLK_LOAD_QUEUES_MAX ||
	    config->depth > BLK_LOAD_DEPTH_MAX || !config->block_bytes ||
	    config->block_bytes % SECTOR || config->block_bytes > BLOCK_MAX ||
	    config->read_percent > 100) {
		errno = EINVAL;
		return NULL;
	}
	load = calloc(1, sizeof(*load));
	if (!load)
		return NULL;
	load->config = *config;
	load->c.fd = load->memfd = -1;
	for (unsigned i = 0; i < BLK_LOAD_QUEUES_MAX; i++)
		load->queues[i].kick = load->queues[i].call = -1;
	err = connect_load(load);
	if (!err)
		err = memory_make(load);
	for (unsigned i = 0; i < config->queues && !err; i++)
		err = queue_start(load, i, i * queue_bytes(config));
	if (!err)
		return load;
	*queues = load->queues_there;
	blk_load_free(load);
	errno = -err;
	return NULL;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void blk_load_free(struct blk_load *load)
{
	if (!load)
		return;
	vhost_close(&load->c);
	for (unsigned i = 0; i < load->config.queues; i++) {
		struct queue *q = &load->queues[i];

		vdrv_done(&q->ring);
		close_fd(q->kick);
		close_fd(q->call);
		free(q->requests);
		free(q->writes);
		free(q->in_flight);
	}
	if (load->mem)
		munmap(load->mem, load->mem_bytes);
	close_fd(load->memfd);
	free(load);
}

uint64_t blk_load_disk_bytes(const struct blk_load *load)
{
	return load->capacity;
}

const struct blk_load_stats *blk_load_stats(const struct blk_load *load)
{
	return &load->stats;
}

void blk_load_clear(struct blk_load *load)
{
	uint64_t errors = load->stats.errors, wrong = load->stats.wrong;

	memset(&load->stats, 0, sizeof(load->stats));
	load->stats.errors = errors;
	load->stats.wrong = wrong;
}
