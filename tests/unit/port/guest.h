/* SPDX-License-Identifier: BSD-2-Clause */
/* A fake guest for tests of host ports: sends frames into a switch, keeps what it is given. */
#ifndef EXITLESS_TESTS_PORT_GUEST_H
#define EXITLESS_TESTS_PORT_GUEST_H

#include "base/clock.h"
#include "base/rcu.h"
#include "base/util.h"
#include "net/offload.h"
#include "net/switch.h"
#include "port/port.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define GUEST_FRAMES 512

struct guest_frame {
	uint32_t len;
	struct offload off;
	uint8_t bytes[PACKET_LEN_MAX + 8];
};

struct guest {
	struct switch_port port;
	unsigned n;
	struct guest_frame *frames;
};

static inline unsigned guest_give(struct switch_port *port, struct packet *const *packets,
				  unsigned n, struct io_turn *turn)
{
	struct guest *guest = container_of(port, struct guest, port);

	for (unsigned i = 0; i < n && guest->n < GUEST_FRAMES; i++) {
		struct guest_frame *frame = &guest->frames[guest->n++];

		frame->len = packet_copy(packets[i], 0, frame->bytes, sizeof(frame->bytes));
		frame->off = packets[i]->off;
		assert_int_equal(frame->len, packets[i]->len);
		assert_int_equal(packet_offload_check(&frame->off, frame->len), 0);
	}
	return n;
}

static const struct net_sink_ops guest_ops = { .give = guest_give };

struct world {
	struct net_switch *sw;
	struct guest guest;
	struct host_port *host;
	struct io_turn turn;
	struct packet_batch batch;
	uint8_t *scratch;
};

static inline void world_make(struct world *w, const struct host_port_config *config)
{
	struct switch_port_config none = { 0 };
	const char *why = NULL;

	memset(w, 0, sizeof(*w));
	w->scratch = aligned_alloc(64, IO_SCRATCH_BYTES);
	w->guest.frames = calloc(GUEST_FRAMES, sizeof(*w->guest.frames));
	w->guest.port.ops = &guest_ops;
	w->guest.port.name = "guest";
	w->sw = net_switch_new(&(struct switch_config){ 0 });
	io_turn_init(&w->turn, w->scratch);
	packet_batch_init(&w->batch);
	w->host = host_port_new(config, &why);
	if (!w->host)
		fail_msg("no port: %s", why ? why : "?");
	assert_int_equal(net_switch_attach(w->sw, &w->guest.port, &none), 0);
	assert_int_equal(net_switch_attach(w->sw, &w->host->port, &none), 0);
}

static inline void world_done(struct world *w)
{
	net_switch_detach(&w->host->port);
	net_switch_detach(&w->guest.port);
	w->host->ops->free(w->host);
	net_switch_free(w->sw);
	free(w->guest.frames);
	free(w->scratch);
}

/* Adds a frame to what world_send() sends; @bytes live until then. */
static inline struct packet *world_add(struct world *w, void *bytes, uint32_t len,
				       const struct offload *off)
{
	struct packet *packet = packet_begin(&w->batch);

	assert_non_null(packet);
	assert_int_equal(packet_add(&w->batch, packet, bytes, len), 0);
	if (off)
		packet->off = *off;
	assert_int_equal(packet_seal(&w->batch, packet), 0);
	return packet;
}

static inline void world_send(struct world *w)
{
	w->turn.now_ns = time_now_ns();
	net_switch_forward(&w->guest.port, &w->batch, &w->turn);
	io_turn_end(&w->turn);
	packet_batch_init(&w->batch);
}

/* One turn of the port's queues and due timers. Returns the packets that came. */
static inline unsigned world_turn(struct world *w)
{
	unsigned packets = 0;

	w->turn.now_ns = time_now_ns();
	for (unsigned i = 0; i < w->host->n_timers; i++) {
		struct io_timer *timer = w->host->timers[i];

		if (LOAD_ACQUIRE(timer->deadline_ns) <= w->turn.now_ns) {
			WRITE_ONCE(timer->deadline_ns, UINT64_MAX);
			timer->fire(timer, &w->turn);
		}
	}
	for (unsigned i = 0; i < w->host->n_queues; i++) {
		struct io_queue *queue = w->host->queues[i];
		struct io_work work = { 0 };

		if (!queue->ops->pending || queue->ops->pending(queue))
			queue->ops->poll(queue, &w->turn, &work);
		assert_true(work.packets <= w->turn.budget_packets);
		packets += work.packets;
	}
	io_turn_end(&w->turn);
	return packets;
}

struct stat_query {
	const char *name;
	uint64_t value;
	bool found;
};

static inline void stat_find(void *arg, const char *name, uint64_t value)
{
	struct stat_query *query = arg;

	if (strcmp(name, query->name))
		return;
	query->value = value;
	query->found = true;
}

static inline uint64_t world_stat(struct world *w, const char *name)
{
	struct stat_query query = { .name = name };

	w->host->ops->stats(w->host, stat_find, &query);
	assert_true(query.found);
	return query.value;
}

/* Turns until @done says so; fails after 60 s. */
static inline void world_until(struct world *w, bool (*done)(struct world *w))
{
	uint64_t end = time_now_ns() + 60 * NS_PER_S;

	while (!done(w)) {
		if (time_now_ns() > end)
			fail_msg("it does not come");
		if (!world_turn(w))
			usleep(200);
	}
}

#endif
