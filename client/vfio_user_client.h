/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vfio-user client: what a VMM does, without a VM. Tests and load generators play a guest driver
 * through it: guest memory is a memory file that it maps and announces, shared areas of BARs are
 * mapped, interrupts are eventfds. Blocking, one thread per client.
 *
 * Memory that is announced without its file is read and written by the server's requests, DMA_READ
 * and DMA_WRITE. They are served whenever the client waits for a reply, and by vu_serve().
 *
 * Functions return 0 (or a count), or -errno: the server's own error, -ECONNRESET when it closed
 * the connection, -EBADMSG when its answer makes no sense, -ETIMEDOUT after 10 s.
 */
#ifndef EXITLESS_CLIENT_VFIO_USER_CLIENT_H
#define EXITLESS_CLIENT_VFIO_USER_CLIENT_H

#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VU_AREAS_MAX 8
#define VU_REGIONS   9

/* A BAR: areas that are mapped are accessed directly, the rest by messages. */
struct vu_bar {
	uint64_t size;
	unsigned n_areas;
	struct {
		uint64_t offset, size;
		uint8_t *mem;
	} areas[VU_AREAS_MAX];
};

/* A request of the server's. */
struct vu_dma {
	uint16_t id;
	bool write;
	uint64_t addr, count;
	uint8_t *data; /* of a write; valid until the next message */
};

struct vu_client {
	int fd;
	uint16_t next_id;
	struct vu_bar bars[6];
	/* the newest version reply */
	uint16_t major, minor;
	char capabilities[512];
	/* guest memory made by vu_memory() */
	uint8_t *memory;
	uint64_t memory_addr, memory_size;
	int memory_fd;
	uint64_t messages; /* sent */
	/* Gets the server's requests in place of vu_dma_serve(); an error ends what waits. */
	int (*dma)(struct vu_client *c, const struct vu_dma *dma, void *arg);
	void *dma_arg;
	uint64_t dma_reads, dma_writes;
	uint8_t *body; /* of a request */
};

/* Connects only. */
int vu_connect(struct vu_client *c, const char *path);
/* Negotiates as QEMU 11.1 does. */
int vu_negotiate(struct vu_client *c);
/* vu_connect() and vu_negotiate(). */
int vu_open(struct vu_client *c, const char *path);
void vu_close(struct vu_client *c);

/* Raw bytes with descriptors, for abuse. Returns 0 or -errno. */
int vu_send_raw(struct vu_client *c, const void *buf, size_t len, const int *fds, unsigned n_fds);
/* One message; does not wait. @flags: 0 or 0x10 (no reply). */
int vu_send(struct vu_client *c, uint16_t command, uint32_t flags, const void *payload, size_t len,
	    const int *fds, unsigned n_fds);
/* The next reply, which must be for @command: up to @room bytes of its payload. *fd (if not NULL)
 * gets its descriptor or -1. Returns the payload's length. */
int vu_receive(struct vu_client *c, uint16_t command, void *payload, size_t room, int *fd);
/* Both. */
int vu_request(struct vu_client *c, uint16_t command, const void *payload, size_t len,
	       const int *fds, unsigned n_fds, void *reply, size_t room, int *reply_fd);

/* Makes @size bytes of guest memory at @addr, and tells nobody. */
int vu_memory_make(struct vu_client *c, uint64_t addr, uint64_t size);
/* Makes them and maps them as DMA. */
int vu_memory(struct vu_client *c, uint64_t addr, uint64_t size);
int vu_dma_map(struct vu_client *c, uint64_t addr, uint64_t size, int fd, uint64_t offset,
	       uint32_t flags);
int vu_dma_unmap(struct vu_client *c, uint64_t addr, uint64_t size);

/* Serves the server's requests: those that are there; if there is none, the first that comes within
 * @timeout_ms. Returns how many. */
int vu_serve(struct vu_client *c, int timeout_ms);
/* Does what @dma asks for in the client's memory, and answers. */
int vu_dma_serve(struct vu_client *c, const struct vu_dma *dma);
/* Answers @dma: with @error (an errno), or 0 and, for a read, its bytes. */
int vu_dma_answer(struct vu_client *c, const struct vu_dma *dma, int error, const void *data);

/* Information with room for all areas; *fd gets the descriptor to map by, or -1. Returns the number
 * of areas. */
int vu_region_info(struct vu_client *c, uint32_t index, struct vfio_region_info *info,
		   struct vfio_region_sparse_mmap_area *areas, unsigned room, int *fd);
/* Looks BAR @bar up and maps its shared areas (unless @trap: all accesses by messages). */
int vu_bar_open(struct vu_client *c, unsigned bar, bool trap);
int vu_irq_info(struct vu_client *c, uint32_t index, struct vfio_irq_info *info);

int vu_region_read(struct vu_client *c, uint32_t region, uint64_t offset, void *buf, uint32_t len);
int vu_region_write(struct vu_client *c, uint32_t region, uint64_t offset, const void *buf,
		    uint32_t len);
/* Posted. */
int vu_region_post(struct vu_client *c, uint32_t region, uint64_t offset, const void *buf,
		   uint32_t len);

/* 32-bit register accesses, through the mapping where there is one. Reads give all ones on error.
 */
uint32_t vu_read32(struct vu_client *c, unsigned bar, uint64_t offset);
void vu_write32(struct vu_client *c, unsigned bar, uint64_t offset, uint32_t value);

int vu_set_irqs(struct vu_client *c, uint32_t index, uint32_t flags, uint32_t start, uint32_t count,
		const int *fds, unsigned n_fds);
/* Sets eventfds for vectors 0..@n-1 as QEMU does for MSI-X. */
int vu_msix(struct vu_client *c, const int *fds, unsigned n);
int vu_reset(struct vu_client *c);
/* COMMAND: memory and bus master on. */
int vu_enable(struct vu_client *c);

#endif
