/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the doctor share; private to host/. */
#ifndef EXITLESS_HOST_DOCTOR_CHECK_H
#define EXITLESS_HOST_DOCTOR_CHECK_H

#include "host/topology.h"

#include <jansson.h>

enum doctor_state {
	DOCTOR_GOOD,
	DOCTOR_NOTE,   /* so it is; nothing to do */
	DOCTOR_BETTER, /* works, but it could be better */
	DOCTOR_BAD,    /* does not work without */
	DOCTOR_UNKNOWN,
};

struct doctor {
	const struct host *host;
	json_t *checks;
	struct topology *topology; /* NULL: it does not tell */
	char *cpuinfo;		   /* the first CPU's part of /proc/cpuinfo; "" without */
	char *cmdline, *dmesg;	   /* "" without */
	char *config;		   /* the kernel's; NULL if it is nowhere */
	char *release;		   /* uname -r; "" without */
	bool intel, amd;

	/* For the verdict. */
	bool virtualization, x2apic, remapping, posted; /* posted: interrupts come without exits */
	bool isolated;
};

/* Adds a check. @what: which half it is for; @todo may be NULL. */
void doctor_add(struct doctor *d, const char *id, const char *what, enum doctor_state state,
		char *found, const char *means, const char *todo); /* takes @found over */

/* Is the word in the line "KEY : word word" of cpuinfo? */
bool doctor_flag(const struct doctor *d, const char *key, const char *flag);
/* A parameter of a module: "" if it is not there; on the heap. */
char *doctor_parameter(const struct doctor *d, const char *module, const char *name);
/* The value of CONFIG_@name: "y", "m", a text, or "" where it is not set; on the heap. */
char *doctor_config(const struct doctor *d, const char *name);
/* Is the word in the kernel's command line, as KEY or KEY=...? Its value on the heap, or NULL. */
char *doctor_boot(const struct doctor *d, const char *key);

/* The parts, in order. */
void doctor_cpu(struct doctor *d);    /* virtualization and interrupts */
void doctor_iommu(struct doctor *d);  /* IOMMU, remapping, VFIO */
void doctor_kernel(struct doctor *d); /* configuration, parameters, BTF, signatures, module */
void doctor_memory(struct doctor *d); /* hugepages, CPUs, what the daemon needs */

#endif
