/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changes to the address table. Writers hold fdb->lock, make a bucket's sequence number odd, store,
 * and make it even; a reader that saw it odd or changed looks again. Stores are released one by
 * one, so no fences are needed (and ThreadSanitizer can follow).
 *
 * Old rows are not swept by a timer: they count as unknown when looked up, their slots are taken by
 * new ones, and when a limit is hit the table is searched for them, once a tick at most.
 */
#include "net/fdb.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define STATIC_MAX (2 * FDB_PORTS)

/* One with room for so many addresses, as fdb->table has it; 0: no memory. */
static uintptr_t table_new(unsigned addresses_max)
{
	unsigned want = (4 * addresses_max + STATIC_MAX) / FDB_SLOTS, bits = 1;
	struct fdb_bucket *buckets;

	while ((1u << bits) < want)
		bits++;
	buckets = aligned_alloc(2 * CACHE_LINE, sizeof(*buckets) << bits);
	if (!buckets)
		return 0;
	memset(buckets, 0, sizeof(*buckets) << bits);
	return (uintptr_t)buckets | (64 - bits);
}

static void table_publish(struct fdb *fdb, uintptr_t table)
{
	fdb->buckets = (struct fdb_bucket *)(table & ~FDB_SHIFT_MASK);
	fdb->n_buckets = 1u << (64 - (table & FDB_SHIFT_MASK));
	rcu_publish(fdb->table, table);
}

int fdb_init(struct fdb *fdb, unsigned addresses_max)
{
	uintptr_t table = table_new(addresses_max);

	memset(fdb, 0, sizeof(*fdb));
	if (getrandom(&fdb->seed, sizeof(fdb->seed), GRND_NONBLOCK) != sizeof(fdb->seed) ||
	    getrandom(&fdb->multiplier, sizeof(fdb->multiplier), GRND_NONBLOCK) !=
		    sizeof(fdb->multiplier))
		fdb->multiplier = fdb->seed ^ time_now_ns() ^ (uintptr_t)fdb;
	fdb->multiplier |= 1;
	fdb->addresses_max = addresses_max;
	if (!table)
		return -ENOMEM;
	table_publish(fdb, table);
	pthread_mutex_init(&fdb->lock, NULL);
	return 0;
}

void fdb_limits_set(struct fdb *fdb, unsigned port_max, uint64_t age_ns)
{
	uint32_t ticks = (uint32_t)MIN(age_ns >> FDB_TICK_SHIFT, (uint64_t)INT32_MAX);

	pthread_mutex_lock(&fdb->lock);
	fdb->port_max = port_max;
	WRITE_ONCE(fdb->age_ticks, ticks);
	pthread_mutex_unlock(&fdb->lock);
}

void fdb_done(struct fdb *fdb)
{
	pthread_mutex_destroy(&fdb->lock);
	free(fdb->buckets);
}

/* ---- one slot; under the lock --------------------------------------------------------------- */

static void slot_set(struct fdb_bucket *bucket, unsigned i, uint64_t key, unsigned port,
		     uint32_t tick)
{
	uint32_t seq = bucket->seq;

	STORE_RELEASE(bucket->seq, seq + 1);
	STORE_RELEASE(bucket->keys[i], key);
	STORE_RELEASE(bucket->ports[i], (uint16_t)port);
	STORE_RELEASE(bucket->seen[i], tick);
	STORE_RELEASE(bucket->seq, seq + 2);
}

static void slot_count(struct fdb *fdb, unsigned port, int n)
{
	if (port & FDB_STATIC)
		return;
	fdb->learned[port] = (uint16_t)(fdb->learned[port] + n);
	fdb->n_learned += (unsigned)n;
}

static void slot_clear(struct fdb *fdb, struct fdb_bucket *bucket, unsigned i)
{
	slot_count(fdb, bucket->ports[i], -1);
	slot_set(bucket, i, 0, 0, 0);
}

static bool slot_old(const struct fdb *fdb, const struct fdb_bucket *bucket, unsigned i,
		     uint32_t tick)
{
	return bucket->keys[i] && !(bucket->ports[i] & FDB_STATIC) &&
	       !fdb_fresh(fdb, READ_ONCE(bucket->seen[i]), tick);
}

static int slot_find(const struct fdb_bucket *bucket, uint64_t key)
{
	for (unsigned i = 0; i < FDB_SLOTS; i++)
		if (bucket->keys[i] == key)
			return (int)i;
	return -1;
}

static void sweep(struct fdb *fdb, uint32_t tick)
{
	if (fdb->swept == tick)
		return;
	fdb->swept = tick;
	for (unsigned b = 0; b < fdb->n_buckets; b++)
		for (unsigned i = 0; i < FDB_SLOTS; i++)
			if (slot_old(fdb, &fdb->buckets[b], i, tick))
				slot_clear(fdb, &fdb->buckets[b], i);
}

static bool room_for(struct fdb *fdb, unsigned port, bool moved, uint32_t tick)
{
	for (unsigned try = 0; try < 2; try++) {
		if (fdb->learned[port] < fdb->port_max &&
		    (moved || fdb->n_learned < fdb->addresses_max))
			return true;
		sweep(fdb, tick);
	}
	return false;
}

/* Is the address another port's by configuration? */
static bool owned_elsewhere(const struct fdb *fdb, uint64_t key, unsigned port)
{
	uint64_t owner = (key & ~(0xfffull << 48)) | (uint64_t)FDB_VID_OWNER << 48;
	const struct fdb_bucket *bucket = fdb_bucket(fdb, owner);
	int i = slot_find(bucket, owner);

	return i >= 0 && bucket->ports[i] != (port | FDB_STATIC);
}

static enum fdb_result learn(struct fdb *fdb, uint64_t key, unsigned port, uint32_t tick)
{
	struct fdb_bucket *bucket = fdb_bucket(fdb, key);
	int at = slot_find(bucket, key);
	bool moved = at >= 0;

	if (!fdb->open[port] || owned_elsewhere(fdb, key, port))
		return FDB_REFUSED;
	if (moved && (bucket->ports[at] & ~FDB_STATIC) == port)
		return FDB_SAME; /* another core was first */
	if (moved && bucket->ports[at] & FDB_STATIC)
		return FDB_REFUSED;
	if (!room_for(fdb, port, moved, tick))
		return FDB_REFUSED;
	/* the search for old rows may have taken it */
	at = slot_find(bucket, key);
	moved = at >= 0;
	if (!moved)
		at = slot_find(bucket, 0);
	for (unsigned i = 0; at < 0 && i < FDB_SLOTS; i++)
		if (slot_old(fdb, bucket, i, tick))
			at = (int)i;
	if (at < 0)
		return FDB_REFUSED;
	if (bucket->keys[at])
		slot_count(fdb, bucket->ports[at], -1);
	slot_set(bucket, (unsigned)at, key, port, tick);
	slot_count(fdb, port, 1);
	return moved ? FDB_MOVED : FDB_NEW;
}

enum fdb_result fdb_learn(struct fdb *fdb, uint64_t key, unsigned port, uint32_t tick)
{
	enum fdb_result result;

	if (pthread_mutex_trylock(&fdb->lock))
		return FDB_BUSY;
	result = learn(fdb, key, port, tick);
	pthread_mutex_unlock(&fdb->lock);
	return result;
}

/* ---- the control thread ---------------------------------------------------------------------- */

void fdb_open(struct fdb *fdb, unsigned port)
{
	pthread_mutex_lock(&fdb->lock);
	fdb->open[port] = true;
	pthread_mutex_unlock(&fdb->lock);
}

/* With @statics also rows that the configuration made. */
static void forget(struct fdb *fdb, int port, bool statics)
{
	for (unsigned b = 0; b < fdb->n_buckets; b++) {
		struct fdb_bucket *bucket = &fdb->buckets[b];

		for (unsigned i = 0; i < FDB_SLOTS; i++) {
			bool fixed = bucket->ports[i] & FDB_STATIC;
			int at = bucket->ports[i] & ~FDB_STATIC;

			if (bucket->keys[i] && (port == FDB_NONE || at == port) &&
			    (statics || !fixed))
				slot_clear(fdb, bucket, i);
		}
	}
}

void fdb_close(struct fdb *fdb, unsigned port)
{
	pthread_mutex_lock(&fdb->lock);
	fdb->open[port] = false;
	forget(fdb, (int)port, true);
	pthread_mutex_unlock(&fdb->lock);
}

void fdb_flush(struct fdb *fdb, int port)
{
	pthread_mutex_lock(&fdb->lock);
	forget(fdb, port, false);
	pthread_mutex_unlock(&fdb->lock);
}

void fdb_static_add(struct fdb *fdb, uint64_t key, unsigned port)
{
	struct fdb_bucket *bucket = fdb_bucket(fdb, key);
	int at;

	pthread_mutex_lock(&fdb->lock);
	at = slot_find(bucket, key);
	if (at < 0)
		at = slot_find(bucket, 0);
	for (unsigned i = 0; at < 0 && i < FDB_SLOTS; i++)
		if (!(bucket->ports[i] & FDB_STATIC))
			at = (int)i;
	if (at >= 0 && !(bucket->ports[at] & FDB_STATIC)) {
		if (bucket->keys[at])
			slot_count(fdb, bucket->ports[at], -1);
		slot_set(bucket, (unsigned)at, key, port | FDB_STATIC, 0);
	}
	pthread_mutex_unlock(&fdb->lock);
}

void fdb_static_del(struct fdb *fdb, uint64_t key, unsigned port)
{
	struct fdb_bucket *bucket = fdb_bucket(fdb, key);
	int at;

	pthread_mutex_lock(&fdb->lock);
	at = slot_find(bucket, key);
	if (at >= 0 && bucket->ports[at] == (port | FDB_STATIC))
		slot_clear(fdb, bucket, (unsigned)at);
	pthread_mutex_unlock(&fdb->lock);
}

/* Copies fixed rows or learned ones to @table, which nobody sees yet. */
static void rows_copy(struct fdb *fdb, uintptr_t table, bool fixed, uint32_t tick)
{
	for (unsigned b = 0; b < fdb->n_buckets; b++) {
		const struct fdb_bucket *from = &fdb->buckets[b];

		for (unsigned i = 0; i < FDB_SLOTS; i++) {
			bool is_fixed = from->ports[i] & FDB_STATIC;
			struct fdb_bucket *to;
			int at;

			if (!from->keys[i] || is_fixed != fixed || slot_old(fdb, from, i, tick) ||
			    (!fixed && fdb->n_learned == fdb->addresses_max))
				continue;
			to = fdb_bucket_in(fdb, table, from->keys[i]);
			at = slot_find(to, 0);
			if (at < 0)
				continue;
			slot_set(to, (unsigned)at, from->keys[i], from->ports[i],
				 READ_ONCE(from->seen[i]));
			slot_count(fdb, from->ports[i], 1);
		}
	}
}

int fdb_resize(struct fdb *fdb, unsigned addresses_max, uint32_t tick)
{
	uintptr_t table = table_new(addresses_max);
	struct fdb_bucket *old;

	if (!table)
		return -ENOMEM;
	pthread_mutex_lock(&fdb->lock);
	old = fdb->buckets;
	fdb->addresses_max = addresses_max;
	fdb->n_learned = 0;
	memset(fdb->learned, 0, sizeof(fdb->learned));
	rows_copy(fdb, table, true, tick);
	rows_copy(fdb, table, false, tick);
	table_publish(fdb, table);
	pthread_mutex_unlock(&fdb->lock);
	rcu_wait();
	free(old);
	return 0;
}

void fdb_dump(struct fdb *fdb, uint32_t tick,
	      void (*row)(void *arg, uint64_t key, unsigned port, uint32_t age_ticks), void *arg)
{
	for (unsigned b = 0; b < fdb->n_buckets; b++) {
		struct fdb_bucket copy;

		pthread_mutex_lock(&fdb->lock);
		for (unsigned i = 0; i < FDB_SLOTS; i++) {
			copy.keys[i] = fdb->buckets[b].keys[i];
			copy.ports[i] = fdb->buckets[b].ports[i];
			copy.seen[i] = READ_ONCE(fdb->buckets[b].seen[i]);
		}
		pthread_mutex_unlock(&fdb->lock);
		for (unsigned i = 0; i < FDB_SLOTS; i++) {
			bool fixed = copy.ports[i] & FDB_STATIC;

			if (!copy.keys[i] || (copy.keys[i] >> 48 & 0xfff) == FDB_VID_OWNER ||
			    (!fixed && !fdb_fresh(fdb, copy.seen[i], tick)))
				continue;
			row(arg, copy.keys[i], copy.ports[i] & ~FDB_STATIC,
			    fixed || (int32_t)(tick - copy.seen[i]) < 0 ? 0 : tick - copy.seen[i]);
		}
	}
}
