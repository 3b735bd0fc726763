/* SPDX-License-Identifier: BSD-3-Clause */
#include "runtime/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void log_line(enum chi_log_level level, const char *format, va_list args)
{
	uint32_t target = hshm_load_relaxed(&log_target); /* relaxed: see chi_log_open() */
	char line[LINE_MAX_BYTES];
	int head = write_head(line, sizeof(line), TARGET_STYLE(target), level);
	int body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args);
	size_t size;

	if (body < 0)
		return;
	size = strlen(line);
	/* names and texts may come from a client: no line breaks, no terminal escapes */
	for (size_t i = (size_t)head; i < size; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[size++] = '\n';

	/* one write, so that lines of several threads stay whole; when the reader is gone there is nobody to tell */
	if (write(TARGET_FD(target), line, size) < 0)
		return;
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
