/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk in a process of its own, and a guest that drives it: every kind of request on every kind
 * of ring and backend, what only a hostile guest sends, and kill -9 in the middle of it. What a
 * completed write means is test_vhost_blk_cache.c's.
 */
#include "tests/device/blk_harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

static void reads_and_writes(const char *backend, uint64_t extra)
{
	struct virtio_blk_discard_write_zeroes range = { .sector = 16, .num_sectors = 8 };

	server_start(backend, false);
	guest_start(V1 | F(FLUSH) | F(DISCARD) | F(WRITE_ZEROES) | extra);
	for (unsigned i = 0; i < 32; i++) {
		uint32_t len = 512 * (1 + i * 5 % 60);

		/* with pieces that are not aligned for O_DIRECT too */
		fill(i, len, (uint8_t)i);
		submit(i, VIRTIO_BLK_T_OUT, 128 * i, len, false,
		       i % 3		     ? 4096
		       : features & INDIRECT ? 1500
					     : 16384);
		assert_int_equal(finish(), i);
		assert_int_equal(slot(i)[32], VIRTIO_BLK_S_OK);
		memset(data(i), 0, len);
	}
	assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	/* many at once, in any order */
	for (unsigned i = 0; i < 16; i++)
		submit(i, VIRTIO_BLK_T_IN, 128 * i, 512 * (1 + i * 5 % 60), true, 32768);
	for (unsigned i = 0; i < 16; i++) {
		unsigned k = finish();

		assert_int_equal(slot(k)[32], VIRTIO_BLK_S_OK);
		check(k, 512 * (1 + k * 5 % 60), (uint8_t)k);
	}
	/* zeroes, and the rest untouched */
	fill(0, 16384, 7);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 8, 16384, false), VIRTIO_BLK_S_OK);
	memcpy(data(0), &range, sizeof(range));
	assert_int_equal(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_OK);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 8, 16384, true), VIRTIO_BLK_S_OK);
	for (unsigned k = 4096; k < 8192; k++)
		assert_int_equal(data(0)[k], 0);
	assert_int_equal(data(0)[8192], (uint8_t)(8192 * 13 + 7 + 16));
	memcpy(data(0), &range, sizeof(range));
	assert_int_equal(request(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_OK);
	/* the serial number, whole and cut off */
	assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(data(0), "a serial of 20 chars", 20);
	memset(data(0), 0, 20);
	assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, 8, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(data(0), "a serial\0\0", 10);
	guest_stop();
	server_kill();
}

static void malloc_disk(void **state)
{
	reads_and_writes("malloc", 0);
	reads_and_writes("malloc", PACKED);
	reads_and_writes("malloc", INDIRECT | PACKED);
}

static void file_disk(void **state)
{
	reads_and_writes("file", 0);
	reads_and_writes("file", PACKED | INDIRECT);
	reads_and_writes("file", INDIRECT | (1ull << VIRTIO_RING_F_EVENT_IDX));
	pin = true;
	reads_and_writes("file", 0);
	pin = false;
}

static void configuration(void **state)
{
	struct config_message m;

	server_start("null", true);
	guest_start(V1 | F(RO));
	get_config(&m);
	assert_int_equal(m.config.capacity, SIZE / 512);
	assert_int_equal(m.config.num_queues, 2);
	assert_int_equal(m.config.blk_size, 512);
	/* the capacity is not the guest's to write */
	m.offset = 0;
	m.size = 8;
	m.flags = 0;
	assert_int_equal(vhost_request(&c, VHOST_SET_CONFIG, &m, 20, -1), -5);
	m.offset = offsetof(struct virtio_blk_config, wce);
	m.size = 1;
	assert_int_equal(vhost_request(&c, VHOST_SET_CONFIG, &m, 13, -1), 0);
	/* read-only */
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	assert_int_equal(request(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_UNSUPP);
	guest_stop();
	server_kill();
}

static void hostile(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t len;
		bool in;
		uint8_t status;
	} bad[] = {
		{ VIRTIO_BLK_T_IN, SIZE / 512, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, SIZE / 512 - 1, 1024, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, UINT64_MAX, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, UINT64_MAX / 512, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_OUT, 1ull << 55, 512, false, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, 0, 511, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_OUT, 0, 513, false, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, 0, 0, true, VIRTIO_BLK_S_OK },
		{ VIRTIO_BLK_T_IN, 0, 512, false, VIRTIO_BLK_S_OK }, /* nothing to write into */
		{ 99, 0, 512, true, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, 0, 15, false, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, 0, 8192, false, VIRTIO_BLK_S_UNSUPP },
	};
	static const struct virtio_blk_discard_write_zeroes ranges[] = {
		{ 0, UINT32_MAX, 0 },
		{ UINT64_MAX, 1, 0 },
		{ SIZE / 512, 1, 0 },
		{ 0, 1, 2 },
	};
	struct vdrv_buf buf = { SLOT, 16, false };
	uint32_t len;

	server_start("malloc", false);
	guest_start(V1 | F(DISCARD) | F(WRITE_ZEROES) | INDIRECT);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(data(0), 0xff, 8192);
		assert_int_equal(request(bad[i].type, bad[i].sector, bad[i].len, bad[i].in),
				 bad[i].status);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
		memcpy(data(0), &ranges[i], sizeof(ranges[i]));
		assert_int_not_equal(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false),
				     VIRTIO_BLK_S_OK);
	}
	/* no status; a status only; a short header */
	assert_int_equal(vdrv_add(&ring, &buf, 1, mem, false), 0);
	buf = (struct vdrv_buf){ SLOT + 32, 1, true };
	assert_int_equal(vdrv_add(&ring, &buf, 1, mem, false), 0);
	assert_int_equal(
		vdrv_add(&ring, (struct vdrv_buf[]){ { SLOT, 15, false }, { SLOT + 40, 1, true } },
			 2, mem, false),
		0);
	vdrv_publish(&ring);
	assert_int_equal(write(kick, &(uint64_t){ 1 }, 8), 8);
	for (unsigned i = 0; i < 3; i++)
		wait_used(&len);
	assert_int_equal(slot(0)[32], VIRTIO_BLK_S_IOERR);
	assert_int_equal(slot(0)[40], VIRTIO_BLK_S_IOERR);
	/* and it goes on */
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	guest_stop();
	server_kill();
}

/* kill -9 under load, again and again: no request is lost, none fails, all data is there. */
static void killed_under_load(uint64_t extra)
{
	uint8_t seeds[32] = { 0 };
	unsigned busy = 0, rounds = 0;
	uint32_t len;

	inflight = memfd_create("none", MFD_CLOEXEC);
	server_start("file", false);
	guest_start(V1 | F(FLUSH) | INDIRECT | extra);
	for (unsigned life = 0; life < 12; life++) {
		/* dies with all slots busy, after some have come round */
		for (unsigned was = rounds; rounds < was + 100;) {
			uint8_t *done;

			/* a free slot for each that is not busy */
			for (unsigned i = 0; i < 32; i++) {
				if (busy >> i & 1)
					continue;
				seeds[i]++;
				fill(i, 4096, (uint8_t)(seeds[i] + i));
				submit(i, VIRTIO_BLK_T_OUT, 64 * i, 4096, false, 2048);
				busy |= 1u << i;
			}
			for (done = wait_used(&len); done; done = vdrv_get(&ring, &len)) {
				unsigned i = (unsigned)(done - mem - SLOT) / 0x10000;

				assert_true(busy >> i & 1);
				assert_int_equal(done[32], VIRTIO_BLK_S_OK);
				busy &= ~(1u << i);
				rounds++;
			}
		}
		server_kill();
		vhost_close(&c);
		server_start("file", false);
		/* the base that a VMM restores when nobody answered it */
		attach(features & PACKED ? 0x80008000u : ring.used[1]);
	}
	while (busy) {
		unsigned i = finish();

		assert_int_equal(slot(i)[32], VIRTIO_BLK_S_OK);
		assert_true(busy >> i & 1);
		busy &= ~(1u << i);
	}
	assert_int_equal(ring.n_free, NUM);
	for (unsigned i = 0; i < 32; i++) {
		submit(i, VIRTIO_BLK_T_IN, 64 * i, 4096, true, 4096);
		assert_int_equal(finish(), i);
		check(i, 4096, (uint8_t)(seeds[i] + i));
	}
	guest_stop();
	server_kill();
	close(inflight);
	inflight = -1;
}

static void survives_kills(void **state)
{
	killed_under_load(0);
	pin = true;
	killed_under_load(PACKED);
	pin = false;
}

/* GET_VRING_BASE_INFLIGHT: a stop leaves in the region what has not been done; who starts with it,
 * here or elsewhere, does that. Writes are made durable one by one, so that many wait. */
static void stops_with_requests_in_flight(uint64_t extra)
{
	uint32_t base, len;
	uint8_t *done;

	protocol |= 1ull << 20;
	cached = true;
	inflight = memfd_create("none", MFD_CLOEXEC);
	server_start("file", false);
	guest_start(V1 | INDIRECT | extra);
	assert_true(c.protocol >> 20 & 1);
	for (unsigned life = 0; life < 10; life++) {
		unsigned busy = 0xffffffff;

		for (unsigned i = 0; i < 32; i++) {
			fill(i, 16384, (uint8_t)(life + i));
			submit(i, VIRTIO_BLK_T_OUT, 64 * i, 16384, false, 4096);
		}
		assert_int_equal(vhost_ring_stop(&c, 0, &base), 0);
		if (!(extra & PACKED))
			assert_in_range((uint16_t)(ring.avail[1] - base), 0, 32);
		while ((done = vdrv_get(&ring, &len)))
			busy &= ~(1u << (done - mem - SLOT) / 0x10000);
		/* stopped is stopped */
		usleep(2000);
		assert_null(vdrv_get(&ring, &len));
		if (life % 2) {
			server_kill();
			vhost_close(&c);
			server_start("file", false);
			attach(base);
		} else {
			assert_int_equal(vhost_ring_start(&c, 0, &ring, base, kick, call), 0);
		}
		while (busy) {
			unsigned i = finish();

			assert_int_equal(slot(i)[32], VIRTIO_BLK_S_OK);
			assert_true(busy >> i & 1);
			busy &= ~(1u << i);
		}
		for (unsigned i = 0; i < 32; i++) {
			memset(data(i), 0, 16384);
			submit(i, VIRTIO_BLK_T_IN, 64 * i, 16384, true, 16384);
			assert_int_equal(finish(), i);
			check(i, 16384, (uint8_t)(life + i));
		}
	}
	guest_stop();
	server_kill();
	close(inflight);
	inflight = -1;
	cached = false;
	protocol = PROTOCOL;
}

static void leaves_requests_in_flight(void **state)
{
	stops_with_requests_in_flight(0);
	stops_with_requests_in_flight(PACKED);
}

/* The image of a guest that is migrated: somebody else has it until its rings stop. */
static int source_lock, source_let_go;

static void *let_go(void *arg)
{
	usleep(100000);
	STORE_RELEASE(source_let_go, 1);
	flock(source_lock, LOCK_UN);
	return NULL;
}

static void image_is_handed_over(void **state)
{
	pthread_t source;
	uint32_t base;

	source_lock = open(image, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(source_lock, LOCK_EX), 0);
	shared = true;
	server_start("file", false);
	shared = false;
	assert_int_equal(pthread_create(&source, NULL, let_go, NULL), 0);
	guest_start(V1 | INDIRECT);
	assert_true(LOAD_ACQUIRE(source_let_go));
	pthread_join(source, NULL);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(flock(source_lock, LOCK_EX | LOCK_NB), -1);
		assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
		/* a migration that fails: the source goes on */
		assert_int_equal(vhost_ring_stop(&c, 0, &base), 0);
		assert_int_equal(flock(source_lock, LOCK_EX | LOCK_NB), 0);
		assert_int_equal(flock(source_lock, LOCK_UN), 0);
		assert_int_equal(vhost_ring_start(&c, 0, &ring, base, kick, call), 0);
	}
	/* gone without a word */
	vhost_close(&c);
	assert_int_equal(flock(source_lock, LOCK_EX), 0);
	close(source_lock);
	guest_stop();
	server_kill();
}

/* Somebody else has the image when the device is made: the disk is there all the same, rings start
 * and stop, and what is asked for waits. */
static void waits_for_its_image(void **state)
{
	struct {
		uint32_t offset, size, flags;
		uint64_t capacity;
	} __attribute__((packed)) m = { 0, 8, 0, 0 };
	struct vhost_header header;
	uint32_t base, len = sizeof(m);

	source_lock = open(image, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(source_lock, LOCK_EX), 0);
	server_start("file", false);
	guest_start(V1 | F(FLUSH));
	for (unsigned i = 0; i < 8; i++) {
		fill(i, 4096, (uint8_t)(i + 90));
		submit(i, VIRTIO_BLK_T_OUT, 64 * i, 4096, false, 4096);
	}
	/* everything else is answered, again and again */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vhost_send(&c, VHOST_GET_CONFIG, 0, &m, sizeof(m), NULL, 0), 0);
		assert_int_equal(vhost_receive(&c, &header, &m, &len, NULL), 0);
		assert_int_equal(m.capacity, SIZE / 512);
		assert_int_equal(vhost_ring_stop(&c, 0, &base), 0);
		assert_int_equal(base, 0);
		assert_int_equal(vhost_ring_start(&c, 0, &ring, base, kick, call), 0);
	}
	/* a VMM goes, and another comes; nothing has been touched */
	vhost_close(&c);
	attach(0);
	assert_null(vdrv_get(&ring, &len));
	assert_int_equal(ring.n_free, NUM - 8 * 3);
	assert_int_equal(pread(source_lock, data(31), 4096, 64 * 512), 4096);
	assert_memory_not_equal(data(31), data(1), 4096);
	assert_int_equal(flock(source_lock, LOCK_UN), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(slot(finish())[32], VIRTIO_BLK_S_OK);
	/* and it is ours from then on, rings or not */
	assert_int_equal(vhost_ring_stop(&c, 0, &base), 0);
	assert_int_equal(flock(source_lock, LOCK_EX | LOCK_NB), -1);
	assert_int_equal(vhost_ring_start(&c, 0, &ring, base, kick, call), 0);
	for (unsigned i = 0; i < 8; i++) {
		memset(data(i), 0, 4096);
		submit(i, VIRTIO_BLK_T_IN, 64 * i, 4096, true, 4096);
		assert_int_equal(finish(), i);
		check(i, 4096, (uint8_t)(i + 90));
	}
	close(source_lock);
	guest_stop();
	server_kill();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malloc_disk),	       cmocka_unit_test(file_disk),
		cmocka_unit_test(configuration),       cmocka_unit_test(hostile),
		cmocka_unit_test(survives_kills),      cmocka_unit_test(image_is_handed_over),
		cmocka_unit_test(waits_for_its_image), cmocka_unit_test(leaves_requests_in_flight),
	};

	return cmocka_run_group_tests(tests, blk_setup, blk_teardown);
}
