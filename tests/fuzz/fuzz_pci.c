/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration space and registers: the input is a list of accesses (kind, length, offset, data).
 * The checks are what must hold whatever a guest does: read-only bytes stay, a dump is possible,
 * the line and the mode stay in range.
 */
#include "base/util.h"
#include "pci/function.h"
#include "pci/reg.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct reg_bank *bank;

static void bar_read(struct pci_function *f, unsigned bar, uint64_t offset, void *buf, size_t len)
{
	reg_bank_read(bank, offset, buf, len);
}

static void bar_write(struct pci_function *f, unsigned bar, uint64_t offset, const void *buf,
		      size_t len)
{
	reg_bank_write(bank, offset, buf, len);
}

static const struct pci_function_ops ops = { .bar_read = bar_read, .bar_write = bar_write };

static void wrote(void *dev, unsigned index, uint32_t old, uint32_t written)
{
	if (index >= 16)
		abort();
}

static const struct reg rows[] = {
	{ "CTRL", 0x0, .reset = 0x40240, .rw = ~0u, .wrote = wrote },
	{ "STATUS", 0x8, .reset = 0x80080783 },
	{ "ICR", 0xc0, .rc = ~0u },
	{ "W1C", 0xc4, .reset = ~0u, .w1c = 0xffff },
	{ "RA", 0x5400, .count = 16, .stride = 8, .rw = ~0u, .wrote = wrote },
	{ "TDT", 0x3818, .count = 2, .stride = 0x100, .rw = 0xffff },
};

static void ignore(void *arg, const char *name, uint32_t offset, uint32_t value)
{
	if (!name || offset >= 0x20000)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct reg_table table = { rows, ARRAY_SIZE(rows), 0x20000 };
	const struct pci_ids ids = { 0x8086, 0x10d3, 0, 0, 0x020000, 0 };
	struct pci_function *f = pci_function_new("fuzz", &ids, true, &ops, NULL);
	uint8_t buf[256];
	void *page;

	bank = reg_bank_new(&table, NULL, NULL);
	if (!f || !bank || pci_bar_add(f, 0, PCI_BAR_MEM32, 0x20000) ||
	    pci_bar_share(f, 0, 0x3000, 0x1000, &page) ||
	    reg_bank_share(bank, 0x3000, 0x1000, page) || pci_cap_pm(f, 0xc8) < 0 ||
	    pci_cap_msi(f, 0xd0, 1, true) < 0 || pci_cap_express(f, 0x40) < 0 ||
	    pci_cap_msix(f, 0xa0, 5, 0, 0x10000, 0x11000) < 0)
		abort();
	pci_intx_add(f);
	while (size >= 8) {
		uint64_t offset = load_le32(data + 2);
		size_t len = data[1];

		if (data[0] & 0x80)
			offset |= 0xffffffff00000000ull;
		memset(buf, data[6], sizeof(buf));
		buf[0] = data[7];
		switch (data[0] % 7) {
		case 0: pci_config_write(f, offset % 4100, buf, len); break;
		case 1: pci_config_read(f, offset % 4100, buf, len); break;
		case 2: pci_bar_write(f, 0, offset, buf, len); break;
		case 3: pci_bar_read(f, 0, offset, buf, len); break;
		case 4: pci_intx_set(f, data[7] & 1); break;
		case 5: pci_irq_message(f, data[7]); break;
		default: pci_function_reset(f, PCI_RESET_FUNCTION); break;
		}
		data += 8;
		size -= 8;
	}
	if (pci_config_read(f, 0, buf, 4) || load_le32(buf) != 0x10d38086)
		abort();
	if (reg_get(bank, 0x8) != 0x80080783 || pci_irq_mode(f) != -1)
		abort();
	reg_bank_dump(bank, ignore, NULL);
	reg_bank_free(bank);
	pci_function_free(f);
	return 0;
}
