/* SPDX-License-Identifier: BSD-2-Clause */
/* host/qmp.c, vm.c: vCPU threads by the monitor's word; a monitor that is silent, rude or gone. */
#include "host/qmp.h"

#include "host/place.h"
#include "host/vm.h"
#include "tree.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
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

static void has_thread(const char *root, int tid)
{
	char *path = host_printf("/proc/%d/task/%d/comm", (int)getpid(), tid);

	tree_put(root, path, "qemu");
	free(path);
}

static void tells_the_threads(void **state)
{
	char *root = tree_new("one-socket"), *path = host_printf("/proc/%d/stat", (int)getpid());
	static struct vm vm;
	struct host host;

	tree_put(root, path, "1 (qemu) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 777 0");
	has_thread(root, 500);
	has_thread(root, 501);
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

/* By whatever reason: QEMU in a PID namespace of its own, or a liar. */
static void takes_no_foreign_threads(void **state)
{
	static const char *const answers[] = {
		("{\"return\": [{\"cpu-index\": 0, \"thread-id\": 500}, "
		 "{\"cpu-index\": 1, \"thread-id\": 7}]}\r\n"),
		"{\"return\": [{\"cpu-index\": 0, \"thread-id\": 4294967796}]}\r\n",
		"{\"return\": [{\"cpu-index\": -1, \"thread-id\": 500}]}\r\n",
		"{\"return\": [{\"cpu-index\": 0}]}\r\n",
	};
	char *root = tree_new("one-socket"), *path = host_printf("/proc/%d/stat", (int)getpid());
	static struct vm vm;
	struct host host;

	tree_put(root, path, "1 (qemu) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 777 0");
	has_thread(root, 500);
	tree_put(root, "/proc/4/task/7/comm", "other");
	host_init(&host, root);
	for (unsigned i = 0; i < 4; i++) {
		start(GREETING, DONE, answers[i]);
		assert_int_equal(vm_find(&host, monitor.path, NULL, &vm, &error), -EPROTO);
		stop();
		assert_non_null(strstr(error.text, "PID namespace"));
		assert_int_equal(vm.n_vcpus, 0);
	}
	free(path);
	tree_free(root);
}

/* ---- a socket that a process names in its own command line -------------------------------------
 */

/* A process in @dir with these words, that serves @path as QEMU does; with the answer @tid, 0: its
 * own. */
static pid_t serve_in(const char *dir, const char *path, const char *word, int tid)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int ready[2], fd;
	char text[512], none;
	pid_t child;

	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (child) {
		close(ready[1]);
		/* nothing comes: the end of the file does, when it serves */
		assert_int_equal(read(ready[0], &none, 1), 0);
		close(ready[0]);
		return child;
	}
	/* a test that fails ends it, too */
	if (chdir(dir) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		_exit(1);
	strcpy(address.sun_path, path);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (path[0] &&
	    (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4)))
		_exit(2);
	snprintf(
		text, sizeof(text),
		"import socket, os, time\n"
		"os.close(%d)\n"
		"if %d: time.sleep(99)\n"
		"s = socket.socket(fileno=%d)\n"
		"while True:\n"
		"  c = s.accept()[0]\n"
		"  c.sendall(b'{\"QMP\": {}}\\n'); c.recv(99)\n"
		"  c.sendall(b'{\"return\": {}}\\n'); c.recv(99)\n"
		"  c.sendall(b'{\"return\": [{\"cpu-index\": 0, \"thread-id\": %%d}]}\\n' %% (%d or "
		"os.getpid()))\n",
		ready[1], !path[0], fd, tid);
	execlp("python3", "python3", "-c", text, "-qmp", word, NULL);
	_exit(3);
}

static void end(pid_t child)
{
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static int find_child(pid_t child, struct vm *vm)
{
	char number[16];
	struct host host;

	host_init(&host, NULL);
	snprintf(number, sizeof(number), "%d", (int)child);
	return vm_find(&host, number, NULL, vm, &error);
}

static void asks_only_the_process_itself(void **state)
{
	char here[] = "/tmp/exitless-qmp.XXXXXX", there[] = "/tmp/exitless-qmp.XXXXXX", *word,
	     *name;
	static struct vm vm;
	pid_t one, two;

	assert_true(mkdtemp(here) && mkdtemp(there));
	/* two of the same words, each in a directory of its own; this one is in the other's */
	one = serve_in(here, "qmp.sock", "unix:qmp.sock,server=on", 0);
	two = serve_in(there, "qmp.sock", "unix:qmp.sock,server=on", 0);
	assert_int_equal(chdir(there), 0);
	assert_int_equal(find_child(one, &vm), 0);
	assert_int_equal(vm.n_vcpus, 1);
	assert_int_equal(vm.vcpu[0].tid, one);
	vm_done(&vm);
	assert_int_equal(find_child(two, &vm), 0);
	assert_int_equal(vm.vcpu[0].tid, two);
	vm_done(&vm);
	end(two);
	end(one);
	/* one that names another's */
	word = host_printf("unix:%s/qmp.sock", here);
	one = serve_in(here, "qmp.sock", word, 0);
	two = serve_in(there, "", word, 0);
	assert_int_equal(find_child(one, &vm), 0);
	assert_int_equal(vm.vcpu[0].tid, one);
	vm_done(&vm);
	assert_int_equal(find_child(two, &vm), -ENOENT);
	assert_non_null(strstr(error.text, "is the socket of process"));
	end(two);
	end(one);
	/* and threads of another's */
	one = serve_in(here, "qmp.sock", word, (int)getpid());
	assert_int_equal(find_child(one, &vm), -ENOENT);
	assert_non_null(strstr(error.text, "no such thread"));
	end(one);
	free(word);
	for (unsigned i = 0; i < 2; i++) {
		name = host_printf("%s/qmp.sock", i ? there : here);
		unlink(name);
		free(name);
	}
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(here) | rmdir(there), 0);
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

/* Says the text again and again, until the other end hangs up. */
static void *babble(void *arg)
{
	const char *text = arg;
	int fd = accept(monitor.listener, NULL, NULL);
	bool more = send(fd, GREETING DONE, strlen(GREETING DONE), MSG_NOSIGNAL) > 0;

	while (more) {
		more = send(fd, text, strlen(text), MSG_NOSIGNAL) > 0;
		if (strlen(text) < 100)
			usleep(100000);
	}
	close(fd);
	return NULL;
}

static void start_babble(const char *text)
{
	start(NULL, NULL, NULL);
	/* a connection ends the one that start() has made */
	assert_int_equal(qmp_peer(monitor.path, &error), getpid());
	pthread_join(monitor.thread, NULL);
	assert_int_equal(pthread_create(&monitor.thread, NULL, babble, (void *)text), 0);
}

static void ends_in_time(void **state)
{
	struct timespec before, after;
	struct qmp *qmp;
	char *text;
	int pid;

	/* events, and no answer */
	start_babble(EVENT);
	assert_int_equal(qmp_open(monitor.path, &qmp, &pid, &error), 0);
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_null(qmp_call(qmp, "query-cpus-fast", &error));
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_non_null(strstr(error.text, "timed out"));
	assert_in_range(after.tv_sec - before.tv_sec, 4, 30);
	qmp_close(qmp);
	stop();
	/* a line without an end */
	text = host_alloc((1 << 20) + 1);
	memset(text, ' ', 1 << 20);
	start_babble(text);
	assert_int_equal(qmp_open(monitor.path, &qmp, &pid, &error), 0);
	assert_null(qmp_call(qmp, "query-cpus-fast", &error));
	assert_non_null(strstr(error.text, "too long"));
	qmp_close(qmp);
	stop();
	free(text);
}

static void looks_without_asking(void **state)
{
	char *root = tree_new("machine");
	static struct vm vm;
	struct host host;

	host_init(&host, root);
	assert_int_equal(vm_look(&host, 1000, &vm, &error), 0);
	assert_int_equal(vm.n_vcpus, 2);
	assert_int_equal(vm.vcpu[1].tid, 1002);
	vm_done(&vm);
	assert_int_equal(vm_look(&host, 999, &vm, &error), -ESRCH);
	/* no names: none, and no mistake */
	assert_int_equal(vm_look(&host, 200, &vm, &error), 0);
	assert_int_equal(vm.n_vcpus, 0);
	vm_done(&vm);
	tree_free(root);
}

/* ---- names -------------------------------------------------------------------------------------
 */

static void put_link(const char *root, const char *path, const char *target)
{
	char *name = host_printf("%s%s", root, path);

	assert_int_equal(symlink(target, name), 0);
	free(name);
}

static void put_process(const char *root, int pid, const char *name, const char *exe,
			const char *fd)
{
	char *path = host_printf("%s/proc/%d", root, pid), *file;
	char *link = host_printf("/proc/%d/exe", pid);
	FILE *out;

	assert_int_equal(mkdir(path, 0755), 0);
	file = host_printf("%s/cmdline", path);
	out = fopen(file, "w");
	assert_non_null(out);
	fprintf(out, "qemu-system-x86_64%c-name%c%s%c", 0, 0, name, 0);
	assert_int_equal(fclose(out), 0);
	free(file);
	put_link(root, link, exe);
	free(link);
	file = host_printf("%s/fd", path);
	assert_int_equal(mkdir(file, 0755), 0);
	free(file);
	link = host_printf("/proc/%d/fd/9", pid);
	put_link(root, link, fd);
	free(link);
	free(path);
	path = host_printf("/proc/%d/stat", pid);
	tree_put(root, path, "4 (qemu) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9 0");
	free(path);
	path = host_printf("/proc/%d/task/%d/comm", pid, pid + 1);
	tree_put(root, path, "CPU 0/KVM");
	free(path);
}

#define KVM	"anon_inode:kvm-vm"
#define NOTHING "/dev/null"
#define QEMU	"/usr/bin/qemu-system-x86_64"
#define LONG                                                                                       \
	"a-name-of-more-than-sixty-four-characters-as-some-managers-of-clouds-like-to-give-them"

static void names_machines_only(void **state)
{
	static const struct {
		int pid;
		const char *name, *exe, *fd;
	} processes[] = {
		/* a machine, and others that say they are it */
		{ 400, "one,debug-threads=on", "/nix/store/.qemu-wrapped", KVM },
		{ 402, "one", "/usr/bin/python3", NOTHING },
		{ 404, "one", QEMU, NOTHING },
		{ 406, "one", "/tmp/qemu-system-x", NOTHING },
		/* one that does not run */
		{ 410, "gone", "/usr/bin/python3", NOTHING },
		{ 412, "gone", "/usr/bin/qemu-img", "/tmp/anon_inode:kvm-vm" },
		/* without KVM; upgraded meanwhile */
		{ 420, "guest=slow,process=x", QEMU " (deleted)", NOTHING },
		{ 422, "slow", "/usr/bin/perl", NOTHING },
		{ 424, "old", "/usr/libexec/qemu-kvm (deleted)", NOTHING },
		{ 430, "twice", QEMU, KVM },
		{ 432, "twice", QEMU, KVM },
		{ 440, LONG, QEMU, KVM },
		{ 442, LONG "2", QEMU, KVM },
		{ 444, "a,,b=c,process=x", QEMU, KVM },
	};
	static const struct {
		const char *name;
		int result; /* the process, or an error */
	} want[] = {
		{ "one", 400 }, { "gone", -ESRCH },   { "slow", 420 },
		{ "old", 424 }, { "twice", -EEXIST }, { "never", -ESRCH },
		{ LONG, 440 },	{ LONG "2", 442 },    { "a,b=c", 444 },
	};
	char *root = tree_new("one-socket");
	static struct vm vm;
	struct host host;

	host_init(&host, root);
	for (unsigned i = 0; i < sizeof(processes) / sizeof(processes[0]); i++)
		put_process(root, processes[i].pid, processes[i].name, processes[i].exe,
			    processes[i].fd);
	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		int err = vm_find(&host, want[i].name, NULL, &vm, &error);

		if ((err ? err : vm.pid) != want[i].result)
			fail_msg("\"%s\": %d, process %d", want[i].name, err, vm.pid);
		if (!err)
			assert_string_equal(vm.name, want[i].name);
		vm_done(&vm);
	}
	tree_free(root);
}

/* By the words of the links alone: a file may be on a server that does not answer. */
static void opens_no_files(void **state)
{
	char *root = tree_new("machine");
	struct vm vm = { .pid = 2000 };
	struct host host;

	host_init(&host, root);
	tree_put(root, "/sys/class/vfio-dev/vfio3/x", "");
	put_process(root, 2000, "vm", QEMU, "/var/lib/lxc/a/rootfs/dev/vfio/7");
	vm_find_devices(&host, &vm);
	assert_int_equal(vm.devices.n, 1);
	assert_string_equal(vm.devices.name[0], "0000:01:00.0");
	vm.pid = 2002;
	put_process(root, 2002, "vm", QEMU, "/dev/vfio/devices/vfio3");
	put_link(root, "/sys/class/vfio-dev/vfio3/device", "../../../0000:05:00.0");
	vm_find_devices(&host, &vm);
	assert_int_equal(vm.devices.n, 1);
	assert_string_equal(vm.devices.name[0], "0000:05:00.0");
	vm.pid = 2004;
	put_process(root, 2004, "vm", QEMU, "/dev/vfio/vfio");
	vm_find_devices(&host, &vm);
	assert_int_equal(vm.devices.n, 0);
	vm_done(&vm);
	tree_free(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_the_threads),
		cmocka_unit_test(takes_no_foreign_threads),
		cmocka_unit_test(asks_only_the_process_itself),
		cmocka_unit_test(finds_a_placement),
		cmocka_unit_test(refuses),
		cmocka_unit_test(ends_in_the_middle),
		cmocka_unit_test(ends_in_time),
		cmocka_unit_test(looks_without_asking),
		cmocka_unit_test(names_machines_only),
		cmocka_unit_test(opens_no_files),
	};

	return cmocka_run_group_tests_name("host/qmp", tests, NULL, NULL);
}
