/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vhost-user socket: the input is a list of messages, each a request, flags, a choice of
 * descriptor and a length, then the payload. The device has four queues that are never polled. The
 * input's length chooses two of the protocol features.
 */
#include "base/log.h"
#include "base/util.h"
#include "transport/unix_socket.h"
#include "transport/vhost_user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define QUEUES 4

static struct loop *loop;
static struct vhost_user_server *server;
static struct virtio_device device;
static struct virtqueue queues[QUEUES];
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static int spare[3];

static int config_read(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
	return 0;
}

static int config_write(struct virtio_device *dev, uint32_t offset, const void *buf, uint32_t len,
			bool migration)
{
	volatile uint8_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)buf)[i]);
	return sum & 1 ? -1 : 0;
}

static int mtu_set(struct virtio_device *dev, uint64_t mtu)
{
	return mtu < 68 ? -EINVAL : 0;
}

static void announce(struct virtio_device *dev, const uint8_t mac[6])
{
}

/* Somebody else has the storage, every other time. */
static int use(struct virtio_device *dev, bool on)
{
	static unsigned times;

	return on && times++ & 1 ? -EAGAIN : 0;
}

static const struct virtio_device_ops ops = {
	.mtu_set = mtu_set,
	.announce = announce,
	.use = use,
	.config_read = config_read,
	.config_write = config_write,
};

static void clean_up(void)
{
	unlink(address.sun_path);
}

static void set_up(void)
{
	struct vhost_user_config config = { .owner = (uid_t)-1, .group = (gid_t)-1 };

	log_set_level(LOG_LEVEL_ERROR);
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/exitless-fuzz-vhost-%d.sock",
		 (int)getpid());
	config.path = address.sun_path;
	loop = loop_new();
	device = (struct virtio_device){ .ops = &ops,
					 .name = "fuzz",
					 .space = memory_space_new("fuzz"),
					 .features = VIRTQ_FEATURES,
					 .in_flight = true,
					 .has_config = true,
					 .n_queues = QUEUES };
	for (unsigned i = 0; i < QUEUES; i++) {
		virtqueue_init(&queues[i], device.space);
		device.queues[i] = &queues[i];
	}
	server = vhost_user_server_new(loop, &config, &device);
	if (!server)
		abort();
	spare[0] = eventfd(0, EFD_NONBLOCK);
	spare[1] = memfd_create("fuzz", MFD_ALLOW_SEALING);
	if (ftruncate(spare[1], 1 << 20) || fcntl(spare[1], F_ADD_SEALS, F_SEAL_SHRINK))
		abort();
	spare[2] = socket(AF_UNIX, SOCK_STREAM, 0);
	atexit(clean_up);
}

#define PAYLOAD_MAX 255

/* What a client that was dropped sends is lost. */
static void send_message(int fd, const uint8_t *head, const uint8_t *payload, uint32_t len)
{
	uint32_t header[3] = { head[0], (head[1] & 0x1fu) | 1, len };
	uint8_t message[sizeof(header) + PAYLOAD_MAX];

	memcpy(message, header, sizeof(header));
	memcpy(message + sizeof(header), payload, len);
	unix_send(fd, message, sizeof(header) + len, head[2] & 3 ? spare[(head[2] & 3) - 1] : -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* all protocol features, which most messages need */
	static const uint8_t protocol[] = { 16, 0, 0, 8 };
	uint64_t bits = 1ull << 0 | 1ull << 1 | 1ull << 2 | 1ull << 3 | 1ull << 4 | 1ull << 5 |
			1ull << 9 | 1ull << 12 | 1ull << 13 | 1ull << 15 | 1ull << 16 |
			(size & 1 ? 1ull << 20 : 0) | (size & 2 ? 1ull << 21 : 0);
	struct vhost_user_stats stats;
	uint8_t answers[4096];
	int fd;

	if (!loop)
		set_up();
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		abort();
	send_message(fd, protocol, (const uint8_t *)&bits, sizeof(bits));
	for (size_t at = 0; at + 4 <= size;) {
		uint32_t len = (uint32_t)MIN((size_t)data[at + 3], size - at - 4);

		send_message(fd, data + at, data + at + 4, len);
		at += 4 + len;
		loop_once(loop, 0);
		while (recv(fd, answers, sizeof(answers), MSG_DONTWAIT) > 0)
			;
	}
	close(fd);
	do {
		loop_once(loop, 1);
		vhost_user_server_stats(server, &stats);
	} while (stats.connected || stats.closing);
	return 0;
}
