/* SPDX-License-Identifier: BSD-3-Clause */
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chimaera.h"

#define REPORT_MAX 2048 /* less than PIPE_BUF: written at once */

/* The first byte is the exit code. It comes at once, or the pipe's end: whoever else holds the other end is not waited
 * for. */
static size_t read_report(int fd, char text[REPORT_MAX])
{
	ssize_t n;

	do
		n = read(fd, text, REPORT_MAX - 1);
	while (n < 0 && errno == EINTR);
	text[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

static void wait_for_report(int fd, pid_t daemon)
{
	char text[REPORT_MAX];
	int status = 0;

	if (read_report(fd, text) > 1) {
		fputs(text + 1, text[0] == EXIT_OK ? stdout : stderr);
		exit(text[0]);
	}
	/* it has closed the pipe without a word: it is about to be a corpse */
	if (waitpid(daemon, &status, 0) == daemon && WIFSIGNALED(status))
		fprintf(stderr, "chimaera: the daemon was killed before it was ready: %s\n",
			strsignal(WTERMSIG(status)));
	else
		fprintf(stderr, "chimaera: the daemon ended before it was ready\n");
	exit(EXIT_FAILED);
}

/* What the caller had open (a lock, the end of a pipe that somebody waits for) is not the daemon's. */
static void close_inherited(int keep)
{
	if (keep > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, (unsigned int)keep - 1, 0);
	close_range((unsigned int)keep + 1, UINT_MAX, 0);
}

/* Whoever waits for the start and presses ^C does not want a daemon. Its main thread's end is ours: by a SIGTERM. */
static void end_with(pid_t caller)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != caller)
		_exit(EXIT_FAILED);
}

int go_to_background(void)
{
	pid_t caller = getpid(), pid;
	int ends[2], null;

	if (pipe2(ends, O_CLOEXEC) < 0) {
		fprintf(stderr, "chimaera: pipe: %s\n", strerror(errno));
		return -1;
	}
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		fprintf(stderr, "chimaera: fork: %s\n", strerror(errno));
		return -1;
	}
	if (pid > 0) {
		close(ends[1]);
		wait_for_report(ends[0], pid);
	}
	end_with(caller);
	close_inherited(ends[1]);
	setsid();
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		close(null);
	}
	return ends[1];
}

void report(int report_fd, int exit_code, const char *format, ...)
{
	char text[REPORT_MAX];
	va_list args;
	ssize_t n;

	text[0] = (char)exit_code;
	va_start(args, format);
	vsnprintf(text + 1, sizeof(text) - 1, format, args);
	va_end(args);
	prctl(PR_SET_PDEATHSIG, 0); /* its end is no reason for ours any more */
	n = write(report_fd, text, strlen(text + 1) + 1);
	(void)n; /* when nobody waits any more, nobody is to be told */
	close(report_fd);
}

bool redirect_output(const char *path)
{
	/* not blocking: of a pipe without a reader there is nothing to wait for */
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);

	if (fd < 0)
		return false;
	fflush(NULL);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
	return true;
}
