/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread of an I/O core: turns, messages, timers, sleep. What is polled is sched.c's business.
 *
 * Sleeping: the core says so in @sleeping, then looks once more at everything another thread may
 * have left for it (messages, kicks, an earlier timer); the other thread leaves it, then reads
 * @sleeping. Sequentially consistent on both sides, so nobody waits for a wake-up that was lost.
 */
#include "core/core.h"

#include "base/clock.h"
#include "base/event.h"
#include "base/rcu.h"
#include "base/util.h"
#include "core/private.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EVENTS		64
#define EPOLL_EVERY_NS	(20 * NS_PER_US) /* while busy: a system call, so not each turn */
#define SHORTEST_NAP_NS (30 * NS_PER_US)

/* ---- turns ------------------------------------------------------------------------------- */

void io_turn_init(struct io_turn *turn, void *scratch)
{
	memset(turn, 0, sizeof(*turn));
	turn->scratch = scratch;
	turn->now_ns = time_now_ns();
	turn->budget_packets = 64;
	turn->budget_bytes = 256 * 1024;
}

void io_turn_end(struct io_turn *turn)
{
	/* a flush may ask for another one */
	for (unsigned i = 0; i < turn->n_flush; i++) {
		struct io_flush *flush = turn->flush[i];

		/* from here on a giver of another core asks anew */
		__atomic_store_n(&flush->pending, NULL, __ATOMIC_SEQ_CST);
		flush->flush(flush, turn);
	}
	turn->n_flush = 0;
}

void io_turn_flush_later(struct io_turn *turn, struct io_flush *flush)
{
	void *none = NULL;

	if (__atomic_load_n(&flush->pending, __ATOMIC_RELAXED) == turn)
		return;
	if (!__atomic_compare_exchange_n(&flush->pending, &none, turn, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return;
	if (turn->n_flush == IO_FLUSH_MAX)
		io_turn_end(turn);
	turn->flush[turn->n_flush++] = flush;
}

/* ---- messages ---------------------------------------------------------------------------- */

void io_core_wake(struct io_core *core)
{
	event_fd_wake(core->wake_fd);
}

static void run_messages(struct io_core *core)
{
	struct io_message *message, *next;

	pthread_mutex_lock(&core->lock);
	message = core->messages;
	core->messages = NULL;
	core->messages_tail = &core->messages;
	__atomic_store_n(&core->n_messages, 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&core->lock);
	for (; message; message = next) {
		next = message->next; /* it is its sender's stack */
		message->fn(core, message->arg);
		COUNT(core->stats.messages, 1);
		pthread_mutex_lock(&core->lock);
		message->done = true;
		pthread_cond_broadcast(&core->done);
		pthread_mutex_unlock(&core->lock);
	}
}

void io_core_call(struct io_core *core, void (*fn)(struct io_core *core, void *arg), void *arg)
{
	struct io_message message = { .fn = fn, .arg = arg };

	if (!core->threaded || pthread_equal(pthread_self(), core->thread)) {
		fn(core, arg);
		return;
	}
	pthread_mutex_lock(&core->lock);
	*core->messages_tail = &message;
	core->messages_tail = &message.next;
	__atomic_store_n(&core->n_messages, core->n_messages + 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&core->sleeping, __ATOMIC_SEQ_CST))
		io_core_wake(core);
	while (!message.done)
		pthread_cond_wait(&core->done, &core->lock);
	pthread_mutex_unlock(&core->lock);
}

/* ---- timers ------------------------------------------------------------------------------ */

static void deadline_lower(struct io_core *core, uint64_t deadline_ns)
{
	uint64_t old = __atomic_load_n(&core->next_deadline_ns, __ATOMIC_SEQ_CST);

	while (deadline_ns < old &&
	       !__atomic_compare_exchange_n(&core->next_deadline_ns, &old, deadline_ns, true,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

static void fire_timers(struct io_core *core)
{
	struct io_timer *timer;
	uint64_t now = core->turn.now_ns;

	__atomic_store_n(&core->next_deadline_ns, UINT64_MAX, __ATOMIC_SEQ_CST);
	list_for_each(timer, &core->timers, node)
	{
		uint64_t deadline = __atomic_load_n(&timer->deadline_ns, __ATOMIC_SEQ_CST);

		if (deadline <= now &&
		    __atomic_compare_exchange_n(&timer->deadline_ns, &deadline, UINT64_MAX, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			COUNT(core->stats.timers, 1);
			core->worked = true;
			timer->fire(timer, &core->turn);
			deadline = __atomic_load_n(&timer->deadline_ns, __ATOMIC_SEQ_CST);
		}
		deadline_lower(core, deadline);
	}
}

void io_timer_set(struct io_timer *timer, uint64_t deadline_ns)
{
	struct io_core *core;

	__atomic_store_n(&timer->deadline_ns, deadline_ns, __ATOMIC_SEQ_CST);
	core = __atomic_load_n(&timer->core, __ATOMIC_ACQUIRE);
	if (!core || deadline_ns == UINT64_MAX)
		return;
	deadline_lower(core, deadline_ns);
	if (__atomic_load_n(&core->sleeping, __ATOMIC_SEQ_CST))
		io_core_wake(core);
}

static void add_timer(struct io_core *core, void *arg)
{
	struct io_timer *timer = arg;

	list_add(&core->timers, &timer->node);
	__atomic_store_n(&timer->core, core, __ATOMIC_SEQ_CST);
	deadline_lower(core, __atomic_load_n(&timer->deadline_ns, __ATOMIC_SEQ_CST));
}

static void remove_timer(struct io_core *core, void *arg)
{
	struct io_timer *timer = arg;

	list_del(&timer->node);
	__atomic_store_n(&timer->core, NULL, __ATOMIC_RELEASE);
}

void io_timer_add(struct io_core *core, struct io_timer *timer)
{
	io_core_call(core, add_timer, timer);
}

void io_timer_remove(struct io_timer *timer)
{
	struct io_core *core = __atomic_load_n(&timer->core, __ATOMIC_ACQUIRE);

	if (core)
		io_core_call(core, remove_timer, timer);
}

/* ---- sleep ------------------------------------------------------------------------------- */

/* What epoll has, waiting up to @timeout_ns (UINT64_MAX: for ever); their number. */
static int wait_events(struct io_core *core, struct epoll_event events[EVENTS], uint64_t timeout_ns)
{
	struct timespec ts = { (time_t)(timeout_ns / NS_PER_S), (long)(timeout_ns % NS_PER_S) };
	int n;

	n = epoll_pwait2(core->epoll_fd, events, EVENTS, timeout_ns == UINT64_MAX ? NULL : &ts,
			 NULL);
	if (n < 0 && errno == ENOSYS)
		n = epoll_wait(core->epoll_fd, events, EVENTS,
			       timeout_ns == UINT64_MAX
				       ? -1
				       : (int)MIN((timeout_ns + NS_PER_MS - 1) / NS_PER_MS,
						  (uint64_t)INT_MAX));
	core->last_epoll_ns = core->now_ns();
	return n;
}

/* Online: queues that are woken read what is under RCU, and write to their guests' memory by it. */
static void take_events(struct io_core *core, const struct epoll_event *events, int n)
{
	uint64_t count;

	for (int i = 0; i < n; i++) {
		struct io_queue *queue = events[i].data.ptr;

		if (queue) {
			/* counted beside io_queue_kick() in other threads */
			if (queue->state == IO_QUEUE_PARKED)
				__atomic_add_fetch(&queue->stats.kicks, 1, __ATOMIC_RELAXED);
			io_queue_wake(core, queue, core->last_epoll_ns);
		} else if (read(core->wake_fd, &count, sizeof(count)) < 0) {
			continue;
		}
	}
}

static void look_at_events(struct io_core *core)
{
	struct epoll_event events[EVENTS];

	take_events(core, events, wait_events(core, events, 0));
}

/* How long the core may sleep: until its next timer, rate or look. */
static uint64_t nap_ns(const struct io_core *core, uint64_t now)
{
	uint64_t until = __atomic_load_n(&core->next_deadline_ns, __ATOMIC_SEQ_CST);

	until = MIN(until, core->limited_until_ns);
	if (core->n_looked)
		until = MIN(until, io_look_next_ns(core));
	if (until == UINT64_MAX)
		return UINT64_MAX;
	return until > now ? until - now : 0;
}

static void nap(struct io_core *core)
{
	struct epoll_event events[EVENTS];
	uint64_t now = core->now_ns(), ns;
	int n;

	__atomic_store_n(&core->sleeping, 1, __ATOMIC_SEQ_CST);
	ns = nap_ns(core, now);
	if (ns && !__atomic_load_n(&core->n_messages, __ATOMIC_SEQ_CST) &&
	    !__atomic_load_n(&core->kicked, __ATOMIC_SEQ_CST) &&
	    !__atomic_load_n(&core->stop, __ATOMIC_SEQ_CST)) {
		COUNT(core->stats.sleeps, 1);
		rcu_reader_offline();
		n = wait_events(core, events, ns);
		rcu_reader_online();
		take_events(core, events, n);
	}
	__atomic_store_n(&core->sleeping, 0, __ATOMIC_SEQ_CST);
	now = core->now_ns();
	COUNT(core->stats.sleep_ns, now - core->last_now_ns);
	WRITE_ONCE(core->last_now_ns, now);
	if (core->n_looked)
		io_look_due(core, now);
}

/* ---- the turn ---------------------------------------------------------------------------- */

void io_core_turn(struct io_core *core, bool may_sleep)
{
	struct io_turn *turn = &core->turn;
	uint64_t now = core->now_ns();

	turn->now_ns = now;
	COUNT(core->stats.turns, 1);
	if (core->worked)
		COUNT(core->stats.busy_ns, now - core->last_now_ns);
	else
		COUNT(core->stats.idle_ns, now - core->last_now_ns);
	WRITE_ONCE(core->last_now_ns, now);
	core->worked = false;
	core->limited_until_ns = UINT64_MAX;
	core->n_held = 0;

	if (unlikely(__atomic_load_n(&core->n_messages, __ATOMIC_RELAXED)))
		run_messages(core);
	if (unlikely(now >= __atomic_load_n(&core->next_deadline_ns, __ATOMIC_RELAXED)))
		fire_timers(core);
	if (unlikely(__atomic_load_n(&core->kicked, __ATOMIC_RELAXED)))
		io_core_handle_kicks(core, now);
	if (core->n_waited && now - core->last_epoll_ns >= EPOLL_EVERY_NS)
		look_at_events(core);
	if (core->n_looked && now - core->last_look_ns >= core->params.park_look_ns)
		io_look_awake(core, now);

	io_sched_run(core);
	io_turn_end(turn);
	rcu_reader_quiescent();

	WRITE_ONCE(core->stats.queues, core->n_queues);
	WRITE_ONCE(core->stats.polled, core->n_polled);
	WRITE_ONCE(core->stats.parked, core->n_parked);
	/* a queue that is polled and not held back gets work that nobody announces */
	if (may_sleep && !core->worked && core->n_held == core->n_polled &&
	    core->limited_until_ns > now + SHORTEST_NAP_NS)
		nap(core);
}

static void *run(void *arg)
{
	struct io_core *core = arg;
	cpu_set_t cpus;

	if (core->params.cpu >= 0) {
		CPU_ZERO(&cpus);
		CPU_SET((unsigned)core->params.cpu, &cpus);
		pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	}
	pthread_setname_np(pthread_self(), core->name);
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	rcu_reader_register();
	core->last_now_ns = time_now_ns();
	while (!__atomic_load_n(&core->stop, __ATOMIC_ACQUIRE))
		io_core_turn(core, true);
	run_messages(core);
	rcu_reader_unregister();
	return NULL;
}

/* ---- life -------------------------------------------------------------------------------- */

static void fill_defaults(struct io_core_params *params)
{
	if (!params->turn_packets)
		params->turn_packets = 64;
	if (!params->turn_bytes)
		params->turn_bytes = 256 * 1024;
	if (!params->park_after_ns)
		params->park_after_ns = 50 * NS_PER_US;
	if (!params->park_look_ns)
		params->park_look_ns = 5 * NS_PER_US;
	if (!params->wake_bound_ns)
		params->wake_bound_ns = 4 * NS_PER_MS;
	if (!params->slice_ns)
		params->slice_ns = NS_PER_US;
	if (!params->quantum_ns)
		params->quantum_ns = 20 * NS_PER_US;
}

static uint64_t monotonic(void)
{
	return time_now_ns();
}

struct io_core *io_core_new_unstarted(const char *name, const struct io_core_params *params)
{
	struct io_core *core = aligned_alloc(CACHE_LINE, ALIGN_UP(sizeof(*core), CACHE_LINE));
	struct epoll_event event = { .events = EPOLLIN };
	int err = ENOMEM;

	if (!core)
		return NULL;
	memset(core, 0, sizeof(*core));
	core->params = *params;
	fill_defaults(&core->params);
	core->now_ns = monotonic;
	core->next_deadline_ns = UINT64_MAX;
	core->limited_until_ns = UINT64_MAX;
	core->messages_tail = &core->messages;
	list_init(&core->queues);
	list_init(&core->sparse);
	list_init(&core->parked);
	list_init(&core->eager);
	list_init(&core->shares);
	list_init(&core->active);
	list_init(&core->timers);
	pthread_mutex_init(&core->lock, NULL);
	pthread_cond_init(&core->done, NULL);
	core->epoll_fd = core->wake_fd = -1;
	core->name = strdup(name);
	core->turn.scratch = aligned_alloc(CACHE_LINE, IO_SCRATCH_BYTES);
	if (!core->name || !core->turn.scratch)
		goto fail;
	core->turn.core = core;
	core->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	core->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (core->epoll_fd < 0 || core->wake_fd < 0 ||
	    epoll_ctl(core->epoll_fd, EPOLL_CTL_ADD, core->wake_fd, &event) < 0) {
		err = errno;
		goto fail;
	}
	core->last_now_ns = time_now_ns();
	return core;
fail:
	io_core_free(core);
	errno = err;
	return NULL;
}

struct io_core *io_core_new(const char *name, const struct io_core_params *params)
{
	struct io_core *core = io_core_new_unstarted(name, params);
	int err;

	if (!core)
		return NULL;
	core->threaded = true;
	err = pthread_create(&core->thread, NULL, run, core);
	if (!err)
		return core;
	core->threaded = false;
	io_core_free(core);
	errno = err;
	return NULL;
}

void io_core_free(struct io_core *core)
{
	if (!core)
		return;
	if (core->threaded) {
		__atomic_store_n(&core->stop, 1, __ATOMIC_SEQ_CST);
		io_core_wake(core);
		pthread_join(core->thread, NULL);
	}
	if (core->wake_fd >= 0)
		close(core->wake_fd);
	if (core->epoll_fd >= 0)
		close(core->epoll_fd);
	pthread_cond_destroy(&core->done);
	pthread_mutex_destroy(&core->lock);
	free(core->quiet);
	free(core->turn.scratch);
	free(core->name);
	free(core);
}

void io_core_params_get(const struct io_core *core, struct io_core_params *params)
{
	*params = core->params;
}

static void set_params(struct io_core *core, void *arg)
{
	int cpu = core->params.cpu;

	core->params = *(const struct io_core_params *)arg;
	core->params.cpu = cpu;
	fill_defaults(&core->params);
	core->quiet_look_ns = 0; /* the bound may be another one */
}

void io_core_params_set(struct io_core *core, const struct io_core_params *params)
{
	io_core_call(core, set_params, (void *)params);
}

void io_core_stats(const struct io_core *core, struct io_core_stats *stats)
{
	stats->turns = READ_ONCE(core->stats.turns);
	stats->sleeps = READ_ONCE(core->stats.sleeps);
	stats->messages = READ_ONCE(core->stats.messages);
	stats->timers = READ_ONCE(core->stats.timers);
	stats->busy_ns = READ_ONCE(core->stats.busy_ns);
	stats->idle_ns = READ_ONCE(core->stats.idle_ns);
	stats->sleep_ns = READ_ONCE(core->stats.sleep_ns);
	/* and the nap that it takes now, which may be a long one; what changes while this is read
	 * makes it less than it was, never more */
	if (__atomic_load_n(&core->sleeping, __ATOMIC_ACQUIRE)) {
		uint64_t since = READ_ONCE(core->last_now_ns), now = core->now_ns();

		stats->sleep_ns += now > since ? now - since : 0;
	}
	stats->queues = READ_ONCE(core->stats.queues);
	stats->polled = READ_ONCE(core->stats.polled);
	stats->parked = READ_ONCE(core->stats.parked);
}
