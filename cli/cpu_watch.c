/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless cpu apply: what stays behind and cleans up. */
#include "cpu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#define FOLLOW_MS 1000

/* A child of init without a terminal. */
static void detach(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	if (chdir("/") < 0)
		syslog(LOG_WARNING, "chdir /: %m");
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	closelog();
	/* the descriptors of whoever started the command are not ours to keep open */
	syscall(SYS_close_range, 3u, ~0u, 0u);
	openlog("exitless-cpu", LOG_PID, LOG_DAEMON);
}

static void watch(int pid, int pidfd)
{
	struct host_error error = { "" }, said = { "" };
	struct placement *p = host_alloc(sizeof(*p));
	struct pollfd ended = { .fd = pidfd, .events = POLLIN };
	struct host host;
	int err;

	host_init(&host, NULL);
	while (poll(&ended, 1, FOLLOW_MS) <= 0) {
		err = place_follow(&host, pid, &error);
		if (err > 0)
			break;
		/* once, not each second */
		if (err < 0 && strcmp(error.text, said.text))
			syslog(LOG_WARNING, "process %d: %s", pid, error.text);
		said = err < 0 ? error : (struct host_error){ "" };
	}
	/* undone by somebody else, and perhaps another process's by now? */
	if (!place_read(&host, pid, p, NULL) && !place_alive(&host, p)) {
		err = place_undo(&host, pid, true, &error);
		if (err < 0 && err != -ENOENT)
			syslog(LOG_ERR, "%s (process %d) is gone, but: %s", p->name, pid,
			       error.text);
		else if (!err)
			syslog(LOG_INFO, "%s (process %d) is gone, its CPUs are the host's again",
			       p->name, pid);
	}
	free(p);
}

int cpu_watch(int pid)
{
	pid_t child = fork();

	if (child)
		return child < 0 ? -errno : 0;
	detach();
	/* if it has ended meanwhile: poll() passes over a negative descriptor, place_follow() sees
	 */
	watch(pid, (int)syscall(SYS_pidfd_open, pid, 0));
	_exit(0);
}
