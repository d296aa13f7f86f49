/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls that are left, by what needs them. The list is for the libraries too: glibc,
 * libslirp (glib), liburing and libpcap. A call that is not in it cannot run a program, look at
 * another process, load anything, mount, or make a namespace.
 *
 * What a filter cannot see: io_uring does some of these calls by itself (files are still limited by
 * Landlock), and ioctl() and sockets that are open already.
 */
#include "sandbox/sandbox.h"

#include "base/sanitize.h"
#include "base/util.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define CALL(name) SCMP_SYS(name)

/* clang-format off */
static const int allowed[] = {
	/* memory */
	CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise), CALL(mlock), CALL(munlock),
	CALL(mincore), CALL(memfd_create), CALL(mbind),
	/* threads, and what they wait for */
	CALL(futex), CALL(set_robust_list), CALL(rseq), CALL(exit), CALL(exit_group), CALL(gettid),
	CALL(getpid), CALL(sched_yield), CALL(sched_setaffinity), CALL(sched_getaffinity),
	CALL(sched_getparam), CALL(sched_getscheduler), CALL(getcpu), CALL(membarrier),
	CALL(set_tid_address), CALL(restart_syscall), CALL(arch_prctl),
	/* signals: SIGBUS of truncated memory, abort() */
	CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(sigaltstack),
	CALL(tgkill), CALL(signalfd4),
	/* time */
	CALL(clock_gettime), CALL(clock_getres), CALL(clock_nanosleep), CALL(nanosleep),
	CALL(gettimeofday), CALL(time), CALL(timerfd_create), CALL(timerfd_settime),
	/* who and where we are */
	CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid), CALL(getppid), CALL(uname),
	CALL(sysinfo), CALL(prlimit64), CALL(getrandom), CALL(getrusage), CALL(getcwd),
	/* descriptors */
	CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(preadv), CALL(pwritev),
	CALL(preadv2), CALL(pwritev2), CALL(pread64), CALL(pwrite64), CALL(lseek), CALL(close),
	CALL(close_range), CALL(fcntl), CALL(ioctl), CALL(dup), CALL(dup2), CALL(dup3),
	CALL(flock), CALL(fstat), CALL(fstatfs), CALL(newfstatat), CALL(statx), CALL(stat),
	CALL(lstat), CALL(statfs), CALL(getdents64),
	/* files; which, is for Landlock */
	CALL(open), CALL(openat), CALL(access), CALL(faccessat), CALL(faccessat2), CALL(readlink),
	CALL(readlinkat), CALL(unlink), CALL(unlinkat), CALL(mkdir), CALL(mkdirat), CALL(umask),
	CALL(chmod), CALL(fchmod), CALL(fchmodat), CALL(chown), CALL(fchown), CALL(lchown),
	CALL(fchownat), CALL(ftruncate), CALL(fallocate), CALL(fsync), CALL(fdatasync),
	CALL(sync_file_range), CALL(copy_file_range), CALL(fadvise64),
	/* events */
	CALL(poll), CALL(ppoll), CALL(select), CALL(pselect6), CALL(epoll_create1), CALL(epoll_ctl),
	CALL(epoll_wait), CALL(epoll_pwait), CALL(epoll_pwait2), CALL(eventfd2), CALL(pipe2),
	/* asynchronous I/O: disks and taps, and eventfds that are not ours */
	CALL(io_uring_setup), CALL(io_uring_enter), CALL(io_uring_register), CALL(io_setup),
	CALL(io_submit), CALL(io_getevents), CALL(io_destroy),
	/* sockets; socket() itself is below */
	CALL(socketpair), CALL(bind), CALL(listen), CALL(accept), CALL(accept4), CALL(connect),
	CALL(shutdown), CALL(sendto), CALL(recvfrom), CALL(sendmsg), CALL(recvmsg), CALL(sendmmsg),
	CALL(recvmmsg), CALL(getsockopt), CALL(setsockopt), CALL(getsockname), CALL(getpeername),
};

static const int for_sanitizers[] = {
	CALL(mmap), CALL(mprotect), CALL(clone), CALL(clone3), CALL(vfork), CALL(fork), CALL(execve),
	CALL(wait4), CALL(kill), CALL(pipe), CALL(ptrace), CALL(prctl), CALL(personality),
	CALL(getdents), CALL(getrlimit), CALL(setrlimit), CALL(process_vm_readv),
	CALL(rt_sigtimedwait), CALL(rt_sigpending), CALL(getpgrp), CALL(mlockall),
};
/* clang-format on */

/* Only some sockets: for control and VMMs, for user-mode networks, and (a datagram socket) for a
 * tap's flags. */
static const int families[] = { AF_UNIX, AF_INET, AF_INET6 };

#define NAMESPACES                                                                                 \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
	 CLONE_NEWPID | CLONE_NEWNET)

static const int prctls[] = { PR_SET_NAME, PR_GET_NAME, PR_SET_TIMERSLACK, PR_SET_VMA };

static int allow(scmp_filter_ctx ctx, const int *calls, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return err;
}

static int allow_values(scmp_filter_ctx ctx, int call, const int *values, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1,
				       SCMP_A0_32(SCMP_CMP_EQ, (uint32_t)values[i]));
	return err;
}

/* No new code, no processes: those of our calls that have arguments to look at. */
static int allow_limited(scmp_filter_ctx ctx)
{
	static const int with_prot[] = { CALL(mmap), CALL(mprotect) };
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(with_prot) && !err; i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, with_prot[i], 1,
				       SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* Threads of ours only. clone3() has its flags in memory, where nobody can look; told that
	 * there is none, glibc uses clone(). */
	if (!err)
		err = seccomp_rule_add(
			ctx, SCMP_ACT_ALLOW, CALL(clone), 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD | NAMESPACES, CLONE_THREAD));
	if (!err)
		err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);
	if (!err)
		err = allow_values(ctx, CALL(prctl), prctls, ARRAY_SIZE(prctls));
	return err;
}

int sandbox_calls(enum sandbox_calls how)
{
	scmp_filter_ctx ctx;
	int err;

	if (how == SANDBOX_CALLS_OFF)
		return 0;
	ctx = seccomp_init(how == SANDBOX_CALLS_KILL ? SCMP_ACT_KILL_PROCESS
						     : SCMP_ACT_ERRNO(EPERM));
	if (!ctx)
		return -ENOMEM;
	err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0); /* it is set */
	if (!err) /* a tree, and not a list that each call goes down */
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!err && seccomp_api_get() >= 3)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1);
	if (!err)
		err = allow(ctx, allowed, ARRAY_SIZE(allowed));
	if (!err)
		err = allow_values(ctx, CALL(socket), families, ARRAY_SIZE(families));
	/* into a tap's network namespace; no other kind */
	if (!err)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, CALL(setns), 1,
				       SCMP_A1_32(SCMP_CMP_EQ, CLONE_NEWNET));
	/* their runtimes look at the process, and start a symbolizer and, for leaks, a tracer */
	if (!err)
		err = SANITIZED ? allow(ctx, for_sanitizers, ARRAY_SIZE(for_sanitizers))
				: allow_limited(ctx);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}
