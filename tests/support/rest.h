/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/rest.h - wait until workers have nothing more to do
 *
 * One that sleeps may have been rung, and sleeps on only because it has no processor yet.
 */
#ifndef TESTS_SUPPORT_REST_H
#define TESTS_SUPPORT_REST_H

#include <hshm/thread_model.h>
#include <poll.h>
#include <stdbool.h>

#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"

/* Asleep, and nobody has rung since it looked for work. */
static inline bool worker_rests(struct chi_worker *worker)
{
	struct pollfd bell = { .fd = worker->doorbell.fd, .events = POLLIN };

	/* in this order: it reads the bell when it has said that it is up. Acquire: what it did before it slept is seen. */
	return poll(&bell, 1, 0) == 0 && hshm_load_acquire(&worker->doorbell.sleeping) &&
	       hshm_load_acquire(&worker->counters->asleep);
}

static inline void wait_until_rests(struct chi_worker *worker)
{
	while (!worker_rests(worker))
		HSHM_THREAD_MODEL->sleep_for_us(100);
}

/* None of them will ring another: two looks find all at rest, and none was up in between. */
static inline void wait_until_all_rest(struct chi_work_orch *orch)
{
	uint64_t n_sleeps = 0, before;

	do {
		before = n_sleeps;
		n_sleeps = 0;
		for (uint32_t i = 0; i < chi_work_orch_n_workers(orch); i++) {
			struct chi_worker *worker = chi_work_orch_worker(orch, i);

			wait_until_rests(worker);
			n_sleeps += hshm_load_relaxed(&worker->counters->sleeps);
		}
	} while (n_sleeps != before);
}

#endif
