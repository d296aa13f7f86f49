/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients that come and go, and the socket file. */
#include "tests/device/vfio_harness.h"

#include "transport/unix_socket.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>

#define ROUNDS 10000

static void ten_thousand_connections(void **state)
{
	struct vfio_user_stats stats;
	unsigned fds = open_fds();
	size_t memory = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		assert_int_equal(vu_connect(&client, server_path()), 0);
		if (i % 2)
			assert_int_equal(vu_negotiate(&client), 0);
		vu_close(&client);
		if (i == ROUNDS / 10)
			memory = mallinfo2().uordblks;
	}
	wait_disconnected();
	server_stats(&stats);
	assert_true(stats.connections >= ROUNDS / 2);
	assert_int_equal(open_fds(), fds);
	/* nothing is kept per connection */
	if (memory)
		assert_true(mallinfo2().uordblks < memory + 64 * 1024);
	expect_serving();
}

static void socket_file(void **state)
{
	struct stat st;
	char path[80];
	int fd;

	assert_int_equal(stat(server_path(), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* in use */
	assert_int_equal(unix_listen(server_path(), (uid_t)-1, (gid_t)-1, 0), -EADDRINUSE);
	snprintf(path, sizeof(path), "%s.other", server_path());
	fd = unix_listen(path, (uid_t)-1, (gid_t)-1, 0660);
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	/* stale: nobody listens any more */
	close(fd);
	fd = unix_listen(path, (uid_t)-1, (gid_t)-1, 0660);
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	/* a file that is no socket is left alone */
	fd = creat(path, 0600);
	close(fd);
	assert_int_equal(unix_listen(path, (uid_t)-1, (gid_t)-1, 0), -EADDRINUSE);
	assert_int_equal(stat(path, &st), 0);
	unlink(path);
	assert_int_equal(unix_listen("/nowhere/at/all/x.sock", (uid_t)-1, (gid_t)-1, 0), -ENOENT);
	memset(path, 'x', sizeof(path));
}

static void disconnect(void *arg)
{
	vfio_user_server_disconnect(server);
}

static void dropped_on_request(void **state)
{
	assert_int_equal(vu_open(&client, server_path()), 0);
	on_server(disconnect, NULL);
	expect_dropped(&client);
	vu_close(&client);
	expect_serving();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_no_client(ten_thousand_connections),
		test_no_client(socket_file),
		test_no_client(dropped_on_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
