/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings of either kind as a guest may leave them, and the in-flight region as a front end may: the
 * first bytes choose features, size and base, the rest is guest memory. What is taken is written
 * to, so a sanitizer sees each byte that should not have been reachable.
 */
#include "virtio_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct iovec iov[256];
	struct virtq_chain chains[3]; /* less than there may be, for all turns */
	struct virtq_config config = { .desc = 0, .avail = 0x800, .used = 0x1000 };
	struct virtqueue vq;
	uint8_t *region = NULL;
	bool packed;

	rig_memory();
	if (size < 8)
		return 0;
	packed = data[0] & 1;
	config.features = (packed ? 1ull << VIRTIO_F_RING_PACKED : 0) |
			  (data[0] & 2 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0) |
			  (data[0] & 4 ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0) |
			  (data[0] & 16 ? 1ull << VIRTIO_F_IN_ORDER : 0);
	config.num = data[1] & 63;
	config.base = load_le32(data + 4);
	memset(mem, 0, BYTES);
	memcpy(mem, data + 8, MIN(size - 8, (size_t)BYTES));
	virtqueue_init(&vq, space);
	if (data[0] & 8 && config.num) {
		size_t bytes = virtqueue_inflight_bytes(packed, (uint16_t)config.num);

		/* exactly as large as it must be, so that nothing beyond is there */
		region = calloc(1, bytes);
		memcpy(region, mem + 0x1800, MIN(bytes, (size_t)0x1000));
		virtqueue_inflight_set(&vq, region, packed, (uint16_t)config.num);
	}
	if (!virtqueue_start(&vq, &config)) {
		for (unsigned round = 0; round < 8; round++) {
			struct virtq_arena arena = { iov, 0, ARRAY_SIZE(iov) };
			unsigned n;

			if (!virtqueue_begin(&vq))
				break;
			n = virtqueue_take(&vq, chains, ARRAY_SIZE(chains), &arena);
			if (round == 1)
				virtqueue_put_back(&vq, chains, n);
			/* the device stops, and starts with what it left */
			if (round == 3 && region) {
				uint32_t base;

				virtqueue_suspend(&vq);
				for (unsigned i = 0; i < n; i++)
					virtqueue_leave(&vq, &chains[i]);
				base = virtqueue_base(&vq);
				virtqueue_stop(&vq);
				config.base = base;
				if (virtqueue_inflight_set(&vq, region, packed,
							   (uint16_t)config.num) ||
				    virtqueue_start(&vq, &config))
					break;
				continue;
			}
			for (unsigned i = 0; i < n && round != 1; i++) {
				for (unsigned p = 0; p < chains[i].n_in; p++) {
					struct iovec *in = &chains[i].iov[chains[i].n_out + p];

					memset(in->iov_base, 0x5a, in->iov_len);
				}
				virtqueue_give(&vq, &chains[i], (uint32_t)chains[i].in_bytes);
			}
			virtqueue_publish(&vq);
			virtqueue_kicks(&vq, round & 1);
		}
	}
	virtqueue_done(&vq);
	free(region);
	return 0;
}
