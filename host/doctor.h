/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a host has and lacks for near-native I/O: for devices of the daemon, for devices that
 * machines get by VFIO, and for direct interrupts. Reads only.
 */
#ifndef EXITLESS_HOST_DOCTOR_H
#define EXITLESS_HOST_DOCTOR_H

#include "host/host.h"

#include <jansson.h>

/*
 * An object:
 *
 *	"checks"	an array of {"id", "for": "host" | "daemon" | "vfio" | "direct",
 *			"state": "good" | "note" | "better" | "bad" | "unknown", "found", "means",
 *			"do"}; "do" is missing where there is nothing to do
 *	"direct"	{"possible", "helps", "verdict": "helps" | "has-better" | "impossible",
 *			"why", "in_the_way": [ids of checks]}
 */
json_t *doctor_examine(const struct host *host);

#endif
