/* SPDX-License-Identifier: BSD-2-Clause */
/* The schemas of all objects, and what a whole configuration decodes into. */
#ifndef EXITLESS_CONTROL_OBJECTS_H
#define EXITLESS_CONTROL_OBJECTS_H

#include "control/schema.h"
#include "manager/spec.h"

#define CONTROL_SOCKET	  "/run/exitless/exitless.sock"
#define CONTROL_DIRECTORY "/run/exitless"

/* The control socket, and the daemon as a whole. */
struct control_spec {
	char socket[SPEC_SOCKET_BYTES];
	uid_t owner; /* -1: leave */
	gid_t group;
	mode_t mode;
	char directory[SPEC_SOCKET_BYTES];
	uint64_t stop_wait_ns; /* guests may see their links go down */
	bool allow_tap;	       /* keep what it takes to add tap ports at run time */
};

/* What the daemon is left with once it serves. */
#define SANDBOX_PATHS_MAX 16
struct sandbox_spec {
	bool files;	/* limited, if the kernel can */
	unsigned calls; /* enum sandbox_calls */
	char paths[SANDBOX_PATHS_MAX][SPEC_FILE_BYTES];
	unsigned n_paths;
};

/* A machine with its devices, as in a configuration. */
struct machine_entry {
	struct machine_spec spec;
	struct schema_list devices; /* of struct device_spec */
};

struct config {
	struct control_spec control;
	char log_level[SPEC_KIND_BYTES];
	struct sandbox_spec sandbox;
	struct balance_spec balance;
	struct schema_list cores, switches, ports; /* of struct core_spec... */
	struct schema_list machines;		   /* of struct machine_entry */
};

extern const struct schema control_schema;
extern const struct schema sandbox_schema;
extern const struct schema balance_schema;
extern const struct schema core_schema;
extern const struct schema switch_schema;
extern const struct schema port_schema;
extern const struct schema device_schema;
extern const struct schema machine_schema; /* of struct machine_entry */
extern const struct schema config_schema;

#endif
