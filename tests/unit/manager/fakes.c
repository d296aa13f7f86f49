/* SPDX-License-Identifier: BSD-2-Clause */
#include "fakes.h"

#include "base/util.h"
#include "nic/nic.h"
#include "port/port.h"
#include "transport/vfio_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fakes fakes;

static void note(const char *word)
{
	strncat(fakes.journal, word, sizeof(fakes.journal) - strlen(fakes.journal) - 1);
}

static bool fails(int err)
{
	errno = err;
	return err != 0;
}

/* ---- a NIC with one queue, which has to do only what a test says --------------------------- */

struct fake_nic {
	struct nic nic;
	struct io_queue queue;
	struct io_timer timer;
};

static void take(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	const char *name = container_of(queue, struct fake_nic, queue)->nic.name;
	const char *busy = LOAD_ACQUIRE(fakes.busy);

	if (busy && strstr(busy, name)) {
		work->packets = 1;
		work->more = true;
		return;
	}
	work->packets = __atomic_exchange_n(&fakes.taken, 0, __ATOMIC_SEQ_CST);
	if (work->packets)
		__atomic_add_fetch(&fakes.polls, 1, __ATOMIC_SEQ_CST);
}

static void fire(struct io_timer *timer, struct io_turn *turn)
{
}

static const struct io_queue_ops queue_ops = { .poll = take };

static void fake_nic_free(struct nic *nic)
{
	note("nic- ");
	fakes.nics--;
	free(nic->name);
	free(container_of(nic, struct fake_nic, nic));
}

static void fake_nic_link_set(struct nic *nic, bool up)
{
	note(up ? "link+ " : "link- ");
	nic->link_up = fakes.link_up = up;
}

static void fake_nic_stats(struct nic *nic, nic_stat_fn *stat, void *arg)
{
	stat(arg, "tx_packets", 7);
}

static void fake_nic_rate_set(struct nic *nic, uint64_t bps)
{
	fakes.rate_bps = bps;
}

static const struct nic_ops nic_ops = {
	.free = fake_nic_free,
	.link_set = fake_nic_link_set,
	.rate_set = fake_nic_rate_set,
	.stats = fake_nic_stats,
};

const char *const *nic_models(void)
{
	static const char *const models[] = { "82574L", "82540EM", NULL };

	return models;
}

struct nic *nic_new(const struct nic_config *config, struct memory_space *space)
{
	struct fake_nic *fake;

	if (fails(fakes.fail_nic))
		return NULL;
	note("nic+ ");
	fakes.nics++;
	fake = calloc(1, sizeof(*fake));
	fake->queue = (struct io_queue){ .ops = &queue_ops, .name = "queue", .wake_fd = -1 };
	fake->timer.fire = fire;
	fake->timer.deadline_ns = UINT64_MAX;
	fake->nic = (struct nic){
		.ops = &nic_ops,
		.model = "82574L",
		.name = strdup(config->name),
		.queues = { &fake->queue },
		.n_queues = 1,
		.timers = { &fake->timer },
		.n_timers = 1,
		.link_up = config->link_up,
	};
	fake->nic.port.name = fake->nic.name;
	fakes.link_up = config->link_up;
	return &fake->nic;
}

/* ---- a host port, a server, a switch ------------------------------------------------------ */

static void fake_port_free(struct host_port *port)
{
	fakes.host_ports--;
	free(port->name);
	free(port);
}

static void fake_port_stats(struct host_port *port, host_port_stat_fn *stat, void *arg)
{
	stat(arg, "system_calls", 1);
}

static const struct host_port_ops port_ops = { fake_port_free, fake_port_stats };

int host_port_check(const struct host_port_config *config, const char **key, const char **why)
{
	return 0;
}

struct host_port *host_port_new(const struct host_port_config *config, const char **why)
{
	struct host_port *port;

	if (fails(fakes.fail_port)) {
		*why = "the host does not want to";
		return NULL;
	}
	fakes.host_ports++;
	port = calloc(1, sizeof(*port));
	port->ops = &port_ops;
	port->name = strdup(config->name);
	return port;
}

struct vfio_user_server {
	char unused;
};

struct vfio_user_server *vfio_user_server_new(struct loop *loop,
					      const struct vfio_user_config *config,
					      struct pci_function *f, struct memory_space *space)
{
	if (fails(fakes.fail_server))
		return NULL;
	note("server+ ");
	fakes.servers++;
	return calloc(1, sizeof(struct vfio_user_server));
}

void vfio_user_server_free(struct vfio_user_server *server)
{
	note("server- ");
	fakes.servers--;
	free(server);
}

void vfio_user_server_stats(const struct vfio_user_server *server, struct vfio_user_stats *stats)
{
	*stats = (struct vfio_user_stats){ .connected = fakes.connected, .client_pid = 42 };
}

void vfio_user_server_disconnect(struct vfio_user_server *server)
{
	note("disconnect ");
}

void vfio_user_server_check(struct vfio_user_server *server)
{
}

void pci_function_stats(const struct pci_function *f, struct pci_function_stats *stats)
{
	*stats = (struct pci_function_stats){ .bar_reads = 1, .bar_writes = 2, .interrupts = 6 };
}

unsigned pci_config_size(const struct pci_function *f)
{
	return PCIE_CONFIG_BYTES;
}

void reg_bank_dump(const struct reg_bank *bank,
		   void (*row)(void *arg, const char *name, uint32_t offset, uint32_t value),
		   void *arg)
{
	row(arg, "CTRL", 0, 1);
}

struct net_switch {
	char unused;
};

struct net_switch *net_switch_new(const struct switch_config *config)
{
	fakes.switches++;
	return calloc(1, sizeof(struct net_switch));
}

void net_switch_free(struct net_switch *sw)
{
	fakes.switches--;
	free(sw);
}

int net_switch_attach(struct net_switch *sw, struct switch_port *port,
		      const struct switch_port_config *config)
{
	if (fakes.fail_attach)
		return -fakes.fail_attach;
	note("attach+ ");
	fakes.attached++;
	port->sw = sw;
	return 0;
}

void net_switch_detach(struct switch_port *port)
{
	note("attach- ");
	fakes.attached--;
	port->sw = NULL;
}

int net_switch_port_set(struct switch_port *port, const struct switch_port_config *config)
{
	fakes.replugged = true;
	return 0;
}

void net_switch_port_stats(const struct switch_port *port, struct switch_port_stats *stats)
{
	*stats = (struct switch_port_stats){ .rx_packets = 10, .tx_packets = 20 };
}

void net_switch_dump(struct net_switch *sw,
		     void (*row)(void *arg, const uint8_t mac[6], uint16_t vid, const char *port,
				 uint64_t age_ns),
		     void *arg)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };

	row(arg, mac, 7, "vm1/net0", 5000000000ull);
}

void net_switch_limits_set(struct net_switch *sw, unsigned port_addresses_max, uint64_t age_ns)
{
}

int net_switch_addresses_set(struct net_switch *sw, unsigned addresses_max)
{
	return 0;
}

void net_switch_vlans_set(struct net_switch *sw, bool vlan_aware)
{
}

void net_switch_flush(struct net_switch *sw, struct switch_port *port)
{
	note("flush ");
}
