/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupts in each mode, masks, moderation. */
#include "e1000_harness.h"

#include "base/clock.h"

#define LSC ICR_LSC

static uint8_t frame[2048];

static void receive_one(void)
{
	uint32_t len = frame_udp(frame, own_mac, 100);

	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
}

/* ---- INTx -------------------------------------------------------------------------------- */

static void test_intx_is_a_level(void **state)
{
	interrupts(PCI_IRQ_INTX);
	wr(ICS, LSC);
	assert_false(pci_intx_get(nic->pci));
	wr(IMS, LSC);
	assert_true(pci_intx_get(nic->pci));
	assert_int_equal(fired(0), 1);
	/* not acknowledged: again after the client's unmask */
	pci_intx_unmask(nic->pci);
	assert_int_equal(fired(0), 1);
	assert_int_equal(rd(ICR) & ~ICR_ASSERTED, LSC);
	assert_false(pci_intx_get(nic->pci));
	pci_intx_unmask(nic->pci);
	assert_int_equal(fired(0), 0);
}

static void test_interrupt_test_of_ethtool(void **state)
{
	interrupts(PCI_IRQ_INTX);
	for (unsigned bit = 0; bit < 10; bit++) {
		uint32_t mask = BIT(bit);

		wr(IMC, mask);
		wr(ICS, mask);
		assert_false(pci_intx_get(nic->pci));
		rd(ICR);
		wr(IMS, mask);
		wr(ICS, mask);
		assert_true(pci_intx_get(nic->pci));
		assert_true(rd(ICR) & mask);
		assert_false(pci_intx_get(nic->pci));
		wr(IMC, ~mask & 0x7fff);
		wr(ICS, ~mask & 0x7fff);
		assert_false(pci_intx_get(nic->pci));
		wr(IMC, ~0u);
		wr(ICR, ~0u);
	}
}

static void test_82540em_icr(void **state)
{
	wr(IMS, 0);
	wr(ICS, LSC | ICR_TXDW);
	assert_int_equal(rd(ICS), LSC | ICR_TXDW); /* reads without clearing */
	wr(ICR, LSC);
	assert_int_equal(rd(ICR), ICR_TXDW);
	assert_int_equal(rd(ICR), 0);
	wr(IMS, LSC);
	wr(IMS, ICR_TXDW);
	assert_int_equal(rd(IMS), LSC | ICR_TXDW);
	wr(IMC, LSC);
	assert_int_equal(rd(IMS), ICR_TXDW);
	/* a read clears even what is masked, and there is no bit 31 */
	wr(ICS, LSC);
	assert_int_equal(rd(ICR), LSC);
	assert_int_equal(rd(ICR), 0);
}

static void test_82574_icr_keeps_masked_causes(void **state)
{
	interrupts(PCI_IRQ_INTX);
	wr(IMS, ICR_RXT0);
	wr(ICS, LSC);
	assert_int_equal(rd(ICR), LSC);
	assert_int_equal(rd(ICR), LSC);
	wr(ICS, ICR_RXT0);
	assert_int_equal(rd(ICR), ICR_ASSERTED | LSC | ICR_RXT0);
	assert_int_equal(rd(ICR), 0);
}

static void test_82574_auto_mask(void **state)
{
	interrupts(PCI_IRQ_INTX);
	wr(CTRL_EXT, CTRL_EXT_IAME);
	wr(IAM, ~0u);
	wr(IMS, LSC | ICR_RXT0);
	wr(ICS, LSC);
	assert_true(rd(ICR) & ICR_ASSERTED);
	assert_int_equal(rd(IMS), 0);
	assert_false(pci_intx_get(nic->pci));
}

/* Windows clears OTHER and means everything behind it. */
static void test_82574_writing_other(void **state)
{
	interrupts(PCI_IRQ_MSIX);
	wr(ICS, LSC | ICR_RXO);
	assert_true(rd(ICS) & ICR_OTHER);
	wr(ICR, ICR_OTHER);
	assert_int_equal(rd(ICS), 0);
}

/* ---- MSI --------------------------------------------------------------------------------- */

static void msi(void)
{
	uint16_t control;

	interrupts(PCI_IRQ_MSI);
	pci_config_read(nic->pci, 0xd2, &control, 2);
	control |= 1;
	pci_config_write(nic->pci, 0xd2, &control, 2);
	interrupts(PCI_IRQ_MSI);
}

static void test_msi_on_rising_causes(void **state)
{
	msi();
	wr(IMS, LSC | BIT(3));
	wr(ICS, LSC);
	assert_int_equal(fired(0), 1);
	wr(ICS, LSC); /* still set */
	assert_int_equal(fired(0), 0);
	wr(ICS, BIT(3)); /* another one */
	assert_int_equal(fired(0), 1);
	rd(ICR);
	wr(ICS, LSC);
	assert_int_equal(fired(0), 1);
}

/* ---- MSI-X ------------------------------------------------------------------------------- */

/* As Linux e1000e: receive 0, transmit 1, other 2. */
static void msix(void)
{
	interrupts(PCI_IRQ_MSIX);
	wr(EIAC, 0x00500000);
	wr(IVAR, 0x800a0908);
	wr(CTRL_EXT, CTRL_EXT_IAME);
	wr(IAM, ~0u);
	wr(IMS, 0x01570244);
}

static void test_msix_link_by_ics(void **state)
{
	msix();
	wr(ICS, LSC | ICR_OTHER);
	assert_int_equal(fired(2), 1);
	assert_int_equal(fired(0) + fired(1), 0);
	/* its read of ICR does not mask the queues (Linux does not unmask them there) */
	assert_true(rd(ICR) & LSC);
	assert_int_equal(rd(IMS), 0x01570244);
	assert_int_equal(rd(ICR), 0);
	wr(ICS, LSC);
	assert_int_equal(fired(2), 1);
}

static void test_msix_receive(void **state)
{
	msix();
	rx_start(0, RCTL_EN | RCTL_SECRC);
	receive_one();
	assert_int_equal(fired(0), 1);
	assert_int_equal(fired(1) + fired(2), 0);
	/* auto-cleared: masked until the driver re-arms */
	assert_false(rd(IMS) & ICR_RXQ0);
	receive_one();
	assert_int_equal(fired(0), 0);
	wr(IMS, ICR_RXQ0);
	assert_int_equal(fired(0), 1); /* what came meanwhile, at once */
	wr(IMS, ICR_RXQ0);
	assert_int_equal(fired(0), 0);
}

static void test_msix_transmit(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	msix();
	tx_start(0);
	tx_frame(0, frame, len);
	assert_int_equal(fired(1), 1);
	assert_int_equal(fired(0) + fired(2), 0);
}

/* No descriptor asked for a report: nobody is told. */
static void test_msix_transmit_without_rs(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	msix();
	tx_start(0);
	memcpy(at(TX_BUFFER), frame, len);
	tx_desc(0, 0, TX_BUFFER, len | TXD_EOP, 0);
	wr(TDT(0), 1);
	tx_poll(0);
	assert_int_equal(n_sent, 1);
	assert_int_equal(fired(1), 0);
}

/* FreeBSD: both causes of a queue in one vector. */
static void test_msix_shared_vector(void **state)
{
	interrupts(PCI_IRQ_MSIX);
	wr(EIAC, 0x01f00000);
	wr(IVAR, 0x80090808 & ~0xf0u);
	wr(IMS, ICR_RXQ0 | ICR_TXQ0 | ICR_OTHER | LSC);
	wr(ICS, ICR_RXQ0 | ICR_TXQ0);
	assert_int_equal(fired(0), 1);
	assert_false(rd(IMS) & (ICR_RXQ0 | ICR_TXQ0));
	wr(ICS, ICR_RXQ0 | ICR_TXQ0);
	wr(IMS, ICR_RXQ0);
	assert_int_equal(fired(0), 1);
	wr(IMS, ICR_TXQ0);
	assert_int_equal(fired(0), 1);
}

static void test_msix_vector_out_of_range(void **state)
{
	msix();
	for (unsigned vector = 5; vector < 8; vector++) {
		wr(IVAR, 0x80000000 | (8 | vector) * 0x11111u);
		wr(IMS, ~0u);
		wr(ICS, ~0u);
		wr(ICR, ~0u);
	}
	wr(IVAR, 0); /* no valid bits */
	wr(ICS, ~0u);
	for (unsigned i = 0; i < E1000_VECTORS; i++)
		assert_int_equal(fired(i), 0);
	assert_int_equal(stat("irq_raised"), 0);
}

static void test_eitr_delays_and_does_not_lose(void **state)
{
	msix();
	wr(EITR0, 0xffff); /* 16.8 ms */
	rx_start(0, RCTL_EN | RCTL_SECRC);
	receive_one();
	assert_int_equal(fired(0), 1);
	wr(IMS, ICR_RXQ0);
	receive_one();
	receive_one();
	assert_int_equal(fired(0), 0);
	assert_int_equal(stat("irq_throttled") > 0, 1);
	/* another vector has a clock of its own */
	wr(ICS, LSC);
	assert_int_equal(fired(2), 1);
	assert_true(timer_run());
	assert_int_equal(fired(0), 1);
	assert_false(timer_run());
	assert_int_equal(fired(0), 0);
}

static void test_eitr_0_lets_go(void **state)
{
	msix();
	wr(EITR0, 0xffff);
	wr(ICS, ICR_RXQ0);
	assert_int_equal(fired(0), 1);
	wr(IMS, ICR_RXQ0);
	wr(ICS, ICR_RXQ0);
	assert_int_equal(fired(0), 0);
	wr(EITR0, 0);
	assert_int_equal(fired(0), 1);
}

/* ---- transmit interrupts that gather ----------------------------------------------------- */

#define BULK	    976 /* Linux: 4000 a second */
#define LOW_LATENCY 195 /* and 20000 */

static unsigned sent_before;

static void gather_start(uint32_t eitr)
{
	msix();
	wr(EITR0, eitr);
	tx_start(0);
	wr(TIDV, 8);
	sent_before = 0;
}

static void send_one(uint32_t len, uint32_t ide)
{
	unsigned at_index = sent_before++ % RING_N;
	uint64_t address = TX_BUFFER + at_index * 4096ull;

	frame_udp(at(address), peer_mac, len - 42);
	tx_desc(0, at_index, address, len | TXD_EOP | TXD_RS | ide, 0);
	wr(TDT(0), sent_before % RING_N);
	tx_poll(0);
	/* that it is done can be seen at once */
	assert_int_equal(((uint8_t *)at(TX_RING + at_index * 16))[12], TXD_STA_DD);
	assert_int_equal(rd(TDH(0)), sent_before % RING_N);
}

static void test_bulk_gathers(void **state)
{
	gather_start(BULK);
	for (unsigned round = 0; round < 3; round++) {
		uint64_t start = turn.now_ns;

		for (unsigned i = 0; i < 5; i++)
			send_one(1000, TXD_IDE);
		assert_int_equal(fired(1), 0);
		assert_true(timer_run());
		assert_int_equal(fired(1), 1);
		assert_true(turn.now_ns - start <= 500000);
		assert_false(timer_run());
		wr(IMS, ICR_TXQ0);
		assert_int_equal(fired(1), 0);
	}
	/* one that is not to be delayed takes the others along */
	send_one(1000, TXD_IDE);
	assert_int_equal(fired(1), 0);
	send_one(1000, 0);
	assert_int_equal(fired(1), 1);
	assert_false(timer_run());
}

static void test_others_do_not_gather(void **state)
{
	/* latency matters to the driver */
	gather_start(LOW_LATENCY);
	send_one(1000, TXD_IDE);
	assert_int_equal(fired(1), 1);
	/* it does not want transmit interrupts delayed */
	wr(EITR0, BULK);
	wr(TIDV, 0);
	wr(IMS, ICR_TXQ0);
	send_one(1000, TXD_IDE);
	assert_int_equal(fired(1), 1);
	/* one vector for both directions */
	wr(TIDV, 8);
	wr(IVAR, 0x800a0808);
	wr(IMS, ICR_TXQ0);
	send_one(1000, TXD_IDE);
	assert_int_equal(fired(0), 1);
	/* no vector to receive with */
	wr(IVAR, 0x800a0900);
	wr(IMS, ICR_TXQ0);
	send_one(1000, TXD_IDE);
	assert_int_equal(fired(1), 1);
}

/* A guest that may be waiting for it is told: much data, or a quarter of its ring. */
static void test_much_is_told(void **state)
{
	gather_start(BULK);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < RING_N / 4; i++) {
			assert_int_equal(fired(1), 0);
			send_one(100, TXD_IDE);
		}
		assert_int_equal(fired(1), 1);
		wr(IMS, ICR_TXQ0);
	}
	/* what has been told is not counted again */
	send_one(100, TXD_IDE);
	assert_true(timer_run());
	assert_int_equal(fired(1), 1);
	wr(IMS, ICR_TXQ0);
	for (unsigned i = 0; i < RING_N / 4 - 1; i++)
		send_one(100, TXD_IDE);
	assert_int_equal(fired(1), 0);
}

static void test_much_data_is_told(void **state)
{
	uint64_t sent_octets = 0;

	gather_start(BULK);
	/* a ring of 4096: its quarter is more than what follows */
	wr(TDBAL(0), GUEST_BASE + 0x200000);
	wr(TDLEN(0), 0x10000);
	for (unsigned i = 0; sent_octets < 256 * 1024; i++) {
		uint64_t desc = GUEST_BASE + 0x200000 + i * 16;

		assert_int_equal(fired(1), 0);
		frame_udp(at(TX_BUFFER), peer_mac, 9000);
		store_le64(at(desc), TX_BUFFER);
		store_le32(at(desc + 8), 9042 | TXD_EOP | TXD_RS | TXD_IDE);
		wr(TDT(0), i + 1);
		tx_poll(0);
		sent_octets += 9046;
	}
	assert_int_equal(fired(1), 1);
}

static void test_gathered_is_let_go(void **state)
{
	gather_start(BULK);
	send_one(1000, TXD_IDE);
	wr(EITR0, LOW_LATENCY); /* the driver has changed its mind */
	assert_int_equal(fired(1), 1);
	wr(EITR0, BULK);
	wr(IMS, ICR_TXQ0);
	send_one(1000, TXD_IDE);
	wr(CTRL_EXT, CTRL_EXT_IAME | CTRL_EXT_INT_TIMERS_CLR);
	assert_int_equal(fired(1), 1);
	wr(IMS, ICR_TXQ0);
	send_one(1000, TXD_IDE);
	wr(CTRL, rd(CTRL) | CTRL_RST);
	assert_false(timer_run());
	assert_int_equal(fired(1), 0);
	assert_int_equal(rd(ICS), 0);
}

/* ---- delays without MSI-X ---------------------------------------------------------------- */

static void test_itr(void **state)
{
	interrupts(PCI_IRQ_INTX);
	wr(ITR, 0xffff);
	wr(IMS, LSC);
	wr(ICS, LSC);
	assert_true(pci_intx_get(nic->pci));
	rd(ICR);
	wr(ICS, LSC);
	assert_false(pci_intx_get(nic->pci));
	assert_true(timer_run());
	assert_true(pci_intx_get(nic->pci));
}

static void test_rdtr_and_radv(void **state)
{
	uint64_t start_ns;

	interrupts(PCI_IRQ_INTX);
	wr(IMS, ICR_RXT0);
	rx_start(0, RCTL_EN | RCTL_SECRC);
	wr(RDTR, 0xffff);
	wr(RADV, 10);
	receive_one();
	assert_false(rd(ICS) & ICR_RXT0);
	start_ns = time_now_ns();
	assert_true(timer_run());
	assert_true(pci_intx_get(nic->pci));
	assert_int_equal(time_now_ns() - start_ns, 10 * 1024); /* RDTR is 67 ms */
	rd(ICR);
	wr(RDTR, 0); /* and now neither */
	receive_one();
	assert_true(pci_intx_get(nic->pci));
}

static void test_rdtr_flush(void **state)
{
	rx_start(0, RCTL_EN | RCTL_SECRC);
	wr(RDTR, 0xffff | DELAY_FPD);
	assert_true(rd(ICS) & ICR_RXT0);
	assert_int_equal(rd(RDTR), 0xffff);
}

/* Sends a frame whose interrupt is to be delayed; returns its length. */
static uint32_t send_delayed(uint32_t tidv, uint32_t tadv)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	interrupts(PCI_IRQ_INTX);
	wr(IMS, ICR_TXDW);
	tx_start(0);
	wr(TIDV, tidv);
	wr(TADV, tadv);
	memcpy(at(TX_BUFFER), frame, len);
	tx_desc(0, 0, TX_BUFFER, len | TXD_EOP | TXD_RS | TXD_IDE, 0);
	wr(TDT(0), 1);
	tx_poll(0);
	assert_false(pci_intx_get(nic->pci));
	return len;
}

static void test_tidv_with_ide_only(void **state)
{
	uint32_t len = send_delayed(20, 0);

	assert_true(timer_run());
	assert_true(pci_intx_get(nic->pci));
	rd(ICR);
	tx_frame(1, frame, len); /* without IDE */
	assert_true(pci_intx_get(nic->pci));
}

/* However often TIDV starts anew. */
static void test_tadv(void **state)
{
	uint64_t start_ns = time_now_ns(); /* which stands still */

	send_delayed(0xffff, 20);
	assert_true(timer_run());
	assert_true(pci_intx_get(nic->pci));
	assert_int_equal(time_now_ns() - start_ns, 20 * 1024); /* TIDV is 67 ms */
}

static void test_reset_stops_timers(void **state)
{
	interrupts(PCI_IRQ_INTX);
	wr(IMS, ICR_RXT0);
	rx_start(0, RCTL_EN | RCTL_SECRC);
	wr(RDTR, 100);
	receive_one();
	wr(CTRL, rd(CTRL) | CTRL_RST);
	assert_false(timer_run());
	assert_int_equal(rd(ICS), 0);
}

static void test_reset_drops_the_line(void **state)
{
	interrupts(PCI_IRQ_INTX);
	wr(IMS, LSC);
	wr(ICS, LSC);
	assert_true(pci_intx_get(nic->pci));
	wr(CTRL, rd(CTRL) | CTRL_RST);
	assert_false(pci_intx_get(nic->pci));
}

/* iPXE: no interrupts at all, only ICR. */
static void test_polled_by_icr(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	rx_start(0, RCTL_EN | RCTL_SECRC);
	tx_start(0);
	tx_frame(0, frame, len);
	assert_int_equal(rd(ICR), ICR_TXDW | ICR_TXQE);
	receive_one();
	assert_int_equal(rd(ICR), ICR_RXT0);
	assert_int_equal(rd(ICR), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		both(test_intx_is_a_level),
		both(test_interrupt_test_of_ethtool),
		em(test_82540em_icr),
		l(test_82574_icr_keeps_masked_causes),
		l(test_82574_auto_mask),
		l(test_82574_writing_other),
		l(test_msi_on_rising_causes),
		l(test_msix_link_by_ics),
		l(test_msix_receive),
		l(test_msix_transmit),
		l(test_msix_transmit_without_rs),
		l(test_msix_shared_vector),
		l(test_msix_vector_out_of_range),
		l(test_eitr_delays_and_does_not_lose),
		l(test_eitr_0_lets_go),
		l(test_bulk_gathers),
		l(test_others_do_not_gather),
		l(test_much_is_told),
		l(test_much_data_is_told),
		l(test_gathered_is_let_go),
		both(test_itr),
		both(test_rdtr_and_radv),
		trap(test_rdtr_flush),
		both(test_tidv_with_ide_only),
		both(test_tadv),
		both(test_reset_stops_timers),
		both(test_reset_drops_the_line),
		both(test_polled_by_icr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
