/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The copper PHY behind MDIC (8254x manual 13.4.11): IEEE 802.3 clause 22 registers, and Marvell's
 * beyond them. Negotiation ends the moment it begins: gigabit, full duplex, no flow control, as
 * long as the administrator has the link up and the driver has not powered the PHY down.
 *
 * On the 82574's PHY, registers 16 to 31 are paged by register 22. Pages 0..7 are kept; others read
 * as 0 and ignore writes, without an error: drivers give up a link over one.
 */
#include "nic/e1000/e1000.h"

#define PHY_ADDRESS 1

enum {
	BMCR = 0,
	BMCR_RESET = 1 << 15,
	BMCR_LOOPBACK = 1 << 14,
	BMCR_AN_ENABLE = 1 << 12,
	BMCR_POWER_DOWN = 1 << 11,
	BMCR_AN_RESTART = 1 << 9,
	BMCR_DEFAULT = 0x1140,
	BMSR = 1,
	BMSR_DOWN = 0x7949,
	BMSR_LINK = 1 << 2,
	BMSR_AN_DONE = 1 << 5,
	PHYID1 = 2,
	PHYID2 = 3,
	ANAR = 4,
	ANLPAR = 5,
	ANER = 6,
	CTRL1000 = 9,
	STAT1000 = 10,
	ESTATUS = 15,
	PSCR = 16,
	PSSR = 17,
	EPSCR = 20,
	PAGE = 22,
};

void e1000_phy_reset(struct e1000 *dev)
{
	uint16_t *phy = dev->phy[0];

	memset(dev->phy, 0, sizeof(dev->phy));
	phy[BMCR] = BMCR_DEFAULT;
	phy[PHYID1] = dev->variant->phy_id[0];
	phy[PHYID2] = dev->variant->phy_id[1];
	phy[ANAR] = 0x0de1;
	phy[ANLPAR] = 0x41e0; /* acknowledged; 10 and 100, both duplexes, no pause */
	phy[ANER] = 0x0001;
	phy[CTRL1000] = 0x0e00;
	phy[ESTATUS] = 0x3000;
	phy[PSCR] = 0x0060;
	phy[EPSCR] = 0x0d60;
	e1000_link_update(dev);
}

void e1000_link_update(struct e1000 *dev)
{
	uint16_t bmcr = dev->phy[0][BMCR];
	bool link = dev->host_link && !(bmcr & BMCR_POWER_DOWN);
	bool was = dev->link;

	WRITE_ONCE(dev->phy_loopback, !!(bmcr & BMCR_LOOPBACK));
	WRITE_ONCE(dev->link, link);
	dev->nic.link_up = link;
	if (link != was)
		e1000_irq_raise(dev, ICR_LSC);
}

static uint16_t phy_read(struct e1000 *dev, unsigned reg)
{
	bool paged = dev->variant->chip == CHIP_82574L && reg >= 16 && reg != PAGE;
	unsigned page = paged ? dev->phy[0][PAGE] : 0;
	bool link = dev->link;

	if (page >= E1000_PHY_PAGES)
		return 0;
	if (!page) {
		switch (reg) {
		case BMSR: return link ? BMSR_DOWN | BMSR_LINK | BMSR_AN_DONE : BMSR_DOWN;
		case STAT1000: return link ? 0x3c00 : 0;
		case PSSR: return link ? dev->variant->phy_status : 0;
		default: break;
		}
	}
	return dev->phy[page][reg];
}

static void phy_write(struct e1000 *dev, unsigned reg, uint16_t value)
{
	bool paged = dev->variant->chip == CHIP_82574L && reg >= 16 && reg != PAGE;
	unsigned page = paged ? dev->phy[0][PAGE] : 0;

	if (page >= E1000_PHY_PAGES)
		return;
	if (!page) {
		switch (reg) {
		case BMCR:
			if (value & BMCR_RESET)
				value = BMCR_DEFAULT;
			value &= (uint16_t)~BMCR_AN_RESTART;
			break;
		case BMSR:
		case PHYID1:
		case PHYID2:
		case ANLPAR:
		case ANER:
		case STAT1000:
		case ESTATUS:
		case PSSR: return;
		default: break;
		}
	}
	dev->phy[page][reg] = value;
	if (!page && reg == BMCR)
		e1000_link_update(dev);
}

void e1000_wrote_MDIC(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;
	unsigned reg = written >> 16 & 0x1f, address = written >> 21 & 0x1f;
	uint32_t value = written & ~(MDIC_READY | MDIC_ERROR);

	if (address != PHY_ADDRESS)
		value |= MDIC_ERROR;
	else if ((written >> 26 & 3) == MDIC_OP_READ)
		value = (value & ~0xffffu) | phy_read(dev, reg);
	else if ((written >> 26 & 3) == MDIC_OP_WRITE)
		phy_write(dev, reg, (uint16_t)written);
	else
		value |= MDIC_ERROR;
	reg_set(dev->nic.regs, MDIC, value | MDIC_READY);
	if (written & MDIC_INT_EN)
		e1000_irq_raise(dev, ICR_MDAC);
}
