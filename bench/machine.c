/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * machine.c - two CPUs, and what is between them
 */
#include "machine.h"

#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

bool bench_parse_seconds(const char *text, double *ret_seconds)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0.05 && seconds <= 3600))
		return false;
	*ret_seconds = seconds;
	return true;
}

bool bench_parse_cpus(const char *text, unsigned ret_cpus[2])
{
	char rest;

	return sscanf(text, "%u,%u%c", &ret_cpus[0], &ret_cpus[1], &rest) == 2 && ret_cpus[0] != ret_cpus[1] &&
	       ret_cpus[0] < CPU_SETSIZE && ret_cpus[1] < CPU_SETSIZE;
}

static bool choose_cpus(struct bench *bench)
{
	cpu_set_t allowed;
	unsigned n = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return false;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET(cpu, &allowed))
			bench->cpus[n++] = cpu;
	return n == 2;
}

static void cpu_model(char *ret_text, size_t text_max)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	struct utsname machine;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		char *value = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !value)
			continue;
		value += strspn(value, ": \t");
		value[strcspn(value, "\n\"\\")] = '\0';
		snprintf(ret_text, text_max, "%s", value);
		fclose(file);
		return;
	}
	if (file)
		fclose(file);
	snprintf(ret_text, text_max, "%s", uname(&machine) ? "" : machine.machine);
}

/* Our module lies beside us; CHI_REPO_PATH, which may name others, stays in front. */
static void find_module(void)
{
	char self[PATH_MAX] = "", path[2 * PATH_MAX];
	const char *before = getenv("CHI_REPO_PATH");

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return;
	snprintf(path, sizeof(path), "%s%s%s/../bench", before ? before : "", before && *before ? ":" : "",
		 dirname(self));
	setenv("CHI_REPO_PATH", path, 1);
}

int bench_machine_start(struct bench *bench, bool cpus_given, char *ret_cpu, size_t cpu_max)
{
	int rc;

	if (!cpus_given && !choose_cpus(bench)) {
		fprintf(stderr, "chimaera-bench: needs two CPUs to measure between\n");
		return 77;
	}
	find_module();
	cpu_model(ret_cpu, cpu_max);
	/* theirs too, so that a CPU that we may not use is found here and not in the other process */
	rc = bench_pin(bench->cpus[1]);
	if (!rc)
		rc = bench_pin(bench->cpus[0]);
	if (!rc)
		rc = bench_echo_start(bench->cpus[1], &bench->echo);
	if (!rc)
		return EXIT_SUCCESS;
	fprintf(stderr, "chimaera-bench: CPUs %u and %u: %s\n", bench->cpus[0], bench->cpus[1], strerror(-rc));
	return EXIT_FAILURE;
}
