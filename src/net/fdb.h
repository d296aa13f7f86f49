/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The switch's address table; private to net/. Keys are (address, VLAN), values are port indexes.
 * Read and refreshed on any core without a lock; changed under a lock that the data path only
 * tries. Buckets of eight slots, each bucket with a sequence number that is odd while it changes.
 */
#ifndef EXITLESS_NET_FDB_H
#define EXITLESS_NET_FDB_H

#include "base/rcu.h"
#include "base/util.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define FDB_SLOTS      8
#define FDB_PORTS      1024
#define FDB_STATIC     0x8000u /* in a slot's port: never ages, never moves */
#define FDB_VID_OWNER  0xfffu  /* the row that says whose an address is, whatever the VLAN */
#define FDB_TICK_SHIFT 27      /* 134 ms; wraps after 18 years */
#define FDB_NONE       (-1)
#define FDB_SHIFT_MASK ((uintptr_t)63)

struct fdb_bucket {
	uint64_t keys[FDB_SLOTS]; /* 0: free */
	uint32_t seen[FDB_SLOTS]; /* tick of the last frame from it */
	uint16_t ports[FDB_SLOTS];
	uint32_t seq;
} __attribute__((aligned(2 * CACHE_LINE)));

struct fdb {
	uintptr_t table; /* by RCU: buckets, and in the bits that are free in their address, how far
			  * a hash is shifted to be a bucket's number: both of the same table */
	uint64_t seed, multiplier; /* secret: nobody can aim at another one's bucket */
	uint32_t age_ticks;	   /* atomic */
	pthread_mutex_t lock;	   /* what follows, and all changes of keys and ports */
	struct fdb_bucket *buckets;
	unsigned n_buckets;
	unsigned addresses_max, port_max, n_learned;
	uint32_t swept;
	uint16_t learned[FDB_PORTS];
	bool open[FDB_PORTS]; /* attached: may learn */
};

enum fdb_result { FDB_SAME, FDB_NEW, FDB_MOVED, FDB_REFUSED, FDB_BUSY };

static inline uint64_t fdb_key(const uint8_t mac[6], unsigned vid)
{
	uint32_t low;
	uint16_t high;

	memcpy(&low, mac, 4);
	memcpy(&high, mac + 4, 2);
	return (uint64_t)low | (uint64_t)high << 32 | (uint64_t)vid << 48 | 1ull << 63;
}

static inline uint32_t fdb_tick(uint64_t now_ns)
{
	return (uint32_t)(now_ns >> FDB_TICK_SHIFT);
}

static inline struct fdb_bucket *fdb_bucket_in(const struct fdb *fdb, uintptr_t table, uint64_t key)
{
	struct fdb_bucket *buckets = (struct fdb_bucket *)(table & ~FDB_SHIFT_MASK);

	uint64_t hash = (key ^ fdb->seed) * fdb->multiplier;

	/* Once is not enough: addresses that follow each other would crowd some buckets, with some
	 * multipliers. Twice with the same is not for one multiplier in a million. */
	hash = (hash ^ hash >> 32) * fdb->multiplier;
	hash = (hash ^ hash >> 29) * 0xff51afd7ed558ccdull;
	return &buckets[hash >> (table & FDB_SHIFT_MASK)];
}

static inline struct fdb_bucket *fdb_bucket(const struct fdb *fdb, uint64_t key)
{
	return fdb_bucket_in(fdb, rcu_read(fdb->table), key);
}

static inline bool fdb_fresh(const struct fdb *fdb, uint32_t seen, uint32_t tick)
{
	return (int32_t)(tick - seen) <= (int32_t)READ_ONCE(fdb->age_ticks);
}

/* Any thread: the port behind @key with FDB_STATIC in place, or FDB_NONE; in *@slot where it is. */
static inline int fdb_find(const struct fdb_bucket *bucket, uint64_t key, unsigned *slot)
{
	uint32_t seq;
	int port;

	do {
		port = FDB_NONE;
		seq = LOAD_ACQUIRE(bucket->seq);
		for (unsigned i = 0; i < FDB_SLOTS; i++) {
			if (LOAD_ACQUIRE(bucket->keys[i]) == key) {
				port = LOAD_ACQUIRE(bucket->ports[i]);
				*slot = i;
				break;
			}
		}
	} while (unlikely(seq & 1 || LOAD_ACQUIRE(bucket->seq) != seq));
	return port;
}

/* Any thread: the index of the port behind @key, or FDB_NONE (unknown or too old). */
static inline int fdb_lookup(const struct fdb *fdb, uint64_t key, uint32_t tick)
{
	const struct fdb_bucket *bucket = fdb_bucket(fdb, key);
	unsigned slot = 0;
	int port = fdb_find(bucket, key, &slot);

	if (port < 0 || port & FDB_STATIC)
		return port < 0 ? FDB_NONE : (int)(port & ~FDB_STATIC);
	return fdb_fresh(fdb, READ_ONCE(bucket->seen[slot]), tick) ? port : FDB_NONE;
}

/* Any thread: true when @key is known to be at @port, and says that it was seen. */
static inline bool fdb_touch(struct fdb *fdb, uint64_t key, unsigned index, uint32_t tick)
{
	struct fdb_bucket *bucket = fdb_bucket(fdb, key);
	unsigned slot = 0;
	int port = fdb_find(bucket, key, &slot);

	if (port == (int)index) {
		/* at most one store per tick and address, so that the line stays shared */
		if (READ_ONCE(bucket->seen[slot]) != tick)
			WRITE_ONCE(bucket->seen[slot], tick);
		return true;
	}
	return port == (int)(index | FDB_STATIC);
}

/* 0 or -ENOMEM. Learns nothing before fdb_limits_set(). */
int fdb_init(struct fdb *fdb, unsigned addresses_max);
/* Changes the size of the table, and keeps what it holds and is not too old, as far as there is
 * room. 0 or -ENOMEM. Control thread, at any time; waits for readers. */
int fdb_resize(struct fdb *fdb, unsigned addresses_max, uint32_t tick);
/* Addresses learned on one port, and how long a silent one stays. Control thread, at any time. */
void fdb_limits_set(struct fdb *fdb, unsigned port_max, uint64_t age_ns);
void fdb_done(struct fdb *fdb);

/* Any thread; never waits: FDB_BUSY when somebody else changes the table. */
enum fdb_result fdb_learn(struct fdb *fdb, uint64_t key, unsigned port, uint32_t tick);

/* Control thread. fdb_open() lets a port learn; fdb_close() ends that and forgets all it has. */
void fdb_open(struct fdb *fdb, unsigned port);
void fdb_close(struct fdb *fdb, unsigned port);
/* A row that stays until fdb_static_del(); one of another port's stays. */
void fdb_static_add(struct fdb *fdb, uint64_t key, unsigned port);
void fdb_static_del(struct fdb *fdb, uint64_t key, unsigned port);
/* Forgets what was learned at @port, or everywhere with FDB_NONE. */
void fdb_flush(struct fdb *fdb, int port);
void fdb_dump(struct fdb *fdb, uint32_t tick,
	      void (*row)(void *arg, uint64_t key, unsigned port, uint32_t age_ticks), void *arg);

#endif
