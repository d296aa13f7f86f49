/* SPDX-License-Identifier: BSD-2-Clause */
/* SET_MEM_TABLE: up to eight regions at once, in place of all that were there. */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#include <pthread.h>
#include <sys/mman.h>

static pthread_t loops;
static unsigned unmapped_by_loop;

int __real_munmap(void *at, size_t len);
int __wrap_munmap(void *at, size_t len);

int __wrap_munmap(void *at, size_t len)
{
	if (pthread_equal(pthread_self(), READ_ONCE(loops)))
		unmapped_by_loop++;
	return __real_munmap(at, len);
}

struct table {
	uint32_t n, pad;
	struct vhost_client_region r[9];
};

static int send_table(struct vhost_client *c, const struct table *t, const int *fds, unsigned n_fds)
{
	struct vhost_header header;
	uint64_t result = 1;
	uint32_t len = sizeof(result);

	if (vhost_send(c, VHOST_SET_MEM_TABLE, VHOST_NEED_REPLY, t, 8 + t->n * sizeof(t->r[0]), fds,
		       n_fds) ||
	    vhost_receive(c, &header, &result, &len, NULL))
		return -EPIPE;
	return result ? REFUSED : 0;
}

static void replaces_all(void **state)
{
	struct table t = { 8, 0, { { 0 } } };
	int fds[8];
	struct {
		uint64_t pad;
		struct vhost_client_region r;
	} gone = { 0, { GUEST_BASE, GUEST_BYTES, USER_BASE, 0 } };

	for (unsigned i = 0; i < 8; i++) {
		fds[i] = memory_file(0x2000);
		t.r[i] = (struct vhost_client_region){ i * 0x10000, 0x1000, i * 0x20000, 0x1000 };
	}
	assert_int_equal(send_table(&client.c, &t, fds, 8), 0);
	assert_int_equal(vhost_request(&client.c, VHOST_REM_MEM_REG, &gone, sizeof(gone), -1),
			 REFUSED);
	gone.r = t.r[7];
	assert_int_equal(vhost_request(&client.c, VHOST_REM_MEM_REG, &gone, sizeof(gone), -1), 0);
	/* of nothing */
	t.n = 0;
	assert_int_equal(send_table(&client.c, &t, NULL, 0), 0);
	for (unsigned i = 0; i < 8; i++)
		close(fds[i]);
}

static void who(void *arg)
{
	WRITE_ONCE(loops, pthread_self());
	unmapped_by_loop = 0;
}

static void count(void *arg)
{
	*(unsigned *)arg = unmapped_by_loop;
}

/* Memory that is not in the table any more may be freed with that, which takes its time. */
static void unmaps_elsewhere(void **state)
{
	struct table t = { 1, 0, { { 0x1000, 0x100000, 0x1000, 0 } } };
	int fd = memory_file(0x100000);
	unsigned unmapped = 1;

	on_loop(who, NULL);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(send_table(&client.c, &t, &fd, 1), 0);
	t.n = 0;
	assert_int_equal(send_table(&client.c, &t, NULL, 0), 0);
	on_loop(count, &unmapped);
	assert_int_equal(unmapped, 0);
	close(fd);
}

static void refuses(void **state)
{
	struct table t = { 2, 0, { { 0x1000, 0x1000, 0x1000, 0 }, { 0x2000, 0x1000, 0x2000, 0 } } };
	int fd = memory_file(0x2000), fds[2] = { fd, fd };

	/* fewer descriptors than regions, and more */
	assert_int_equal(send_table(&client.c, &t, fds, 1), REFUSED);
	assert_int_equal(send_table(&client.c, &t, NULL, 0), REFUSED);
	t.n = 1;
	assert_int_equal(send_table(&client.c, &t, fds, 2), REFUSED);
	t.n = 9;
	assert_int_equal(send_table(&client.c, &t, fds, 1), REFUSED);
	/* more regions than there are bytes */
	t.n = 3;
	assert_int_equal(vhost_request(&client.c, VHOST_SET_MEM_TABLE, &t, 8 + 32, -1), REFUSED);
	/* regions that overlap, in guest addresses, in the front end's */
	t = (struct table){ 2, 0, { { 0x1000, 0x1000, 0x1000, 0 }, { 0x1fff, 1, 0x5000, 0 } } };
	assert_int_equal(send_table(&client.c, &t, fds, 2), REFUSED);
	t = (struct table){ 2, 0, { { 0x1000, 0x1000, 0x1000, 0 }, { 0x5000, 16, 0x1ff0, 0 } } };
	assert_int_equal(send_table(&client.c, &t, fds, 2), REFUSED);
	/* with room for one that is good afterwards */
	t = (struct table){ 1, 0, { { 0x1000, 0x1000, 0x1000, 0 } } };
	assert_int_equal(send_table(&client.c, &t, fds, 1), 0);
	close(fd);
}

/* A front end without CONFIGURE_MEM_SLOTS adds memory so, while rings run: nothing is lost. */
static void while_rings_run(void **state)
{
	struct table t = { 1, 0, { { GUEST_BASE, GUEST_BYTES, USER_BASE, 0 } } };
	uint8_t frame[100] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[100];
	int fd = memory_file(0x1000);
	struct guest a, b;

	guest_close(&client);
	guest_start(&a, 0, V1, 64, BUF_BYTES, 32);
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < 50; i++) {
		int fds[2] = { a.memfd, fd };

		frame[20] = (uint8_t)i;
		t.n = 1 + i % 2;
		t.r[1] = (struct vhost_client_region){ i * 0x1000, 0x1000, i * 0x1000, 0 };
		assert_int_equal(send_table(&a.c, &t, fds, t.n), 0);
		guest_send(&a, NULL, frame, sizeof(frame), 4096);
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
		assert_memory_equal(frame, got, sizeof(frame));
	}
	guest_stop(&a);
	guest_stop(&b);
	close(fd);
	client_start(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(replaces_all),
		test(unmaps_elsewhere),
		test(refuses),
		test(while_rings_run),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
