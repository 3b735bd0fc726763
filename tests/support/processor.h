/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/processor.h - how long threads were ready to run and had no processor: what of a gap is the machine's doing
 */
#ifndef TESTS_SUPPORT_PROCESSOR_H
#define TESTS_SUPPORT_PROCESSOR_H

#include <stdint.h>
#include <sys/types.h>

/* ---- one thread ---- */

/* Of a thread of any process, or (@tid 0) the calling one. Returns a descriptor, or -1. */
int processor_open(pid_t pid, pid_t tid);
/* All waits that have ended, since the thread's begin: one that lasts comes with its end. A kernel that does not tell gives 0. */
uint64_t processor_wait_ns(int fd);

/* ---- the calling thread and some others ---- */

#define PROCESSOR_THREADS_MAX 8u

struct processor_waits {
	uint32_t n; /* the last is the calling thread */
	int fds[PROCESSOR_THREADS_MAX];
	uint64_t waited_ns[PROCESSOR_THREADS_MAX];
};

/* The calling thread and those threads of @pid whose name begins so. A kernel that does not tell gives zeros. */
void processor_watch(struct processor_waits *waits, pid_t pid, const char *name);
/* Since the last call: the wait of the calling thread, and the longest of the others'. */
uint64_t processor_waited_ns(struct processor_waits *waits);

#endif
