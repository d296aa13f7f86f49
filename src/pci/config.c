/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration space: a value, a mask of writable bits and a mask of write-1-to-clear bits for
 * each byte. Few writes have an effect beyond the store: COMMAND, the power state, function-level
 * reset. BAR values are the VMM's business (it never maps by them here), but they size as real ones
 * do.
 */
#include "base/util.h"
#include "pci/private.h"

#include <errno.h>

static void put(struct pci_function *f, unsigned offset, unsigned len, uint32_t value,
		uint32_t writable)
{
	for (unsigned i = 0; i < len; i++) {
		f->config[offset + i] = (uint8_t)(value >> 8 * i);
		f->writable[offset + i] = (uint8_t)(writable >> 8 * i);
	}
}

void pci_config_set(struct pci_function *f, unsigned offset, unsigned len, uint32_t value,
		    uint32_t writable)
{
	if (len <= 4 && offset < f->config_size && len <= f->config_size - offset)
		put(f, offset, len, value, writable);
}

void config_init(struct pci_function *f, const struct pci_ids *ids, bool express)
{
	f->config_size = express ? PCIE_CONFIG_BYTES : PCI_CONFIG_BYTES;
	f->cap_next = 0x40;
	put(f, 0x00, 2, ids->vendor, 0);
	put(f, 0x02, 2, ids->device, 0);
	put(f, PCI_COMMAND, 2, 0, 0x0547); /* I/O, memory, master, parity, SERR, INTx disable */
	put(f, 0x08, 1, ids->revision, 0);
	put(f, 0x09, 3, ids->class_code, 0);
	put(f, 0x0c, 2, 0, 0xffff); /* cache line, latency timer: storage */
	put(f, 0x2c, 2, ids->subsystem_vendor, 0);
	put(f, 0x2e, 2, ids->subsystem, 0);
	put(f, PCI_INT_LINE, 1, 0, 0xff);
	f->w1c[PCI_STATUS + 1] = 0xf9; /* error bits */
}

void config_bar(struct pci_function *f, unsigned bar)
{
	const struct pci_bar *b = &f->bars[bar];
	unsigned offset = PCI_BAR0 + 4 * bar;
	uint64_t mask = ~(b->size - 1);

	switch (b->kind) {
	case PCI_BAR_NONE: break;
	case PCI_BAR_IO: put(f, offset, 4, 1, (uint32_t)mask & ~3u); break;
	case PCI_BAR_MEM64: put(f, offset + 4, 4, 0, (uint32_t)(mask >> 32)); /* fallthrough */
	case PCI_BAR_MEM32:
		put(f, offset, 4, (b->kind == PCI_BAR_MEM64 ? 4u : 0) | (b->prefetch ? 8u : 0),
		    (uint32_t)mask & ~15u);
		break;
	}
}

/* Chains a capability of @len bytes in at @offset, or at the next free one. */
static int cap_add(struct pci_function *f, unsigned offset, uint8_t id, unsigned len)
{
	if (!offset)
		offset = f->cap_next;
	if (offset < 0x40 || offset % 4)
		return -EINVAL;
	if (offset + len > PCI_CONFIG_BYTES)
		return -ENOSPC;
	for (unsigned i = 0; i < len; i++)
		if (f->config[offset + i] || f->writable[offset + i])
			return -EINVAL;
	put(f, offset, 1, id, 0);
	put(f, f->cap_last ? f->cap_last + 1 : PCI_CAP_PTR, 1, offset, 0);
	f->config[PCI_STATUS] |= PCI_STATUS_CAPS;
	f->cap_last = offset;
	f->cap_next = MAX(f->cap_next, ALIGN_UP(offset + len, 4));
	return (int)offset;
}

int pci_cap_pm(struct pci_function *f, uint8_t offset)
{
	int at = cap_add(f, offset, PCI_CAP_ID_PM, 8);

	if (at < 0)
		return at;
	f->pm = (unsigned)at;
	put(f, f->pm + 2, 2, 0x0022, 0);	   /* version 1.1, device-specific init */
	put(f, f->pm + PCI_PM_CTRL, 2, 0, 0x0103); /* power state, PME enable */
	f->w1c[f->pm + PCI_PM_CTRL + 1] = 0x80;	   /* PME status */
	return at;
}

int pci_cap_msi(struct pci_function *f, uint8_t offset, unsigned vectors, bool maskable)
{
	unsigned log = vectors ? (unsigned)__builtin_ctz(vectors) : 0;
	int at, err;

	if (!is_power_of_two(vectors) || vectors > 32)
		return -EINVAL;
	at = cap_add(f, offset, PCI_CAP_ID_MSI, maskable ? 24 : 14);
	if (at < 0)
		return at;
	err = irq_resize(f, PCI_IRQ_MSI, vectors);
	if (err)
		return err;
	f->msi = (unsigned)at;
	put(f, f->msi + 2, 2, 0x0080 | log << 1 | (maskable ? 0x100 : 0), 0x0071);
	put(f, f->msi + 4, 4, 0, ~3u);
	put(f, f->msi + 8, 4, 0, ~0u);
	put(f, f->msi + 12, 2, 0, 0xffff);
	if (maskable)
		put(f, f->msi + 16, 4, 0, vectors == 32 ? ~0u : BIT(vectors) - 1);
	return at;
}

int pci_cap_msix(struct pci_function *f, uint8_t offset, unsigned vectors, unsigned bar,
		 uint32_t table, uint32_t pba)
{
	int at, err;

	if (!vectors || vectors > PCI_VECTORS_MAX || bar >= PCI_BARS || table % 8 || pba % 8 ||
	    table + 16ull * vectors > f->bars[bar].size ||
	    pba + (vectors + 63) / 64 * 8ull > f->bars[bar].size)
		return -EINVAL;
	at = cap_add(f, offset, PCI_CAP_ID_MSIX, 12);
	if (at < 0)
		return at;
	err = irq_resize(f, PCI_IRQ_MSIX, vectors);
	if (err)
		return err;
	f->msix = (unsigned)at;
	put(f, f->msix + 2, 2, vectors - 1, 0xc000);
	put(f, f->msix + 4, 4, table | bar, 0);
	put(f, f->msix + 8, 4, pba | bar, 0);
	return at;
}

int pci_cap_express(struct pci_function *f, uint8_t offset)
{
	bool v2 = offset + 0x3cu <= PCI_CONFIG_BYTES;
	int at = cap_add(f, offset, PCI_CAP_ID_EXP, v2 ? 0x3c : 0x14);

	if (at < 0)
		return at;
	f->express = (unsigned)at;
	put(f, f->express + 2, 2, v2 ? 2 : 1, 0); /* version; endpoint */
	put(f, f->express + 4, 4, 0x10008001, 0); /* FLR, role-based errors, 256-byte payload */
	put(f, f->express + PCI_EXP_DEVCTL, 2, 0x2810, 0x7fff);
	f->w1c[f->express + 10] = 0x0f;		   /* device status: errors seen */
	put(f, f->express + 12, 4, 0x00000011, 0); /* 2.5 GT/s, x1 */
	put(f, f->express + 16, 2, 0, 0x01c3);	   /* link control */
	put(f, f->express + 18, 2, 0x0011, 0);	   /* link status: 2.5 GT/s, x1 */
	if (!v2)
		return at;
	put(f, f->express + 36, 4, 0x00000010, 0); /* completion timeout disable */
	put(f, f->express + 40, 2, 0, 0x001f);
	put(f, f->express + 48, 2, 1, 0x000f);
	return at;
}

int pci_ext_cap(struct pci_function *f, uint16_t offset, uint16_t id, uint8_t version, uint16_t len)
{
	if (f->config_size < PCIE_CONFIG_BYTES || offset < PCI_CONFIG_BYTES || offset % 4 ||
	    len < 4 || (!f->ext_last && offset != PCI_CONFIG_BYTES))
		return -EINVAL;
	if (offset + (unsigned)len > PCIE_CONFIG_BYTES)
		return -ENOSPC;
	put(f, offset, 4, id | (uint32_t)(version & 15) << 16, 0);
	if (f->ext_last)
		put(f, f->ext_last, 4,
		    (load_le32(f->config + f->ext_last) & 0xfffff) | (uint32_t)offset << 20, 0);
	f->ext_last = offset;
	return offset;
}

void pci_intx_add(struct pci_function *f)
{
	put(f, PCI_INT_PIN, 1, 1, 0);
	irq_resize(f, PCI_IRQ_INTX, 1);
}

static bool in_d0(const struct pci_function *f)
{
	return !f->pm || !(f->config[f->pm + PCI_PM_CTRL] & 3);
}

void config_refresh(struct pci_function *f)
{
	uint16_t command = load_le16(f->config + PCI_COMMAND);
	bool d0 = in_d0(f);

	WRITE_ONCE(f->bus_master, d0 && command & PCI_COMMAND_MASTER);
	f->io = d0 && command & PCI_COMMAND_IO;
	WRITE_ONCE(f->memory, d0 && command & PCI_COMMAND_MEMORY);
	WRITE_ONCE(f->intx_off, !d0 || command & PCI_COMMAND_INTX_OFF);
}

void config_reset(struct pci_function *f)
{
	store_le16(f->config + PCI_COMMAND, 0);
	for (unsigned bar = 0; bar < PCI_BARS; bar++)
		config_bar(f, bar);
	if (f->pm)
		f->config[f->pm + PCI_PM_CTRL] &= (uint8_t)~3;
	if (f->msi)
		f->config[f->msi + 2] &= (uint8_t)~0x71;
	if (f->msix)
		f->config[f->msix + 3] &= (uint8_t)~0xc0;
	if (f->express)
		store_le16(f->config + f->express + PCI_EXP_DEVCTL, 0x2810);
	config_refresh(f);
}

bool pci_bus_master(const struct pci_function *f)
{
	return READ_ONCE(f->bus_master);
}

bool pci_memory_enabled(const struct pci_function *f)
{
	return READ_ONCE(f->memory);
}

unsigned pci_config_size(const struct pci_function *f)
{
	return f->config_size;
}

int pci_config_read(struct pci_function *f, uint64_t offset, void *buf, size_t len)
{
	uint8_t *out = buf;

	if (offset > f->config_size || len > f->config_size - offset)
		return -EINVAL;
	f->stats.config_reads++;
	memcpy(buf, f->config + offset, len);
	if (offset <= PCI_STATUS && offset + len > PCI_STATUS && pci_intx_get(f))
		out[PCI_STATUS - offset] |= PCI_STATUS_INTX;
	return 0;
}

int pci_config_write(struct pci_function *f, uint64_t offset, const void *buf, size_t len)
{
	const uint8_t *in = buf;
	bool was_d0, flr = false;

	if (offset > f->config_size || len > f->config_size - offset)
		return -EINVAL;
	f->stats.config_writes++;
	was_d0 = in_d0(f);
	for (size_t i = 0; i < len; i++) {
		unsigned at = (unsigned)offset + (unsigned)i;

		f->config[at] = (uint8_t)((f->config[at] & ~f->writable[at]) |
					  (in[i] & f->writable[at]));
		f->config[at] &= (uint8_t) ~(in[i] & f->w1c[at]);
		/* initiate function-level reset: reads as 0, so it is not in the writable bits */
		flr |= f->express && at == f->express + PCI_EXP_DEVCTL + 1 &&
		       in[i] & PCI_EXP_FLR >> 8;
	}
	if (flr) {
		pci_function_reset(f, PCI_RESET_FUNCTION);
		return 0;
	}
	config_refresh(f);
	/* D3hot to D0 without No_Soft_Reset: PCI Power Management 1.2, section 5.4 */
	if (!was_d0 && in_d0(f) && f->ops->reset) {
		f->stats.resets++;
		irq_reset(f);
		f->ops->reset(f, PCI_RESET_FUNCTION);
	}
	irq_intx_reconsider(f);
	if (f->ops->state_changed)
		f->ops->state_changed(f);
	return 0;
}
