/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * As small as a driver can be that does what the stock ones do in the data path: descriptors, then
 * the tail; DD polled; interrupts re-armed through IMS. Numbers from Intel's 8254x manual and the
 * 82574 datasheet.
 */
#include "client/e1000_driver.h"

#include "base/util.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	CTRL = 0x0000,
	CTRL_RST = 1 << 26,
	STATUS = 0x0008,
	STATUS_LU = 1 << 1,
	ICR = 0x00c0,
	IMS = 0x00d0,
	IMC = 0x00d8,
	EIAC = 0x00dc,
	IVAR = 0x00e4,
	RCTL = 0x0100,
	TCTL = 0x0400,
	RDBAL = 0x2800,
	RDBAH = 0x2804,
	RDLEN = 0x2808,
	RDH = 0x2810,
	RDT = 0x2818,
	TDBAL = 0x3800,
	TDBAH = 0x3804,
	TDLEN = 0x3808,
	TDH = 0x3810,
	TDT = 0x3818,
	RXCSUM = 0x5000,
	RFCTL = 0x5008,
	RAL = 0x5400,
	RAH = 0x5404,
};

#define RCTL_ON	     (1u << 1 | 1u << 15 | 1u << 26)  /* EN, BAM, SECRC */
#define TCTL_ON	     (1u << 1 | 1u << 3)	      /* EN, PSP */
#define TXD_CMD	     (1u << 24 | 1u << 25 | 1u << 27) /* EOP, IFCS, RS */
#define TXD_DATA     (1u << 29 | 1u << 20)
#define TXD_TSE	     (1u << 26)
#define QUEUE_CAUSES (1u << 20 | 1u << 22) /* RXQ0, TXQ0 */
#define INTX_CAUSES  (1u << 0 | 1u << 2 | 1u << 7)
#define LINUX_IVAR   0x800a0908u
#define TCP_HEADERS  54

static uint64_t ring_bytes(unsigned n)
{
	return ALIGN_UP((uint64_t)n * 16, 4096);
}

uint64_t e1000_driver_bytes(unsigned n)
{
	return 2 * ring_bytes(n) + 2 * (uint64_t)n * E1000_DRIVER_BUFFER;
}

static uint8_t *at(const struct e1000_driver *d, uint64_t address)
{
	return d->memory + (address - d->tx_ring);
}

static int open_interrupts(struct e1000_driver *d)
{
	unsigned n = d->msix ? 3 : 1;
	int err = 0;

	for (unsigned i = 0; i < n; i++) {
		d->irq_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (d->irq_fds[i] < 0)
			return -errno;
	}
	if (d->msix)
		err = vu_msix(d->client, d->irq_fds, n);
	else
		err = vu_set_irqs(d->client, VFIO_PCI_INTX_IRQ_INDEX,
				  VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1,
				  d->irq_fds, 1);
	return err;
}

static void open_rings(struct e1000_driver *d)
{
	struct vu_client *c = d->client;

	memset(d->memory, 0, 2 * ring_bytes(d->n));
	for (unsigned i = 0; i < d->n; i++)
		store_le64(at(d, d->rx_ring) + i * 16,
			   d->rx_buffers + (uint64_t)i * E1000_DRIVER_BUFFER);
	vu_write32(c, 0, TDBAL, (uint32_t)d->tx_ring);
	vu_write32(c, 0, TDBAH, (uint32_t)(d->tx_ring >> 32));
	vu_write32(c, 0, TDLEN, d->n * 16);
	vu_write32(c, 0, TDH, 0);
	vu_write32(c, 0, TDT, 0);
	vu_write32(c, 0, TCTL, TCTL_ON);
	vu_write32(c, 0, RDBAL, (uint32_t)d->rx_ring);
	vu_write32(c, 0, RDBAH, (uint32_t)(d->rx_ring >> 32));
	vu_write32(c, 0, RDLEN, d->n * 16);
	vu_write32(c, 0, RDH, 0);
	vu_write32(c, 0, RDT, d->n - 1);
	vu_write32(c, 0, RXCSUM, 0x300);
	vu_write32(c, 0, RFCTL, d->extended ? 1u << 15 : 0);
	vu_write32(c, 0, RCTL, RCTL_ON);
}

int e1000_driver_init(struct e1000_driver *d, struct vu_client *client, uint64_t skip, unsigned n,
		      bool trap)
{
	uint32_t id = 0, low, high;
	int err;

	*d = (struct e1000_driver){ .client = client, .n = n, .irq_fds = { -1, -1, -1 } };
	if (n < 8 || n % 8 || n > E1000_DRIVER_RING_MAX || skip % 4096 ||
	    skip + e1000_driver_bytes(n) > client->memory_size)
		return -ERANGE;
	err = vu_region_read(client, VFIO_PCI_CONFIG_REGION_INDEX, 0, &id, 4);
	if (err)
		return err;
	if (id != 0x10d38086 && id != 0x100e8086)
		return -ENODEV;
	d->extended = d->msix = id == 0x10d38086;
	d->tx_ring = client->memory_addr + skip;
	d->rx_ring = d->tx_ring + ring_bytes(n);
	d->tx_buffers = d->rx_ring + ring_bytes(n);
	d->rx_buffers = d->tx_buffers + (uint64_t)n * E1000_DRIVER_BUFFER;
	d->memory = client->memory + skip;

	err = vu_enable(client);
	if (!err && !client->bars[0].size)
		err = vu_bar_open(client, 0, trap);
	if (err)
		return err;
	vu_write32(client, 0, IMC, ~0u);
	vu_write32(client, 0, CTRL, vu_read32(client, 0, CTRL) | CTRL_RST);
	vu_read32(client, 0, ICR);
	low = vu_read32(client, 0, RAL);
	high = vu_read32(client, 0, RAH);
	store_le32(d->mac, low);
	store_le16(d->mac + 4, (uint16_t)high);
	err = open_interrupts(d);
	if (err) {
		e1000_driver_done(d);
		return err;
	}
	open_rings(d);
	if (d->msix) {
		vu_write32(client, 0, EIAC, QUEUE_CAUSES);
		vu_write32(client, 0, IVAR, LINUX_IVAR);
		vu_write32(client, 0, IMS, QUEUE_CAUSES);
	} else {
		vu_write32(client, 0, IMS, INTX_CAUSES);
	}
	return 0;
}

void e1000_driver_done(struct e1000_driver *d)
{
	vu_write32(d->client, 0, IMC, ~0u);
	vu_write32(d->client, 0, RCTL, 0);
	vu_write32(d->client, 0, TCTL, 0);
	vu_set_irqs(d->client, d->msix ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_INTX_IRQ_INDEX,
		    VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(d->irq_fds); i++)
		if (d->irq_fds[i] >= 0)
			close(d->irq_fds[i]);
}

static unsigned room(const struct e1000_driver *d)
{
	return (d->tx_clean + d->n - d->tx_tail - 1) % d->n;
}

static void put(struct e1000_driver *d, uint64_t address, uint32_t lower, uint32_t upper)
{
	uint8_t *desc = at(d, d->tx_ring) + d->tx_tail * 16;

	store_le64(desc, address);
	store_le32(desc + 8, lower);
	store_le32(desc + 12, upper);
	d->tx_tail = (d->tx_tail + 1) % d->n;
}

int e1000_driver_queue(struct e1000_driver *d, const void *frame, uint32_t len)
{
	uint64_t buffer = d->tx_buffers + (uint64_t)d->tx_tail * E1000_DRIVER_BUFFER;

	if (len > E1000_DRIVER_BUFFER)
		return -EMSGSIZE;
	if (!room(d))
		return -ENOSPC;
	memcpy(at(d, buffer), frame, len);
	put(d, buffer, len | TXD_CMD, 0);
	d->sent++;
	return 0;
}

int e1000_driver_queue_tso(struct e1000_driver *d, const void *frame, uint32_t len, uint16_t mss)
{
	unsigned buffers = (len + E1000_DRIVER_BUFFER - 1) / E1000_DRIVER_BUFFER;
	uint32_t done = 0;

	if (len <= TCP_HEADERS)
		return -EMSGSIZE;
	if (room(d) < buffers + 1)
		return -ENOSPC;
	/* IPv4 at 14, TCP at 34; their checksums at 24 and 50 */
	put(d, (34ull | 50 << 8) << 32 | 14 | 24 << 8 | 33 << 16,
	    1u << 29 | TXD_TSE | 3u << 24 | (len - TCP_HEADERS),
	    (uint32_t)mss << 16 | TCP_HEADERS << 8);
	while (done < len) {
		uint64_t buffer = d->tx_buffers + (uint64_t)d->tx_tail * E1000_DRIVER_BUFFER;
		uint32_t here = MIN(len - done, E1000_DRIVER_BUFFER);
		bool last = done + here == len;

		memcpy(at(d, buffer), (const uint8_t *)frame + done, here);
		put(d, buffer, here | TXD_DATA | TXD_TSE | (last ? 1u << 24 | 1u << 27 : 0),
		    3u << 8);
		done += here;
	}
	d->sent++;
	return 0;
}

void e1000_driver_kick(struct e1000_driver *d)
{
	vu_write32(d->client, 0, TDT, d->tx_tail);
}

unsigned e1000_driver_clean(struct e1000_driver *d)
{
	unsigned n = 0, waiting = 0;
	uint32_t i = d->tx_clean;

	/* descriptors without RS are done when a later one is */
	while (i != d->tx_tail) {
		uint8_t *desc = at(d, d->tx_ring) + i * 16;

		waiting++;
		i = (i + 1) % d->n;
		if (LOAD_ACQUIRE(desc[12]) & 1) {
			desc[12] = 0;
			n += waiting;
			waiting = 0;
			d->tx_clean = i;
		} else if (desc[11] & 1u << 3) {
			break; /* asked for a report, and has none yet */
		}
	}
	return n;
}

int e1000_driver_receive(struct e1000_driver *d, void *frame, uint32_t *status)
{
	uint8_t *desc = at(d, d->rx_ring) + d->rx_next * 16;
	uint64_t buffer = d->rx_buffers + (uint64_t)d->rx_next * E1000_DRIVER_BUFFER;
	uint32_t *word = (uint32_t *)(void *)(desc + (d->extended ? 8 : 12));
	uint32_t value = LOAD_ACQUIRE(*word), len;
	bool error;

	if (!(value & 1))
		return 0;
	len = load_le16(desc + (d->extended ? 12 : 8));
	error = d->extended ? value >> 24 : value >> 8 & 0xff;
	if (status)
		*status = value & 0xff;
	if (len <= E1000_DRIVER_BUFFER)
		memcpy(frame, at(d, buffer), len);
	else
		error = true;
	store_le64(desc, buffer);
	store_le64(desc + 8, 0);
	vu_write32(d->client, 0, RDT, d->rx_next);
	d->rx_next = (d->rx_next + 1) % d->n;
	d->received++;
	return error ? -EIO : (int)len;
}

unsigned e1000_driver_interrupts(struct e1000_driver *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(d->irq_fds); i++) {
		uint64_t count;

		if (d->irq_fds[i] >= 0 && read(d->irq_fds[i], &count, sizeof(count)) > 0)
			n += (unsigned)count;
	}
	if (!n)
		return 0;
	d->interrupts += n;
	if (d->msix) {
		vu_write32(d->client, 0, IMS, QUEUE_CAUSES);
	} else {
		vu_read32(d->client, 0, ICR);
		vu_set_irqs(d->client, VFIO_PCI_INTX_IRQ_INDEX,
			    VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL, 0);
	}
	return n;
}

bool e1000_driver_link(struct e1000_driver *d)
{
	return vu_read32(d->client, 0, STATUS) & STATUS_LU;
}
