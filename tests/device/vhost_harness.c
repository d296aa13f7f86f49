/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/device/vhost_harness.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "disk/disk.h"
#include "tests/device/loop_call.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_S	60 /* for what is to happen, on a machine that has much else to do */
#define RX_RING 0
#define TX_RING 0x200000
#define RX_DATA 0x400000
#define TX_DATA 0xa00000

char vhost_path[3][64];
struct vhost_user_server *vhost_server[3];
struct nic *vhost_nic[2];
struct disk *vhost_disk;
const char *vhost_disk_image;
struct guest client;

static char directory[] = "/tmp/exitless-vhost-XXXXXX";
static struct loop *loop;
static pthread_t thread;
static struct io_core *core;
struct net_switch *vhost_switch;
static struct memory_space *spaces[3];
static unsigned client_device;

static void *run(void *arg)
{
	loop_run(loop);
	return NULL;
}

static void close_server(struct vhost_user_server *server)
{
	while (!vhost_user_server_close(server))
		usleep(1000);
	vhost_user_server_free(server);
}

static int start_disk(void)
{
	struct disk_config config = { .name = "vm2/disk0",
				      .backend = vhost_disk_image ? "file" : "malloc",
				      .path = vhost_disk_image,
				      .size_bytes = DISK_BYTES,
				      .queues = DISK_QUEUES };
	struct vhost_user_config vhost = { .path = vhost_path[DISK],
					   .owner = (uid_t)-1,
					   .group = (gid_t)-1 };
	struct io_queue *const *queues;
	unsigned n;

	snprintf(vhost_path[DISK], sizeof(vhost_path[DISK]), "%s/disk", directory);
	spaces[DISK] = memory_space_new("vm2");
	vhost_disk = disk_new(&config, spaces[DISK]);
	if (!vhost_disk)
		return -1;
	queues = disk_queues(vhost_disk, &n);
	for (unsigned q = 0; q < n; q++)
		io_queue_add(core, queues[q]);
	vhost_server[DISK] = vhost_user_server_new(loop, &vhost, disk_device(vhost_disk));
	return vhost_server[DISK] ? 0 : -1;
}

static void stop_disk(void)
{
	struct io_queue *const *queues;
	unsigned n;

	close_server(vhost_server[DISK]);
	queues = disk_queues(vhost_disk, &n);
	for (unsigned q = 0; q < n; q++)
		io_queue_remove(queues[q]);
	disk_free(vhost_disk);
	memory_space_free(spaces[DISK]);
}

int vhost_harness_start(void **state)
{
	struct switch_config sw_config = { .name = "vhost_switch" };
	struct io_core_params params = { .cpu = -1 };

	log_set_level(LOG_LEVEL_ERROR);
	memory_faults_init();
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	loop = loop_new();
	core = io_core_new("io0", &params);
	vhost_switch = net_switch_new(&sw_config);
	for (unsigned i = 0; i < 2; i++) {
		struct nic_config config = { .name = i ? "vm1/net0" : "vm0/net0", .link_up = true };
		struct vhost_user_config vhost = { .path = vhost_path[i],
						   .owner = (uid_t)-1,
						   .group = (gid_t)-1 };
		struct switch_port_config port = { 0 };

		snprintf(vhost_path[i], sizeof(vhost_path[i]), "%s/net%u", directory, i);
		spaces[i] = memory_space_new("vm");
		vhost_nic[i] = virtio_net_new(&config, spaces[i], PAIRS);
		for (unsigned q = 0; q < vhost_nic[i]->n_queues; q++)
			io_queue_add(core, vhost_nic[i]->queues[q]);
		net_switch_attach(vhost_switch, &vhost_nic[i]->port, &port);
		vhost_server[i] = vhost_user_server_new(loop, &vhost,
							virtio_net_device(vhost_nic[i]));
		if (!vhost_server[i])
			return -1;
	}
	if (start_disk())
		return -1;
	return pthread_create(&thread, NULL, run, NULL);
}

int vhost_harness_stop(void **state)
{
	loop_stop(loop);
	pthread_join(thread, NULL);
	stop_disk();
	for (unsigned i = 0; i < 2; i++) {
		close_server(vhost_server[i]);
		net_switch_detach(&vhost_nic[i]->port);
		for (unsigned q = 0; q < vhost_nic[i]->n_queues; q++)
			io_queue_remove(vhost_nic[i]->queues[q]);
		vhost_nic[i]->ops->free(vhost_nic[i]);
		memory_space_free(spaces[i]);
	}
	io_core_free(core);
	net_switch_free(vhost_switch);
	loop_free(loop);
	rmdir(directory);
	return 0;
}

struct loop *vhost_loop(void)
{
	return loop;
}

void on_loop(void (*fn)(void *arg), void *arg)
{
	loop_call(loop, fn, arg);
}

struct wanted {
	const char *name;
	uint64_t *value;
};

static void match(void *arg, const char *name, uint64_t value)
{
	struct wanted *wanted = arg;

	if (!strcmp(name, wanted->name))
		*wanted->value = value;
}

void nic_stat(unsigned i, const char *name, uint64_t *value)
{
	struct wanted wanted = { name, value };

	*value = UINT64_MAX;
	vhost_nic[i]->ops->stats(vhost_nic[i], match, &wanted);
}

void guest_open(struct guest *g, unsigned i, uint64_t features)
{
	struct vhost_client_region region = { GUEST_BASE, GUEST_BYTES, USER_BASE, 0 };

	memset(g, 0, sizeof(*g));
	g->memfd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(g->memfd, GUEST_BYTES), 0);
	g->mem = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, g->memfd, 0);
	g->features = features;
	g->hdr_len = 12;
	g->rx_call = eventfd(0, EFD_NONBLOCK);
	g->tx_call = eventfd(0, EFD_NONBLOCK);
	g->kick = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(vhost_connect(&g->c, vhost_path[i]), 0);
	assert_int_equal(vhost_negotiate(&g->c, features, VHOST_ALL), 0);
	assert_int_equal(g->c.features & features, features);
	assert_int_equal(vhost_add_region(&g->c, &region, g->memfd), 0);
}

void guest_close(struct guest *g)
{
	vhost_close(&g->c);
	munmap(g->mem, GUEST_BYTES);
	close(g->memfd);
	close(g->rx_call);
	close(g->tx_call);
	close(g->kick);
}

static void post_rx(struct guest *g, unsigned i, unsigned bytes)
{
	struct vdrv_buf buf = { GUEST_BASE + RX_DATA + (uint64_t)i * bytes, bytes, true };

	assert_int_equal(vdrv_add(&g->rx, &buf, 1, (void *)(uintptr_t)(i + 1), false), 0);
}

/* The client sees user addresses; descriptors hold guest addresses. */
void guest_ring(struct guest *g, unsigned index, const struct vdrv *ring, int kick, int call)
{
	struct vdrv user = *ring;
	uint32_t base = ring->packed ? 0x80008000u : 0;

	user.desc_addr += USER_BASE - GUEST_BASE;
	user.avail_addr += USER_BASE - GUEST_BASE;
	user.used_addr += USER_BASE - GUEST_BASE;
	assert_int_equal(vhost_ring_start(&g->c, index, &user, base, kick, call), 0);
}

static unsigned buffer_bytes; /* of all guests */

void guest_start(struct guest *g, unsigned i, uint64_t features, uint16_t num, unsigned buf_bytes,
		 unsigned n_buffers)
{
	guest_open(g, i, features);
	buffer_bytes = buf_bytes;
	g->rx_buffers = n_buffers;
	assert_int_equal(vdrv_init(&g->rx, g->mem + RX_RING, GUEST_BASE + RX_RING, num, features),
			 0);
	assert_int_equal(vdrv_init(&g->tx, g->mem + TX_RING, GUEST_BASE + TX_RING, num, features),
			 0);
	vdrv_notifications(&g->rx, true);
	for (unsigned b = 0; b < n_buffers; b++)
		post_rx(g, b, buf_bytes);
	vdrv_publish(&g->rx);
	guest_ring(g, 0, &g->rx, -1, g->rx_call);
	guest_ring(g, 1, &g->tx, g->kick, g->tx_call);
}

void guest_stop(struct guest *g)
{
	vdrv_done(&g->rx);
	vdrv_done(&g->tx);
	guest_close(g);
}

void guest_send(struct guest *g, const void *hdr, const void *frame, uint32_t len, uint32_t piece)
{
	static const uint8_t none[12];
	struct vdrv_buf bufs[VDRV_INDIRECT_MAX];
	uint64_t at = TX_DATA, total = g->hdr_len + len, done = 0;
	uint64_t until = time_now_ns() + WAIT_S * NS_PER_S;
	bool indirect = g->features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	unsigned n = 0;
	uint32_t used;

	memcpy(g->mem + at, hdr ? hdr : none, g->hdr_len);
	memcpy(g->mem + at + g->hdr_len, frame, len);
	while (done < total) {
		uint32_t here = (uint32_t)MIN((uint64_t)piece, total - done);

		assert_true(n < VDRV_INDIRECT_MAX);
		bufs[n++] = (struct vdrv_buf){ GUEST_BASE + at + done, here, false };
		done += here;
	}
	assert_int_equal(vdrv_add(&g->tx, bufs, n, g, indirect), 0);
	if (vdrv_publish(&g->tx))
		assert_int_equal(write(g->kick, &(uint64_t){ 1 }, 8), 8);
	/* the buffer is used again */
	while (!vdrv_get(&g->tx, &used)) {
		assert_true(time_now_ns() < until);
		usleep(10);
	}
}

uint32_t guest_receive(struct guest *g, void *hdr, uint8_t *frame, uint32_t room)
{
	return guest_receive_for(g, WAIT_S, hdr, frame, room);
}

uint32_t guest_receive_for(struct guest *g, unsigned seconds, void *hdr, uint8_t *frame,
			   uint32_t room)
{
	uint64_t until = time_now_ns() + seconds * NS_PER_S, count;
	unsigned buffers = 1, got = 0;
	uint8_t first[12];
	uint32_t len = 0, used;

	while (got < buffers) {
		uintptr_t token = (uintptr_t)vdrv_get(&g->rx, &used);
		uint32_t skip = got ? 0 : g->hdr_len;
		const uint8_t *data;

		if (!token) {
			struct pollfd p = { g->rx_call, POLLIN, 0 };

			if (time_now_ns() > until)
				return 0;
			/* a lost notification would be a hang: ask anew, then look once more */
			vdrv_notifications(&g->rx, true);
			token = (uintptr_t)vdrv_get(&g->rx, &used);
			if (!token) {
				if (poll(&p, 1, 1000) == 1)
					assert_int_equal(read(g->rx_call, &count, 8), 8);
				continue;
			}
		}
		data = g->mem + RX_DATA + (token - 1) * buffer_bytes;
		if (!got) {
			memcpy(first, data, g->hdr_len);
			if (hdr)
				memcpy(hdr, data, g->hdr_len);
			buffers = load_le16(first + 10);
			assert_in_range(buffers, 1, g->rx_buffers);
		}
		assert_true(used >= skip && len + used - skip <= room);
		memcpy(frame + len, data + skip, used - skip);
		len += used - skip;
		post_rx(g, (unsigned)token - 1, buffer_bytes);
		vdrv_publish(&g->rx);
		got++;
	}
	return len;
}

bool readable(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, WAIT_S * 1000) == 1;
}

bool is_closed(struct vhost_client *c)
{
	ssize_t n;
	char byte;

	if (!readable(c->fd))
		return false;
	n = recv(c->fd, &byte, 1, MSG_DONTWAIT);
	return !n || (n < 0 && errno != EAGAIN);
}

void wait_open_fds(unsigned n)
{
	uint64_t until = time_now_ns() + WAIT_S * NS_PER_S;

	while (open_fds() > n && time_now_ns() < until)
		usleep(1000);
}

struct look {
	unsigned clients;
	bool others;
};

static void look_for_clients(void *arg)
{
	struct look *look = arg;

	look->others = false;
	for (unsigned i = 0; i < ARRAY_SIZE(vhost_server); i++) {
		struct vhost_user_stats stats;

		vhost_user_server_stats(vhost_server[i], &stats);
		look->others |= stats.closing || (stats.connected && !(look->clients >> i & 1));
	}
}

unsigned settled_fds(unsigned clients)
{
	uint64_t until = time_now_ns() + WAIT_S * NS_PER_S, features;
	struct look look = { clients, true };

	/* those who connected and went are accepted before this one */
	for (unsigned i = 0; i < ARRAY_SIZE(vhost_server); i++) {
		struct vhost_client c;

		if (clients >> i & 1)
			continue;
		assert_int_equal(vhost_connect(&c, vhost_path[i]), 0);
		assert_int_equal(vhost_get_u64(&c, VHOST_GET_FEATURES, &features), 0);
		vhost_close(&c);
	}
	while (look.others && time_now_ns() < until) {
		on_loop(look_for_clients, &look);
		usleep(1000);
	}
	assert_false(look.others);
	return open_fds();
}

/* ---- one message ------------------------------------------------------------------------- */

static int open_client(unsigned device)
{
	client_device = device;
	guest_open(&client, device, V1);
	return 0;
}

int client_start(void **state)
{
	return open_client(0);
}

int client_start_disk(void **state)
{
	return open_client(DISK);
}

int client_stop(void **state)
{
	guest_close(&client);
	return 0;
}

void client_again(void)
{
	guest_close(&client);
	open_client(client_device);
}

void send_raw(const void *bytes, size_t len)
{
	assert_int_equal(send(client.c.fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

int send_state(uint32_t request, uint32_t index, uint32_t num)
{
	return vhost_request(&client.c, request, (uint32_t[]){ index, num }, 8, -1);
}

int send_addr(unsigned index, uint32_t flags, uint64_t desc, uint64_t used, uint64_t avail)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} m = { index, flags, desc, used, avail, 0 };

	return vhost_request(&client.c, VHOST_SET_VRING_ADDR, &m, sizeof(m), -1);
}

int memory_file(size_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}
