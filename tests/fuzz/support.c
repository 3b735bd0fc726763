/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * support.c - what the fuzzers share (fuzz.h)
 */
#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/random.h"

static int report_fd = STDERR_FILENO;
static char folder[4096];

void fuzz_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	dprintf(report_fd, "fuzz: ");
	vdprintf(report_fd, format, args);
	dprintf(report_fd, "\n");
	va_end(args);
	abort();
}

void fuzz_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vdprintf(report_fd, format, args);
	dprintf(report_fd, "\n");
	va_end(args);
}

void fuzz_init(void)
{
	report_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
}

void fuzz_pause(void)
{
	sched_yield();
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static void remove_folder(void)
{
	if (chdir("/") == 0)
		nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void fuzz_enter_folder(void)
{
	const char *base = getenv("TMPDIR");

	snprintf(folder, sizeof(folder), "%s/chi-fuzz.XXXXXX", base && *base ? base : "/tmp");
	if (!mkdtemp(folder) || chdir(folder) != 0)
		fuzz_fail("no folder %s", folder);
	atexit(remove_folder);
}

/* ---- text ---- */

/* Below @n. */
uint32_t fuzz_random(uint64_t *state, uint32_t n)
{
	return (uint32_t)(splitmix64(state) % n);
}

/* Where a line begins, somewhere; @data's size with luck. */
static size_t some_line(const uint8_t *data, size_t size, uint64_t *random)
{
	size_t at = size ? fuzz_random(random, (uint32_t)size + 1) : 0;

	while (at && at < size && data[at - 1] != '\n')
		at--;
	return at;
}

static size_t end_of_line(const uint8_t *data, size_t size, size_t at)
{
	while (at < size && data[at] != '\n')
		at++;
	return at < size ? at + 1 : at;
}

/* Bytes from @at to @end become @with. */
static size_t put_in_place(uint8_t *data, size_t size, size_t max_size, size_t at, size_t end, const char *with,
			   size_t n)
{
	if (size - (end - at) + n > max_size)
		return size;
	memmove(data + at + n, data + end, size - end);
	memcpy(data + at, with, n);
	return size - (end - at) + n;
}

size_t fuzz_mutate_lines(uint8_t *data, size_t size, size_t max_size, unsigned int seed,
			 void (*make_line)(uint64_t *random, char line[FUZZ_LINE_MAX]))
{
	uint64_t random = seed;
	uint32_t kind = fuzz_random(&random, 10);
	size_t at = some_line(data, size, &random), end = end_of_line(data, size, at), n = end - at;
	char line[FUZZ_LINE_MAX + 1];

	if (kind == 0 && size) /* one line less */
		return put_in_place(data, size, max_size, at, end, "", 0);
	if (kind == 1 && n && n < sizeof(line)) { /* one of them somewhere else, too */
		memcpy(line, data + at, n);
		at = some_line(data, size, &random);
		return put_in_place(data, size, max_size, at, at, line, n);
	}
	if (kind <= 6) { /* a new one, perhaps in the place of another */
		make_line(&random, line);
		n = strlen(line);
		line[n++] = '\n';
		return put_in_place(data, size, max_size, at, kind == 2 ? end : at, line, n);
	}
#ifdef CHIMAERA_FUZZ
	return LLVMFuzzerMutate(data, size, max_size);
#else
	return size;
#endif
}
