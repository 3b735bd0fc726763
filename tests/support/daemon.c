/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/daemon.c - start `chimaera start --foreground` and read its first line
 */
#include "support/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_MAX_MS 30000

/* Returns the path of a file with the text, to be freed. */
static char *write_config(const char *name, const char *text)
{
	char *path = NULL;
	FILE *file;

	if (asprintf(&path, "%s/%s.yaml", getenv("XDG_RUNTIME_DIR"), name) < 0)
		return NULL;
	file = fopen(path, "we");
	if (file && (fputs(text, file) == EOF || fclose(file) == EOF))
		perror(path);
	return path;
}

static pid_t launch(const char *name, const char *config_text, int output)
{
	char *config = write_config(name, config_text);
	pid_t pid = fork();

	if (pid == 0) {
		if (output >= 0)
			dup2(output, STDOUT_FILENO);
		execl(getenv("CHIMAERA_BIN"), "chimaera", "start", "--foreground", "--name", name, "--config", config,
		      (char *)NULL);
		perror("chimaera");
		_exit(127);
	}
	free(config);
	return pid;
}

pid_t daemon_launch(const char *name, const char *config_text)
{
	return launch(name, config_text, -1);
}

pid_t daemon_start(const char *name, const char *config_text)
{
	char line[256] = "";
	int ends[2];
	FILE *file;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	pid = launch(name, config_text, ends[1]);
	close(ends[1]);
	file = fdopen(ends[0], "r");
	if (!fgets(line, sizeof(line), file) || !strstr(line, "ready"))
		fprintf(stderr, "the daemon said: '%s'\n", line);
	fclose(file);
	return strstr(line, "ready") ? pid : -1;
}

static bool ends_within(pid_t pid, int timeout_ms)
{
	struct pollfd ended = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	int n;

	do
		n = poll(&ended, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	close(ended.fd);
	return n != 0;
}

int daemon_end(pid_t pid, int signal)
{
	bool timed_out = false;
	int status = -1;

	/* kill() takes -1 for every process of the machine */
	if (pid <= 0)
		abort();
	kill(pid, signal);
	if (!ends_within(pid, END_MAX_MS)) {
		fprintf(stderr, "the daemon %d does not end\n", (int)pid);
		kill(pid, SIGKILL);
		timed_out = true;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return timed_out ? -1 : status;
}
