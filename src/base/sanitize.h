/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether this is compiled with sanitizers, which gcc and clang say differently: 0 or 1. */
#ifndef EXITLESS_BASE_SANITIZE_H
#define EXITLESS_BASE_SANITIZE_H

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED_ADDRESSES 1
#endif
#if __has_feature(thread_sanitizer)
#define SANITIZED_THREADS 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED_ADDRESSES 1
#endif
#ifdef __SANITIZE_THREAD__
#define SANITIZED_THREADS 1
#endif

#ifndef SANITIZED_ADDRESSES
#define SANITIZED_ADDRESSES 0
#endif
#ifndef SANITIZED_THREADS
#define SANITIZED_THREADS 0
#endif
#define SANITIZED (SANITIZED_ADDRESSES || SANITIZED_THREADS)

#endif
