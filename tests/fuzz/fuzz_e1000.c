/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver that does anything: the first byte chooses the chip and a set-up, the rest is a list of
 * steps (register accesses of any width, descriptors, polls, frames from outside, timers, resets).
 * Whatever it does, polls end, packets are sound, and a device that is reset works. The memory may
 * have no file: then the steps also say which messages are answered, and how.
 */
#include "base/iov.h"
#include "base/util.h"
#include "memory/remote.h"
#include "net/offload.h"
#include "nic/e1000/e1000.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_BASE 0x10000ull
#define GUEST_SIZE 0x40000ull
#define TX_RING	   GUEST_BASE
#define RX_RING	   (GUEST_BASE + 0x1000)
#define BUFFERS	   (GUEST_BASE + 0x2000)
#define RING_N	   32u
#define STEPS_MAX  2000
#define POLLS_MAX  4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *guest;
static int guest_fd = -1;
static uint8_t scratch[IO_SCRATCH_BYTES] __attribute__((aligned(64)));
static uint8_t frame[65536 + 64];
static struct io_turn turn;
static uint64_t sum;
static bool remote;

struct input {
	const uint8_t *at;
	size_t left;
};

static uint32_t take(struct input *in, unsigned bytes)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < bytes && in->left; i++, in->at++, in->left--)
		v |= (uint32_t)*in->at << (8 * i);
	return v;
}

void net_switch_forward(struct switch_port *from, struct packet_batch *batch, struct io_turn *t)
{
	for (unsigned i = 0; i < batch->n; i++) {
		const struct packet *packet = &batch->packets[i];

		if (iov_len(packet->pieces, packet->n_pieces) != packet->len ||
		    packet->len < PACKET_LEN_MIN || packet->len > PACKET_LEN_MAX ||
		    packet_offload_check(&packet->off, packet->len))
			abort();
		sum = csum_packet(packet, 0, packet->len); /* all of it can be read */
	}
}

static void poll_queue(struct nic *nic, unsigned n)
{
	struct io_queue *queue = nic->queues[n % nic->n_queues];
	struct io_work work;

	for (unsigned polls = 0;; polls++) {
		if (polls > POLLS_MAX)
			abort();
		turn.budget_packets = 64;
		turn.budget_bytes = 256 * 1024;
		queue->ops->poll(queue, &turn, &work);
		io_turn_end(&turn);
		if (!work.more && !(remote && queue->ops->pending(queue)))
			break;
	}
	if (queue->ops->pending(queue))
		abort(); /* it would spin */
}

static void kick(void *arg)
{
}

/* The client's answers to at most @n messages, the @fail-th of which says no. */
static bool answer(struct nic *nic, struct memory_space *space, unsigned n, unsigned fail)
{
	struct memory_transfer *t;
	bool any = false;

	while (n-- && (t = memory_remote_next(space))) {
		uint64_t skip = t->addr - GUEST_BASE;
		bool ok = fail-- && memory_remote_wanted(space, t);

		if (skip >= GUEST_SIZE || t->len > GUEST_SIZE - skip)
			abort(); /* not mapped: it must not be asked for */
		if (ok && t->write)
			memcpy(guest + skip, t->bytes, t->len);
		else if (ok)
			memcpy(t->bytes, guest + skip, t->len);
		memory_remote_done(space, t, ok ? 0 : -EFAULT);
		any = true;
	}
	pci_memory_changed(nic->pci);
	return any;
}

/* Answers until nothing is asked any more. */
static void answer_all(struct nic *nic, struct memory_space *space)
{
	for (unsigned rounds = 0; remote && answer(nic, space, UINT_MAX, UINT_MAX); rounds++) {
		if (rounds > POLLS_MAX)
			abort();
		for (unsigned q = 0; q < nic->n_queues; q++)
			poll_queue(nic, q);
	}
}

static void give(struct nic *nic, uint32_t len, unsigned kind)
{
	static struct packet_batch batch;
	struct packet *packet, *list[1];

	len = PACKET_LEN_MIN + len % 65000;
	packet_batch_init(&batch);
	packet = packet_begin(&batch);
	packet_add(&batch, packet, frame, len);
	if (kind & 1)
		packet->off = (struct offload){ .flags = OFFLOAD_NEEDS_CSUM,
						.csum_start = kind & 8 ? len % 64 : 34,
						.csum_offset = kind & 8 ? len / 64 % 32 : 16 };
	if (kind & 2) {
		packet->off.gso = OFFLOAD_GSO_TCPV4;
		packet->off.gso_size = (uint16_t)(len / 3 + 1);
		packet->off.hdr_len = 54;
	}
	packet->tagged = kind & 4;
	packet->vlan_tci = (uint16_t)(kind << 8);
	if (packet_seal(&batch, packet))
		return;
	list[0] = packet;
	nic->port.ops->give(&nic->port, list, 1, &turn);
	io_turn_end(&turn);
}

static void wr(struct nic *nic, uint32_t offset, uint32_t value)
{
	pci_bar_write(nic->pci, 0, offset, &value, 4);
}

/* Rings of 32 descriptors with buffers, both directions on. */
static void start(struct nic *nic, uint32_t rctl)
{
	memset(guest, 0, GUEST_SIZE);
	for (unsigned i = 0; i < RING_N * 2; i++) {
		store_le64(guest + i * 16, BUFFERS + (i % RING_N) * 2048);
		store_le64(guest + (RX_RING - GUEST_BASE) + i * 16, BUFFERS + i * 2048);
	}
	memcpy(guest + (BUFFERS - GUEST_BASE), frame, 2048);
	for (unsigned q = 0; q < 2; q++) {
		wr(nic, TDBAL(q), (uint32_t)TX_RING);
		wr(nic, TDLEN(q), RING_N * 16);
		wr(nic, RDBAL(q), (uint32_t)RX_RING);
		wr(nic, RDLEN(q), RING_N * 16);
		wr(nic, RDT(q), RING_N - 2);
	}
	wr(nic, RCTL, rctl);
	wr(nic, TCTL, TCTL_EN | TCTL_PSP);
	wr(nic, IMS, ~0u);
}

static void step(struct nic *nic, struct e1000 *dev, struct memory_space *space, struct input *in)
{
	uint8_t buf[16] = { 0 };
	uint32_t op = take(in, 1), offset, n;

	switch (op & 15) {
	case 0:
	case 1: /* a register; mostly whole, sometimes odd */
		offset = take(in, 2) * 4 % E1000_BAR_BYTES;
		wr(nic, offset, take(in, 4));
		break;
	case 2:
		pci_bar_read(nic->pci, 0, take(in, 3) % E1000_BAR_BYTES, buf, 1 + (op >> 4) % 8);
		break;
	case 3:
		offset = take(in, 3) % E1000_BAR_BYTES;
		store_le32(buf, take(in, 4));
		pci_bar_write(nic->pci, 0, offset, buf, 1 + (op >> 4) % 8);
		break;
	case 4: /* a descriptor */
	case 5:
		n = take(in, 1) % 64;
		for (unsigned i = 0; i < 16; i++)
			guest[n * 16 + i + (op & 16 ? RX_RING - GUEST_BASE : 0)] = (uint8_t)take(in,
												 1);
		break;
	case 6: /* one that is likely to mean something */
		n = take(in, 1) % 64;
		store_le64(guest + n * 16, BUFFERS + take(in, 2) % 0x20000);
		store_le32(guest + n * 16 + 8, take(in, 4));
		store_le32(guest + n * 16 + 12, take(in, 4));
		break;
	case 7: /* bytes of a buffer */
		n = take(in, 1);
		for (unsigned i = 0; i < 16; i++)
			guest[BUFFERS - GUEST_BASE + n + i] = (uint8_t)take(in, 1);
		break;
	case 8:
	case 9:
		wr(nic, TDT(op >> 4 & 1), take(in, 1));
		poll_queue(nic, op >> 4 & 1);
		break;
	case 10:
		give(nic, take(in, 2), op >> 4);
		if (remote)
			poll_queue(nic, 0);
		break;
	case 11: wr(nic, RDT(op >> 4 & 1), take(in, 1)); break;
	case 12:
		turn.now_ns += take(in, 3);
		dev->timer.fire(&dev->timer, &turn);
		if (dev->rx_wait.timer.deadline_ns <= turn.now_ns) {
			dev->rx_wait.timer.deadline_ns = UINT64_MAX;
			dev->rx_wait.timer.fire(&dev->rx_wait.timer, &turn);
		}
		io_turn_end(&turn);
		if (!remote)
			break;
		n = take(in, 1);
		answer(nic, space, n % 16, n / 16);
		poll_queue(nic, 0);
		poll_queue(nic, 1);
		break;
	case 13:
		store_le16(buf, take(in, 1) & 7);
		pci_config_write(nic->pci, 4, buf, 2);
		break;
	case 14:
		if (op & 16)
			pci_function_reset(nic->pci, PCI_RESET_FUNCTION);
		else
			nic->ops->link_set(nic, op & 32);
		break;
	case 15: /* the I/O window */
		store_le32(buf, take(in, 4));
		pci_bar_write(nic->pci, dev->variant->io_bar, (op >> 4) % 12, buf, 4);
		pci_bar_read(nic->pci, dev->variant->io_bar, (op >> 4) % 12, buf, 4);
		break;
	}
}

static void frame_init(void)
{
	frame[0] = 0x52; /* to the device; IPv4, TCP */
	frame[1] = 0x54;
	memset(frame + 6, 2, 6);
	store_be16(frame + 12, 0x0800);
	frame[14] = 0x45;
	frame[23] = 6;
	frame[46] = 0x50;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct nic_config config = { .name = "fuzz", .mac = { 0x52, 0x54 }, .link_up = true };
	uint32_t first = take(&in, 1);
	struct memory_space *space = memory_space_new("fuzz");
	struct e1000 *dev;
	struct nic *nic;
	uint16_t command = 7;

	if (guest_fd < 0) {
		guest_fd = memfd_create("fuzz", 0);
		if (ftruncate(guest_fd, GUEST_SIZE))
			abort();
		guest = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, guest_fd, 0);
		if (guest == MAP_FAILED)
			abort();
		frame_init();
	}
	config.model = first & 1 ? "82574L" : "82540EM";
	config.trap_doorbells = first & 2;
	nic = nic_new(&config, space);
	remote = first & 32;
	if (!nic || memory_space_map(space, GUEST_BASE, GUEST_SIZE, MEMORY_READ | MEMORY_WRITE,
				     remote ? -1 : guest_fd, 0))
		abort();
	if (remote)
		memory_remote_open(space, kick, NULL);
	dev = container_of(nic, struct e1000, nic);
	io_turn_init(&turn, scratch);
	pci_config_write(nic->pci, 4, &command, 2);
	wr(nic, RFCTL, first & 4 ? RFCTL_EXTEN : 0);
	wr(nic, PSRCTL, 0x04040401);
	start(nic, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_BAM | (first & 8 ? RCTL_LPE : 0) |
			   (first & 16 ? 1 << 10 : 0));
	for (unsigned steps = 0; in.left && steps < STEPS_MAX; steps++)
		step(nic, dev, space, &in);
	answer_all(nic, space);

	/* and after all that */
	pci_config_write(nic->pci, 4, &command, 2);
	nic->ops->link_set(nic, true);
	pci_function_reset(nic->pci, PCI_RESET_FUNCTION);
	pci_config_write(nic->pci, 4, &command, 2);
	start(nic, RCTL_EN | RCTL_UPE);
	store_le32(guest + 8, 64 | TXD_EOP | TXD_RS);
	wr(nic, TDT(0), 1);
	poll_queue(nic, 0);
	answer_all(nic, space);
	if (!(guest[12] & TXD_STA_DD))
		abort();
	nic->ops->free(nic);
	memory_space_free(space);
	return 0;
}
