/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Parked queues whose doorbell nobody announces: when to look at each.
 *
 * A look costs a few loads, and from sleep a nap as well, which is a hundred times that; so the
 * number of naps is what an idle core costs. Each queue has an interval of its own:
 *
 *   eager   something may come soon: it rang a short while ago, it was given something that is
 *           often answered (io_queue_expect()), or it is near the time at which it has rung of late
 *   quiet   the rest, all of them together, once in wake_bound
 *
 * An eager queue's interval grows with the time since its last sign of life (by an eighth of it),
 * so about fifty naps after that the queue is quiet. Two things keep it eager for longer, by
 * what was seen of it:
 *
 *   the usual gap between two rings: up to twice that, looks are at most a 512th of it apart
 *   a steady gap (a ping, a poll by the clock): close looks around the next one
 *
 * While the core is awake for others it looks at a few queues of each kind every park_look, in
 * turn; the quiet ones still once in wake_bound.
 */
#include "base/clock.h"
#include "base/util.h"
#include "core/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHORTEST_NS	(30 * NS_PER_US)
#define CLOSE_NS	(200 * NS_PER_US) /* a round trip hardly feels it */
#define SHORT_GAP_NS	(2 * NS_PER_MS)	  /* the growing intervals are short enough by themselves */
#define LONG_GAP_NS	(4 * NS_PER_S)	  /* not looked out for */
#define GROWTH		8
#define GAP_PART	512
#define GAP_BOUNDS	32 /* in units of wake_bound: longer gaps gain too little by it */
#define STEADY_PART	16 /* a gap that is as long as the steady one, give or take this part */
#define WINDOW_PART	128
#define WINDOW_NS	NS_PER_MS
#define STEADY_MAX	3u
#define AWAKE_EAGER	16
#define AWAKE_QUIET	8u
#define AHEAD		8u
#define LOOKS_UNCOUNTED 256u

static uint64_t window_ns(const struct io_look *look)
{
	return look->steady_ns / WINDOW_PART + WINDOW_NS;
}

/* @then may be of a later look at the clock, by another core. */
static uint64_t since(uint64_t then, uint64_t now)
{
	return now > then ? now - then : 0;
}

/* Puts all of @from at the front of @to. */
static void list_add_all(struct list *from, struct list *to)
{
	if (list_empty(from))
		return;
	from->prev->next = to->next;
	to->next->prev = from->prev;
	from->next->prev = to;
	to->next = from->next;
	list_init(from);
}

static void take_all(struct list *from, struct list *to)
{
	list_init(to);
	list_add_all(from, to);
}

/* From one look at @queue, which found nothing, to the next. */
static uint64_t interval_ns(const struct io_core *core, const struct io_queue *queue, uint64_t now)
{
	const struct io_look *look = &queue->look;
	uint64_t gap = since(look->rang_ns, now);
	uint64_t quiet = MIN(gap, since(READ_ONCE(look->expect_ns), now));
	uint64_t ns = MAX(quiet / GROWTH, SHORTEST_NS);

	if (gap < 2 * look->gap_ns && look->gap_ns < GAP_BOUNDS * core->params.wake_bound_ns)
		ns = MIN(ns, MAX(look->gap_ns / GAP_PART, CLOSE_NS));
	if (look->steady) {
		uint64_t begin = look->steady_ns - window_ns(look);

		if (gap >= begin && gap <= look->steady_ns + window_ns(look))
			ns = MIN(ns, CLOSE_NS);
		else if (gap < begin)
			ns = MIN(ns, MAX(begin - gap, SHORTEST_NS));
	}
	return MIN(ns, core->params.wake_bound_ns);
}

int io_look_reserve(struct io_core *core)
{
	unsigned max = core->quiet_max ? 2 * core->quiet_max : 16;
	struct io_quiet *more;

	if (core->n_queues < core->quiet_max)
		return 0;
	more = aligned_alloc(CACHE_LINE, max * sizeof(*more));
	if (!more)
		return -ENOMEM;
	if (core->n_quiet)
		memcpy(more, core->quiet, core->n_quiet * sizeof(*more));
	free(core->quiet);
	core->quiet = more;
	core->quiet_max = max;
	return 0;
}

static uint64_t doorbell_word(const uint64_t *doorbell, unsigned i)
{
	return __atomic_load_n(doorbell + i, __ATOMIC_RELAXED);
}

static void quiet_add(struct io_core *core, struct io_queue *queue, uint64_t now)
{
	struct io_look *look = &queue->look;
	struct io_quiet *quiet = &core->quiet[core->n_quiet];

	*quiet = (struct io_quiet){ .queue = queue,
				    .doorbell = queue->doorbell,
				    .eager_ns = UINT64_MAX };
	/* then pending() is asked, so that nothing falls in between */
	for (unsigned i = 0; quiet->doorbell && i < ARRAY_SIZE(quiet->seen); i++)
		quiet->seen[i] = doorbell_word(quiet->doorbell, i);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (look->steady && look->rang_ns + look->steady_ns - window_ns(look) > now)
		quiet->eager_ns = look->rang_ns + look->steady_ns - window_ns(look);
	if (!core->n_quiet)
		core->quiet_look_ns = now + core->params.wake_bound_ns;
	look->quiet = true;
	look->at = core->n_quiet++;
}

static void quiet_remove(struct io_core *core, struct io_queue *queue)
{
	struct io_quiet *quiet = &core->quiet[queue->look.at];

	COUNT(queue->stats.looks, quiet->looks);
	queue->look.quiet = false;
	*quiet = core->quiet[--core->n_quiet];
	quiet->queue->look.at = (unsigned)(quiet - core->quiet);
}

/* To where its interval says. Afterwards pending() is to be asked: the doorbell may have rung since
 * it was last, and quiet_add() takes what is in it as old. */
static void file(struct io_core *core, struct io_queue *queue, uint64_t now)
{
	uint64_t ns = interval_ns(core, queue, now);

	if (queue->look.quiet)
		quiet_remove(core, queue);
	list_del(&queue->node);
	queue->look.next_ns = now + ns;
	if (ns < core->params.wake_bound_ns)
		list_add(&core->eager, &queue->node);
	else
		quiet_add(core, queue, now);
}

void io_look_begin(struct io_core *core, struct io_queue *queue, uint64_t now)
{
	core->n_looked++;
	file(core, queue, now);
}

void io_look_end(struct io_core *core, struct io_queue *queue)
{
	core->n_looked--;
	if (queue->look.quiet)
		quiet_remove(core, queue);
}

/* The doorbell rang after a gap without. */
static void learn(const struct io_core *core, struct io_look *look, uint64_t now)
{
	uint64_t gap = since(look->rang_ns, now), off, usual;

	look->rang_ns = now;
	if (gap < SHORT_GAP_NS)
		return;
	gap = MIN(gap, LONG_GAP_NS);
	/* one silence does not hide what is usual: it counts as half as long again as is of use */
	usual = MIN(gap, (uint64_t)GAP_BOUNDS * core->params.wake_bound_ns * 3 / 2);
	look->gap_ns = look->gap_ns ? look->gap_ns - look->gap_ns / 4 + usual / 4 : usual / 2;
	off = gap > look->steady_ns ? gap - look->steady_ns : look->steady_ns - gap;
	if (gap < LONG_GAP_NS && off < look->steady_ns / STEADY_PART) {
		look->steady_ns = look->steady_ns - look->steady_ns / 4 + gap / 4;
		look->steady = MIN(look->steady + 1, STEADY_MAX);
	} else if (look->steady) {
		look->steady--; /* something in between, or one was left out */
	} else {
		look->steady_ns = gap;
	}
}

static void rang(struct io_core *core, struct io_queue *queue, uint64_t now)
{
	learn(core, &queue->look, now);
	io_queue_wake(core, queue, now);
}

static void file_and_ask(struct io_core *core, struct io_queue *queue, uint64_t now)
{
	file(core, queue, now);
	if (unlikely(queue->ops->pending(queue)))
		rang(core, queue, now);
}

static void look_at_eager(struct io_core *core, struct io_queue *queue, uint64_t now)
{
	COUNT(queue->stats.looks, 1);
	file_and_ask(core, queue, now);
}

/* If it does not stay there, the last one is in its place. */
static void look_at_quiet(struct io_core *core, unsigned at, uint64_t now)
{
	struct io_quiet *quiet = &core->quiet[at];
	struct io_queue *queue = quiet->queue;
	uint64_t changed = 0;

	if (unlikely(++quiet->looks == LOOKS_UNCOUNTED)) {
		COUNT(queue->stats.looks, quiet->looks);
		quiet->looks = 0;
	}
	if (likely(quiet->doorbell))
		for (unsigned i = 0; i < ARRAY_SIZE(quiet->seen); i++)
			changed |= quiet->seen[i] ^ doorbell_word(quiet->doorbell, i);
	else
		changed = queue->ops->pending(queue);
	if (unlikely(changed || quiet->eager_ns < core->quiet_look_ns))
		file_and_ask(core, queue, now);
}

static void look_at_all_quiet(struct io_core *core, uint64_t now)
{
	core->quiet_look_ns = now + core->params.wake_bound_ns;
	/* backwards: what is filed anew is at the end */
	for (unsigned i = core->n_quiet; i-- > 0;) {
		if (i >= AHEAD)
			__builtin_prefetch(core->quiet[i - AHEAD].doorbell);
		look_at_quiet(core, i, now);
	}
}

void io_look_due(struct io_core *core, uint64_t now)
{
	struct io_queue *queue;
	struct list all;

	take_all(&core->eager, &all);
	list_for_each(queue, &all, node)
	{
		/* what is nearly due does not need a nap of its own */
		if (since(now, queue->look.next_ns) > interval_ns(core, queue, now) / 4) {
			list_del(&queue->node);
			list_add(&core->eager, &queue->node);
		} else {
			look_at_eager(core, queue, now);
		}
	}
	if (core->n_quiet && now + core->params.wake_bound_ns / 4 >= core->quiet_look_ns)
		look_at_all_quiet(core, now);
}

void io_look_awake(struct io_core *core, uint64_t now)
{
	struct list all;

	core->last_look_ns = now;
	take_all(&core->eager, &all);
	for (unsigned i = 0; i < AWAKE_EAGER && !list_empty(&all); i++)
		look_at_eager(core, list_first(&all, struct io_queue, node), now);
	list_add_all(&all, &core->eager);
	if (core->n_quiet && now >= core->quiet_look_ns) {
		look_at_all_quiet(core, now);
		return;
	}
	for (unsigned i = MIN(core->n_quiet, AWAKE_QUIET); i && core->n_quiet; i--) {
		if (!core->quiet_cursor || core->quiet_cursor > core->n_quiet)
			core->quiet_cursor = core->n_quiet;
		look_at_quiet(core, --core->quiet_cursor, now);
	}
}

uint64_t io_look_next_ns(const struct io_core *core)
{
	uint64_t next = core->n_quiet ? core->quiet_look_ns : UINT64_MAX;
	const struct io_queue *queue;

	list_for_each(queue, &core->eager, node) next = MIN(next, queue->look.next_ns);
	return next;
}

void io_queue_expect(struct io_queue *queue, const struct io_turn *turn)
{
	struct io_core *core;

	if (__atomic_load_n(&queue->state, __ATOMIC_RELAXED) != IO_QUEUE_PARKED)
		return;
	core = __atomic_load_n(&queue->core, __ATOMIC_ACQUIRE);
	if (!core || core != turn->core) {
		/* its core looks often for a while after it was polled */
		if (turn->now_ns - READ_ONCE(queue->look.expect_ns) > CLOSE_NS) {
			WRITE_ONCE(queue->look.expect_ns, turn->now_ns);
			io_queue_kick(queue);
		}
		return;
	}
	if (!queue->looked)
		return;
	WRITE_ONCE(queue->look.expect_ns, turn->now_ns);
	file_and_ask(core, queue, turn->now_ns);
}
