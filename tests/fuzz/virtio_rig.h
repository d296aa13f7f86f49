/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio device whose driver left its rings and memory as the input says. Its first 16 bytes are
 * features, budgets and choices, the rest is guest memory; what a target needs more of is in its
 * choices.
 */
#ifndef EXITLESS_FUZZ_VIRTIO_RIG_H
#define EXITLESS_FUZZ_VIRTIO_RIG_H

#include "base/util.h"
#include "core/core.h"
#include "virtio/device.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BYTES	  0x4000u
#define RING_N	  16u
#define HEAD	  16u
#define POLLS_MAX 4096

static struct memory_space *space;
static uint8_t *mem;
static struct io_turn turn;
static uint8_t scratch[IO_SCRATCH_BYTES] __attribute__((aligned(64)));

/* Once: two regions with a border, and what is read-only. */
static inline void rig_memory(void)
{
	int fd;

	if (space)
		return;
	fd = memfd_create("fuzz", 0);
	if (fd < 0 || ftruncate(fd, BYTES) < 0)
		abort();
	mem = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	space = memory_space_new("fuzz");
	if (mem == MAP_FAILED || !space ||
	    memory_space_map(space, 0, 0x3000, MEMORY_READ | MEMORY_WRITE, fd, 0) ||
	    memory_space_map(space, 0x3000, 0x1000, MEMORY_READ, fd, 0x3000))
		abort();
}

/* False: the input is too short. */
static inline bool rig_begin(const uint8_t *data, size_t size)
{
	rig_memory();
	if (size < HEAD)
		return false;
	memset(mem, 0, BYTES);
	memcpy(mem, data + HEAD, MIN(size - HEAD, (size_t)BYTES));
	io_turn_init(&turn, scratch);
	turn.budget_packets = 1 + (data[8] & 63);
	turn.budget_bytes = 1 + data[9] * 300u;
	return true;
}

static inline void rig_features(struct virtio_device *dev, const uint8_t *data)
{
	dev->acked = (1ull << VIRTIO_F_VERSION_1 | load_le64(data)) & dev->features;
	if (dev->ops->features_set)
		dev->ops->features_set(dev, dev->acked);
}

/* The descriptors at @at, behind them what the driver writes and what we do. */
static inline void rig_start(struct virtio_device *dev, unsigned queue, uint64_t at)
{
	struct virtqueue *vq = dev->queues[queue];
	bool packed = dev->acked >> VIRTIO_F_RING_PACKED & 1;
	struct virtq_config config = {
		.features = dev->acked,
		.num = RING_N,
		.base = packed ? 0x80008000u : 0,
		.desc = at,
		.avail = at + 0x100,
		.used = at + 0x200,
	};

	if (virtqueue_start(vq, &config))
		abort();
	virtqueue_enable(vq, true);
}

/* Until there is nothing to do. */
static inline void rig_poll(struct io_queue *queue)
{
	struct io_work work;
	unsigned polls = 0;

	do {
		if (polls++ > POLLS_MAX)
			abort();
		work = (struct io_work){ 0 };
		queue->ops->poll(queue, &turn, &work);
		io_turn_end(&turn);
	} while (work.more);
}

#endif
