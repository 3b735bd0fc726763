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
#include <unistd.h>

#include <cmocka.h>

#include "support/aborts.h"
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
