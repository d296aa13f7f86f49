/* SPDX-License-Identifier: BSD-2-Clause */
/* GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG: hundreds of regions, one by one. */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#define REGION(...) (&(struct vhost_client_region){ __VA_ARGS__ })

struct slot_message {
	uint64_t pad;
	struct vhost_client_region r;
};

static int remove_region(uint64_t guest, uint64_t size, uint64_t user, int fd)
{
	struct slot_message m = { 0, { guest, size, user, 0 } };

	return vhost_request(&client.c, VHOST_REM_MEM_REG, &m, sizeof(m), fd);
}

static void refuses(void **state)
{
	int small = memory_file(0x2000), pipes[2];

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(vhost_add_region(&client.c, REGION(0x1000, 0, 0x1000, 0), small), REFUSED);
	assert_int_equal(vhost_add_region(&client.c, REGION(UINT64_MAX, 0x1000, 0x1000, 0), small),
			 REFUSED);
	assert_int_equal(vhost_add_region(&client.c, REGION(0x1000, 0x1000, UINT64_MAX, 0), small),
			 REFUSED);
	/* CVE-2018-1059: beyond the file's end */
	assert_int_equal(vhost_add_region(&client.c, REGION(0x1000, 0x3000, 0x1000, 0), small),
			 REFUSED);
	assert_int_equal(vhost_add_region(&client.c, REGION(0x1000, 0x1000, 0x1000, 0x2000), small),
			 REFUSED);
	assert_int_equal(
		vhost_add_region(&client.c, REGION(0x1000, 0x1000, 0x1000, UINT64_MAX), small),
		REFUSED);
	assert_int_equal(vhost_add_region(&client.c, REGION(0x1000, 0x1000, 0x1000, 7), small),
			 REFUSED);
	assert_int_equal(vhost_add_region(&client.c, REGION(0x1000, 0x1000, 0x1000, 0), pipes[0]),
			 REFUSED);
	assert_int_equal(vhost_add_region(&client.c, REGION(0x1000, 0x1000, 0x1000, 0), -1),
			 REFUSED);
	/* overlaps, in either address space */
	assert_int_equal(vhost_add_region(&client.c, REGION(GUEST_BASE, 0x1000, 0x1000, 0), small),
			 REFUSED);
	assert_int_equal(vhost_add_region(&client.c, REGION(0x1000, 0x1000, USER_BASE, 0), small),
			 REFUSED);
	/* what is not there, or not so, cannot go */
	assert_int_equal(remove_region(0x5000, 0x1000, 0x5000, -1), REFUSED);
	assert_int_equal(remove_region(GUEST_BASE, GUEST_BYTES - 1, USER_BASE, -1), REFUSED);
	assert_int_equal(remove_region(GUEST_BASE, GUEST_BYTES, USER_BASE + 1, -1), REFUSED);
	/* a descriptor that some front ends send with it is closed */
	assert_int_equal(remove_region(GUEST_BASE, GUEST_BYTES, USER_BASE, small), 0);
	close(small);
	close(pipes[0]);
	close(pipes[1]);
}

/* Up to the last slot and not one more; CVE-2019-14818 and its like: no descriptor stays. */
static void all_slots(void **state)
{
	int small = memory_file(0x2000);
	unsigned before = settled_fds(1);
	uint64_t slots;

	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_MAX_MEM_SLOTS, &slots), 0);
	assert_int_equal(slots, 509);
	for (unsigned round = 0; round < 3; round++) {
		for (uint64_t i = 1; i < slots; i++)
			assert_int_equal(
				vhost_add_region(&client.c,
						 REGION(i * 0x10000, 0x1000, i * 0x10000, 0),
						 small),
				0);
		assert_int_equal(
			vhost_add_region(&client.c, REGION(1 << 28, 0x1000, 1 << 28, 0), small),
			REFUSED);
		for (uint64_t i = 1; i < slots; i++)
			assert_int_equal(remove_region(i * 0x10000, 0x1000, i * 0x10000, -1), 0);
	}
	assert_int_equal(open_fds(), before);
	close(small);
}

/* A buffer over many regions, whose neighbours come and go meanwhile. */
static void under_traffic(void **state)
{
	static uint8_t frame[1500] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[1500];
	struct guest b;
	struct vdrv ring;
	int small = memory_file(0x1000);

	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	/* ring and data of the first in regions of a page, behind the one that it has anyway */
	assert_int_equal(remove_region(GUEST_BASE, GUEST_BYTES, USER_BASE, -1), 0);
	for (uint64_t at = 0; at < 0x80000; at += 0x1000)
		assert_int_equal(
			vhost_add_region(&client.c,
					 REGION(GUEST_BASE + at, 0x1000, USER_BASE + at, at),
					 client.memfd),
			0);
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 1, &ring, client.kick, -1);
	for (unsigned i = 0; i < 200; i++) {
		struct vdrv_buf buf = { GUEST_BASE + 0x10000 + i * 1237, 12 + sizeof(frame),
					false };
		uint64_t other = 0x100000 + (i / 2) * 0x1000ull;
		uint32_t len;

		frame[100] = (uint8_t)i;
		memset(client.mem + buf.addr - GUEST_BASE, 0, 12);
		memcpy(client.mem + buf.addr - GUEST_BASE + 12, frame, sizeof(frame));
		assert_int_equal(vdrv_add(&ring, &buf, 1, &ring, false), 0);
		if (vdrv_publish(&ring))
			assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
		assert_int_equal(
			i % 2 ? remove_region(other, 0x1000, other, -1)
			      : vhost_add_region(&client.c, REGION(other, 0x1000, other, 0), small),
			0);
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
		assert_memory_equal(got, frame, sizeof(frame));
		while (!vdrv_get(&ring, &len))
			usleep(10);
	}
	vdrv_done(&ring);
	guest_stop(&b);
	close(small);
}

static void send(struct vdrv *ring, const uint8_t *frame, uint32_t len)
{
	struct vdrv_buf buf = { GUEST_BASE + 0x10000, 12 + len, false };

	memset(client.mem + 0x10000, 0, 12);
	memcpy(client.mem + 0x10000 + 12, frame, len);
	assert_int_equal(vdrv_add(ring, &buf, 1, ring, false), 0);
	vdrv_publish(ring);
	assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
}

/* A ring's memory goes, other regions come, and it comes back behind all of them. */
static void comes_back(void **state)
{
	static uint8_t frame[100] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[100];
	int small = memory_file(0x1000);
	struct vdrv ring;
	struct guest b;

	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 1, &ring, client.kick, -1);
	for (uint64_t i = 1; i < 20; i++) {
		uint32_t len;

		frame[20] = (uint8_t)i;
		send(&ring, frame, sizeof(frame));
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
		assert_int_equal(got[20], (uint8_t)i);
		while (!vdrv_get(&ring, &len))
			usleep(10);
		assert_int_equal(remove_region(GUEST_BASE, GUEST_BYTES, USER_BASE, -1), 0);
		assert_int_equal(vhost_add_region(&client.c,
						  REGION(i * 0x10000, 0x1000, i * 0x10000, 0),
						  small),
				 0);
		/* looked at, in vain */
		assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
		usleep(2000);
		assert_int_equal(vhost_add_region(&client.c,
						  REGION(GUEST_BASE, GUEST_BYTES, USER_BASE, 0),
						  client.memfd),
				 0);
	}
	vdrv_done(&ring);
	guest_stop(&b);
	close(small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refuses),
		test(all_slots),
		test(under_traffic),
		test(comes_back),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
