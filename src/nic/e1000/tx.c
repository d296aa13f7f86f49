/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transmit rings (8254x manual 3.4, 82574 datasheet 7.2). A poll takes one snapshot of the ring's
 * registers, reads each descriptor between head and tail once, makes a batch of packets that point
 * into the guest's memory, forwards it, and then writes back: DD in the descriptors that asked for
 * it, the head in the page, one interrupt.
 *
 * A packet is taken when its last descriptor is there; until then nothing of it is consumed.
 * Work is bounded by the turn's budget in packets and by E1000_TX_DESC_MAX descriptors a poll.
 */
#include "nic/e1000/tx.h"

#include "base/clock.h"
#include "nic/e1000/remote.h"

#define RATE_BURST_BYTES 16384ull
#define GATHER_OCTETS	 (256u * 1024)

_Static_assert(sizeof(struct e1000_tx_scratch) <= IO_SCRATCH_BYTES / 2, "scratch");

struct tx_poll {
	struct e1000_ring ring;
	struct e1000_tx_scratch *scratch;
	unsigned desc_left; /* to be read in this poll */
	bool rs, all_delayed;
	bool stuck; /* nothing more can be done before something changes */
	const struct e1000_tx_remote *remote; /* tx->remote at the start */
};

static bool desc_read(struct e1000_tx *tx, struct tx_poll *poll, uint32_t at,
		      struct e1000_tx_desc *desc)
{
	uint64_t address = poll->ring.base + (uint64_t)at * RING_DESC_BYTES;
	const void *p = memory_at(&tx->ring_reader, address, RING_DESC_BYTES,
				  MEMORY_READ | MEMORY_WRITE);

	if (unlikely(!p))
		p = e1000_tx_remote_at(tx, &tx->ring_reader, address, RING_DESC_BYTES,
				       MEMORY_READ | MEMORY_WRITE);
	if (unlikely(!p))
		return false;
	memcpy(desc, p, sizeof(*desc));
	/* what was copied is what is used: no second look at the guest's memory */
	__asm__ volatile("" ::: "memory");
	return true;
}

static void desc_done(struct e1000_tx *tx, struct tx_poll *poll, uint32_t at, uint32_t lower)
{
	if (!(lower & TXD_RS))
		return;
	if (!(lower & TXD_IDE))
		poll->all_delayed = false;
	poll->rs = true;
	tx->done[tx->n_done++] = at;
}

static uint32_t next_of(const struct tx_poll *poll, uint32_t at)
{
	return at + 1 == poll->ring.n ? 0 : at + 1;
}

/* Takes descriptors up to and with one packet's last. False when there is no whole packet (any
 * more), or it cannot be taken now. */
static bool take_one(struct e1000_tx *tx, struct tx_poll *poll)
{
	struct e1000_tx_build build = { 0 };
	uint32_t at = tx->head.head;
	unsigned n_done = tx->n_done;
	struct e1000_tx_desc desc;

	while (at != poll->ring.tail) {
		if (!poll->desc_left)
			goto later;
		if (unlikely(!desc_read(tx, poll, at, &desc))) {
			if (tx->remote != poll->remote)
				goto later;
			COUNT(tx->count.bad_ring, 1);
			poll->stuck = true;
			goto later;
		}
		poll->desc_left--;
		COUNT(tx->count.descriptors, 1);
		desc_done(tx, poll, at, desc.lower);
		at = next_of(poll, at);
		if (desc.lower & TXD_DEXT && TXD_DTYP(desc.lower) == TXD_DTYP_CONTEXT) {
			e1000_tx_context(tx, &desc);
			if (!build.n_desc) {
				tx->head.head = at;
				n_done = tx->n_done;
			}
			continue;
		}
		if (unlikely(tx->dropping)) {
			tx->head.head = at;
			n_done = tx->n_done;
			tx->dropping = !(desc.lower & TXD_EOP);
			continue;
		}
		if (!build.n_desc) {
			build.packet = packet_begin(&poll->scratch->batch);
			if (!build.packet) {
				/* the batch is full: this descriptor is for the next poll */
				tx->n_done = n_done;
				return false;
			}
		}
		e1000_tx_data(tx, poll->scratch, &build, &desc);
		if (unlikely(build.bad) && tx->remote != poll->remote)
			goto later;
		if (desc.lower & TXD_EOP) {
			e1000_tx_finish(tx, poll->scratch, &build, &desc);
			tx->head.head = at;
			return true;
		}
		if (unlikely(build.n_desc == E1000_TX_PACKET_DESC)) {
			COUNT(tx->count.too_many_pieces, 1);
			tx->dropping = true;
			tx->head.head = at;
			n_done = tx->n_done;
			build = (struct e1000_tx_build){ 0 };
		}
	}
	if (!build.n_desc)
		return false;
	if (build.n_desc + 1 >= poll->ring.n) {
		/* the whole ring and no end: there is no room for the rest of it either */
		COUNT(tx->count.unfinished, 1);
		tx->dropping = true;
		tx->head.head = at;
		return false;
	}
	poll->stuck = true;
later:
	tx->n_done = n_done;
	return false;
}

/* Where the frames go. Nothing of them is needed afterwards. */
static void send_batch(struct e1000_tx *tx, struct packet_batch *batch, struct io_turn *turn)
{
	struct e1000 *dev = tx->dev;
	struct packet *list[PACKET_BATCH];

	if (unlikely(READ_ONCE(dev->phy_loopback) ||
		     RCTL_LBM(e1000_get(dev, RCTL)) == RCTL_LBM_MAC)) {
		for (unsigned i = 0; i < batch->n; i++)
			list[i] = &batch->packets[i];
		COUNT(tx->count.looped, batch->n);
		e1000_rx_give(dev, list, batch->n, turn);
	} else if (likely(READ_ONCE(dev->link))) {
		net_switch_forward(&dev->nic.port, batch, turn);
	} else {
		COUNT(tx->count.link_down, batch->n);
	}
}

static void write_back(struct e1000_tx *tx, struct tx_poll *poll)
{
	for (unsigned i = 0; i < tx->n_done; i++) {
		uint64_t at = poll->ring.base + (uint64_t)tx->done[i] * RING_DESC_BYTES + 12;
		uint8_t *sta = memory_at(&tx->ring_reader, at, 1, MEMORY_WRITE);

		/* EC, LC and TU are never set, so the status is DD alone */
		if (likely(sta))
			STORE_RELEASE(*sta, TXD_STA_DD);
	}
	e1000_head_publish(&tx->head);
}

/* How many bytes may go now under the guest's rate; 0: none before the timer. A poll may overdraw,
 * by a packet or by both queues at once; what it took is counted and waited for. */
static uint64_t rate_allows(struct e1000_tx *tx, struct io_turn *turn)
{
	struct e1000 *dev = tx->dev;
	uint64_t rate = READ_ONCE(dev->max_rate_bps), next;

	if (likely(!rate))
		return turn->budget_bytes;
	next = READ_ONCE(dev->rate_next_ns);
	if (turn->now_ns < next) {
		COUNT(tx->count.rate_limited, 1);
		io_timer_set(&dev->rate_timer, next);
		return 0;
	}
	return MIN(turn->budget_bytes, MAX(rate / 8 / 1000, RATE_BURST_BYTES));
}

static void rate_charge(struct e1000 *dev, uint64_t octets, uint64_t now_ns)
{
	uint64_t rate = READ_ONCE(dev->max_rate_bps), next;

	if (likely(!rate) || !octets)
		return;
	next = MAX(READ_ONCE(dev->rate_next_ns), now_ns);
	next += (uint64_t)((double)octets * 8 * NS_PER_S / (double)rate);
	WRITE_ONCE(dev->rate_next_ns, next);
}

static void rate_fire(struct io_timer *timer, struct io_turn *turn)
{
	e1000_tx_kick(container_of(timer, struct e1000, rate_timer));
}

/* A guest that has much to free, or a part of its ring that it notices, is told without more ado:
 * it may be waiting for that. */
static enum e1000_tx_urgency urgency(struct e1000_tx *tx, const struct tx_poll *poll,
				     uint32_t n_desc, uint64_t octets)
{
	unsigned told = READ_ONCE(tx->dev->irq.tx_told);

	if (told != tx->told) {
		tx->told = told;
		tx->untold = 0;
		tx->untold_octets = 0;
	}
	tx->untold += n_desc;
	tx->untold_octets += octets;
	if (!poll->all_delayed)
		return E1000_TX_AT_ONCE;
	return tx->untold >= poll->ring.n / 4 || tx->untold_octets >= GATHER_OCTETS
		       ? E1000_TX_MUCH
		       : E1000_TX_MAY_GATHER;
}

static void poll_ring(struct e1000_tx *tx, struct io_turn *turn, struct io_work *work)
{
	struct e1000 *dev = tx->dev;
	struct tx_poll poll = {
		.scratch = turn->scratch,
		.desc_left = E1000_TX_DESC_MAX,
		.all_delayed = true,
		.remote = tx->remote,
	};
	struct packet_batch *batch = &poll.scratch->batch;
	uint64_t octets = tx->count.good.octets, budget;
	uint32_t head, causes;

	e1000_ring_load(dev, TDBAL(tx->index), &tx->head, &poll.ring);
	/* not a read of its own: if the tail moved in between, and the guest then filled its ring,
	 * it would again be where that read saw it */
	tx->seen = poll.ring.words;
	if (unlikely(tx->remote)) {
		work->spent = true;
		if (!e1000_tx_remote_begin(tx, &poll.ring, turn->now_ns))
			return;
	}
	head = tx->head.head;
	if (!poll.ring.n || head == poll.ring.tail)
		return;
	budget = rate_allows(tx, turn);
	if (!budget)
		return;

	memory_reader_begin(&tx->ring_reader);
	memory_reader_begin(&tx->data_reader);
	packet_batch_init(batch);
	tx->n_done = 0;
	while (batch->n < turn->budget_packets && tx->count.good.octets - octets < budget &&
	       take_one(tx, &poll))
		;
	if (batch->n)
		send_batch(tx, batch, turn);
	rate_charge(dev, tx->count.good.octets - octets, turn->now_ns);
	causes = poll.rs ? ICR_TXQ0 << tx->index : 0;
	if (tx->head.head == poll.ring.tail)
		causes |= ICR_TXQE;
	octets = tx->count.good.octets - octets;
	if (unlikely(poll.remote)) {
		e1000_tx_remote_end(tx, &poll.ring, causes, poll.all_delayed, turn->now_ns);
	} else if (tx->head.head != head) {
		write_back(tx, &poll);
		if (causes)
			e1000_irq_tx(dev, causes,
				     urgency(tx, &poll,
					     (tx->head.head + poll.ring.n - head) % poll.ring.n,
					     octets),
				     turn->now_ns);
	}

	work->packets = batch->n;
	work->bytes = octets;
	/* context descriptors, bad packets, the first part of one */
	work->spent |= poll.desc_left != E1000_TX_DESC_MAX;
	work->more = tx->head.head != poll.ring.tail && !poll.stuck && tx->head.head != head;
	work->more |= tx->remote && !poll.remote;
	if (work->more)
		work->backlog = (poll.ring.tail + poll.ring.n - tx->head.head) % poll.ring.n;
}

/* A register of the queue's ring, named as the first queue's. The four that are looked at are in
 * one cache line. */
static uint32_t ring_word(const struct e1000_tx *tx, uint32_t offset)
{
	return __atomic_load_n(tx->ring_page + (offset - TDBAL(0)) / 4, __ATOMIC_ACQUIRE);
}

/* As they are now; a poll goes by a snapshot of its own. */
static struct e1000_ring_words ring_words(const struct e1000_tx *tx)
{
	return (struct e1000_ring_words){
		.tail = ring_word(tx, TDT(0)),
		.len = ring_word(tx, TDLEN(0)),
		.base = ring_word(tx, TDBAL(0)),
	};
}

static void tx_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct e1000_tx *tx = container_of(queue, struct e1000_tx, queue);
	struct e1000 *dev = tx->dev;

	*work = (struct io_work){ 0 };
	pthread_mutex_lock(&tx->lock);
	/* before anything is read: what changes from now on is looked at again */
	__atomic_exchange_n(&tx->recheck, 0, __ATOMIC_ACQ_REL);
	if (unlikely(READ_ONCE(dev->rx_remote)) && !tx->index)
		e1000_rx_remote_poll(dev, turn);
	if (e1000_get(dev, TCTL) & TCTL_EN && e1000_dma_ok(dev))
		poll_ring(tx, turn, work);
	else
		tx->seen = ring_words(tx);
	if (work->more)
		WRITE_ONCE(tx->recheck, 1);
	pthread_mutex_unlock(&tx->lock);
}

static bool tx_pending(struct io_queue *queue)
{
	const struct e1000_tx *tx = container_of(queue, struct e1000_tx, queue);
	struct e1000_ring_words now = ring_words(tx);

	return now.tail != tx->seen.tail || READ_ONCE(tx->recheck) || now.len != tx->seen.len ||
	       now.base != tx->seen.base;
}

/* While the guest has the transmitter off, a trapped access has to come first. */
static bool tx_announced(struct io_queue *queue)
{
	const struct e1000 *dev = container_of(queue, struct e1000_tx, queue)->dev;

	return !(e1000_get(dev, TCTL) & TCTL_EN) || !e1000_dma_ok(dev);
}

const struct io_queue_ops e1000_tx_ops = {
	.poll = tx_poll,
	.pending = tx_pending,
	.announced = tx_announced,
};

void e1000_tx_kick(struct e1000 *dev)
{
	for (unsigned i = 0; i < dev->variant->n_queues; i++) {
		STORE_RELEASE(dev->tx[i].recheck, 1);
		io_queue_kick(&dev->tx[i].queue);
	}
}

void e1000_tx_expect(struct e1000 *dev, const struct io_turn *turn)
{
	for (unsigned i = 0; i < dev->variant->n_queues; i++)
		if (ring_word(&dev->tx[i], TDLEN(0)))
			io_queue_expect(&dev->tx[i].queue, turn);
}

void e1000_tx_rate_set(struct e1000 *dev, uint64_t bps)
{
	WRITE_ONCE(dev->max_rate_bps, bps);
	/* what was overdrawn at the old rate is forgotten */
	WRITE_ONCE(dev->rate_next_ns, 0);
	e1000_tx_kick(dev);
}

void e1000_tx_init(struct e1000 *dev)
{
	dev->rate_timer.fire = rate_fire;
	dev->rate_timer.deadline_ns = UINT64_MAX;
}

void e1000_tx_reset(struct e1000_tx *tx)
{
	e1000_head_init(&tx->head, tx->dev->tx_page + (TDH(tx->index) & 0xfff) / 4);
	memset(tx->context, 0, sizeof(tx->context));
	tx->dropping = false;
	tx->n_done = 0;
	e1000_tx_remote_free(tx->remote);
	tx->remote = NULL;
}
