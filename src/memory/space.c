/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control thread's side of a memory space: files, and one new sorted table per change. Adding
 * regions only retires the old table; retired tables are freed together at the next grace period,
 * so that a client that maps many regions in a row does not wait for each.
 */
#include "memory/space.h"

#include "base/rcu.h"
#include "memory/map.h"
#include "memory/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define PAGE	    4096u
#define RETIRED_MAX 64

struct memory_space {
	char *name;
	struct memory_map *map; /* published */
	struct memory_log *log; /* published; NULL: none */
	uint64_t generation;	/* of the newest table */
	struct memory_map *retired;
	unsigned n_retired;
	struct list files;
	uint64_t file_bytes; /* of those */
	struct memory_unmapper *unmapper;
	int failed;
	struct memory_stats stats;
	struct memory_channel channel;
};

struct memory_channel *memory_space_channel(struct memory_space *space)
{
	return &space->channel;
}

struct memory_space *memory_space_new(const char *name)
{
	struct memory_space *space = calloc(1, sizeof(*space));

	if (!space)
		return NULL;
	list_init(&space->files);
	memory_channel_init(&space->channel);
	space->name = strdup(name);
	space->map = calloc(1, sizeof(*space->map));
	space->unmapper = memory_unmapper_new();
	if (space->name && space->map && space->unmapper) {
		space->map->generation = ++space->generation;
		return space;
	}
	memory_channel_done(&space->channel);
	memory_unmapper_free(space->unmapper);
	free(space->name);
	free(space->map);
	free(space);
	errno = ENOMEM;
	return NULL;
}

static void file_put(struct memory_file *file)
{
	if (--file->refs)
		return;
	memory_faults_forget(file);
	list_del(&file->node);
	file->space->stats.files--;
	file->space->file_bytes -= file->size;
	memory_unmapper_add(file->space->unmapper, file);
}

const char memory_no_space[] =
	"too many memory regions or files, or files of more than 4 TiB (256 GiB while all devices "
	"together have 64 TiB)";

/* The address space belongs to the process. */
static uint64_t all_bytes;

void memory_mapped(int64_t bytes)
{
	__atomic_add_fetch(&all_bytes, (uint64_t)bytes, __ATOMIC_RELAXED);
}

static bool may_map(const struct memory_space *space, uint64_t size)
{
	if (space->stats.files >= MEMORY_FILES_MAX ||
	    size > MEMORY_FILE_BYTES_MAX - space->file_bytes)
		return false;
	return READ_ONCE(all_bytes) + size <= MEMORY_ALL_BYTES_MAX ||
	       space->file_bytes + size <= MEMORY_CROWDED_BYTES_MAX;
}

static size_t page_size(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC ? (size_t)fs.f_bsize : PAGE;
}

/* The mapping of all of @fd's file as it is now; an older, shorter one stays for its regions. */
static int file_get(struct memory_space *space, int fd, const struct stat *st, bool writable,
		    struct memory_file **out)
{
	size_t page = page_size(fd);
	/* whole pages, as the kernel maps it: a file on hugetlbfs may end within one */
	uint64_t size = ALIGN_UP((uint64_t)st->st_size, page);
	struct memory_file *file;
	int err;

	list_for_each(file, &space->files, node)
	{
		if (file->dev == st->st_dev && file->ino == st->st_ino &&
		    file->size >= (uint64_t)st->st_size && file->writable >= writable &&
		    !READ_ONCE(file->faulted)) {
			file->refs++;
			*out = file;
			return 0;
		}
	}
	if (!may_map(space, size))
		return -ENOSPC;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->space = space;
	file->dev = st->st_dev;
	file->ino = st->st_ino;
	file->size = size;
	file->page = page;
	file->writable = writable;
	file->refs = 1;
	file->base = mmap(NULL, file->size, PROT_READ | (writable ? PROT_WRITE : 0),
			  MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (file->base == MAP_FAILED) {
		err = errno == EACCES || errno == EPERM ? -EACCES : -ENOMEM;
		goto free_file;
	}
	madvise(file->base, file->size, MADV_DONTDUMP);
	err = memory_faults_watch(file);
	if (err)
		goto unmap;
	list_add(&space->files, &file->node);
	space->stats.files++;
	space->file_bytes += file->size;
	memory_mapped((int64_t)file->size);
	*out = file;
	return 0;
unmap:
	munmap(file->base, file->size);
free_file:
	free(file);
	return err;
}

static void free_retired(struct memory_space *space)
{
	struct memory_map *map, *next;

	for (map = space->retired; map; map = next) {
		next = map->retired_next;
		free(map->hosts);
		free(map);
	}
	space->retired = NULL;
	space->n_retired = 0;
}

void memory_space_free(struct memory_space *space)
{
	if (!space)
		return;
	for (unsigned i = 0; i < space->map->n; i++)
		if (space->map->regions[i].file)
			file_put(space->map->regions[i].file);
	if (space->log)
		file_put(space->log->file);
	free(space->log);
	free_retired(space);
	memory_channel_done(&space->channel);
	memory_unmapper_free(space->unmapper);
	free(space->map->hosts);
	free(space->map);
	free(space->name);
	free(space);
}

_Static_assert(MEMORY_REGIONS_MAX <= UINT16_MAX, "struct memory_hosts has their numbers");

static int by_host(const void *a, const void *b, void *arg)
{
	const struct memory_map *map = arg;
	const struct memory_region *x = &map->regions[*(const uint16_t *)a];
	const struct memory_region *y = &map->regions[*(const uint16_t *)b];

	if (x->host != y->host)
		return x->host < y->host ? -1 : 1;
	return x->size > y->size ? -1 : x->size < y->size; /* the longer one is kept */
}

/* Finds @map's regions by host address from here on. Without memory for that they are walked. */
static void index_hosts(struct memory_map *map)
{
	struct memory_hosts *hosts;
	const uint8_t *end = NULL;
	unsigned n = 0, kept = 0;

	if (map->hosts)
		return;
	hosts = malloc(sizeof(*hosts) + map->n * sizeof(hosts->regions[0]));
	if (!hosts)
		return;
	for (unsigned i = 0; i < map->n; i++)
		if (map->regions[i].host)
			hosts->regions[n++] = (uint16_t)i;
	qsort_r(hosts->regions, n, sizeof(hosts->regions[0]), by_host, map);
	for (unsigned i = 0; i < n; i++) {
		const struct memory_region *region = &map->regions[hosts->regions[i]];

		if (region->host + region->size <= end)
			continue;
		end = region->host + region->size;
		hosts->regions[kept++] = hosts->regions[i];
	}
	hosts->n = kept;
	STORE_RELEASE(map->hosts, hosts);
}

/* Publishes @map; the old table is freed once no reader can have it. */
static void publish(struct memory_space *space, struct memory_map *map, bool wait)
{
	struct memory_map *old = space->map;

	map->generation = ++space->generation;
	map->hosts = NULL;
	if (space->log)
		index_hosts(map);
	rcu_publish(space->map, map);
	old->retired_next = space->retired;
	space->retired = old;
	if (wait || ++space->n_retired >= RETIRED_MAX) {
		rcu_wait();
		free_retired(space);
	}
}

/* The first region that ends behind @addr; n if there is none. */
static unsigned find(const struct memory_map *map, unsigned n, uint64_t addr)
{
	unsigned low = 0, high = n;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (map->regions[mid].addr + (map->regions[mid].size - 1) < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool same_region(const struct memory_region *region, uint64_t addr, uint64_t size,
			unsigned access, const struct stat *st, uint64_t offset)
{
	if (region->addr != addr || region->size != size || region->access != access)
		return false;
	if (!st)
		return !region->file;
	return region->file && region->file->dev == st->st_dev && region->file->ino == st->st_ino &&
	       region->offset == offset;
}

/* Only these files have seals (memfd_create(2)), and they are asked without a wait. */
bool memory_is_file(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

static int check_file(int fd, unsigned access, uint64_t size, uint64_t offset, struct stat *st,
		      bool *writable)
{
	int flags = fcntl(fd, F_GETFL);

	if (!memory_is_file(fd) || fstat(fd, st) < 0 || !S_ISREG(st->st_mode) || offset % PAGE)
		return -EINVAL;
	if (offset > (uint64_t)st->st_size || size > (uint64_t)st->st_size - offset)
		return -ERANGE;
	*writable = (flags & O_ACCMODE) == O_RDWR;
	if ((access & MEMORY_WRITE && !*writable) || (flags & O_ACCMODE) == O_WRONLY)
		return -EACCES;
	return 0;
}

int memory_space_map(struct memory_space *space, uint64_t addr, uint64_t size, unsigned access,
		     int fd, uint64_t offset)
{
	struct memory_map *old = space->map, *map;
	struct memory_file *file = NULL;
	struct memory_region region;
	unsigned room;
	struct stat st;
	bool writable = false;
	unsigned at;
	int err;

	if (!size || addr + (size - 1) < addr || !(access & MEMORY_READ))
		return -EINVAL;
	if (fd >= 0) {
		err = check_file(fd, access, size, offset, &st, &writable);
		if (err)
			return err;
	}
	at = find(old, old->n, addr);
	if (at < old->n && old->regions[at].addr <= addr + (size - 1))
		return same_region(&old->regions[at], addr, size, access, fd >= 0 ? &st : NULL,
				   offset)
			       ? 0
			       : -EEXIST;
	if (old->n >= MEMORY_REGIONS_MAX)
		return -ENOSPC;
	if (fd >= 0) {
		err = file_get(space, fd, &st, writable, &file);
		if (err)
			return err;
	}
	region = (struct memory_region){
		.addr = addr,
		.size = size,
		.access = access,
		.file = file,
		.host = file ? file->base + offset : NULL,
		.offset = offset,
	};
	/* Behind the last one there may be room: readers see it by @n, and miss nothing until then.
	 */
	if (at == old->n && old->n < old->room && !old->hosts) {
		old->regions[at] = region;
		STORE_RELEASE(old->n, old->n + 1);
		goto mapped;
	}
	room = old->n + 1 + old->n / 2;
	map = malloc(sizeof(*map) + room * sizeof(map->regions[0]));
	if (!map) {
		if (file)
			file_put(file);
		return -ENOMEM;
	}
	map->n = old->n + 1;
	map->room = room;
	memcpy(map->regions, old->regions, at * sizeof(map->regions[0]));
	memcpy(map->regions + at + 1, old->regions + at, (old->n - at) * sizeof(map->regions[0]));
	map->regions[at] = region;
	publish(space, map, false);
mapped:
	space->stats.maps++;
	space->stats.bytes += size;
	return 0;
}

unsigned memory_space_unmap(struct memory_space *space, uint64_t addr, uint64_t size)
{
	struct memory_map *old = space->map, *map;
	uint64_t last = size ? addr + (size - 1) : UINT64_MAX;
	unsigned removed = 0, kept = 0, n_files = 0;
	struct memory_file **files;

	if (last < addr)
		last = UINT64_MAX;
	for (unsigned i = 0; i < old->n; i++)
		removed += old->regions[i].addr >= addr &&
			   old->regions[i].addr + (old->regions[i].size - 1) <= last;
	if (!removed)
		return 0;
	map = malloc(sizeof(*map) + (old->n - removed) * sizeof(map->regions[0]));
	files = malloc(removed * sizeof(*files));
	if (!map || !files) {
		/* Unmapping must not fail. Without a new table the old one is narrowed in place,
		 * once no reader can be inside it: none may start meanwhile on an empty one. */
		static struct memory_map empty;

		free(map);
		free(files);
		rcu_publish(space->map, &empty);
		rcu_wait();
		for (unsigned i = 0; i < old->n; i++) {
			struct memory_region *r = &old->regions[i];

			if (r->addr >= addr && r->addr + (r->size - 1) <= last) {
				space->stats.bytes -= r->size;
				if (r->file)
					file_put(r->file);
			} else {
				old->regions[kept++] = *r;
			}
		}
		STORE_RELEASE(old->n, kept);
		free(old->hosts);
		old->hosts = NULL;
		old->generation = ++space->generation;
		rcu_publish(space->map, old);
		goto out;
	}
	for (unsigned i = 0; i < old->n; i++) {
		const struct memory_region *r = &old->regions[i];

		if (r->addr >= addr && r->addr + (r->size - 1) <= last) {
			space->stats.bytes -= r->size;
			if (r->file)
				files[n_files++] = r->file;
		} else {
			map->regions[kept++] = *r;
		}
	}
	map->n = map->room = kept;
	publish(space, map, true);
	while (n_files)
		file_put(files[--n_files]);
	free(files);
out:
	memory_channel_cancel(&space->channel, addr, last);
	space->stats.unmaps += removed;
	if (!space->map->n)
		WRITE_ONCE(space->failed, 0);
	return removed;
}

bool memory_space_cuts(const struct memory_space *space, uint64_t addr, uint64_t size)
{
	const struct memory_map *map = space->map;
	uint64_t last = addr + (size - 1);
	unsigned at;

	if (!size)
		return false;
	if (last < addr)
		last = UINT64_MAX;
	at = find(map, map->n, addr);
	if (at < map->n && map->regions[at].addr < addr)
		return true;
	at = find(map, map->n, last);
	return at < map->n && map->regions[at].addr <= last &&
	       map->regions[at].addr + (map->regions[at].size - 1) > last;
}

bool memory_space_holds(const struct memory_space *space, int fd)
{
	const struct memory_file *file;
	struct stat st;

	if (!memory_is_file(fd) || fstat(fd, &st) < 0)
		return false;
	list_for_each(file, &space->files, node)
	{
		if (file->dev == st.st_dev && file->ino == st.st_ino && !READ_ONCE(file->faulted))
			return true;
	}
	return false;
}

bool memory_space_behind(const struct memory_space *space)
{
	return memory_unmapper_behind(space->unmapper);
}

void memory_space_settle(struct memory_space *space)
{
	memory_unmapper_wait(space->unmapper);
}

bool memory_space_failed(const struct memory_space *space)
{
	return READ_ONCE(space->failed);
}

UNINSTRUMENTED void memory_space_fault(struct memory_space *space)
{
	WRITE_ONCE(space->failed, 1);
	__atomic_add_fetch(&space->stats.faults, 1, __ATOMIC_RELAXED);
}

void memory_space_stats(const struct memory_space *space, struct memory_stats *stats)
{
	*stats = space->stats;
	stats->regions = space->map->n;
	stats->faults = READ_ONCE(space->stats.faults);
}

int memory_space_share(struct memory_space *space, int fd, uint64_t offset, uint64_t size,
		       struct memory_file **file, uint8_t **at)
{
	int flags = fcntl(fd, F_GETFL), err;
	struct stat st;

	if (!memory_is_file(fd) || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !size)
		return -EINVAL;
	if ((flags & O_ACCMODE) != O_RDWR)
		return -EACCES;
	if (offset > (uint64_t)st.st_size || size > (uint64_t)st.st_size - offset)
		return -ERANGE;
	err = file_get(space, fd, &st, true, file);
	if (!err)
		*at = (*file)->base + offset;
	return err;
}

void memory_space_unshare(struct memory_file *file)
{
	file_put(file);
}

int memory_space_log(struct memory_space *space, int fd, uint64_t offset, uint64_t size)
{
	struct memory_log *log = NULL, *old = space->log;
	int err;

	if (fd >= 0) {
		log = calloc(1, sizeof(*log));
		if (!log)
			return -ENOMEM;
		err = memory_space_share(space, fd, offset, size, &log->file, &log->base);
		if (err) {
			free(log);
			return err;
		}
		log->pages = size * 8;	 /* size is at most a file's: no overflow */
		index_hosts(space->map); /* who has the log has this */
	}
	rcu_publish(space->log, log);
	if (old) {
		rcu_wait();
		file_put(old->file);
		free(old);
	}
	return 0;
}

/* ---- readers ----------------------------------------------------------------------------- */

void memory_reader_init(struct memory_reader *reader, struct memory_space *space)
{
	*reader = (struct memory_reader){ .space = space };
}

void memory_reader_begin(struct memory_reader *reader)
{
	const struct memory_map *map;

	reader->log = rcu_read(reader->space->log);
	map = rcu_read(reader->space->map);
	/* The cached region belongs to the table it was found in; a table's address may be used
	 * again for another table, its generation is not. */
	reader->map = map;
	if (unlikely(map->generation != reader->generation)) {
		reader->generation = map->generation;
		reader->size = 0;
	}
}

/* The region that holds @addr, or NULL. */
static const struct memory_region *region_at(struct memory_reader *reader, uint64_t addr)
{
	const struct memory_map *map = reader->map;
	unsigned n = LOAD_ACQUIRE(map->n), at = find(map, n, addr);
	const struct memory_region *region = &map->regions[at];

	if (at == n || region->addr > addr)
		return NULL;
	if (region->host) {
		reader->addr = region->addr;
		reader->size = region->size;
		reader->host = region->host;
		reader->access = region->access;
	}
	return region;
}

void *memory_at_slow(struct memory_reader *reader, uint64_t addr, uint64_t len, unsigned access)
{
	const struct memory_region *region = region_at(reader, addr);
	uint64_t skip;

	if (unlikely(!region || !len))
		return NULL;
	skip = addr - region->addr;
	if (unlikely(len > region->size - skip || (region->access & access) != access ||
		     !region->host))
		return NULL;
	return region->host + skip;
}

enum memory_place memory_where(struct memory_reader *reader, uint64_t addr, uint64_t len,
			       unsigned access)
{
	enum memory_place place = MEMORY_LOCAL;

	if (!len || addr + (len - 1) < addr)
		return MEMORY_NOWHERE;
	for (unsigned n = 0; len; n++) {
		const struct memory_region *region = region_at(reader, addr);
		uint64_t here;

		if (n == MEMORY_WHERE_PIECES || !region || (region->access & access) != access)
			return MEMORY_NOWHERE;
		if (!region->host)
			place = MEMORY_REMOTE;
		here = MIN(len, region->size - (addr - region->addr));
		addr += here;
		len -= here;
	}
	return place;
}

void memory_dirty(struct memory_reader *reader, uint64_t addr, uint64_t len)
{
	const struct memory_log *log = reader->log;
	uint64_t page, last;

	if (!log || !len)
		return;
	page = addr / PAGE;
	last = addr + (len - 1) < addr ? UINT64_MAX / PAGE : (addr + (len - 1)) / PAGE;
	last = MIN(last, log->pages - 1);
	while (page <= last) {
		uint8_t *byte = &log->base[page / 8];
		unsigned at = page % 8, n = (unsigned)MIN(8 - at, last - page + 1);

		/* Behind the writes it stands for. Not skipped when the bit is set already: without
		 * the locked operation that could be an old value, cleared before our writes. */
		if (n == 8 && last - page >= 63 && !((uintptr_t)byte % sizeof(uint64_t))) {
			__atomic_fetch_or((uint64_t *)(void *)byte, UINT64_MAX, __ATOMIC_SEQ_CST);
			n = 64;
		} else {
			__atomic_fetch_or(byte, (uint8_t)(0xffu >> (8 - n) << at),
					  __ATOMIC_SEQ_CST);
		}
		page += n;
	}
}

static bool holds(const uint8_t *host, uint64_t size, const uint8_t *at, uint64_t len)
{
	uint64_t skip = (uint64_t)((uintptr_t)at - (uintptr_t)host);

	return skip < size && len <= size - skip;
}

/* A region that holds [@at, @at + @len), or NULL. */
static const struct memory_region *region_of(const struct memory_map *map, const uint8_t *at,
					     uint64_t len)
{
	const struct memory_hosts *hosts = LOAD_ACQUIRE(map->hosts);
	const struct memory_region *region;
	unsigned low = 0, high, n;

	if (unlikely(!hosts)) {
		n = LOAD_ACQUIRE(map->n);
		for (unsigned i = 0; i < n; i++) {
			region = &map->regions[i];
			if (region->host && holds(region->host, region->size, at, len))
				return region;
		}
		return NULL;
	}
	/* the last that begins at or before it */
	for (high = hosts->n; low < high;) {
		unsigned mid = low + (high - low) / 2;

		if (map->regions[hosts->regions[mid]].host <= at)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low)
		return NULL;
	region = &map->regions[hosts->regions[low - 1]];
	return holds(region->host, region->size, at, len) ? region : NULL;
}

void memory_dirty_host(struct memory_reader *reader, const void *host, uint64_t len)
{
	const struct memory_region *region;
	const uint8_t *at = host;

	if (!reader->log || !len)
		return;
	if (likely(holds(reader->host, reader->size, at, len))) {
		memory_dirty(reader, reader->addr + (uint64_t)(at - reader->host), len);
		return;
	}
	region = region_of(reader->map, at, len);
	if (region)
		memory_dirty(reader, region->addr + (uint64_t)(at - region->host), len);
}

int memory_iov(struct memory_reader *reader, uint64_t addr, uint64_t len, unsigned access,
	       struct iovec *iov, unsigned max)
{
	unsigned n = 0;

	if (unlikely(len && addr + (len - 1) < addr))
		return -EFAULT;
	while (len) {
		const struct memory_region *region = region_at(reader, addr);
		uint64_t skip, here;

		if (unlikely(!region || (region->access & access) != access || !region->host))
			return -EFAULT;
		if (unlikely(n == max))
			return -E2BIG;
		skip = addr - region->addr;
		here = MIN(len, region->size - skip);
		iov[n].iov_base = region->host + skip;
		iov[n++].iov_len = here;
		addr += here;
		len -= here;
	}
	return (int)n;
}

/* Walks twice, checking first, so that a bad range has no effect. */
static int copy(struct memory_reader *reader, uint64_t addr, void *buf, size_t len, unsigned access)
{
	uint8_t *bytes = buf;
	void *host = memory_at(reader, addr, len, access);
	uint64_t at = addr;

	if (likely(host)) {
		if (access == MEMORY_WRITE)
			memcpy(host, buf, len);
		else
			memcpy(buf, host, len);
		return 0;
	}
	if (!len)
		return 0;
	if (addr + (len - 1) < addr)
		return -EFAULT;
	for (size_t left = len; left;) {
		const struct memory_region *region = region_at(reader, at);
		size_t here;

		if (!region || (region->access & access) != access || !region->host)
			return -EFAULT;
		here = MIN((uint64_t)left, region->size - (at - region->addr));
		at += here;
		left -= here;
	}
	for (at = addr; len;) {
		const struct memory_region *region = region_at(reader, at);
		uint64_t skip = at - region->addr;
		size_t here = MIN((uint64_t)len, region->size - skip);

		if (access == MEMORY_WRITE)
			memcpy(region->host + skip, bytes, here);
		else
			memcpy(bytes, region->host + skip, here);
		bytes += here;
		at += here;
		len -= here;
	}
	return 0;
}

int memory_read(struct memory_reader *reader, uint64_t addr, void *buf, size_t len)
{
	return copy(reader, addr, buf, len, MEMORY_READ);
}

int memory_write(struct memory_reader *reader, uint64_t addr, const void *buf, size_t len)
{
	return copy(reader, addr, (void *)buf, len, MEMORY_WRITE);
}
