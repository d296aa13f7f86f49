/* SPDX-License-Identifier: BSD-2-Clause */
/* A capture file in memory and when its frames are due; private to port/. One thread at a time. */
#ifndef EXITLESS_PORT_REPLAY_H
#define EXITLESS_PORT_REPLAY_H

#include <stddef.h>
#include <stdint.h>

#define REPLAY_BYTES_MAX (1ull << 30)

struct replay_frame {
	size_t offset; /* in bytes[] */
	uint32_t len;
	uint64_t at_ns; /* after the first frame, as recorded; never less than the one before */
};

struct replay {
	struct replay_frame *frames;
	uint8_t *bytes;
	size_t n, max, used, room;
	double speed; /* 0: all at once */
	uint64_t loops_left;
	size_t next;
	uint64_t start_ns; /* of this loop; 0: not begun */
	uint64_t skipped;  /* frames too short or too long for a packet */
};

/* Reads a file in any format that libpcap knows, link type Ethernet. @loops 0: once. 0, or -errno
 * with *why set. */
int replay_load(struct replay *replay, const char *path, double speed, unsigned loops,
		const char **why);
void replay_done(struct replay *replay);

/* When the next frame is due; UINT64_MAX: no more. Nothing has been sent yet: now. */
uint64_t replay_due_ns(const struct replay *replay, uint64_t now_ns);
/* The next frame if it is due, else NULL. */
const struct replay_frame *replay_next(struct replay *replay, uint64_t now_ns);

#endif
