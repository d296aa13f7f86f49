/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DMA by messages: "VFIO_USER_DMA_READ" and "VFIO_USER_DMA_WRITE" of QEMU's
 * docs/interop/vfio-user.rst, the requests that go from the server to the client, for memory that
 * the client mapped without a file.
 *
 * Transfers are taken from the space's list in order, cut into messages of the client's
 * max_data_xfer_size, and a bounded number of them is on its way. A client does them in order, so a
 * descriptor is written after the data that it speaks of. Nothing here waits: the client may hold
 * its guest's thread until a register access of it is answered, and answers us only then.
 *
 * A reply that matches no request, or has another size, breaks the protocol. One that says no fails
 * the transfer: the guest named a bad address, or turned bus mastering off. There is no time limit:
 * a VMM that is stopped stops its guest, and both go on later; what waits meanwhile is bounded and
 * the device's own.
 */
#include "base/util.h"
#include "transport/vfio_user_session.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BYTES_MAX VFIO_USER_DATA_MAX
/* No requests on top of that much that the client has not read. */
#define UNSENT_MAX (256u << 10)

_Static_assert(UNSENT_MAX + 2 * VFIO_USER_MESSAGE_MAX < VFIO_USER_UNSENT_MAX, "room for replies");
_Static_assert(!(VFIO_USER_ASKED_MAX & (VFIO_USER_ASKED_MAX - 1)), "power of two");

/* I/O cores. */
static void kick(void *arg)
{
	struct vfio_user_server *s = arg;
	uint64_t one = 1;

	if (write(s->dma.event_fd, &one, sizeof(one)) < 0)
		return; /* full of kicks: it is readable */
}

static void woken(struct loop_fd *lfd, uint32_t events)
{
	struct vfio_user_server *s = container_of(lfd, struct vfio_user_server, dma.wake);
	uint64_t count;

	if (read(lfd->fd, &count, sizeof(count)) == sizeof(count))
		vfio_user_dma_pump(s);
}

int vfio_user_dma_init(struct vfio_user_server *s)
{
	struct vfio_user_dma *dma = &s->dma;
	int err;

	dma->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (dma->event_fd < 0)
		return -errno;
	err = loop_add(s->loop, &dma->wake, dma->event_fd, EPOLLIN, woken);
	if (err)
		close(dma->event_fd);
	return err;
}

void vfio_user_dma_done(struct vfio_user_server *s)
{
	loop_remove(&s->dma.wake);
	close(s->dma.event_fd);
}

void vfio_user_dma_begin(struct vfio_user_server *s)
{
	memory_remote_open(s->space, kick, s);
}

/* Gives the transfer back once it is not being cut any more and nothing of it is on its way. */
static void put(struct vfio_user_server *s, struct memory_transfer *t)
{
	if (t == s->dma.now || t->answered < t->asked)
		return;
	if (memory_remote_done(s->space, t, t->failed ? -EFAULT : 0))
		pci_memory_changed(s->f);
}

/* The request is over. */
static struct memory_transfer *forget(struct vfio_user_dma *dma, struct vfio_user_asked *asked)
{
	struct memory_transfer *t = asked->transfer;

	t->answered += asked->len;
	dma->bytes_asked -= asked->len;
	dma->n_asked--;
	asked->transfer = NULL;
	return t;
}

void vfio_user_dma_end(struct vfio_user_server *s)
{
	struct vfio_user_dma *dma = &s->dma;
	struct memory_transfer *t = dma->now;

	dma->now = NULL;
	if (t) {
		t->failed = true;
		put(s, t);
	}
	for (unsigned i = 0; i < VFIO_USER_ASKED_MAX; i++) {
		if (!dma->asked[i].transfer)
			continue;
		t = forget(dma, &dma->asked[i]);
		t->failed = true;
		put(s, t);
	}
}

/* The next piece of @t as a message. */
static void ask(struct vfio_user_server *s, struct memory_transfer *t)
{
	struct vfio_user_dma *dma = &s->dma;
	struct vfio_user_asked *asked;
	struct vfio_user_dma_access access;
	struct vfio_user_header header;
	uint32_t data;

	do
		asked = &dma->asked[++dma->next_id % VFIO_USER_ASKED_MAX];
	while (asked->transfer);
	*asked = (struct vfio_user_asked){
		.transfer = t,
		.id = dma->next_id,
		.at = t->asked,
		.len = MIN(t->len - t->asked, s->client_data_max),
	};
	access = (struct vfio_user_dma_access){ t->addr + asked->at, asked->len };
	data = t->write ? asked->len : 0;
	header = (struct vfio_user_header){
		.id = asked->id,
		.command = t->write ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ,
		.size = (uint32_t)(sizeof(header) + sizeof(access)) + data,
		.flags = VFIO_USER_TYPE_COMMAND,
	};
	if (t->write) {
		s->stats.dma_writes++;
		s->stats.dma_write_bytes += asked->len;
	} else {
		s->stats.dma_reads++;
	}
	t->asked += asked->len;
	dma->bytes_asked += asked->len;
	dma->n_asked++;
	if (t->asked == t->len)
		dma->now = NULL;
	vfio_user_send(s, &header, &access, sizeof(access), t->bytes + asked->at, data, -1);
}

void vfio_user_dma_pump(struct vfio_user_server *s)
{
	struct vfio_user_dma *dma = &s->dma;

	while (s->fd >= 0 && dma->n_asked < VFIO_USER_ASKED_MAX && dma->bytes_asked < BYTES_MAX &&
	       s->unsent < UNSENT_MAX) {
		struct memory_transfer *t = dma->now;

		if (!t)
			t = dma->now = memory_remote_next(s->space);
		if (!t)
			return;
		if (!s->client_data_max)
			t->failed = true;
		if (t->failed || !memory_remote_wanted(s->space, t)) {
			dma->now = NULL;
			put(s, t);
		} else {
			ask(s, t);
		}
	}
}

static bool answers(const struct vfio_user_asked *asked, const struct vfio_user_header *header)
{
	const struct memory_transfer *t = asked->transfer;

	return t && asked->id == header->id &&
	       header->command == (t->write ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ);
}

bool vfio_user_dma_expects(const struct vfio_user_server *s, const struct vfio_user_header *header)
{
	const struct vfio_user_asked *asked = &s->dma.asked[header->id % VFIO_USER_ASKED_MAX];
	uint32_t size = sizeof(*header);

	if (!answers(asked, header))
		return false;
	if (!(header->flags & VFIO_USER_ERROR)) {
		size += sizeof(struct vfio_user_dma_access);
		size += asked->transfer->write ? 0 : asked->len;
	}
	return header->size == size;
}

int vfio_user_dma_reply(struct vfio_user_server *s, const struct vfio_user_message *m)
{
	struct vfio_user_asked *asked = &s->dma.asked[m->header.id % VFIO_USER_ASKED_MAX];
	struct memory_transfer *t = asked->transfer;
	struct vfio_user_dma_access access;

	if (m->n_fds)
		return -EPROTO;
	if (m->header.flags & VFIO_USER_ERROR) {
		s->stats.dma_errors++;
		log_limited(&s->limit, LOG_LEVEL_INFO, "%s: %s of %u bytes refused: %s",
			    pci_function_name(s->f), t->write ? "DMA_WRITE" : "DMA_READ",
			    asked->len, strerror((int)(m->header.error & 0xfff)));
		t->failed = true;
	} else {
		memcpy(&access, m->body, sizeof(access));
		if (access.addr != t->addr + asked->at || access.count != asked->len)
			return -EPROTO;
		if (!t->write) {
			memcpy(t->bytes + asked->at, m->body + sizeof(access), asked->len);
			s->stats.dma_read_bytes += asked->len;
		}
	}
	put(s, forget(&s->dma, asked));
	vfio_user_dma_pump(s);
	return 0;
}
