/* SPDX-License-Identifier: BSD-2-Clause */
/* The driver's side of an e1000 NIC as a port of a network load. Frames are copied into and out of
 * the rings' buffers by the driver. */
#include "client/e1000_driver.h"
#include "client/net_load_private.h"

#include <stdlib.h>

#define MEMORY_AT 0x100000000ull

struct net_e1000 {
	struct net_port port;
	struct vu_client client;
	struct e1000_driver driver;
	uint8_t frame[E1000_DRIVER_BUFFER];
};

static struct net_e1000 *of_port(struct net_port *port)
{
	return container_of(port, struct net_e1000, port);
}

static unsigned send(struct net_port *port, const struct net_flow *flow, unsigned n, uint64_t stamp,
		     uint64_t step)
{
	struct net_e1000 *e = of_port(port);
	unsigned i;

	for (i = 0; i < n; i++) {
		net_record_write(flow, flow->frame, flow->sent + i, stamp + i * step);
		if (e1000_driver_queue(&e->driver, flow->frame, flow->params.size) == -ENOSPC) {
			e1000_driver_clean(&e->driver);
			if (e1000_driver_queue(&e->driver, flow->frame, flow->params.size))
				break;
		}
	}
	if (i)
		e1000_driver_kick(&e->driver);
	return i;
}

static unsigned receive(struct net_port *port)
{
	struct net_e1000 *e = of_port(port);
	uint64_t now = 0;
	unsigned n = 0;

	while (n < port->burst) {
		int len = e1000_driver_receive(&e->driver, e->frame, NULL);

		if (!len)
			break;
		if (!n++)
			now = time_cycles();
		if (len < 0)
			port->device_errors++;
		else
			net_receive(port, e->frame, (uint32_t)len, now);
	}
	return n;
}

static void announce(struct net_port *port, const void *frame, uint32_t len)
{
	struct net_e1000 *e = of_port(port);

	if (!e1000_driver_queue(&e->driver, frame, len))
		e1000_driver_kick(&e->driver);
}

static void port_free(struct net_port *port)
{
	struct net_e1000 *e = of_port(port);

	if (e->driver.client)
		e1000_driver_done(&e->driver);
	vu_close(&e->client);
	free(e);
}

static const struct net_port_ops ops = {
	.send = send,
	.receive = receive,
	.announce = announce,
	.free = port_free,
};

int net_port_e1000(const struct net_port_params *params, struct net_port **port)
{
	unsigned ring = MIN(params->ring, E1000_DRIVER_RING_MAX);
	struct net_e1000 *e;
	int err;

	if (params->frame_max > 1514 || params->gso)
		return -ENOTSUP;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->port = (struct net_port){ .ops = &ops, .frame_max = params->frame_max };
	err = vu_open(&e->client, params->path);
	if (err) {
		free(e);
		return err;
	}
	err = vu_memory(&e->client, MEMORY_AT, ALIGN_UP(e1000_driver_bytes(ring), 2ull << 20));
	if (!err)
		err = e1000_driver_init(&e->driver, &e->client, 0, ring, false);
	if (err) {
		e->driver.client = NULL;
		port_free(&e->port);
		return err;
	}
	memcpy(e->port.mac, e->driver.mac, 6);
	*port = &e->port;
	return 0;
}
