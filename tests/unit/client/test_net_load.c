/* SPDX-License-Identifier: BSD-2-Clause */
/* What a network load counts, over two ports that are wired to each other by a server that loses,
 * repeats, spoils and reorders frames as a test wants it. */
#include "client/net_load_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define SLOTS 256
#define ROOM  2048

enum harm { NONE, LOSE, REPEAT, SPOIL_PAYLOAD, SPOIL_ADDRESS, CUT, MISROUTE, FORGE };

struct wire {
	struct net_port port;
	struct wire *peer;
	uint8_t frames[SLOTS][ROOM];
	uint32_t lens[SLOTS];
	unsigned head, n;
	enum harm harm;
	uint64_t harm_at, sent, latest_stamp;
};

static struct wire wires[2];
/* A run ends when wire 0 was given this many frames, however long that takes, and wire 1 has taken
 * what was delivered of them. */
static uint64_t enough;
static int stop;
/* For so many seconds from the first frame on the server takes a few and delivers none. */
static double stall_s;
static uint64_t stands_still_until;

#define ROOM_MEANWHILE 8

static bool stands_still(void)
{
	return stall_s > 0 && time_cycles() < stands_still_until;
}

static void put(struct wire *to, const uint8_t *frame, uint32_t len)
{
	unsigned at = (to->head + to->n++) % SLOTS;

	assert_true(to->n <= SLOTS);
	memcpy(to->frames[at], frame, len);
	to->lens[at] = len;
}

static unsigned wire_send(struct net_port *port, const struct net_flow *flow, unsigned n,
			  uint64_t stamp, uint64_t step)
{
	struct wire *wire = container_of(port, struct wire, port);
	uint8_t frame[ROOM];

	if (stall_s > 0 && !stands_still_until)
		stands_still_until = time_cycles() + (uint64_t)(stall_s * load_cycles_per_s());
	for (unsigned i = 0; i < n; i++) {
		enum harm harm = wire->sent == wire->harm_at ? wire->harm : NONE;
		uint32_t len = flow->params.size;
		struct wire *to = wire->peer;

		if (to->n >= ROOM_MEANWHILE && stands_still())
			return i;
		wire->sent++;
		memcpy(frame, flow->frame, len);
		net_record_write(flow, frame, flow->sent + i, stamp + i * step);
		wire->latest_stamp = stamp + i * step;
		if (harm == LOSE)
			continue;
		if (harm == SPOIL_PAYLOAD)
			frame[len - 1] ^= 1;
		else if (harm == SPOIL_ADDRESS)
			frame[3] ^= 1;
		else if (harm == CUT)
			len--;
		else if (harm == FORGE)
			store_le64(frame + NET_RECORD_UDP + 4, 1ull << 40);
		else if (harm == MISROUTE)
			to = wire;
		put(to, frame, len);
		if (harm == REPEAT)
			put(to, frame, len);
	}
	return n;
}

static unsigned wire_receive(struct net_port *port)
{
	struct wire *wire = container_of(port, struct wire, port);
	unsigned n;

	if (stands_still())
		return 0;
	for (n = 0; wire->n && n < NET_BURST; n++) {
		net_receive(port, wire->frames[wire->head], wire->lens[wire->head], time_cycles());
		wire->head = (wire->head + 1) % SLOTS;
		wire->n--;
	}
	if (wire == &wires[1] && !wire->n && wires[0].sent >= enough)
		stop = 1;
	return n;
}

static void wire_announce(struct net_port *port, const void *frame, uint32_t len)
{
	put(container_of(port, struct wire, port)->peer, frame, len);
}

static void wire_free(struct net_port *port)
{
}

static const struct net_port_ops wire_ops = {
	.send = wire_send,
	.receive = wire_receive,
	.announce = wire_announce,
	.free = wire_free,
};

static struct net_port *ports[] = { &wires[0].port, &wires[1].port };

static struct net_load *load_new(uint64_t frames)
{
	struct net_load *load;

	enough = frames;
	stop = 0;
	stall_s = 0;
	stands_still_until = 0;
	memset(wires, 0, sizeof(wires));
	for (unsigned i = 0; i < 2; i++) {
		wires[i].port = (struct net_port){ .ops = &wire_ops,
						   .frame_max = ROOM,
						   .mac = { 2, 0, 0, 0, 0, (uint8_t)i } };
		wires[i].peer = &wires[!i];
	}
	assert_int_equal(net_load_new(ports, 2, &load), 0);
	return load;
}

static void load_done(struct net_load *load)
{
	net_load_free(load);
	net_port_free(&wires[0].port);
	net_port_free(&wires[1].port);
}

static const struct net_load_phases until_enough = { .seconds = 60, .stop = &stop };

/* What happens to the frame with sequence number 200. */
static void harmed(enum harm harm, struct net_flow_result *r, struct net_load_result *run)
{
	struct net_flow_params params = {
		.to = 1, .size = 1000, .window = 8, .sample = 1, .verify_all = true
	};
	struct net_load *load = load_new(5000);

	assert_int_equal(net_load_add_flow(load, &params), 0);
	wires[0].harm = harm;
	wires[0].harm_at = 200;
	assert_int_equal(net_load_run(load, &until_enough, run), 0);
	net_load_flow_result(load, 0, r);
	assert_true(r->received > 1000);
	assert_int_equal(r->latency_ns->count, r->received);
	assert_true(r->sent >= r->received + r->lost);
	assert_true(r->sent - r->received - r->lost <= 8 + 1);
	assert_true(r->bytes <= r->received * 1000 && r->bytes >= r->received * 1000 - 1);
	load_done(load);
}

static void counts(void **state)
{
	static const struct {
		enum harm harm;
		uint64_t lost, late, corrupt, foreign;
	} rows[] = {
		{ NONE, 0, 0, 0, 0 },	       { LOSE, 1, 0, 0, 0 },  { REPEAT, 0, 1, 0, 0 },
		{ SPOIL_PAYLOAD, 0, 0, 1, 0 }, { CUT, 0, 0, 1, 0 },   { SPOIL_ADDRESS, 0, 0, 1, 0 },
		{ MISROUTE, 1, 0, 0, 1 },      { FORGE, 1, 0, 1, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct net_flow_result r;
		struct net_load_result run;

		harmed(rows[i].harm, &r, &run);
		assert_int_equal(r.lost, rows[i].lost);
		assert_int_equal(r.late, rows[i].late);
		assert_int_equal(r.corrupt, rows[i].corrupt);
		assert_int_equal(run.foreign, rows[i].foreign);
	}
}

/* Everything on the way is lost: the loop goes on after a while. */
static void goes_on_after_a_stall(void **state)
{
	struct net_flow_params params = { .to = 1, .size = 64, .window = 1, .sample = 1 };
	struct net_load *load = load_new(1000);
	struct net_flow_result r;
	struct net_load_result run;

	assert_int_equal(net_load_add_flow(load, &params), 0);
	wires[0].harm = LOSE;
	wires[0].harm_at = 200;
	assert_int_equal(net_load_run(load, &until_enough, &run), 0);
	net_load_flow_result(load, 0, &r);
	assert_int_equal(r.lost, 1);
	assert_true(r.received > 200);
	load_done(load);
}

/* An open loop sends at its rate, and stamps nothing with a time that is still to come. */
static void open_loop_stamps_what_was_due(void **state)
{
	struct net_flow_params params = { .to = 1, .size = 64, .rate = 1000, .sample = 1 };
	/* 0.1 s; what is sent before the measurement is a burst at most */
	struct net_load *load = load_new(100);
	struct net_flow_result r;
	struct net_load_result run;
	uint64_t start, now;

	assert_int_equal(net_load_add_flow(load, &params), 0);
	start = time_cycles();
	assert_int_equal(net_load_run(load, &until_enough, &run), 0);
	net_load_flow_result(load, 0, &r);
	now = time_cycles();
	/* never more than the rate, whatever the machine does; 0.05 s at least went for addresses
	 */
	assert_in_range(r.sent, 100 - NET_BURST,
			(uint64_t)(((double)(now - start) / load_cycles_per_s() - 0.05) * 1000) +
				2);
	assert_true(wires[0].latest_stamp <= now);
	load_done(load);
}

/* It waits for ever: all that was due has waited from then to the end. */
static void a_stall_at_the_end_is_charged(void **state)
{
	for (unsigned sample = 1; sample <= 16; sample *= 16) {
		struct net_flow_params params = {
			.to = 1, .size = 64, .rate = 1000, .sample = (uint16_t)sample
		};
		struct net_load *load = load_new(UINT64_MAX);
		struct net_flow_result r;
		struct net_load_result run;
		double ns;

		assert_int_equal(net_load_add_flow(load, &params), 0);
		stall_s = 1e6;
		assert_int_equal(
			net_load_run(load, &(struct net_load_phases){ .seconds = 0.3 }, &run), 0);
		net_load_flow_result(load, 0, &r);
		ns = run.seconds * 1e9;
		assert_true(r.sent <= ROOM_MEANWHILE);
		assert_int_equal(r.received, 0);
		/* the few have been on their way for long */
		assert_int_equal(r.unfinished, 0);
		assert_true(r.lost >= r.sent && r.lost <= ROOM_MEANWHILE);
		assert_true((double)(r.lost + r.unsent) >= run.seconds * 1000);
		assert_int_equal(r.latency_ns->count, (r.lost + r.unsent + sample - 1) / sample);
		assert_true((double)r.latency_ns->max >= ns);
		assert_true((double)histogram_at(r.latency_ns, 0.5) >= 0.45 * ns);
		/* each millisecond one: what is not the oldest did not wait as long */
		assert_true(histogram_at(r.latency_ns, 0.01) <=
			    1000000 * (uint64_t)sample * 2 + r.latency_ns->max / 20);
		load_done(load);
	}
}

/* It goes on: all comes, late as it is, and is charged for it. */
static void a_stall_in_the_middle_is_charged(void **state)
{
	struct net_flow_params params = { .to = 1, .size = 64, .rate = 1000, .sample = 1 };
	struct net_load *load = load_new(400);
	struct net_flow_result r;
	struct net_load_result run;

	assert_int_equal(net_load_add_flow(load, &params), 0);
	stall_s = 0.3;
	assert_int_equal(net_load_run(load, &until_enough, &run), 0);
	net_load_flow_result(load, 0, &r);
	assert_int_equal(r.lost, 0);
	assert_int_equal(r.late, 0);
	assert_true(r.received >= 400 - ROOM_MEANWHILE);
	assert_true(r.latency_ns->count >= r.received + r.unsent);
	assert_true(r.latency_ns->max >= 299 * NS_PER_MS);
	load_done(load);
}

static void pause_before(void *arg)
{
	uint64_t *end = arg, start = time_cycles();

	while (time_cycles() - start < (uint64_t)(0.2 * load_cycles_per_s()))
		;
	*end = time_cycles();
}

/* What its caller does before the measurement is no stall of the server. */
static void a_pause_of_its_own_is_not_charged(void **state)
{
	struct net_flow_params params = { .to = 1, .size = 64, .rate = 1000, .sample = 1 };
	struct net_load *load = load_new(UINT64_MAX);
	uint64_t begun;
	struct net_load_phases phases = { .seconds = 0.1, .begin = pause_before, .arg = &begun };
	struct net_flow_result r;
	struct net_load_result run;
	double seconds;

	assert_int_equal(net_load_add_flow(load, &params), 0);
	/* so that nothing of what waits can be worked off */
	stall_s = 1e6;
	assert_int_equal(net_load_run(load, &phases, &run), 0);
	seconds = (double)(time_cycles() - begun) / load_cycles_per_s();
	net_load_flow_result(load, 0, &r);
	assert_true((double)r.unsent <= seconds * 1000 + 1);
	/* those few that were on their way already wait for a few milliseconds more */
	assert_true((double)r.latency_ns->max <= seconds * 1e9 + ROOM_MEANWHILE * 1e6);
	load_done(load);
}

static void refuses_nonsense(void **state)
{
	struct net_load *load = load_new(0);
	struct net_flow_params good = { .to = 1, .size = 64, .window = 1, .sample = 1 }, p;

	p = good;
	p.to = 2;
	assert_int_equal(net_load_add_flow(load, &p), -EINVAL);
	p.to = 0;
	assert_int_equal(net_load_add_flow(load, &p), -EINVAL);
	p = good;
	p.size = 63;
	assert_int_equal(net_load_add_flow(load, &p), -EMSGSIZE);
	p.size = ROOM + 1;
	assert_int_equal(net_load_add_flow(load, &p), -EMSGSIZE);
	p = good;
	p.rate = 1;
	assert_int_equal(net_load_add_flow(load, &p), -EINVAL);
	p = good;
	p.size = 1000;
	p.gso_size = 500;
	assert_int_equal(net_load_add_flow(load, &p), -ENOTSUP);
	p = good;
	p.sample = 3;
	assert_int_equal(net_load_add_flow(load, &p), -EINVAL);
	load_done(load);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts),
		cmocka_unit_test(goes_on_after_a_stall),
		cmocka_unit_test(open_loop_stamps_what_was_due),
		cmocka_unit_test(a_stall_at_the_end_is_charged),
		cmocka_unit_test(a_stall_in_the_middle_is_charged),
		cmocka_unit_test(a_pause_of_its_own_is_not_charged),
		cmocka_unit_test(refuses_nonsense),
	};

	load_clock_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
