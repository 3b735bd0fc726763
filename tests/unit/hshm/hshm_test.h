/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm_test.h - what the tests of the shared-memory floor have in common
 */
#ifndef HSHM_TEST_H
#define HSHM_TEST_H

#ifdef NDEBUG
#error "tests need their asserts"
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/skip.h"

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* xorshift64*: small, and the same on every machine */
__attribute__((unused)) static uint64_t random_u64(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

__attribute__((unused)) static uint64_t random_below(uint64_t *state, uint64_t n)
{
	return random_u64(state) % n;
}

/* In a child, so that the test goes on: does the call end the process by abort()? */
__attribute__((unused)) static bool aborts(void (*fn)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		signal(SIGABRT, SIG_DFL);
		dup2(null, STDERR_FILENO);
		fn(arg);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

__attribute__((unused)) static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

#endif
