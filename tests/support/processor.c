/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/processor.c - /proc/PID/task/TID/schedstat: time run, time waited for a processor, slices
 */
#include "support/processor.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has_name(pid_t pid, const char *thread, const char *name)
{
	char path[320], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, thread);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	return !strncmp(text, name, strlen(name));
}

int processor_open(pid_t pid, pid_t tid)
{
	char path[64];

	if (tid)
		snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
	else
		snprintf(path, sizeof(path), "/proc/thread-self/schedstat");
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void add(struct processor_waits *waits, pid_t pid, pid_t tid)
{
	int fd = processor_open(pid, tid);

	if (fd >= 0)
		waits->fds[waits->n++] = fd;
}

void processor_watch(struct processor_waits *waits, pid_t pid, const char *name)
{
	char path[64];
	struct dirent *entry;
	DIR *dir;

	waits->n = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) && waits->n < PROCESSOR_THREADS_MAX - 1) {
		if (entry->d_name[0] == '.' || !has_name(pid, entry->d_name, name))
			continue;
		add(waits, pid, (pid_t)strtol(entry->d_name, NULL, 10));
	}
	if (dir)
		closedir(dir);
	add(waits, 0, 0);
	(void)processor_waited_ns(waits);
}

uint64_t processor_wait_ns(int fd)
{
	char text[128], *end;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	(void)strtoull(text, &end, 10);
	return strtoull(end, NULL, 10);
}

uint64_t processor_waited_ns(struct processor_waits *waits)
{
	uint64_t own_ns = 0, others_ns = 0;

	for (uint32_t i = 0; i < waits->n; i++) {
		uint64_t now_ns = processor_wait_ns(waits->fds[i]), ns = now_ns - waits->waited_ns[i];

		waits->waited_ns[i] = now_ns;
		if (i == waits->n - 1)
			own_ns = ns;
		else if (ns > others_ns)
			others_ns = ns;
	}
	return own_ns + others_ns;
}
