/* SPDX-License-Identifier: BSD-2-Clause */
/* What the registry of models (nic.c) needs of this family. */
#ifndef EXITLESS_NIC_E1000_MODEL_H
#define EXITLESS_NIC_E1000_MODEL_H

#include "nic/nic.h"

extern const char *const e1000_models[]; /* NULL-terminated */

/* NULL with errno set: EINVAL when it is not one of them. */
struct nic *e1000_new(const struct nic_config *config, struct memory_space *space);

#endif
