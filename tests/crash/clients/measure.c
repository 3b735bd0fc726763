/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * measure.c - what a runtime holds: by its own counters, and by what the system says of its process
 */
#include <chimaera/counters.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crash.h"

const char *const fd_kind_names[FD_KINDS] = { "socket", "memfd", "eventfd", "pidfd", "other" };

static uint64_t number(const struct chi_counters *counters, uint32_t table, uint32_t row, const char *column)
{
	int index = chi_counters_column(table, column);

	return index < 0 ? 0 : chi_counters_number(counters, table, row, (uint32_t)index);
}

uint64_t measure_sessions(const char *name)
{
	struct chi_counters *counters;
	uint64_t n;

	if (chi_counters_read(name, &counters) < 0)
		return UINT64_MAX;
	n = number(counters, CHI_COUNTERS_RUNTIME, 0, "clients_attached") -
	    number(counters, CHI_COUNTERS_RUNTIME, 0, "clients_ended");
	chi_counters_free(counters);
	return n;
}

bool measure_workers_rest(const char *name)
{
	struct chi_counters *counters;
	uint32_t n_asleep = 0, n_rows = 0;

	if (chi_counters_read(name, &counters) < 0)
		return false;
	n_rows = chi_counters_rows(counters, CHI_COUNTERS_WORKERS);
	for (uint32_t i = 0; i < n_rows; i++)
		n_asleep += number(counters, CHI_COUNTERS_WORKERS, i, "asleep") != 0;
	chi_counters_free(counters);
	return n_rows && n_asleep == n_rows;
}

static int read_counters(const char *name, struct measure *measure)
{
	struct chi_counters *counters;

	if (chi_counters_read(name, &counters) < 0)
		return -1;
	measure->own_bytes = number(counters, CHI_COUNTERS_RUNTIME, 0, "own_bytes");
	measure->module_bytes = number(counters, CHI_COUNTERS_RUNTIME, 0, "module_bytes");
	for (uint32_t i = 0; i < chi_counters_rows(counters, CHI_COUNTERS_METHODS); i++)
		measure->in_flight += number(counters, CHI_COUNTERS_METHODS, i, "in_flight");
	chi_counters_free(counters);
	return 0;
}

static enum fd_kind kind_of(const char *target)
{
	static const char *const begins[FD_OTHER] = { "socket:", "/memfd:", "anon_inode:[eventfd]",
						      "anon_inode:[pidfd]" };

	for (uint32_t i = 0; i < FD_OTHER; i++) {
		if (!strncmp(target, begins[i], strlen(begins[i])))
			return (enum fd_kind)i;
	}
	return strncmp(target, "pidfd:", 6) ? FD_OTHER : FD_PIDFD; /* newer kernels */
}

static int read_fds(pid_t pid, struct measure *measure)
{
	char path[64], link[512], target[512];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		ssize_t n;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(link, sizeof(link), "%s/%s", path, entry->d_name);
		n = readlink(link, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		measure->fds[kind_of(target)]++;
	}
	closedir(dir);
	return 0;
}

/* A line of a mapping's head has an address with a dash in front, the lines about it have a name with a colon. */
static int read_maps(pid_t pid, struct measure *measure)
{
	char path[64], line[1024];
	bool is_client = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		size_t word = strcspn(line, " ");

		if (memchr(line, '-', word)) {
			is_client = strstr(line, "/memfd:chimaera-client-") != NULL;
			measure->segments += is_client;
		} else if (!strncmp(line, "Rss:", 4) && !is_client) {
			measure->rss_kib += strtoull(line + 4, NULL, 10);
		}
	}
	fclose(file);
	return measure->rss_kib ? 0 : -1;
}

int measure_runtime(const char *name, pid_t pid, struct measure *ret_measure)
{
	*ret_measure = (struct measure){ .rss_kib = 0 };
	if (read_counters(name, ret_measure) < 0 || read_fds(pid, ret_measure) < 0)
		return -1;
	return read_maps(pid, ret_measure);
}

bool measures_are_equal(const struct measure *a, const struct measure *b)
{
	return a->own_bytes == b->own_bytes && a->module_bytes == b->module_bytes && a->in_flight == b->in_flight &&
	       a->segments == b->segments && !memcmp(a->fds, b->fds, sizeof(a->fds));
}
