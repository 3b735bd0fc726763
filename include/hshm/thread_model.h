/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/thread_model.h - what the system needs of threads, as a table of functions
 *
 * HSHM_THREAD_MODEL points at the table in use: POSIX threads. The one place that knows pthread_create().
 */
#ifndef HSHM_THREAD_MODEL_H
#define HSHM_THREAD_MODEL_H

#include <stdint.h>

#include <hshm/cdefs.h>

HSHM_BEGIN_DECLS

#define HSHM_THREAD_NAME_MAX 16 /* with the NUL; the kernel's limit */

struct hshm_thread; /* opaque */
struct hshm_tls;    /* opaque: one thread-local pointer */

struct hshm_thread_model {
	const char *name;

	/* Start fn(arg) in a thread called @name (cut to fit), all signals blocked but those that a fault raises.
	 * @ret_thread: out; release with join(). Returns 0, -EAGAIN, -ENOMEM. */
	int (*spawn)(const char *name, void (*fn)(void *), void *arg, struct hshm_thread **ret_thread);

	/* Wait for the thread's end and release it. Accepts NULL. */
	void (*join)(struct hshm_thread *thread);

	/* Release a thread that has begun without waiting for its end. */
	void (*detach)(struct hshm_thread *thread);

	/* Let another thread run. */
	void (*yield)(void);

	/* Sleep at least that long, and little more: the first call of a thread sets its timer slack to 1 ns. */
	void (*sleep_for_us)(uint64_t microseconds);

	/* Bind the calling thread to one CPU. Returns 0, -EINVAL (no such CPU, or not allowed). */
	int (*set_affinity)(uint32_t cpu);

	/* A pointer per thread, NULL at first. @destructor (may be NULL) runs at the thread's end when not NULL.
	 * Returns 0, -EAGAIN (the system's keys are used up). */
	int (*tls_create)(void (*destructor)(void *), struct hshm_tls **ret_tls);
	void (*tls_destroy)(struct hshm_tls *tls);
	void *(*tls_get)(struct hshm_tls *tls);
	int (*tls_set)(struct hshm_tls *tls, void *value);

	/* A small number that only this thread of the process has while it lives: the lowest that is free, from 0.
	 * A later thread may get it, and then sees all that its former owner did. */
	uint32_t (*index)(void);
};

/* Highest index + 1 that threads get; further threads get HSHM_THREAD_INDEX_NONE. */
#define HSHM_THREAD_INDEX_MAX  4096u
#define HSHM_THREAD_INDEX_NONE UINT32_MAX

/** HSHM_THREAD_MODEL - the table in use. Borrowed, for ever. Threads: any. */
HSHM_API extern const struct hshm_thread_model *const HSHM_THREAD_MODEL;

HSHM_END_DECLS
#endif
