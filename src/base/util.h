/* SPDX-License-Identifier: BSD-2-Clause */
/* Small helpers that every folder uses. Nothing here allocates, locks or logs. */
#ifndef EXITLESS_BASE_UTIL_H
#define EXITLESS_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_SIZE(a)		 (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, m) ((type *)((char *)(p)-offsetof(type, m)))
#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) min_a = (a);                                                         \
		__typeof__(b) min_b = (b);                                                         \
		min_a < min_b ? min_a : min_b;                                                     \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) max_a = (a);                                                         \
		__typeof__(b) max_b = (b);                                                         \
		max_a > max_b ? max_a : max_b;                                                     \
	})
#define BIT(n)		 (1u << (n))
#define ALIGN_UP(x, a)	 (((x) + (a)-1) / (a) * (a))
#define ALIGN_DOWN(x, a) ((x) / (a) * (a))
#define likely(x)	 __builtin_expect(!!(x), 1)
#define unlikely(x)	 __builtin_expect(!!(x), 0)
#define CACHE_LINE	 64

/* For a function that a signal may run in the middle of anything, with locks of a sanitizer's
 * runtime held: it is compiled without instrumentation. */
#define UNINSTRUMENTED
#ifdef __has_attribute
#if __has_attribute(disable_sanitizer_instrumentation)
#undef UNINSTRUMENTED
#define UNINSTRUMENTED __attribute__((disable_sanitizer_instrumentation))
#endif
#endif

/* One load or store that the compiler neither repeats nor tears; for memory that a guest or another
 * thread may write at any time. Plain machine accesses, no ordering. */
#define READ_ONCE(x)	    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)    __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define LOAD_ACQUIRE(x)	    __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE_RELEASE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

/* Fetches the cache line of @p to be written soon: into this core alone, where a plain prefetch and
 * the store after it would ask the other core twice. */
static inline void prefetch_write(const void *p)
{
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
}

/* A counter that one thread adds to and others read: no lock prefix, no torn read. */
#define COUNT(c, n) WRITE_ONCE(c, (c) + (n))

static inline bool is_power_of_two(uint64_t x)
{
	return x && !(x & (x - 1));
}

static inline uint16_t load_be16(const void *p)
{
	const uint8_t *b = p;

	return (uint16_t)(b[0] << 8 | b[1]);
}

static inline void store_be16(void *p, uint16_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
}

static inline uint32_t load_be32(const void *p)
{
	return (uint32_t)load_be16(p) << 16 | load_be16((const uint8_t *)p + 2);
}

static inline void store_be32(void *p, uint32_t v)
{
	store_be16(p, (uint16_t)(v >> 16));
	store_be16((uint8_t *)p + 2, (uint16_t)v);
}

/* Little-endian loads and stores at any alignment (the host is little-endian x86). */
#define DEFINE_LOAD_STORE_LE(bits)                                                                 \
	static inline uint##bits##_t load_le##bits(const void *p)                                  \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return v;                                                                          \
	}                                                                                          \
	static inline void store_le##bits(void *p, uint##bits##_t v)                               \
	{                                                                                          \
		memcpy(p, &v, sizeof(v));                                                          \
	}
DEFINE_LOAD_STORE_LE(16)
DEFINE_LOAD_STORE_LE(32)
DEFINE_LOAD_STORE_LE(64)
#undef DEFINE_LOAD_STORE_LE

#endif
