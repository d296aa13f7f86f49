/* SPDX-License-Identifier: BSD-2-Clause */
/* The published table behind a memory space; private to memory/. */
#ifndef EXITLESS_MEMORY_MAP_H
#define EXITLESS_MEMORY_MAP_H

#include "base/list.h"
#include "memory/space.h"

#include <pthread.h>

/* One file, mapped whole, shared by the regions of a space that lie in it. Control thread, but for
 * @faulted. */
struct memory_file {
	struct list node;
	struct memory_space *space;
	uint64_t dev, ino;
	bool writable;
	uint8_t *base;
	size_t size;
	size_t page; /* what it is made of: a power of two, more than 4096 for huge pages */
	unsigned refs;
	unsigned slot; /* faults.c */
	int faulted;   /* set by the SIGBUS handler */
};

struct memory_region {
	uint64_t addr, size; /* addr + size - 1 does not wrap */
	uint8_t *host;	     /* NULL: remote */
	unsigned access;
	struct memory_file *file;
	uint64_t offset; /* in the file */
};

/* Immutable. */
struct memory_hosts {
	unsigned n;
	uint16_t regions[]; /* indices into the map's */
};

/* Immutable once published, but for regions added behind the last one and @hosts. Sorted by
 * address, no two overlap. */
struct memory_map {
	struct memory_map *retired_next;
	uint64_t generation; /* of its space; 0: the empty table in an emergency */
	unsigned n;	     /* LOAD_ACQUIRE() by readers: regions are appended in place */
	unsigned room;
	/* For a log, and then nothing is appended: regions by host address, without those that lie
	 * wholly in another. The last that begins before a piece holds it, if any does. NULL: none.
	 */
	struct memory_hosts *hosts;
	struct memory_region regions[];
};

/* Immutable once published, but for regions added behind the last one. */
struct memory_log {
	struct memory_file *file;
	uint8_t *base;
	uint64_t pages;
};

/* remote.c: what its queues want of the client, in order. */
struct memory_channel {
	pthread_mutex_t lock;
	struct list queued, taken; /* by the transport; struct memory_transfer */
	void (*kick)(void *arg);   /* NULL: no transport */
	void *kick_arg;
};

struct memory_channel *memory_space_channel(struct memory_space *space);
void memory_channel_init(struct memory_channel *channel);
void memory_channel_done(struct memory_channel *channel);
/* Transfers that touch [@addr, @last] fail. */
void memory_channel_cancel(struct memory_channel *channel, uint64_t addr, uint64_t last);

/* faults.c: has SIGBUS inside @file's mapping contained, until memory_faults_forget(). 0 or
 * -ENOSPC. */
int memory_faults_watch(struct memory_file *file);
void memory_faults_forget(struct memory_file *file);

/* unmap.c: unmaps files. Control thread. */
struct memory_unmapper;
/* Returns NULL when there is no memory. */
struct memory_unmapper *memory_unmapper_new(void);
/* What it was given will be unmapped. NULL is allowed. */
void memory_unmapper_free(struct memory_unmapper *u);
/* Takes @file over, which nobody uses any more and no list has, and frees it. */
void memory_unmapper_add(struct memory_unmapper *u, struct memory_file *file);
/* See memory_space_behind() and memory_space_settle(). */
bool memory_unmapper_behind(const struct memory_unmapper *u);
void memory_unmapper_wait(struct memory_unmapper *u);

/* space.c: @bytes of a file are mapped, or (negative) not any more. Any thread. */
void memory_mapped(int64_t bytes);
/* space.c: called by the SIGBUS handler. */
void memory_space_fault(struct memory_space *space);

#endif
