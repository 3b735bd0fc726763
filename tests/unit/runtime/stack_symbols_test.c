/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stack_symbols_test.c - names from files, also from one that never answers
 *
 * The test has an open() of its own: while `hangs` is set, that of a file is that of a FIFO nobody writes to, as on a dead mount.
 * And an fstat(): while `is_elsewhere` is set, each file is on another device than it was mapped from.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include "runtime/stack_symbols.h"

#include <fcntl.h>
#include <hshm/atomic.h>
#include <hshm/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SOON_NS	 (20 * HSHM_NSEC_PER_SEC)
#define END_NS	 (5 * HSHM_NSEC_PER_SEC) /* the end waits a second; the machine may be busy */
#define N_PASSED 20u			 /* more than may be left waiting */

static struct chi_background *reader;
static char fifo[256];
static hshm_au32 hangs, n_hanging, is_elsewhere;

int open(const char *path, int flags, ...)
{
	if (!hshm_load_acquire(&hangs) || strncmp(path, "/proc/", 6) == 0)
		return openat(AT_FDCWD, path, flags, 0600);
	hshm_fetch_add_relaxed(&n_hanging, 1);
	return openat(AT_FDCWD, fifo, O_RDONLY | O_CLOEXEC);
}

int fstat(int fd, struct stat *st)
{
	int ret = fstatat(fd, "", st, AT_EMPTY_PATH);

	if (hshm_load_acquire(&is_elsewhere))
		st->st_dev = makedev(major(st->st_dev) + 1, minor(st->st_dev));
	return ret;
}

static __attribute__((noinline)) void known_function(void)
{
	__asm__ volatile("");
}

static struct chi_stack known_stack(void)
{
	char *pc = (char *)(uintptr_t)known_function;

	/* the second one is behind a call */
	return (struct chi_stack){ .n = 3, .pcs = { pc, pc + 1, &reader } };
}

static void await_ready(const struct chi_stack_symbols *symbols)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);

	while (!chi_stack_symbols_ready(symbols)) {
		assert_true(hshm_clock_ns() < deadline_ns);
		usleep(1000);
	}
}

static void expect_begin(const struct chi_stack_symbols *symbols, uint32_t i, const char *text)
{
	const char *found = chi_stack_symbols_text(symbols, i);

	if (strncmp(found, text, strlen(text)) != 0)
		fail_msg("'%s' does not begin with '%s'", found, text);
}

static int start(void **state)
{
	(void)state;
	snprintf(fifo, sizeof(fifo), "%s/dead", getenv("XDG_RUNTIME_DIR"));
	unlink(fifo);
	hshm_store_relaxed(&hangs, 0);
	hshm_store_relaxed(&n_hanging, 0);
	hshm_store_relaxed(&is_elsewhere, 0);
	return mkfifo(fifo, 0600) < 0 ? -1 : chi_stack_symbols_reader(&reader);
}

static void a_stack_gets_names_offsets_and_files(void **state)
{
	struct chi_stack stack = known_stack();
	struct chi_stack_symbols *symbols = chi_stack_symbols_ask(reader, &stack);

	(void)state;
	assert_non_null(symbols);
	assert_int_equal(chi_stack_symbols_n(symbols), 3);
	await_ready(symbols);
	expect_begin(symbols, 0, "known_function+0x0 (runtime_stack_symbols+0x");
	expect_begin(symbols, 1, "known_function+0x1 (runtime_stack_symbols+0x");
	chi_stack_symbols_put(symbols);
	chi_background_destroy(reader);
}

/* Another file system was mounted over it: the number of the inode may be that of any file. */
static void a_file_of_another_device_gives_no_names(void **state)
{
	struct chi_stack stack = known_stack();
	struct chi_stack_symbols *symbols;

	(void)state;
	hshm_store_release(&is_elsewhere, 1);
	symbols = chi_stack_symbols_ask(reader, &stack);
	assert_non_null(symbols);
	await_ready(symbols);
	expect_begin(symbols, 0, "runtime_stack_symbols+0x");
	chi_stack_symbols_put(symbols);
	chi_background_destroy(reader);
}

/* Who asks has files and offsets at once; those who ask later, too, and what hangs does not grow with them. */
static void a_file_that_never_answers_holds_nobody_up(void **state)
{
	struct chi_stack stack = known_stack();
	struct chi_stack_symbols *symbols[N_PASSED];
	uint64_t begin_ns = hshm_clock_ns();
	uint32_t n_ready = 0;
	int writer;

	(void)state;
	hshm_store_release(&hangs, 1);
	for (uint32_t i = 0; i < N_PASSED; i++) {
		symbols[i] = chi_stack_symbols_ask(reader, &stack);
		assert_non_null(symbols[i]);
		expect_begin(symbols[i], 0, "runtime_stack_symbols+0x");
		n_ready += chi_stack_symbols_ready(symbols[i]);
	}
	assert_false(chi_stack_symbols_ready(symbols[0]));
	assert_true(n_ready >= N_PASSED / 2);
	while (!hshm_load_relaxed(&n_hanging))
		usleep(1000);
	for (uint32_t i = 0; i < N_PASSED; i++)
		chi_stack_symbols_put(symbols[i]);
	chi_background_destroy(reader);
	assert_true(hshm_clock_ns() - begin_ns < END_NS);

	/* somebody answers: the reader ends, and reads nothing that nobody waits for */
	hshm_store_release(&hangs, 0);
	writer = openat(AT_FDCWD, fifo, O_WRONLY | O_CLOEXEC);
	assert_true(writer >= 0);
	close(writer);
	assert_int_equal(hshm_load_relaxed(&n_hanging), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_stack_gets_names_offsets_and_files, start),
		cmocka_unit_test_setup(a_file_of_another_device_gives_no_names, start),
		cmocka_unit_test_setup(a_file_that_never_answers_holds_nobody_up, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
