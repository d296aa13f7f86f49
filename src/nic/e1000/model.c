/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two variants of the model, and a device's life. BAR 0 is the register file with the pages of
 * the ring pointers shared; the I/O BAR is a window to it (8254x manual 13.2, 82574
 * datasheet 10.1).
 */
#include "nic/e1000/remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE	       4096u
#define FLASH_BYTES    0x20000u
#define MSIX_BYTES     0x4000u
#define MSIX_TABLE     0x0000u
#define MSIX_PBA       0x2000u
#define CLASS_ETHERNET 0x020000u

/* 82574 datasheet chapter 9: where its capabilities are */
enum { CAP_MSIX = 0xa0, CAP_PM = 0xc8, CAP_MSI = 0xd0, CAP_PCIE = 0xe0 };
enum { EXT_AER = 0x100, EXT_DSN = 0x140, EXT_ID_AER = 1, EXT_ID_DSN = 3 };

enum { IOADDR = 0, IODATA = 4 };

static const struct e1000_variant variants[] = {
	{
		.model = "82540EM",
		.chip = CHIP_82540EM,
		.ids = { 0x8086, 0x100e, 0x8086, 0x001e, CLASS_ETHERNET, 0x03 },
		.n_queues = 1,
		.io_bar = 1,
		.io_bytes = 64,
		.phy_id = { 0x0141, 0x0c20 },
		.phy_status = 0xac00,
	},
	{
		.model = "82574L",
		.chip = CHIP_82574L,
		.ids = { 0x8086, 0x10d3, 0x8086, 0xa01f, CLASS_ETHERNET, 0x00 },
		.n_queues = 2,
		.io_bar = 2,
		.io_bytes = 32,
		.flash_bar = 1,
		.msix_bar = 3,
		.phy_id = { 0x0141, 0x0cb1 },
		.phy_status = 0xac08,
	},
};

const char *const e1000_models[] = { "82574L", "82540EM", NULL };

/* ---- BARs -------------------------------------------------------------------------------- */

static void io_read(struct e1000 *dev, uint64_t offset, void *buf, size_t len)
{
	memset(buf, 0, len);
	if (offset < IODATA)
		memcpy(buf, (uint8_t *)&dev->ioaddr + offset, MIN(len, (size_t)(4 - offset)));
	else if (offset < IODATA + 4 && dev->ioaddr < E1000_BAR_BYTES)
		e1000_bar_read(dev, dev->ioaddr + (offset - IODATA), buf,
			       MIN(len, (size_t)(IODATA + 4 - offset)));
}

static void io_write(struct e1000 *dev, uint64_t offset, const void *buf, size_t len)
{
	if (offset < IODATA)
		memcpy((uint8_t *)&dev->ioaddr + offset, buf, MIN(len, (size_t)(4 - offset)));
	else if (offset < IODATA + 4 && dev->ioaddr < E1000_BAR_BYTES)
		e1000_bar_write(dev, dev->ioaddr + (offset - IODATA), buf,
				MIN(len, (size_t)(IODATA + 4 - offset)));
}

static void bar_read(struct pci_function *f, unsigned bar, uint64_t offset, void *buf, size_t len)
{
	struct e1000 *dev = pci_function_dev(f);

	if (!bar)
		e1000_bar_read(dev, offset, buf, len);
	else if (bar == dev->variant->io_bar)
		io_read(dev, offset, buf, len);
	else if (bar == dev->variant->flash_bar)
		memset(buf, 0xff, len); /* an erased flash */
	else
		memset(buf, 0, len); /* the client has the MSI-X table */
}

static void bar_write(struct pci_function *f, unsigned bar, uint64_t offset, const void *buf,
		      size_t len)
{
	struct e1000 *dev = pci_function_dev(f);

	if (!bar)
		e1000_bar_write(dev, offset, buf, len);
	else if (bar == dev->variant->io_bar)
		io_write(dev, offset, buf, len);
}

static void function_reset(struct pci_function *f, enum pci_reset kind)
{
	e1000_reset(pci_function_dev(f), true);
}

static void state_changed(struct pci_function *f)
{
	struct e1000 *dev = pci_function_dev(f);

	e1000_quiesce_tx(dev);
	e1000_quiesce_rx(dev);
	e1000_irq_state_changed(dev);
	e1000_tx_kick(dev);
}

static void memory_changed(struct pci_function *f)
{
	e1000_tx_kick(pci_function_dev(f));
}

static const struct pci_function_ops function_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.reset = function_reset,
	.state_changed = state_changed,
	.memory_changed = memory_changed,
};

/* ---- life -------------------------------------------------------------------------------- */

static int add_capabilities(struct e1000 *dev)
{
	struct pci_function *pci = dev->nic.pci;
	const uint8_t *mac = dev->mac;
	int err;

	pci_intx_add(pci);
	if (dev->variant->chip != CHIP_82574L)
		return 0;
	if ((err = pci_cap_pm(pci, CAP_PM)) < 0 ||
	    (err = pci_cap_msi(pci, CAP_MSI, 1, false)) < 0 ||
	    (err = pci_cap_express(pci, CAP_PCIE)) < 0 ||
	    (err = pci_cap_msix(pci, CAP_MSIX, E1000_VECTORS, dev->variant->msix_bar, MSIX_TABLE,
				MSIX_PBA)) < 0 ||
	    (err = pci_ext_cap(pci, EXT_AER, EXT_ID_AER, 1, 0x38)) < 0 ||
	    (err = pci_ext_cap(pci, EXT_DSN, EXT_ID_DSN, 1, 12)) < 0)
		return err;
	/* serial number: the MAC address with ff ff in its middle (82574 datasheet 9.5.2) */
	pci_config_set(
		pci, EXT_DSN + 4, 4,
		(uint32_t)mac[5] | (uint32_t)mac[4] << 8 | (uint32_t)mac[3] << 16 | 0xff000000, 0);
	pci_config_set(
		pci, EXT_DSN + 8, 4,
		0xff | (uint32_t)mac[2] << 8 | (uint32_t)mac[1] << 16 | (uint32_t)mac[0] << 24, 0);
	return 0;
}

static int share_pages(struct e1000 *dev)
{
	void *pages;
	int err;

	if (dev->trap_doorbells) {
		pages = dev->own_pages = aligned_alloc(PAGE, 2 * PAGE);
		if (!pages)
			return -ENOMEM;
		memset(pages, 0, 2 * PAGE);
	} else {
		err = pci_bar_share(dev->nic.pci, 0, RX_PAGE, 2 * PAGE, &pages);
		if (err)
			return err;
	}
	dev->rx_page = pages;
	dev->tx_page = dev->rx_page + PAGE / 4;
	return reg_bank_share(dev->nic.regs, RX_PAGE, 2 * PAGE, pages);
}

static int add_function(struct e1000 *dev)
{
	const struct e1000_variant *v = dev->variant;
	int err;

	dev->nic.pci = pci_function_new(dev->nic.name, &v->ids, v->chip == CHIP_82574L,
					&function_ops, dev);
	if (!dev->nic.pci)
		return -errno;
	err = pci_bar_add(dev->nic.pci, 0, PCI_BAR_MEM32, E1000_BAR_BYTES);
	if (!err)
		err = pci_bar_add(dev->nic.pci, v->io_bar, PCI_BAR_IO, v->io_bytes);
	if (!err && v->flash_bar)
		err = pci_bar_add(dev->nic.pci, v->flash_bar, PCI_BAR_MEM32, FLASH_BYTES);
	if (!err && v->msix_bar)
		err = pci_bar_add(dev->nic.pci, v->msix_bar, PCI_BAR_MEM32, MSIX_BYTES);
	if (!err)
		err = add_capabilities(dev);
	if (!err)
		err = share_pages(dev);
	return err;
}

static void init_queues(struct e1000 *dev, struct memory_space *space)
{
	struct nic *nic = &dev->nic;

	for (unsigned i = 0; i < dev->variant->n_queues; i++) {
		struct e1000_tx *tx = &dev->tx[i];
		struct e1000_rx_queue *rx = &dev->rx[i];

		tx->dev = dev;
		tx->index = i;
		tx->ring_page = dev->tx_page + (TDBAL(i) & 0xfff) / 4;
		snprintf(tx->name, sizeof(tx->name), "%s/tx%u", nic->name, i);
		tx->queue.ops = &e1000_tx_ops;
		tx->queue.name = tx->name;
		tx->queue.wake_fd = -1;
		tx->queue.doorbell = (const uint64_t *)(const void *)tx->ring_page;
		memory_reader_init(&tx->ring_reader, space);
		memory_reader_init(&tx->data_reader, space);
		memory_reader_init(&rx->ring_reader, space);
		memory_reader_init(&rx->data_reader, space);
		nic->queues[nic->n_queues++] = &tx->queue;
	}
	nic->timers[nic->n_timers++] = &dev->timer;
	nic->timers[nic->n_timers++] = &dev->rate_timer;
	nic->timers[nic->n_timers++] = &dev->rx_wait.timer;
}

static void e1000_free(struct nic *nic)
{
	struct e1000 *dev = e1000_of(nic);

	pci_function_free(nic->pci);
	e1000_regs_done(dev);
	for (unsigned i = 0; i < E1000_QUEUES; i++)
		e1000_tx_remote_free(dev->tx[i].remote);
	e1000_rx_remote_free(dev->rx_remote);
	e1000_rx_wait_clear(dev);
	free(dev->own_pages);
	for (unsigned i = 0; i < E1000_QUEUES; i++)
		pthread_mutex_destroy(&dev->tx[i].lock);
	pthread_mutex_destroy(&dev->rx_lock);
	pthread_mutex_destroy(&dev->irq_lock);
	free(nic->name);
	free(dev);
}

static void link_set(struct nic *nic, bool up)
{
	struct e1000 *dev = e1000_of(nic);

	dev->host_link = up;
	e1000_link_update(dev);
}

static void rate_set(struct nic *nic, uint64_t bps)
{
	e1000_tx_rate_set(e1000_of(nic), bps);
}

static const struct nic_ops ops = {
	.free = e1000_free,
	.link_set = link_set,
	.rate_set = rate_set,
	.stats = e1000_stats,
};

static void init_locks(struct e1000 *dev)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	for (unsigned i = 0; i < E1000_QUEUES; i++)
		pthread_mutex_init(&dev->tx[i].lock, &attr);
	pthread_mutex_init(&dev->rx_lock, &attr);
	pthread_mutex_init(&dev->irq_lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

struct nic *e1000_new(const struct nic_config *config, struct memory_space *space)
{
	const struct e1000_variant *variant = NULL;
	struct e1000 *dev;
	int err = -ENOMEM;

	for (unsigned i = 0; i < ARRAY_SIZE(variants); i++)
		if (!strcmp(variants[i].model, config->model))
			variant = &variants[i];
	if (!variant) {
		errno = EINVAL;
		return NULL;
	}
	dev = aligned_alloc(CACHE_LINE, ALIGN_UP(sizeof(*dev), CACHE_LINE));
	if (!dev)
		return NULL;
	memset(dev, 0, sizeof(*dev));
	init_locks(dev);
	dev->variant = variant;
	dev->nic.ops = &ops;
	dev->nic.model = variant->model;
	dev->nic.space = space;
	dev->trap_doorbells = config->trap_doorbells;
	dev->host_link = config->link_up;
	dev->max_rate_bps = config->max_rate_bps;
	memcpy(dev->mac, config->mac, sizeof(dev->mac));
	dev->nic.name = strdup(config->name);
	if (!dev->nic.name)
		goto fail;
	dev->nic.port.ops = &e1000_rx_ops;
	dev->nic.port.name = dev->nic.name;
	e1000_nvm_init(dev);
	e1000_irq_init(dev);
	e1000_tx_init(dev);
	e1000_rx_init(dev);
	err = e1000_regs_init(dev);
	if (!err)
		err = add_function(dev);
	if (err)
		goto fail;
	init_queues(dev, space);
	e1000_reset(dev, true);
	dev->resets = 0;
	return &dev->nic;
fail:
	e1000_free(&dev->nic);
	errno = -err;
	return NULL;
}
