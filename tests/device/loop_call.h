/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls on the thread of a test's event loop, for harnesses whose server runs on one. */
#ifndef TESTS_DEVICE_LOOP_CALL_H
#define TESTS_DEVICE_LOOP_CALL_H

#include "base/loop.h"
#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

struct loop_call {
	void (*fn)(void *arg);
	void *arg;
	int done;
};

static inline void loop_called(void *arg)
{
	struct loop_call *call = arg;

	call->fn(call->arg);
	STORE_RELEASE(call->done, 1);
}

/* Runs @fn on @loop's thread and returns when it has ended. From any other thread. */
static inline void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct loop_call call = { fn, arg, 0 };

	assert_int_equal(loop_post(loop, loop_called, &call), 0);
	while (!LOAD_ACQUIRE(call.done))
		usleep(20);
}

#endif
