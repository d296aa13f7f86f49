/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands of a vfio-user client, one function each, and the table that says what each may
 * look like. Sections are those of QEMU's docs/interop/vfio-user.rst by their titles.
 *
 * Clients treat errors badly after the device has been attached: QEMU's guest reads all ones with a
 * message, cloud-hypervisor waits for ever. So accesses outside a region are answered with all ones
 * and ignored, which is what a bus does.
 */
#include "base/event.h"
#include "base/util.h"
#include "transport/round.h"
#include "transport/vfio_user_session.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- "VFIO_USER_VERSION" ----------------------------------------------------------------- */

/* A number of the client's capabilities; *value is left alone if absent. False: not a number. */
static bool number(json_t *caps, const char *key, uint64_t *value, bool *present)
{
	json_t *v = json_object_get(caps, key);

	if (!v)
		return true;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*value = (uint64_t)json_integer_value(v);
	*present = true;
	return true;
}

/* Only what the client named, and little of it: QEMU takes no reply longer than its request. */
static int negotiate(struct vfio_user_server *s, const char *text, char *out, size_t room)
{
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *caps;
	uint64_t fds = 0, data = VFIO_USER_DATA_MAX, maps = 0, pages = 0;
	bool has_fds = false, has_data = false, has_maps = false, has_pages = false;
	int n = 0, err = EINVAL;

	if (!root)
		return EINVAL;
	caps = json_object_get(root, "capabilities");
	if (!json_is_object(root) || (caps && !json_is_object(caps)))
		goto out;
	if (!number(caps, "max_msg_fds", &fds, &has_fds) ||
	    !number(caps, "max_data_xfer_size", &data, &has_data) ||
	    !number(caps, "max_dma_maps", &maps, &has_maps) ||
	    !number(caps, "pgsizes", &pages, &has_pages))
		goto out;
	err = 0;
	s->client_data_max = (uint32_t)MIN(data, (uint64_t)VFIO_USER_DATA_MAX);
	n = snprintf(out, room, "{\"capabilities\":{");
	if (has_fds)
		n += snprintf(out + n, room - (size_t)n, "\"max_msg_fds\":%u,", VFIO_USER_FDS_MAX);
	if (has_data)
		n += snprintf(out + n, room - (size_t)n, "\"max_data_xfer_size\":%u,",
			      s->client_data_max);
	if (has_maps)
		n += snprintf(out + n, room - (size_t)n, "\"max_dma_maps\":%u,",
			      MEMORY_REGIONS_MAX);
	if (has_pages)
		n += snprintf(out + n, room - (size_t)n, "\"pgsizes\":4096,");
	if (json_is_true(json_object_get(caps, "write_multiple")))
		n += snprintf(out + n, room - (size_t)n, "\"write_multiple\":true,");
	if (out[n - 1] == ',')
		n--;
	snprintf(out + n, room - (size_t)n, "}}");
out:
	json_decref(root);
	return err;
}

static int version(struct vfio_user_server *s, struct vfio_user_message *m)
{
	struct {
		uint16_t major, minor;
		char json[192];
	} reply = { 0, 0, "" };
	size_t len = 4;

	if (s->negotiated)
		return -EPROTO;
	if (load_le16(m->body) != 0)
		return ENOTSUP;
	if (m->len > 4) {
		int err;

		if (m->body[m->len - 1])
			return EINVAL;
		err = negotiate(s, (const char *)m->body + 4, reply.json, sizeof(reply.json));
		if (err)
			return err;
		len += strlen(reply.json) + 1;
	}
	s->negotiated = true;
	vfio_user_reply(s, m, &reply, len, -1);
	return 0;
}

/* ---- "VFIO_USER_DMA_MAP", "VFIO_USER_DMA_UNMAP" ------------------------------------------ */

static int dma_map(struct vfio_user_server *s, struct vfio_user_message *m)
{
	struct vfio_user_dma_map map;
	unsigned access = MEMORY_READ;
	int err;

	memcpy(&map, m->body, sizeof(map));
	s->stats.dma_maps++;
	if (map.argsz < sizeof(map) || !(map.flags & 3))
		return EINVAL;
	if (map.flags & VFIO_DMA_MAP_FLAG_WRITE)
		access |= MEMORY_WRITE;
	err = memory_space_map(s->space, map.addr, map.size, access, m->n_fds ? m->fds[0] : -1,
			       map.offset);
	if (err && m->n_fds && !memory_is_file(m->fds[0]))
		log_limited(&s->limit, LOG_LEVEL_WARNING,
			    "%s: memory must be a memfd, or a file of tmpfs or hugetlbfs",
			    pci_function_name(s->f));
	else if (err == -ENOSPC)
		log_limited(&s->limit, LOG_LEVEL_WARNING, "%s: %s", pci_function_name(s->f),
			    memory_no_space);
	if (err)
		return -err;
	if (!m->n_fds)
		vfio_user_dma_begin(s);
	pci_memory_changed(s->f);
	vfio_user_reply(s, m, NULL, 0, -1);
	return 0;
}

/* Clients unmap ranges that match no mapping, and wider ones than they mapped: remove what lies
 * inside, which may be nothing. A range that cuts a mapping removes nothing, as with the kernel's
 * vfio. Nobody may ask for dirty pages: no migration is offered. */
static int dma_unmap(struct vfio_user_server *s, struct vfio_user_message *m)
{
	struct vfio_user_dma_unmap unmap;
	bool all;

	memcpy(&unmap, m->body, sizeof(unmap));
	s->stats.dma_unmaps++;
	all = unmap.flags & VFIO_DMA_UNMAP_FLAG_ALL;
	if (unmap.argsz < sizeof(unmap) || (!unmap.size && !all) ||
	    (all && (unmap.addr || unmap.size)) ||
	    unmap.flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP ||
	    memory_space_cuts(s->space, unmap.addr, unmap.size))
		return EINVAL;
	if (memory_space_unmap(s->space, unmap.addr, unmap.size))
		pci_memory_changed(s->f);
	vfio_user_reply(s, m, &unmap, sizeof(unmap), -1);
	return 0;
}

/* ---- "VFIO_USER_DEVICE_GET_INFO" and region and interrupt information --------------------- */

static int get_info(struct vfio_user_server *s, struct vfio_user_message *m)
{
	const uint32_t info[4] = { 16, VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
				   VFIO_USER_REGIONS, VFIO_USER_IRQS };

	if (load_le32(m->body) < sizeof(info))
		return EINVAL;
	vfio_user_reply(s, m, info, sizeof(info), -1);
	return 0;
}

static int get_region_info(struct vfio_user_server *s, struct vfio_user_message *m)
{
	struct {
		struct vfio_region_info info;
		struct vfio_info_cap_header cap;
		uint32_t n_areas, reserved;
		struct vfio_region_sparse_mmap_area areas[PCI_SHARED_AREAS];
	} r = { 0 };
	const struct pci_bar *bar = NULL;
	size_t len = sizeof(r.info);
	uint32_t argsz = load_le32(m->body);

	r.info.index = load_le32(m->body + 8);
	if (argsz < sizeof(r.info) || r.info.index >= VFIO_USER_REGIONS)
		return EINVAL;
	if (r.info.index < PCI_BARS)
		bar = pci_bar_get(s->f, r.info.index);
	if (bar && bar->kind != PCI_BAR_NONE) {
		r.info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
		r.info.size = bar->size;
	} else if (r.info.index == VFIO_PCI_CONFIG_REGION_INDEX) {
		r.info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
		r.info.size = pci_config_size(s->f);
	}
	if (bar && bar->n_shared) {
		r.info.flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
		/* also in the short reply: QEMU 11.1 refuses the flag with an offset of 0 */
		r.info.cap_offset = sizeof(r.info);
		r.cap.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
		r.cap.version = 1;
		r.n_areas = bar->n_shared;
		for (unsigned i = 0; i < bar->n_shared; i++) {
			r.areas[i].offset = bar->shared[i].offset;
			r.areas[i].size = bar->shared[i].size;
		}
		len = offsetof(__typeof__(r), areas) + bar->n_shared * sizeof(r.areas[0]);
	}
	r.info.argsz = (uint32_t)len;
	/* too little room: the fixed part says how much is needed, and the client asks again */
	if (argsz < len) {
		vfio_user_reply(s, m, &r, sizeof(r.info), -1);
		return 0;
	}
	vfio_user_reply(s, m, &r, len, len > sizeof(r.info) ? bar->fd : -1);
	return 0;
}

static int get_region_io_fds(struct vfio_user_server *s, struct vfio_user_message *m)
{
	const uint32_t reply[4] = { 16, 0, load_le32(m->body + 8), 0 };

	if (load_le32(m->body) < sizeof(reply) || reply[2] >= VFIO_USER_REGIONS)
		return EINVAL;
	vfio_user_reply(s, m, reply, sizeof(reply), -1);
	return 0;
}

static int get_irq_info(struct vfio_user_server *s, struct vfio_user_message *m)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = load_le32(m->body + 8) };

	if (load_le32(m->body) < sizeof(info) || info.index >= VFIO_USER_IRQS)
		return EINVAL;
	info.count = pci_irq_count(s->f, info.index);
	if (info.count)
		info.flags = VFIO_IRQ_INFO_EVENTFD;
	if (info.count && info.index == PCI_IRQ_INTX)
		info.flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
	vfio_user_reply(s, m, &info, sizeof(info), -1);
	return 0;
}

/* ---- "VFIO_USER_DEVICE_SET_IRQS" --------------------------------------------------------- */

static int set_eventfds(struct vfio_user_server *s, struct vfio_user_message *m,
			const struct vfio_irq_set *set, uint32_t action)
{
	int err = 0;

	if (action == VFIO_IRQ_SET_ACTION_UNMASK) {
		if (set->index != PCI_IRQ_INTX || set->start || set->count != 1 || m->n_fds > 1)
			return EINVAL;
		if (!m->n_fds) {
			vfio_user_watch_resample(s, -1);
			return 0;
		}
		/* anything else could make the control thread wait, or never rest */
		if (!event_fd_is(m->fds[0]))
			return EINVAL;
		err = -vfio_user_watch_resample(s, m->fds[0]);
		if (!err)
			m->fds[0] = -1; /* taken over */
		return err;
	}
	if (action != VFIO_IRQ_SET_ACTION_TRIGGER || (m->n_fds && m->n_fds != set->count))
		return EINVAL;
	err = -pci_irq_set(s->f, set->index, set->start, set->count, m->n_fds ? m->fds : NULL);
	for (unsigned i = 0; !err && i < m->n_fds; i++)
		m->fds[i] = -1; /* taken over */
	/* without descriptors: on, with no vector yet, or vectors taken away */
	if (!err && !m->n_fds && set->count)
		err = -pci_irq_enable(s->f, set->index);
	return err;
}

/* For each of the range, or for those whose byte is set. */
static int act(struct vfio_user_server *s, const struct vfio_irq_set *set, uint32_t action,
	       const uint8_t *bytes)
{
	for (uint32_t i = 0; i < set->count; i++) {
		int err = 0;

		if (bytes && !bytes[i])
			continue;
		if (action == VFIO_IRQ_SET_ACTION_TRIGGER)
			err = pci_irq_fire(s->f, set->index, set->start + i, 1);
		else
			err = pci_irq_mask(s->f, set->index, set->start + i, 1,
					   action == VFIO_IRQ_SET_ACTION_MASK);
		if (err)
			return -err;
	}
	return 0;
}

static int set_irqs(struct vfio_user_server *s, struct vfio_user_message *m)
{
	struct vfio_irq_set set;
	uint32_t data, action, n;
	int err;

	memcpy(&set, m->body, sizeof(set));
	s->stats.set_irqs++;
	data = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	if (set.index >= VFIO_USER_IRQS || !is_power_of_two(data) || !is_power_of_two(action))
		return EINVAL;
	n = pci_irq_count(s->f, set.index);
	if (data == VFIO_IRQ_SET_DATA_NONE && action == VFIO_IRQ_SET_ACTION_TRIGGER && !set.count) {
		err = -pci_irq_disable(s->f, set.index);
		if (!err && set.index == PCI_IRQ_INTX)
			vfio_user_watch_resample(s, -1);
	} else if (set.start > n || set.count > n - set.start) {
		err = EINVAL;
	} else if (data == VFIO_IRQ_SET_DATA_EVENTFD) {
		err = set_eventfds(s, m, &set, action);
	} else if (data == VFIO_IRQ_SET_DATA_BOOL && m->len - sizeof(set) < set.count) {
		err = EINVAL;
	} else {
		err = act(s, &set, action,
			  data == VFIO_IRQ_SET_DATA_BOOL ? m->body + sizeof(set) : NULL);
	}
	if (!err)
		vfio_user_reply(s, m, NULL, 0, -1);
	return err;
}

/* ---- "VFIO_USER_REGION_READ", "VFIO_USER_REGION_WRITE", "VFIO_USER_REGION_WRITE_MULTI" ----- */

static void region_read(struct vfio_user_server *s, uint32_t region, uint64_t offset, void *buf,
			size_t len)
{
	int err = -EINVAL;

	if (region < PCI_BARS)
		err = pci_bar_read(s->f, region, offset, buf, len);
	else if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		err = pci_config_read(s->f, offset, buf, len);
	if (err)
		memset(buf, 0xff, len);
}

static void region_write(struct vfio_user_server *s, uint32_t region, uint64_t offset,
			 const void *buf, size_t len)
{
	if (region < PCI_BARS)
		pci_bar_write(s->f, region, offset, buf, len);
	else if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		pci_config_write(s->f, offset, buf, len);
}

static int read_region(struct vfio_user_server *s, struct vfio_user_message *m)
{
	struct vfio_user_region_access access;
	uint8_t small[sizeof(access) + 64], *reply = small;

	memcpy(&access, m->body, sizeof(access));
	s->stats.region_reads++;
	if (access.count > s->client_data_max)
		return EINVAL;
	if (access.count > 64) {
		reply = malloc(sizeof(access) + access.count);
		if (!reply)
			return ENOMEM;
	}
	memcpy(reply, &access, sizeof(access));
	region_read(s, access.region, access.offset, reply + sizeof(access), access.count);
	vfio_user_reply(s, m, reply, sizeof(access) + access.count, -1);
	if (reply != small)
		free(reply);
	return 0;
}

static int write_region(struct vfio_user_server *s, struct vfio_user_message *m)
{
	struct vfio_user_region_access access;

	memcpy(&access, m->body, sizeof(access));
	s->stats.region_writes++;
	if (m->header.flags & VFIO_USER_NO_REPLY)
		s->stats.posted_writes++;
	if (access.count != m->len - sizeof(access))
		return -EPROTO;
	region_write(s, access.region, access.offset, m->body + sizeof(access), access.count);
	vfio_user_reply(s, m, &access, sizeof(access), -1);
	return 0;
}

/* Records between two looks at the clock. */
#define MULTI_UNTIMED 4

/* What a register does may take long, so all of them may take more than one round. */
static int write_multi(struct vfio_user_server *s, struct vfio_user_message *m)
{
	uint64_t n = load_le64(m->body);

	if (n > m->len / sizeof(struct vfio_user_write_multi) ||
	    m->len - 8 != n * sizeof(struct vfio_user_write_multi))
		return -EPROTO;
	for (uint64_t i = s->multi_done; i < n; i++) {
		struct vfio_user_write_multi write;

		if (i % MULTI_UNTIMED == 0 && i > s->multi_done &&
		    client_round_over(&s->round_until_ns)) {
			s->multi_done = i;
			return -EAGAIN;
		}
		memcpy(&write, m->body + 8 + i * sizeof(write), sizeof(write));
		if (write.count > sizeof(write.data))
			return -EPROTO;
		s->stats.write_multi++;
		region_write(s, write.region, write.offset, write.data, write.count);
	}
	s->multi_done = 0;
	vfio_user_reply(s, m, &n, sizeof(n), -1);
	return 0;
}

/* ---- the rest ---------------------------------------------------------------------------- */

static int reset(struct vfio_user_server *s, struct vfio_user_message *m)
{
	s->stats.resets++;
	pci_function_reset(s->f, PCI_RESET_FUNCTION);
	vfio_user_reply(s, m, NULL, 0, -1);
	return 0;
}

/* No migration and no dirty tracking: as the kernel's vfio says of a feature it has not. */
static int feature(struct vfio_user_server *s, struct vfio_user_message *m)
{
	return ENOTTY;
}

static int unsupported(struct vfio_user_server *s, struct vfio_user_message *m)
{
	return EOPNOTSUPP;
}

static const struct command {
	const char *name;
	int (*run)(struct vfio_user_server *s, struct vfio_user_message *m);
	size_t min, max; /* of the body */
	unsigned fds;	 /* most */
} commands[] = {
	[VFIO_USER_VERSION] = { "VERSION", version, 4, VFIO_USER_VERSION_MAX, 0 },
	[VFIO_USER_DMA_MAP] = { "DMA_MAP", dma_map, 32, 32, 1 },
	[VFIO_USER_DMA_UNMAP] = { "DMA_UNMAP", dma_unmap, 24, 4096, 0 },
	[VFIO_USER_DEVICE_GET_INFO] = { "DEVICE_GET_INFO", get_info, 16, 4096, 0 },
	[VFIO_USER_DEVICE_GET_REGION_INFO] = { "DEVICE_GET_REGION_INFO", get_region_info, 32, 4096,
					       0 },
	[VFIO_USER_DEVICE_GET_REGION_IO_FDS] = { "DEVICE_GET_REGION_IO_FDS", get_region_io_fds, 16,
						 4096, 0 },
	[VFIO_USER_DEVICE_GET_IRQ_INFO] = { "DEVICE_GET_IRQ_INFO", get_irq_info, 16, 4096, 0 },
	[VFIO_USER_DEVICE_SET_IRQS] = { "DEVICE_SET_IRQS", set_irqs, 20, 4096, VFIO_USER_FDS_MAX },
	[VFIO_USER_REGION_READ] = { "REGION_READ", read_region, 16, 16, 0 },
	[VFIO_USER_REGION_WRITE] = { "REGION_WRITE", write_region, 16, 16 + VFIO_USER_DATA_MAX, 0 },
	[VFIO_USER_DEVICE_RESET] = { "DEVICE_RESET", reset, 0, 0, 0 },
	[VFIO_USER_REGION_WRITE_MULTI] = { "REGION_WRITE_MULTI", write_multi, 8,
					   8 + VFIO_USER_MULTI_MAX *
							   sizeof(struct vfio_user_write_multi),
					   0 },
	[VFIO_USER_DEVICE_FEATURE] = { "DEVICE_FEATURE", feature, 8, VFIO_USER_DATA_MAX, 0 },
	[VFIO_USER_MIG_DATA_READ] = { "MIG_DATA_READ", unsupported, 8, 8, 0 },
	[VFIO_USER_MIG_DATA_WRITE] = { "MIG_DATA_WRITE", unsupported, 8, VFIO_USER_DATA_MAX + 8,
				       0 },
};

const char *vfio_user_command_name(uint16_t command)
{
	return command < ARRAY_SIZE(commands) && commands[command].name ? commands[command].name
									: "an unknown command";
}

int vfio_user_command(struct vfio_user_server *s, struct vfio_user_message *m)
{
	const struct command *c;

	if (!s->negotiated && m->header.command != VFIO_USER_VERSION)
		return -EPROTO;
	if (m->header.command >= ARRAY_SIZE(commands) || !commands[m->header.command].run)
		return ENOSYS;
	c = &commands[m->header.command];
	if (m->len < c->min || m->len > c->max || m->n_fds > c->fds)
		return -EPROTO;
	return c->run(s, m);
}
