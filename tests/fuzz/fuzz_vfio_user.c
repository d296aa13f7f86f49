/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vfio-user socket: the input is what a client sends after it has connected. A leading byte
 * says how it is cut into writes; a byte 0xfd at a cut sends an eventfd or a memory file along.
 * The device wants some of the client's memory without a file all the time; a piece that starts
 * with 0xfe answers the oldest request, the rest of the piece changes the answer.
 */
#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"
#include "memory/remote.h"
#include "transport/unix_socket.h"
#include "transport/vfio_user.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct vfio_user_server *server;
static struct memory_space *space;
static struct memory_stage *stage;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static int spare[2];

static void bar_read(struct pci_function *f, unsigned bar, uint64_t offset, void *buf, size_t len)
{
	memset(buf, 0, len);
}

static void bar_write(struct pci_function *f, unsigned bar, uint64_t offset, const void *buf,
		      size_t len)
{
	volatile uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)buf)[i]);
}

static const struct pci_function_ops ops = { .bar_read = bar_read, .bar_write = bar_write };

static void set_up(void)
{
	const struct pci_ids ids = { 0x8086, 0x10d3, 0, 0, 0x020000, 0 };
	struct vfio_user_config config = { .owner = (uid_t)-1, .group = (gid_t)-1 };
	struct pci_function *f;
	void *page;

	log_set_level(LOG_LEVEL_ERROR);
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/exitless-fuzz-%d.sock",
		 (int)getpid());
	config.path = address.sun_path;
	loop = loop_new();
	f = pci_function_new("fuzz", &ids, true, &ops, NULL);
	if (!loop || !f || pci_bar_add(f, 0, PCI_BAR_MEM32, 0x20000) ||
	    pci_bar_add(f, 3, PCI_BAR_MEM32, 0x4000) ||
	    pci_bar_share(f, 0, 0x2000, 0x1000, &page) || pci_cap_msi(f, 0xd0, 1, false) < 0 ||
	    pci_cap_msix(f, 0xa0, 5, 3, 0, 0x2000) < 0 || pci_cap_pm(f, 0xc8) < 0)
		abort();
	pci_intx_add(f);
	space = memory_space_new("fuzz");
	server = vfio_user_server_new(loop, &config, f, space);
	stage = memory_stage_new(space);
	if (!server || !stage)
		abort();
	spare[0] = eventfd(0, EFD_NONBLOCK);
	spare[1] = memfd_create("fuzz", 0);
	if (ftruncate(spare[1], 1 << 20))
		abort();
}

static void clean_up(void)
{
	unlink(address.sun_path);
}

/* What a client that was dropped sends is lost. */
static void send_piece(int fd, const uint8_t *data, size_t len)
{
	unix_send(fd, data, len, len && data[len - 1] == 0xfd ? spare[len % 2] : -1);
}

/* What a device would: reads and writes, a few of which take several messages. */
static void want_memory(void)
{
	void *to;

	if (!memory_stage_waiting(stage))
		memory_stage_clear(stage);
	if (!memory_stage_room(stage, 4, 4 * 5000))
		return;
	memory_stage_fetch(stage, 0x1000, 16);
	memory_stage_fetch(stage, 0x2000, 5000);
	to = memory_stage_write(stage, 0x3000, 5000);
	if (to)
		memset(to, 1, 5000);
	to = memory_stage_write(stage, 0x4000, 1);
	if (to)
		memset(to, 1, 1);
	memory_stage_submit(stage);
}

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

/* Requests that nobody has answered: header, address and count. */
static uint8_t requests[64][32];
static unsigned n_requests;

/* Replies are in between; what looks like a request is good enough. */
static void find_requests(const uint8_t *bytes, size_t len)
{
	struct header header;

	for (size_t at = 0; at + 32 <= len; at += MAX(header.size, 16u)) {
		memcpy(&header, bytes + at, sizeof(header));
		if ((header.command == 11 || header.command == 12) && n_requests < 64)
			memcpy(requests[n_requests++], bytes + at, 32);
	}
}

/* The oldest. */
static void answer(int fd, const uint8_t *change, size_t len)
{
	static uint8_t reply[32 + 8192];
	struct header header;
	uint64_t count;

	memcpy(&header, requests[0], sizeof(header));
	memcpy(&count, requests[0] + 24, sizeof(count));
	memset(reply, 0, sizeof(reply));
	header.size = 32 + (header.command == 11 ? (uint32_t)MIN(count, 8192u) : 0);
	header.flags = 1;
	memcpy(reply, &header, sizeof(header));
	memcpy(reply + sizeof(header), requests[0] + sizeof(header), 16);
	if (n_requests)
		memmove(requests, requests + 1, --n_requests * sizeof(requests[0]));
	count = MIN(header.size, sizeof(reply));
	for (size_t i = 0; i < len && i < count; i++)
		reply[i] ^= change[i];
	if (send(fd, reply, count, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* what follows the version exchange is the interesting part */
	static const uint8_t version[] = { 1, 0, 1, 0, 20, 0, 0, 0, 0, 0,
					   0, 0, 0, 0, 0,  0, 0, 0, 0, 0 };
	struct vfio_user_stats stats;
	static uint8_t answers[65536];
	size_t step;
	ssize_t n;
	int fd;

	if (!loop) {
		set_up();
		atexit(clean_up);
	}
	if (!size)
		return 0;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		abort();
	if (!(data[0] & 0x80))
		send_piece(fd, version, sizeof(version));
	n_requests = 0;
	step = 1 + (data[0] & 0x7f) * 4u;
	for (size_t at = 1; at < size; at += step) {
		if (data[at] == 0xfe)
			answer(fd, data + at + 1, MIN(step, size - at) - 1);
		else
			send_piece(fd, data + at, MIN(step, size - at));
		loop_once(loop, 0);
		want_memory();
		loop_once(loop, 0);
		while ((n = recv(fd, answers, sizeof(answers), MSG_DONTWAIT)) > 0)
			find_requests(answers, (size_t)n);
	}
	close(fd);
	do {
		loop_once(loop, 0);
		vfio_user_server_stats(server, &stats);
	} while (stats.connected || stats.closing);
	if (memory_stage_waiting(stage) || stats.dma_waiting)
		abort();
	memory_stage_clear(stage);
	return 0;
}
