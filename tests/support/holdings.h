/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/holdings.h - what a process holds, as the kernel counts it
 */
#ifndef TESTS_SUPPORT_HOLDINGS_H
#define TESTS_SUPPORT_HOLDINGS_H

#include <stdint.h>
#include <sys/types.h>

struct holdings {
	unsigned n_fds;
	unsigned n_segments; /* mappings of memfds */
	uint64_t rss_kib;
};

/* Of a process of ours. All 0 when it is gone. */
struct holdings holdings_of(pid_t pid);
/* How many names a folder has, itself and its parent not among them. */
unsigned holdings_names_in(const char *path);
/* Of these, the ones that begin so. */
unsigned holdings_names_with(const char *path, const char *begin);

#endif
