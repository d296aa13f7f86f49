/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/util.h"
#include "fakes.h"
#include "manager/manager.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct loop *loop;
	struct manager *m;
	struct why why;
	char directory[64];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct core_spec core = { .name = "io0", .params.cpu = -1 };
	struct switch_spec sw = { .name = "lan" };
	struct machine_spec machine = { .name = "vm1" };

	fakes = (struct fakes){ .nics = 0 };
	f->loop = loop_new();
	strcpy(f->directory, "/tmp/exitless-test-XXXXXX");
	if (!mkdtemp(f->directory))
		return -1;
	f->m = manager_new(f->loop, f->directory);
	if (manager_core_add(f->m, &core, &f->why) || manager_switch_add(f->m, &sw, &f->why) ||
	    manager_machine_add(f->m, &machine, &f->why))
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fakes.fail_attach = 0;
	manager_free(f->m);
	assert_int_equal(fakes.nics, 0);
	assert_int_equal(fakes.servers, 0);
	assert_int_equal(fakes.attached, 0);
	assert_int_equal(fakes.host_ports, 0);
	assert_int_equal(fakes.switches, 0);
	loop_free(f->loop);
	remove(f->directory);
	free(f);
	return 0;
}

static struct device_spec nic_spec(const char *name)
{
	struct device_spec spec = { .kind = "nic", .link_up = true, .plug.sw = "lan" };

	snprintf(spec.name, sizeof(spec.name), "%s", name);
	return spec;
}

static int add_nic(struct fixture *f, const char *name)
{
	struct device_spec spec = nic_spec(name);

	return manager_device_add(f->m, "vm1", &spec, &f->why);
}

static void built_inside_out(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(add_nic(f, "net0"), 0);
	assert_string_equal(fakes.journal, "nic+ attach+ server+ ");
	fakes.journal[0] = '\0';
	assert_int_equal(manager_device_remove(f->m, "vm1", "net0", &f->why), 0);
	assert_string_equal(fakes.journal, "server- attach- nic- ");
	assert_null(manager_device(f->m, "vm1", "net0"));
}

static void failure_undoes_all(void **state)
{
	struct fixture *f = *state;
	int *const fails[] = { &fakes.fail_nic, &fakes.fail_attach, &fakes.fail_server };

	for (unsigned i = 0; i < 3; i++) {
		*fails[i] = ENOSPC;
		assert_int_equal(add_nic(f, "net0"), -ENOSPC);
		assert_true(strlen(f->why.text) > 0);
		*fails[i] = 0;
		assert_int_equal(fakes.nics + fakes.attached + fakes.servers, 0);
		assert_null(manager_device(f->m, "vm1", "net0"));
		/* nothing is left on the core or in the switch, so both could go */
		f->why.text[0] = '\0';
	}
	fakes.fail_server = EADDRINUSE;
	assert_int_equal(add_nic(f, "net0"), -EADDRINUSE);
	assert_non_null(strstr(f->why.text, "listens"));
	assert_int_equal(manager_core_remove(f->m, "io0", &f->why), 0);
	assert_int_equal(manager_switch_remove(f->m, "lan", &f->why), 0);
}

static void filled_in(void **state)
{
	struct fixture *f = *state;
	const struct device_spec *spec;
	char socket[128];
	uint8_t mac[6];

	assert_int_equal(add_nic(f, "net0"), 0);
	spec = manager_device(f->m, "vm1", "net0");
	snprintf(socket, sizeof(socket), "%s/vm1-net0.sock", f->directory);
	assert_string_equal(spec->socket, socket);
	assert_string_equal(spec->model, "82574L");
	assert_int_equal(spec->mac[0], 2);
	memcpy(mac, spec->mac, 6);
	/* the same after a restart, another for another device */
	assert_int_equal(add_nic(f, "net1"), 0);
	assert_memory_not_equal(manager_device(f->m, "vm1", "net1")->mac, mac, 6);
	assert_int_equal(manager_device_remove(f->m, "vm1", "net0", &f->why), 0);
	assert_int_equal(add_nic(f, "net0"), 0);
	assert_memory_equal(manager_device(f->m, "vm1", "net0")->mac, mac, 6);
}

static void refused(void **state)
{
	struct fixture *f = *state;
	struct device_spec spec = nic_spec("net0");
	struct machine_spec machine = { .name = "vm2" };

	assert_int_equal(manager_device_add(f->m, "none", &spec, &f->why), -ENOENT);
	assert_int_equal(add_nic(f, "net0"), 0);
	assert_int_equal(add_nic(f, "net0"), -EEXIST);
	assert_int_equal(add_nic(f, ""), -EINVAL);
	assert_int_equal(add_nic(f, "../net"), -EINVAL);
	spec = nic_spec("net1");
	strcpy(spec.model, "82599");
	assert_int_equal(manager_device_add(f->m, "vm1", &spec, &f->why), -EINVAL);
	assert_non_null(strstr(f->why.text, "82540EM"));
	spec = nic_spec("net1");
	strcpy(spec.kind, "gpu");
	assert_int_equal(manager_device_add(f->m, "vm1", &spec, &f->why), -EINVAL);
	spec = nic_spec("net1");
	strcpy(spec.plug.sw, "lam");
	assert_int_equal(manager_device_add(f->m, "vm1", &spec, &f->why), -ENOENT);
	spec = nic_spec("net1");
	strcpy(spec.core, "io7");
	assert_int_equal(manager_device_add(f->m, "vm1", &spec, &f->why), -ENOENT);
	spec = nic_spec("net1");
	spec.plug.trunk = true; /* the switch has no VLANs */
	assert_int_equal(manager_device_add(f->m, "vm1", &spec, &f->why), -EINVAL);
	spec = nic_spec("net1");
	spec.mac[0] = 1; /* a group */
	assert_int_equal(manager_device_add(f->m, "vm1", &spec, &f->why), -EINVAL);
	/* what another device has */
	spec = nic_spec("net0");
	assert_int_equal(manager_machine_add(f->m, &machine, &f->why), 0);
	memcpy(spec.mac, manager_device(f->m, "vm1", "net0")->mac, 6);
	assert_int_equal(manager_device_add(f->m, "vm2", &spec, &f->why), -EEXIST);
	assert_non_null(strstr(f->why.text, "MAC"));
	spec = nic_spec("net0");
	strcpy(spec.socket, manager_device(f->m, "vm1", "net0")->socket);
	assert_int_equal(manager_device_add(f->m, "vm2", &spec, &f->why), -EEXIST);
	assert_non_null(strstr(f->why.text, "socket"));
	assert_int_equal(fakes.nics, 1);
}

static void in_use_is_busy(void **state)
{
	struct fixture *f = *state;
	struct port_spec port = { .name = "out", .kind = "null", .plug.sw = "lan", .queues = 1 };

	assert_int_equal(add_nic(f, "net0"), 0);
	assert_int_equal(manager_port_add(f->m, &port, &f->why), 0);
	assert_int_equal(manager_core_remove(f->m, "io0", &f->why), -EBUSY);
	assert_int_equal(manager_switch_remove(f->m, "lan", &f->why), -EBUSY);
	assert_int_equal(manager_port_remove(f->m, "out", &f->why), 0);
	assert_int_equal(manager_switch_remove(f->m, "lan", &f->why), -EBUSY);
	assert_int_equal(manager_machine_remove(f->m, "vm1", &f->why), 0);
	assert_int_equal(fakes.nics, 0);
	assert_int_equal(manager_switch_remove(f->m, "lan", &f->why), 0);
	assert_int_equal(manager_core_remove(f->m, "io0", &f->why), 0);
	assert_int_equal(manager_core_remove(f->m, "io0", &f->why), -ENOENT);
	assert_int_equal(manager_port_add(f->m, &port, &f->why), -ENOENT); /* no switch */
	port.plug.sw[0] = '\0';
	assert_int_equal(manager_port_add(f->m, &port, &f->why), -ENOENT); /* no core */
}

static void port_failure(void **state)
{
	struct fixture *f = *state;
	struct port_spec port = { .name = "out", .kind = "tap", .plug.sw = "lan", .queues = 1 };

	fakes.fail_port = EPERM;
	assert_int_equal(manager_port_add(f->m, &port, &f->why), -EPERM);
	assert_string_equal(f->why.text, "port out: the host does not want to");
	fakes.fail_port = 0;
	fakes.fail_attach = ENOSPC;
	assert_int_equal(manager_port_add(f->m, &port, &f->why), -ENOSPC);
	assert_int_equal(fakes.host_ports, 0);
	fakes.fail_attach = 0;
	assert_int_equal(manager_port_add(f->m, &port, &f->why), 0);
	assert_int_equal(manager_port_add(f->m, &port, &f->why), -EEXIST);
}

static void core_of_device(void *arg, const struct device_info *info)
{
	snprintf(arg, SPEC_NAME_BYTES, "%s", info->end.core);
}

static void changed(void **state)
{
	struct fixture *f = *state;
	struct core_spec core = { .name = "io1", .params.cpu = -1 };
	struct switch_spec sw = { .name = "wan" };
	struct device_spec spec;
	char on[SPEC_NAME_BYTES];

	assert_int_equal(add_nic(f, "net0"), 0);
	assert_int_equal(manager_core_add(f->m, &core, &f->why), 0);
	assert_int_equal(manager_switch_add(f->m, &sw, &f->why), 0);

	spec = *manager_device(f->m, "vm1", "net0");
	spec.link_up = false;
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), 0);
	assert_false(fakes.link_up);
	spec.max_rate_bps = 1000000;
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), 0);
	assert_int_equal(fakes.rate_bps, 1000000);

	strcpy(spec.core, "io1"); /* moves while it runs */
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), 0);
	manager_each_device(f->m, "vm1", core_of_device, on);
	assert_string_equal(on, "io1");
	assert_int_equal(manager_core_remove(f->m, "io0", &f->why), 0);

	spec.plug.isolated = true;
	fakes.replugged = false;
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), 0);
	assert_true(fakes.replugged);

	strcpy(spec.plug.sw, "wan");
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), 0);
	assert_int_equal(manager_switch_remove(f->m, "lan", &f->why), 0);

	spec.plug.sw[0] = '\0'; /* pulled out */
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), 0);
	assert_int_equal(fakes.attached, 0);
	strcpy(spec.plug.sw, "wan");
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), 0);
	assert_int_equal(fakes.attached, 1);

	spec.mac[5]++;
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), -EOPNOTSUPP);
	spec.mac[5]--;
	strcpy(spec.plug.sw, "none");
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), -ENOENT);
	assert_int_equal(fakes.attached, 1);
	assert_string_equal(manager_device(f->m, "vm1", "net0")->plug.sw, "wan");
}

static void failed_replug_stays(void **state)
{
	struct fixture *f = *state;
	struct switch_spec sw = { .name = "wan" };
	struct device_spec spec;

	assert_int_equal(add_nic(f, "net0"), 0);
	assert_int_equal(manager_switch_add(f->m, &sw, &f->why), 0);
	spec = *manager_device(f->m, "vm1", "net0");
	strcpy(spec.plug.sw, "wan");
	fakes.fail_attach = ENOSPC;
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), -ENOSPC);
	assert_string_equal(manager_device(f->m, "vm1", "net0")->plug.sw, "lan");
}

/* A change of which one part is refused changes nothing. */
static void refused_change_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct switch_spec sw = { .name = "wan" };
	struct device_spec spec, was;
	static const struct {
		const char *sw;
		bool trunk;
		int fail_attach, err;
	} tries[] = {
		{ "none", false, 0, -ENOENT },
		{ "lan", true, 0, -EINVAL }, /* it has no VLANs */
		{ "wan", false, ENOSPC, -ENOSPC },
	};

	assert_int_equal(add_nic(f, "net0"), 0);
	assert_int_equal(manager_switch_add(f->m, &sw, &f->why), 0);
	was = *manager_device(f->m, "vm1", "net0");
	fakes.link_up = true;
	for (unsigned i = 0; i < ARRAY_SIZE(tries); i++) {
		spec = was;
		strcpy(spec.plug.sw, tries[i].sw);
		spec.plug.trunk = tries[i].trunk;
		spec.max_rate_bps = 1000;
		spec.max_packets_per_s = 5;
		spec.link_up = false;
		fakes.fail_attach = tries[i].fail_attach;
		assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), tries[i].err);
		fakes.fail_attach = 0;
		assert_int_equal(fakes.rate_bps, 0);
		assert_true(fakes.link_up);
		assert_memory_equal(manager_device(f->m, "vm1", "net0"), &was, sizeof(was));
	}
}

static int add_disk(struct fixture *f, const char *name, const char *core)
{
	struct device_spec spec = { .kind = "virtio-blk", .model = "null", .size_bytes = 4096 };

	snprintf(spec.name, sizeof(spec.name), "%s", name);
	snprintf(spec.core, sizeof(spec.core), "%s", core);
	return manager_device_add(f->m, "vm1", &spec, &f->why);
}

static void core_of_disk0(void *arg, const struct device_info *info)
{
	if (!strcmp(info->spec->name, "disk0"))
		core_of_device(arg, info);
}

/* What a smaller size cuts off is lost: it is cut off when nothing can be refused any more. */
static void refused_move_leaves_the_size(void **state)
{
	struct fixture *f = *state;
	struct core_spec core = { .name = "io1", .params.cpu = -1 };
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct device_spec spec, was;
	char on[SPEC_NAME_BYTES];

	assert_true(fd > 0);
	assert_int_equal(manager_core_add(f->m, &core, &f->why), 0);
	/* a core cannot wait for one descriptor twice */
	fakes.disk_wake_fd = fd;
	assert_int_equal(add_disk(f, "disk0", "io0"), 0);
	assert_int_equal(add_disk(f, "disk1", "io1"), 0);
	was = spec = *manager_device(f->m, "vm1", "disk0");
	spec.size_bytes /= 2;
	strcpy(spec.core, "io1");
	fakes.journal[0] = '\0';
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), -EEXIST);
	assert_string_equal(fakes.journal, "");
	assert_memory_equal(manager_device(f->m, "vm1", "disk0"), &was, sizeof(was));

	/* nor does it stay where it moved to when it cannot have that size */
	assert_int_equal(manager_device_remove(f->m, "vm1", "disk1", &f->why), 0);
	fakes.fail_resize = ENOMEM;
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), -ENOMEM);
	manager_each_device(f->m, "vm1", core_of_disk0, on);
	assert_string_equal(on, "io0");
	assert_memory_equal(manager_device(f->m, "vm1", "disk0"), &was, sizeof(was));
	/* keys that cannot change move nothing */
	spec.queues = 2;
	fakes.fail_resize = 0;
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), -EOPNOTSUPP);
	manager_each_device(f->m, "vm1", core_of_disk0, on);
	assert_string_equal(on, "io0");

	spec.queues = was.queues;
	fakes.journal[0] = '\0';
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), 0);
	assert_string_equal(fakes.journal, "resize ");
	manager_each_device(f->m, "vm1", core_of_disk0, on);
	assert_string_equal(on, "io1");
	assert_int_equal(manager_device_remove(f->m, "vm1", "disk0", &f->why), 0);
	close(fd);
}

/* Nor can a device move into a switch where another one has its address. */
static void one_address_in_a_switch(void **state)
{
	struct fixture *f = *state;
	struct switch_spec sw = { .name = "wan" };
	struct device_spec spec = nic_spec("net1");

	assert_int_equal(add_nic(f, "net0"), 0);
	assert_int_equal(manager_switch_add(f->m, &sw, &f->why), 0);
	memcpy(spec.mac, manager_device(f->m, "vm1", "net0")->mac, 6);
	strcpy(spec.plug.sw, "wan");
	assert_int_equal(manager_device_add(f->m, "vm1", &spec, &f->why), 0);
	spec = *manager_device(f->m, "vm1", "net1");
	strcpy(spec.plug.sw, "lan");
	spec.max_rate_bps = 1000;
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), -EEXIST);
	assert_string_equal(f->why.text, "vm1/net0 has the same MAC address in switch lan");
	assert_string_equal(manager_device(f->m, "vm1", "net1")->plug.sw, "wan");
	assert_int_equal(fakes.rate_bps, 0);
	/* where it is it may stay, and it may leave */
	strcpy(spec.plug.sw, "wan");
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), 0);
	spec.plug.sw[0] = '\0';
	assert_int_equal(manager_device_set(f->m, "vm1", &spec, &f->why), 0);
}

/* The folder of the sockets lets other users' VMMs through, whatever the umask; only a new one. */
static void directory_is_for_all(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	mode_t mask;

	assert_int_equal(rmdir(f->directory), 0);
	mask = umask(0077);
	assert_int_equal(add_nic(f, "net0"), 0);
	assert_int_equal(stat(f->directory, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(chmod(f->directory, 0711), 0);
	assert_int_equal(add_nic(f, "net1"), 0);
	umask(mask);
	assert_int_equal(stat(f->directory, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
}

static void core_changed(void **state)
{
	struct fixture *f = *state;
	struct core_spec spec = *manager_core(f->m, "io0");

	spec.params.turn_packets = 17;
	assert_int_equal(manager_core_set(f->m, &spec, &f->why), 0);
	assert_int_equal(manager_core(f->m, "io0")->params.turn_packets, 17);
	spec.params.cpu = 0;
	assert_int_equal(manager_core_set(f->m, &spec, &f->why), -EOPNOTSUPP);
}

static void switch_changed(void **state)
{
	struct fixture *f = *state;
	struct port_spec port = { .name = "out", .kind = "null", .plug.sw = "lan", .queues = 1 };
	struct switch_spec spec = *manager_switch(f->m, "lan");
	struct device_spec nic;

	port.plug.trunk = true;
	assert_int_equal(manager_port_add(f->m, &port, &f->why), -EINVAL);
	spec.vlan_aware = true;
	spec.addresses_max = 100;
	assert_int_equal(manager_switch_set(f->m, &spec, &f->why), 0);
	assert_int_equal(manager_switch(f->m, "lan")->addresses_max, 100);
	assert_int_equal(manager_port_add(f->m, &port, &f->why), 0);
	assert_int_equal(add_nic(f, "net0"), 0);
	nic = *manager_device(f->m, "vm1", "net0");
	nic.plug.trunk = true;
	assert_int_equal(manager_device_set(f->m, "vm1", &nic, &f->why), 0);
	/* trunks need VLANs */
	spec.vlan_aware = false;
	assert_int_equal(manager_switch_set(f->m, &spec, &f->why), -EBUSY);
	assert_non_null(strstr(f->why.text, "port out is a trunk"));
	assert_int_equal(manager_port_remove(f->m, "out", &f->why), 0);
	assert_int_equal(manager_switch_set(f->m, &spec, &f->why), -EBUSY);
	assert_non_null(strstr(f->why.text, "device vm1/net0 is a trunk"));
	nic.plug.trunk = false;
	assert_int_equal(manager_device_set(f->m, "vm1", &nic, &f->why), 0);
	assert_int_equal(manager_switch_set(f->m, &spec, &f->why), 0);
	assert_false(manager_switch(f->m, "lan")->vlan_aware);
}

static void machine_share(void **state)
{
	struct fixture *f = *state;
	struct machine_spec spec = *manager_machine(f->m, "vm1");

	spec.share.weight = 5;
	assert_int_equal(manager_machine_set(f->m, &spec, &f->why), 0);
	spec.share.min_packets_per_s = 10;
	spec.share.max_packets_per_s = 5;
	assert_int_equal(manager_machine_set(f->m, &spec, &f->why), -EINVAL);
	assert_int_equal(manager_machine(f->m, "vm1")->share.weight, 5);
	assert_int_equal(manager_machine(f->m, "vm1")->share.min_packets_per_s, 0);
	strcpy(spec.name, "vm2");
	assert_int_equal(manager_machine_add(f->m, &spec, &f->why), -EINVAL);
	assert_null(manager_machine(f->m, "vm2"));
}

static void sleeps_of(void *arg, const struct core_info *info)
{
	*(uint64_t *)arg = info->stats.sleeps;
}

static uint64_t sleeps(struct fixture *f)
{
	uint64_t n = 0;

	manager_each_core(f->m, sleeps_of, &n);
	return n;
}

static void wait_for_polls(unsigned n)
{
	while (__atomic_load_n(&fakes.polls, __ATOMIC_SEQ_CST) < n)
		sched_yield();
}

static void limits_set(struct fixture *f, const struct machine_spec *machine,
		       const struct device_spec *nic)
{
	assert_int_equal(manager_machine_set(f->m, machine, &f->why), 0);
	assert_int_equal(manager_device_set(f->m, "vm1", nic, &f->why), 0);
	/* and the turn in which they may not be seen yet is over */
	assert_int_equal(manager_core_set(f->m, manager_core(f->m, "io0"), &f->why), 0);
}

/* A core that a rate has put to sleep, here for a day, learns that there is none any more. */
static void limit_taken_away(void **state)
{
	struct fixture *f = *state;
	struct machine_spec machine = *manager_machine(f->m, "vm1");
	struct device_spec nic;

	assert_int_equal(add_nic(f, "net0"), 0);
	nic = *manager_device(f->m, "vm1", "net0");
	for (unsigned i = 0; i < 2; i++) {
		uint64_t *limit = i ? &nic.max_packets_per_s : &machine.share.max_packets_per_s;
		uint64_t was = sleeps(f);

		*limit = 1;
		limits_set(f, &machine, &nic);
		__atomic_store_n(&fakes.taken, 86400, __ATOMIC_SEQ_CST);
		wait_for_polls(2 * i + 1);
		__atomic_store_n(&fakes.taken, 1, __ATOMIC_SEQ_CST);
		while (sleeps(f) == was) /* nothing else puts it to sleep */
			sched_yield();
		*limit = 0;
		limits_set(f, &machine, &nic);
		wait_for_polls(2 * i + 2);
	}
}

static void links_down_at_the_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(add_nic(f, "net0"), 0);
	assert_int_equal(add_nic(f, "net1"), 0);
	fakes.connected = true;
	assert_int_equal(manager_links_down(f->m), 2);
	assert_false(fakes.link_up);
	assert_int_equal(manager_links_down(f->m), 0);
}

static void least_loaded_core(void **state)
{
	struct fixture *f = *state;
	struct core_spec core = { .name = "io1", .params.cpu = -1 };
	char on[SPEC_NAME_BYTES];

	assert_int_equal(add_nic(f, "net0"), 0);
	assert_int_equal(manager_core_add(f->m, &core, &f->why), 0);
	assert_int_equal(add_nic(f, "net1"), 0);
	manager_each_device(f->m, "vm1", core_of_device, on); /* the last one's */
	assert_string_equal(on, "io1");
}

static void count_leaving(void *arg, const char *id)
{
	assert_true(!strcmp(id, "vm1/disk0") || !strcmp(id, "vm1/disk1"));
	++*(unsigned *)arg;
}

static unsigned leaving(struct fixture *f)
{
	unsigned n = 0;

	manager_each_leaving(f->m, count_leaving, &n);
	return n;
}

/* A disk whose storage is stuck is gone for everybody at once, and nobody waits for it; it is taken
 * apart when the storage lets go, its machine behind it. */
static void stuck_disks_leave(void **state)
{
	struct fixture *f = *state;
	struct machine_spec machine = { .name = "vm1" };

	assert_int_equal(add_disk(f, "disk0", ""), 0);
	assert_int_equal(add_disk(f, "disk1", ""), 0);
	fakes.stuck = true;
	assert_int_equal(manager_device_remove(f->m, "vm1", "disk0", &f->why), 0);
	assert_null(manager_device(f->m, "vm1", "disk0"));
	assert_int_equal(manager_device_remove(f->m, "vm1", "disk0", &f->why), -ENOENT);
	assert_int_equal(leaving(f), 1);
	/* another one of its name, which does not leave */
	fakes.stuck = false;
	assert_int_equal(add_disk(f, "disk0", ""), 0);
	assert_int_equal(fakes.disks, 3);
	fakes.stuck = true;
	assert_int_equal(manager_machine_remove(f->m, "vm1", &f->why), 0);
	assert_null(manager_machine(f->m, "vm1"));
	assert_int_equal(leaving(f), 3);
	assert_int_equal(manager_machine_add(f->m, &machine, &f->why), 0);
	/* they need their core */
	assert_int_equal(manager_core_remove(f->m, "io0", &f->why), -EBUSY);
	assert_int_equal(loop_once(f->loop, 20), 0);
	assert_int_equal(fakes.disks, 3);
	fakes.stuck = false;
	while (leaving(f))
		assert_int_equal(loop_once(f->loop, -1), 0);
	assert_int_equal(fakes.disks, 0);
	assert_int_equal(fakes.servers, 0);
	assert_int_equal(manager_core_remove(f->m, "io0", &f->why), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(built_inside_out),
		T(failure_undoes_all),
		T(filled_in),
		T(refused),
		T(in_use_is_busy),
		T(port_failure),
		T(changed),
		T(failed_replug_stays),
		T(core_changed),
		T(switch_changed),
		T(machine_share),
		T(limit_taken_away),
		T(links_down_at_the_end),
		T(least_loaded_core),
		T(stuck_disks_leave),
		T(refused_change_changes_nothing),
		T(refused_move_leaves_the_size),
		T(one_address_in_a_switch),
		T(directory_is_for_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
