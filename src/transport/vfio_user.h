/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vfio-user server: serves one PCI function on one Unix socket to one client at a time, as the
 * protocol's specification (QEMU docs/interop/vfio-user.rst) has it and as the clients that exist
 * use it. Protocol only: no knowledge of any device. Control thread for everything.
 *
 * A client that breaks the protocol loses its connection; the function is then reset, its memory
 * and interrupts released, and the socket waits for the next client.
 *
 * A client that maps memory without a file is asked for it by DMA_READ and DMA_WRITE
 * (memory/remote.h); one that gives a file for all it maps is never sent a request.
 */
#ifndef EXITLESS_TRANSPORT_VFIO_USER_H
#define EXITLESS_TRANSPORT_VFIO_USER_H

#include "base/loop.h"
#include "memory/space.h"
#include "pci/function.h"

#include <sys/types.h>

struct vfio_user_server;

struct vfio_user_config {
	const char *path; /* of the socket; replaced if stale, -EADDRINUSE if alive */
	uid_t owner;	  /* (uid_t)-1: leave */
	gid_t group;	  /* (gid_t)-1: leave */
	mode_t mode;	  /* 0: 0600 */
	int listen_fd;	  /* >= 0: an already listening socket, taken over; path is then its name */
};

struct vfio_user_stats {
	bool connected;
	bool closing;	  /* descriptors of a client are still being closed (base/client_fd.h) */
	pid_t client_pid; /* SO_PEERCRED */
	uint64_t connections, messages, replies, errors, protocol_errors;
	uint64_t region_reads, region_writes, posted_writes, write_multi;
	uint64_t dma_maps, dma_unmaps, set_irqs, resets;
	uint64_t refused; /* connections while one is served */
	/* our requests, for memory without a file */
	uint64_t dma_reads, dma_writes, dma_read_bytes, dma_write_bytes;
	uint64_t dma_errors;  /* replies that said no */
	uint64_t dma_waiting; /* now, for a reply */
};

/* Listens at once. Returns NULL with errno set. @space and @f are borrowed and outlive it. */
struct vfio_user_server *vfio_user_server_new(struct loop *loop,
					      const struct vfio_user_config *config,
					      struct pci_function *f, struct memory_space *space);
/* Drops the client, removes the socket file. */
void vfio_user_server_free(struct vfio_user_server *server);
void vfio_user_server_stats(const struct vfio_user_server *server, struct vfio_user_stats *stats);
/* Drops the client, keeps listening. */
void vfio_user_server_disconnect(struct vfio_user_server *server);
/* Drops a client whose memory file failed under us (memory_space_failed()); the manager calls it
 * now and then. */
void vfio_user_server_check(struct vfio_user_server *server);

#endif
