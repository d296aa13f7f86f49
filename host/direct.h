/* SPDX-License-Identifier: BSD-2-Clause */
/* The host module's control device, /dev/exitless_kvm (docs/direct.md). */
#ifndef EXITLESS_HOST_DIRECT_H
#define EXITLESS_HOST_DIRECT_H

#include "host/host.h"

#include <jansson.h>

#define DIRECT_DEVICE "/dev/exitless_kvm"

/*
 * What the device shows, an object: "module" (abi, hardware), and arrays "vcpu", "route" and
 * "foreign" of objects with the words of each line; numbers are numbers. Of a word that begins with
 * "entries_" or "vector_" the rest is a key in the object "entries" or "vectors". NULL with @error
 * set.
 */
json_t *direct_read(const struct host *host, struct host_error *error);
/* The same from text. */
json_t *direct_parse(const char *text);

/* Of what direct_read() gave: the one of this vCPU, or NULL; borrowed. */
const json_t *direct_vcpu(const json_t *state, int pid, unsigned vcpu);

/* Switches a vCPU on. -errno with @error telling what the module means by it. */
struct direct_wish {
	int pid;
	unsigned vcpu, cpu;
	bool timer, ipi;
};
int direct_on(struct host *host, const struct direct_wish *wish, struct host_error *error);
/* @vcpu -1: all of the process. -ENOENT: it was not on. */
int direct_off(struct host *host, int pid, int vcpu, struct host_error *error);

/* Why an entry was stock, for people; the module's own word where it is not known here. */
const char *direct_why(const char *word);
/* Does that pass by itself, or is something in the way until it is changed? */
bool direct_why_lasts(const char *word);

#endif
