/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/device/vfio_harness.h"

#include "base/log.h"
#include "base/util.h"
#include "tests/device/loop_call.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

struct vfio_user_server *server;
struct pci_function *function;
struct memory_space *space;
uint32_t *shared_page;
struct vu_client client;
void (*bar_written)(uint64_t offset);

static struct recorder recorder; /* the server's thread's */
static struct loop *loop;
static pthread_t thread;
static unsigned n_tasks; /* with the server's */
static char directory[] = "/tmp/exitless-test-XXXXXX", path[64];

static void bar_read(struct pci_function *f, unsigned bar, uint64_t offset, void *buf, size_t len)
{
	recorder.bar_reads++;
	recorder.last_bar = bar;
	recorder.last_offset = offset;
	recorder.last_len = len;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(offset + i);
}

static void bar_write(struct pci_function *f, unsigned bar, uint64_t offset, const void *buf,
		      size_t len)
{
	recorder.bar_writes++;
	recorder.last_bar = bar;
	recorder.last_offset = offset;
	recorder.last_len = len;
	memcpy(recorder.last_data, buf, MIN(len, sizeof(recorder.last_data)));
	if (bar_written)
		bar_written(offset);
}

static void reset(struct pci_function *f, enum pci_reset kind)
{
	recorder.resets++;
}

static void memory_changed(struct pci_function *f)
{
	recorder.memory_changes++;
}

static const struct pci_function_ops ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.reset = reset,
	.memory_changed = memory_changed,
};

static void *run(void *arg)
{
	loop_run(loop);
	return NULL;
}

int server_start(void **state)
{
	const struct pci_ids ids = { 0x8086, 0x10d3, 0x8086, 0xa01f, 0x020000, 0 };
	struct vfio_user_config config = { .owner = (uid_t)-1, .group = (gid_t)-1 };
	void *other;

	log_set_level(LOG_LEVEL_ERROR);
	memset(&recorder, 0, sizeof(recorder));
	bar_written = NULL;
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/net0.sock", directory);
	config.path = path;
	loop = loop_new();
	space = memory_space_new("vm");
	function = pci_function_new("vm/net0", &ids, true, &ops, NULL);
	if (!loop || !space || !function || pci_bar_add(function, 0, PCI_BAR_MEM32, 0x20000) ||
	    pci_bar_add(function, 2, PCI_BAR_IO, 32) ||
	    pci_bar_add(function, 3, PCI_BAR_MEM32, 0x4000) ||
	    pci_bar_share(function, 0, 0x3000, 0x1000, &other) ||
	    pci_bar_share(function, 0, 0x2000, 0x1000, (void **)&shared_page) ||
	    pci_cap_msi(function, 0xd0, 1, false) < 0 ||
	    pci_cap_msix(function, 0xa0, 5, 3, 0, 0x2000) < 0)
		return -1;
	pci_intx_add(function);
	server = vfio_user_server_new(loop, &config, function, space);
	if (!server || pthread_create(&thread, NULL, run, NULL))
		return -1;
	n_tasks = tasks();
	return 0;
}

int server_stop(void **state)
{
	loop_stop(loop);
	pthread_join(thread, NULL);
	vfio_user_server_free(server);
	pci_function_free(function);
	memory_space_free(space);
	loop_free(loop);
	rmdir(directory);
	/* the listening socket and the last session's are closed in their own time */
	while (tasks() >= n_tasks)
		usleep(100);
	return 0;
}

int client_start(void **state)
{
	if (server_start(state))
		return -1;
	return vu_open(&client, path);
}

int client_stop(void **state)
{
	vu_close(&client);
	return server_stop(state);
}

const char *server_path(void)
{
	return path;
}

struct loop *server_loop(void)
{
	return loop;
}

void on_server(void (*fn)(void *arg), void *arg)
{
	loop_call(loop, fn, arg);
}

static void get_record(void *arg)
{
	*(struct recorder *)arg = recorder;
}

const struct recorder *recorded(void)
{
	static struct recorder copy;

	on_server(get_record, &copy);
	return &copy;
}

static void get_stats(void *arg)
{
	vfio_user_server_stats(server, arg);
}

void server_stats(struct vfio_user_stats *stats)
{
	on_server(get_stats, stats);
}

void wait_disconnected(void)
{
	struct vfio_user_stats stats;

	do {
		server_stats(&stats);
	} while (stats.connected || stats.closing);
}

void expect_dropped(struct vu_client *c)
{
	struct pollfd pfd = { c->fd, POLLIN, 0 };
	char rest[4096];
	ssize_t n;

	do {
		assert_int_equal(poll(&pfd, 1, 60000), 1);
		n = read(c->fd, rest, sizeof(rest));
	} while (n > 0);
}

void expect_serving(void)
{
	struct vu_client next;
	uint16_t id = 0;

	wait_disconnected();
	assert_int_equal(vu_open(&next, path), 0);
	assert_int_equal(vu_region_read(&next, VFIO_PCI_CONFIG_REGION_INDEX, 2, &id, 2), 0);
	assert_int_equal(id, 0x10d3);
	vu_close(&next);
	wait_disconnected();
}

uint64_t drain(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) < 0 ? 0 : n;
}
