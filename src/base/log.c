/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include "base/clock.h"
#include "base/util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static const char *const level_names[] = { "error", "warning", "info", "debug" };
static const char level_syslog[] = { '3', '4', '6', '7' };

/* The process has one log; its level is the only state. */
static enum log_level log_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	WRITE_ONCE(log_level, level);
}

enum log_level log_get_level(void)
{
	return READ_ONCE(log_level);
}

int log_level_parse(const char *word)
{
	for (unsigned i = 0; i < ARRAY_SIZE(level_names); i++)
		if (!strcmp(word, level_names[i]))
			return (int)i;
	return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

/* One write per line, so that lines of several threads do not mix; control characters (a client
 * chose some of the text) are shown as '?'. */
void log_line(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	int head, n;
	va_list ap;

	if (level > log_get_level())
		return;
	if (isatty(STDERR_FILENO))
		head = snprintf(line, sizeof(line), "exitlessd: %s: ", level_names[level]);
	else
		head = snprintf(line, sizeof(line), "<%c>%s: ", level_syslog[level],
				level_names[level]);
	va_start(ap, fmt);
	n = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	n = MIN(head + n, (int)sizeof(line) - 2);
	for (int i = head; i < n; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nowhere to say it */
}

bool log_limit_ok(struct log_limit *limit, unsigned *suppressed)
{
	uint64_t interval = limit->interval_ns ? limit->interval_ns : 10 * NS_PER_S;
	unsigned burst = limit->burst ? limit->burst : 5;
	uint64_t now = time_now_ns();
	uint64_t refill = (now - limit->since_ns) / interval;

	*suppressed = 0;
	if (!limit->since_ns) {
		limit->since_ns = now;
	} else if (refill) {
		limit->used -= (unsigned)MIN((uint64_t)limit->used, refill);
		limit->since_ns += refill * interval;
	}
	if (limit->used >= burst) {
		limit->suppressed++;
		return false;
	}
	limit->used++;
	*suppressed = limit->suppressed;
	limit->suppressed = 0;
	return true;
}
