/* SPDX-License-Identifier: BSD-2-Clause */
/* SET_VRING_ADDR: where a ring lies, in the front end's addresses or (GPA_ADDRESSES) the guest's.
 */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#define GPA (1ull << 21)

static int addr(uint64_t desc, uint64_t used, uint64_t avail)
{
	return send_addr(0, 0, desc, used, avail);
}

static void refuses(void **state)
{
	const uint64_t u = USER_BASE;

	assert_int_equal(send_addr(99, 0, u, u, u), REFUSED);
	assert_int_equal(send_addr(UINT32_MAX, 0, u, u, u), REFUSED);
	assert_int_equal(addr(0x1234, u, u), REFUSED);
	assert_int_equal(addr(GUEST_BASE, GUEST_BASE + 0x2000, GUEST_BASE + 0x1000), REFUSED);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 64), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 0, client.kick), 0);
	/* not aligned */
	assert_int_equal(addr(u + 8, u + 0x2000, u + 0x1000), REFUSED);
	assert_int_equal(addr(u, u + 0x2002, u + 0x1000), REFUSED);
	assert_int_equal(addr(u, u + 0x2000, u + 0x1001), REFUSED);
	/* over the end */
	assert_int_equal(addr(u + GUEST_BYTES - 16, u + 0x2000, u + 0x1000), REFUSED);
	assert_int_equal(addr(u, u + GUEST_BYTES - 4, u + 0x1000), REFUSED);
	assert_int_equal(addr(u, u + 0x2000, u + GUEST_BYTES - 2), REFUSED);
	assert_int_equal(addr(u + GUEST_BYTES, u + 0x2000, u + 0x1000), REFUSED);
	/* good at last: it starts by that, and can move while it runs */
	assert_int_equal(addr(u, u + 0x2000, u + 0x1000), 0);
	assert_int_equal(addr(u + 0x10000, u + 0x12000, u + 0x11000), 0);
}

/* Over the border between two regions. */
static void straddles(void **state)
{
	struct {
		uint64_t pad;
		struct vhost_client_region r;
	} m = { 0, { GUEST_BASE, GUEST_BYTES, USER_BASE, 0 } };
	const uint64_t u = USER_BASE;

	assert_int_equal(vhost_request(&client.c, VHOST_REM_MEM_REG, &m, sizeof(m), -1), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct vhost_client_region half = { GUEST_BASE + i * 0x100000ull, 0x100000,
						    USER_BASE + i * 0x100000ull, i * 0x100000ull };

		assert_int_equal(vhost_add_region(&client.c, &half, client.memfd), 0);
	}
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 64), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 0, client.kick), 0);
	assert_int_equal(addr(u + 0x100000 - 16, u + 0x2000, u + 0x1000), REFUSED);
	assert_int_equal(addr(u, u + 0x100000 - 4, u + 0x1000), REFUSED);
	assert_int_equal(addr(u, u + 0x2000, u + 0x100000 - 2), REFUSED);
	assert_int_equal(addr(u, u + 0x101000, u + 0x100000), 0);
}

/* The ring moves under traffic: what was in it before is done, and nothing twice. */
static void moves(uint64_t features)
{
	uint8_t frame[100] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[100];
	struct guest a, b;

	guest_start(&a, 0, features, 64, BUF_BYTES, 32);
	guest_start(&b, 1, features, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < 100; i++) {
		struct vdrv was = a.tx;
		uint64_t to = (i % 2 ? 0x200000u : 0x280000u), from = a.tx.desc_addr - GUEST_BASE;
		size_t bytes = vdrv_bytes(64);
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} m = { .index = 1 };
		uint64_t count;

		frame[20] = (uint8_t)i;
		guest_send(&a, NULL, frame, sizeof(frame), 4096);
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
		assert_int_equal(got[20], (uint8_t)i);
		memmove(a.mem + to, a.mem + from, bytes);
		a.tx.desc_addr += to - from;
		a.tx.avail_addr += to - from;
		a.tx.used_addr += to - from;
		a.tx.indirect_addr += to - from;
		a.tx.desc = (void *)((uint8_t *)was.desc + to - from);
		a.tx.avail = (void *)((uint8_t *)was.avail + to - from);
		a.tx.used = (void *)((uint8_t *)was.used + to - from);
		a.tx.indirect = (void *)((uint8_t *)was.indirect + to - from);
		m.desc = a.tx.desc_addr + USER_BASE - GUEST_BASE;
		m.avail = a.tx.avail_addr + USER_BASE - GUEST_BASE;
		m.used = a.tx.used_addr + USER_BASE - GUEST_BASE;
		while (read(a.tx_call, &count, 8) == 8)
			;
		assert_int_equal(vhost_request(&a.c, VHOST_SET_VRING_ADDR, &m, sizeof(m), -1), 0);
		/* what was published before it moved the guest may not have been told of */
		assert_true(readable(a.tx_call));
	}
	guest_stop(&a);
	guest_stop(&b);
}

static void moves_under_traffic(void **state)
{
	moves(V1);
	moves(V1 | 1ull << VIRTIO_F_RING_PACKED);
	moves(V1 | 1ull << VIRTIO_RING_F_EVENT_IDX);
}

/* With GPA_ADDRESSES the front end's own addresses are of no interest. */
static void guest_addresses(void **state)
{
	struct vhost_client_region other = { 0x1000, 0x1000, USER_BASE, 0 };
	int fd = memory_file(0x1000);
	uint64_t protocol;

	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_PROTOCOL_FEATURES, &protocol), 0);
	assert_true(protocol & GPA);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_PROTOCOL_FEATURES,
					   (VHOST_ALL & protocol) | GPA, -1),
			 0);
	assert_int_equal(vhost_add_region(&client.c, &other, fd), 0);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 64), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 0, client.kick), 0);
	assert_int_equal(addr(USER_BASE, USER_BASE + 0x2000, USER_BASE + 0x1000), REFUSED);
	assert_int_equal(addr(GUEST_BASE, GUEST_BASE + 0x2000, GUEST_BASE + 0x1000), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refuses),
		test(straddles),
		cmocka_unit_test(moves_under_traffic),
		test(guest_addresses),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
