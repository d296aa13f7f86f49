/* SPDX-License-Identifier: BSD-2-Clause */
/* Which models there are, and who makes them. */
#include "nic/nic.h"

#include "nic/e1000/model.h"

struct nic *nic_new(const struct nic_config *config, struct memory_space *space)
{
	return e1000_new(config, space);
}

const char *const *nic_models(void)
{
	return e1000_models;
}
