/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A function's accesses to a piece of shared memory, one by one (x86-64): its pages are taken away,
 * the instruction that then faults is let through alone, and after as many as wanted the other side
 * has its turn. So a test goes through every point at which the other side may come in between,
 * each time the same way. Whole pages; nothing else may be in them that matters.
 */
#ifndef EXITLESS_TESTS_UNIT_STEPPED_H
#define EXITLESS_TESTS_UNIT_STEPPED_H

#include <stdbool.h>
#include <stddef.h>

/* Not under ThreadSanitizer: a fault inside of its atomics, with its locks held, is too much. */
bool stepped_possible(void);

/* Runs @fn, and @turn after @n (from 1) accesses of it to [@at, @at + @bytes), with no access
 * stopped from then on. False if there were fewer: @turn has not run. Not reentrant. */
bool stepped_run(void *at, size_t bytes, unsigned n, void (*fn)(void), void (*turn)(void));

#endif
