/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The receive packet buffer (8254x manual 13.4.14 and 13.7, 82574 datasheet 10.2.2: PBA, RNBC,
 * MPC). A frame that finds no descriptor waits in it, of the size that PBA says, and is lost only
 * when it is full. Firmware that gives the chip one descriptor at a time lives on that.
 *
 * There is one buffer for both queues, as on the chip: frames stay in order, and the first one that
 * finds no descriptor holds up all others. Large segments have been cut up, the filters have been
 * asked; what a sender left open (checksum, tag beside the frame) is kept with the frame.
 *
 * New descriptors are a store to RDT, which nobody announces. They are looked for when another
 * frame comes, at a trapped write, and by a timer, in steps of an eighth of the time that the first
 * frame has waited: soon for a driver that is about to give one, seldom for one that never does.
 *
 * Where memory is remote, frames wait here for their round of messages as well (rxremote.c), and
 * there is more room.
 */
#include "base/clock.h"
#include "nic/e1000/remote.h"

#define FRAME_MIN 60u
#define FCS	  4u
#define LINE	  16u /* the chip's memory is in lines */

/* A record is at most half as large again as what the chip counts, and one frame is left over at
 * the end of the ring. */
#define RING_BYTES	  (128u * 1024)
#define REMOTE_RING_BYTES (2048u * 1024)
#define REMOTE_BYTES	  (1024u * 1024)
#define REMOTE_FRAMES	  1024u

#define LOOK_MIN_NS (50 * NS_PER_US)
#define LOOK_MAX_NS (50 * NS_PER_MS)
/* A frame that finds some descriptors, but not enough for all of it: the chip would fill these. */
#define OVERDUE_NS NS_PER_S

struct waiting {
	uint32_t len;
	struct offload off;
	uint16_t vlan_tci;
	bool tagged;
	uint8_t bytes[];
};

/* PBA's low half: KB for receive. The whole memory is 64 KB, or 40. */
static uint32_t buffer_bytes(const struct e1000 *dev)
{
	uint32_t max = dev->variant->chip == CHIP_82574L ? 40 : 64;

	if (dev->rx_remote)
		return REMOTE_BYTES;
	return MIN(e1000_get(dev, PBA) & 0xffff, max) * 1024;
}

static uint32_t chip_bytes(uint32_t len)
{
	return ALIGN_UP(MAX(len, FRAME_MIN) + FCS, LINE);
}

/* The buffer is made when the first frame waits, and made larger when memory turns out remote. */
static bool make_ring(struct e1000_rx_wait *wait, uint32_t size)
{
	struct ring old = wait->ring;
	uint64_t cursor;
	uint32_t len;
	void *record;

	if (ring_init(&wait->ring, size)) {
		wait->ring = old;
		return false;
	}
	if (!old.data)
		return true;
	cursor = ring_cursor(&old);
	while ((record = ring_next(&old, &cursor, &len))) {
		memcpy(ring_reserve(&wait->ring, len), record, len);
		ring_commit(&wait->ring, len);
	}
	ring_done(&old);
	return true;
}

bool e1000_rx_wait_put(struct e1000_rx_call *call, const struct packet *packet)
{
	struct e1000 *dev = call->dev;
	struct e1000_rx_wait *wait = &dev->rx_wait;
	uint32_t len = (uint32_t)sizeof(struct waiting) + packet->len;
	uint32_t size = dev->rx_remote ? REMOTE_RING_BYTES : RING_BYTES;
	struct waiting *w;

	if (wait->bytes + chip_bytes(packet->len) > buffer_bytes(dev) ||
	    (dev->rx_remote && wait->n >= REMOTE_FRAMES))
		return false;
	if (wait->ring.size < size && !make_ring(wait, size))
		return false;
	w = ring_reserve(&wait->ring, len);
	if (!w)
		return false;
	*w = (struct waiting){
		.len = packet->len,
		.off = packet->off,
		.tagged = packet->tagged,
		.vlan_tci = packet->vlan_tci,
	};
	packet_copy(packet, 0, w->bytes, packet->len);
	ring_commit(&wait->ring, len);
	if (!wait->n)
		wait->since_ns = call->now_ns;
	wait->bytes += chip_bytes(packet->len);
	WRITE_ONCE(wait->n, wait->n + 1);
	if (!dev->rx_remote)
		COUNT(dev->rx_count.waited, 1);
	return true;
}

void e1000_rx_wait_first(struct e1000_rx_wait *wait, struct packet *packet, struct iovec *piece)
{
	uint64_t cursor = ring_cursor(&wait->ring);
	uint32_t len;
	struct waiting *w = ring_next(&wait->ring, &cursor, &len);

	*piece = (struct iovec){ w->bytes, w->len };
	packet->pieces = piece;
	packet->n_pieces = 1;
	packet->head_len = 0;
	packet->len = w->len;
	packet->off = w->off;
	packet->tagged = w->tagged;
	packet->vlan_tci = w->vlan_tci;
}

void e1000_rx_wait_pop(struct e1000_rx_call *call)
{
	struct e1000_rx_wait *wait = &call->dev->rx_wait;
	uint64_t cursor = ring_cursor(&wait->ring);
	uint32_t len;
	struct waiting *w = ring_next(&wait->ring, &cursor, &len);

	wait->bytes -= chip_bytes(w->len);
	WRITE_ONCE(wait->n, wait->n - 1);
	wait->since_ns = call->now_ns;
	ring_release(&wait->ring, cursor);
}

bool e1000_rx_wait_overdue(struct e1000_rx_call *call)
{
	if (!call->some || call->now_ns - call->dev->rx_wait.since_ns < OVERDUE_NS)
		return false;
	COUNT(call->dev->rx_count.no_buffer, 1);
	call->causes |= ICR_RXO;
	return true;
}

void e1000_rx_wait_serve(struct e1000_rx_call *call)
{
	struct e1000_rx_wait *wait = &call->dev->rx_wait;
	struct packet packet;
	struct iovec piece;

	call->counted = true;
	while (wait->n) {
		e1000_rx_wait_first(wait, &packet, &piece);
		if (e1000_rx_frame_give(call, &packet) == E1000_WAIT &&
		    !e1000_rx_wait_overdue(call))
			break;
		e1000_rx_wait_pop(call);
	}
	call->counted = false;
}

void e1000_rx_wait_clear(struct e1000 *dev)
{
	struct e1000_rx_wait *wait = &dev->rx_wait;

	WRITE_ONCE(wait->n, 0);
	wait->bytes = 0;
	ring_done(&wait->ring);
	wait->ring = (struct ring){ 0 };
}

void e1000_rx_wait_stop(struct e1000 *dev)
{
	COUNT(dev->rx_count.disabled, dev->rx_wait.n);
	e1000_rx_wait_clear(dev);
}

/* ---- who looks ---------------------------------------------------------------------------- */

void e1000_rx_wait_arm(struct e1000 *dev, uint64_t now_ns)
{
	struct e1000_rx_wait *wait = &dev->rx_wait;
	uint64_t step_ns = (now_ns - wait->since_ns) / 8;

	if (!wait->n || READ_ONCE(wait->timer.deadline_ns) != UINT64_MAX)
		return;
	io_timer_set(&wait->timer, now_ns + MIN(MAX(step_ns, LOOK_MIN_NS), LOOK_MAX_NS));
}

static void look(struct io_timer *timer, struct io_turn *turn)
{
	struct e1000 *dev = container_of(timer, struct e1000, rx_wait.timer);
	struct e1000_rx_call call;

	pthread_mutex_lock(&dev->rx_lock);
	if (!dev->rx_wait.n)
		goto out;
	if (dev->rx_remote) {
		e1000_rx_remote_look(dev);
		e1000_rx_wait_arm(dev, turn->now_ns);
		goto out;
	}
	e1000_rx_call_begin(&call, dev, turn->now_ns);
	if (call.rctl & RCTL_EN && e1000_dma_ok(dev)) {
		e1000_rx_wait_serve(&call);
		e1000_rx_call_end(&call, turn);
	}
out:
	pthread_mutex_unlock(&dev->rx_lock);
}

void e1000_rx_wait_kick(struct e1000 *dev)
{
	if (READ_ONCE(dev->rx_wait.n))
		io_timer_set(&dev->rx_wait.timer, time_now_ns());
}

void e1000_rx_wait_init(struct e1000 *dev)
{
	dev->rx_wait.timer.fire = look;
	dev->rx_wait.timer.deadline_ns = UINT64_MAX;
}
