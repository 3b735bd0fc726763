/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm_internal.h - what the pieces of the floor share among themselves
 */
#ifndef HSHM_INTERNAL_H
#define HSHM_INTERNAL_H

#include <stdio.h>
#include <stdlib.h>

/* A broken rule of our own or of our caller: say which and stop, in release builds too. */
#define hshm_bug(...)                                                               \
	do {                                                                        \
		fprintf(stderr, "hshm: %s:%d: %s: ", __FILE__, __LINE__, __func__); \
		fprintf(stderr, __VA_ARGS__);                                       \
		fputc('\n', stderr);                                                \
		abort();                                                            \
	} while (0)

#define hshm_assert(cond)                                        \
	do {                                                     \
		if (__builtin_expect(!(cond), 0))                \
			hshm_bug("assertion failed: %s", #cond); \
	} while (0)

#endif
