/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/direct.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* kernel/host/main.c has the words. */
static const struct {
	const char *word, *meaning;
	bool lasts;
} whys[] = {
	{ "direct", "direct", false },
	{ "off", "not switched on yet", false },
	{ "immediate-exit", "KVM wants to come back at once", false },
	{ "injecting", "KVM injects an event", false },
	{ "in-service", "the guest is in an interrupt of KVM's", false },
	{ "nested-guest", "the guest runs a guest of its own", true },
	{ "avic", "AVIC is on for this guest: kvm_amd.avic=0", true },
	{ "no-x2apic", "the guest's LAPIC is not in x2APIC mode", true },
	{ "pv-eoi", "paravirtual EOI is on: -cpu ...,kvm-pv-eoi=off", true },
	{ "routes-changed", "interrupt routes have changed and are looked at anew", false },
	{ "foreign-interrupt", "another device's interrupt comes to this CPU", true },
	{ "shared-idt", "several vCPUs share an IDT: load exitless_guest in the guest", true },
	{ "unusable-idt", "the guest's IDT is not a page of normal memory", true },
	{ "run-again", "an instruction needs a stock entry", false },
	{ "dirty-log", "the guest's memory is logged for migration", true },
	{ "guest-off", "the guest module does not want it (enable in its sysfs)", true },
	{ "task-priority", "the guest's task priority keeps interrupts off", false },
};

#define N_WHYS (sizeof(whys) / sizeof(whys[0]))

const char *direct_why(const char *word)
{
	for (unsigned i = 0; i < N_WHYS; i++)
		if (!strcmp(whys[i].word, word))
			return whys[i].meaning;
	return word;
}

bool direct_why_lasts(const char *word)
{
	for (unsigned i = 0; i < N_WHYS; i++)
		if (!strcmp(whys[i].word, word))
			return whys[i].lasts;
	return true;
}

/* ---- what it shows -----------------------------------------------------------------------------
 */

static json_t *value_of(const char *text)
{
	char *end;
	long long n = strtoll(text, &end, 0);

	return *text && !*end ? json_integer(n) : json_string(text);
}

static void add_word(json_t *line, char *word)
{
	static const struct {
		const char *prefix, *group;
	} groups[] = { { "entries_", "entries" }, { "vector_", "vectors" } };
	char *value = strchr(word, '=');

	if (!value)
		return;
	*value++ = '\0';
	for (unsigned i = 0; i < 2; i++) {
		size_t len = strlen(groups[i].prefix);
		json_t *group;

		if (strncmp(word, groups[i].prefix, len) != 0)
			continue;
		group = json_object_get(line, groups[i].group);
		if (!group) {
			group = json_object();
			json_object_set_new(line, groups[i].group, group);
		}
		json_object_set_new(group, word + len, value_of(value));
		return;
	}
	json_object_set_new(line, word, value_of(value));
}

json_t *direct_parse(const char *text)
{
	json_t *state = json_pack("{s{}s[]s[]s[]}", "module", "vcpu", "route", "foreign");
	char *copy = host_text_copy(text), *rest = copy, *line;

	while ((line = strsep(&rest, "\n"))) {
		char *kind = strsep(&line, " "), *word;
		json_t *object = json_object(), *list;

		while ((word = strsep(&line, " ")))
			add_word(object, word);
		list = json_object_get(state, kind);
		if (!strcmp(kind, "exitless_kvm"))
			json_object_set(state, "module", object);
		else if (json_is_array(list))
			json_array_append(list, object);
		json_decref(object);
	}
	free(copy);
	return state;
}

json_t *direct_read(const struct host *host, struct host_error *error)
{
	char *text = host_read(host, DIRECT_DEVICE);
	int err = errno;
	json_t *state;

	if (!text) {
		host_fail(error, -err, "%s: %s%s", DIRECT_DEVICE, strerror(err),
			  err == ENOENT ? "; is exitless_kvm loaded (modprobe exitless_kvm)?" : "");
		return NULL;
	}
	state = direct_parse(text);
	free(text);
	return state;
}

const json_t *direct_vcpu(const json_t *state, int pid, unsigned vcpu)
{
	json_t *list = json_object_get(state, "vcpu"), *one;
	size_t i;

	json_array_foreach(list, i,
			   one) if (json_integer_value(json_object_get(one, "pid")) == pid &&
				    json_integer_value(json_object_get(one, "index")) ==
					    vcpu) return one;
	return NULL;
}

/* ---- switching ---------------------------------------------------------------------------------
 */

int direct_on(struct host *host, const struct direct_wish *wish, struct host_error *error)
{
	static const struct {
		int err;
		const char *meaning;
	} errors[] = {
		{ ENOENT, "is exitless_kvm loaded (modprobe exitless_kvm)?" },
		{ EINVAL, "the CPU is the host's first one, or the module knows no such wish" },
		{ ESRCH, "there is no such process" },
		{ EBUSY, "that CPU or vCPU is in direct mode already" },
		{ ESHUTDOWN, "the machine is about to stop" },
		{ ETIME, "the vCPU did not enter the guest on that CPU within 5 s: is it bound to "
			 "it, and does it run?" },
		{ ERANGE, "the guest's timer frequency is not the LAPIC's: KVM shows it another "
			  "one" },
		{ EOPNOTSUPP, "the LAPIC does not keep the host's time on that CPU, or it is not "
			      "in x2APIC mode (and the guest's TSC not the host's); or the guest's "
			      "LAPIC is not in the kernel, or its state is protected" },
	};
	char *text = host_printf("on pid=%d vcpu=%u cpu=%u timer=%d%s", wish->pid, wish->vcpu,
				 wish->cpu, wish->timer, wish->ipi ? " ipi=1" : "");
	int err = host_write(host, text, DIRECT_DEVICE);
	const char *meaning = strerror(-err);

	free(text);
	if (!err)
		return 0;
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (err == -errors[i].err)
			meaning = errors[i].meaning;
	return host_fail(error, err, "vCPU %u on CPU %u: %s", wish->vcpu, wish->cpu, meaning);
}

int direct_off(struct host *host, int pid, int vcpu, struct host_error *error)
{
	char *text = vcpu < 0 ? host_printf("off pid=%d", pid)
			      : host_printf("off pid=%d vcpu=%d", pid, vcpu);
	int err = host_write(host, text, DIRECT_DEVICE);

	free(text);
	return err ? host_fail(error, err, "process %d: %s", pid,
			       err == -ENOENT ? "not in direct mode" : strerror(-err))
		   : 0;
}
