/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/holdings.c - read /proc/PID: descriptors, mappings, memory
 */
#include "support/holdings.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

unsigned holdings_names_with(const char *path, const char *begin)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned n = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		     strncmp(entry->d_name, begin, strlen(begin)) == 0;
	closedir(dir);
	return n;
}

unsigned holdings_names_in(const char *path)
{
	return holdings_names_with(path, "");
}

static unsigned count_lines_with(const char *path, const char *what)
{
	FILE *file = fopen(path, "re");
	char line[512];
	unsigned n = 0;

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		n += strstr(line, what) != NULL;
	fclose(file);
	return n;
}

static uint64_t resident_kib(const char *path)
{
	unsigned long long pages = 0;
	FILE *file = fopen(path, "re");

	if (!file)
		return 0;
	if (fscanf(file, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

struct holdings holdings_of(pid_t pid)
{
	struct holdings held = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	held.n_fds = holdings_names_in(path);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	held.n_segments = count_lines_with(path, "/memfd:");
	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	held.rss_kib = resident_kib(path);
	return held;
}
