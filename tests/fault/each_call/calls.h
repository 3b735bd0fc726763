/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls.h - allocations and system calls of the process under test: counted, and the k-th made to fail
 *
 * calls.c defines malloc(), mmap(), socket() ... in the test program. A program's own symbols come first in the loader's search,
 * so the libraries of the runtime, its modules and what lies underneath (libfyaml, libelf) call these.
 */
#ifndef TESTS_FAULT_CALLS_H
#define TESTS_FAULT_CALLS_H

#include <stdbool.h>
#include <stdint.h>

enum call_class {
	CALL_MEMORY,	 /* --sticky: once one has failed, all of the class do */
	CALL_DESCRIPTOR, /* makes a descriptor; the same */
	CALL_THREAD,	 /* the same */
	CALL_OTHER,
	CALL_WAIT, /* may be woken for nothing at any time: not counted; the storm interrupts them */
};

#define CALL_ERRORS_MAX 6
#define CALL_SHORT	1000 /* in the place of an errno: half of what was asked for is done */
#define CALL_MUST_RETRY 2000 /* added to an errno: whoever gets it has to go on as if nothing had been */

struct call_kind {
	const char *name;
	enum call_class class;
	uint32_t n_errors;
	int errors[CALL_ERRORS_MAX];
};

enum call {
#define CALL(name, class, ...) CALL_##name,
#include "calls.def"
#undef CALL
	CALL_N_KINDS
};

extern const struct call_kind call_kinds[CALL_N_KINDS];

#define CALL_FRAMES 24

/* What the calls were asked to do, and what was seen. */
struct call_plan {
	uint64_t k;	  /* the call that fails; 0: none */
	bool others;	  /* counted from those of the runtime's threads; else of the thread that arms */
	uint32_t variant; /* with which of its errors; n_errors: sticky */
	uint32_t storm;	  /* each wait is interrupted with this probability, of 256 */
	uint64_t seed;	  /* of the storm */
	uint64_t random;  /* begins as the seed */
	bool underneath;  /* count what libraries call that are not ours, too */
	/* seen */
	uint64_t n_calls[2]; /* [others] */
	uint64_t n_waits;
	uint64_t n_of_kind[CALL_N_KINDS];
	bool hit;
	enum call hit_call;
	int hit_error;
	bool sticky;
	uint64_t n_failed;
	int n_frames;
	void *frames[CALL_FRAMES];
};

/* Count and fail, from here on, in all threads that are not spared. @plan is filled in while it works. */
void calls_arm(struct call_plan *plan);
void calls_disarm(void);
/* The calling thread's calls are neither counted nor do they fail. */
void calls_spare_me(bool spare);

#endif
