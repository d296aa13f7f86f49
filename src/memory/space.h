/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A memory space: what one client's device may reach by DMA, as the client mapped it (vfio-user
 * DMA_MAP, vhost-user memory tables). A sorted table of regions, published by RCU: the control
 * thread builds a new table for each change, I/O cores read the current one without a lock.
 *
 * A mapping is destroyed only after every I/O core has passed a quiescent point, so a pointer got
 * from a reader stays valid until the reading thread's next rcu_reader_quiescent().
 *
 * Files are mapped whole and once per space (same device and inode), so many small regions
 * (a vIOMMU's) cost a table row each and not a mapping each. One that has no region left is
 * unmapped by a thread, since its memory may be freed with it.
 *
 * A client may truncate its file under us. The SIGBUS that an access then takes is contained: the
 * handler puts zero pages under the access and around it, marks its space as failed, and the access
 * goes on (memory_space_failed()). Nobody else is disturbed.
 *
 * A file must be a memory file: a memfd, or one of tmpfs or hugetlbfs. Any other may keep us
 * waiting whenever it is looked at or touched (a file system in user space, a disk that is stuck),
 * on an I/O core that serves others too.
 *
 * Regions without a file ("remote") can only be reached through messages to the client. For a
 * reader they are not there; memory/remote.h has what a queue does then.
 */
#ifndef EXITLESS_MEMORY_SPACE_H
#define EXITLESS_MEMORY_SPACE_H

#include "base/util.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct memory_space;
struct memory_file;
struct memory_map;
struct memory_log;

enum memory_access { MEMORY_READ = 1, MEMORY_WRITE = 2 };

#define MEMORY_REGIONS_MAX 16384
/* Of one space, so that no client uses up what is there for all (address space, mappings): files
 * mapped at a time, enough for a vhost-user table with a file in each slot, a log and an in-flight
 * region; and their bytes together, each file as long as it is, whatever part of it is guest
 * memory. */
#define MEMORY_FILES_MAX      512
#define MEMORY_FILE_BYTES_MAX (4ull << 40)
/* Of all spaces together, with what is being unmapped: half of what a process has. Above it a space
 * gets no more than is enough for most machines, so that a few clients cannot keep the next from
 * having any. */
#define MEMORY_ALL_BYTES_MAX	 (64ull << 40)
#define MEMORY_CROWDED_BYTES_MAX (256ull << 30)
/* And more of them that are being unmapped, than which a client may not add to:
 * memory_space_behind(). Those of a guest that ends may take a while, and the next one need not
 * wait for that. */
#define MEMORY_UNMAPS_MAX      64
#define MEMORY_UNMAP_BYTES_MAX (1ull << 40)

/* What -ENOSPC means here, for a log. */
extern const char memory_no_space[];

/*
 * Installs the process's SIGBUS handler; once, before the first space. A SIGBUS outside of guest
 * memory gets the default action. Returns 0 or -errno.
 */
int memory_faults_init(void);

/* Returns NULL with errno set. @name is copied; used in dumps. */
struct memory_space *memory_space_new(const char *name);
/* The caller has made sure that no reader uses it any more. Does not wait for what is left to be
 * unmapped. NULL is allowed. */
void memory_space_free(struct memory_space *space);

/* Is it a memory file? Waits for nothing. */
bool memory_is_file(int fd);

/*
 * Control thread: adds [@addr, @addr + @size). @access: MEMORY_READ, or both. @fd: the file behind
 * it, from @offset bytes on; borrowed, the caller closes it; -1 for a remote region.
 * Returns 0, or -EINVAL (size 0, wraps, not a memory file, offset not a multiple of 4096), -EEXIST
 * (overlaps another region that is not identical to it), -ENOSPC (too many regions or files,
 * or files too long), -ERANGE (beyond the file's end), -EACCES (file not open for that access),
 * -ENOMEM. An identical region again is success and changes nothing.
 */
int memory_space_map(struct memory_space *space, uint64_t addr, uint64_t size, unsigned access,
		     int fd, uint64_t offset);

/*
 * Control thread: removes every region that lies wholly inside [@addr, @addr + @size); @size 0 with
 * @addr 0 means all. Returns once no reader can see them any more; their files may be mapped for a
 * while yet. Returns how many were removed.
 */
unsigned memory_space_unmap(struct memory_space *space, uint64_t addr, uint64_t size);
/* Control thread: is there a region of which only a part lies inside such a range? */
bool memory_space_cuts(const struct memory_space *space, uint64_t addr, uint64_t size);

/*
 * Control thread: is the file behind @fd mapped? Then close() of @fd frees none of its memory.
 * Waits for nothing, whatever @fd is.
 */
bool memory_space_holds(const struct memory_space *space, int fd);

/* Control thread: is there more to be unmapped than there should be? Then nothing is to be taken
 * from the client that could add to it. */
bool memory_space_behind(const struct memory_space *space);
/* Control thread: waits until nothing is left to be unmapped. For tests. */
void memory_space_settle(struct memory_space *space);

/* Any thread: true once an access ran into a truncated file (until memory_space_unmap() of all). */
bool memory_space_failed(const struct memory_space *space);

struct memory_stats {
	uint64_t regions, bytes;       /* now */
	uint64_t files;		       /* mapped now */
	uint64_t maps, unmaps, faults; /* ever */
};
void memory_space_stats(const struct memory_space *space, struct memory_stats *stats);

/*
 * Control thread: the dirty log of a live migration, @size bytes from @offset of the file @fd
 * (borrowed): bit n % 8 of byte n / 8 stands for the 4096 bytes of guest memory at n * 4096.
 * @fd -1: none any more. Returns once no reader can see the one before. 0, -EINVAL (not a memory
 * file), -ERANGE (beyond its end), -EACCES, -ENOSPC (as memory_space_map()), -ENOMEM.
 */
int memory_space_log(struct memory_space *space, int fd, uint64_t offset, uint64_t size);

/*
 * Control thread: @size bytes of the file @fd (borrowed) from @offset on, for the device and the
 * client, not for readers; the file is mapped whole. What an access to them runs into is contained
 * as with guest memory. *@at is valid until memory_space_unshare() of *@file, which comes before
 * memory_space_free(). 0, -EINVAL (not a memory file, size 0), -ERANGE (beyond its end),
 * -EACCES, -ENOSPC (as memory_space_map()), -ENOMEM.
 */
int memory_space_share(struct memory_space *space, int fd, uint64_t offset, uint64_t size,
		       struct memory_file **file, uint8_t **at);
void memory_space_unshare(struct memory_file *file);

/*
 * A reader: one per queue, used by whichever thread holds that queue. Caches the region that
 * served last. Private, but for @generation: it is another one for each table, and never 0 after
 * memory_reader_begin(), so what was found under a generation need not be looked up again. What was
 * not found may come under the same one: a region behind the others.
 */
struct memory_reader {
	struct memory_space *space;
	const struct memory_map *map;
	const struct memory_log *log;
	uint64_t generation;
	/* the region that served last; size 0: none */
	uint64_t addr, size;
	uint8_t *host;
	unsigned access;
};

void memory_reader_init(struct memory_reader *reader, struct memory_space *space);

/* Before each use after a quiescent point (once per batch): takes the current table. */
void memory_reader_begin(struct memory_reader *reader);

void *memory_at_slow(struct memory_reader *reader, uint64_t addr, uint64_t len, unsigned access);

/* The address of [@addr, @addr + @len), or NULL unless all of it lies in one region that allows
 * @access and has a file. @len 0 gives NULL. Constant time when the last region serves again. */
static inline void *memory_at(struct memory_reader *reader, uint64_t addr, uint64_t len,
			      unsigned access)
{
	uint64_t skip = addr - reader->addr;

	if (likely(skip < reader->size && len - 1 < reader->size - skip &&
		   (reader->access & access) == access))
		return reader->host + skip;
	return memory_at_slow(reader, addr, len, access);
}

/* Marks guest pages as written, if there is a log; what lies outside of it is ignored. */
void memory_dirty(struct memory_reader *reader, uint64_t addr, uint64_t len);
/* The same for a piece that the reader gave, by its pointer, which lies in one region. Where guest
 * memory is at several addresses it is marked at one of them: whoever reads the log knows what else
 * shows that memory, and would have to for what the guest's own CPUs write. */
void memory_dirty_host(struct memory_reader *reader, const void *host, uint64_t len);

/*
 * The pieces of [@addr, @addr + @len), over region borders. Returns how many of @iov were filled
 * (0 for @len 0), -EFAULT when part of it is not mapped, not allowed or remote, -E2BIG when @max
 * pieces do not do.
 */
int memory_iov(struct memory_reader *reader, uint64_t addr, uint64_t len, unsigned access,
	       struct iovec *iov, unsigned max);

/* Copies over region borders, each byte read or written once. Returns 0 or -EFAULT (then nothing
 * was copied). */
int memory_read(struct memory_reader *reader, uint64_t addr, void *buf, size_t len);
int memory_write(struct memory_reader *reader, uint64_t addr, const void *buf, size_t len);

#endif
