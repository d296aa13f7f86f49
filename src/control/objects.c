/* SPDX-License-Identifier: BSD-2-Clause */
/* The schemas. To give an object another key: a field in manager/spec.h, and a row here. */
#include "control/objects.h"

#include "base/clock.h"
#include "base/util.h"
#include "manager/manager.h"
#include "sandbox/sandbox.h"

#define US	 .scale = NS_PER_US
#define FIELD(f) .offset = offsetof(struct SPEC, f), .size = sizeof(((struct SPEC *)0)->f)
#define ELEMENTS(f, n)                                                                             \
	.offset = offsetof(struct SPEC, f), .size = sizeof(((struct SPEC *)0)->f[0]),              \
	.count_max = ARRAY_SIZE(((struct SPEC *)0)->f), .count_offset = offsetof(struct SPEC, n)

/* More would be a mistake of whoever generates it. */
#define OBJECTS .count_max = 4096

static const char *const *log_levels(void)
{
	static const char *const levels[] = { "error", "warning", "info", "debug", NULL };

	return levels;
}

/* ---- control ---------------------------------------------------------------------------- */

#define SPEC control_spec
static const struct schema_row control_rows[] = {
	{ "socket", SCHEMA_TEXT, FIELD(socket), .unset = "\"" CONTROL_SOCKET "\"",
	  .help = "Where the `exitless` command finds the daemon." },
	{ "owner", SCHEMA_USER, FIELD(owner), .unset_help = "the daemon's user",
	  .help = "Owner of that socket." },
	{ "group", SCHEMA_GROUP, FIELD(group), .unset_help = "the daemon's group",
	  .help = "Group of that socket. Who may connect to it may do everything." },
	{ "mode", SCHEMA_MODE, FIELD(mode), .unset = "\"0660\"", .help = "Its mode." },
	{ "directory", SCHEMA_TEXT, FIELD(directory), .unset = "\"" CONTROL_DIRECTORY "\"",
	  .help = "Where devices have their sockets if they do not say; made when missing, with "
		  "mode 0755 whatever the umask. One that is there keeps its mode." },
	{ "stop_wait_us", SCHEMA_UINT, FIELD(stop_wait_ns), US, .max = 10000000, .unset = "200000",
	  .help = "At SIGTERM all links go down; connected guests get this time to see it." },
	{ "allow_tap", SCHEMA_BOOL, FIELD(allow_tap), .unset = "true",
	  .help = "Keeps the capabilities that adding `tap` ports at run time needs, if the daemon "
		  "has them. If false they are given up at start, unless the file has a `tap` "
		  "port." },
};
#undef SPEC

const struct schema control_schema = {
	.name = "control",
	.help = "The control socket, and what concerns the daemon as a whole.",
	.rows = control_rows,
	.n_rows = ARRAY_SIZE(control_rows),
	.size = sizeof(struct control_spec),
};

/* ---- sandbox ---------------------------------------------------------------------------- */

static const char *const *calls_modes(void)
{
	static const char *const modes[] = {
		[SANDBOX_CALLS_OFF] = "off",
		[SANDBOX_CALLS_REFUSE] = "refuse",
		[SANDBOX_CALLS_KILL] = "kill",
		NULL,
	};

	return modes;
}

#define SPEC sandbox_spec
static const struct schema_row sandbox_rows[] = {
	{ "files", SCHEMA_WORD, FIELD(files), .words = { "off", "on" }, .unset = "\"on\"",
	  .help = "The daemon can open only what this file names (images, captures, the folders "
		  "of sockets, this file's own folder, `/dev/net/tun`), by the kernel's Landlock; "
		  "where the kernel has none, it says so in its log and goes on." },
	{ "calls", SCHEMA_INDEX, FIELD(calls), .choices = calls_modes, .unset = "\"refuse\"",
	  .help = "A system call that serving does not need: `refuse` it (it fails, and the "
		  "kernel's audit log says so), or `kill` the daemon." },
	{ "paths", SCHEMA_TEXTS, ELEMENTS(paths, n_paths), .unset = "[\"/var/lib/exitless\"]",
	  .help = "Folders and files for objects that are added at run time: images, captures, "
		  "sockets. What is not there at the start does not count." },
};
#undef SPEC

const struct schema sandbox_schema = {
	.name = "sandbox",
	.help = "What the daemon gives up before it serves; for good, so that only a new start "
		"changes it. `exitless status` shows what is in force.",
	.rows = sandbox_rows,
	.n_rows = ARRAY_SIZE(sandbox_rows),
	.size = sizeof(struct sandbox_spec),
};

/* ---- cores ------------------------------------------------------------------------------ */

#define SPEC core_spec
static const struct schema_row core_rows[] = {
	{ "name", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(name), .help = "The core's name." },
	{ "cpu", SCHEMA_INT, FIELD(params.cpu), .min = -1, .max = 4095, .unset = "-1",
	  .help = "The host's CPU to stay on; -1 for any." },
	{ "turn_packets", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(params.turn_packets), .min = 1,
	  .max = 4096, .unset = "64", .help = "Packets that one queue may move in one turn." },
	{ "turn_bytes", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(params.turn_bytes), .min = 1514,
	  .max = 16 << 20, .unset = "262144",
	  .help = "Bytes that one queue may move in one turn." },
	{ "park_after_us", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(params.park_after_ns), US, .min = 1,
	  .max = 10000000, .unset = "50",
	  .help = "A queue that had nothing to do for this long is parked." },
	{ "park_look_us", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(params.park_look_ns), US, .min = 1,
	  .max = 1000000, .unset = "5",
	  .help = "While awake the core looks at some parked doorbells in shared memory this "
		  "often, in turn." },
	{ "wake_bound_us", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(params.wake_bound_ns), US, .min = 10,
	  .max = 1000000, .unset = "4000",
	  .help = "Awake or asleep it looks at each of them at least this often: the longest that "
		  "a first packet after idleness waits." },
	{ "quantum_us", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(params.quantum_ns), US, .min = 1,
	  .max = 100000, .unset = "20",
	  .help = "What a busy machine gets of a round at weight 1, in time." },
	{ "slice_us", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(params.slice_ns), US, .min = 1,
	  .max = 100000, .unset = "1",
	  .help = "While small backlogs come in beside large ones, what a large one gets at a "
		  "time: about as long as a small one waits." },
	{ "round_robin", SCHEMA_BOOL, SCHEMA_RUNTIME, FIELD(params.round_robin), .unset = "false",
	  .help = "Polls all queues in turn, without weights, shares or small backlogs first: to "
		  "see what the scheduler does, by comparison." },
};
#undef SPEC

const struct schema core_schema = {
	.name = "core",
	.help = "A thread that polls queues. A configuration without cores gets one, `io0`, on any "
		"CPU.",
	.rows = core_rows,
	.n_rows = ARRAY_SIZE(core_rows),
	.size = sizeof(struct core_spec),
};

/* ---- balance ---------------------------------------------------------------------------- */

static const char *const *balance_modes(void)
{
	static const char *const modes[] = {
		[BALANCE_OFF] = "off",
		[BALANCE_DRY_RUN] = "dry_run",
		[BALANCE_ON] = "on",
		NULL,
	};

	return modes;
}

#define SPEC balance_spec
static const struct schema_row balance_rows[] = {
	{ "mode", SCHEMA_INDEX, SCHEMA_RUNTIME, FIELD(mode), .choices = balance_modes,
	  .unset = "\"off\"", .help = "`dry_run` decides and counts, and moves nothing." },
	{ "interval_us", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(interval_ns), US, .min = 10000,
	  .max = 3600000000ll, .unset = "1000000", .help = "Time between two looks." },
	{ "high_percent", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(high_percent), .min = 1, .max = 100,
	  .unset = "80", .help = "A core that is less busy gives nothing away." },
	{ "gain_percent", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(gain_percent), .min = 1, .max = 100,
	  .unset = "10",
	  .help = "By how much of a core a move must relieve the busier of the two." },
	{ "hold_us", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(hold_ns), US, .max = 3600000000ll,
	  .unset = "10000000", .help = "Who was moved stays for this long." },
};
#undef SPEC

const struct schema balance_schema = {
	.name = "balance",
	.help = "Devices and ports move between cores by measured load: from a core that is nearly "
		"full to the least busy one, when two looks running say so. Those whose `core` names "
		"one stay; those with `auto`, or none, may move. `exitless balance` shows and changes "
		"it.",
	.rows = balance_rows,
	.n_rows = ARRAY_SIZE(balance_rows),
	.size = sizeof(struct balance_spec),
};

/* ---- switches --------------------------------------------------------------------------- */

#define SPEC switch_spec
static const struct schema_row switch_rows[] = {
	{ "name", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(name), .help = "The switch's name." },
	{ "vlan_aware", SCHEMA_BOOL, SCHEMA_RUNTIME, FIELD(vlan_aware), .unset = "false",
	  .help = "Whether it knows VLANs. If not, tags pass as they are, and it has no trunks. A "
		  "change makes it forget what it learned." },
	{ "addresses_max", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(addresses_max), .min = 16,
	  .max = 65536, .unset = "4096",
	  .help = "Addresses that it learns in all. When it becomes less, what there is no room "
		  "for is forgotten." },
	{ "port_addresses_max", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(port_addresses_max), .min = 1,
	  .max = 65535, .unset = "256", .help = "Addresses that it learns on one port." },
	{ "age_s", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(age_ns), .scale = NS_PER_S, .min = 1,
	  .max = 86400, .unset = "300",
	  .help = "A learned address that was silent for this long is forgotten." },
};
#undef SPEC

const struct schema switch_schema = {
	.name = "switch",
	.help = "A learning switch.",
	.rows = switch_rows,
	.n_rows = ARRAY_SIZE(switch_rows),
	.size = sizeof(struct switch_spec),
};

/* ---- host ports ------------------------------------------------------------------------- */

/* How anything is plugged in; the same keys for ports and devices. */
/* clang-format off */
#define PLUG_ROWS(kinds)                                                                           \
	{ "switch", SCHEMA_NAME, SCHEMA_RUNTIME, FIELD(plug.sw), .only = kinds,                    \
	  .unset_help = "not plugged in", .help = "The switch that it is plugged into." },         \
	{ "isolated", SCHEMA_BOOL, SCHEMA_RUNTIME, FIELD(plug.isolated), .only = kinds,            \
	  .unset = "false",                                                                        \
	  .help = "Exchanges nothing with other isolated ports of the switch." },                  \
	{ "trunk", SCHEMA_BOOL, SCHEMA_RUNTIME, FIELD(plug.trunk), .only = kinds,                  \
	  .unset = "false",                                                                        \
	  .help = "In a VLAN-aware switch: frames carry their VLAN's tag here." },                 \
	{ "pvid", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(plug.pvid), .only = kinds, .max = 4094,       \
	  .unset = "1", .help = "VLAN of frames without a tag; 0 on a trunk refuses them." },      \
	{ "vids", SCHEMA_UINTS, SCHEMA_RUNTIME, ELEMENTS(plug.vids, plug.n_vids), .only = kinds,   \
	  .min = 1, .max = 4094, .unset_help = "all",                                              \
	  .help = "VLANs that may pass on a trunk." }
/* clang-format on */

#define SPEC port_spec
static const struct schema_row port_rows[] = {
	{ "name", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(name), .help = "The port's name." },
	{ "kind", SCHEMA_CHOICE, SCHEMA_REQUIRED, FIELD(kind), .choices = manager_port_kinds,
	  .help = "What is on the host's side: a `tap` interface, a `user`-mode network (no "
		  "privileges needed), `pcap` files, or nothing." },
	{ "core", SCHEMA_NAME, SCHEMA_RUNTIME, FIELD(core),
	  .unset_help = "`auto`: the least loaded", .help = "The core that polls it." },
	PLUG_ROWS(NULL),
	{ "ifname", SCHEMA_TEXT, FIELD(ifname), .only = "tap", .unset_help = "the kernel's choice",
	  .help = "Name of the interface; made when missing." },
	{ "netns", SCHEMA_TEXT, FIELD(netns), .only = "tap", .unset_help = "the daemon's own",
	  .help = "Path of the network namespace that the interface is in." },
	{ "queues", SCHEMA_UINT, FIELD(queues), .only = "tap", .min = 1, .max = 16, .unset = "1",
	  .help = "Queue pairs of the interface." },
	{ "capture_file", SCHEMA_TEXT, FIELD(capture_file), .only = "pcap", .unset_help = "none",
	  .help = "What comes out of the switch is written here." },
	{ "replay_file", SCHEMA_TEXT, FIELD(replay_file), .only = "pcap", .unset_help = "none",
	  .help = "What is in here goes into the switch." },
	{ "replay_speed", SCHEMA_REAL, FIELD(replay_speed), .only = "pcap", .max = 1000,
	  .unset = "1.0", .help = "1: as recorded, 2: twice as fast, 0: as fast as it goes." },
	{ "replay_loops", SCHEMA_UINT, FIELD(replay_loops), .only = "pcap", .min = 1,
	  .max = 1000000000, .unset = "1", .help = "How often it is replayed." },
	{ "ipv4_net", SCHEMA_TEXT, FIELD(ipv4_net), .only = "user",
	  .unset_help = "`\"10.0.2.0/24\"`",
	  .help = "The guests' network; the gateway is its host 2, the name server its host 3." },
	{ "ipv6_net", SCHEMA_TEXT, FIELD(ipv6_net), .only = "user", .unset_help = "no IPv6",
	  .help = "The guests' IPv6 network, like `\"fd00:1:2:3::/64\"`: they make their addresses "
		  "of it; gateway and name server as with IPv4. The outside is reached as far as "
		  "the host has IPv6." },
	{ "restrict_outside", SCHEMA_BOOL, FIELD(restrict_outside), .only = "user",
	  .unset = "false", .help = "Nothing but the built-in gateway and name server." },
	{ "forwards", SCHEMA_TEXTS, ELEMENTS(forwards, n_forwards), .only = "user",
	  .unset_help = "none",
	  .help = "Ports of the host that lead to a guest, like "
		  "`\"tcp:127.0.0.1:2222-10.0.2.15:22\"`." },
	{ "tftp_directory", SCHEMA_TEXT, FIELD(tftp_directory), .only = "user",
	  .unset_help = "no TFTP",
	  .help = "The gateway serves the files in it by TFTP; guests can read all of them." },
	{ "boot_file", SCHEMA_TEXT, FIELD(boot_file), .only = "user", .unset_help = "none",
	  .help = "What DHCP names to guests that boot from the network: a file in "
		  "`tftp_directory`, or a URL for firmware that takes one." },
};
#undef SPEC

const struct schema port_schema = {
	.name = "port",
	.help = "A way out of a switch to what the host has.",
	.rows = port_rows,
	.n_rows = ARRAY_SIZE(port_rows),
	.size = sizeof(struct port_spec),
	.kind_offset = offsetof(struct port_spec, kind),
};

/* ---- machines and devices --------------------------------------------------------------- */

#define NETWORK "nic,virtio-net"
#define VIRTIO	"virtio-net,virtio-blk"

#define SPEC device_spec
static const struct schema_row device_rows[] = {
	{ "name", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(name),
	  .help = "The device's name in its machine." },
	{ "kind", SCHEMA_CHOICE, FIELD(kind), .choices = manager_device_kinds, .unset = "\"nic\"",
	  .help = "What it is: `nic` is an emulated network chip over vfio-user, "
		  "`virtio-net` a paravirtual one over vhost-user, `virtio-blk` a paravirtual "
		  "disk." },
	{ "model", SCHEMA_TEXT, FIELD(model), .unset_help = "the kind's first",
	  .help = "Which one: `82574L` (PCI Express, MSI-X) or `82540EM` (PCI, INTx) "
		  "for a `nic`; a disk's storage: `file`, `malloc` (memory that is lost with the "
		  "daemon) or `null` (nothing is kept)." },
	{ "mac", SCHEMA_MAC, FIELD(mac), .only = NETWORK,
	  .unset_help = "made of the names, always the same", .help = "Its MAC address." },
	{ "link", SCHEMA_WORD, SCHEMA_RUNTIME, FIELD(link_up), .only = NETWORK,
	  .words = { "down", "up" }, .unset = "\"up\"", .help = "Whether the guest sees a link." },
	{ "core", SCHEMA_NAME, SCHEMA_RUNTIME, FIELD(core),
	  .unset_help = "`auto`: the least loaded", .help = "The core that polls it." },
	PLUG_ROWS(NETWORK),
	{ "check_source", SCHEMA_BOOL, SCHEMA_RUNTIME, FIELD(plug.check_source), .only = NETWORK,
	  .unset = "false", .help = "Frames from another address than `mac` are dropped." },
	{ "max_packets_per_s", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(max_packets_per_s),
	  .max = 1000000000000ll, .unset = "0",
	  .help = "Packets that its guest may send, or I/O operations, per second; 0: no limit but "
		  "the machine's." },
	{ "max_bytes_per_s", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(max_bytes_per_s),
	  .max = 1000000000000ll, .unset = "0", .help = "The same in bytes per second." },
	{ "max_rate_bps", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(max_rate_bps), .only = "nic",
	  .max = 1000000000000ll, .unset = "0",
	  .help = "Bits per second that its guest may send; 0 for no limit." },
	{ "socket", SCHEMA_TEXT, FIELD(socket), .unset_help = "`DIRECTORY/MACHINE-NAME.sock`",
	  .help = "Where its VMM connects." },
	{ "socket_owner", SCHEMA_USER, FIELD(socket_owner), .unset_help = "the daemon's user",
	  .help = "Owner of that socket." },
	{ "socket_group", SCHEMA_GROUP, FIELD(socket_group), .unset_help = "the daemon's group",
	  .help = "Group of that socket." },
	{ "socket_mode", SCHEMA_MODE, FIELD(socket_mode), .unset = "\"0660\"",
	  .help = "Its mode." },
	{ "trap_doorbells", SCHEMA_BOOL, FIELD(trap_doorbells), .only = "nic", .unset = "false",
	  .help = "For diagnosis: ring pointers are not in shared memory, so each write of one "
		  "leaves the guest." },
	{ "queues", SCHEMA_UINT, FIELD(queues), .only = VIRTIO, .max = 16, .unset = "1",
	  .help = "How many queues it offers; pairs, for `virtio-net`." },
	{ "vmm_listens", SCHEMA_BOOL, FIELD(vmm_listens), .only = VIRTIO, .unset = "false",
	  .help = "The VMM makes the socket, and the daemon connects to it." },
	{ "file", SCHEMA_TEXT, FIELD(file), .only = "virtio-blk",
	  .help = "The image or block device, for the model `file`." },
	{ "size_bytes", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(size_bytes), .only = "virtio-blk",
	  .max = INT64_MAX / 2, .unset_help = "the file's",
	  .help = "The size, a multiple of 512. Set again (or to another value) while the "
		  "guest runs, it is told." },
	{ "block_bytes", SCHEMA_UINT, FIELD(block_bytes), .only = "virtio-blk", .max = 4096,
	  .unset = "512", .help = "The block size that the guest sees, 512 or 4096." },
	{ "read_only", SCHEMA_BOOL, FIELD(read_only), .only = "virtio-blk", .unset = "false",
	  .help = "The guest cannot write." },
	{ "cached", SCHEMA_BOOL, FIELD(cached), .only = "virtio-blk", .unset = "false",
	  .help = "Through the host's page cache even where the file could be read past "
		  "it." },
	{ "shared", SCHEMA_BOOL, FIELD(shared), .only = "virtio-blk", .unset = "false",
	  .help = "Another daemon may have the image too, as for live migration: it is locked only "
		  "while a VMM uses it." },
	{ "pin_memory", SCHEMA_BOOL, FIELD(pin_memory), .only = "virtio-blk", .unset = "false",
	  .help = "Keep guest memory that requests use in place, which makes them cheaper. Not with "
		  "a balloon, free page reporting, virtio-mem or post-copy migration: they would "
		  "corrupt the guest." },
	{ "serial", SCHEMA_TEXT, FIELD(serial), .only = "virtio-blk",
	  .help = "Up to 20 characters." },
};
#undef SPEC

const struct schema device_schema = {
	.name = "device",
	.help = "What a guest sees as hardware. It keeps its address, socket and counters when its "
		"VMM leaves and another one comes.",
	.rows = device_rows,
	.n_rows = ARRAY_SIZE(device_rows),
	.size = sizeof(struct device_spec),
	.kind_offset = offsetof(struct device_spec, kind),
};

static const char *const *latency_classes(void)
{
	static const char *const classes[] = {
		[IO_LATENCY_NORMAL] = "normal",
		[IO_LATENCY_LOW] = "low",
		[IO_LATENCY_BULK] = "bulk",
		NULL,
	};

	return classes;
}

#define SPEC machine_entry
static const struct schema_row machine_rows[] = {
	{ "name", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(spec.name), .help = "The machine's name." },
	{ "weight", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(spec.share.weight), .min = 1, .max = 1000,
	  .unset = "1", .help = "Its share of a busy core, relative to other machines." },
	{ "latency", SCHEMA_INDEX, SCHEMA_RUNTIME, FIELD(spec.share.latency),
	  .choices = latency_classes, .unset = "\"normal\"",
	  .help = "`low`: served before the others, within its share; `bulk`: never before "
		  "anybody." },
	{ "max_packets_per_s", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(spec.share.max_packets_per_s),
	  .max = 1000000000000ll, .unset = "0",
	  .help = "Packets (or I/O operations) per second, all devices together; 0: no limit." },
	{ "max_bytes_per_s", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(spec.share.max_bytes_per_s),
	  .max = 1000000000000ll, .unset = "0", .help = "Bytes per second; 0: no limit." },
	{ "min_packets_per_s", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(spec.share.min_packets_per_s),
	  .max = 1000000000000ll, .unset = "0",
	  .help = "While below, it is served before others." },
	{ "min_bytes_per_s", SCHEMA_UINT, SCHEMA_RUNTIME, FIELD(spec.share.min_bytes_per_s),
	  .max = 1000000000000ll, .unset = "0", .help = "The same in bytes per second." },
	{ "devices", SCHEMA_OBJECTS, FIELD(devices), .schema = &device_schema, OBJECTS,
	  .unset_help = "none", .help = "Its devices." },
};
#undef SPEC

const struct schema machine_schema = {
	.name = "machine",
	.help = "A virtual machine: its devices share what the I/O cores give.",
	.rows = machine_rows,
	.n_rows = ARRAY_SIZE(machine_rows),
	.size = sizeof(struct machine_entry),
};

/* ---- the whole -------------------------------------------------------------------------- */

#define SPEC config
static const struct schema_row config_rows[] = {
	{ "control", SCHEMA_OBJECT, FIELD(control), .schema = &control_schema,
	  .unset_help = "its defaults", .help = "The control socket." },
	{ "log_level", SCHEMA_CHOICE, FIELD(log_level), .choices = log_levels, .unset = "\"info\"",
	  .help = "What is logged: this and what is graver." },
	{ "sandbox", SCHEMA_OBJECT, FIELD(sandbox), .schema = &sandbox_schema, .unset_help = "on",
	  .help = "What the daemon gives up at start." },
	{ "balance", SCHEMA_OBJECT, FIELD(balance), .schema = &balance_schema, .unset_help = "off",
	  .help = "Moving between cores by load." },
	{ "cores", SCHEMA_OBJECTS, FIELD(cores), .schema = &core_schema, OBJECTS,
	  .unset_help = "one, `io0`, on any CPU", .help = "Threads that poll." },
	{ "switches", SCHEMA_OBJECTS, FIELD(switches), .schema = &switch_schema, OBJECTS,
	  .unset_help = "none", .help = "Switches." },
	{ "ports", SCHEMA_OBJECTS, FIELD(ports), .schema = &port_schema, OBJECTS,
	  .unset_help = "none", .help = "Ways to the host." },
	{ "machines", SCHEMA_OBJECTS, FIELD(machines), .schema = &machine_schema, OBJECTS,
	  .unset_help = "none", .help = "Virtual machines." },
};
#undef SPEC

const struct schema config_schema = {
	.name = "configuration",
	.help = "The file is one object with these keys.",
	.rows = config_rows,
	.n_rows = ARRAY_SIZE(config_rows),
	.size = sizeof(struct config),
};
