/* SPDX-License-Identifier: BSD-2-Clause */
#include "e1000_harness.h"

#include "base/clock.h"
#include "base/iov.h"
#include "net/offload.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

struct nic *nic;
struct e1000 *dev;
struct memory_space *space;
uint8_t *guest;
struct sent *sent;
unsigned n_sent;
struct io_turn turn;
const uint8_t own_mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
const uint8_t peer_mac[6] = { 0x52, 0x54, 0x00, 0x65, 0x43, 0x21 };

static int guest_fd, irq_fds[E1000_VECTORS];
static uint8_t scratch[IO_SCRATCH_BYTES] __attribute__((aligned(64)));

/* The clock of all that is linked with this stands still, so that it does not matter how long a
 * test takes; timer_run() puts it forward. */
static uint64_t clock_ns = 1000 * NS_PER_S;

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	*ts = (struct timespec){ (time_t)(clock_ns / NS_PER_S), (long)(clock_ns % NS_PER_S) };
	return 0;
}

/* Instead of the switch: what a NIC sends. */
void net_switch_forward(struct switch_port *from, struct packet_batch *batch, struct io_turn *t)
{
	assert_ptr_equal(from, &nic->port);
	for (unsigned i = 0; i < batch->n; i++) {
		const struct packet *packet = &batch->packets[i];
		struct sent *s = &sent[n_sent % SENT_MAX];

		assert_int_equal(iov_len(packet->pieces, packet->n_pieces), packet->len);
		assert_int_equal(packet_offload_check(&packet->off, packet->len), 0);
		s->len = packet->len;
		s->off = packet->off;
		s->tagged = packet->tagged;
		s->tci = packet->vlan_tci;
		packet_copy(packet, 0, s->bytes, sizeof(s->bytes));
		n_sent++;
	}
}

int guest_file(void)
{
	return guest_fd;
}

static int start(const char *model, bool trap)
{
	struct nic_config config = {
		.name = "vm/net0",
		.model = model,
		.link_up = true,
		.trap_doorbells = trap,
	};

	memcpy(config.mac, own_mac, 6);
	guest_fd = memfd_create("guest", 0);
	assert_int_equal(ftruncate(guest_fd, GUEST_SIZE), 0);
	guest = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, guest_fd, 0);
	assert_ptr_not_equal(guest, MAP_FAILED);
	sent = calloc(SENT_MAX, sizeof(*sent));
	n_sent = 0;
	space = memory_space_new("vm");
	assert_non_null(space);
	assert_int_equal(memory_space_map(space, GUEST_BASE, GUEST_SIZE, MEMORY_READ | MEMORY_WRITE,
					  guest_fd, 0),
			 0);
	nic = nic_new(&config, space);
	assert_non_null(nic);
	dev = container_of(nic, struct e1000, nic);
	for (unsigned i = 0; i < E1000_VECTORS; i++)
		irq_fds[i] = -1;
	io_turn_init(&turn, scratch);
	bus_master(true);
	return 0;
}

int start_82540em(void **state)
{
	return start("82540EM", false);
}

int start_82574l(void **state)
{
	return start("82574L", false);
}

int start_82574l_trapped(void **state)
{
	return start("82574L", true);
}

int stop(void **state)
{
	pci_irq_release(nic->pci);
	nic->ops->free(nic);
	memory_space_free(space);
	munmap(guest, GUEST_SIZE);
	close(guest_fd);
	free(sent);
	for (unsigned i = 0; i < E1000_VECTORS; i++)
		if (irq_fds[i] >= 0)
			close(irq_fds[i]);
	return 0;
}

uint32_t rd(uint32_t offset)
{
	uint32_t value;

	assert_int_equal(pci_bar_read(nic->pci, 0, offset, &value, 4), 0);
	return value;
}

void wr(uint32_t offset, uint32_t value)
{
	assert_int_equal(pci_bar_write(nic->pci, 0, offset, &value, 4), 0);
}

void bus_master(bool on)
{
	uint16_t command = on ? 7 : 3;

	assert_int_equal(pci_config_write(nic->pci, 4, &command, 2), 0);
}

void *at(uint64_t address)
{
	assert_in_range(address, GUEST_BASE, GUEST_BASE + GUEST_SIZE - 1);
	return guest + (address - GUEST_BASE);
}

void interrupts(enum pci_irq_index mode)
{
	unsigned n = pci_irq_count(nic->pci, mode);
	int fds[E1000_VECTORS];

	assert_in_range(n, 1, E1000_VECTORS);
	for (unsigned i = 0; i < n; i++) {
		if (irq_fds[i] >= 0)
			close(irq_fds[i]);
		irq_fds[i] = eventfd(0, EFD_NONBLOCK);
		fds[i] = dup(irq_fds[i]);
	}
	assert_int_equal(pci_irq_set(nic->pci, mode, 0, n, fds), 0);
	assert_int_equal(pci_irq_mode(nic->pci), (int)mode);
}

unsigned fired(unsigned vector)
{
	uint64_t count = 0;

	if (read(irq_fds[vector], &count, sizeof(count)) != sizeof(count))
		return 0;
	return (unsigned)count;
}

bool timer_run(void)
{
	uint64_t deadline = dev->irq.timer_ns;

	if (deadline == UINT64_MAX)
		return false;
	clock_ns = MAX(clock_ns, deadline);
	turn.now_ns = time_now_ns();
	dev->timer.fire(&dev->timer, &turn);
	return true;
}

bool wait_timer_run(void)
{
	struct io_timer *timer = &dev->rx_wait.timer;

	if (timer->deadline_ns == UINT64_MAX)
		return false;
	clock_ns = MAX(clock_ns, timer->deadline_ns);
	turn.now_ns = time_now_ns();
	timer->deadline_ns = UINT64_MAX;
	timer->fire(timer, &turn);
	io_turn_end(&turn);
	return true;
}

void tx_start(unsigned queue)
{
	uint64_t ring = TX_RING + queue * 0x1000;

	memset(at(ring), 0, RING_N * 16);
	wr(TDBAL(queue), (uint32_t)ring);
	wr(TDBAH(queue), 0);
	wr(TDLEN(queue), RING_N * 16);
	wr(TDH(queue), 0);
	wr(TDT(queue), 0);
	wr(TCTL, TCTL_EN | TCTL_PSP);
}

void tx_desc(unsigned queue, uint32_t index, uint64_t address, uint32_t lower, uint32_t upper)
{
	uint8_t *desc = at(TX_RING + queue * 0x1000 + index * 16);

	store_le64(desc, address);
	store_le32(desc + 8, lower);
	store_le32(desc + 12, upper);
}

void tx_poll(unsigned queue)
{
	struct io_work work;
	struct io_queue *q = nic->queues[queue];
	unsigned polls = 0;

	do {
		turn.now_ns = time_now_ns();
		turn.budget_packets = 64;
		turn.budget_bytes = 1 << 20;
		q->ops->poll(q, &turn, &work);
		io_turn_end(&turn);
		assert_in_range(++polls, 1, 5000);
	} while (work.more);
}

void tx_frame(uint32_t index, const void *frame, uint32_t len)
{
	uint64_t address = TX_BUFFER + index * 4096ull;

	memcpy(at(address), frame, len);
	tx_desc(0, index, address, len | TXD_EOP | BIT(25) | TXD_RS, 0);
	wr(TDT(0), (index + 1) % RING_N);
	tx_poll(0);
}

void rx_start(unsigned queue, uint32_t rctl)
{
	uint64_t ring = RX_RING + queue * 0x1000;

	memset(at(ring), 0, RING_N * 16);
	for (unsigned i = 0; i < RING_N; i++)
		store_le64(at(ring + i * 16), RX_BUFFER + (queue * RING_N + i) * (uint64_t)BUFFER);
	wr(RDBAL(queue), (uint32_t)ring);
	wr(RDBAH(queue), 0);
	wr(RDLEN(queue), RING_N * 16);
	wr(RDH(queue), 0);
	wr(RDT(queue), RING_N - 1);
	wr(RCTL, rctl);
}

unsigned rx_give(const void *bytes, uint32_t len, const struct offload *off, int tci)
{
	static struct packet_batch batch;
	struct packet *packet, *list[1];
	unsigned taken;

	packet_batch_init(&batch);
	packet = packet_begin(&batch);
	assert_non_null(packet);
	assert_int_equal(packet_add(&batch, packet, (void *)(uintptr_t)bytes, len), 0);
	if (off)
		packet->off = *off;
	packet->tagged = tci >= 0;
	packet->vlan_tci = (uint16_t)tci;
	assert_int_equal(packet_seal(&batch, packet), 0);
	list[0] = packet;
	turn.now_ns = time_now_ns();
	taken = nic->port.ops->give(&nic->port, list, 1, &turn);
	io_turn_end(&turn);
	return taken;
}

struct wanted {
	const char *name;
	uint64_t value;
	bool found;
};

static void stat_look(void *arg, const char *name, uint64_t value)
{
	struct wanted *wanted = arg;

	if (!strcmp(name, wanted->name)) {
		wanted->value = value;
		wanted->found = true;
	}
}

uint64_t stat(const char *name)
{
	struct wanted wanted = { .name = name };

	nic->ops->stats(nic, stat_look, &wanted);
	assert_true(wanted.found);
	return wanted.value;
}

static uint32_t frame_ip(uint8_t *frame, const uint8_t *dst, uint8_t protocol, uint32_t l4_len)
{
	uint8_t *ip = frame + 14;

	memcpy(frame, dst, 6);
	memcpy(frame + 6, peer_mac, 6);
	store_be16(frame + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	store_be16(ip + 2, (uint16_t)(20 + l4_len));
	ip[8] = 64;
	ip[9] = protocol;
	store_be32(ip + 12, 0x0a000001);
	store_be32(ip + 16, 0x0a000002);
	store_le16(ip + 10, (uint16_t)~csum_fold(csum_add(0, ip, 20, false)));
	return 34 + l4_len;
}

/* The checksum fields hold the pseudo-header's sum, with the length. */
static uint16_t pseudo(const uint8_t *ip, uint8_t protocol, uint32_t l4_len)
{
	uint8_t rest[4] = { 0, protocol, (uint8_t)(l4_len >> 8), (uint8_t)l4_len };

	return csum_fold(csum_add(csum_add(0, ip + 12, 8, false), rest, 4, false));
}

uint32_t frame_udp(uint8_t *frame, const uint8_t *dst, uint32_t payload)
{
	uint32_t len = frame_ip(frame, dst, 17, 8 + payload);
	uint8_t *udp = frame + 34;

	store_be16(udp, 1000);
	store_be16(udp + 2, 2000);
	store_be16(udp + 4, (uint16_t)(8 + payload));
	store_le16(udp + 6, pseudo(frame + 14, 17, 8 + payload));
	for (uint32_t i = 0; i < payload; i++)
		udp[8 + i] = (uint8_t)(i * 7);
	return len;
}

uint32_t frame_tcp(uint8_t *frame, const uint8_t *dst, uint32_t payload)
{
	uint32_t len = frame_ip(frame, dst, 6, 20 + payload);
	uint8_t *tcp = frame + 34;

	memset(tcp, 0, 20);
	store_be16(tcp, 1000);
	store_be16(tcp + 2, 2000);
	store_be32(tcp + 4, 0x1000);
	tcp[12] = 0x50;
	tcp[13] = 0x18;
	store_le16(tcp + 16, pseudo(frame + 14, 6, 20 + payload));
	for (uint32_t i = 0; i < payload; i++)
		tcp[20 + i] = (uint8_t)(i * 13);
	return len;
}

struct offload tcp_segment(uint16_t size)
{
	return (struct offload){
		.flags = OFFLOAD_NEEDS_CSUM,
		.gso = OFFLOAD_GSO_TCPV4,
		.gso_size = size,
		.hdr_len = 54,
		.csum_start = 34,
		.csum_offset = 16,
	};
}
