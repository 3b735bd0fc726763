/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work.h - something a worker shall do for another thread: a node of its inbox
 *
 * The node lies in what it is about, so posting never fails. Once posted it is the inbox's until fn runs, on the
 * worker's thread, outside any fiber; then it may be posted again.
 */
#ifndef RUNTIME_WORK_H
#define RUNTIME_WORK_H

struct chi_worker;

struct chi_work {
	struct chi_work *next;
	void (*fn)(struct chi_worker *worker, struct chi_work *work);
};

/* Lock-free; any thread of the runtime; wakes the worker if it sleeps. */
void chi_worker_post(struct chi_worker *worker, struct chi_work *work);

#endif
