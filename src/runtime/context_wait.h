/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * context_wait.h - how a fiber waits for something that is no task: in the runtime itself (admin, pool manager), for a
 * signal
 */
#ifndef RUNTIME_CONTEXT_WAIT_H
#define RUNTIME_CONTEXT_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/run_context.h"

/* Block the current task for a while; its worker goes on. In a fiber. */
void chi_context_sleep(uint64_t ns);

/*
 * Block the current task until its work is posted, or the time is over; by chi_wait()'s rules. Who wants to post it
 * claims it first, and so does the timeout: only one of them makes it ready.
 * Returns 0 (posted), or, when nobody will post it, -ETIMEDOUT or -ENOMEM (it did not wait). In a fiber.
 */
int chi_context_block_for(uint64_t timeout_ns, hshm_au32 *claimed);

static inline bool chi_claim(hshm_au32 *claimed)
{
	uint32_t expected = 0;

	/* relaxed: it decides who of two, and carries nothing; the post that may follow does */
	return hshm_cas_relaxed(claimed, &expected, 1);
}

/* Block the current task until chi_context_event_set(), which may come first. In a fiber. */
struct chi_context_event {
	struct chi_work work;
	struct chi_run_context *context; /* who waits */
	bool set;			 /* (worker of the context) */
	bool waiting;			 /* (worker of the context) */
};
void chi_context_event_init(struct chi_context_event *event);
void chi_context_event_wait(struct chi_context_event *event);
/* Any thread of the runtime, once. The event may be gone when it returns. */
void chi_context_event_set(struct chi_context_event *event);

#endif
