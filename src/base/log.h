/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging: one line per event on standard error, with a level that journald and syslog understand
 * ("<6>" prefixes when standard error is not a terminal). Library code returns errors and does not
 * log; only the boundary that handles an event does (a transport, the manager, main). Any thread;
 * never on the per-packet path.
 */
#ifndef EXITLESS_BASE_LOG_H
#define EXITLESS_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* Returns the level of "error", "warning", "info" or "debug", -EINVAL for any other word. */
int log_level_parse(const char *word);
const char *log_level_name(enum log_level level);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)	 log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * A budget for lines that a guest or client can cause: @burst lines at once, then one per
 * @interval_ns. Embed one per object that can misbehave; zero-initialised it allows 5 and then one
 * per 10 s. Not thread safe: one thread per object.
 */
struct log_limit {
	uint64_t interval_ns; /* 0: 10 s */
	unsigned burst;	      /* 0: 5 */
	unsigned used;
	unsigned suppressed;
	uint64_t since_ns;
};

/* True when a line may be written; *suppressed tells how many were not since the last one. */
bool log_limit_ok(struct log_limit *limit, unsigned *suppressed);

#define log_limited(limit, level, fmt, ...)                                                        \
	do {                                                                                       \
		unsigned log_suppressed;                                                           \
		if (log_limit_ok(limit, &log_suppressed)) {                                        \
			if (log_suppressed)                                                        \
				log_line(level, fmt " (%u like it not shown)", ##__VA_ARGS__,      \
					 log_suppressed);                                          \
			else                                                                       \
				log_line(level, fmt, ##__VA_ARGS__);                               \
		}                                                                                  \
	} while (0)

#endif
