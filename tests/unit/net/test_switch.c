/* SPDX-License-Identifier: BSD-2-Clause */
/* The switch with fake sinks: who gets what, in which order and form, and what is counted. */
#include "base/clock.h"
#include "base/util.h"
#include "net/switch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define PORTS 6

struct seen {
	uint8_t first; /* the frame's number */
	uint32_t len;
	bool tagged;
	uint16_t tci, type;
	struct offload off;
};

struct sink {
	struct switch_port port;
	struct seen seen[PACKET_BATCH * 4];
	unsigned n, gives, takes;
	char name[8];
};

static struct net_switch *sw;
static struct sink sinks[PORTS];
static struct packet_batch batch;
static struct io_turn turn;
static uint8_t scratch[IO_SCRATCH_BYTES];
static uint8_t frames[PACKET_BATCH][128];

static unsigned sink_give(struct switch_port *port, struct packet *const *packets, unsigned n,
			  struct io_turn *t)
{
	struct sink *sink = container_of(port, struct sink, port);

	sink->gives++;
	n = MIN(n, sink->takes);
	for (unsigned i = 0; i < n; i++) {
		struct seen *seen = &sink->seen[sink->n++];
		uint8_t bytes[200];

		assert_ptr_equal(packets[i]->pieces[0].iov_base, packets[i]->head);
		assert_int_equal(packet_copy(packets[i], 0, bytes, sizeof(bytes)), packets[i]->len);
		*seen = (struct seen){ .first = bytes[packets[i]->len - 1],
				       .len = packets[i]->len,
				       .tagged = packets[i]->tagged,
				       .tci = packets[i]->vlan_tci,
				       .type = load_be16(bytes + 12),
				       .off = packets[i]->off };
	}
	return n;
}

static const struct net_sink_ops sink_ops = { .give = sink_give };

static void make(const struct switch_config *config)
{
	sw = net_switch_new(config);
	assert_non_null(sw);
	io_turn_init(&turn, scratch);
	memset(sinks, 0, sizeof(sinks));
	for (unsigned i = 0; i < PORTS; i++) {
		snprintf(sinks[i].name, sizeof(sinks[i].name), "p%u", i);
		sinks[i].port.ops = &sink_ops;
		sinks[i].port.name = sinks[i].name;
		sinks[i].takes = PACKET_BATCH;
	}
	packet_batch_init(&batch);
}

static void plug(unsigned i, struct switch_port_config config)
{
	assert_int_equal(net_switch_attach(sw, &sinks[i].port, &config), 0);
}

static void plug_all(void)
{
	for (unsigned i = 0; i < PORTS; i++)
		plug(i, (struct switch_port_config){ 0 });
}

static void unmake(void)
{
	for (unsigned i = 0; i < PORTS; i++)
		net_switch_detach(&sinks[i].port);
	net_switch_free(sw);
}

/* Addresses are numbers; 0xff... is broadcast. */
static void mac_write(uint8_t *p, uint64_t mac)
{
	store_be16(p, (uint16_t)(mac >> 32));
	store_be32(p + 2, (uint32_t)mac);
}

#define MAC(i)	  (0x020000000000ull + (i))
#define BROADCAST 0xffffffffffffull

/* Adds a frame of 80 bytes whose last one is its number; @tag < 0: none. */
static struct packet *add(uint64_t to, uint64_t from, int tag)
{
	struct packet *packet = packet_begin(&batch);
	uint8_t *p = frames[batch.n];

	memset(p, 0, 128);
	mac_write(p, to);
	mac_write(p + 6, from);
	store_be16(p + 12, 0x88b5);
	if (tag >= 0) {
		store_be32(p + 12, 0x81000000 | (unsigned)tag);
		store_be16(p + 16, 0x88b5);
	}
	p[79] = (uint8_t)batch.n;
	packet_add(&batch, packet, p, 80);
	assert_int_equal(packet_seal(&batch, packet), 0);
	return packet;
}

static void forward(unsigned from)
{
	for (unsigned i = 0; i < PORTS; i++)
		sinks[i].n = sinks[i].gives = 0;
	net_switch_forward(&sinks[from].port, &batch, &turn);
	packet_batch_init(&batch);
	assert_int_equal(sinks[from].n, 0); /* never back */
}

static void send_one(unsigned from, uint64_t to, uint64_t source, int tag)
{
	add(to, source, tag);
	forward(from);
}

/* The ports that got something, as bits. */
static unsigned got(void)
{
	unsigned ports = 0;

	for (unsigned i = 0; i < PORTS; i++)
		ports |= sinks[i].n ? 1u << i : 0;
	return ports;
}

static struct switch_port_stats stats(unsigned i)
{
	struct switch_port_stats s;

	net_switch_port_stats(&sinks[i].port, &s);
	return s;
}

static void any_row(void *arg, const uint8_t mac[6], uint16_t vid, const char *port,
		    uint64_t age_ns)
{
	++*(unsigned *)arg;
}

static unsigned rows_of(struct net_switch *of)
{
	unsigned n = 0;

	net_switch_dump(of, any_row, &n);
	return n;
}

static void learns(void **state)
{
	make(&(struct switch_config){ .name = "lan" });
	plug_all();
	send_one(0, MAC(1), MAC(0), -1);
	assert_int_equal(got(), 0x3e);
	send_one(1, MAC(0), MAC(1), -1);
	assert_int_equal(got(), 0x01);
	send_one(0, MAC(1), MAC(0), -1);
	assert_int_equal(got(), 0x02);
	send_one(0, BROADCAST, MAC(0), -1);
	assert_int_equal(got(), 0x3e);
	send_one(0, MAC(0), MAC(0), -1); /* to itself */
	assert_int_equal(got(), 0);
	send_one(0, 0x0180c2000003, MAC(0), -1);
	assert_int_equal(got(), 0);
	send_one(0, 0x0180c2000010, MAC(0), -1);
	assert_int_equal(got(), 0x3e);
	assert_int_equal(stats(0).learned, 1);
	assert_int_equal(stats(0).flooded, 1);
	assert_int_equal(stats(0).multicast, 2);
	assert_int_equal(stats(0).no_destination, 2);
	assert_int_equal(stats(0).rx_packets, 6);
	assert_int_equal(stats(0).rx_bytes, 480);
	assert_int_equal(stats(1).tx_packets, 4);
	assert_int_equal(stats(1).tx_bytes, 320);
	/* it moves */
	send_one(2, MAC(0), MAC(1), -1);
	assert_int_equal(got(), 1);
	send_one(0, MAC(1), MAC(0), -1);
	assert_int_equal(got(), 4);
	assert_int_equal(stats(2).moved, 1);
	/* a source that can be nobody's */
	send_one(0, MAC(1), BROADCAST, -1);
	assert_int_equal(got(), 0);
	send_one(0, MAC(1), 0, -1);
	assert_int_equal(got(), 0);
	assert_int_equal(stats(0).spoofed, 2);
	unmake();
}

static void keeps_order(void **state)
{
	make(&(struct switch_config){ 0 });
	plug_all();
	for (unsigned i = 0; i < PORTS; i++)
		send_one(i, BROADCAST, MAC(i), -1);
	for (unsigned i = 0; i < PACKET_BATCH; i++)
		add(i % 7 == 6 ? BROADCAST : MAC(i % 7), MAC(0), -1);
	forward(0);
	for (unsigned p = 1; p < PORTS; p++) {
		unsigned n = 0;

		assert_int_equal(sinks[p].gives, 1);
		for (unsigned i = 0; i < PACKET_BATCH; i++)
			if (i % 7 == 6 || i % 7 == p)
				assert_int_equal(sinks[p].seen[n++].first, i);
		assert_int_equal(sinks[p].n, n);
	}
	/* a sink that is full */
	sinks[1].takes = 3;
	for (unsigned i = 0; i < 10; i++)
		add(MAC(1), MAC(0), -1);
	forward(0);
	assert_int_equal(stats(1).tx_dropped, 7);
	unmake();
}

static void ages(void **state)
{
	uint64_t now;

	make(&(struct switch_config){ .age_ns = 10 * NS_PER_S });
	plug_all();
	now = turn.now_ns;
	send_one(1, BROADCAST, MAC(1), -1);
	turn.now_ns = now + 8 * NS_PER_S;
	send_one(0, MAC(1), MAC(0), -1);
	assert_int_equal(got(), 2);
	turn.now_ns = now + 12 * NS_PER_S;
	send_one(0, MAC(1), MAC(0), -1);
	assert_int_equal(got(), 0x3e);
	/* heard again: young again */
	send_one(1, BROADCAST, MAC(1), -1);
	turn.now_ns = now + 20 * NS_PER_S;
	send_one(0, MAC(1), MAC(0), -1);
	assert_int_equal(got(), 2);
	/* too old as soon as the limit says so */
	net_switch_limits_set(sw, 0, 5 * NS_PER_S);
	send_one(0, MAC(1), MAC(0), -1);
	assert_int_equal(got(), 0x3e);
	unmake();
}

static void caps(void **state)
{
	uint64_t now;

	make(&(struct switch_config){ .addresses_max = 30, .port_addresses_max = 20 });
	plug_all();
	now = turn.now_ns;
	for (unsigned i = 0; i < 50; i++)
		send_one(0, BROADCAST, MAC(100 + i), -1);
	assert_int_equal(stats(0).learned, 20);
	assert_int_equal(stats(0).learn_refused, 30);
	assert_int_equal(stats(1).tx_packets, 50); /* it still forwards */
	for (unsigned i = 0; i < 20; i++)
		send_one(1, BROADCAST, MAC(200 + i), -1);
	assert_int_equal(stats(1).learned, 10);
	/* moving needs room at the new port only */
	send_one(2, BROADCAST, MAC(100), -1);
	assert_int_equal(stats(2).moved, 1);
	/* the old ones make room */
	turn.now_ns = now + 400 * NS_PER_S;
	for (unsigned i = 0; i < 15; i++)
		send_one(1, BROADCAST, MAC(300 + i), -1);
	assert_int_equal(stats(1).learned, 25);
	net_switch_flush(sw, &sinks[1].port);
	send_one(0, MAC(300), MAC(0), -1);
	assert_int_equal(got(), 0x3e);
	unmake();
}

static void isolates(void **state)
{
	make(&(struct switch_config){ 0 });
	for (unsigned i = 0; i < PORTS; i++)
		plug(i, (struct switch_port_config){ .isolated = i < 3 });
	for (unsigned i = 0; i < PORTS; i++)
		send_one(i, BROADCAST, MAC(i), -1);
	send_one(0, BROADCAST, MAC(0), -1);
	assert_int_equal(got(), 0x38);
	send_one(0, MAC(9), MAC(0), -1);
	assert_int_equal(got(), 0x38);
	send_one(0, MAC(1), MAC(0), -1);
	assert_int_equal(got(), 0);
	assert_int_equal(stats(0).isolated_dropped, 1);
	send_one(0, MAC(4), MAC(0), -1);
	assert_int_equal(got(), 0x10);
	send_one(4, MAC(0), MAC(4), -1);
	assert_int_equal(got(), 0x01);
	unmake();
}

static struct switch_port_config device(unsigned i, bool check)
{
	struct switch_port_config config = { .has_mac = true, .check_source = check };

	mac_write(config.mac, MAC(i));
	return config;
}

static void checks_sources(void **state)
{
	struct switch_port_config config;

	make(&(struct switch_config){ 0 });
	plug(0, device(0, true));
	plug(1, device(1, false));
	plug(2, (struct switch_port_config){ 0 });
	/* a device is found before it has sent anything */
	send_one(0, MAC(1), MAC(0), -1);
	assert_int_equal(got(), 2);
	send_one(0, MAC(1), MAC(5), -1);
	assert_int_equal(got(), 0);
	assert_int_equal(stats(0).spoofed, 1);
	/* nobody takes a device's address away */
	send_one(2, BROADCAST, MAC(0), -1);
	assert_int_equal(stats(2).learn_refused, 1);
	send_one(1, MAC(0), MAC(1), -1);
	assert_int_equal(got(), 1);
	/* mixed with good ones in a batch */
	add(MAC(1), MAC(0), -1);
	add(MAC(1), MAC(7), -1);
	add(MAC(1), MAC(7), -1);
	add(MAC(1), MAC(0), -1);
	forward(0);
	assert_int_equal(sinks[1].n, 2);
	assert_int_equal(sinks[1].seen[1].first, 3);
	assert_int_equal(stats(0).spoofed, 3);
	/* changed while it runs */
	config = device(5, true);
	assert_int_equal(net_switch_port_set(&sinks[0].port, &config), 0);
	send_one(0, MAC(1), MAC(5), -1);
	assert_int_equal(got(), 2);
	send_one(1, MAC(5), MAC(1), -1);
	assert_int_equal(got(), 1);
	memset(&config, 0, sizeof(config));
	net_switch_port_get(&sinks[0].port, &config);
	assert_true(config.has_mac && config.check_source && config.mac[5] == 5);
	unmake();
}

static void vlans(void **state)
{
	static const uint16_t vids[] = { 10, 30 };
	struct packet *packet;

	make(&(struct switch_config){ .vlan_aware = true });
	plug(0, (struct switch_port_config){ .pvid = 10 });
	plug(1, (struct switch_port_config){ .pvid = 10 });
	plug(2, (struct switch_port_config){ .pvid = 20 });
	plug(3, (struct switch_port_config){ .trunk = true });
	plug(4,
	     (struct switch_port_config){ .trunk = true, .pvid = 20, .vids = vids, .n_vids = 2 });
	/* access to access and to the trunks that carry it */
	send_one(0, BROADCAST, MAC(0), -1);
	assert_int_equal(got(), 0x1a);
	assert_false(sinks[1].seen[0].tagged);
	assert_true(sinks[3].seen[0].tagged);
	assert_int_equal(sinks[3].seen[0].tci, 10);
	assert_true(sinks[4].seen[0].tagged);
	/* the trunk's own VLAN leaves it untagged */
	send_one(2, BROADCAST, MAC(2), -1);
	assert_int_equal(got(), 0x18);
	assert_true(sinks[3].seen[0].tagged);
	assert_false(sinks[4].seen[0].tagged);
	/* tag in the bytes, from a trunk: out of the bytes, priority kept */
	packet = add(BROADCAST, MAC(3), 0xa00a);
	packet->off =
		(struct offload){ .flags = OFFLOAD_NEEDS_CSUM, .csum_start = 40, .csum_offset = 6 };
	forward(3);
	assert_int_equal(got(), 0x13);
	assert_int_equal(sinks[0].seen[0].len, 76);
	assert_int_equal(sinks[0].seen[0].type, 0x88b5);
	assert_int_equal(sinks[0].seen[0].off.csum_start, 36);
	assert_false(sinks[0].seen[0].tagged);
	assert_int_equal(sinks[4].seen[0].tci, 0xa00a);
	/* the same address in two VLANs is two addresses */
	send_one(4, BROADCAST, MAC(3), -1);
	assert_int_equal(got(), 0x0c);
	send_one(0, MAC(3), MAC(0), -1);
	assert_int_equal(got(), 0x08);
	send_one(2, MAC(3), MAC(2), -1);
	assert_int_equal(got(), 0x10);
	/* refused: foreign tag on access, VLAN not allowed, untagged without pvid, 4095 */
	send_one(0, BROADCAST, MAC(0), 20);
	assert_int_equal(got(), 0);
	send_one(0, BROADCAST, MAC(0), 10);
	assert_int_equal(got(), 0x1a);
	send_one(4, BROADCAST, MAC(4), 11);
	assert_int_equal(got(), 0);
	send_one(3, BROADCAST, MAC(3), -1);
	assert_int_equal(got(), 0);
	send_one(3, BROADCAST, MAC(3), 4095);
	assert_int_equal(got(), 0);
	assert_int_equal(stats(3).vlan_dropped, 2);
	/* a frame that ends in its tag, a checksum that starts in it */
	packet = packet_begin(&batch);
	packet_add(&batch, packet, frames[0], 16);
	store_be32(frames[0] + 12, 0x8100000a);
	assert_int_equal(packet_seal(&batch, packet), 0);
	forward(3);
	assert_int_equal(got(), 0);
	packet = add(BROADCAST, MAC(3), 10);
	packet->off = (struct offload){ .flags = OFFLOAD_NEEDS_CSUM, .csum_start = 2 };
	forward(3);
	assert_int_equal(got(), 0);
	/* different VLANs in one batch */
	add(BROADCAST, MAC(3), 10);
	add(BROADCAST, MAC(3), 20);
	add(BROADCAST, MAC(3), 30);
	add(BROADCAST, MAC(3), 40);
	forward(3);
	assert_int_equal(sinks[0].n, 1);
	assert_int_equal(sinks[2].n, 1);
	assert_int_equal(sinks[4].n, 3);
	assert_int_equal(
		net_switch_port_set(&sinks[0].port, &(struct switch_port_config){ .pvid = 4095 }),
		-EINVAL);
	unmake();
}

/* VLANs are switched on and off while there is traffic between two devices and a trunk. */
static void vlans_on_and_off(void **state)
{
	struct switch_port_config a = { .pvid = 1, .has_mac = true, .mac = { 2, 0, 0, 0, 0, 0 } };
	struct switch_port_config b = { .pvid = 2, .has_mac = true, .mac = { 2, 0, 0, 0, 0, 1 } };

	make(&(struct switch_config){ .name = "lan" });
	plug(0, a);
	plug(1, b);
	plug(2, (struct switch_port_config){ .pvid = 2 });
	for (unsigned round = 0; round < 3; round++) {
		/* without: both are in one network, and known before they have sent */
		send_one(0, MAC(1), MAC(0), -1);
		assert_int_equal(got(), 2);
		send_one(2, MAC(1), MAC(7), 5 << 13 | 9);
		assert_int_equal(got(), 2);
		assert_int_equal(sinks[1].seen[0].type, 0x8100); /* as it came */
		send_one(1, MAC(7), MAC(1), -1);
		assert_int_equal(got(), 4);
		net_switch_vlans_set(sw, true);
		/* with: 0 is alone in its VLAN; what was learned is not */
		send_one(0, MAC(1), MAC(0), -1);
		assert_int_equal(got(), 0);
		send_one(2, MAC(1), MAC(8), 9);
		assert_int_equal(got(), 0);
		send_one(2, MAC(1), MAC(8), -1);
		assert_int_equal(got(), 2);
		send_one(1, MAC(7), MAC(1), -1); /* unknown: to all of its VLAN */
		assert_int_equal(got(), 4);
		assert_int_equal(stats(1).flooded, 1 + 2 * round);
		send_one(1, MAC(8), MAC(1), -1);
		assert_int_equal(got(), 4);
		assert_int_equal(stats(1).flooded, 1 + 2 * round);
		net_switch_vlans_set(sw, false);
		send_one(1, MAC(8), MAC(1), -1);
		assert_int_equal(got(), 5);
	}
	/* an address is still its device's alone */
	send_one(2, MAC(0), MAC(1), -1);
	assert_int_equal(stats(2).learn_refused, 1);
	unmake();
}

/* The table becomes larger and smaller, and keeps what it has room for. */
static void table_resized(void **state)
{
	struct switch_port_config own = { .has_mac = true, .mac = { 2, 0, 0, 0, 0, 99 } };

	make(&(struct switch_config){ .addresses_max = 16, .port_addresses_max = 1000 });
	plug(0, (struct switch_port_config){ 0 });
	plug(1, own);
	plug(2, (struct switch_port_config){ 0 });
	for (unsigned i = 0; i < 20; i++)
		send_one(0, BROADCAST, MAC(i), -1);
	assert_int_equal(stats(0).learned, 16);
	assert_int_equal(stats(0).learn_refused, 4);
	assert_int_equal(net_switch_addresses_set(sw, 500), 0);
	/* not so many that a bucket could be full by chance */
	for (unsigned i = 0; i < 184; i++)
		send_one(0, BROADCAST, MAC(1000 + i), -1);
	assert_int_equal(stats(0).learned, 200);
	for (unsigned i = 0; i < 16; i++) {
		send_one(2, MAC(i), MAC(2000), -1);
		assert_int_equal(got(), 1);
	}
	/* a device's own address has its place whatever the size */
	assert_int_equal(net_switch_addresses_set(sw, 16), 0);
	send_one(2, MAC(99), MAC(2000), -1);
	assert_int_equal(got(), 2);
	assert_int_equal(rows_of(sw), 16 + 1);
	/* and the count is right: all of it can be learned anew */
	net_switch_flush(sw, NULL);
	for (unsigned i = 0; i < 20; i++)
		send_one(0, BROADCAST, MAC(i), -1);
	assert_int_equal(stats(0).learned, 216);
	assert_int_equal(rows_of(sw), 16 + 1);
	unmake();
}

/* Machines often have addresses that follow each other: they spread over the table, whatever its
 * secret is. */
static void addresses_in_sequence(void **state)
{
	for (unsigned round = 0; round < 1000; round++) {
		make(&(struct switch_config){ .addresses_max = 200 });
		plug(0, (struct switch_port_config){ 0 });
		for (unsigned i = 0; i < 160; i++)
			send_one(0, BROADCAST, MAC(1000 + i), -1);
		assert_int_equal(stats(0).learn_refused, 0);
		unmake();
	}
}

static void passes_tags(void **state)
{
	make(&(struct switch_config){ 0 });
	plug_all();
	send_one(0, BROADCAST, MAC(0), 77);
	assert_int_equal(sinks[1].seen[0].type, 0x8100);
	assert_int_equal(sinks[1].seen[0].len, 80);
	add(BROADCAST, MAC(0), -1);
	batch.packets[0].tagged = true;
	batch.packets[0].vlan_tci = 99;
	forward(0);
	assert_true(sinks[1].seen[0].tagged);
	assert_int_equal(sinks[1].seen[0].tci, 99);
	unmake();
}

static void count_row(void *arg, const uint8_t mac[6], uint16_t vid, const char *port,
		      uint64_t age_ns)
{
	unsigned *rows = arg;

	rows[0]++;
	assert_int_equal(port[1] - '0', mac[5]);
}

static void comes_and_goes(void **state)
{
	struct switch_port_config none = { 0 };
	unsigned rows = 0;

	make(&(struct switch_config){ 0 });
	plug_all();
	for (unsigned i = 0; i < PORTS; i++)
		send_one(i, BROADCAST, MAC(i), -1);
	net_switch_dump(sw, count_row, &rows);
	assert_int_equal(rows, PORTS);
	net_switch_detach(&sinks[3].port);
	rows = 0;
	net_switch_dump(sw, count_row, &rows);
	assert_int_equal(rows, PORTS - 1);
	send_one(0, MAC(3), MAC(0), -1);
	assert_int_equal(got(), 0x36);
	send_one(3, BROADCAST, MAC(3), -1);
	assert_int_equal(got(), 0);
	net_switch_detach(&sinks[3].port);
	plug(3, none);
	send_one(0, MAC(3), MAC(0), -1);
	assert_int_equal(got(), 0x3e);
	unmake();
	/* as many as there may be, and one more */
	make(&(struct switch_config){ 0 });
	struct sink *many = calloc(1025, sizeof(*many));

	for (unsigned i = 0; i < 1025; i++)
		assert_int_equal(net_switch_attach(sw, &many[i].port, &none),
				 i < 1024 ? 0 : -ENOSPC);
	for (unsigned i = 0; i < 1025; i++)
		net_switch_detach(&many[i].port);
	free(many);
	unmake();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(learns),
		cmocka_unit_test(keeps_order),
		cmocka_unit_test(ages),
		cmocka_unit_test(caps),
		cmocka_unit_test(isolates),
		cmocka_unit_test(checks_sources),
		cmocka_unit_test(vlans_on_and_off),
		cmocka_unit_test(table_resized),
		cmocka_unit_test(addresses_in_sequence),
		cmocka_unit_test(vlans),
		cmocka_unit_test(passes_tags),
		cmocka_unit_test(comes_and_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
