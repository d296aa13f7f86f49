/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vhost-user back end: serves one virtio device on one Unix socket to one front end at a time
 * (QEMU docs/interop/vhost-user.rst), listening or as the client of a front end that listens.
 * Protocol only: no knowledge of any device. Control thread for everything.
 *
 * A front end that breaks the protocol loses its connection; the device is then reset, its memory
 * and descriptors released once nothing is in flight, and the next one is served.
 */
#ifndef EXITLESS_TRANSPORT_VHOST_USER_H
#define EXITLESS_TRANSPORT_VHOST_USER_H

#include "base/loop.h"
#include "virtio/device.h"

#include <sys/types.h>

#define VHOST_USER_SLOTS_MAX 509

struct vhost_user_server;

struct vhost_user_config {
	const char *path; /* of the socket; replaced if stale, -EADDRINUSE if alive */
	uid_t owner;	  /* (uid_t)-1: leave */
	gid_t group;	  /* (gid_t)-1: leave */
	mode_t mode;	  /* 0: 0600 */
	bool connect;	  /* the front end listens at path; tried again every half second */
};

struct vhost_user_stats {
	bool connected;
	bool closing;	  /* descriptors of a front end are still being closed (base/client_fd.h) */
	pid_t client_pid; /* SO_PEERCRED */
	uint64_t connections, messages, replies, errors, protocol_errors;
	uint64_t memory_changes, ring_starts, ring_stops, drains, resets;
	unsigned rings; /* started now */
};

/* Listens (or tries to connect) at once. NULL with errno set. @dev is borrowed and outlives it. */
struct vhost_user_server *vhost_user_server_new(struct loop *loop,
						const struct vhost_user_config *config,
						struct virtio_device *dev);
/* Drops the front end, removes the socket file; nobody is served any more. Does not wait: true when
 * nothing is in flight, else it is to be asked again. */
bool vhost_user_server_close(struct vhost_user_server *s);
/* Once vhost_user_server_close() has said true. NULL: nothing. */
void vhost_user_server_free(struct vhost_user_server *s);
void vhost_user_server_stats(const struct vhost_user_server *s, struct vhost_user_stats *stats);
/* Drops the front end, keeps serving. */
void vhost_user_server_disconnect(struct vhost_user_server *s);
/* Drops it if it truncated its memory. */
void vhost_user_server_check(struct vhost_user_server *s);

#endif
