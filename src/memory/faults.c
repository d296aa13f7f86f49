/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client may truncate the file that backs its guest's memory; our next access beyond the new end
 * raises SIGBUS. The handler finds the mapping in a table of slots that the control thread fills,
 * lays anonymous zero pages over a part of it, and returns: the access is repeated and succeeds.
 * The machine's memory is garbage from then on, which is its own doing; its space is marked.
 *
 * That part is one page of the file at first, and twice as much at each further fault: a host that
 * commits no more memory than it has (vm.overcommit_memory=2) would refuse as much as a sparse file
 * is long, and a mapping for each page would be more than a process may have.
 *
 * The handler may run on any thread at any point, so the slots are plain atomics and mmap() is the
 * only call made, as a bare system call. That includes points inside of ThreadSanitizer's own code,
 * which does our atomic accesses with its locks held: the handler must not come there again.
 */
#include "memory/map.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Enough for 2048 spaces that use all they may. A part is made when it is needed, and stays. */
#define PART_SLOTS 4096u
#define PARTS	   (2048u * MEMORY_FILES_MAX / PART_SLOTS)

struct slot {
	uintptr_t base; /* 0: free; written last when taken, first when freed */
	size_t size;
	size_t page; /* a power of two */
	unsigned faults;
	struct memory_file *file;
};

static struct slot *parts[PARTS];
static unsigned n_slots;    /* highest ever used, plus one; its part is there */
static unsigned first_free; /* none below it is */
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

/* Around @at, inside of the slot; with less than it should be if that is all there is. */
static UNINSTRUMENTED bool lay_zero_pages(struct slot *slot, uintptr_t base, uintptr_t at)
{
	unsigned n = __atomic_fetch_add(&slot->faults, 1, __ATOMIC_RELAXED);
	uintptr_t end = base + READ_ONCE(slot->size);
	size_t page = READ_ONCE(slot->page);

	for (size_t bytes = page << (n < 30 ? n : 30); bytes >= page; bytes /= 2) {
		uintptr_t from = at & ~(bytes - 1), to = from + bytes;

		if (from < base)
			from = base;
		if (to > end)
			to = end;
		if (syscall(SYS_mmap, from, to - from, PROT_READ | PROT_WRITE,
			    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) >= 0)
			return true;
	}
	return false;
}

static UNINSTRUMENTED void bus_error(int signo, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	unsigned n = LOAD_ACQUIRE(n_slots);
	int saved = errno;

	for (unsigned i = 0; i < n; i++) {
		struct slot *slot = &LOAD_ACQUIRE(parts[i / PART_SLOTS])[i % PART_SLOTS];
		uintptr_t base = LOAD_ACQUIRE(slot->base);

		if (!base || at < base || at - base >= READ_ONCE(slot->size))
			continue;
		if (!lay_zero_pages(slot, base, at))
			break;
		WRITE_ONCE(slot->file->faulted, 1);
		memory_space_fault(slot->file->space);
		errno = saved;
		return;
	}
	/* not guest memory: a bug of ours or of the machine; die the default way */
	signal(signo, SIG_DFL);
	errno = saved;
}

int memory_faults_init(void)
{
	struct sigaction action = { .sa_sigaction = bus_error, .sa_flags = SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

/* Under the lock: the slot, its part made if need be, or NULL. */
static struct slot *slot_at(unsigned i)
{
	struct slot *part;

	if (i >= PARTS * PART_SLOTS)
		return NULL;
	part = parts[i / PART_SLOTS];
	if (!part) {
		part = calloc(PART_SLOTS, sizeof(*part));
		STORE_RELEASE(parts[i / PART_SLOTS], part);
	}
	return part ? &part[i % PART_SLOTS] : NULL;
}

int memory_faults_watch(struct memory_file *file)
{
	struct slot *slot;
	unsigned i;

	pthread_mutex_lock(&slots_lock);
	for (i = first_free; (slot = slot_at(i)) && slot->base; i++)
		;
	if (slot) {
		slot->file = file;
		WRITE_ONCE(slot->size, file->size);
		WRITE_ONCE(slot->page, file->page);
		WRITE_ONCE(slot->faults, 0);
		STORE_RELEASE(slot->base, (uintptr_t)file->base);
		first_free = i + 1;
		if (i >= n_slots)
			STORE_RELEASE(n_slots, i + 1);
		file->slot = i;
	}
	pthread_mutex_unlock(&slots_lock);
	return slot ? 0 : -ENOSPC;
}

void memory_faults_forget(struct memory_file *file)
{
	pthread_mutex_lock(&slots_lock);
	STORE_RELEASE(slot_at(file->slot)->base, 0);
	first_free = MIN(first_free, file->slot);
	pthread_mutex_unlock(&slots_lock);
}
