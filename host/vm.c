/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/vm.h"

#include "host/pci.h"
#include "host/qmp.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

unsigned long long vm_start_of(const struct host *host, int pid)
{
	char *stat = host_read(host, "/proc/%d/stat", pid), *p;
	unsigned long long start = 0;

	/* the name may hold anything, and ends at the last ')'; the start is field 22 */
	p = stat ? strrchr(stat, ')') : NULL;
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (p)
		start = strtoull(p, NULL, 10);
	free(stat);
	return start;
}

static struct host_names only_numbers(struct host_names names)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < names.n; i++) {
		if (isdigit((unsigned char)names.name[i][0]))
			names.name[kept++] = names.name[i];
		else
			free(names.name[i]);
	}
	names.n = kept;
	return names;
}

struct host_names vm_processes(const struct host *host)
{
	return only_numbers(host_dir(host, "/proc"));
}

struct host_names vm_threads(const struct host *host, int pid)
{
	return only_numbers(host_dir(host, "/proc/%d/task", pid));
}

/* The argument after the option @name in a command line as /proc has it; NULL without. */
static const char *argument(const char *words, size_t len, const char *name)
{
	const char *end = words + len, *p = words;

	while (p < end) {
		const char *word = p;

		p += strlen(p) + 1;
		/* "-name" and "--name" are the same to QEMU */
		if (p < end && word[0] == '-' &&
		    (!strcmp(word + 1, name) || (word[1] == '-' && !strcmp(word + 2, name))))
			return p;
	}
	return NULL;
}

/* A value up to the comma that ends it; two stand for one. On the heap. */
static char *value_of(const char *text)
{
	char *value = host_text_copy(text), *out = value;

	for (const char *p = text; *p; p++) {
		if (*p == ',' && *++p != ',')
			break;
		*out++ = *p;
	}
	*out = '\0';
	return value;
}

/* "guest=NAME,..." or "NAME,..."; on the heap, NULL without. */
static char *name_of(const struct host *host, int pid)
{
	char *path = host_printf("/proc/%d/cmdline", pid), *words, *name = NULL;
	const char *value, *guest;
	size_t len;

	words = host_read_bytes(host, path, &len);
	free(path);
	value = words ? argument(words, len, "name") : NULL;
	if (value) {
		guest = strstr(value, "guest=");
		if (guest && (guest == value || guest[-1] == ','))
			value = guest + 6;
		name = value_of(value);
	}
	free(words);
	return name;
}

static void set_name(const struct host *host, struct vm *vm)
{
	char *name = name_of(host, vm->pid);

	if (name && *name)
		snprintf(vm->name, sizeof(vm->name), "%s", name);
	else
		snprintf(vm->name, sizeof(vm->name), "%d", vm->pid);
	free(name);
}

/* ---- what is a machine -------------------------------------------------------------------------
 */

char *vm_open_file(const struct host *host, const char *pid, const char *fd)
{
	char *path = host_printf("%s/proc/%s/fd/%s", host->root, pid, fd), target[4096];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	free(path);
	if (n < 0)
		return NULL;
	target[n] = '\0';
	return host_text_copy(target);
}

static bool runs_kvm(const struct host *host, int pid)
{
	char *number = host_printf("%d", pid);
	struct host_names fds = host_dir(host, "/proc/%d/fd", pid);
	bool yes = false;

	for (unsigned i = 0; i < fds.n && !yes; i++) {
		char *target = vm_open_file(host, number, fds.name[i]);

		yes = target && !strcmp(target, "anon_inode:kvm-vm");
		free(target);
	}
	host_names_done(&fds);
	free(number);
	return yes;
}

static bool is_vmm_program(const char *base)
{
	static const char *const whole[] = { "qemu", "qemu-kvm", "kvm", "cloud-hypervisor" };
	size_t len = strcspn(base, " "); /* "(deleted)" after an upgrade */

	for (unsigned i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		if (len == strlen(whole[i]) && !strncmp(base, whole[i], len))
			return true;
	return !strncmp(base, "qemu-system-", 12);
}

/* By its program; its own word for it counts where that may not be seen, so never for root. */
static bool runs_vmm(const struct host *host, int pid)
{
	char *path, *words, *base = host_link(host, "/proc/%d/exe", pid);
	const char *slash;
	size_t len;
	bool yes;

	if (base || errno != EACCES) {
		yes = base && is_vmm_program(base);
		free(base);
		return yes;
	}
	path = host_printf("/proc/%d/cmdline", pid);
	words = host_read_bytes(host, path, &len);
	free(path);
	slash = words ? strrchr(words, '/') : NULL;
	yes = words && is_vmm_program(slash ? slash + 1 : words);
	free(words);
	return yes;
}

/* The path in "-qmp unix:PATH,..."; on the heap, or NULL. */
static char *own_socket(const struct host *host, int pid)
{
	char *path = host_printf("/proc/%d/cmdline", pid), *words, *found = NULL;
	const char *value;
	size_t len;

	words = host_read_bytes(host, path, &len);
	free(path);
	value = words ? argument(words, len, "qmp") : NULL;
	if (value && !strncmp(value, "unix:", 5))
		found = value_of(value + 5);
	free(words);
	return found;
}

/* Any process may say -name. Those that have a machine of KVM's go before those that only run a
 * VMM's program (TCG, or what may not be looked into); others are none. */
static int pid_by_name(const struct host *host, const char *name, struct host_error *error)
{
	struct host_names pids = vm_processes(host);
	int found[2] = { 0 }, second[2] = { 0 };

	for (unsigned i = 0; i < pids.n; i++) {
		int pid = atoi(pids.name[i]), kind;
		char *have = name_of(host, pid);

		if (have && !strcmp(have, name)) {
			kind = runs_kvm(host, pid) ? 0 : runs_vmm(host, pid) ? 1 : -1;
			if (kind >= 0 && found[kind])
				second[kind] = pid;
			else if (kind >= 0)
				found[kind] = pid;
		}
		free(have);
	}
	host_names_done(&pids);
	for (int kind = 0; kind < 2; kind++) {
		if (second[kind])
			return host_fail(error, -EEXIST,
					 "processes %d and %d are both called \"%s\"; give the "
					 "number of one",
					 found[kind], second[kind], name);
		if (found[kind])
			return found[kind];
	}
	return host_fail(error, -ESRCH, "no machine \"%s\" runs", name);
}

static void add_vcpu(struct vm *vm, unsigned index, int tid)
{
	unsigned at = vm->n_vcpus;

	if (at == HOST_CPUS_MAX)
		return;
	for (; at && vm->vcpu[at - 1].index > index; at--)
		vm->vcpu[at] = vm->vcpu[at - 1];
	vm->vcpu[at].index = index;
	vm->vcpu[at].tid = tid;
	vm->n_vcpus++;
}

/* Whoever serves the socket may say anything, and QEMU in another PID namespace counts otherwise:
 * only threads of the process are taken. */
static int vcpus_by_qmp(const struct host *host, struct vm *vm, struct qmp *qmp,
			struct host_error *error)
{
	json_t *list = qmp_call(qmp, "query-cpus-fast", error), *cpu;
	size_t i;
	int err = 0;

	if (!list)
		return -EPROTO;
	json_array_foreach(list, i, cpu)
	{
		json_int_t index = json_integer_value(json_object_get(cpu, "cpu-index")),
			   tid = json_integer_value(json_object_get(cpu, "thread-id"));

		if (index < 0 || index >= HOST_CPUS_MAX || tid <= 0 || tid > 1 << 30 ||
		    !host_exists(host, "/proc/%d/task/%d", vm->pid, (int)tid)) {
			vm->n_vcpus = 0;
			err = host_fail(error, -EPROTO,
					"vCPU %lld is thread %lld by QMP, but process %d has no "
					"such thread; is it in another PID namespace? Its number "
					"serves then, if it was started with -name "
					"NAME,debug-threads=on",
					(long long)index, (long long)tid, vm->pid);
			break;
		}
		add_vcpu(vm, (unsigned)index, (int)tid);
	}
	json_decref(list);
	return err;
}

/* Their names come from -name ...,debug-threads=on. */
static void vcpus_by_thread_name(const struct host *host, struct vm *vm)
{
	struct host_names tids = vm_threads(host, vm->pid);

	for (unsigned i = 0; i < tids.n; i++) {
		char *comm = host_read(host, "/proc/%d/task/%s/comm", vm->pid, tids.name[i]);
		unsigned index;
		int end = 0;

		if (comm && sscanf(comm, "CPU %u/%n", &index, &end) == 1 && end)
			add_vcpu(vm, index, atoi(tids.name[i]));
		free(comm);
	}
	host_names_done(&tids);
}

/* Its own -qmp, which it opened where it saw its files. -EINVAL if another process serves there. */
static int open_own_socket(const struct host *host, int pid, struct qmp **qmp,
			   struct host_error *error)
{
	char *named = host_live(host) ? own_socket(host, pid) : NULL, *path;
	int peer = 0, err = -ENOENT;

	if (!named)
		return err;
	path = named[0] == '/' ? host_printf("/proc/%d/root%s", pid, named)
			       : host_printf("/proc/%d/cwd/%s", pid, named);
	err = qmp_open(path, qmp, &peer, error);
	/* may not be looked at, or has another root since */
	if ((err == -EACCES || err == -ENOENT) && named[0] == '/')
		err = qmp_open(named, qmp, &peer, error);
	if (!err && peer != pid) {
		qmp_close(*qmp);
		*qmp = NULL;
		err = host_fail(error, -EINVAL, "%s is the socket of process %d", named, peer);
	}
	free(path);
	free(named);
	return err;
}

static int find_vcpus(const struct host *host, struct vm *vm, struct qmp *qmp,
		      struct host_error *error)
{
	struct host_error why = { "" };
	int err;

	if (qmp)
		return vcpus_by_qmp(host, vm, qmp, error);
	vcpus_by_thread_name(host, vm);
	if (vm->n_vcpus)
		return 0;
	err = open_own_socket(host, vm->pid, &qmp, &why);
	if (!err)
		err = vcpus_by_qmp(host, vm, qmp, &why);
	qmp_close(qmp);
	if (!err && vm->n_vcpus)
		return 0;
	return host_fail(error, -ENOENT,
			 "the vCPU threads of process %d cannot be told: start QEMU with -name "
			 "NAME,debug-threads=on, or give its QMP socket%s%s",
			 vm->pid, why.text[0] ? "; " : "", why.text);
}

static void add_device(struct vm *vm, const char *address)
{
	for (unsigned i = 0; i < vm->devices.n; i++)
		if (!strcmp(vm->devices.name[i], address))
			return;
	host_names_add(&vm->devices, host_text_copy(address));
}

/* All devices of a group that vfio-pci has. */
static void add_group(const struct host *host, struct vm *vm, int number)
{
	struct host_names group = pci_group(host, number);

	for (unsigned i = 0; i < group.n; i++) {
		struct pci_device d;

		if (!pci_read(host, group.name[i], &d, NULL) && !strcmp(d.driver, "vfio-pci"))
			add_device(vm, d.address);
	}
	host_names_done(&group);
}

/* /dev/vfio/GROUP or /dev/vfio/devices/vfioN, held open. A group may have more devices than the
 * machine was given; those that it was not are idle, so counting them in is harmless. */
void vm_find_devices(const struct host *host, struct vm *vm)
{
	char *pid = host_printf("%d", vm->pid), *target, *at;
	struct host_names fds = host_dir(host, "/proc/%s/fd", pid);

	host_names_done(&vm->devices);
	for (unsigned i = 0; i < fds.n; i++) {
		target = vm_open_file(host, pid, fds.name[i]);
		/* the process may see its files below another root */
		at = target ? strstr(target, "/dev/vfio/") : NULL;
		if (at && !strncmp(at + 10, "devices/vfio", 12)) {
			char *address = host_link(host, "/sys/class/vfio-dev/%s/device", at + 18);

			if (address)
				add_device(vm, address);
			free(address);
		} else if (at && isdigit((unsigned char)at[10])) {
			add_group(host, vm, atoi(at + 10));
		}
		free(target);
	}
	host_names_done(&fds);
	free(pid);
}

static int find_pid(const struct host *host, const char *which, struct host_error *error)
{
	char *end;
	long pid = strtol(which, &end, 10);

	if (!isdigit((unsigned char)which[0]) || *end)
		return pid_by_name(host, which, error);
	if (pid <= 0 || pid > 1 << 30 || !vm_start_of(host, (int)pid))
		return host_fail(error, -ESRCH, "there is no process %s", which);
	return (int)pid;
}

int vm_find(const struct host *host, const char *which, const char *socket, struct vm *vm,
	    struct host_error *error)
{
	struct qmp *qmp = NULL;
	int err = 0, peer = 0;

	memset(vm, 0, sizeof(*vm));
	if (!socket && strchr(which, '/'))
		socket = which;
	if (socket) {
		err = qmp_open(socket, &qmp, &peer, error);
		if (err)
			return err;
	}
	vm->pid = socket == which ? peer : find_pid(host, which, error);
	if (vm->pid < 0)
		err = vm->pid;
	else if (!vm->pid)
		err = host_fail(error, -ESRCH, "%s: whose socket it is cannot be seen from here",
				socket);
	else if (qmp && vm->pid != peer)
		err = host_fail(error, -EINVAL, "%s is the socket of process %d, not %d", socket,
				peer, vm->pid);
	if (!err) {
		vm->start = vm_start_of(host, vm->pid);
		set_name(host, vm);
		err = find_vcpus(host, vm, qmp, error);
	}
	qmp_close(qmp);
	if (err) {
		vm_done(vm);
		return err;
	}
	vm_find_devices(host, vm);
	return 0;
}

int vm_look(const struct host *host, int pid, struct vm *vm, struct host_error *error)
{
	memset(vm, 0, sizeof(*vm));
	vm->pid = pid;
	vm->start = vm_start_of(host, pid);
	if (!vm->start)
		return host_fail(error, -ESRCH, "there is no process %d", pid);
	set_name(host, vm);
	vcpus_by_thread_name(host, vm);
	return 0;
}

void vm_done(struct vm *vm)
{
	host_names_done(&vm->devices);
	memset(vm, 0, sizeof(*vm));
}
