/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sender's frame and offload record: sealed, parsed, put through a switch with VLANs, finished as
 * a frame and cut into segments. The input is the record as virtio-net has it (10 bytes), the
 * length of a piece, what the receiver can, a tag (2 bytes), and the frame. Each piece is an
 * allocation of its own, so that a sanitizer sees a byte too far.
 */
#include "base/util.h"
#include "net/offload.h"
#include "net/switch.h"

#include <assert.h>
#include <stdlib.h>

#define RECORD 14u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct packet_batch batch;
static struct net_switch *sw;
static struct switch_port ports[4];
static uint8_t scratch[IO_SCRATCH_BYTES];

static void frame_check(const struct packet *packet)
{
	uint32_t len = packet->len + 4;
	uint8_t *frame = malloc(len);
	struct headers h;

	len = offload_frame(packet, frame, len);
	assert(len >= packet->len);
	headers_parse(frame, len, &h);
	assert(h.l3 <= len && h.l4 <= len && h.payload <= len);
	free(frame);
}

static void packet_check(const struct packet *packet, unsigned can)
{
	struct iovec pieces[SEGMENT_PIECES_MAX];
	struct packet out = { .pieces = pieces };
	uint32_t payload = 0;
	struct segmenter seg;

	assert(packet_offload_check(&packet->off, packet->len) == 0);
	assert(packet->pieces[0].iov_base == packet->head);
	if (!packet->off.gso) {
		frame_check(packet);
		return;
	}
	if (segment_begin(&seg, packet, can))
		return;
	while (segment_next(&seg, &out)) {
		assert(out.n_pieces <= SEGMENT_PIECES_MAX);
		assert(packet_offload_check(&out.off, out.len) == 0);
		frame_check(&out);
		payload += out.len - seg.hdr_len;
	}
	assert(payload == packet->len - seg.hdr_len);
}

static unsigned sink_give(struct switch_port *port, struct packet *const *packets, unsigned n,
			  struct io_turn *turn)
{
	for (unsigned i = 0; i < n; i++)
		packet_check(packets[i], NET_CAN_CSUM);
	return n;
}

static const struct net_sink_ops sink_ops = { .give = sink_give };

static void switch_make(void)
{
	sw = net_switch_new(&(struct switch_config){ .vlan_aware = true, .addresses_max = 16 });
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
		struct switch_port_config config = { .trunk = i & 1, .pvid = (uint16_t)(1 + i) };

		ports[i].ops = &sink_ops;
		if (!sw || net_switch_attach(sw, &ports[i], &config))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *pieces[PACKET_PIECES_MAX] = { NULL };
	unsigned n = 0, can, step;
	struct packet *packet;
	struct io_turn turn;

	if (!sw)
		switch_make();
	if (size < RECORD)
		return 0;
	io_turn_init(&turn, scratch);
	packet_batch_init(&batch);
	packet = packet_begin(&batch);
	packet->off = (struct offload){ .flags = data[0],
					.gso = data[1],
					.hdr_len = load_le16(data + 2),
					.gso_size = load_le16(data + 4),
					.csum_start = load_le16(data + 6),
					.csum_offset = load_le16(data + 8) };
	step = data[10] ? data[10] : 4096;
	can = data[11];
	packet->vlan_tci = load_le16(data + 12);
	packet->tagged = packet->vlan_tci & 0x1000;
	data += RECORD;
	size -= RECORD;
	for (size_t at = 0; at < size && n < PACKET_PIECES_MAX; at += step, n++) {
		size_t len = MIN(size - at, (size_t)step);

		pieces[n] = malloc(len);
		memcpy(pieces[n], data + at, len);
		if (packet_add(&batch, packet, pieces[n], (uint32_t)len))
			break;
	}
	if (can & 0x80 && packet->off.gso)
		packet_hdr_len_set(packet);
	if (packet_seal(&batch, packet) == 0) {
		packet_check(packet, can);
		net_switch_forward(&ports[can % ARRAY_SIZE(ports)], &batch, &turn);
		io_turn_end(&turn);
	}
	for (unsigned i = 0; i < PACKET_PIECES_MAX; i++)
		free(pieces[i]);
	return 0;
}
