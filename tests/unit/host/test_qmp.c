/* SPDX-License-Identifier: BSD-2-Clause */
/* host/qmp.c, vm.c: vCPU threads by the monitor's word; a monitor that is silent, rude or gone. */
#include "host/qmp.h"

#include "host/place.h"
#include "host/vm.h"
#include "tree.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
#define DONE	 "{\"return\": {}}\r\n"
#define EVENT	 "{\"event\": \"RESUME\", \"data\": {}}\r\n"

#define HEADING(cpu, name)                                                                         \
	"{\"machine\": \"" name "\", \"start\": 5, \"map\": \"0 " cpu                              \
	"\\n\", \"dedicated\": \"" cpu "\", \"housekeeping\": \"0\"}\n"

/* What it says, in turn: at once, and after each command; then it hangs up. */
struct monitor {
	const char *lines[4];
	int listener;
	pthread_t thread;
	char path[64];
	char asked[256];
};

static struct monitor monitor;
static struct host_error error;

static void *serve(void *arg)
{
	int fd = accept(monitor.listener, NULL, NULL);
	char command[128];

	for (unsigned i = 0; i < 4 && monitor.lines[i]; i++) {
		size_t have = strlen(monitor.asked);
		ssize_t n;

		if (send(fd, monitor.lines[i], strlen(monitor.lines[i]), MSG_NOSIGNAL) < 0)
			break;
		if (i == 3 || !monitor.lines[i + 1])
			break;
		n = recv(fd, command, sizeof(command) - 1, 0);
		if (n <= 0)
			break;
		command[n] = '\0';
		snprintf(monitor.asked + have, sizeof(monitor.asked) - have, "%s", command);
	}
	close(fd);
	return NULL;
}

static void start(const char *a, const char *b, const char *c)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memset(&monitor, 0, sizeof(monitor));
	monitor.lines[0] = a;
	monitor.lines[1] = b;
	monitor.lines[2] = c;
	snprintf(monitor.path, sizeof(monitor.path), "/tmp/exitless-qmp.%d", (int)getpid());
	strcpy(address.sun_path, monitor.path);
	unlink(monitor.path);
	monitor.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(monitor.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(monitor.listener, 1), 0);
	assert_int_equal(pthread_create(&monitor.thread, NULL, serve, NULL), 0);
}

static void stop(void)
{
	pthread_join(monitor.thread, NULL);
	close(monitor.listener);
	unlink(monitor.path);
}

static void tells_the_threads(void **state)
{
	char *root = tree_new("one-socket"), *path = host_printf("/proc/%d/stat", (int)getpid());
	static struct vm vm;
	struct host host;

	tree_put(root, path, "1 (qemu) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 777 0");
	host_init(&host, root);
	/* events come at any time */
	start(GREETING, EVENT DONE,
	      EVENT "{\"return\": [{\"cpu-index\": 1, \"thread-id\": 501}, "
		    "{\"cpu-index\": 0, \"thread-id\": 500}]}\r\n");
	/* by the socket alone */
	assert_int_equal(vm_find(&host, monitor.path, NULL, &vm, &error), 0);
	stop();
	assert_int_equal(vm.pid, getpid());
	assert_int_equal(vm.start, 777);
	assert_int_equal(vm.n_vcpus, 2);
	assert_int_equal(vm.vcpu[0].tid, 500);
	assert_int_equal(vm.vcpu[1].tid, 501);
	assert_non_null(strstr(monitor.asked, "qmp_capabilities"));
	assert_non_null(strstr(monitor.asked, "query-cpus-fast"));
	vm_done(&vm);
	/* somebody else's */
	tree_put(root, "/proc/4/stat", "4 (qemu) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9 0");
	start(GREETING, DONE, NULL);
	assert_int_equal(vm_find(&host, "4", monitor.path, &vm, &error), -EINVAL);
	assert_non_null(strstr(error.text, "is the socket of process"));
	stop();
	free(path);
	tree_free(root);
}

/* Of a placement: the socket's owner, who need not say a word. */
static void finds_a_placement(void **state)
{
	char *root = tree_new("one-socket");
	char *journal = host_printf("/run/exitless-host/cpu/%d", (int)getpid());
	char *number = host_printf("%d", (int)getpid());
	struct host host;

	host_init(&host, root);
	start(NULL, NULL, NULL);
	assert_int_equal(place_find(&host, monitor.path, &error), -ESRCH);
	assert_non_null(strstr(error.text, "has no CPUs of its own"));
	stop();
	tree_put(root, "/run/exitless-host/cpu/1", HEADING("1", "other"));
	tree_put(root, journal, HEADING("2", "vm1"));
	start(NULL, NULL, NULL);
	assert_int_equal(place_find(&host, monitor.path, &error), getpid());
	stop();
	assert_int_equal(place_find(&host, monitor.path, &error), -ENOENT);
	assert_int_equal(place_find(&host, number, &error), getpid());
	assert_int_equal(place_find(&host, "vm1", &error), getpid());
	assert_int_equal(place_find(&host, "other", &error), 1);
	assert_int_equal(place_find(&host, "another", &error), -ESRCH);
	free(number);
	free(journal);
	tree_free(root);
}

static void refuses(void **state)
{
	struct qmp *qmp;
	int pid;

	assert_int_equal(qmp_open("/nowhere/qmp", &qmp, &pid, &error), -ENOENT);
	start("hello\r\n", NULL, NULL);
	assert_int_equal(qmp_open(monitor.path, &qmp, &pid, &error), -EPROTO);
	stop();
	start("{\"hello\": 1}\r\n", NULL, NULL);
	assert_int_equal(qmp_open(monitor.path, &qmp, &pid, &error), -EPROTO);
	assert_non_null(strstr(error.text, "no QMP socket"));
	stop();
	start(NULL, NULL, NULL);
	assert_true(qmp_open(monitor.path, &qmp, &pid, &error) < 0);
	stop();
	start(GREETING, "{\"error\": {\"class\": \"X\", \"desc\": \"not today\"}}\r\n", NULL);
	assert_true(qmp_open(monitor.path, &qmp, &pid, &error) < 0);
	assert_non_null(strstr(error.text, "not today"));
	stop();
}

static void ends_in_the_middle(void **state)
{
	struct qmp *qmp;
	int pid;

	start(GREETING, DONE, "{\"return\": [");
	assert_int_equal(qmp_open(monitor.path, &qmp, &pid, &error), 0);
	assert_null(qmp_call(qmp, "query-status", &error) ? "something" : NULL);
	qmp_close(qmp);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_the_threads),
		cmocka_unit_test(finds_a_placement),
		cmocka_unit_test(refuses),
		cmocka_unit_test(ends_in_the_middle),
	};

	return cmocka_run_group_tests_name("host/qmp", tests, NULL, NULL);
}
