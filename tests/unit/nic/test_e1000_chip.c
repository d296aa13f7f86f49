/* SPDX-License-Identifier: BSD-2-Clause */
/* Register file, resets, NVM, PHY and link. */
#include "e1000_harness.h"

static void test_reset_values_82540em(void **state)
{
	assert_int_equal(rd(CTRL), 0x00140240);
	assert_int_equal(rd(STATUS), 0x80080783);
	assert_int_equal(rd(PBA), 0x00100030);
	assert_int_equal(rd(LEDCTL), 0x602);
	assert_int_equal(rd(RAL(0)), 0x12005452);
	assert_int_equal(rd(RAH(0)), 0x80005634);
	assert_int_equal(rd(0x02828), 0x10000); /* RXDCTL */
	assert_int_equal(rd(IVAR), 0);
	assert_int_equal(rd(0x1fffc), 0);
}

static void test_reset_values_82574l(void **state)
{
	assert_int_equal(rd(STATUS) & 0x000800c3, 0x00080083);
	assert_int_equal(rd(EECD) & 0x300, 0x300);
	assert_int_equal(rd(EEWR) & 2, 2);
	assert_int_equal(rd(0x03840), 0x403); /* TARC0 */
	assert_int_equal(rd(0x03940), 0x403);
	assert_int_equal(rd(RXCSUM), 0x300);
}

static void test_status_ignores_writes(void **state)
{
	uint32_t before = rd(STATUS);

	wr(STATUS, 0);
	assert_int_equal(rd(STATUS) & ~STATUS_PHYRA, before & ~STATUS_PHYRA);
	wr(STATUS, ~0u);
	assert_int_equal(rd(STATUS) & ~STATUS_PHYRA, before & ~STATUS_PHYRA);
}

static void test_gio_master_disable_clears_status(void **state)
{
	wr(CTRL, rd(CTRL) | CTRL_GIO_MD);
	assert_false(rd(STATUS) & STATUS_GIO_EN);
	wr(CTRL, rd(CTRL) & ~CTRL_GIO_MD);
	assert_true(rd(STATUS) & STATUS_GIO_EN);
}

static void dirty_everything(void)
{
	for (uint32_t at = 0; at < E1000_BAR_BYTES; at += 4)
		if (at != CTRL && at != 4)
			wr(at, 0x5a5a5a5a);
}

static void check_after_reset(void)
{
	assert_int_equal(rd(RCTL), 0);
	assert_int_equal(rd(TCTL), 0);
	assert_int_equal(rd(IMS), 0);
	assert_int_equal(rd(TDBAL(0)), 0);
	assert_int_equal(rd(TDH(0)), 0);
	assert_int_equal(rd(TDT(0)), 0);
	assert_int_equal(rd(RDT(0)), 0);
	assert_int_equal(rd(RAL(0)), 0x12005452);
	assert_int_equal(rd(RAH(0)), 0x80005634);
	assert_int_equal(rd(RAH(1)), 0);
	assert_int_equal(rd(MTA), 0);
	assert_int_equal(rd(0x02828), 0x10000);
}

static void test_reset_by_ctrl(void **state)
{
	dirty_everything();
	wr(CTRL, rd(CTRL) | CTRL_RST);
	assert_false(rd(CTRL) & CTRL_RST);
	check_after_reset();
	assert_int_equal(rd(PBA), 0x5a5a5a5a); /* survives */
}

static void test_reset_by_function(void **state)
{
	dirty_everything();
	pci_function_reset(nic->pci, PCI_RESET_FUNCTION);
	bus_master(true); /* COMMAND is 0 */
	check_after_reset();
}

static void io(unsigned bar, uint32_t offset, uint32_t value)
{
	uint32_t zero_based = offset;

	assert_int_equal(pci_bar_write(nic->pci, bar, 0, &zero_based, 4), 0);
	assert_int_equal(pci_bar_write(nic->pci, bar, 4, &value, 4), 0);
}

static void test_reset_through_io_bar(void **state)
{
	uint32_t value;

	dirty_everything();
	io(1, CTRL, rd(CTRL) | CTRL_RST);
	check_after_reset();
	/* the window reads too, and reaches the shared page */
	io(1, TDT(0), 7);
	assert_int_equal(rd(TDT(0)), 7);
	assert_int_equal(pci_bar_read(nic->pci, 1, 4, &value, 4), 0);
	assert_int_equal(value, 7);
	/* nonsense addresses do nothing */
	io(1, 0xfffffffc, ~0u);
	assert_int_equal(pci_bar_read(nic->pci, 1, 4, &value, 4), 0);
	assert_int_equal(value, 0);
}

static void test_aliases_reach_the_shared_page(void **state)
{
	wr(0x00438, 5); /* TDT */
	assert_int_equal(rd(TDT(0)), 5);
	wr(RDT(0), 9);
	assert_int_equal(rd(0x00128), 9);
	assert_int_equal(rd(0x00040), rd(RAL(0)));
	assert_int_equal(rd(0x00004), rd(CTRL));
}

static void test_odd_accesses(void **state)
{
	uint8_t buf[16];

	for (unsigned len = 1; len <= 9; len++)
		for (uint32_t at = 0; at < 0x5000; at += 3) {
			memset(buf, 0xff, sizeof(buf));
			pci_bar_read(nic->pci, 0, at, buf, len);
		}
	assert_int_not_equal(pci_bar_write(nic->pci, 0, E1000_BAR_BYTES - 3, buf, 7), 0);
	wr(FCAL, 0x11223344);
	buf[0] = 0xaa;
	assert_int_equal(pci_bar_write(nic->pci, 0, FCAL + 1, buf, 1), 0);
	assert_int_equal(rd(FCAL), 0x1122aa44);
}

/* ---- NVM --------------------------------------------------------------------------------- */

static uint16_t eerd(unsigned address)
{
	bool big = dev->variant->chip == CHIP_82574L;
	uint32_t value;

	wr(EERD, 1 | address << (big ? 2 : 8));
	value = rd(EERD);
	assert_true(value & (big ? BIT(1) : BIT(4)));
	if (!big) /* the other layout's bit would mislead drivers */
		assert_false(value & BIT(1));
	return (uint16_t)(value >> 16);
}

static void test_nvm_checksum_by_eerd(void **state)
{
	uint16_t sum = 0;

	for (unsigned i = 0; i < 64; i++)
		sum = (uint16_t)(sum + eerd(i));
	assert_int_equal(sum, 0xbaba);
	assert_int_equal(eerd(0), 0x5452);
	assert_int_equal(eerd(2), 0x5634);
	assert_int_equal(eerd(0x1b) >> 7 & 7, dev->variant->chip == CHIP_82574L ? 4 : 4);
	eerd(200); /* beyond the part */
}

static void clock_bit(bool di)
{
	uint32_t base = EECD_REQ | EECD_CS | (di ? EECD_DI : 0);

	wr(EECD, base);
	wr(EECD, base | EECD_SK);
	wr(EECD, base);
}

static uint16_t microwire(unsigned opcode, unsigned address)
{
	uint16_t data = 0;

	wr(EECD, EECD_REQ);
	assert_true(rd(EECD) & EECD_GNT);
	wr(EECD, EECD_REQ | EECD_CS);
	for (int i = 2; i >= 0; i--)
		clock_bit((opcode | 4) >> i & 1);
	for (int i = 5; i >= 0; i--)
		clock_bit(address >> i & 1);
	for (unsigned i = 0; opcode == 2 && i < 16; i++) {
		wr(EECD, EECD_REQ | EECD_CS | EECD_SK);
		data = (uint16_t)(data << 1 | !!(rd(EECD) & EECD_DO));
		wr(EECD, EECD_REQ | EECD_CS);
	}
	wr(EECD, EECD_REQ);
	return data;
}

static void test_nvm_by_microwire(void **state)
{
	uint16_t sum = 0;

	for (unsigned i = 0; i < 64; i++)
		sum = (uint16_t)(sum + microwire(2, i));
	assert_int_equal(sum, 0xbaba);
	assert_int_equal(microwire(2, 1), 0x1200);
	wr(EECD, 0);
	assert_false(rd(EECD) & EECD_GNT);
}

static void spi_out(unsigned bits)
{
	for (unsigned mask = 0x80; mask; mask >>= 1) {
		wr(EECD, bits & mask ? EECD_DI : 0);
		wr(EECD, (bits & mask ? EECD_DI : 0) | EECD_SK);
		wr(EECD, bits & mask ? EECD_DI : 0);
	}
}

static unsigned spi_in(void)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < 8; i++) {
		wr(EECD, EECD_SK);
		bits = bits << 1 | !!(rd(EECD) & EECD_DO);
		wr(EECD, 0);
	}
	return bits;
}

/* As U-Boot reads it, which asks for the status at first and has not yet deselected the part. */
static void test_nvm_by_spi(void **state)
{
	uint16_t sum = 0;

	spi_out(5);
	assert_int_equal(spi_in(), 0); /* ready */
	wr(EECD, EECD_CS);
	wr(EECD, 0);
	spi_out(3);
	spi_out(2);
	assert_int_equal(spi_in(), 0x00);
	assert_int_equal(spi_in(), 0x12);
	assert_int_equal(spi_in(), 0x34); /* goes on by itself */
	wr(EECD, EECD_CS);
	wr(EECD, EECD_CS | EECD_SK); /* not selected: no clock for it */
	wr(EECD, EECD_CS);
	wr(EECD, 0);
	spi_out(3);
	spi_out(0);
	for (unsigned i = 0; i < 64; i++) {
		unsigned low = spi_in();

		sum = (uint16_t)(sum + (low | spi_in() << 8));
	}
	assert_int_equal(sum, 0xbaba);
	for (unsigned i = 0; i < 10000; i++)
		spi_in();
	wr(EECD, EECD_CS);
	wr(EECD, 0);
	spi_out(2); /* a write is not taken */
	spi_out(0);
	spi_out(0x55);
	assert_int_equal(eerd(0), 0x5452);
}

/* U-Boot and barebox take these on every chip before they read the NVM. */
static void test_nvm_semaphores(void **state)
{
	wr(SWSM, rd(SWSM) | SWSM_SWESMBI);
	assert_true(rd(SWSM) & SWSM_SWESMBI);
	wr(SW_FW_SYNC, 1);
	assert_int_equal(rd(SW_FW_SYNC), 1);
	wr(SW_FW_SYNC, 0);
	wr(SWSM, 0);
	assert_false(rd(SWSM) & SWSM_SWESMBI);
}

static void test_microwire_endless_clocks(void **state)
{
	wr(EECD, EECD_REQ | EECD_CS);
	for (unsigned i = 0; i < 100000; i++)
		clock_bit(i & 1);
	wr(EECD, 0);
	assert_int_equal(microwire(2, 0), 0x5452);
}

static void test_nvm_write(void **state)
{
	wr(EEWR, 1 | 0x1b << 2 | 0xbeefu << 16);
	assert_true(rd(EEWR) & 2);
	assert_int_equal(eerd(0x1b), 0xbeef);
	wr(EEWR, 1 | 0x3fffu << 2 | 0xbeefu << 16); /* out of range */
	assert_true(rd(EEWR) & 2);
}

/* ---- PHY and link ------------------------------------------------------------------------ */

static uint32_t mdic(unsigned op, unsigned address, unsigned reg, uint16_t data)
{
	uint32_t value;

	wr(MDIC, op << 26 | address << 21 | reg << 16 | data);
	value = rd(MDIC);
	assert_true(value & MDIC_READY);
	assert_int_equal(value >> 16 & 0x1f, reg);
	return value;
}

static uint16_t phy(unsigned reg)
{
	uint32_t value = mdic(MDIC_OP_READ, 1, reg, 0);

	assert_false(value & MDIC_ERROR);
	return (uint16_t)value;
}

static void test_phy_ids(void **state)
{
	assert_int_equal(phy(2), 0x0141);
	assert_int_equal(phy(3) & 0xfff0, dev->variant->chip == CHIP_82574L ? 0x0cb0 : 0x0c20);
	assert_true(mdic(MDIC_OP_READ, 2, 2, 0) & MDIC_ERROR);
	assert_true(mdic(0, 1, 2, 0) & MDIC_ERROR);
}

static void test_phy_pages(void **state)
{
	mdic(MDIC_OP_WRITE, 1, 22, 2);
	mdic(MDIC_OP_WRITE, 1, 21, 0x1234);
	assert_int_equal(phy(21), 0x1234);
	mdic(MDIC_OP_WRITE, 1, 22, 769); /* not kept, no error */
	mdic(MDIC_OP_WRITE, 1, 16, 0xffff);
	assert_int_equal(phy(16), 0);
	mdic(MDIC_OP_WRITE, 1, 22, 0xffff);
	assert_int_equal(phy(31), 0);
	mdic(MDIC_OP_WRITE, 1, 22, 0);
	assert_int_equal(phy(2), 0x0141);
}

static void test_phy_power_down_drops_the_link(void **state)
{
	assert_int_equal(phy(1), 0x796d);
	assert_true(rd(STATUS) & STATUS_LU);
	mdic(MDIC_OP_WRITE, 1, 0, 0x1940);
	assert_int_equal(phy(1), 0x7949);
	assert_false(rd(STATUS) & STATUS_LU);
	mdic(MDIC_OP_WRITE, 1, 0, 0x9140); /* reset clears it */
	assert_int_equal(phy(0), 0x1140);
	assert_int_equal(phy(1), 0x796d);
}

static void test_link_at_run_time(void **state)
{
	rd(ICR);
	nic->ops->link_set(nic, false);
	assert_false(rd(STATUS) & STATUS_LU);
	assert_true(rd(ICR) & ICR_LSC);
	assert_int_equal(phy(1) & 0x24, 0);
	nic->ops->link_set(nic, true);
	assert_true(rd(STATUS) & STATUS_LU);
	assert_true(rd(ICR) & ICR_LSC);
	nic->ops->link_set(nic, true);
	assert_false(rd(ICR) & ICR_LSC);
}

static void test_statistics_clear_on_read(void **state)
{
	uint8_t frame[64] = { 0 };

	memcpy(frame, peer_mac, 6);
	tx_start(0);
	for (unsigned i = 0; i < 3; i++)
		tx_frame(i, frame, 60);
	assert_int_equal(rd(0x4080), 3); /* GPTC */
	assert_int_equal(rd(0x4080), 0);
	assert_int_equal(rd(0x40d4), 3);      /* TPT */
	assert_int_equal(rd(0x40d8), 3);      /* PTC64 */
	assert_int_equal(rd(0x4090), 3 * 64); /* GOTCL: does not clear */
	assert_int_equal(rd(0x4090), 3 * 64);
	assert_int_equal(rd(0x4094), 0); /* GOTCH: clears both */
	assert_int_equal(rd(0x4090), 0);
}

static void test_unknown_model(void **state)
{
	struct nic_config config = { .name = "x", .model = "82599" };

	assert_null(nic_new(&config, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		em(test_reset_values_82540em),
		l(test_reset_values_82574l),
		em(test_status_ignores_writes),
		l(test_status_ignores_writes),
		l(test_gio_master_disable_clears_status),
		em(test_reset_by_ctrl),
		l(test_reset_by_ctrl),
		trap(test_reset_by_ctrl),
		em(test_reset_by_function),
		l(test_reset_by_function),
		em(test_reset_through_io_bar),
		em(test_aliases_reach_the_shared_page),
		l(test_aliases_reach_the_shared_page),
		em(test_odd_accesses),
		l(test_odd_accesses),
		em(test_nvm_checksum_by_eerd),
		l(test_nvm_checksum_by_eerd),
		l(test_nvm_by_spi),
		em(test_nvm_semaphores),
		l(test_nvm_semaphores),
		em(test_nvm_by_microwire),
		em(test_microwire_endless_clocks),
		l(test_nvm_write),
		em(test_phy_ids),
		l(test_phy_ids),
		l(test_phy_pages),
		em(test_phy_power_down_drops_the_link),
		l(test_phy_power_down_drops_the_link),
		em(test_link_at_run_time),
		l(test_link_at_run_time),
		em(test_statistics_clear_on_read),
		l(test_statistics_clear_on_read),
		cmocka_unit_test(test_unknown_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
