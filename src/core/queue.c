/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue's states, and how it comes and goes. Parking and kicking race by design: the core stores
 * "parked" and then looks for kicks and work once more, the kicker makes work visible, leaves its
 * kick and then reads the state; full fences on both sides, so one of the two sees the other.
 */
#include "base/clock.h"
#include "base/event.h"
#include "base/rcu.h"
#include "base/util.h"
#include "core/private.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Can it be parked at all: is there a way to learn of new work? */
bool io_queue_parks(const struct io_queue *queue)
{
	return queue->wake_fd >= 0 || queue->ops->notify || queue->ops->pending;
}

static bool must_be_looked_at(struct io_queue *queue)
{
	return queue->wake_fd < 0 && !queue->ops->notify &&
	       !(queue->ops->announced && queue->ops->announced(queue));
}

void io_queue_park(struct io_core *core, struct io_queue *queue)
{
	bool more;

	io_sched_forget(core, queue);
	__atomic_store_n(&queue->state, IO_QUEUE_PARKED, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	core->n_polled--;
	core->n_parked++;
	queue->looked = must_be_looked_at(queue);
	core->n_waited += queue->wake_fd >= 0;
	if (queue->looked)
		io_look_begin(core, queue, core->now_ns());
	else
		list_add(&core->parked, &queue->node);
	COUNT(queue->stats.parked, 1);
	if (queue->ops->notify)
		more = queue->ops->notify(queue, true);
	else
		more = queue->looked && queue->ops->pending(queue);
	if (more || __atomic_load_n(&queue->kicked, __ATOMIC_SEQ_CST))
		io_queue_wake(core, queue, core->now_ns());
}

void io_queue_wake(struct io_core *core, struct io_queue *queue, uint64_t now_ns)
{
	queue->last_work_ns = now_ns;
	__atomic_store_n(&queue->kicked, 0, __ATOMIC_SEQ_CST);
	if (queue->state != IO_QUEUE_PARKED)
		return;
	if (queue->ops->notify)
		queue->ops->notify(queue, false);
	if (queue->drain_wake_fd && queue->wake_fd >= 0)
		event_fd_drain(queue->wake_fd); /* nothing in it: woken otherwise */
	__atomic_store_n(&queue->state, IO_QUEUE_POLLED, __ATOMIC_SEQ_CST);
	core->n_polled++;
	core->n_parked--;
	if (queue->looked)
		io_look_end(core, queue);
	core->n_waited -= queue->wake_fd >= 0;
	list_del(&queue->node);
	list_add(&core->sparse, &queue->node);
	COUNT(queue->stats.wakes, 1);
}

void io_core_handle_kicks(struct io_core *core, uint64_t now_ns)
{
	struct io_queue *queue;

	__atomic_store_n(&core->kicked, 0, __ATOMIC_SEQ_CST);
	list_for_each(queue, &core->queues,
		      all_node) if (__atomic_load_n(&queue->kicked, __ATOMIC_SEQ_CST))
		io_queue_wake(core, queue, now_ns);
}

void io_queue_kick(struct io_queue *queue)
{
	struct io_core *core;

	/* A poll takes it back before it looks; a queue that has it when it is parked wakes. */
	if (__atomic_exchange_n(&queue->kicked, 1, __ATOMIC_SEQ_CST) ||
	    __atomic_load_n(&queue->state, __ATOMIC_SEQ_CST) != IO_QUEUE_PARKED)
		return;
	core = __atomic_load_n(&queue->core, __ATOMIC_ACQUIRE);
	if (!core)
		return;
	__atomic_add_fetch(&queue->stats.kicks, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&core->kicked, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&core->sleeping, __ATOMIC_SEQ_CST))
		io_core_wake(core);
}

void io_queue_retry(struct io_queue *queue)
{
	struct io_core *core = __atomic_load_n(&queue->core, __ATOMIC_ACQUIRE);

	if (!core)
		return;
	__atomic_store_n(&core->kicked, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&core->sleeping, __ATOMIC_SEQ_CST))
		io_core_wake(core);
}

struct change {
	struct io_queue *queue;
	int err;
};

static void add(struct io_core *core, void *arg)
{
	struct change *change = arg;
	struct io_queue *queue = change->queue;
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = queue };

	change->err = io_look_reserve(core);
	if (change->err)
		return;
	queue->share = io_share_get(core, queue->group);
	if (!queue->share) {
		change->err = -ENOMEM;
		return;
	}
	if (queue->wake_fd >= 0 &&
	    epoll_ctl(core->epoll_fd, EPOLL_CTL_ADD, queue->wake_fd, &event) < 0) {
		change->err = -errno;
		io_share_put(core, queue->share);
		queue->share = NULL;
		return;
	}
	queue->bulk = false;
	queue->held_turn = 0; /* another core counts others */
	list_init(&queue->node);
	queue->look.quiet = false;
	queue->look.at = 0;
	queue->look.next_ns = 0;
	queue->look.looked_ns = 0;
	queue->look.rang_ns = core->now_ns();
	/* another core may still be in io_queue_expect() of the queue's last one */
	WRITE_ONCE(queue->look.expect_ns, 0);
	queue->look.gap_ns = 0;
	queue->look.steady_ns = 0;
	queue->look.steady = 0;
	__atomic_store_n(&queue->kicked, 0, __ATOMIC_SEQ_CST);
	queue->last_work_ns = core->now_ns();
	if (queue->ops->notify)
		queue->ops->notify(queue, false);
	list_add(&core->queues, &queue->all_node);
	list_add(&core->sparse, &queue->node);
	core->n_queues++;
	core->n_polled++;
	__atomic_store_n(&queue->core, core, __ATOMIC_RELEASE);
	__atomic_store_n(&queue->state, IO_QUEUE_POLLED, __ATOMIC_SEQ_CST);
}

static void remove_queue(struct io_core *core, void *arg)
{
	struct io_queue *queue = arg;

	if (queue->state == IO_QUEUE_PARKED) {
		if (queue->looked)
			io_look_end(core, queue);
		list_del(&queue->node);
		core->n_parked--;
		core->n_waited -= queue->wake_fd >= 0;
	} else {
		io_sched_forget(core, queue);
		core->n_polled--;
	}
	if (queue->wake_fd >= 0)
		epoll_ctl(core->epoll_fd, EPOLL_CTL_DEL, queue->wake_fd, NULL);
	__atomic_store_n(&queue->state, IO_QUEUE_OFF, __ATOMIC_SEQ_CST);
	__atomic_store_n(&queue->core, NULL, __ATOMIC_RELEASE);
	list_del(&queue->all_node);
	core->n_queues--;
	io_share_put(core, queue->share);
	queue->share = NULL;
}

int io_queue_add(struct io_core *core, struct io_queue *queue)
{
	struct change change = { .queue = queue };

	io_core_call(core, add, &change);
	return change.err;
}

void io_queue_remove(struct io_queue *queue)
{
	struct io_core *core = __atomic_load_n(&queue->core, __ATOMIC_ACQUIRE);

	if (core)
		io_core_call(core, remove_queue, queue);
}

int io_queue_move(struct io_queue *queue, struct io_core *to)
{
	struct io_core *from = __atomic_load_n(&queue->core, __ATOMIC_ACQUIRE);
	int err;

	if (!from)
		return -EINVAL;
	if (from == to)
		return 0;
	io_queue_remove(queue);
	/* Added as polled: what was announced between the two is found by its first poll. */
	err = io_queue_add(to, queue);
	if (err && io_queue_add(from, queue))
		return err;
	if (!err)
		COUNT(queue->stats.migrated, 1);
	return err;
}
