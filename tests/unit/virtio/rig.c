/* SPDX-License-Identifier: BSD-2-Clause */
#include "rig.h"

#include "base/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

int rig_init(struct rig *rig, uint64_t features, uint16_t num, uint32_t region_bytes)
{
	memset(rig, 0, sizeof(*rig));
	rig->features = features;
	rig->num = num;
	rig->fd = memfd_create("guest", MFD_CLOEXEC);
	if (rig->fd < 0 || ftruncate(rig->fd, RIG_BYTES) < 0)
		return -errno;
	rig->mem = mmap(NULL, RIG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, rig->fd, 0);
	rig->space = memory_space_new("rig");
	if (rig->mem == MAP_FAILED || !rig->space)
		return -ENOMEM;
	/* the rings in one region, data in as many as asked for */
	if (memory_space_map(rig->space, 0, RIG_DATA, MEMORY_READ | MEMORY_WRITE, rig->fd, 0))
		return -EINVAL;
	if (!region_bytes)
		region_bytes = RIG_BYTES - RIG_DATA;
	for (uint32_t at = RIG_DATA; at < RIG_BYTES; at += region_bytes)
		if (memory_space_map(rig->space, at, region_bytes, MEMORY_READ | MEMORY_WRITE,
				     rig->fd, at))
			return -EINVAL;
	virtqueue_init(&rig->vq, rig->space);
	return vdrv_init(&rig->drv, rig->mem + RIG_RING, RIG_RING, num, features);
}

void rig_done(struct rig *rig)
{
	virtqueue_done(&rig->vq);
	memory_space_free(rig->space);
	vdrv_done(&rig->drv);
	munmap(rig->mem, RIG_BYTES);
	close(rig->fd);
}

int rig_start(struct rig *rig, uint32_t base)
{
	struct virtq_config config = { .num = rig->num,
				       .desc = rig->drv.desc_addr,
				       .avail = rig->drv.avail_addr,
				       .used = rig->drv.used_addr,
				       .features = rig->features,
				       .base = base };

	return virtqueue_start(&rig->vq, &config);
}

uint32_t rig_base(uint64_t features)
{
	return features & PACKED ? 0x80008000u : 0;
}

void rig_add(struct rig *rig, uint32_t len, bool write)
{
	struct vdrv_buf buf = { RIG_DATA, len, write };

	assert_int_equal(vdrv_add(&rig->drv, &buf, 1, rig, false), 0);
}

unsigned rig_take(struct rig *rig, unsigned max)
{
	struct virtq_arena arena = { rig->pieces, 0, ARRAY_SIZE(rig->pieces) };

	if (!virtqueue_begin(&rig->vq))
		return 0;
	return virtqueue_take(&rig->vq, rig->chains, MIN(max, ARRAY_SIZE(rig->chains)), &arena);
}
