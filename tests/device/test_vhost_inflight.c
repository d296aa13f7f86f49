/* SPDX-License-Identifier: BSD-2-Clause */
/* GET_INFLIGHT_FD and SET_INFLIGHT_FD. What the region does is in test_vhost_blk.c and
 * unit/virtio/test_inflight.c. */
#include "base/clock.h"
#include "base/util.h"
#include "disk/disk.h"
#include "tests/device/vhost_harness.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct inflight_message {
	uint64_t size, offset;
	uint16_t queues, num;
	uint32_t padding; /* QEMU's message has it */
};

static int get(uint16_t queues, uint16_t num, uint32_t sent, struct inflight_message *m)
{
	struct vhost_header header;
	uint32_t len = sizeof(*m);
	int fd = -1, err;

	*m = (struct inflight_message){ .queues = queues, .num = num };
	err = vhost_send(&client.c, VHOST_GET_INFLIGHT_FD, 0, m, sent, NULL, 0);
	if (!err)
		err = vhost_receive(&client.c, &header, m, &len, &fd);
	if (err)
		return err;
	assert_int_equal(len, sent); /* as long as the question */
	return fd;
}

static int set(uint64_t size, uint64_t offset, uint16_t queues, uint16_t num, int fd)
{
	struct inflight_message m = { size, offset, queues, num, 0 };

	return vhost_request(&client.c, VHOST_SET_INFLIGHT_FD, &m, 24, fd);
}

static void gets(void **state)
{
	static const uint16_t nums[] = { 1, 64, 1024, 32768 };
	struct inflight_message m;

	for (unsigned i = 0; i < ARRAY_SIZE(nums); i++)
		for (uint16_t queues = 1; queues <= DISK_QUEUES; queues++) {
			int fd = get(queues, nums[i], i % 2 ? 20 : 24, &m);
			struct stat st;

			assert_true(fd >= 0);
			assert_int_equal(fstat(fd, &st), 0);
			assert_int_equal(m.queues, queues);
			assert_int_equal(m.num, nums[i]);
			assert_true(m.size >= queues * (16ull + 16 * nums[i]));
			assert_true(m.offset + m.size <= (uint64_t)st.st_size);
			assert_true(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK);
			/* and back */
			assert_int_equal(set(m.size, m.offset, queues, nums[i], fd), 0);
			close(fd);
		}
}

static void refuses_to_get(void **state)
{
	static const uint16_t bad[][2] = { { 0, 64 },	  { DISK_QUEUES + 1, 64 },
					   { 65535, 64 }, { 1, 0 },
					   { 1, 32769 },  { 1, 65535 } };
	struct inflight_message m;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(get(bad[i][0], bad[i][1], 24, &m), -EPIPE);
		client_again();
	}
}

static void refuses(void **state)
{
	int fd = memory_file(0x10000), plain = memfd_create("plain", 0);
	int vast = memory_file(1ull << 40);

	/* one that could shrink under us */
	assert_int_equal(ftruncate(plain, 0x10000), 0);
	assert_int_equal(set(0x10000, 0, 1, 64, plain), REFUSED);
	assert_int_equal(set(0x10000, 0, 1, 64, fd), REFUSED);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(set(0x10000, 0, 1, 64, fd), 0);
	/* smaller than it must be, larger than it is, overflows, alignment */
	assert_int_equal(set(64, 0, 1, 64, fd), REFUSED);
	assert_int_equal(set(0x10001, 0, 1, 64, fd), REFUSED);
	assert_int_equal(set(0x10000, 0x1000, 1, 64, fd), REFUSED);
	assert_int_equal(set(UINT64_MAX, 0, 1, 64, fd), REFUSED);
	assert_int_equal(set(0x10000, UINT64_MAX - 0xfff, 1, 64, fd), REFUSED);
	assert_int_equal(set(0x8000, 0x1001, 1, 64, fd), REFUSED);
	assert_int_equal(set(0x10000, 0, 0, 64, fd), REFUSED);
	assert_int_equal(set(0x10000, 0, DISK_QUEUES + 1, 64, fd), REFUSED);
	assert_int_equal(set(0x10000, 0, 1, 0, fd), REFUSED);
	assert_int_equal(set(0x10000, 0, DISK_QUEUES, 32768, fd), REFUSED);
	assert_int_equal(set(0x10000, 0, 1, 64, -1), REFUSED);
	assert_int_equal(set(0x10000, 0, 1, 64, client.kick), REFUSED);
	/* address space is not without end */
	assert_int_equal(fcntl(vast, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(set(1ull << 40, 0, 1, 64, vast), REFUSED);
	assert_int_equal(set(0x10000, 0, 1, 64, vast), REFUSED);
	close(fd);
	close(vast);
	close(plain);
}

/* CVE-2026-63110: rings of another size than the region is for, regions full of nonsense. */
static void does_not_trust_it(void **state)
{
	struct inflight_message m;
	struct vdrv ring;
	uint8_t *region;
	int fd = get(1, 64, 24, &m);

	region = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_int_equal(set(m.size, 0, 1, 64, fd), 0);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 128), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 0, client.kick), 0);
	assert_int_equal(send_addr(0, 0, USER_BASE, USER_BASE + 0x2000, USER_BASE + 0x1000),
			 REFUSED);
	for (unsigned round = 0; round < 64; round++) {
		uint32_t base;

		client_again();
		memset(client.mem, 0, 0x10000);
		for (uint64_t i = 0; i < m.size; i++)
			region[i] = round < 8 ? (uint8_t)(round * 37) : (uint8_t)rand();
		region[8] = 1; /* version */
		region[9] = 0;
		region[10] = 64;
		region[11] = 0;
		assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
		assert_int_equal(set(m.size, 0, 1, 64, fd), 0);
		guest_ring(&client, 0, &ring, client.kick, -1);
		usleep(500);
		assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
		vdrv_done(&ring);
	}
	munmap(region, m.size);
	close(fd);
}

static int start_ring(uint16_t num, uint64_t features)
{
	const uint64_t u = USER_BASE;

	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_FEATURES,
					   V1 | VHOST_F_PROTOCOL | features, -1),
			 0);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, num), 0);
	assert_int_equal(send_state(VHOST_SET_VRING_BASE, 0, features ? 0x80008000u : 0), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 0, client.kick), 0);
	return send_addr(0, 0, u, u + 0x200000, u + 0x100000);
}

/* A region is for the rings that were negotiated when it came: those of a packed ring are twice as
 * large. */
static void other_kind_of_ring(void **state)
{
	static const uint64_t packed = 1ull << VIRTIO_F_RING_PACKED;
	const uint16_t num = 32768;
	int fd = memory_file(0x200000);

	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t with = i & 1 ? packed : 0, then = i & 2 ? packed : 0;

		assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_FEATURES,
						   V1 | VHOST_F_PROTOCOL | with, -1),
				 0);
		/* a split one's, to the byte */
		assert_int_equal(set(with ? 0x200000 : 524352, 0, 1, num, fd), 0);
		if (i & 4)
			assert_int_equal(vhost_request(&client.c, VHOST_RESET_DEVICE, NULL, 0, -1),
					 0);
		assert_int_equal(start_ring(num, then), with == then ? 0 : REFUSED);
		client_again();
	}
	close(fd);
}

/* The front end has the region made for the largest rings, and a driver chooses its own size. */
static void smaller_ring(void **state)
{
	struct inflight_message m;
	int fd = get(1, 256, 24, &m);

	for (uint16_t num = 512; num >= 16; num /= 2) {
		assert_int_equal(set(m.size, m.offset, 1, 256, fd), 0);
		assert_int_equal(start_ring(num, 0), num > 256 ? REFUSED : 0);
		client_again();
	}
	close(fd);
}

/* Who served the ring before was killed between showing the driver what was used and telling it,
 * and nothing is to be done any more. */
static void tells_at_start(void **state)
{
	struct vdrv ring;
	int call = eventfd(0, EFD_NONBLOCK);

	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	ring.avail[1] = 1;
	ring.used[1] = 1;
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 64), 0);
	assert_int_equal(send_state(VHOST_SET_VRING_BASE, 0, 1), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_CALL, 0, call), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 0, client.kick), 0);
	assert_int_equal(send_addr(0, 0, USER_BASE + (ring.desc_addr - GUEST_BASE),
				   USER_BASE + (ring.used_addr - GUEST_BASE),
				   USER_BASE + (ring.avail_addr - GUEST_BASE)),
			 0);
	/* the ring runs by now */
	assert_int_equal(eventfd_read(call, &(eventfd_t){ 0 }), 0);
	vdrv_done(&ring);
	close(call);
}

/* What a start finds out about the last one's requests it does without the queue's lock, which the
 * core may want at any time, for others' sake. */
static void recovers_without_the_lock(void **state)
{
	struct virtqueue *vq = disk_device(vhost_disk)->queues[0];
	uint64_t until = time_now_ns() + 60 * NS_PER_S, result;
	uint64_t no_fd = 0x100;
	const uint64_t u = USER_BASE;
	struct inflight_message m;
	struct vhost_header header;
	uint32_t len = sizeof(result);
	uint8_t *region;
	int fd = get(1, 64, 24, &m);
	bool recovered;

	region = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(region, MAP_FAILED);
	assert_int_equal(set(m.size, 0, 1, 64, fd), 0);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 64), 0);
	assert_int_equal(send_addr(0, 0, u, u + 0x2000, u + 0x1000), 0);
	assert_int_equal(region[8], 0); /* version */
	pthread_mutex_lock(&vq->lock);
	assert_int_equal(
		vhost_send(&client.c, VHOST_SET_VRING_KICK, VHOST_NEED_REPLY, &no_fd, 8, NULL, 0),
		0);
	while (!(recovered = READ_ONCE(region[8]) == 1) && time_now_ns() < until)
		usleep(100);
	pthread_mutex_unlock(&vq->lock);
	assert_true(recovered);
	assert_int_equal(vhost_receive(&client.c, &header, &result, &len, NULL), 0);
	assert_int_equal(result, 0);
	munmap(region, m.size);
	close(fd);
}

static uint64_t number_in(const char *format, unsigned kib)
{
	unsigned long long value = 1;
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), format, kib);
	f = fopen(path, "r");
	if (!f)
		return 1;
	if (fscanf(f, "%llu", &value) != 1)
		value = 1;
	fclose(f);
	return value;
}

/* A sealed memory file of huge pages that the host does not have; *size is one's. */
static int file_without_pages(uint64_t *size)
{
	static const unsigned shifts[] = { 30, 21 };

	for (unsigned i = 0; i < ARRAY_SIZE(shifts); i++) {
		unsigned kib = 1u << (shifts[i] - 10);
		int fd;

		if (number_in("/sys/kernel/mm/hugepages/hugepages-%ukB/nr_hugepages", kib) ||
		    number_in("/sys/kernel/mm/hugepages/hugepages-%ukB/nr_overcommit_hugepages",
			      kib))
			continue;
		fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB |
						  shifts[i] << MAP_HUGE_SHIFT);
		if (fd < 0)
			continue;
		*size = 1ull << shifts[i];
		if (!ftruncate(fd, (off_t)*size) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
			return fd;
		close(fd);
	}
	return -1;
}

static void check_server(void *arg)
{
	vhost_user_server_check(vhost_server[DISK]);
}

/* Where a page is not there an access is a bus error, sealed or not. It is the front end's own. */
static void pages_that_are_not_there(void **state)
{
	uint64_t size = 0;
	int fd = file_without_pages(&size);

	if (fd < 0)
		skip();
	assert_int_equal(memory_faults_init(), 0); /* cmocka's handlers are in place by now */
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(set(i & 1 ? 4096 : size, 0, 1, 64, fd), 0);
		start_ring(64, 0);
		on_loop(check_server, NULL);
		assert_true(is_closed(&client.c));
		client_again();
		assert_int_equal(start_ring(64, 0), 0);
		client_again();
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_disk(gets),
		test_disk(refuses_to_get),
		test_disk(refuses),
		test_disk(does_not_trust_it),
		test_disk(other_kind_of_ring),
		test_disk(smaller_ring),
		test_disk(tells_at_start),
		test_disk(recovers_without_the_lock),
		test_disk(pages_that_are_not_there),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
