/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which endpoint should move to which core: the decision alone, over numbers, so that it can be
 * tested. Private to manager/.
 */
#ifndef EXITLESS_MANAGER_BALANCE_H
#define EXITLESS_MANAGER_BALANCE_H

#include <stdbool.h>

/* Loads are shares of one core's time, in thousandths. */
struct balance_core {
	unsigned load;
};

struct balance_endpoint {
	unsigned core; /* index */
	unsigned load;
	bool stays; /* pinned by its configuration, or moved a short while ago */
};

struct balance_choice {
	unsigned endpoint, from, to; /* indexes */
	unsigned gain;		     /* how much less the busier of both cores has */
};

/* True, and *choice, when the busiest core has at least @high and some endpoint's move makes the
 * busier of the two cores have at least @gain less. */
bool balance_choose(const struct balance_core *cores, unsigned n_cores,
		    const struct balance_endpoint *endpoints, unsigned n_endpoints, unsigned high,
		    unsigned gain, struct balance_choice *choice);

#endif
