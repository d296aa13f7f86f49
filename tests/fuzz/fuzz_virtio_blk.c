/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-blk with any ring and memory (virtio_rig.h), on memory or on a file in memory, with blocks
 * of 512 or 4096 bytes. Requests end, and nothing is left in flight.
 */
#include "disk/disk.h"

#include "virtio_rig.h"

#include <stdio.h>

#define RING 0
#define SIZE (256u << 10)

static char path[32];

static struct disk *disk_make(uint8_t choices)
{
	struct disk_config config = { .name = "fuzz",
				      .backend = choices & 1 ? "file" : "malloc",
				      .path = path,
				      .size_bytes = SIZE,
				      .block_bytes = choices & 2 ? 4096 : 512,
				      .read_only = choices & 4,
				      .queues = 1,
				      .serial = "of-a-fuzzer" };

	if (!path[0]) {
		int fd = memfd_create("disk", 0);

		if (fd < 0 || ftruncate(fd, SIZE) < 0)
			abort();
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	return disk_new(&config, space);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct io_queue *queue;
	struct virtqueue *vq;
	struct disk *disk;
	unsigned n;

	if (!rig_begin(data, size))
		return 0;
	disk = disk_make(data[10]);
	/* a host without io_uring has no files */
	if (!disk && data[10] & 1)
		return 0;
	if (!disk)
		abort();
	queue = disk_queues(disk, &n)[0];
	vq = disk_device(disk)->queues[0];
	rig_features(disk_device(disk), data);
	rig_start(disk_device(disk), 0, RING);
	rig_poll(queue);
	/* the file's are done by the kernel */
	for (unsigned i = 0; vq->in_flight && i < 100000; i++) {
		usleep(100);
		rig_poll(queue);
	}
	if (vq->in_flight)
		abort();
	virtqueue_stop(vq);
	rig_poll(queue);
	disk_free(disk);
	return 0;
}
