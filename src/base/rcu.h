/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-copy-update, the QSBR flavour of liburcu. A published table (memory map, MAC table, event
 * descriptors) is read without a lock between two quiescent points of the reading thread, and freed
 * by the writer only after rcu_wait(), when each registered reader has passed one.
 *
 * Each I/O core registers, and calls rcu_quiescent() once a turn, or goes offline while it sleeps.
 * The control thread is not registered: it is the only writer of most tables and may read what it
 * alone changes. A thread that calls rcu_wait() while registered and online would wait for itself
 * in no case (liburcu takes it offline meanwhile).
 */
#ifndef EXITLESS_BASE_RCU_H
#define EXITLESS_BASE_RCU_H

void rcu_reader_register(void);
void rcu_reader_unregister(void);
void rcu_reader_quiescent(void);
void rcu_reader_offline(void);
void rcu_reader_online(void);
/* Waits until every registered, online reader has passed a quiescent point. May sleep. */
void rcu_wait(void);

/* Publishes @v in pointer @p, or reads it; pairs of release and acquire. */
#define rcu_publish(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)
#define rcu_read(p)	  __atomic_load_n(&(p), __ATOMIC_ACQUIRE)

#endif
