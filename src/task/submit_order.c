/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * submit_order.c - how many tasks a thread has submitted after one of its own
 *
 * Threads have numbers of their own here, as those of HSHM_THREAD_MODEL are used again, and run out.
 */
#include "task/submit_order.h"

/* initial-exec: no call at each submit; eight bytes of the loader's spare room */
static _Thread_local struct {
	uint32_t thread;      /* another number than any other thread's; 0: it has none yet */
	uint32_t n_submitted; /* it may wrap */
} mine __attribute__((tls_model("initial-exec")));

static uint32_t number_thread(void)
{
	static hshm_au32 n_threads;

	/* relaxed: it only has to be another one */
	return hshm_fetch_add_relaxed(&n_threads, 1) + 1;
}

void chi_submit_order_note(struct chi_task *task)
{
	if (mine.thread == 0)
		mine.thread = number_thread();
	task->order = (uint64_t)mine.thread << 32 | (uint32_t)(mine.n_submitted + 1);
}

void chi_submit_order_count(void)
{
	mine.n_submitted++;
}

uint32_t chi_submit_order_n_behind(const struct chi_task *task)
{
	uint64_t order = task->order;

	return order >> 32 == mine.thread ? mine.n_submitted - (uint32_t)order : 0;
}
