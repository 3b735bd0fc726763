/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * context_wait.h - how a fiber of the runtime itself (admin, pool manager) waits for something that is no task
 */
#ifndef RUNTIME_CONTEXT_WAIT_H
#define RUNTIME_CONTEXT_WAIT_H

#include <stdint.h>

#include "runtime/run_context.h"

/* Block the current task for a while; its worker goes on. In a fiber. */
void chi_context_sleep(uint64_t ns);

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
