/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thin cover of liburcu-qsbr. It exists so that ThreadSanitizer, which cannot see through
 * liburcu's fences, is told what a grace period means: all that a reader did before its quiescent
 * point happens before what a writer does after its wait.
 */
#include "base/rcu.h"

#include "base/sanitize.h"

#include <urcu-qsbr.h>

#if SANITIZED_THREADS
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
static char rcu_order;
#define order_release() __tsan_release(&rcu_order)
#define order_acquire() __tsan_acquire(&rcu_order)
#else
#define order_release() ((void)0)
#define order_acquire() ((void)0)
#endif

void rcu_reader_register(void)
{
	urcu_qsbr_register_thread();
}

void rcu_reader_unregister(void)
{
	order_release();
	urcu_qsbr_unregister_thread();
}

void rcu_reader_quiescent(void)
{
	order_release();
	urcu_qsbr_quiescent_state();
}

void rcu_reader_offline(void)
{
	order_release();
	urcu_qsbr_thread_offline();
}

void rcu_reader_online(void)
{
	urcu_qsbr_thread_online();
	order_acquire();
}

void rcu_wait(void)
{
	order_release();
	urcu_qsbr_synchronize_rcu();
	order_acquire();
}
