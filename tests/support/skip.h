/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/skip.h - leave a case out, with the reason that ./dev test shows
 *
 * Include after cmocka.h. A reason that mentions root fails in CI, which runs the tests with and without it.
 */
#ifndef TESTS_SUPPORT_SKIP_H
#define TESTS_SUPPORT_SKIP_H

#include <stdio.h>

/* inside a cmocka case; does not return */
#define skip_because(...)            \
	do {                         \
		printf("SKIP: ");    \
		printf(__VA_ARGS__); \
		printf("\n");        \
		fflush(stdout);      \
		skip();              \
	} while (0)

/* Our cross build runs under qemu-user alone; a machine of that kind has cmocka itself. */
#ifdef TESTS_CROSS_CMOCKA_H
#define skip_under_qemu(reason) skip_because("qemu-user %s", reason)
#else
#define skip_under_qemu(reason)
#endif

#endif
