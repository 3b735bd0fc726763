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

#define READY_MAX_MS 30000
#define END_MAX_MS   30000

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

static bool is_readable_within(int fd, int timeout_ms)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	int n;

	do
		n = poll(&readable, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* What the daemon says until the end of a line, or its own, or no more for READY_MAX_MS. */
static void read_line(int fd, char *line, size_t size)
{
	size_t length = 0;
	ssize_t n = 1;

	while (n > 0 && length < size - 1 && !memchr(line, '\n', length) && is_readable_within(fd, READY_MAX_MS)) {
		n = read(fd, line + length, size - 1 - length);
		length += n > 0 ? (size_t)n : 0;
	}
	line[length] = '\0';
}

pid_t daemon_start(const char *name, const char *config_text)
{
	char line[256];
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	pid = launch(name, config_text, ends[1]);
	close(ends[1]);
	read_line(ends[0], line, sizeof(line));
	close(ends[0]);
	if (strstr(line, "ready"))
		return pid;
	fprintf(stderr, "the daemon has ended, or is not ready after %d s; it said: '%s'\n", READY_MAX_MS / 1000, line);
	if (pid > 0)
		daemon_end(pid, SIGKILL);
	return -1;
}

static bool ends_within(pid_t pid, int timeout_ms)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool ended = is_readable_within(pidfd, timeout_ms);

	close(pidfd);
	return ended;
}

int daemon_freeze(pid_t pid)
{
	int status;

	if (kill(pid, SIGSTOP) < 0 || waitpid(pid, &status, WUNTRACED) != pid)
		return -1;
	return WIFSTOPPED(status) ? 0 : -1;
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
