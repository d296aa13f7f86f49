/* SPDX-License-Identifier: BSD-2-Clause */
/* A PCI function's life, its BARs, and its reset. */
#include "pci/function.h"

#include "base/util.h"
#include "pci/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

struct pci_function *pci_function_new(const char *name, const struct pci_ids *ids, bool express,
				      const struct pci_function_ops *ops, void *dev)
{
	struct pci_function *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->ops = ops;
	f->dev = dev;
	for (unsigned i = 0; i < PCI_BARS; i++)
		f->bars[i].fd = -1;
	f->name = strdup(name);
	if (irq_init(f) || !f->name) {
		pci_function_free(f);
		errno = ENOMEM;
		return NULL;
	}
	config_init(f, ids, express);
	config_refresh(f);
	return f;
}

void pci_function_free(struct pci_function *f)
{
	if (!f)
		return;
	irq_done(f);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		for (unsigned n = 0; n < f->bars[i].n_shared; n++)
			munmap(f->bars[i].shared[n].mem, f->bars[i].shared[n].size);
		if (f->bars[i].fd >= 0)
			close(f->bars[i].fd);
	}
	free(f->name);
	free(f);
}

void *pci_function_dev(const struct pci_function *f)
{
	return f->dev;
}

const char *pci_function_name(const struct pci_function *f)
{
	return f->name;
}

int pci_bar_add(struct pci_function *f, unsigned bar, enum pci_bar_kind kind, uint64_t size)
{
	if (bar >= PCI_BARS || f->bars[bar].kind != PCI_BAR_NONE || kind == PCI_BAR_NONE ||
	    !is_power_of_two(size) || size < (kind == PCI_BAR_IO ? 4 : 16) ||
	    (kind != PCI_BAR_MEM64 && size > 1u << 31) ||
	    (kind == PCI_BAR_MEM64 && (bar + 1 >= PCI_BARS || f->bars[bar + 1].kind)))
		return -EINVAL;
	f->bars[bar].kind = kind;
	f->bars[bar].size = size;
	config_bar(f, bar);
	return 0;
}

/* A file as long as the BAR, of which only the shared areas are ever touched; clients hold its
 * descriptor, so its size is sealed. */
static int bar_file(struct pci_bar *bar)
{
	int fd = memfd_create("exitless-bar", MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bar->size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	bar->fd = fd;
	return 0;
}

int pci_bar_share(struct pci_function *f, unsigned bar, uint64_t offset, uint64_t size, void **mem)
{
	struct pci_bar *b = bar < PCI_BARS ? &f->bars[bar] : NULL;
	unsigned at;
	void *map;
	int err;

	if (!b || b->kind == PCI_BAR_NONE || b->kind == PCI_BAR_IO || !size || offset % PAGE ||
	    size % PAGE || offset > b->size || size > b->size - offset)
		return -EINVAL;
	if (b->n_shared == PCI_SHARED_AREAS)
		return -ENOSPC;
	for (at = 0; at < b->n_shared && b->shared[at].offset < offset; at++)
		;
	if ((at > 0 && b->shared[at - 1].offset + b->shared[at - 1].size > offset) ||
	    (at < b->n_shared && offset + size > b->shared[at].offset))
		return -EINVAL;
	if (b->fd < 0) {
		err = bar_file(b);
		if (err)
			return err;
	}
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, b->fd,
		   (off_t)offset);
	if (map == MAP_FAILED)
		return -errno;
	memmove(&b->shared[at + 1], &b->shared[at], (b->n_shared - at) * sizeof(b->shared[0]));
	b->shared[at].offset = offset;
	b->shared[at].size = size;
	b->shared[at].mem = map;
	b->n_shared++;
	*mem = map;
	return 0;
}

const struct pci_bar *pci_bar_get(const struct pci_function *f, unsigned bar)
{
	return bar < PCI_BARS ? &f->bars[bar] : NULL;
}

/* Does the function answer to this? */
static bool decodes(const struct pci_function *f, unsigned bar, uint64_t offset, size_t len)
{
	if (bar >= PCI_BARS || offset > f->bars[bar].size || len > f->bars[bar].size - offset ||
	    !len)
		return false;
	return f->bars[bar].kind == PCI_BAR_IO ? f->io : f->memory;
}

int pci_bar_read(struct pci_function *f, unsigned bar, uint64_t offset, void *buf, size_t len)
{
	if (!decodes(f, bar, offset, len))
		return -EINVAL;
	f->stats.bar_reads++;
	f->ops->bar_read(f, bar, offset, buf, len);
	return 0;
}

int pci_bar_write(struct pci_function *f, unsigned bar, uint64_t offset, const void *buf,
		  size_t len)
{
	if (!decodes(f, bar, offset, len))
		return -EINVAL;
	f->stats.bar_writes++;
	f->ops->bar_write(f, bar, offset, buf, len);
	return 0;
}

void pci_function_reset(struct pci_function *f, enum pci_reset kind)
{
	f->stats.resets++;
	config_reset(f); /* first: without bus master nothing new starts */
	if (f->ops->reset)
		f->ops->reset(f, kind);
	irq_reset(f);
	if (f->ops->state_changed)
		f->ops->state_changed(f);
}

void pci_function_stats(const struct pci_function *f, struct pci_function_stats *stats)
{
	*stats = (struct pci_function_stats){
		.bar_reads = f->stats.bar_reads,
		.bar_writes = f->stats.bar_writes,
		.config_reads = f->stats.config_reads,
		.config_writes = f->stats.config_writes,
		.interrupts = READ_ONCE(f->stats.interrupts),
		.interrupts_lost = READ_ONCE(f->stats.interrupts_lost),
		.resamples = f->stats.resamples,
		.resets = f->stats.resets,
	};
}

void pci_memory_changed(struct pci_function *f)
{
	if (f->ops->memory_changed)
		f->ops->memory_changed(f);
}
