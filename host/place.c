/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/place.h"

#include "host/journal.h"
#include "host/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUN "/run/exitless-host/cpu"

static char *journal_of(int pid)
{
	return host_printf(RUN "/%d", pid);
}

/* Makes the directory, takes its lock; the descriptor to close, or -errno. */
static int lock(const struct host *host, struct host_error *error)
{
	static const char *const dirs[] = { "/run", "/run/exitless-host", RUN };
	char *path;
	int fd, err;

	for (unsigned i = 0; i < 3; i++) {
		path = host_printf("%s%s", host->root, dirs[i]);
		err = mkdir(path, 0755) < 0 ? errno : 0;
		/* everybody may see whose the CPUs are, whatever the umask */
		if (!err && chmod(path, 0755) < 0)
			err = errno;
		free(path);
		if (err && err != EEXIST)
			return host_fail(error, -err, "%s: %s", dirs[i], strerror(err));
	}
	path = host_printf("%s" RUN "/.lock", host->root);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0) {
		err = host_fail(error, -errno, "%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = err;
	}
	free(path);
	return fd;
}

static json_t *heading(const struct plan *plan, const struct vm *vm, const struct cpus *taken)
{
	char *map = cpu_map_print(&plan->map), *dedicated = cpus_list(&plan->dedicated),
	     *housekeeping = cpus_list(&plan->housekeeping), *others = cpus_list(taken);
	json_t *json = json_object();

	json_object_set_new(json, "machine", json_string(vm->name));
	json_object_set_new(json, "pid", json_integer(vm->pid));
	json_object_set_new(json, "start", json_integer((json_int_t)vm->start));
	json_object_set_new(json, "map", json_string(map));
	json_object_set_new(json, "dedicated", json_string(dedicated));
	json_object_set_new(json, "housekeeping", json_string(housekeeping));
	json_object_set_new(json, "taken", json_string(others));
	free(map);
	free(dedicated);
	free(housekeeping);
	free(others);
	return json;
}

/* -EEXIST if it is there. Others look without the lock, so it appears with its heading in it. */
static int journal_create(const struct host *host, const struct plan *plan, const struct vm *vm,
			  const struct cpus *taken, struct host_error *error)
{
	char *path = host_printf("%s" RUN "/%d", host->root, vm->pid);
	char *hidden = host_printf("%s" RUN "/.new", host->root);
	json_t *json = heading(plan, vm, taken);
	int fd, err = 0;
	FILE *out;

	/* of one that was killed; by now it may be another machine's journal as well */
	unlink(hidden);
	fd = open(hidden, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0 && fchmod(fd, 0644) < 0) {
		err = -errno;
		close(fd);
		fd = -1;
		errno = -err;
	}
	out = fd < 0 ? NULL : fdopen(fd, "w");
	if (out) {
		json_dumpf(json, out, JSON_COMPACT);
		fputc('\n', out);
		err = ferror(out) ? -EIO : 0;
	}
	if (!out || fclose(out))
		err = -errno;
	if (!err && link(hidden, path) < 0)
		err = -errno;
	unlink(hidden);
	if (err == -EEXIST)
		host_fail(error, err, "%s (process %d) has CPUs already; undo that first", vm->name,
			  vm->pid);
	else if (err)
		host_fail(error, err, "%s: %s", path, strerror(-err));
	json_decref(json);
	free(hidden);
	free(path);
	return err;
}

static void journal_remove(const struct host *host, int pid)
{
	char *path = host_printf("%s" RUN "/%d", host->root, pid);

	unlink(path);
	free(path);
}

int place_apply(struct host *host, const struct plan *plan, const struct vm *vm,
		const struct changes *changes, unsigned *refused, struct host_error *error)
{
	int fd = lock(host, error), err;
	struct changes_made made;
	struct cpus taken;
	char *journal;

	if (fd < 0)
		return fd;
	/* another machine may have come since the plan was made */
	err = place_taken(host, vm->pid, &taken, error);
	if (err) {
		close(fd);
		return err;
	}
	if (cpus_meet(&taken, &plan->dedicated)) {
		close(fd);
		return host_fail(error, -EBUSY, "another machine has taken these CPUs meanwhile");
	}
	err = journal_create(host, plan, vm, &taken, error);
	if (!err) {
		journal = journal_of(vm->pid);
		err = changes_make(host, changes, journal, &made, error);
		free(journal);
		if (err && !made.left)
			journal_remove(host, vm->pid);
		if (!err && refused)
			*refused = made.refused;
	}
	close(fd);
	return err;
}

struct host_names place_all(const struct host *host)
{
	struct host_names pids = host_dir(host, RUN);

	/* nobody has, so far */
	if (errno == ENOENT)
		errno = 0;
	return pids;
}

static int get_cpus(const json_t *json, const char *key, struct cpus *cpus)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? cpus_parse_list(cpus, text) : -EINVAL;
}

int place_read(const struct host *host, int pid, struct placement *p, struct host_error *error)
{
	char *text = host_read_line(host, RUN "/%d", pid), *name;
	const char *map, *machine;
	json_t *json;
	int err;

	if (!text && errno != ENOENT)
		return host_fail(error, -errno, RUN "/%d: %s", pid, strerror(errno));
	if (!text)
		return host_fail(error, -ENOENT, "process %d has no CPUs of its own", pid);
	json = json_loads(text, 0, NULL);
	free(text);
	memset(p, 0, sizeof(*p));
	p->pid = pid;
	p->start = (unsigned long long)json_integer_value(json_object_get(json, "start"));
	machine = json_string_value(json_object_get(json, "machine"));
	snprintf(p->name, sizeof(p->name), "%s", machine ? machine : "?");
	map = json_string_value(json_object_get(json, "map"));
	name = host_printf("%s" RUN "/%d", host->root, pid);
	err = cpu_map_parse(&p->map, name, map ? map : "", error);
	if (!err && (get_cpus(json, "dedicated", &p->dedicated) < 0 ||
		     get_cpus(json, "housekeeping", &p->housekeeping) < 0))
		err = host_fail(error, -EINVAL, "%s: no journal of this version", name);
	/* older ones do not tell */
	get_cpus(json, "taken", &p->taken);
	free(name);
	json_decref(json);
	return err;
}

int place_find(const struct host *host, const char *which, struct host_error *error)
{
	struct host_names pids = place_all(host);
	struct placement *p = host_alloc(sizeof(*p));
	int peer = strchr(which, '/') ? qmp_peer(which, error) : 0, found = -ESRCH;

	for (unsigned i = 0; i < pids.n && found < 0 && peer >= 0; i++) {
		int pid = atoi(pids.name[i]);

		if (peer ? pid == peer
			 : !strcmp(pids.name[i], which) ||
				    (!place_read(host, pid, p, NULL) && !strcmp(p->name, which)))
			found = pid;
	}
	host_names_done(&pids);
	free(p);
	if (peer < 0)
		return peer;
	return found < 0 ? host_fail(error, found, "%s has no CPUs of its own", which) : found;
}

/* One that has ended and whose parent has not looked yet has the same number and start. */
static bool ended(const struct host *host, int pid)
{
	char *stat = host_read(host, "/proc/%d/stat", pid), *p = stat ? strrchr(stat, ')') : NULL;
	bool yes = !p || !strncmp(p, ") Z", 3) || !strncmp(p, ") X", 3);

	free(stat);
	return yes;
}

bool place_alive(const struct host *host, const struct placement *placement)
{
	return vm_start_of(host, placement->pid) == placement->start &&
	       !ended(host, placement->pid);
}

/* 0: the machine is gone. */
static int check_gone(const struct host *host, int pid, struct host_error *error)
{
	struct placement *p = host_alloc(sizeof(*p));
	struct host_error why = { "" };
	int err = place_read(host, pid, p, &why);

	if (err)
		err = host_fail(error, -EINVAL,
				"it cannot be told whether the machine of process %d is gone: %s",
				pid, why.text);
	else
		err = place_alive(host, p);
	free(p);
	return err;
}

/* In no thread's affinity, whatever it was given. */
static struct cpus offline(const struct host *host)
{
	struct cpus online, off = { 0 };

	if (host_cpus(host, &online, "/sys/devices/system/cpu/online"))
		for (unsigned i = 0; i < HOST_CPUS_MAX; i++)
			if (!cpus_has(&online, i))
				cpus_add(&off, i);
	return off;
}

/* The journals of the others, as far as they can be read, and which CPUs may have come and gone
 * since @pid's was made: by them, and by being switched off. */
static void read_others(const struct host *host, int pid, struct journals *others)
{
	struct placement *p = host_alloc(sizeof(*p));
	struct host_names pids = place_all(host);

	memset(others, 0, sizeof(*others));
	others->journal = host_alloc((pids.n + 1) * sizeof(*others->journal));
	others->cpus = offline(host);
	if (!place_read(host, pid, p, NULL))
		others->cpus = cpus_or(&others->cpus, &p->taken);
	for (unsigned i = 0; i < pids.n; i++) {
		struct journal *journal = &others->journal[others->n];
		int other = atoi(pids.name[i]);
		char *path = journal_of(other);

		if (other != pid && !place_read(host, other, p, NULL) &&
		    !journal_read(host, path, journal, NULL)) {
			others->cpus = cpus_or(&others->cpus, &p->dedicated);
			others->n++;
		}
		free(path);
	}
	host_names_done(&pids);
	free(p);
}

int place_undo(struct host *host, int pid, bool gone_only, struct host_error *error)
{
	struct journals others;
	char *journal = journal_of(pid);
	int fd = lock(host, error), err = fd;

	if (fd >= 0 && !host_exists(host, "%s", journal))
		err = host_fail(error, -ENOENT, "process %d has no CPUs of its own", pid);
	else if (fd >= 0)
		err = gone_only ? check_gone(host, pid, error) : 0;
	if (fd >= 0 && !err) {
		read_others(host, pid, &others);
		err = changes_undo(host, journal, &others, error);
		journals_done(&others);
	}
	if (fd >= 0)
		close(fd);
	free(journal);
	return err;
}

int place_taken(const struct host *host, int pid, struct cpus *taken, struct host_error *error)
{
	struct placement *p = host_alloc(sizeof(*p));
	struct host_names pids = place_all(host);
	struct host_error why = { "" };
	int err = -errno;

	if (err)
		host_fail(&why, err, RUN ": %s", strerror(-err));
	*taken = (struct cpus){ 0 };
	for (unsigned i = 0; i < pids.n && !err; i++) {
		int other = atoi(pids.name[i]);

		if (other == pid)
			continue;
		err = place_read(host, other, p, &why);
		if (!err && place_alive(host, p))
			*taken = cpus_or(taken, &p->dedicated);
		/* undone meanwhile */
		if (err == -ENOENT)
			err = 0;
	}
	host_names_done(&pids);
	free(p);
	return err ? host_fail(error, err, "it cannot be told which CPUs are taken: %s", why.text)
		   : 0;
}

/* 1: the machine is gone, or was another's when @p was read. */
static int still_there(const struct host *host, const struct placement *p, struct host_error *error)
{
	struct placement *now = host_alloc(sizeof(*now));
	int err = place_read(host, p->pid, now, error);

	if (!err && (now->start != p->start || !place_alive(host, now)))
		err = 1;
	free(now);
	return err == -ENOENT ? 1 : err;
}

static int make_following(struct host *host, const struct placement *p, struct changes *changes,
			  struct host_error *error)
{
	int fd = lock(host, error), err;
	struct changes_made made;
	char *journal;

	if (fd < 0)
		return fd;
	journal = journal_of(p->pid);
	err = still_there(host, p, error);
	if (!err)
		err = changes_fold(host, changes, journal, error);
	if (!err)
		err = changes_make(host, changes, journal, &made, error);
	free(journal);
	close(fd);
	return err;
}

/* Called each second for each machine: looks at no more than it must, and takes the lock only if
 * there is something to do. */
int place_follow(struct host *host, int pid, struct host_error *error)
{
	struct placement *p = host_alloc(sizeof(*p));
	struct vm *vm = host_alloc(sizeof(*vm));
	struct plan *plan = host_alloc(sizeof(*plan));
	struct changes changes = { 0 };
	struct cpus online;
	int err = place_read(host, pid, p, error);

	if (err == -ENOENT || (!err && !place_alive(host, p)))
		err = 1;
	vm->pid = pid;
	if (!err)
		vm_find_devices(host, vm);
	if (vm->devices.n && !host_cpus(host, &online, "/sys/devices/system/cpu/online")) {
		err = host_fail(error, -ENOENT, "it cannot be told which CPUs are online");
	} else if (vm->devices.n) {
		plan->map = p->map;
		plan->dedicated = p->dedicated;
		plan->housekeeping = p->housekeeping;
		place_build_own_irqs(host, &online, plan, vm, &changes);
	}
	if (changes.n)
		err = make_following(host, p, &changes, error);
	changes_done(&changes);
	vm_done(vm);
	free(plan);
	free(vm);
	free(p);
	return err;
}
