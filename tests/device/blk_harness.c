/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/device/blk_harness.h"

#include "base/clock.h"
#include "base/log.h"
#include "disk/disk.h"
#include "transport/vhost_user.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[] = "/tmp/exitless-blk-XXXXXX", path[64];
static pid_t server;
static int memfd;

char image[64];
bool pin, shared, cached;
struct vhost_client c;
struct vdrv ring;
uint8_t *mem;
int kick, call, inflight = -1;
uint64_t features, protocol = PROTOCOL;

/* ---- the daemon's half ------------------------------------------------------------------- */

static void serve(const char *backend, bool read_only)
{
	struct loop *loop = loop_new();
	struct disk_config config = { .name = "vm/disk",
				      .backend = backend,
				      .path = image,
				      .size_bytes = SIZE,
				      .queues = 2,
				      .read_only = read_only,
				      .shared = shared,
				      .pin_memory = pin,
				      .cached = cached,
				      .loop = loop,
				      .serial = "a serial of 20 chars" };
	struct vhost_user_config vhost = { .path = path, .owner = (uid_t)-1, .group = (gid_t)-1 };
	struct io_core_params params = { .cpu = -1 };
	struct io_core *core = io_core_new("io0", &params);
	struct memory_space *space = memory_space_new("vm");
	struct disk *disk = disk_new(&config, space);
	struct io_queue *const *queues;
	unsigned n;

	memory_faults_init();
	if (!disk) {
		perror("disk_new");
		_exit(1);
	}
	queues = disk_queues(disk, &n);
	for (unsigned i = 0; i < n; i++)
		io_queue_add(core, queues[i]);
	if (!vhost_user_server_new(loop, &vhost, disk_device(disk)))
		_exit(1);
	loop_run(loop);
	_exit(0);
}

void server_start(const char *backend, bool read_only)
{
	fflush(NULL);
	server = fork();
	if (!server) {
		/* not left behind by a test that is killed */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(backend, read_only);
	}
}

void server_kill(void)
{
	if (server <= 0)
		return;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	server = 0;
}

/* ---- the guest's half -------------------------------------------------------------------- */

static void guest_memory(void)
{
	memfd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(memfd, MEM), 0);
	mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	kick = eventfd(0, EFD_NONBLOCK);
	call = eventfd(0, EFD_NONBLOCK);
}

void wait_connected(void)
{
	unsigned tries = 60; /* of a second */

	while (vhost_connect(&c, path))
		assert_true(--tries);
}

void attach(uint32_t base)
{
	/* many regions, so that requests cross their borders */
	wait_connected();
	assert_int_equal(vhost_negotiate(&c, features, protocol), 0);
	assert_int_equal(c.features & features, features);
	for (uint64_t at = 0; at < MEM;) {
		uint64_t size = at < SLOT ? SLOT : 0x10000;
		struct vhost_client_region region = { at, size, at, at };

		assert_int_equal(vhost_add_region(&c, &region, memfd), 0);
		at += size;
	}
	if (inflight >= 0) {
		struct {
			uint64_t size, offset;
			uint16_t queues, num;
		} m = { 0, 0, 1, NUM };
		struct vhost_header header;
		uint32_t len = 20;
		int fd;

		m.size = (uint64_t)lseek(inflight, 0, SEEK_END);
		if (!m.size) {
			close(inflight);
			assert_int_equal(vhost_send(&c, VHOST_GET_INFLIGHT_FD, 0, &m, 20, NULL, 0),
					 0);
			assert_int_equal(vhost_receive(&c, &header, &m, &len, &fd), 0);
			assert_int_equal(len, 20);
			assert_true(fd >= 0);
			inflight = fd;
		}
		assert_int_equal(vhost_request(&c, VHOST_SET_INFLIGHT_FD, &m, 20, inflight), 0);
	}
	assert_int_equal(vhost_ring_start(&c, 0, &ring, base, kick, call), 0);
}

void guest_start(uint64_t wanted)
{
	features = wanted;
	guest_memory();
	assert_int_equal(vdrv_init(&ring, mem, 0, NUM, features), 0);
	vdrv_notifications(&ring, true);
	attach(features & PACKED ? 0x80008000u : 0);
}

void guest_stop(void)
{
	vhost_close(&c);
	vdrv_done(&ring);
	munmap(mem, MEM);
	close(memfd);
	close(kick);
	close(call);
}

uint8_t *slot(unsigned i)
{
	return mem + SLOT + i * 0x10000;
}

/* Header at the slot's start, status behind, data from 64 on. */
void submit(unsigned i, uint32_t type, uint64_t sector, uint32_t len, bool in, uint32_t piece)
{
	uint64_t at = SLOT + i * 0x10000ull;
	struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };
	struct vdrv_buf bufs[VDRV_INDIRECT_MAX];
	unsigned n = 0;

	memcpy(slot(i), &hdr, sizeof(hdr));
	slot(i)[32] = 0xee;
	bufs[n++] = (struct vdrv_buf){ at, 16, false };
	for (uint32_t done = 0; done < len;) {
		uint32_t here = MIN(piece, len - done);

		bufs[n++] = (struct vdrv_buf){ at + 512 + done, here, in };
		done += here;
	}
	bufs[n++] = (struct vdrv_buf){ at + 32, 1, true };
	assert_int_equal(vdrv_add(&ring, bufs, n, slot(i), features & INDIRECT), 0);
	if (vdrv_publish(&ring))
		assert_int_equal(write(kick, &(uint64_t){ 1 }, 8), 8);
}

uint8_t *wait_used(uint32_t *len)
{
	uint64_t until = time_now_ns() + 60 * NS_PER_S;
	uint8_t *done = vdrv_get(&ring, len);

	while (!done) {
		if (waitpid(server, NULL, WNOHANG)) {
			server = 0;
			fail_msg("the server ended");
		}
		assert_true(time_now_ns() < until);
		usleep(10);
		done = vdrv_get(&ring, len);
	}
	return done;
}

unsigned finish(void)
{
	uint32_t len;
	uint8_t *done = wait_used(&len);

	assert_true(len >= 1 || done[32] == 0xee);
	return (unsigned)(done - mem - SLOT) / 0x10000;
}

uint8_t request(uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	submit(0, type, sector, len, in, 4096);
	assert_int_equal(finish(), 0);
	return slot(0)[32];
}

uint8_t *data(unsigned i)
{
	return slot(i) + 512;
}

void fill(unsigned i, uint32_t len, uint8_t seed)
{
	for (uint32_t k = 0; k < len; k++)
		data(i)[k] = (uint8_t)(k * 13 + seed + k / 512);
}

void check(unsigned i, uint32_t len, uint8_t seed)
{
	for (uint32_t k = 0; k < len; k++)
		assert_int_equal(data(i)[k], (uint8_t)(k * 13 + seed + k / 512));
}

void get_config(struct config_message *m)
{
	struct vhost_header header;
	uint32_t len = sizeof(*m);

	*m = (struct config_message){ 0, sizeof(m->config), 0, { 0 } };
	assert_int_equal(vhost_send(&c, VHOST_GET_CONFIG, 0, m, sizeof(*m), NULL, 0), 0);
	assert_int_equal(vhost_receive(&c, &header, m, &len, NULL), 0);
	assert_int_equal(len, sizeof(*m));
}

/* ---- groups of tests -------------------------------------------------------------------- */

int blk_setup(void **state)
{
	int fd;

	log_set_level(LOG_LEVEL_ERROR);
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/blk.sock", directory);
	snprintf(image, sizeof(image), "%s/image", directory);
	fd = creat(image, 0600);
	return fd < 0 || ftruncate(fd, SIZE) < 0 || close(fd) < 0 ? -1 : 0;
}

int blk_teardown(void **state)
{
	server_kill(); /* of a test that failed */
	unlink(path);
	unlink(image);
	return rmdir(directory);
}
