/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exitless vmm: what attaches a machine's devices to a VMM. All of it rests on memory that the
 * daemon can map: a memory file, shared. libvirt has elements of its own for vhost-user devices;
 * what it does not know gets QEMU's arguments.
 */
#include "client.h"
#include "commands.h"
#include "options.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
	const char *machine;
	const char *memory; /* "512M" */
	unsigned long long memory_mib;
	unsigned cpus;
};

static void add(json_t *argv, const char *word)
{
	json_array_append_new(argv, json_string(word));
}

static void addf(json_t *argv, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void addf(json_t *argv, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	json_array_append_new(argv, json_vsprintf(fmt, ap));
	va_end(ap);
}

/* ---- QEMU -------------------------------------------------------------------------------- */

static unsigned queues_of(const json_t *dev)
{
	unsigned queues = (unsigned)json_integer_value(json_object_get(dev, "queues"));

	return queues ? queues : 1;
}

static bool vmm_listens(const json_t *dev)
{
	return json_is_true(json_object_get(dev, "vmm_listens"));
}

/* A new reference. */
static json_t *qemu_id(const json_t *dev)
{
	return json_incref(json_object_get(dev, "qemu_id"));
}

static void add_device(json_t *argv, json_t *device)
{
	char *text = json_dumps(device, JSON_COMPACT);

	add(argv, "-device");
	add(argv, text);
	free(text);
	json_decref(device);
}

/* A PCI Express device gets a root port of its own, as a slot of a board; a conventional one sits
 * on the root bus. Both as JSON: QEMU makes these devices last, so that libvirt's, which have fixed
 * slots, are there before. */
static void qemu_vfio_user(json_t *argv, const json_t *dev, unsigned number)
{
	json_t *bus = json_string("pcie.0");

	if (json_is_true(json_object_get(dev, "express"))) {
		json_decref(bus);
		bus = json_sprintf("exitless-port%u", number);
		add_device(argv, json_pack("{ss,sO,ss,si}", "driver", "pcie-root-port", "id", bus,
					   "bus", "pcie.0", "chassis", (int)number + 100));
	}
	add_device(argv, json_pack("{ss,so,s{ss,ss},so}", "driver", "vfio-user-pci", "id",
				   qemu_id(dev), "socket", "type", "unix", "path",
				   client_text(dev, "socket"), "bus", bus));
}

/* A value in a list of options has its commas twice. On the heap. */
static char *double_commas(const char *value)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	for (; *value; value++) {
		if (*value == ',')
			fputc(',', out);
		fputc(*value, out);
	}
	fclose(out);
	return text;
}

/* A socket as a character device, which vhost-user devices are made on. */
static void qemu_chardev(json_t *argv, const json_t *dev, unsigned number)
{
	char *path = double_commas(client_text(dev, "socket"));

	add(argv, "-chardev");
	addf(argv, "socket,id=exitless-chardev%u,path=%s%s", number, path,
	     vmm_listens(dev) ? ",server=on,wait=on" : ",reconnect-ms=1000");
	free(path);
}

static void qemu_virtio_net(json_t *argv, const json_t *dev, unsigned number)
{
	unsigned queues = queues_of(dev);
	json_t *id = qemu_id(dev);

	qemu_chardev(argv, dev, number);
	add(argv, "-netdev");
	if (queues > 1)
		addf(argv, "vhost-user,id=exitless-netdev%u,chardev=exitless-chardev%u,queues=%u",
		     number, number, queues);
	else
		addf(argv, "vhost-user,id=exitless-netdev%u,chardev=exitless-chardev%u", number,
		     number);
	add(argv, "-device");
	if (queues > 1)
		addf(argv, "virtio-net-pci,id=%s,netdev=exitless-netdev%u,mac=%s,mq=on,vectors=%u",
		     json_string_value(id), number, client_text(dev, "mac"), 2 * queues + 2);
	else
		addf(argv, "virtio-net-pci,id=%s,netdev=exitless-netdev%u,mac=%s",
		     json_string_value(id), number, client_text(dev, "mac"));
	json_decref(id);
}

static void qemu_virtio_blk(json_t *argv, const json_t *dev, unsigned number)
{
	json_t *id = qemu_id(dev);

	qemu_chardev(argv, dev, number);
	add(argv, "-device");
	addf(argv, "vhost-user-blk-pci,id=%s,chardev=exitless-chardev%u,num-queues=%u",
	     json_string_value(id), number, queues_of(dev));
	json_decref(id);
}

/* ---- cloud-hypervisor's options ---------------------------------------------------------- */

static json_t *cloud_vfio_user(const json_t *dev)
{
	return json_sprintf("socket=%s,id=%s", client_text(dev, "socket"),
			    client_text(dev, "name"));
}

static json_t *cloud_net(const json_t *dev)
{
	return json_sprintf("vhost_user=true,socket=%s,id=%s,mac=%s,num_queues=%u%s",
			    client_text(dev, "socket"), client_text(dev, "name"),
			    client_text(dev, "mac"), 2 * queues_of(dev),
			    vmm_listens(dev) ? ",vhost_mode=server" : "");
}

static json_t *cloud_disk(const json_t *dev)
{
	return json_sprintf("vhost_user=true,socket=%s,id=%s,num_queues=%u",
			    client_text(dev, "socket"), client_text(dev, "name"), queues_of(dev));
}

/* ---- libvirt's elements ------------------------------------------------------------------ */

static void xml_text(FILE *out, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '&': fputs("&amp;", out); break;
		case '<': fputs("&lt;", out); break;
		case '>': fputs("&gt;", out); break;
		case '\'': fputs("&apos;", out); break;
		case '"': fputs("&quot;", out); break;
		default: fputc(*text, out); break;
		}
}

static void libvirt_net(FILE *out, const json_t *dev, unsigned number)
{
	bool listens = vmm_listens(dev);

	fprintf(out,
		"    <interface type='vhostuser'>\n"
		"      <mac address='%s'/>\n"
		"      <source type='unix' path='",
		client_text(dev, "mac"));
	xml_text(out, client_text(dev, "socket"));
	fputs(listens ? "' mode='server'/>\n"
		      : "' mode='client'>\n"
			"        <reconnect enabled='yes' timeout='1'/>\n"
			"      </source>\n",
	      out);
	fputs("      <model type='virtio'/>\n", out);
	if (queues_of(dev) > 1)
		fprintf(out, "      <driver queues='%u'/>\n", queues_of(dev));
	fputs("    </interface>\n", out);
}

static void libvirt_disk(FILE *out, const json_t *dev, unsigned number)
{
	fprintf(out,
		"    <disk type='vhostuser' device='disk'>\n"
		"      <driver name='qemu' type='raw' queues='%u'/>\n"
		"      <source type='unix' path='",
		queues_of(dev));
	xml_text(out, client_text(dev, "socket"));
	fputs("'>\n"
	      "        <reconnect enabled='yes' timeout='1'/>\n"
	      "      </source>\n"
	      "      <target dev='vd",
	      out);
	if (number >= 26)
		fputc((int)('a' + number / 26 - 1), out);
	fprintf(out, "%c' bus='virtio'/>\n    </disk>\n", (int)('a' + number % 26));
}

/* How each kind of device is attached, by its name in QEMU. */
static const struct attach {
	const char *qemu_device;
	void (*qemu)(json_t *argv, const json_t *dev, unsigned number);
	/* @number counts the devices before it of this kind. NULL: libvirt has nothing for it */
	void (*libvirt)(FILE *out, const json_t *dev, unsigned number);
	bool libvirt_listens; /* and it can listen there */
	const char *cloud_option;
	json_t *(*cloud)(const json_t *dev);
} attaches[] = {
	{ "vfio-user-pci", qemu_vfio_user, NULL, false, "--user-device", cloud_vfio_user },
	{ "virtio-net-pci", qemu_virtio_net, libvirt_net, true, "--net", cloud_net },
	{ "vhost-user-blk-pci", qemu_virtio_blk, libvirt_disk, false, "--disk", cloud_disk },
};

static const struct attach *find_attach(const json_t *dev)
{
	for (unsigned i = 0; i < sizeof(attaches) / sizeof(attaches[0]); i++)
		if (!strcmp(attaches[i].qemu_device, client_text(dev, "qemu_device")))
			return &attaches[i];
	return NULL;
}

static bool libvirt_knows(const struct attach *attach, const json_t *dev)
{
	return attach && attach->libvirt && (!vmm_listens(dev) || attach->libvirt_listens);
}

/* QEMU's arguments for all devices, or for those that libvirt does not know. */
static json_t *qemu_devices(const json_t *machine, bool for_libvirt)
{
	json_t *argv = json_array(), *dev;
	unsigned number = 0;
	size_t i;

	json_array_foreach(json_object_get(machine, "devices"), i, dev)
	{
		const struct attach *attach = find_attach(dev);

		if (attach && !(for_libvirt && libvirt_knows(attach, dev))) {
			const char *name = client_text(dev, "name");
			/* QEMU's ids begin with a letter, libvirt's own are net0, disk0... */
			const char *prefix = for_libvirt		       ? "exitless-"
					     : isalpha((unsigned char)name[0]) ? ""
									       : "device-";

			json_object_set_new(dev, "qemu_id", json_sprintf("%s%s", prefix, name));
			attach->qemu(argv, dev, number++);
		}
	}
	return argv;
}

static json_t *qemu_argv(const json_t *machine, const struct request *request)
{
	json_t *argv = json_array(), *devices = qemu_devices(machine, false);
	char *name = double_commas(request->machine);

	add(argv, "qemu-system-x86_64");
	/* the threads' names: QEMU before 10.2 gives none by itself, and exitless cpu looks for
	 * them */
	add(argv, "-name");
	addf(argv, "%s,debug-threads=on", name);
	free(name);
	add(argv, "-machine");
	add(argv, "q35,memory-backend=mem");
	add(argv, "-m");
	add(argv, request->memory);
	add(argv, "-smp");
	addf(argv, "%u", request->cpus);
	add(argv, "-object");
	addf(argv, "memory-backend-memfd,id=mem,size=%s,share=on", request->memory);
	add(argv, "-nic");
	add(argv, "none");
	json_array_extend(argv, devices);
	json_decref(devices);
	return argv;
}

/* ---- cloud-hypervisor -------------------------------------------------------------------- */

static json_t *cloud_argv(const json_t *machine, const struct request *request)
{
	json_t *argv = json_array(), *dev;
	size_t i;

	add(argv, "cloud-hypervisor");
	add(argv, "--cpus");
	addf(argv, "boot=%u", request->cpus);
	add(argv, "--memory");
	addf(argv, "size=%s,shared=on", request->memory);
	json_array_foreach(json_object_get(machine, "devices"), i, dev)
	{
		const struct attach *attach = find_attach(dev);
		const char *option = attach ? attach->cloud_option : NULL;
		const char *last = NULL;
		size_t n = json_array_size(argv);

		if (!option)
			continue;
		for (size_t j = 0; j < n; j++) /* an option is given once, with many values */
			if (json_string_value(json_array_get(argv, j))[0] == '-')
				last = json_string_value(json_array_get(argv, j));
		if (strcmp(last, option))
			add(argv, option);
		json_array_append_new(argv, attach->cloud(dev));
	}
	return argv;
}

/* ---- printing ---------------------------------------------------------------------------- */

/* As a shell takes it back. */
static void print_word(const char *word)
{
	if (word[0] && !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					  "0123456789@%+=:,./_-")]) {
		fputs(word, stdout);
		return;
	}
	putchar('\'');
	for (; *word; word++)
		if (*word == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*word);
	putchar('\'');
}

static void print_argv(const json_t *argv)
{
	const json_t *word;
	size_t i;

	if (cli_json()) {
		client_print(argv);
		return;
	}
	json_array_foreach((json_t *)argv, i, word)
	{
		if (i)
			putchar(' ');
		print_word(json_string_value(word));
	}
	putchar('\n');
}

static void libvirt_devices(FILE *out, const json_t *machine)
{
	unsigned numbers[sizeof(attaches) / sizeof(attaches[0])] = { 0 };
	const json_t *dev;
	size_t i;

	fputs("  <devices>\n", out);
	json_array_foreach(json_object_get(machine, "devices"), i, dev)
	{
		const struct attach *attach = find_attach(dev);

		if (libvirt_knows(attach, dev))
			attach->libvirt(out, dev, numbers[attach - attaches]++);
	}
	fputs("  </devices>\n", out);
}

static void libvirt_arguments(FILE *out, const json_t *machine)
{
	json_t *argv = qemu_devices(machine, true), *word;
	size_t i;

	if (json_array_size(argv)) {
		fputs("  <qemu:commandline>\n", out);
		json_array_foreach(argv, i, word)
		{
			fputs("    <qemu:arg value='", out);
			xml_text(out, json_string_value(word));
			fputs("'/>\n", out);
		}
		fputs("  </qemu:commandline>\n", out);
	}
	json_decref(argv);
}

static void print_libvirt(const json_t *machine, const struct request *request)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	fputs("<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
	      "  <name>",
	      out);
	xml_text(out, request->machine);
	fprintf(out,
		"</name>\n"
		"  <memory unit='MiB'>%llu</memory>\n"
		"  <memoryBacking>\n"
		"    <source type='memfd'/>\n"
		"    <access mode='shared'/>\n"
		"  </memoryBacking>\n"
		"  <vcpu>%u</vcpu>\n"
		"  <os>\n"
		"    <type arch='x86_64' machine='q35'>hvm</type>\n"
		"  </os>\n",
		request->memory_mib, request->cpus);
	libvirt_devices(out, machine);
	libvirt_arguments(out, machine);
	fputs("</domain>\n", out);
	fclose(out);
	if (cli_json()) {
		json_t *json = json_pack("{ss}", "xml", text);

		client_print(json);
		json_decref(json);
	} else {
		fputs(text, stdout);
	}
	free(text);
}

/* ---- the command ------------------------------------------------------------------------- */

/* "512M", "2G" or plain MiB. */
static bool parse_memory(struct request *request, const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (!isdigit((unsigned char)text[0]) || value > 1ull << 30)
		return false;
	switch (*end) {
	case 'G':
	case 'g': value *= 1024; /* fall through */
	case 'M':
	case 'm': end++; break;
	case '\0': break;
	default: return false;
	}
	request->memory_mib = value;
	return value && !*end;
}

int cmd_vmm(int argc, char **argv)
{
	struct request request = { .cpus = 1 };
	bool qemu = false, libvirt = false, cloud = false;
	const char *size = "512M", *cpus_text = NULL;
	const struct cli_option options[] = {
		{ "--qemu", .flag = &qemu },
		{ "--libvirt", .flag = &libvirt },
		{ "--cloud-hypervisor", .flag = &cloud },
		{ "--memory", .text = &size },
		{ "--cpus", .text = &cpus_text },
	};
	char memory[32];
	json_t *machine, *words;
	long cpus = 1;
	int err;

	argc = cli_take_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	if (argc < 0)
		return CLI_USAGE;
	if (!parse_memory(&request, size))
		return cli_usage("vmm", "\"%s\" is no size like 512M or 2G", size);
	if (!cli_number("vmm", "--cpus", cpus_text, 1, 4096, &cpus))
		return CLI_USAGE;
	if (argc > 1 && (argc > 2 || argv[1][0] == '-'))
		return cli_usage("vmm", "what is \"%s\"?", argv[argc - 1]);
	if (argc < 2 || qemu + libvirt + cloud != 1)
		return cli_usage("vmm", "a machine and a VMM are wanted");
	request.machine = argv[1];
	request.cpus = (unsigned)cpus;
	snprintf(memory, sizeof(memory), "%lluM", request.memory_mib);
	request.memory = memory;
	machine = client_call(
		"show", json_pack("{ssss}", "object", "machine", "name", request.machine), &err);
	if (!machine)
		return err;
	if (libvirt) {
		print_libvirt(machine, &request);
	} else {
		words = qemu ? qemu_argv(machine, &request) : cloud_argv(machine, &request);
		print_argv(words);
		json_decref(words);
	}
	json_decref(machine);
	return CLI_OK;
}
