/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside of the vfio-user server: the wire format (QEMU docs/interop/vfio-user.rst), and one
 * client's session, shared by its framing (vfio_user.c) and its commands (vfio_user_commands.c).
 */
#ifndef EXITLESS_TRANSPORT_VFIO_USER_SESSION_H
#define EXITLESS_TRANSPORT_VFIO_USER_SESSION_H

#include "base/log.h"
#include "memory/remote.h"
#include "transport/hold.h"
#include "transport/vfio_user.h"

#include <linux/vfio.h>

enum vfio_user_command {
	VFIO_USER_VERSION = 1,
	VFIO_USER_DMA_MAP = 2,
	VFIO_USER_DMA_UNMAP = 3,
	VFIO_USER_DEVICE_GET_INFO = 4,
	VFIO_USER_DEVICE_GET_REGION_INFO = 5,
	VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6,
	VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
	VFIO_USER_DEVICE_SET_IRQS = 8,
	VFIO_USER_REGION_READ = 9,
	VFIO_USER_REGION_WRITE = 10,
	VFIO_USER_DMA_READ = 11,
	VFIO_USER_DMA_WRITE = 12,
	VFIO_USER_DEVICE_RESET = 13,
	VFIO_USER_REGION_WRITE_MULTI = 15,
	VFIO_USER_DEVICE_FEATURE = 16,
	VFIO_USER_MIG_DATA_READ = 17,
	VFIO_USER_MIG_DATA_WRITE = 18,
};

#define VFIO_USER_TYPE	       0xfu
#define VFIO_USER_TYPE_COMMAND 0u
#define VFIO_USER_TYPE_REPLY   1u
#define VFIO_USER_NO_REPLY     0x10u
#define VFIO_USER_ERROR	       0x20u

struct vfio_user_header {
	uint16_t id;
	uint16_t command;
	uint32_t size; /* with this header */
	uint32_t flags;
	uint32_t error;
};
_Static_assert(sizeof(struct vfio_user_header) == 16, "vfio-user header");

struct vfio_user_dma_map {
	uint32_t argsz, flags;
	uint64_t offset, addr, size;
};
_Static_assert(sizeof(struct vfio_user_dma_map) == 32, "DMA_MAP");

struct vfio_user_dma_unmap {
	uint32_t argsz, flags;
	uint64_t addr, size;
};
_Static_assert(sizeof(struct vfio_user_dma_unmap) == 24, "DMA_UNMAP");

struct vfio_user_dma_access {
	uint64_t addr, count;
};
_Static_assert(sizeof(struct vfio_user_dma_access) == 16, "DMA_READ");

struct vfio_user_region_access {
	uint64_t offset;
	uint32_t region, count;
};
_Static_assert(sizeof(struct vfio_user_region_access) == 16, "REGION_READ");

struct vfio_user_write_multi {
	uint64_t offset;
	uint32_t region, count;
	uint8_t data[8];
};
_Static_assert(sizeof(struct vfio_user_write_multi) == 24, "REGION_WRITE_MULTI");

/* Most records of a REGION_WRITE_MULTI, so that one message is no long work; QEMU sends 200. A
 * client that sends more breaks the protocol. */
#define VFIO_USER_MULTI_MAX 256

/* Longest body of a VERSION. All that the protocol has to say there is a tenth of it; QEMU sends
 * 198 bytes. */
#define VFIO_USER_VERSION_MAX 4096u

#define VFIO_USER_REGIONS     9
#define VFIO_USER_IRQS	      5
#define VFIO_USER_FDS_MAX     16
#define VFIO_USER_DATA_MAX    (1u << 20)
#define VFIO_USER_MESSAGE_MAX (VFIO_USER_DATA_MAX + 4096)
/* Unsent replies of a client that does not read; beyond it the client is dropped. */
#define VFIO_USER_UNSENT_MAX (4u << 20)
/* Requests of ours without a reply. */
#define VFIO_USER_ASKED_MAX 64

/* Our requests: what devices want of memory that has no file (vfio_user_dma.c). */
struct vfio_user_dma {
	int event_fd; /* written by I/O cores */
	struct loop_fd wake;
	struct memory_transfer *now; /* being cut into messages */
	struct vfio_user_asked {
		struct memory_transfer *transfer; /* NULL: free */
		uint16_t id;
		uint32_t at, len; /* of the transfer */
	} asked[VFIO_USER_ASKED_MAX];
	unsigned n_asked;
	uint32_t bytes_asked;
	uint16_t next_id;
};

struct vfio_user_server {
	struct loop *loop;
	struct pci_function *f;
	struct memory_space *space;
	char *path;
	int listen_fd;
	struct loop_fd listener;
	struct log_limit limit, accept_limit;
	struct vfio_user_stats stats;

	/* the session; fd -1: none */
	int fd;
	struct loop_fd lfd;
	bool negotiated;
	uint32_t client_data_max;	/* of REGION_* and DMA_* */
	struct vfio_user_header header; /* of the message being received */
	size_t got;			/* bytes of it so far */
	uint8_t *body;
	size_t body_room;
	int fds[VFIO_USER_FDS_MAX];
	unsigned n_fds;
	struct vfio_user_out *out, **out_tail;
	size_t unsent;
	bool waits_to_send; /* for room in the socket */
	struct client_hold hold;
	uint64_t round_until_ns; /* transport/round.h */
	bool unfinished;     /* the message that came last: no other is read before it is done */
	uint64_t multi_done; /* records of it that are written */
	struct loop_timer go_on; /* with it */
	struct loop_fd resample;
	int resample_fd;
	struct vfio_user_dma dma;
};

struct vfio_user_message {
	struct vfio_user_header header;
	const uint8_t *body;
	size_t len;
	int *fds; /* those a command keeps it sets to -1; the rest is closed */
	unsigned n_fds;
};

/*
 * Handles one command of the session. Returns 0 when it was answered, a positive errno to answer
 * with an error, -EPROTO when the client broke the protocol and must go, or -EAGAIN when the
 * round's time is over: call it again with the same message in the next one, before any other
 * message.
 */
int vfio_user_command(struct vfio_user_server *s, struct vfio_user_message *m);
/* The name of a command, or "?". */
const char *vfio_user_command_name(uint16_t command);

/* Answers @m (nothing if it wants no reply) with @len bytes and @fd (-1: none; borrowed for
 * as long as the server lives: what is not sent at once holds no descriptor of its own). */
void vfio_user_reply(struct vfio_user_server *s, const struct vfio_user_message *m,
		     const void *payload, size_t len, int fd);
/* Sends a message of @len and @more_len bytes behind @header. May end the session. */
void vfio_user_send(struct vfio_user_server *s, const struct vfio_user_header *header,
		    const void *payload, size_t len, const void *more, size_t more_len, int fd);
/* Ends the session: the client broke the protocol. */
void vfio_user_broken(struct vfio_user_server *s, const char *why);
/* Watches @fd (an eventfd; -1: none) for the guest's end of interrupt, and no other any more. 0: it
 * is taken over; or -errno. */
int vfio_user_watch_resample(struct vfio_user_server *s, int fd);

/* vfio_user_dma.c. _init: 0 or -errno. */
int vfio_user_dma_init(struct vfio_user_server *s);
void vfio_user_dma_done(struct vfio_user_server *s);
/* The client mapped memory without a file: from now on it may be asked. */
void vfio_user_dma_begin(struct vfio_user_server *s);
/* The session has ended: everything that was asked fails. */
void vfio_user_dma_end(struct vfio_user_server *s);
/* Asks for what there is to be asked, as far as it may. May end the session. */
void vfio_user_dma_pump(struct vfio_user_server *s);
/* May a reply with this header come? */
bool vfio_user_dma_expects(const struct vfio_user_server *s, const struct vfio_user_header *header);
/* One that may. Returns 0 or -EPROTO. */
int vfio_user_dma_reply(struct vfio_user_server *s, const struct vfio_user_message *m);

#endif
