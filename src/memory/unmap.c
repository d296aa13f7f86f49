/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taking files out of the address space. When a VMM is gone the last reference to its guest's
 * memory is ours, and who drops it frees each page of it: about 0.4 s for a GB of small pages. So a
 * thread made for it does it; it ends when there is nothing left. The unmapper belongs to its space
 * and to that thread: the last of them frees it.
 *
 * Nobody can see the file's mapping any more when it comes here, and its address is used again only
 * once it is gone. It goes in pieces, so that whoever maps something meanwhile does not wait for
 * all of it.
 */
#include "base/thread.h"
#include "memory/map.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PIECE ((size_t)64 << 20)
/* Done at once: no more work than handing it over. */
#define SMALL ((size_t)64 << 10)

struct memory_unmapper {
	pthread_mutex_t lock;
	pthread_cond_t done;
	struct list files;
	unsigned n;	/* of those, and the one at hand */
	uint64_t bytes; /* the same */
	bool busy;	/* there is a thread */
	unsigned refs;	/* the space's and the thread's */
};

struct memory_unmapper *memory_unmapper_new(void)
{
	struct memory_unmapper *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->done, NULL);
	list_init(&u->files);
	u->refs = 1;
	return u;
}

static void put(struct memory_unmapper *u)
{
	if (__atomic_sub_fetch(&u->refs, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_cond_destroy(&u->done);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

void memory_unmapper_free(struct memory_unmapper *u)
{
	if (u)
		put(u);
}

static void unmap(struct memory_file *file)
{
	size_t piece = MAX(PIECE, file->page);

	for (size_t at = 0; at < file->size; at += piece) {
		if (!munmap(file->base + at, MIN(piece, file->size - at)))
			continue;
		/* no memory to divide it with */
		munmap(file->base + at, file->size - at);
		break;
	}
	memory_mapped(-(int64_t)file->size);
	free(file);
}

static void *run(void *arg)
{
	struct memory_unmapper *u = arg;

	pthread_mutex_lock(&u->lock);
	while (!list_empty(&u->files)) {
		struct memory_file *file = list_first(&u->files, struct memory_file, node);
		uint64_t size = file->size;

		list_del(&file->node);
		pthread_mutex_unlock(&u->lock);
		unmap(file);
		pthread_mutex_lock(&u->lock);
		WRITE_ONCE(u->n, u->n - 1);
		WRITE_ONCE(u->bytes, u->bytes - size);
	}
	u->busy = false;
	pthread_cond_broadcast(&u->done);
	pthread_mutex_unlock(&u->lock);
	put(u);
	return NULL;
}

void memory_unmapper_add(struct memory_unmapper *u, struct memory_file *file)
{
	bool handed_over;

	if (file->size <= SMALL) {
		unmap(file);
		return;
	}
	pthread_mutex_lock(&u->lock);
	if (!u->busy) {
		__atomic_add_fetch(&u->refs, 1, __ATOMIC_RELAXED);
		u->busy = !thread_start(run, u);
		if (!u->busy)
			__atomic_sub_fetch(&u->refs, 1, __ATOMIC_RELAXED);
	}
	handed_over = u->busy;
	if (handed_over) {
		list_add(&u->files, &file->node);
		WRITE_ONCE(u->n, u->n + 1);
		WRITE_ONCE(u->bytes, u->bytes + file->size);
	}
	pthread_mutex_unlock(&u->lock);
	/* when the machine is out of threads: as well as it can be done without */
	if (!handed_over)
		unmap(file);
}

bool memory_unmapper_behind(const struct memory_unmapper *u)
{
	return READ_ONCE(u->n) > MEMORY_UNMAPS_MAX || READ_ONCE(u->bytes) > MEMORY_UNMAP_BYTES_MAX;
}

void memory_unmapper_wait(struct memory_unmapper *u)
{
	pthread_mutex_lock(&u->lock);
	while (u->busy)
		pthread_cond_wait(&u->done, &u->lock);
	pthread_mutex_unlock(&u->lock);
}
