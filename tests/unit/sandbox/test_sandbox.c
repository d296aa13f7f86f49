/* SPDX-License-Identifier: BSD-2-Clause */
/* Each test restricts a child process and has it try what is forbidden, and what is not. */
#include "sandbox/sandbox.h"

#include "base/sanitize.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[] = "/tmp/exitless-sandbox-XXXXXX";

/* In a child, where cmocka's checks would go wrong: says where, and ends. */
#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition,        \
				strerror(errno));                                                  \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* How a child that runs @fn ends. */
static int in_child(void (*fn)(void))
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void path(char *buf, const char *name)
{
	snprintf(buf, 128, "%s/%s", top, name);
}

static int try_open(const char *name, int flags)
{
	char buf[128];
	int fd;

	path(buf, name);
	fd = open(buf, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int try_bind(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), err;

	path(address.sun_path, name);
	err = bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	close(fd);
	return err;
}

static int setup(void **state)
{
	static const char *const names[] = { "image", "secret", "dir/inside" };
	char buf[128], link[128];

	if (!mkdtemp(top))
		return -1;
	path(buf, "dir");
	if (mkdir(buf, 0700))
		return -1;
	for (unsigned i = 0; i < 3; i++)
		if (try_open(names[i], O_CREAT | O_WRONLY))
			return -1;
	path(buf, "secret");
	path(link, "dir/link");
	return symlink(buf, link);
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

/* ---- files ------------------------------------------------------------------------------- */

static struct sandbox_files *files;

static void allow(const char *name, unsigned access)
{
	char buf[128];

	path(buf, name);
	EXPECT(!sandbox_files_allow(files, buf, access));
}

static bool may(const char *name, unsigned access)
{
	char buf[128];

	path(buf, name);
	return sandbox_files_may(files, buf, access);
}

static void limited_files(void)
{
	char buf[128];

	EXPECT(!sandbox_capabilities(false));
	files = sandbox_files_new();
	EXPECT(files);
	allow("image", SANDBOX_READ);
	allow("dir", SANDBOX_READ | SANDBOX_WRITE | SANDBOX_CREATE | SANDBOX_SOCKETS);
	path(buf, "nothing");
	EXPECT(sandbox_files_allow(files, buf, SANDBOX_READ) == -ENOENT);
	/* nothing is limited yet */
	EXPECT(!try_open("secret", O_RDONLY));
	EXPECT(!sandbox_files_enter(files));

	EXPECT(!try_open("image", O_RDONLY));
	EXPECT(try_open("image", O_WRONLY) == -EACCES);
	EXPECT(try_open("secret", O_RDONLY) == -EACCES);
	EXPECT(try_open("dir/link", O_RDONLY) == -EACCES);
	EXPECT(try_open("new", O_WRONLY | O_CREAT) == -EACCES);
	EXPECT(!try_open("dir/inside", O_WRONLY | O_TRUNC));
	EXPECT(!try_open("dir/new", O_WRONLY | O_CREAT));
	EXPECT(try_bind("socket") == -EACCES);
	EXPECT(!try_bind("dir/socket"));
	path(buf, "dir/socket");
	EXPECT(!unlink(buf));
	path(buf, "secret");
	EXPECT(unlink(buf) && errno == EACCES);
	EXPECT(memfd_create("memory", MFD_CLOEXEC) >= 0);

	/* and foretold */
	EXPECT(may("image", SANDBOX_READ) && !may("image", SANDBOX_READ | SANDBOX_WRITE));
	EXPECT(!may("secret", SANDBOX_READ) && !may("dir/link", SANDBOX_READ));
	EXPECT(!may("new2", SANDBOX_WRITE) && may("dir/new2", SANDBOX_WRITE));
	EXPECT(may("dir", SANDBOX_SOCKETS));
	sandbox_files_free(files);
}

static void test_files(void **state)
{
	struct sandbox_files *probe = sandbox_files_new();

	if (!probe) {
		assert_true(errno == ENOSYS || errno == EOPNOTSUPP);
		skip();
	}
	assert_true(sandbox_files_version(probe) >= 1);
	sandbox_files_free(probe);
	assert_int_equal(in_child(limited_files), 0);
}

/* ---- system calls ------------------------------------------------------------------------ */

static void *thread(void *arg)
{
	*(int *)arg = ptrace(PTRACE_SEIZE, getppid(), NULL, NULL) ? errno : 0;
	return NULL;
}

static void what_serving_needs(void)
{
	int in_thread = 0;
	void *page;
	pthread_t t;
	cpu_set_t cpus;

	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(page != MAP_FAILED && !munmap(page, 4096));
	EXPECT(eventfd(0, EFD_NONBLOCK) >= 0);
	EXPECT(socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && socket(AF_INET, SOCK_DGRAM, 0) >= 0);
	EXPECT(!sched_getaffinity(0, sizeof(cpus), &cpus));
	EXPECT(!sched_setaffinity(0, sizeof(cpus), &cpus));
	/* threads can be started, and cannot do more */
	EXPECT(!pthread_create(&t, NULL, thread, &in_thread) && !pthread_join(t, NULL));
	EXPECT(in_thread == EPERM);
}

static void refused(void)
{
	char *const argv[] = { (char *)"true", NULL };

	EXPECT(!sandbox_capabilities(false));
	EXPECT(!sandbox_calls(SANDBOX_CALLS_REFUSE));
	EXPECT(execv("/bin/true", argv) && errno == EPERM);
	EXPECT(fork() < 0 && errno == EPERM);
	EXPECT(unshare(CLONE_NEWUSER) && errno == EPERM);
	EXPECT(ptrace(PTRACE_TRACEME, 0, NULL, NULL) && errno == EPERM);
	EXPECT(socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EPERM);
	EXPECT(setns(0, CLONE_NEWNS) && errno == EPERM);
	EXPECT(kill(getppid(), 0) && errno == EPERM);
	EXPECT(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
		       MAP_FAILED &&
	       errno == EPERM);
	what_serving_needs();
}

static void killed(void)
{
	EXPECT(!sandbox_capabilities(false));
	EXPECT(!sandbox_calls(SANDBOX_CALLS_KILL));
	unshare(CLONE_NEWUSER);
}

static void not_limited(void)
{
	EXPECT(!sandbox_calls(SANDBOX_CALLS_OFF));
	EXPECT(!kill(getppid(), 0));
	EXPECT(!prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
}

static void test_calls_are_refused(void **state)
{
	if (SANITIZED)
		skip(); /* sanitizers need some of what is refused */
	assert_int_equal(in_child(refused), 0);
}

static void test_calls_kill(void **state)
{
	int status = in_child(killed);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void test_calls_off(void **state)
{
	assert_int_equal(in_child(not_limited), 0);
}

/* ---- capabilities ------------------------------------------------------------------------ */

static void without_capabilities(void)
{
	EXPECT(!sandbox_capabilities(false));
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	EXPECT(sethostname("x", 1) && errno == EPERM);
}

static void test_capabilities(void **state)
{
	assert_int_equal(in_child(without_capabilities), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),	     cmocka_unit_test(test_calls_are_refused),
		cmocka_unit_test(test_calls_kill),   cmocka_unit_test(test_calls_off),
		cmocka_unit_test(test_capabilities),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
