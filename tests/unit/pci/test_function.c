/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/util.h"
#include "pci/function.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct pci_function *f;
static unsigned resets, changes, bar_writes;
static uint64_t last_offset;

static void bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, void *buf, size_t len)
{
	memset(buf, 0x5a, len);
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, const void *buf,
		      size_t len)
{
	bar_writes++;
	last_offset = offset;
}

static void reset(struct pci_function *fn, enum pci_reset kind)
{
	resets++;
}

static void state_changed(struct pci_function *fn)
{
	changes++;
}

static const struct pci_function_ops ops = { bar_read, bar_write, reset, state_changed };

static int setup(void **state)
{
	const struct pci_ids ids = { 0x8086, 0x10d3, 0x8086, 0xa01f, 0x020000, 2 };

	resets = changes = bar_writes = 0;
	f = pci_function_new("vm/net0", &ids, true, &ops, NULL);
	assert_int_equal(pci_bar_add(f, 0, PCI_BAR_MEM32, 0x20000), 0);
	assert_int_equal(pci_bar_add(f, 2, PCI_BAR_IO, 32), 0);
	assert_int_equal(pci_bar_add(f, 3, PCI_BAR_MEM32, 0x4000), 0);
	assert_int_equal(pci_cap_pm(f, 0xc8), 0xc8);
	assert_int_equal(pci_cap_msi(f, 0xd0, 1, false), 0xd0);
	assert_int_equal(pci_cap_express(f, 0x40), 0x40);
	assert_int_equal(pci_cap_msix(f, 0xa0, 5, 3, 0, 0x2000), 0xa0);
	assert_int_equal(pci_ext_cap(f, 0x100, 1, 1, 0x40), 0x100);
	assert_int_equal(pci_ext_cap(f, 0x140, 3, 1, 12), 0x140);
	pci_intx_add(f);
	return 0;
}

static int teardown(void **state)
{
	pci_function_free(f);
	return 0;
}

static uint32_t get(unsigned offset, size_t len)
{
	uint32_t value = 0;

	assert_int_equal(pci_config_read(f, offset, &value, len), 0);
	return value;
}

static void put(unsigned offset, uint32_t value, size_t len)
{
	assert_int_equal(pci_config_write(f, offset, &value, len), 0);
}

static void identity_and_capabilities(void **state)
{
	static const uint8_t chain[] = { 0x01, 0x05, 0x10, 0x11 };
	unsigned at = get(0x34, 1);

	assert_int_equal(get(0, 4), 0x10d38086);
	assert_int_equal(get(8, 4), 0x02000002);
	assert_int_equal(get(0x2c, 4), 0xa01f8086);
	assert_int_equal(get(0x3d, 1), 1);
	assert_true(get(6, 2) & 0x10);
	for (unsigned i = 0; i < ARRAY_SIZE(chain); i++) {
		assert_int_equal(get(at, 1), chain[i]);
		at = get(at + 1, 1);
	}
	assert_int_equal(at, 0);
	assert_int_equal(get(0x100, 4), 0x14010001);
	assert_int_equal(get(0x140, 4), 0x00010003);
	assert_int_equal(get(0xa2, 2), 4);
	assert_int_equal(get(0xa8, 4), 0x2003);
	/* clashes are refused */
	assert_int_equal(pci_cap_pm(f, 0xc8), -EINVAL);
	assert_int_equal(pci_cap_msix(f, 0, 2000, 3, 0, 0x2000), -EINVAL);
	assert_int_equal(pci_bar_add(f, 0, PCI_BAR_MEM32, 16), -EINVAL);
	assert_int_equal(pci_bar_add(f, 5, PCI_BAR_MEM64, 4096), -EINVAL);
	assert_int_equal(pci_bar_add(f, 5, PCI_BAR_MEM32, 4095), -EINVAL);
}

static void bars_size(void **state)
{
	put(0x10, ~0u, 4);
	assert_int_equal(get(0x10, 4), 0xfffe0000);
	put(0x18, ~0u, 4);
	assert_int_equal(get(0x18, 4), 0xffffffe1);
	put(0x14, ~0u, 4);
	assert_int_equal(get(0x14, 4), 0);
	put(0x30, ~0u, 4);
	assert_int_equal(get(0x30, 4), 0); /* no ROM */
}

static void command(void **state)
{
	assert_false(pci_bus_master(f));
	put(4, 0xffff, 2);
	assert_int_equal(get(4, 2), 0x0547);
	assert_true(pci_bus_master(f));
	assert_true(pci_memory_enabled(f));
	assert_int_equal(changes, 1);
	put(0xcc, 3, 2); /* D3hot */
	assert_false(pci_bus_master(f));
	assert_int_equal(resets, 0);
	put(0xcc, 0, 2); /* and back: a reset */
	assert_int_equal(resets, 1);
	put(0x49, 0x80, 1); /* function-level reset, byte-wise */
	assert_int_equal(resets, 2);
	assert_int_equal(get(4, 2), 0);
	assert_false(get(0x48, 2) & 0x8000);
}

static void out_of_range(void **state)
{
	uint32_t v = 0;

	put(4, 3, 2);
	assert_int_equal(pci_config_read(f, 4096, &v, 1), -EINVAL);
	assert_int_equal(pci_config_read(f, 4095, &v, 2), -EINVAL);
	assert_int_equal(pci_config_write(f, UINT64_MAX, &v, 4), -EINVAL);
	assert_int_equal(pci_bar_read(f, 0, 0x1ffff, &v, 2), -EINVAL);
	assert_int_equal(pci_bar_read(f, 1, 0, &v, 1), -EINVAL);
	assert_int_equal(pci_bar_read(f, 6, 0, &v, 1), -EINVAL);
	assert_int_equal(pci_bar_write(f, 0, UINT64_MAX, &v, 4), -EINVAL);
	assert_int_equal(pci_bar_read(f, 0, 0x1fffe, &v, 2), 0);
	assert_int_equal(v, 0x5a5a);
	assert_int_equal(pci_irq_set(f, PCI_IRQ_MSIX, 5, 1, NULL), -EINVAL);
	assert_int_equal(pci_irq_set(f, PCI_IRQ_MSIX, 1, UINT32_MAX, NULL), -EINVAL);
	assert_int_equal(pci_irq_set(f, PCI_IRQS, 0, 1, NULL), -EINVAL);
	assert_int_equal(pci_irq_fire(f, PCI_IRQ_MSIX, 4, 2), -EINVAL);
}

/* Nobody answers to what COMMAND and the power state have off. */
static void answers_when_enabled(void **state)
{
	static const struct {
		uint16_t command, power;
		bool memory, io;
	} states[] = { { 0, 0, false, false }, { 1, 0, false, true },  { 2, 0, true, false },
		       { 7, 0, true, true },   { 7, 3, false, false }, { 4, 0, false, false } };
	uint32_t v = 0;

	assert_int_equal(pci_bar_add(f, 1, PCI_BAR_IO, 32), 0);
	for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		put(0xcc, 0, 2);
		put(4, states[i].command, 2);
		put(0xcc, states[i].power, 2);
		assert_int_equal(pci_bar_read(f, 0, 0, &v, 4), states[i].memory ? 0 : -EINVAL);
		assert_int_equal(pci_bar_write(f, 0, 0, &v, 4), states[i].memory ? 0 : -EINVAL);
		assert_int_equal(pci_bar_read(f, 1, 0, &v, 4), states[i].io ? 0 : -EINVAL);
		assert_int_equal(pci_bar_write(f, 1, 0, &v, 4), states[i].io ? 0 : -EINVAL);
	}
}

static void shared_areas(void **state)
{
	uint32_t *a, *b, *c;
	const struct pci_bar *bar;
	uint32_t value = 7;
	void *map;

	assert_int_equal(pci_bar_share(f, 0, 0x3000, 0x1000, (void **)&b), 0);
	assert_int_equal(pci_bar_share(f, 0, 0x2000, 0x1000, (void **)&a), 0);
	assert_int_equal(pci_bar_share(f, 0, 0x2000, 0x1000, (void **)&c), -EINVAL);
	assert_int_equal(pci_bar_share(f, 0, 0x1f800, 0x1000, (void **)&c), -EINVAL);
	assert_int_equal(pci_bar_share(f, 0, 0x1f000, 0x2000, (void **)&c), -EINVAL);
	assert_int_equal(pci_bar_share(f, 2, 0, 0x1000, (void **)&c), -EINVAL);
	bar = pci_bar_get(f, 0);
	assert_int_equal(bar->n_shared, 2);
	assert_int_equal(bar->shared[0].offset, 0x2000);
	assert_int_equal(bar->shared[1].offset, 0x3000);
	/* what the client maps is what the device sees */
	map = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, bar->fd, 0x3000);
	((uint32_t *)map)[5] = 0xabc;
	assert_int_equal(b[5], 0xabc);
	munmap(map, 0x1000);
	assert_int_equal(ftruncate(bar->fd, 0), -1); /* sealed */
	/* a trapped access still reaches the device */
	put(4, 2, 2);
	assert_int_equal(pci_bar_write(f, 0, 0x3818, &value, 4), 0);
	assert_int_equal(bar_writes, 1);
	assert_int_equal(last_offset, 0x3818);
}

static uint64_t drain(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) < 0 ? 0 : n;
}

static int eventfd_dup(int *keep)
{
	*keep = eventfd(0, EFD_NONBLOCK);
	return dup(*keep);
}

static void msix_messages(void **state)
{
	int keep[5], fds[5];
	struct pci_function_stats stats;

	for (unsigned i = 0; i < 5; i++)
		fds[i] = eventfd_dup(&keep[i]);
	put(4, 0x0406, 2);
	assert_int_equal(pci_irq_enable(f, PCI_IRQ_MSIX), 0);
	assert_int_equal(pci_irq_mode(f), PCI_IRQ_MSIX);
	assert_int_equal(pci_irq_set(f, PCI_IRQ_MSIX, 0, 5, fds), 0);
	pci_irq_message(f, 3);
	pci_irq_message(f, 3);
	assert_int_equal(drain(keep[3]), 2);
	pci_irq_message(f, 7); /* out of range: counted */
	/* one vector taken away, the others stay */
	assert_int_equal(pci_irq_set(f, PCI_IRQ_MSIX, 3, 1, NULL), 0);
	pci_irq_message(f, 3);
	pci_irq_message(f, 4);
	assert_int_equal(drain(keep[3]), 0);
	assert_int_equal(drain(keep[4]), 1);
	/* without bus master nothing is sent */
	put(4, 0x0402, 2);
	pci_irq_message(f, 4);
	assert_int_equal(drain(keep[4]), 0);
	pci_function_stats(f, &stats);
	assert_int_equal(stats.interrupts, 3);
	assert_int_equal(stats.interrupts_lost, 3);
	assert_int_equal(pci_irq_disable(f, PCI_IRQ_MSIX), 0);
	assert_int_equal(pci_irq_mode(f), -1);
	for (unsigned i = 0; i < 5; i++)
		close(keep[i]);
}

static void full_eventfd_does_not_block(void **state)
{
	int fd = eventfd(0, 0), keep = dup(fd); /* blocking */
	uint64_t most = UINT64_MAX - 1, count = 0;
	struct pci_function_stats stats;

	put(4, 0x0406, 2);
	assert_int_equal(pci_irq_set(f, PCI_IRQ_MSIX, 0, 1, &fd), 0);
	assert_int_equal(write(keep, &most, 8), 8);
	pci_irq_message(f, 0);
	pci_function_stats(f, &stats);
	/* whoever waits for it sees it */
	assert_int_equal(stats.interrupts_lost, 0);
	assert_int_equal(read(keep, &count, 8), 8);
	assert_true(count >= most);
	pci_irq_message(f, 0);
	assert_int_equal(read(keep, &count, 8), 8);
	assert_int_equal(count, 1);
	close(keep);
}

static void only_eventfds(void **state)
{
	int pipes[2];

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(pci_irq_set(f, PCI_IRQ_MSIX, 0, 1, &pipes[1]), -EINVAL);
	assert_true(fcntl(pipes[1], F_GETFD) >= 0); /* still its caller's */
	assert_int_equal(pci_irq_mode(f), -1);
	close(pipes[0]);
	close(pipes[1]);
}

static void intx_is_a_level(void **state)
{
	int keep, fd = eventfd_dup(&keep);

	put(4, 0x0006, 2);
	assert_int_equal(pci_irq_set(f, PCI_IRQ_INTX, 0, 1, &fd), 0);
	pci_intx_set(f, true);
	pci_intx_set(f, true);
	assert_int_equal(drain(keep), 1); /* an edge only */
	assert_true(get(6, 2) & 8);
	pci_intx_unmask(f);
	assert_int_equal(drain(keep), 1); /* still high: again */
	pci_intx_set(f, false);
	pci_intx_unmask(f);
	assert_int_equal(drain(keep), 0);
	pci_intx_set(f, true);
	assert_int_equal(drain(keep), 1);
	/* low and high again before the guest is done: told at its end of interrupt */
	pci_intx_set(f, false);
	pci_intx_set(f, true);
	assert_int_equal(drain(keep), 0);
	pci_intx_unmask(f);
	assert_int_equal(drain(keep), 1);
	/* masked by message */
	assert_int_equal(pci_irq_mask(f, PCI_IRQ_INTX, 0, 1, true), 0);
	pci_intx_set(f, false);
	pci_intx_set(f, true);
	assert_int_equal(drain(keep), 0);
	assert_int_equal(pci_irq_mask(f, PCI_IRQ_INTX, 0, 1, false), 0);
	assert_int_equal(drain(keep), 1);
	/* COMMAND.InterruptDisable */
	pci_intx_set(f, false);
	pci_intx_unmask(f);
	put(4, 0x0406, 2);
	pci_intx_set(f, true);
	assert_int_equal(drain(keep), 0);
	put(4, 0x0006, 2);
	assert_int_equal(drain(keep), 1);
	close(keep);
}

static void high_line_is_told_to_a_new_client(void **state)
{
	int keep, fd = eventfd_dup(&keep);

	put(4, 0x0006, 2);
	pci_intx_set(f, true);
	assert_int_equal(pci_irq_set(f, PCI_IRQ_INTX, 0, 1, &fd), 0);
	assert_int_equal(drain(keep), 1);
	pci_irq_release(f);
	assert_int_equal(pci_irq_mode(f), -1);
	close(keep);
}

static void reset_leaves_the_interrupts_set_up(void **state)
{
	int keep, fd = eventfd_dup(&keep);

	assert_int_equal(pci_irq_set(f, PCI_IRQ_MSIX, 1, 1, &fd), 0);
	put(0xa2, 0x8000, 2);
	pci_function_reset(f, PCI_RESET_FUNCTION);
	assert_int_equal(resets, 1);
	assert_int_equal(get(0xa2, 2), 4);
	assert_int_equal(pci_irq_mode(f), PCI_IRQ_MSIX); /* the client's to take away */
	close(keep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(identity_and_capabilities, setup, teardown),
		cmocka_unit_test_setup_teardown(bars_size, setup, teardown),
		cmocka_unit_test_setup_teardown(command, setup, teardown),
		cmocka_unit_test_setup_teardown(out_of_range, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_when_enabled, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_areas, setup, teardown),
		cmocka_unit_test_setup_teardown(msix_messages, setup, teardown),
		cmocka_unit_test_setup_teardown(full_eventfd_does_not_block, setup, teardown),
		cmocka_unit_test_setup_teardown(only_eventfds, setup, teardown),
		cmocka_unit_test_setup_teardown(intx_is_a_level, setup, teardown),
		cmocka_unit_test_setup_teardown(high_line_is_told_to_a_new_client, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_leaves_the_interrupts_set_up, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
