/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices of any kind. Built from the inside out: memory space, model, core, switch, and the socket
 * last, so that the first VMM finds all of it; taken apart the other way round.
 *
 * A device that is removed is gone at once for everybody, but what it has at its storage has to
 * come back before it can be taken apart: until then it is on the list of those that leave, which a
 * timer looks at. Storage that is stuck for ever keeps the device there, and nobody waits for it.
 */
#include "base/clock.h"
#include "base/log.h"
#include "manager/internal.h"
#include "nic/nic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CHECK_NS      (500 * NS_PER_MS)
#define LEAVE_LOOK_NS (10 * NS_PER_MS)
#define LEAVE_MAX_NS  (5 * NS_PER_S)

static const struct device_kind *const kinds[] = {
	&nic_device_kind,
	&virtio_net_device_kind,
	&virtio_blk_device_kind,
};

const char *const *manager_device_kinds(void)
{
	static const char *names[ARRAY_SIZE(kinds) + 1];

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		names[i] = kinds[i]->name;
	return names;
}

static const struct device_kind *find_kind(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i]->name, name))
			return kinds[i];
	return NULL;
}

const char *const *manager_device_models(const char *kind)
{
	const struct device_kind *k = find_kind(kind);

	return k ? k->models() : NULL;
}

/* ---- validation -------------------------------------------------------------------------- */

/* A stable address for a device that was given none: locally administered, made of its identity, so
 * that it is the same after a restart of the daemon (FNV-1a, 64 bits). */
static void mac_derive(const char *id, uint8_t mac[6])
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (; *id; id++)
		hash = (hash ^ (uint8_t)*id) * 0x100000001b3ull;
	mac[0] = 0x02;
	for (int i = 1; i < 6; i++)
		mac[i] = (uint8_t)(hash >> (8 * i));
}

static int model_choose(struct device *dev, struct why *why)
{
	const char *const *models = dev->kind->models();
	char known[96] = "";

	if (!dev->spec.model[0]) {
		snprintf(dev->spec.model, sizeof(dev->spec.model), "%s", models[0]);
		return 0;
	}
	for (unsigned i = 0; models[i]; i++) {
		size_t len = strlen(known);

		if (!strcmp(models[i], dev->spec.model))
			return 0;
		snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "", models[i]);
	}
	return why_set(why, -EINVAL, "there is no model %s of kind %s (there are: %s)",
		       dev->spec.model, dev->spec.kind, known);
}

int manager_socket_path(const char *directory, const char *machine, const char *device,
			char path[SPEC_SOCKET_BYTES])
{
	int n = snprintf(path, SPEC_SOCKET_BYTES, "%s/%s-%s.sock", directory, machine, device);

	return n >= SPEC_SOCKET_BYTES ? -ENAMETOOLONG : 0;
}

int manager_directory_make(const char *directory)
{
	if (mkdir(directory, 0755) < 0)
		return errno == EEXIST ? 0 : -errno;
	/* the umask is for files; a VMM of another user comes by here to its socket */
	return chmod(directory, 0755) < 0 ? -errno : 0;
}

static int socket_choose(struct device *dev, struct why *why)
{
	struct device_spec *spec = &dev->spec;
	int err;

	if (spec->socket[0])
		return 0;
	if (manager_socket_path(dev->m->directory, dev->machine->spec.name, spec->name,
				spec->socket))
		return why_set(why, -ENAMETOOLONG,
			       "the path of the socket of %s would be longer than %d characters",
			       dev->id, SPEC_SOCKET_BYTES - 1);
	err = manager_directory_make(dev->m->directory);
	if (err)
		return why_set(why, err, "cannot make %s: %s", dev->m->directory, strerror(-err));
	return 0;
}

/* Two devices with one address in one switch would fight; @plug: where @dev is to be. */
static int address_check(const struct device *dev, const struct plug_spec *plug, struct why *why)
{
	struct machine *machine;
	struct device *other;

	if (!dev->kind->network || !plug->sw[0])
		return 0;
	list_for_each(machine, &dev->m->machines, node)
		list_for_each(other, &machine->devices, node)
	{
		if (other != dev && other->kind->network &&
		    !strcmp(other->spec.plug.sw, plug->sw) &&
		    !memcmp(other->spec.mac, dev->spec.mac, sizeof(dev->spec.mac)))
			return why_set(why, -EEXIST, "%s has the same MAC address in switch %s",
				       other->id, plug->sw);
	}
	return 0;
}

/* So would two with one socket, or with what else their kind has only once. */
static int unique_check(const struct device *dev, struct why *why)
{
	struct machine *machine;
	struct device *other;

	list_for_each(machine, &dev->m->machines, node)
		list_for_each(other, &machine->devices, node)
	{
		if (other == dev)
			continue;
		if (!strcmp(other->spec.socket, dev->spec.socket))
			return why_set(why, -EEXIST, "socket %s is that of %s already",
				       dev->spec.socket, other->id);
		if (dev->kind == other->kind && dev->kind->clash) {
			int err = dev->kind->clash(&dev->spec, &other->spec, why);

			if (err)
				return err;
		}
	}
	return address_check(dev, &dev->spec.plug, why);
}

int manager_device_check(const struct device_spec *spec, const char **key, struct why *why)
{
	const struct device_kind *kind = find_kind(spec->kind);
	struct device_spec full = *spec;

	*key = "kind";
	if (!kind)
		return why_set(why, -EINVAL, "there is no kind %s of device", spec->kind);
	*key = "mac";
	if (spec->mac[0] & 1)
		return why_set(why, -EINVAL, "%02x in front makes it a group's address",
			       spec->mac[0]);
	if (!spec->model[0])
		snprintf(full.model, sizeof(full.model), "%s", kind->models()[0]);
	return kind->check ? kind->check(&full, key, why) : 0;
}

static int device_resolve(struct device *dev, struct why *why)
{
	static const uint8_t none[6];
	const char *key;
	int err;

	err = name_check("device", dev->spec.name, why);
	if (err)
		return err;
	if (find_device(dev->machine, dev->spec.name))
		return why_set(why, -EEXIST, "there is a device %s already", dev->id);
	dev->kind = find_kind(dev->spec.kind);
	if (!dev->kind)
		return why_set(why, -EINVAL, "there is no kind %s of device", dev->spec.kind);
	err = model_choose(dev, why);
	if (err)
		return err;
	if (dev->kind->network && !memcmp(dev->spec.mac, none, sizeof(none)))
		mac_derive(dev->id, dev->spec.mac);
	err = manager_device_check(&dev->spec, &key, why);
	if (err)
		return err;
	err = plug_check(dev->m, &dev->spec.plug, why);
	if (err)
		return err;
	err = socket_choose(dev, why);
	if (err)
		return err;
	return unique_check(dev, why);
}

/* ---- adding and removing ----------------------------------------------------------------- */

/* What is in its spec, for all of its queues. */
static void limit_rates(struct device *dev)
{
	struct io_group_params params = { .max_packets_per_s = dev->spec.max_packets_per_s,
					  .max_bytes_per_s = dev->spec.max_bytes_per_s };
	bool any = params.max_packets_per_s || params.max_bytes_per_s;

	io_group_set(dev->own, &params);
	for (unsigned i = 0; i < dev->end.n_queues; i++)
		STORE_RELEASE(dev->end.queues[i]->own, any ? dev->own : NULL);
	endpoint_retry(&dev->end);
}

int manager_device_add(struct manager *m, const char *machine_name, const struct device_spec *spec,
		       struct why *why)
{
	struct machine *machine = find_machine(m, machine_name);
	struct device *dev;
	struct core *core;
	int err;

	if (!machine)
		return why_set(why, -ENOENT, "there is no machine %s", machine_name);
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return why_set(why, -ENOMEM, "out of memory");
	dev->m = m;
	dev->machine = machine;
	dev->spec = *spec;
	snprintf(dev->id, sizeof(dev->id), "%s/%s", machine->spec.name, spec->name);
	err = device_resolve(dev, why);
	if (err)
		goto free_device;
	core = core_choose(m, spec->core, why);
	if (!core) {
		err = -errno;
		goto free_device;
	}
	dev->space = memory_space_new(dev->id);
	dev->own = io_group_new(dev->id);
	if (!dev->space || !dev->own) {
		err = why_set(why, -ENOMEM, "out of memory");
		goto free_space;
	}
	err = dev->kind->build(dev, why);
	if (err)
		goto free_space;
	limit_rates(dev);
	err = endpoint_start(&dev->end, core, machine->group, why);
	if (err)
		goto destroy;
	err = endpoint_plug(m, &dev->end, &dev->spec.plug,
			    dev->kind->network ? dev->spec.mac : NULL, why);
	if (err)
		goto stop;
	err = dev->kind->transport->serve(dev, why);
	if (err)
		goto unplug;
	list_add(&machine->devices, &dev->node);
	return 0;

unplug:
	endpoint_unplug(&dev->end);
stop:
	endpoint_stop(&dev->end);
destroy:
	dev->kind->destroy(dev);
free_space:
	io_group_free(dev->own);
	memory_space_free(dev->space);
free_device:
	free(dev);
	return err;
}

static void device_destroy(struct device *dev)
{
	endpoint_unplug(&dev->end);
	endpoint_stop(&dev->end);
	dev->kind->destroy(dev);
	io_group_free(dev->own);
	memory_space_free(dev->space);
	free(dev);
}

/* Takes apart those of the removed that nothing is under way for any more. */
static void look_at_leaving(struct manager *m)
{
	struct device *dev;

	list_for_each(dev, &m->leaving, node)
	{
		struct machine *machine = dev->machine;

		if (!dev->kind->transport->close(dev))
			continue;
		log_info("%s: its last requests have come back; it is gone", dev->id);
		list_del(&dev->node);
		device_destroy(dev);
		machine->leaving--;
		machine_release(machine);
	}
}

static void leave_again(struct loop_timer *timer)
{
	struct manager *m = container_of(timer, struct manager, leave_timer);

	look_at_leaving(m);
	if (!list_empty(&m->leaving))
		loop_timer_set(m->loop, timer, time_now_ns() + LEAVE_LOOK_NS, leave_again);
}

void device_remove(struct device *dev)
{
	struct manager *m = dev->m;

	list_del(&dev->node);
	if (dev->kind->transport->close(dev)) {
		device_destroy(dev);
		return;
	}
	dev->machine->leaving++;
	list_add(&m->leaving, &dev->node);
	loop_timer_set(m->loop, &m->leave_timer, time_now_ns() + LEAVE_LOOK_NS, leave_again);
}

bool devices_leave(struct manager *m)
{
	uint64_t until_ns = time_now_ns() + LEAVE_MAX_NS;
	struct timespec ts = { .tv_nsec = NS_PER_MS };
	struct device *dev;

	loop_timer_cancel(&m->leave_timer);
	for (look_at_leaving(m); !list_empty(&m->leaving) && time_now_ns() < until_ns;
	     look_at_leaving(m))
		nanosleep(&ts, NULL);
	list_for_each(dev, &m->leaving, node)
		log_warning("%s: its storage is stuck, with requests under way", dev->id);
	return list_empty(&m->leaving);
}

void manager_each_leaving(struct manager *m, void (*fn)(void *arg, const char *id), void *arg)
{
	struct device *dev;

	list_for_each(dev, &m->leaving, node) fn(arg, dev->id);
}

static void check_again(struct loop_timer *timer)
{
	devices_check(container_of(timer, struct manager, check_timer));
}

/* The fault itself was contained where it happened, on an I/O core, which cannot close sockets. */
void devices_check(struct manager *m)
{
	struct machine *machine;
	struct device *dev;

	list_for_each(machine, &m->machines, node)
		list_for_each(dev, &machine->devices, node) if (memory_space_failed(dev->space))
			dev->kind->transport->check(dev);
	loop_timer_set(m->loop, &m->check_timer, time_now_ns() + CHECK_NS, check_again);
}

int socket_failed(const struct device *dev, int err, struct why *why)
{
	if (err == -EADDRINUSE)
		return why_set(why, err, "somebody else listens on socket %s, or it is no socket",
			       dev->spec.socket);
	return why_set(why, err, "socket %s cannot be made: %s", dev->spec.socket, strerror(-err));
}

static struct device *device_get(struct manager *m, const char *machine_name, const char *name,
				 struct why *why)
{
	struct machine *machine = find_machine(m, machine_name);
	struct device *dev = machine ? find_device(machine, name) : NULL;

	if (!machine)
		why_set(why, 0, "there is no machine %s", machine_name);
	else if (!dev)
		why_set(why, 0, "machine %s has no device %s", machine_name, name);
	return dev;
}

int manager_device_remove(struct manager *m, const char *machine, const char *name, struct why *why)
{
	struct device *dev = device_get(m, machine, name, why);

	if (!dev)
		return -ENOENT;
	device_remove(dev);
	return 0;
}

int manager_device_disconnect(struct manager *m, const char *machine, const char *name,
			      struct why *why)
{
	struct device *dev = device_get(m, machine, name, why);

	if (!dev)
		return -ENOENT;
	dev->kind->transport->disconnect(dev);
	return 0;
}

const struct device_spec *manager_device(const struct manager *m, const char *machine_name,
					 const char *name)
{
	struct machine *machine = find_machine(m, machine_name);
	struct device *dev = machine ? find_device(machine, name) : NULL;

	return dev ? &dev->spec : NULL;
}

/* ---- changing ---------------------------------------------------------------------------- */

static bool same_identity(const struct device_spec *a, const struct device_spec *b)
{
	return !strcmp(a->kind, b->kind) && !strcmp(a->model, b->model) &&
	       !strcmp(a->socket, b->socket) && a->socket_owner == b->socket_owner &&
	       a->socket_group == b->socket_group && a->socket_mode == b->socket_mode &&
	       !memcmp(a->mac, b->mac, sizeof(a->mac)) && a->trap_doorbells == b->trap_doorbells;
}

int manager_device_set(struct manager *m, const char *machine, const struct device_spec *spec,
		       struct why *why)
{
	struct device *dev = device_get(m, machine, spec->name, why);
	struct core *core = NULL, *from;
	int err;

	if (!dev)
		return -ENOENT;
	if (!same_identity(spec, &dev->spec))
		return why_set(why, -EOPNOTSUPP,
			       "the kind, model, socket and MAC address of %s cannot change while "
			       "it lives",
			       dev->id);
	if (spec->core[0] && strcmp(spec->core, CORE_AUTO)) {
		core = core_choose(m, spec->core, why);
		if (!core)
			return -errno;
	}
	if (!dev->kind->network && spec->link_up != dev->spec.link_up)
		return why_set(why, -EOPNOTSUPP, "%s is no network device and has no link",
			       dev->id);
	if (dev->kind->network) {
		err = plug_check(m, &spec->plug, why);
		if (!err)
			err = address_check(dev, &spec->plug, why);
		if (err)
			return err;
	}
	if (dev->kind->set_check) {
		err = dev->kind->set_check(dev, spec, why);
		if (err)
			return err;
	}
	if (dev->kind->network) {
		err = endpoint_replug(m, &dev->end, &dev->spec.plug, &spec->plug, dev->spec.mac,
				      why);
		if (err)
			return err;
	}
	from = dev->end.core;
	if (core) {
		err = endpoint_move(&dev->end, core, why);
		if (err)
			goto plug_back;
	}
	/* what it cuts off does not come back, so nothing that can fail comes after it */
	if (dev->kind->set) {
		err = dev->kind->set(dev, spec, why);
		if (err)
			goto move_back;
	}
	if (dev->kind->network && spec->link_up != dev->spec.link_up)
		dev->nic->ops->link_set(dev->nic, spec->link_up);
	dev->spec = *spec;
	limit_rates(dev);
	return 0;

move_back:
	if (core)
		endpoint_move(&dev->end, from, NULL);
plug_back:
	if (dev->kind->network)
		endpoint_replug(m, &dev->end, &spec->plug, &dev->spec.plug, dev->spec.mac, NULL);
	return err;
}

int manager_device_link(struct manager *m, const char *machine, const char *name, bool up,
			struct why *why)
{
	struct device *dev = device_get(m, machine, name, why);

	if (!dev)
		return -ENOENT;
	if (!dev->kind->network)
		return why_set(why, -EOPNOTSUPP, "%s is no network device and has no link",
			       dev->id);
	if (up != dev->spec.link_up)
		dev->nic->ops->link_set(dev->nic, up);
	dev->spec.link_up = up;
	return 0;
}

unsigned manager_links_down(struct manager *m)
{
	struct machine *machine;
	struct device *dev;
	unsigned connected = 0;

	list_for_each(machine, &m->machines, node) list_for_each(dev, &machine->devices, node)
	{
		struct device_info info = { .connected = false };

		if (!dev->kind->network || !dev->spec.link_up)
			continue;
		dev->nic->ops->link_set(dev->nic, false);
		dev->spec.link_up = false;
		dev->kind->transport->look(dev, &info);
		connected += info.connected;
	}
	return connected;
}

/* ---- looking ----------------------------------------------------------------------------- */

static void device_look(struct device *dev, struct device_info *info)
{
	struct memory_stats memory;

	memory_space_stats(dev->space, &memory);
	*info = (struct device_info){
		.spec = &dev->spec,
		.machine = dev->machine->spec.name,
		.transport = dev->kind->transport->name,
		.qemu_device = dev->kind->qemu_device,
		.memory_bytes = memory.bytes,
		.memory_regions = memory.regions,
		.memory_failed = memory_space_failed(dev->space),
		.waits_for = dev->kind->waits_for ? dev->kind->waits_for(dev) : NULL,
		.object = dev,
	};
	info->virtio = dev->virtio;
	if (dev->nic)
		info->regs = dev->nic->regs;
	endpoint_look(&dev->end, &info->end);
	dev->kind->transport->look(dev, info);
}

void manager_each_device(struct manager *m, const char *machine_name,
			 void (*fn)(void *arg, const struct device_info *info), void *arg)
{
	struct machine *machine;
	struct device_info info;
	struct device *dev;

	list_for_each(machine, &m->machines, node)
	{
		if (machine_name && strcmp(machine->spec.name, machine_name))
			continue;
		list_for_each(dev, &machine->devices, node)
		{
			device_look(dev, &info);
			fn(arg, &info);
		}
	}
}

struct stat_group {
	manager_stat_fn *stat;
	void *arg;
};

static void model_stat(void *arg, const char *name, uint64_t value)
{
	struct stat_group *group = arg;

	group->stat(group->arg, "device", name, value);
}

struct count {
	const char *name;
	uint64_t value;
};

static void count_stat(void *arg, const char *name, uint64_t value)
{
	struct count *count = arg;

	if (!strcmp(name, count->name))
		count->value = value;
}

uint64_t device_count(const struct device *dev, const char *name)
{
	struct count count = { name, 0 };

	dev->kind->stats(dev, count_stat, &count);
	return count.value;
}

void manager_device_stats(const struct device_info *info, manager_stat_fn *stat, void *arg)
{
	const struct device *dev = info->object;
	struct stat_group group = { stat, arg };
	struct memory_stats memory;

	dev->kind->stats(dev, model_stat, &group);
	dev->kind->transport->stats(dev, stat, arg);
	memory_space_stats(dev->space, &memory);
	stat(arg, "memory", "maps", memory.maps);
	stat(arg, "memory", "unmaps", memory.unmaps);
	stat(arg, "memory", "faults", memory.faults);
}
