/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who is polled next.
 *
 * A polled queue is *sparse* when its last poll drained it and *bulk* when the budget ended the
 * poll. Each turn polls every sparse queue that has something (a cheap look), and then one bulk
 * queue; what both gave away is flushed at the turn's end. So a queue with a small backlog waits
 * for one bounded poll of somebody else at most, however many bulk senders there are, and the bulk
 * senders get their shares by weight.
 *
 * Shares are of time, which is what a core has to give: a poll's duration is charged to the machine
 * (share) that it served. Bulk queues are chosen by deficit round robin: first over the shares (so
 * that a machine with 16 queues gets no more than one with 1), then over a share's queues. A sparse
 * queue runs ahead of the bulk ones only while its share has deficit left; a machine that would
 * send just under its budget from many queues uses its share up and then waits its turn as well.
 *
 * Small backlogs (a sixteenth of the budget) go ahead even then, while all of them together take at
 * most half of the time: a ping-pong beside one busy machine more gets no slower. And while they
 * come in, a bulk poll ends after about a slice (params.slice_ns, by what the queue's packets took
 * of late), so that is what they wait for; what they gave away is flushed before it.
 *
 * A machine below its minimum rate goes before the round robin; one above its maximum is
 * skipped until its time comes, and so is a device that is above a maximum of its own. But for a
 * queue that comes to its end (queue->ending): what it has was let in, and somebody waits for it.
 *
 * With params.round_robin all of that is off but maximum rates: no queue is bulk, and each turn
 * polls all of them within their budgets. It is there to be measured against.
 */
#include "base/clock.h"
#include "base/util.h"
#include "core/private.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#define SMALL_SHARE	16		  /* a small backlog: this part of the budget at most */
#define SMALL_RECENT_NS (200 * NS_PER_US) /* small backlogs come in: the last was then */
#define BALANCE_NS	NS_PER_MS	  /* over which small and other work are compared */

struct io_share *io_share_get(struct io_core *core, struct io_group *group)
{
	struct io_share *share;

	list_for_each(share, &core->shares, node)
	{
		if (share->group == group) {
			share->queues++;
			return share;
		}
	}
	share = calloc(1, sizeof(*share));
	if (!share)
		return NULL;
	share->group = group;
	share->queues = 1;
	share->round = core->round;
	list_init(&share->bulk);
	list_init(&share->active_node);
	list_add(&core->shares, &share->node);
	return share;
}

void io_share_put(struct io_core *core, struct io_share *share)
{
	if (--share->queues)
		return;
	assert(list_empty(&share->bulk));
	list_del(&share->node);
	free(share);
}

/* The core's own queues (host ports) carry the traffic of all machines: half of the time. */
static unsigned weight(const struct io_core *core, const struct io_share *share)
{
	if (share->group)
		return READ_ONCE(share->group->params.weight);
	return MAX(core->n_bulk, 1u);
}

static enum io_latency_class latency(const struct io_share *share)
{
	return share->group ? READ_ONCE(share->group->params.latency) : IO_LATENCY_NORMAL;
}

/* Each round of the round robin gives every share its quantum once; what it did not use does not
 * pile up, what it overdrew stays. */
static int64_t deficit(struct io_core *core, struct io_share *share)
{
	int64_t quantum = (int64_t)(core->params.quantum_ns * weight(core, share));

	if (share->round != core->round) {
		uint64_t rounds = MIN(core->round - share->round, (uint64_t)1000);

		share->deficit_ns = MIN(share->deficit_ns + (int64_t)rounds * quantum, quantum);
		share->round = core->round;
	}
	return share->deficit_ns;
}

static void make_sparse(struct io_core *core, struct io_queue *queue)
{
	if (!queue->bulk)
		return;
	queue->bulk = false;
	core->n_bulk--;
	list_del(&queue->node);
	if (list_empty(&queue->share->bulk))
		list_del(&queue->share->active_node);
	list_add(&core->sparse, &queue->node);
}

static void make_bulk(struct io_core *core, struct io_queue *queue, uint64_t now_ns)
{
	queue->waiting_since_ns = now_ns;
	if (queue->bulk)
		return;
	queue->bulk = true;
	core->n_bulk++;
	list_del(&queue->node);
	if (list_empty(&queue->share->bulk))
		list_add(&core->active, &queue->share->active_node);
	list_add(&queue->share->bulk, &queue->node);
}

void io_sched_forget(struct io_core *core, struct io_queue *queue)
{
	make_sparse(core, queue);
	list_del(&queue->node);
}

/* What the poll from @start to now means for the balance of small and other work. */
static void weigh(struct io_core *core, struct io_queue *queue, const struct io_work *work,
		  uint64_t start)
{
	uint64_t ns = core->turn.now_ns - start;
	unsigned n = work->packets ? work->packets : work->ended;

	queue->packet_ns += (unsigned)(ns / MAX(n, 1u) / 4) - queue->packet_ns / 4;
	queue->small = !work->more && n && n <= core->params.turn_packets / SMALL_SHARE &&
		       latency(queue->share) != IO_LATENCY_BULK;
	if (list_empty(&core->active))
		return;
	if (queue->small) {
		core->last_small_ns = core->turn.now_ns;
		core->small_ns += ns;
	} else {
		core->other_ns += ns;
	}
	if (core->small_ns + core->other_ns > BALANCE_NS) {
		core->small_ns /= 2;
		core->other_ns /= 2;
	}
}

/* How many packets of a bulk queue fit into a slice. */
static unsigned slice_packets(const struct io_core *core, const struct io_queue *queue)
{
	if (!core->last_small_ns || core->turn.now_ns - core->last_small_ns > SMALL_RECENT_NS)
		return UINT_MAX;
	return 1 + (unsigned)(core->params.slice_ns / MAX(queue->packet_ns, 1u));
}

/* A rate holds @queue back until then at least. */
static void hold_back(struct io_core *core, struct io_queue *queue, uint64_t until_ns)
{
	COUNT(queue->stats.limited, 1);
	core->limited_until_ns = MIN(core->limited_until_ns, until_ns);
	core->n_held += queue->held_turn != core->stats.turns;
	queue->held_turn = core->stats.turns;
}

/* Polls @queue within its budget and files it anew. False when a rate held it back. */
static bool poll_queue(struct io_core *core, struct io_queue *queue)
{
	struct io_turn *turn = &core->turn;
	struct io_group *group = queue->share->group, *own = LOAD_ACQUIRE(queue->own);
	struct io_work work = { 0 };
	uint64_t start = turn->now_ns, cycles;
	unsigned packets = core->params.turn_packets;
	uint64_t bytes = core->params.turn_bytes;

	if (group || own) {
		uint64_t until_ns = 0;

		if (group)
			until_ns = io_group_limit(group, start, &packets, &bytes);
		if (own && !until_ns)
			until_ns = io_group_limit(own, start, &packets, &bytes);
		if (until_ns && !(queue->ending && READ_ONCE(*queue->ending))) {
			hold_back(core, queue, until_ns);
			return false;
		}
	}
	turn->budget_packets = queue->bulk ? MIN(packets, slice_packets(core, queue)) : packets;
	turn->budget_bytes = bytes;
	/* before the poll looks: a kick from now on asks for another one */
	if (unlikely(__atomic_load_n(&queue->kicked, __ATOMIC_RELAXED)))
		__atomic_exchange_n(&queue->kicked, 0, __ATOMIC_SEQ_CST);
	cycles = time_cycles();
	queue->ops->poll(queue, turn, &work);
	COUNT(queue->stats.cycles, time_cycles() - cycles);
	COUNT(queue->stats.polls, 1);
	if (!work.packets && !work.ended && !work.more && !work.spent) {
		COUNT(queue->stats.empty_polls, 1);
		make_sparse(core, queue);
		return true;
	}
	turn->now_ns = core->now_ns();
	COUNT(queue->stats.packets, work.packets);
	COUNT(queue->stats.bytes, work.bytes);
	queue->last_work_ns = queue->look.rang_ns = turn->now_ns;
	core->worked = true;
	weigh(core, queue, &work, start);
	queue->share->deficit_ns -= (int64_t)(turn->now_ns - start);
	if (group)
		io_group_charge(group, turn->now_ns, work.packets, work.bytes,
				turn->now_ns - start);
	if (own)
		io_group_charge(own, turn->now_ns, work.packets, work.bytes, turn->now_ns - start);
	COUNT(queue->stats.limited, work.more);
	if (work.more && !core->params.round_robin)
		make_bulk(core, queue, turn->now_ns);
	else
		make_sparse(core, queue);
	return true;
}

/* Polls the sparse queues of latency class @class, or the others. */
static void run_sparse(struct io_core *core, bool low)
{
	struct io_queue *queue;
	bool contended = !list_empty(&core->active);

	list_for_each(queue, &core->sparse, node)
	{
		struct io_share *share = queue->share;

		/* tried as one of the other class, which may have changed since */
		if ((latency(share) == IO_LATENCY_LOW) != low ||
		    queue->held_turn == core->stats.turns)
			continue;
		if (queue->ops->pending && !queue->ops->pending(queue)) {
			if (core->turn.now_ns - queue->last_work_ns >= core->params.park_after_ns &&
			    io_queue_parks(queue))
				io_queue_park(core, queue);
			continue;
		}
		if (contended && (latency(share) == IO_LATENCY_BULK ||
				  (deficit(core, share) <= 0 &&
				   !(queue->small && core->small_ns <= core->other_ns)))) {
			/* its turn comes with the bulk queues */
			make_bulk(core, queue, core->turn.now_ns);
			continue;
		}
		if (contended)
			COUNT(queue->stats.promoted, 1);
		if (poll_queue(core, queue) && !queue->bulk && !queue->ops->pending &&
		    core->turn.now_ns - queue->last_work_ns >= core->params.park_after_ns &&
		    io_queue_parks(queue))
			io_queue_park(core, queue);
	}
}

/* Have all bulk queues of @share been tried in this turn and were held back? They go to the end of
 * its line when they are. */
static bool is_held_back(const struct io_core *core, const struct io_share *share)
{
	const struct io_queue *queue = list_first(&share->bulk, struct io_queue, node);

	return queue->held_turn == core->stats.turns;
}

/* The share whose turn it is: one below its minimum, else the first in line with deficit left. One
 * bulk queue at least has not been held back in this turn. */
static struct io_share *choose_share(struct io_core *core)
{
	struct io_share *share;
	unsigned tries = 0;

	list_for_each(share, &core->active, active_node)
	{
		if (share->group && !is_held_back(core, share) &&
		    io_group_below_minimum(share->group, core->turn.now_ns)) {
			unsigned packets = 1;
			uint64_t bytes = 1;

			if (io_group_limit(share->group, core->turn.now_ns, &packets, &bytes))
				continue;
			__atomic_add_fetch(&share->group->stats.promoted, 1, __ATOMIC_RELAXED);
			return share;
		}
	}
	while (!list_empty(&core->active)) {
		share = list_first(&core->active, struct io_share, active_node);
		if (!is_held_back(core, share) && deficit(core, share) > 0)
			return share;
		list_del(&share->active_node);
		list_add(&core->active, &share->active_node);
		/* all that may go have used their quantum: the next round begins */
		if (++tries > core->stats.queues || tries >= 2 * core->n_bulk) {
			core->round++;
			tries = 0;
		}
	}
	return NULL;
}

static void run_bulk(struct io_core *core)
{
	unsigned n = core->n_bulk;

	/* more than one try only when rates hold queues back: each of them once */
	while (n--) {
		struct io_share *share = choose_share(core);
		struct io_queue *queue;
		uint64_t waited;

		if (!share)
			return;
		queue = list_first(&share->bulk, struct io_queue, node);
		waited = core->turn.now_ns - queue->waiting_since_ns;
		/* to the end of its share's line, whatever it does */
		list_del(&queue->node);
		list_add(&share->bulk, &queue->node);
		if (poll_queue(core, queue)) {
			COUNT(queue->stats.waited_ns, waited);
			return;
		}
		/* held back: the others go first */
		if (!list_empty(&share->active_node)) {
			list_del(&share->active_node);
			list_add(&core->active, &share->active_node);
		}
	}
}

void io_sched_run(struct io_core *core)
{
	run_sparse(core, true);
	run_sparse(core, false);
	/* nobody who was quick waits for a bulk sender's poll */
	if (core->n_bulk && core->turn.n_flush)
		io_turn_end(&core->turn);
	run_bulk(core);
}
