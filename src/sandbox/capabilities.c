/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Capabilities. They belong to threads: this runs before any thread is started. What is kept, and
 * for what:
 *   CHOWN, FOWNER, DAC_OVERRIDE  sockets with the owner that the configuration says
 *   NET_BIND_SERVICE, NET_RAW    user-mode networks: low ports, ping
 *   IPC_LOCK                     memory that io_uring and the like register
 *   NET_ADMIN, SYS_ADMIN         tap interfaces, in other network namespaces (on request)
 */
#include "sandbox/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP(c) (1ull << (c))
#define KEPT                                                                                       \
	(CAP(CAP_CHOWN) | CAP(CAP_FOWNER) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_NET_BIND_SERVICE) |    \
	 CAP(CAP_NET_RAW) | CAP(CAP_IPC_LOCK))
#define NETWORK (CAP(CAP_NET_ADMIN) | CAP(CAP_SYS_ADMIN))

int sandbox_capabilities(bool network)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint64_t keep = KEPT | (network ? NETWORK : 0);

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].permitted &= (uint32_t)(keep >> (32 * i));
		data[i].effective &= (uint32_t)(keep >> (32 * i));
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}
