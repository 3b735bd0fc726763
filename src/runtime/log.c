/* SPDX-License-Identifier: BSD-3-Clause */
#include "runtime/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <hshm/clock.h>

#include "task/error.h"

#define LINE_MAX_BYTES 1024

static hshm_au32 log_level = { CHI_LOG_INFO };

enum log_style { STYLE_PLAIN, STYLE_JOURNAL, STYLE_FILE };

/* The descriptor, and how lines look there, in one word: nobody sees the one with the other's. Once a file is open its
 * descriptor stays the same, so that who is about to write never writes into something else. */
static hshm_au32 log_target = { STDERR_FILENO };
#define TARGET(fd, style)    ((uint32_t)(fd) | (uint32_t)(style) << 24)
#define TARGET_FD(target)    ((int)((target)&0xffffff))
#define TARGET_STYLE(target) ((enum log_style)((target) >> 24))
static int file_fd = -1;
static hshm_au32 n_lost; /* lines since the last that could be written */

static const char *const level_names[] = { "?", "error", "warning", "info", "debug" };

void chi_log_set_level(enum chi_log_level level)
{
	/* relaxed: a lone setting; nothing else is read by it */
	hshm_store_relaxed(&log_level, (uint32_t)level);
}

/* systemd says by JOURNAL_STREAM that standard error is the journal, unless it has been redirected since. */
static bool stderr_is_journal(void)
{
	const char *stream = secure_getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == device && st.st_ino == inode;
}

/* Not blocking: should it be a pipe, nobody's slowness may hold a worker. */
static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);

	return fd < 0 ? chi_error_set(-errno, "log file %s: %s", path, strerror(errno)) : fd;
}

int chi_log_open(const char *path)
{
	uint32_t target = TARGET(STDERR_FILENO, stderr_is_journal() ? STYLE_JOURNAL : STYLE_PLAIN);

	if (*path) {
		int fd = open_file(path);

		if (fd < 0)
			return fd;
		if (file_fd < 0) {
			file_fd = fd;
		} else {
			dup3(fd, file_fd, O_CLOEXEC);
			close(fd);
		}
		target = TARGET(file_fd, STYLE_FILE);
	}
	/* relaxed: the word is all there is to know, and the file was opened by a system call before */
	hshm_store_relaxed(&log_target, target);
	return 0;
}

static int write_head(char *line, size_t size, enum log_style style, enum chi_log_level level)
{
	/* syslog's numbers: 3 is an error, 4 a warning, 6 information, 7 for debugging */
	static const int priorities[] = { 0, 3, 4, 6, 7 };
	struct timespec now;
	struct tm tm;

	switch (style) {
	case STYLE_JOURNAL:
		return snprintf(line, size, "<%d>chimaera: %s: ", priorities[level], level_names[level]);
	case STYLE_FILE:
		clock_gettime(CLOCK_REALTIME, &now);
		gmtime_r(&now.tv_sec, &tm);
		return snprintf(line, size,
				"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ chimaera[%d]: %s: ", tm.tm_year + 1900,
				tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000,
				(int)getpid(), level_names[level]);
	case STYLE_PLAIN:
		break;
	}
	return snprintf(line, size, "chimaera: %s: ", level_names[level]);
}

/* Without a reader a pipe raises SIGPIPE, which ends a program that we are only part of. It is sent to the thread that
 * writes: kept out meanwhile, and what has come is taken. One that was waiting before stays for its owner. */
static ssize_t write_without_signal(int fd, const char *line, size_t size)
{
	static const struct timespec at_once = { 0 };
	sigset_t pipe_only, before, pending;
	ssize_t n;
	int error;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigemptyset(&pending);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
	n = write(fd, line, size);
	error = errno;
	if (n < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
		while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR)
			continue;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return n;
}

/*
 * Whoever reads standard error may have stopped, and no thread may wait for it. O_NONBLOCK cannot be set on what we
 * share with our caller; a pipe or a terminal can be opened once more. Where that is forbidden (another user's), poll()
 * says whether there is room: it leaves the gap in which somebody else takes the last of it.
 */
static ssize_t write_to_stderr(const char *line, size_t size)
{
	struct pollfd room = { .fd = STDERR_FILENO, .events = POLLOUT };
	struct stat st;
	ssize_t n;
	int fd;

	if (fstat(STDERR_FILENO, &st) < 0 || S_ISREG(st.st_mode))
		return write(STDERR_FILENO, line, size);
	if (S_ISSOCK(st.st_mode))
		return send(STDERR_FILENO, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	fd = open("/proc/self/fd/2", O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0) {
		n = write_without_signal(fd, line, size);
		if (n < 0)
			n = -errno;
		close(fd);
		errno = n < 0 ? (int)-n : 0;
		return n < 0 ? -1 : n;
	}
	if (poll(&room, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	return write_without_signal(STDERR_FILENO, line, size);
}

/* One write, so that lines of several threads stay whole. False: there is no room. When the reader is gone there is
 * nobody to tell. */
static bool write_line(uint32_t target, char *line, size_t head)
{
	size_t size = strlen(line);
	ssize_t n;

	/* names and texts may come from a client: no line breaks, no terminal escapes */
	for (size_t i = head; i < size; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[size++] = '\n';
	n = TARGET_STYLE(target) == STYLE_FILE ? write_without_signal(TARGET_FD(target), line, size)
					       : write_to_stderr(line, size);
	return n >= 0 || errno != EAGAIN;
}

static bool tell_lost(uint32_t target, uint32_t n)
{
	char line[LINE_MAX_BYTES];
	int head = write_head(line, sizeof(line), TARGET_STYLE(target), CHI_LOG_WARN);

	snprintf(line + head, sizeof(line) - (size_t)head - 1, "%u lines were lost: there was no room for them", n);
	return write_line(target, line, (size_t)head);
}

static void log_line(enum chi_log_level level, const char *format, va_list args)
{
	uint32_t target = hshm_load_relaxed(&log_target); /* relaxed: see chi_log_open() */
	uint32_t lost = hshm_load_relaxed(&n_lost);	  /* relaxed, all of it: a number that only a text tells */
	char line[LINE_MAX_BYTES];
	int head = write_head(line, sizeof(line), TARGET_STYLE(target), level);

	if (vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args) < 0)
		return;
	/* whose CAS is the one tells it */
	if (lost && hshm_cas_relaxed(&n_lost, &lost, 0) && !tell_lost(target, lost))
		hshm_fetch_add_relaxed(&n_lost, lost);
	if (!write_line(target, line, (size_t)head))
		hshm_fetch_add_relaxed(&n_lost, 1);
}

void chi_log(enum chi_log_level level, const char *format, ...)
{
	va_list args;

	if (level < CHI_LOG_ERROR || level > CHI_LOG_DEBUG || (uint32_t)level > hshm_load_relaxed(&log_level))
		return;
	va_start(args, format);
	log_line(level, format, args);
	va_end(args);
}

bool chi_log_allowed(struct chi_log_limit *limit, uint32_t burst)
{
	uint64_t now = hshm_clock_ns();
	uint64_t window = hshm_load_relaxed(&limit->window_ns);

	/* relaxed throughout: these numbers only thin out text, nothing is published by them */
	if (now - window >= HSHM_NSEC_PER_SEC && hshm_cas_relaxed(&limit->window_ns, &window, now)) {
		uint32_t held_back = hshm_load_relaxed(&limit->n_held_back);

		hshm_store_relaxed(&limit->n, 0);
		if (held_back) {
			hshm_fetch_sub_relaxed(&limit->n_held_back, held_back);
			chi_log_warn("%u lines like the next were held back", held_back);
		}
	}
	if (hshm_fetch_add_relaxed(&limit->n, 1) < burst)
		return true;
	hshm_fetch_add_relaxed(&limit->n_held_back, 1);
	return false;
}
