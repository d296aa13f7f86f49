/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The NVM: 64 words, by the EERD and EEWR registers (82574 datasheet 10.2.1.4 and 10.2.2.2,
 * 8254x manual 13.4.4), and bit by bit through EECD, shifted on rising clock edges:
 *
 * 82540EM: to a Microwire part (8254x manual 5.3.1): a start bit, two bits of opcode, six of
 * address, sixteen of data, most significant first, while chip select is high.
 *
 * 82574L: to an SPI part: eight bits of opcode, eight of address, then bytes, the lower one of a
 * word first, while chip select is low. It can only be read so.
 */
#include "nic/e1000/e1000.h"

#define NVM_CHECKSUM_WORD 0x3f
#define NVM_SUM		  0xbaba

#define EERD_DONE_82540	      BIT(4)
#define EERD_ADDRESS_82540(x) (((x) >> 8) & 0xff)
#define EERD_DONE_82574	      BIT(1)
#define EERD_ADDRESS_82574(x) (((x) >> 2) & 0x3fff)

#define SPI_READ 3

enum { MICROWIRE_EXTEND = 0, MICROWIRE_WRITE = 1, MICROWIRE_READ = 2, MICROWIRE_ERASE = 3 };

void e1000_nvm_init(struct e1000 *dev)
{
	const struct pci_ids *ids = &dev->variant->ids;
	uint16_t sum = 0;

	memset(dev->nvm, 0, sizeof(dev->nvm));
	for (unsigned i = 0; i < 3; i++)
		dev->nvm[i] = (uint16_t)(dev->mac[2 * i] | dev->mac[2 * i + 1] << 8);
	dev->nvm[0x04] = 0xffff; /* LEDs: default */
	dev->nvm[0x0b] = ids->subsystem;
	dev->nvm[0x0c] = ids->subsystem_vendor;
	dev->nvm[0x0d] = ids->device;
	dev->nvm[0x0e] = ids->vendor;
	/* FreeBSD rewrites the NVM of an 82574 where bits 9:7 are something else than 4 */
	dev->nvm[0x1b] = 4 << 7;
	for (unsigned i = 0; i < NVM_CHECKSUM_WORD; i++)
		sum = (uint16_t)(sum + dev->nvm[i]);
	dev->nvm[NVM_CHECKSUM_WORD] = (uint16_t)(NVM_SUM - sum);
}

/* The chip's side of the part: what a reset of the chip leaves. */
void e1000_nvm_reset(struct e1000 *dev)
{
	memset(&dev->serial_nvm, 0, sizeof(dev->serial_nvm));
}

static uint16_t nvm_word(const struct e1000 *dev, unsigned address)
{
	return address < E1000_NVM_WORDS ? dev->nvm[address] : 0xffff;
}

void e1000_wrote_EERD(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;
	uint32_t keep, value = written & ~0xffff0000u;

	if (!(written & EERD_START))
		return;
	if (dev->variant->chip == CHIP_82574L) {
		keep = (uint32_t)nvm_word(dev, EERD_ADDRESS_82574(written)) << 16;
		value = (value & ~EERD_START) | EERD_DONE_82574;
	} else {
		keep = (uint32_t)nvm_word(dev, EERD_ADDRESS_82540(written)) << 16;
		/* bit 1 is the other layout's DONE: drivers tell the layouts apart by it */
		value = (value & ~(EERD_START | EERD_DONE_82574)) | EERD_DONE_82540;
	}
	reg_set(dev->nic.regs, EERD, keep | value);
}

void e1000_wrote_EEWR(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;
	unsigned address = EERD_ADDRESS_82574(written);

	if (written & EERD_START && address < E1000_NVM_WORDS)
		dev->nvm[address] = (uint16_t)(written >> 16);
	reg_set(dev->nic.regs, EEWR, (written & ~EERD_START) | EERD_DONE_82574);
}

/* A rising clock edge with chip select high: the part takes DI and shows its next bit on DO. */
static void microwire_clock(struct e1000 *dev, bool di)
{
	struct e1000_serial_nvm *mw = &dev->serial_nvm;

	if (mw->reading) {
		/* after 16 bits the next word follows */
		if (!mw->bits_out) {
			mw->shift_out = nvm_word(dev, mw->address++ & (E1000_NVM_WORDS - 1));
			mw->bits_out = 16;
		}
		mw->bits_out--;
		return;
	}
	if (!mw->bits_in && !di) /* waits for the start bit */
		return;
	mw->shift_in = mw->shift_in << 1 | di;
	mw->bits_in++;
	if (mw->bits_in == 9) {
		unsigned opcode = mw->shift_in >> 6 & 3;

		mw->address = mw->shift_in & (E1000_NVM_WORDS - 1);
		switch (opcode) {
		case MICROWIRE_READ: mw->reading = true; break;
		case MICROWIRE_EXTEND: /* 11xxxx: write enable, 00xxxx: disable */
			if (mw->address >> 4 == 3)
				mw->enabled = true;
			else if (mw->address >> 4 == 0)
				mw->enabled = false;
			break;
		case MICROWIRE_WRITE: mw->writing = true; break;
		case MICROWIRE_ERASE:
			if (mw->enabled)
				dev->nvm[mw->address] = 0xffff;
			break;
		}
	} else if (mw->bits_in == 25) {
		if (mw->writing && mw->enabled)
			dev->nvm[mw->address] = (uint16_t)mw->shift_in;
		mw->writing = false;
	} else if (mw->bits_in > 25) {
		mw->bits_in = 26; /* nothing more until chip select falls */
	}
}

/* The same with chip select low. All that is not a read has zeros for an answer; in the status,
 * which is read first, they mean "ready". */
static void spi_clock(struct e1000 *dev, bool di)
{
	struct e1000_serial_nvm *spi = &dev->serial_nvm;

	if (spi->reading) {
		if (!spi->bits_out) {
			uint16_t word = nvm_word(dev, spi->address / 2 & (E1000_NVM_WORDS - 1));

			spi->shift_out = spi->address++ & 1 ? word >> 8 : word & 0xff;
			spi->bits_out = 8;
		}
		spi->bits_out--;
	} else if (spi->bits_in < 16) {
		spi->shift_in = spi->shift_in << 1 | di;
		if (++spi->bits_in == 16) {
			spi->address = spi->shift_in & 0xff;
			spi->reading = spi->shift_in >> 8 == SPI_READ;
		}
	}
}

void e1000_wrote_EECD(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;
	struct e1000_serial_nvm *part = &dev->serial_nvm;
	bool spi = dev->variant->chip == CHIP_82574L;
	bool selected = spi == !(written & EECD_CS), sk = written & EECD_SK;

	if (!selected || !part->selected) {
		part->reading = false;
		part->writing = false;
		part->bits_in = 0;
		part->shift_in = 0;
		part->bits_out = 0;
	}
	if (selected && part->selected && sk && !part->sk) {
		if (spi)
			spi_clock(dev, written & EECD_DI);
		else
			microwire_clock(dev, written & EECD_DI);
	}
	part->selected = selected;
	part->sk = sk;
}

uint32_t e1000_read_EECD(void *opaque, unsigned index)
{
	struct e1000 *dev = opaque;
	const struct e1000_serial_nvm *part = &dev->serial_nvm;
	uint32_t value = e1000_get(dev, EECD) & ~(EECD_GNT | EECD_DO);
	/* idle, the Microwire part pulls DO high: "ready" */
	bool data = part->reading ? part->shift_out >> part->bits_out & 1
				  : dev->variant->chip == CHIP_82540EM;

	if (value & EECD_REQ)
		value |= EECD_GNT;
	if (data)
		value |= EECD_DO;
	return value;
}
