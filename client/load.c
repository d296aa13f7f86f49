/* SPDX-License-Identifier: BSD-2-Clause */
#include "client/load.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A property of the machine; written once, by load_clock_init(). */
static double cycles_per_s, ns_per_cycle;

void load_clock_init(void)
{
	uint64_t ns = time_now_ns(), cycles = time_cycles(), now;

	if (cycles_per_s > 0)
		return;
	do
		now = time_now_ns();
	while (now - ns < 20 * NS_PER_MS);
	cycles_per_s = (double)(time_cycles() - cycles) * 1e9 / (double)(now - ns);
	ns_per_cycle = 1e9 / cycles_per_s;
}

double load_cycles_per_s(void)
{
	return cycles_per_s;
}

uint64_t load_ns(uint64_t cycles)
{
	return (uint64_t)((double)cycles * ns_per_cycle);
}

int load_cpu_seconds(int pid, double *seconds)
{
	unsigned long long user, kernel;
	char path[64], line[1024];
	const char *end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return -ESRCH;
	end = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	/* proc(5): utime and stime are fields 14 and 15; the name, field 2, may hold anything */
	if (!end || sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
			   &kernel) != 2)
		return -ESRCH;
	*seconds = (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
	return 0;
}

int load_pin(int cpu)
{
	cpu_set_t cpus;

	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&cpus);
	CPU_SET((unsigned)cpu, &cpus);
	return sched_setaffinity(0, sizeof(cpus), &cpus) < 0 ? -errno : 0;
}
