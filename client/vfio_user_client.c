/* SPDX-License-Identifier: BSD-2-Clause */
#include "client/vfio_user_client.h"

#include "base/util.h"
#include "client/unix.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TIMEOUT_MS 10000
#define DATA_MAX   (1u << 20)
#define VERSION_JSON                                                                               \
	"{\"capabilities\":{\"pgsizes\":4096,\"max_msg_fds\":16,\"max_dma_maps\":65535,"           \
	"\"max_data_xfer_size\":1048576,\"migration\":{\"max_bitmap_size\":268435456,"             \
	"\"pgsize\":4096},\"write_multiple\":true}}"

enum { DMA_READ = 11, DMA_WRITE = 12 };

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

int vu_connect(struct vu_client *c, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int err;

	memset(c, 0, sizeof(*c));
	c->fd = c->memory_fd = -1;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	if (!connect(c->fd, (struct sockaddr *)&address, sizeof(address)))
		return 0;
	err = -errno;
	close(c->fd);
	c->fd = -1;
	return err;
}

int vu_negotiate(struct vu_client *c)
{
	uint8_t request[4 + sizeof(VERSION_JSON)] = { 0 }, reply[4 + sizeof(c->capabilities)];
	int n;

	memcpy(request + 4, VERSION_JSON, sizeof(VERSION_JSON));
	n = vu_request(c, 1, request, sizeof(request), NULL, 0, reply, sizeof(reply), NULL);
	if (n < 0)
		return n;
	if (n < 4 || (n > 4 && reply[n - 1]))
		return -EBADMSG;
	c->major = load_le16(reply);
	c->minor = load_le16(reply + 2);
	snprintf(c->capabilities, sizeof(c->capabilities), "%s",
		 n > 4 ? (const char *)reply + 4 : "");
	return 0;
}

int vu_open(struct vu_client *c, const char *path)
{
	int err = vu_connect(c, path);

	return err ? err : vu_negotiate(c);
}

void vu_close(struct vu_client *c)
{
	for (unsigned b = 0; b < ARRAY_SIZE(c->bars); b++)
		for (unsigned i = 0; i < c->bars[b].n_areas; i++)
			munmap(c->bars[b].areas[i].mem, c->bars[b].areas[i].size);
	if (c->memory)
		munmap(c->memory, c->memory_size);
	if (c->memory_fd >= 0)
		close(c->memory_fd);
	if (c->fd >= 0)
		close(c->fd);
	free(c->body);
	memset(c, 0, sizeof(*c));
	c->fd = c->memory_fd = -1;
}

int vu_send_raw(struct vu_client *c, const void *buf, size_t len, const int *fds, unsigned n_fds)
{
	char control[CMSG_SPACE(253 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	const uint8_t *bytes = buf;

	while (len) {
		struct iovec iov = { (void *)bytes, len };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t n;

		if (n_fds) {
			struct cmsghdr *cmsg;

			msg.msg_control = control;
			msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
			cmsg = CMSG_FIRSTHDR(&msg);
			cmsg->cmsg_level = SOL_SOCKET;
			cmsg->cmsg_type = SCM_RIGHTS;
			cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
			memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
		}
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EPIPE ? -ECONNRESET : -errno;
		bytes += n;
		len -= (size_t)n;
		n_fds = 0; /* they went with the first bytes */
	}
	return 0;
}

int vu_send(struct vu_client *c, uint16_t command, uint32_t flags, const void *payload, size_t len,
	    const int *fds, unsigned n_fds)
{
	struct header header = { c->next_id++, command, (uint32_t)(sizeof(header) + len), flags,
				 0 };
	uint8_t small[256], *message = small;
	int err;

	if (sizeof(header) + len > sizeof(small))
		message = malloc(sizeof(header) + len);
	if (!message)
		return -ENOMEM;
	memcpy(message, &header, sizeof(header));
	if (len)
		memcpy(message + sizeof(header), payload, len);
	err = vu_send_raw(c, message, sizeof(header) + len, fds, n_fds);
	if (message != small)
		free(message);
	c->messages++;
	return err;
}

static int read_all(struct vu_client *c, void *buf, size_t len, int *fd)
{
	return client_receive(c->fd, buf, len, fd, TIMEOUT_MS);
}

/* ---- the server's requests --------------------------------------------------------------- */

int vu_dma_answer(struct vu_client *c, const struct vu_dma *dma, int error, const void *data)
{
	struct {
		struct header header;
		uint64_t addr, count;
	} reply = { { dma->id, dma->write ? DMA_WRITE : DMA_READ, sizeof(reply), 1, 0 },
		    dma->addr,
		    dma->count };
	int err;

	if (error) {
		reply.header.size = sizeof(reply.header);
		reply.header.flags |= 0x20;
		reply.header.error = (uint32_t)error;
		return vu_send_raw(c, &reply, sizeof(reply.header), NULL, 0);
	}
	if (dma->write)
		return vu_send_raw(c, &reply, sizeof(reply), NULL, 0);
	reply.header.size += (uint32_t)dma->count;
	err = vu_send_raw(c, &reply, sizeof(reply), NULL, 0);
	return err ? err : vu_send_raw(c, data, dma->count, NULL, 0);
}

int vu_dma_serve(struct vu_client *c, const struct vu_dma *dma)
{
	uint64_t skip = dma->addr - c->memory_addr;
	uint8_t *at = c->memory + skip;

	if (!c->memory || skip >= c->memory_size || dma->count > c->memory_size - skip)
		return vu_dma_answer(c, dma, ENODEV, NULL);
	if (dma->write) {
		memcpy(at, dma->data, dma->count);
		/* in the order of the requests, for threads that look */
		__atomic_thread_fence(__ATOMIC_RELEASE);
	}
	return vu_dma_answer(c, dma, 0, at);
}

static bool is_request(const struct header *header)
{
	return (header->flags & 0xf) == 0 &&
	       (header->command == DMA_READ || header->command == DMA_WRITE);
}

/* The rest of a request whose header has come. */
static int serve(struct vu_client *c, const struct header *header)
{
	uint64_t access[2];
	struct vu_dma dma = { .id = header->id, .write = header->command == DMA_WRITE };
	int fd = -1, err;

	if (header->size < sizeof(*header) + sizeof(access))
		return -EBADMSG;
	err = read_all(c, access, sizeof(access), &fd);
	if (err)
		return err;
	dma.addr = access[0];
	dma.count = access[1];
	if (fd >= 0 || dma.count > DATA_MAX ||
	    header->size != sizeof(*header) + sizeof(access) + (dma.write ? dma.count : 0))
		return -EBADMSG;
	if (dma.write) {
		if (!c->body)
			c->body = malloc(DATA_MAX);
		if (!c->body)
			return -ENOMEM;
		err = read_all(c, c->body, dma.count, &fd);
		if (err)
			return err;
		dma.data = c->body;
		c->dma_writes++;
	} else {
		c->dma_reads++;
	}
	return c->dma ? c->dma(c, &dma, c->dma_arg) : vu_dma_serve(c, &dma);
}

int vu_serve(struct vu_client *c, int timeout_ms)
{
	struct pollfd pfd = { c->fd, POLLIN, 0 };
	int n = 0;

	while (poll(&pfd, 1, n ? 0 : timeout_ms) > 0) {
		struct header header;
		int fd = -1, err = read_all(c, &header, sizeof(header), &fd);

		if (err)
			return err;
		if (fd >= 0 || !is_request(&header))
			return -EBADMSG;
		err = serve(c, &header);
		if (err)
			return err;
		n++;
	}
	return n;
}

/* ---- replies ----------------------------------------------------------------------------- */

int vu_receive(struct vu_client *c, uint16_t command, void *payload, size_t room, int *fd)
{
	struct header header;
	int got = -1, err;
	size_t len;

	while (true) {
		err = read_all(c, &header, sizeof(header), &got);
		if (!err && got < 0 && is_request(&header))
			err = serve(c, &header);
		else if (!err)
			break;
		if (err)
			return err;
	}
	len = header.size - sizeof(header);
	if (header.command != command || (header.flags & 0xf) != 1 ||
	    header.size < sizeof(header) || len > room + DATA_MAX)
		return -EBADMSG;
	if (header.flags & 0x20)
		return header.error ? -(int)header.error : -EIO;
	if (len > room)
		return -EBADMSG;
	if (len) {
		err = read_all(c, payload, len, &got);
		if (err)
			return err;
	}
	if (fd)
		*fd = got;
	else if (got >= 0)
		close(got);
	return (int)len;
}

int vu_request(struct vu_client *c, uint16_t command, const void *payload, size_t len,
	       const int *fds, unsigned n_fds, void *reply, size_t room, int *reply_fd)
{
	int err = vu_send(c, command, 0, payload, len, fds, n_fds);

	return err ? err : vu_receive(c, command, reply, room, reply_fd);
}

int vu_dma_map(struct vu_client *c, uint64_t addr, uint64_t size, int fd, uint64_t offset,
	       uint32_t flags)
{
	struct {
		uint32_t argsz, flags;
		uint64_t offset, addr, size;
	} map = { sizeof(map), flags, offset, addr, size };

	return vu_request(c, 2, &map, sizeof(map), &fd, fd >= 0, NULL, 0, NULL);
}

int vu_dma_unmap(struct vu_client *c, uint64_t addr, uint64_t size)
{
	struct {
		uint32_t argsz, flags;
		uint64_t addr, size;
	} unmap = { sizeof(unmap), 0, addr, size }, reply;
	int n = vu_request(c, 3, &unmap, sizeof(unmap), NULL, 0, &reply, sizeof(reply), NULL);

	if (n < 0)
		return n;
	return n == sizeof(reply) && !memcmp(&reply, &unmap, sizeof(reply)) ? 0 : -EBADMSG;
}

int vu_memory_make(struct vu_client *c, uint64_t addr, uint64_t size)
{
	c->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	if (c->memory_fd < 0 || ftruncate(c->memory_fd, (off_t)size) < 0)
		return -errno;
	c->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, c->memory_fd, 0);
	if (c->memory == MAP_FAILED) {
		c->memory = NULL;
		return -ENOMEM;
	}
	c->memory_addr = addr;
	c->memory_size = size;
	return 0;
}

int vu_memory(struct vu_client *c, uint64_t addr, uint64_t size)
{
	int err = vu_memory_make(c, addr, size);

	return err ? err : vu_dma_map(c, addr, size, c->memory_fd, 0, 3);
}

int vu_region_info(struct vu_client *c, uint32_t index, struct vfio_region_info *info,
		   struct vfio_region_sparse_mmap_area *areas, unsigned room, int *fd)
{
	struct {
		struct vfio_region_info info;
		struct vfio_region_info_cap_sparse_mmap cap;
		struct vfio_region_sparse_mmap_area areas[VU_AREAS_MAX];
	} reply = { 0 };
	struct vfio_region_info request = { .argsz = sizeof(reply), .index = index };
	unsigned n_areas = 0;
	int n;

	*fd = -1;
	n = vu_request(c, 5, &request, sizeof(request), NULL, 0, &reply, sizeof(reply), fd);
	if (n < 0)
		return n;
	if ((size_t)n < sizeof(reply.info))
		return -EBADMSG;
	*info = reply.info;
	if (info->flags & VFIO_REGION_INFO_FLAG_CAPS && info->cap_offset) {
		if (info->cap_offset != sizeof(reply.info) ||
		    reply.cap.header.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP ||
		    reply.cap.nr_areas > room || reply.cap.nr_areas > VU_AREAS_MAX)
			return -EBADMSG;
		n_areas = reply.cap.nr_areas;
		memcpy(areas, reply.areas, n_areas * sizeof(areas[0]));
	}
	return (int)n_areas;
}

int vu_bar_open(struct vu_client *c, unsigned bar, bool trap)
{
	struct vfio_region_sparse_mmap_area areas[VU_AREAS_MAX];
	struct vu_bar *b = &c->bars[bar];
	struct vfio_region_info info;
	int fd, n;

	n = vu_region_info(c, bar, &info, areas, VU_AREAS_MAX, &fd);
	if (n < 0)
		return n;
	b->size = info.size;
	for (int i = 0; i < n && !trap && fd >= 0; i++) {
		void *mem = mmap(NULL, areas[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				 (off_t)(info.offset + areas[i].offset));

		if (mem == MAP_FAILED)
			continue; /* slower, not wrong */
		b->areas[b->n_areas].offset = areas[i].offset;
		b->areas[b->n_areas].size = areas[i].size;
		b->areas[b->n_areas++].mem = mem;
	}
	if (fd >= 0)
		close(fd);
	return 0;
}

int vu_irq_info(struct vu_client *c, uint32_t index, struct vfio_irq_info *info)
{
	struct vfio_irq_info request = { .argsz = sizeof(request), .index = index };
	int n = vu_request(c, 7, &request, sizeof(request), NULL, 0, info, sizeof(*info), NULL);

	if (n < 0)
		return n;
	return n == sizeof(*info) ? 0 : -EBADMSG;
}

struct access {
	uint64_t offset;
	uint32_t region, count;
	uint8_t data[];
};

int vu_region_read(struct vu_client *c, uint32_t region, uint64_t offset, void *buf, uint32_t len)
{
	struct access request = { offset, region, len };
	struct access *reply = malloc(sizeof(*reply) + len);
	int n;

	if (!reply)
		return -ENOMEM;
	n = vu_request(c, 9, &request, sizeof(request), NULL, 0, reply, sizeof(*reply) + len, NULL);
	if (n >= 0 && (size_t)n != sizeof(*reply) + len)
		n = -EBADMSG;
	if (n >= 0)
		memcpy(buf, reply->data, len);
	free(reply);
	return n < 0 ? n : 0;
}

static int write_region(struct vu_client *c, uint32_t region, uint64_t offset, const void *buf,
			uint32_t len, bool posted)
{
	struct access *request = malloc(sizeof(*request) + len), reply;
	int n;

	if (!request)
		return -ENOMEM;
	*request = (struct access){ offset, region, len };
	memcpy(request->data, buf, len);
	n = vu_send(c, 10, posted ? 0x10 : 0, request, sizeof(*request) + len, NULL, 0);
	free(request);
	if (n || posted)
		return n;
	n = vu_receive(c, 10, &reply, sizeof(reply), NULL);
	if (n < 0)
		return n;
	return n == sizeof(reply) ? 0 : -EBADMSG;
}

int vu_region_write(struct vu_client *c, uint32_t region, uint64_t offset, const void *buf,
		    uint32_t len)
{
	return write_region(c, region, offset, buf, len, false);
}

int vu_region_post(struct vu_client *c, uint32_t region, uint64_t offset, const void *buf,
		   uint32_t len)
{
	return write_region(c, region, offset, buf, len, true);
}

static uint32_t *mapped(struct vu_client *c, unsigned bar, uint64_t offset)
{
	for (unsigned i = 0; i < c->bars[bar].n_areas; i++) {
		uint64_t skip = offset - c->bars[bar].areas[i].offset;

		if (skip < c->bars[bar].areas[i].size)
			return (uint32_t *)(c->bars[bar].areas[i].mem + skip);
	}
	return NULL;
}

uint32_t vu_read32(struct vu_client *c, unsigned bar, uint64_t offset)
{
	uint32_t value, *at = mapped(c, bar, offset);

	if (at)
		return LOAD_ACQUIRE(*at);
	return vu_region_read(c, bar, offset, &value, 4) ? ~0u : value;
}

void vu_write32(struct vu_client *c, unsigned bar, uint64_t offset, uint32_t value)
{
	uint32_t *at = mapped(c, bar, offset);

	if (at)
		STORE_RELEASE(*at, value);
	else
		vu_region_write(c, bar, offset, &value, 4);
}

int vu_set_irqs(struct vu_client *c, uint32_t index, uint32_t flags, uint32_t start, uint32_t count,
		const int *fds, unsigned n_fds)
{
	uint32_t set[5] = { 20, flags, index, start, count };

	return vu_request(c, 8, set, sizeof(set), fds, n_fds, NULL, 0, NULL);
}

int vu_msix(struct vu_client *c, const int *fds, unsigned n)
{
	uint32_t flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	int err = vu_set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, flags, 0, 1, NULL, 0);

	for (unsigned i = 0; !err && i < n; i += 16) {
		unsigned here = MIN(n - i, 16u);

		err = vu_set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, flags, i, here, fds + i, here);
	}
	return err;
}

int vu_reset(struct vu_client *c)
{
	return vu_request(c, 13, NULL, 0, NULL, 0, NULL, 0, NULL);
}

int vu_enable(struct vu_client *c)
{
	uint16_t command = 6;

	return vu_region_write(c, VFIO_PCI_CONFIG_REGION_INDEX, 4, &command, 2);
}
