/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to sandbox/. */
#ifndef EXITLESS_SANDBOX_PRIVATE_H
#define EXITLESS_SANDBOX_PRIVATE_H

/* The sanitizers' runtimes look at the process, and start a symbolizer and, for leaks, a tracer. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
