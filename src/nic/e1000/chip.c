/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The register table of both chips, in offset order, and the handlers of the general registers.
 * Rows that differ between the chips stand there once for each. Pages 0x2000 and 0x3000 have no
 * handlers: they are shared with the guest.
 */
#include "nic/e1000/remote.h"

#include <errno.h>
#include <stdlib.h>

#define EM   CHIP_82540EM
#define L    CHIP_82574L
#define BOTH (CHIP_82540EM | CHIP_82574L)
#define ALL  0xffffffffu

struct chip_row {
	unsigned chips;
	struct reg reg;
};

static uint32_t read_STATUS(void *opaque, unsigned index)
{
	struct e1000 *dev = opaque;
	uint32_t value = e1000_get(dev, STATUS);

	if (dev->link)
		value |= STATUS_LU;
	/* all DMA is over when a lock has been taken, but for messages to the client */
	if (dev->variant->chip == CHIP_82574L &&
	    (!(e1000_get(dev, CTRL) & CTRL_GIO_MD) || memory_remote_busy(dev->nic.space)))
		value |= STATUS_GIO_EN;
	return value;
}

static void wrote_STATUS(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;

	/* PHYRA is cleared by writing 0; nothing else can be written (82574 10.2.2.2) */
	if (dev->variant->chip == CHIP_82574L && !(written & STATUS_PHYRA))
		reg_set(dev->nic.regs, STATUS, old & ~STATUS_PHYRA);
}

static void wrote_CTRL(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;
	uint32_t value = e1000_get(dev, CTRL);

	if (written & CTRL_RST) {
		e1000_reset(dev, false);
		return;
	}
	if (written & CTRL_PHY_RST) {
		reg_set(dev->nic.regs, CTRL, value & ~CTRL_PHY_RST);
		if (dev->variant->chip == CHIP_82574L)
			reg_set(dev->nic.regs, STATUS, e1000_get(dev, STATUS) | STATUS_PHYRA);
		e1000_phy_reset(dev);
	}
	if ((written ^ old) & CTRL_GIO_MD) {
		e1000_quiesce_tx(dev);
		e1000_quiesce_rx(dev);
		e1000_tx_kick(dev);
	}
}

static void wrote_CTRL_EXT(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;

	if (written & CTRL_EXT_EE_RST)
		e1000_nvm_reset(dev);
	if (written & CTRL_EXT_INT_TIMERS_CLR)
		e1000_irq_timers_clear(dev);
	reg_set(dev->nic.regs, CTRL_EXT,
		e1000_get(dev, CTRL_EXT) & ~(CTRL_EXT_EE_RST | CTRL_EXT_INT_TIMERS_CLR));
}

static void wrote_RCTL(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;

	if ((old ^ written) & RCTL_EN)
		e1000_quiesce_rx(dev);
}

static void wrote_TCTL(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;

	if ((old ^ written) & TCTL_EN) {
		e1000_quiesce_tx(dev);
		e1000_tx_kick(dev);
	}
}

static uint32_t read_SWSM(void *opaque, unsigned index)
{
	struct e1000 *dev = opaque;
	uint32_t value = e1000_get(dev, SWSM);

	reg_set(dev->nic.regs, SWSM, value | SWSM_SMBI); /* a read takes the semaphore */
	return value;
}

#define STAT_ROW(stat, at) { BOTH, { #stat, at, .read = e1000_read_##stat } },

/* 8254x manual table 13-2 and 82574 datasheet table 10-2 */
static const struct chip_row rows[] = {
	{ EM, { "CTRL", CTRL, .reset = 0x00140240, .rw = ALL, .wrote = wrote_CTRL } },
	{ L, { "CTRL", CTRL, .reset = 0x00140241, .rw = ALL, .wrote = wrote_CTRL } },
	{ EM,
	  { "STATUS", STATUS, .reset = 0x80080781, .read = read_STATUS, .wrote = wrote_STATUS } },
	{ L,
	  { "STATUS", STATUS, .reset = 0x00000681 | STATUS_ASDV_1000, .read = read_STATUS,
	    .wrote = wrote_STATUS } },
	{ EM,
	  { "EECD", EECD, .reset = EECD_PRES, .rw = 0x0000007f & ~EECD_DO, .read = e1000_read_EECD,
	    .wrote = e1000_wrote_EECD } },
	{ L,
	  { "EECD", EECD, .reset = EECD_PRES | EECD_AUTO_RD, .rw = 0x0000007f & ~EECD_DO,
	    .read = e1000_read_EECD, .wrote = e1000_wrote_EECD } },
	{ EM, { "EERD", EERD, .rw = 0x0000ffff, .wrote = e1000_wrote_EERD } },
	{ L, { "EERD", EERD, .reset = BIT(1), .rw = 0x0000fffd, .wrote = e1000_wrote_EERD } },
	{ BOTH, { "CTRL_EXT", CTRL_EXT, .rw = ALL, .wrote = wrote_CTRL_EXT } },
	{ BOTH, { "FLA", FLA, .rw = ALL, .keep = true } },
	{ BOTH, { "MDIC", MDIC, .rw = ALL, .wrote = e1000_wrote_MDIC } },
	{ BOTH, { "FCAL", FCAL, .rw = ALL } },
	{ BOTH, { "FCAH", FCAH, .rw = 0xffff } },
	{ BOTH, { "FCT", FCT, .rw = 0xffff } },
	{ BOTH, { "VET", VET, .reset = 0x8100, .rw = 0xffff } },
	{ BOTH, { "ICR", ICR, .read = e1000_read_ICR, .wrote = e1000_wrote_ICR } },
	{ BOTH, { "ITR", ITR, .rw = 0xffff, .wrote = e1000_wrote_irq_config } },
	{ BOTH, { "ICS", ICS, .read = e1000_read_ICS, .wrote = e1000_wrote_ICS } },
	{ BOTH, { "IMS", IMS, .read = e1000_read_IMS, .wrote = e1000_wrote_IMS } },
	{ BOTH, { "IMC", IMC, .wrote = e1000_wrote_IMC } },
	{ L, { "EIAC", EIAC, .rw = ICR_MSIX_CAUSES } },
	{ L, { "IAM", IAM, .rw = ALL } },
	{ L, { "IVAR", IVAR, .rw = 0x800fffff, .wrote = e1000_wrote_irq_config } },
	{ L,
	  { "EITR", EITR0, .count = E1000_VECTORS, .rw = 0xffff,
	    .wrote = e1000_wrote_irq_config } },
	{ BOTH, { "RCTL", RCTL, .rw = ALL, .wrote = wrote_RCTL } },
	{ BOTH, { "FCTTV", FCTTV, .rw = 0xffff } },
	{ BOTH, { "TXCW", TXCW, .rw = 0xc000ffff } },
	{ BOTH, { "RXCW", RXCW } },
	{ BOTH, { "TCTL", TCTL, .rw = ALL, .wrote = wrote_TCTL } },
	{ BOTH, { "TIPG", TIPG, .reset = 0x00602008, .rw = 0x3fffffff } },
	{ BOTH, { "AIT", AIT, .rw = 0xffff } },
	{ EM, { "LEDCTL", LEDCTL, .reset = 0x00000602, .rw = ALL } },
	{ L, { "LEDCTL", LEDCTL, .reset = 0x00068302, .rw = ALL } },
	{ L, { "EXTCNF_CTRL", EXTCNF_CTRL, .reset = 0x8, .rw = ALL } },
	{ L, { "EXTCNF_SIZE", EXTCNF_SIZE, .rw = ALL } },
	{ L, { "POEMB", POEMB, .reset = 0x30d, .rw = ALL } },
	{ EM, { "PBA", PBA, .reset = 0x00100030, .rw = ALL, .keep = true } },
	{ L, { "PBA", PBA, .reset = 0x00140014, .rw = ALL, .keep = true } },
	{ BOTH, { "PBS", PBS, .reset = 0x28, .rw = ALL, .keep = true } },
	{ L, { "EEMNGCTL", EEMNGCTL, .reset = BIT(31) | BIT(18), .rw = ALL } },
	{ L, { "EEWR", EEWR, .reset = BIT(1), .rw = 0xfffffffd, .wrote = e1000_wrote_EEWR } },
	{ L, { "FLOP", FLOP, .rw = ALL } },

	/* shared page: no handlers */
	{ BOTH, { "FCRTL", FCRTL, .rw = 0x8000fff8 } },
	{ BOTH, { "FCRTH", FCRTH, .rw = 0x0000fff8 } },
	{ L, { "PSRCTL", PSRCTL, .reset = 0x00040402, .rw = 0x3f3f3f7f } },
	{ BOTH, { "RDFH", 0x02410, .rw = 0x1fff } },
	{ BOTH, { "RDFT", 0x02418, .rw = 0x1fff } },
	{ BOTH, { "RDFHS", 0x02420, .rw = 0x1fff } },
	{ BOTH, { "RDFTS", 0x02428, .rw = 0x1fff } },
	{ BOTH, { "RDFPC", 0x02430, .rw = 0x1fff } },
	{ BOTH, { "RDBAL0", RDBAL(0), .rw = RING_BASE_MASK } },
	{ BOTH, { "RDBAH0", RDBAH(0), .rw = ALL } },
	{ BOTH, { "RDLEN0", RDLEN(0), .rw = RING_LEN_MASK } },
	{ BOTH, { "RDH0", RDH(0), .rw = RING_PTR_MASK } },
	{ BOTH, { "RDT0", RDT(0), .rw = RING_PTR_MASK } },
	{ BOTH, { "RDTR", RDTR, .rw = 0xffff } },
	{ BOTH, { "RXDCTL0", 0x02828, .reset = 0x00010000, .rw = ALL } },
	{ BOTH, { "RADV", RADV, .rw = 0xffff } },
	{ L, { "RDBAL1", RDBAL(1), .rw = RING_BASE_MASK } },
	{ L, { "RDBAH1", RDBAH(1), .rw = ALL } },
	{ L, { "RDLEN1", RDLEN(1), .rw = RING_LEN_MASK } },
	{ L, { "RDH1", RDH(1), .rw = RING_PTR_MASK } },
	{ L, { "RDT1", RDT(1), .rw = RING_PTR_MASK } },
	{ L, { "RXDCTL1", 0x02928, .reset = 0x00010000, .rw = ALL } },
	{ BOTH, { "RSRPD", 0x02c00, .rw = 0xfff } },
	{ L, { "RAID", 0x02c08, .rw = ALL } },

	/* shared page: no handlers */
	{ EM, { "TDFH", 0x03410, .rw = 0x1fff } },
	{ EM, { "TDFT", 0x03418, .rw = 0x1fff } },
	{ EM, { "TDFHS", 0x03420, .rw = 0x1fff } },
	{ EM, { "TDFTS", 0x03428, .rw = 0x1fff } },
	{ L, { "TDFH", 0x03410, .reset = 0x600, .rw = 0x1fff } },
	{ L, { "TDFT", 0x03418, .reset = 0x600, .rw = 0x1fff } },
	{ L, { "TDFHS", 0x03420, .reset = 0x600, .rw = 0x1fff } },
	{ L, { "TDFTS", 0x03428, .reset = 0x600, .rw = 0x1fff } },
	{ BOTH, { "TDFPC", 0x03430, .rw = 0x1fff } },
	{ BOTH, { "TDBAL0", TDBAL(0), .rw = RING_BASE_MASK } },
	{ BOTH, { "TDBAH0", TDBAH(0), .rw = ALL } },
	{ BOTH, { "TDLEN0", TDLEN(0), .rw = RING_LEN_MASK } },
	{ BOTH, { "TDH0", TDH(0), .rw = RING_PTR_MASK } },
	{ BOTH, { "TDT0", TDT(0), .rw = RING_PTR_MASK } },
	{ BOTH, { "TIDV", TIDV, .rw = 0xffff } },
	{ BOTH, { "TXDCTL0", 0x03828, .rw = ALL } },
	{ BOTH, { "TADV", TADV, .rw = 0xffff } },
	{ EM, { "TSPMT", 0x03830, .rw = ALL } },
	{ L, { "TARC0", 0x03840, .reset = 0x403, .rw = ALL } },
	{ L, { "TDBAL1", TDBAL(1), .rw = RING_BASE_MASK } },
	{ L, { "TDBAH1", TDBAH(1), .rw = ALL } },
	{ L, { "TDLEN1", TDLEN(1), .rw = RING_LEN_MASK } },
	{ L, { "TDH1", TDH(1), .rw = RING_PTR_MASK } },
	{ L, { "TDT1", TDT(1), .rw = RING_PTR_MASK } },
	{ L, { "TXDCTL1", 0x03928, .rw = ALL } },
	{ L, { "TARC1", 0x03940, .reset = 0x403, .rw = ALL } },

	E1000_STATISTICS(STAT_ROW)

		{ EM, { "RXCSUM", RXCSUM, .rw = ALL } },
	{ L, { "RXCSUM", RXCSUM, .reset = 0x300, .rw = ALL } },
	{ L, { "RFCTL", RFCTL, .rw = ALL } },
	{ BOTH, { "MTA", MTA, .count = 128, .rw = ALL } },
	{ BOTH, { "RAL", RAL(0), .count = N_RAR, .stride = 8, .rw = ALL } },
	{ BOTH, { "RAH", RAH(0), .count = N_RAR, .stride = 8, .rw = 0x8003ffff } },
	{ BOTH, { "VFTA", VFTA, .count = 128, .rw = ALL } },
	{ BOTH, { "WUC", 0x05800, .rw = ALL } },
	{ BOTH, { "WUFC", 0x05808, .rw = ALL } },
	{ BOTH, { "WUS", 0x05810, .rw = ALL } },
	{ L, { "MRQC", MRQC, .rw = ALL } },
	{ BOTH, { "MANC", MANC, .rw = ALL } },
	{ BOTH, { "IPAV", 0x05838, .rw = ALL } },
	{ BOTH, { "IP4AT", 0x05840, .count = 8, .rw = ALL } },
	{ L, { "MANC2H", 0x05860, .rw = ALL } },
	{ BOTH, { "IP6AT", 0x05880, .count = 4, .rw = ALL } },
	{ L, { "MDEF", 0x05890, .count = 8, .rw = ALL } },
	{ BOTH, { "WUPL", 0x05900, .rw = ALL } },
	{ BOTH, { "WUPM", 0x05a00, .count = 32 } },
	{ L, { "GCR", GCR, .rw = ALL } },
	{ L, { "FACTPS", FACTPS, .rw = ALL } },
	/* not in the 8254x manual; some drivers take SWESMBI and a flag for every chip's EEPROM */
	{ EM, { "SWSM", SWSM, .rw = 0xf } },
	{ L, { "SWSM", SWSM, .rw = 0xf, .read = read_SWSM } },
	{ L, { "FWSM", FWSM } },
	{ BOTH, { "SW_FW_SYNC", SW_FW_SYNC, .rw = ALL } },
	{ L, { "GCR2", GCR2, .rw = ALL } },
	{ L, { "PBACLR", PBACLR } },
	{ L, { "RETA", RETA, .count = 32, .rw = ALL } },
	{ L, { "RSSRK", RSSRK, .count = 10, .rw = ALL } },
	{ BOTH, { "FFLT", 0x05f00, .count = 4, .stride = 8, .rw = 0x7ff } },
	{ BOTH, { "HOST_IF", 0x08800, .count = 256, .rw = ALL } },
	{ BOTH, { "FFMT", 0x09000, .count = 128, .stride = 8, .rw = 0xf } },
	{ BOTH, { "FFVT", 0x09800, .count = 128, .stride = 8, .rw = ALL } },
	{ L, { "SYSTIML", 0x0b600, .rw = ALL } },
	{ L, { "SYSTIMH", 0x0b604, .rw = ALL } },
	{ L, { "TIMINCA", 0x0b608, .rw = ALL } },
	{ L, { "TIMADJL", 0x0b60c, .rw = ALL } },
	{ L, { "TIMADJH", 0x0b610, .rw = ALL } },
	{ L, { "TSYNCTXCTL", 0x0b614, .rw = ALL } },
	{ L, { "TXSTMPL", 0x0b618 } },
	{ L, { "TXSTMPH", 0x0b61c } },
	{ L, { "TSYNCRXCTL", 0x0b620, .rw = ALL } },
	{ L, { "RXSTMPL", 0x0b624 } },
	{ L, { "RXSTMPH", 0x0b628 } },
	{ L, { "RXSATRL", 0x0b62c } },
	{ L, { "RXSATRH", 0x0b630 } },
	{ L, { "RXMTRL", 0x0b634, .rw = ALL } },
	{ L, { "RXUDP", 0x0b638, .rw = ALL } },
	{ BOTH, { "PBM", 0x10000, .count = 0x4000, .rw = ALL } },
};

/* The 82542's places of some registers (8254x manual table 13-3), which later chips answer too. */
static const struct alias {
	uint32_t from, to, bytes;
} aliases[] = {
	{ 0x00004, CTRL, 4 },	   { 0x00040, RAL(0), 0x80 }, { 0x00108, RDTR, 4 },
	{ 0x00110, RDBAL(0), 12 }, { 0x00120, RDH(0), 4 },    { 0x00128, RDT(0), 4 },
	{ 0x00160, FCRTH, 4 },	   { 0x00168, FCRTL, 4 },     { 0x00200, MTA, 0x200 },
	{ 0x00420, TDBAL(0), 12 }, { 0x00430, TDH(0), 4 },    { 0x00438, TDT(0), 4 },
	{ 0x00440, TIDV, 4 },	   { 0x00600, VFTA, 0x200 },  { 0x08000, 0x02410, 4 },
	{ 0x08008, 0x02418, 4 },   { 0x08010, 0x03410, 4 },   { 0x08018, 0x03418, 4 },
};

static uint64_t unalias(uint64_t offset)
{
	if (offset == STATUS || offset >= 0x8020 || (offset >= 0x800 && offset < 0x8000))
		return offset;
	for (unsigned i = 0; i < ARRAY_SIZE(aliases); i++)
		if (offset - aliases[i].from < aliases[i].bytes)
			return aliases[i].to + (offset - aliases[i].from);
	return offset;
}

int e1000_regs_init(struct e1000 *dev)
{
	size_t n = 0;

	dev->rows = calloc(ARRAY_SIZE(rows), sizeof(dev->rows[0]));
	if (!dev->rows)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].chips & dev->variant->chip)
			dev->rows[n++] = rows[i].reg;
	dev->table = (struct reg_table){ dev->rows, n, E1000_BAR_BYTES };
	dev->nic.regs = reg_bank_new(&dev->table, dev, NULL);
	return dev->nic.regs ? 0 : -errno;
}

void e1000_regs_done(struct e1000 *dev)
{
	reg_bank_free(dev->nic.regs);
	free(dev->rows);
}

void e1000_bar_read(struct e1000 *dev, uint64_t offset, void *buf, size_t len)
{
	reg_bank_read(dev->nic.regs, unalias(offset), buf, len);
}

/* A trapped store into a ring page: what the plain memory cannot do for it. */
static void page_wrote(struct e1000 *dev, uint64_t offset, const void *buf, size_t len)
{
	uint32_t value = 0;

	if (offset - TX_PAGE < 0x1000)
		e1000_tx_kick(dev);
	else
		e1000_rx_wait_kick(dev);
	if (len != 4)
		return;
	memcpy(&value, buf, 4);
	if (value & DELAY_FPD && offset == RDTR)
		e1000_irq_raise(dev, ICR_RXT0);
	if (value & DELAY_FPD && offset == TIDV)
		e1000_irq_raise(dev, ICR_TXDW);
}

void e1000_bar_write(struct e1000 *dev, uint64_t offset, const void *buf, size_t len)
{
	offset = unalias(offset);
	reg_bank_write(dev->nic.regs, offset, buf, len);
	if (offset - RX_PAGE < 0x2000)
		page_wrote(dev, offset, buf, len);
}

void e1000_quiesce_tx(struct e1000 *dev)
{
	for (unsigned i = 0; i < dev->variant->n_queues; i++) {
		pthread_mutex_lock(&dev->tx[i].lock);
		if (!(e1000_get(dev, TCTL) & TCTL_EN) || !e1000_dma_ok(dev))
			e1000_tx_remote_stop(dev->tx[i].remote);
		pthread_mutex_unlock(&dev->tx[i].lock);
	}
}

void e1000_quiesce_rx(struct e1000 *dev)
{
	pthread_mutex_lock(&dev->rx_lock);
	if (!(e1000_get(dev, RCTL) & RCTL_EN) || !e1000_dma_ok(dev)) {
		e1000_rx_remote_stop(dev);
		e1000_rx_wait_stop(dev);
	}
	pthread_mutex_unlock(&dev->rx_lock);
}

void e1000_reset(struct e1000 *dev, bool function)
{
	unsigned n = dev->variant->n_queues;

	/* all queues stand still while the registers change under them */
	for (unsigned i = 0; i < n; i++)
		pthread_mutex_lock(&dev->tx[i].lock);
	pthread_mutex_lock(&dev->rx_lock);
	reg_bank_reset(dev->nic.regs);
	reg_set(dev->nic.regs, RAL(0), load_le32(dev->nvm));
	reg_set(dev->nic.regs, RAH(0), dev->nvm[2] | RAH_AV);
	for (unsigned i = 0; i < n; i++)
		e1000_tx_reset(&dev->tx[i]);
	e1000_rx_reset(dev);
	e1000_stats_reset(dev);
	pthread_mutex_unlock(&dev->rx_lock);
	for (unsigned i = n; i-- > 0;)
		pthread_mutex_unlock(&dev->tx[i].lock);

	e1000_nvm_reset(dev);
	dev->ioaddr = 0;
	COUNT(dev->resets, 1);
	if (function)
		e1000_phy_reset(dev);
	e1000_irq_reset(dev);
	e1000_tx_kick(dev); /* so that nobody looks any more */
}
