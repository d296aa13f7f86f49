/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client may truncate the file that backs its guest's memory; our next access beyond the new end
 * raises SIGBUS. The handler finds the mapping in a table of slots that the control thread fills,
 * lays anonymous zero pages over all of it, and returns: the access is repeated and succeeds. The
 * machine's memory is garbage from then on, which is its own doing; its space is marked.
 *
 * The handler may run on any thread at any point, so the slots are plain atomics and mmap() is the
 * only call made, as a bare system call. That includes points inside of ThreadSanitizer's own code,
 * which does our atomic accesses with its locks held: the handler must not come there again.
 */
#include "memory/map.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOTS 4096

static struct slot {
	uintptr_t base; /* 0: free; written last when taken, first when freed */
	size_t size;
	struct memory_file *file;
} slots[SLOTS];
static unsigned n_slots; /* highest ever used, plus one */
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

static UNINSTRUMENTED void bus_error(int signo, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	unsigned n = LOAD_ACQUIRE(n_slots);
	int saved = errno;

	for (unsigned i = 0; i < n; i++) {
		uintptr_t base = LOAD_ACQUIRE(slots[i].base);

		if (!base || at < base || at - base >= READ_ONCE(slots[i].size))
			continue;
		if (syscall(SYS_mmap, base, slots[i].size, PROT_READ | PROT_WRITE,
			    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) < 0)
			break;
		WRITE_ONCE(slots[i].file->faulted, 1);
		memory_space_fault(slots[i].file->space);
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

int memory_faults_watch(struct memory_file *file)
{
	int err = -ENOSPC;

	pthread_mutex_lock(&slots_lock);
	for (unsigned i = 0; i < SLOTS; i++) {
		if (slots[i].base)
			continue;
		slots[i].file = file;
		WRITE_ONCE(slots[i].size, file->size);
		STORE_RELEASE(slots[i].base, (uintptr_t)file->base);
		if (i >= n_slots)
			STORE_RELEASE(n_slots, i + 1);
		err = 0;
		break;
	}
	pthread_mutex_unlock(&slots_lock);
	return err;
}

void memory_faults_forget(struct memory_file *file)
{
	pthread_mutex_lock(&slots_lock);
	for (unsigned i = 0; i < n_slots; i++)
		if (slots[i].file == file && slots[i].base)
			STORE_RELEASE(slots[i].base, 0);
	pthread_mutex_unlock(&slots_lock);
}
