/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work.h - something a worker shall do for another thread: a node of its inbox
 *
 * The node lies in what it is about, so posting never fails. Once posted it is the inbox's until fn runs, on the
 * worker's thread, outside any fiber; then it may be posted again.
 */
#ifndef TASK_WORK_H
#define TASK_WORK_H

#include <hshm/atomic.h>

struct chi_worker;

struct chi_work {
	struct chi_work *next;
	void (*fn)(struct chi_worker *worker, struct chi_work *work);
};

/* Lock-free; any thread of the runtime; wakes the worker if it sleeps. Supplied by the runtime. */
void chi_worker_post(struct chi_worker *worker, struct chi_work *work);

struct chi_parking_lot;

/* Somebody who waits for room (parking.c): posted to its worker when there is some. */
struct chi_parked {
	struct chi_work work;
	struct chi_parked *next;
	struct chi_worker *worker;
	struct chi_parking_lot
		*lot; /* where it is parked; once woken, the lot whose room it owes an answer about; else NULL */
};

/* Where they wait, at a full lane or at a client's cap. Zeroed is empty. */
struct chi_parking_lot {
	hshm_aptr newest;		  /* stack of those that the holder has not seen */
	struct chi_parked *oldest, *last; /* (holder) in the order of parking */
	hshm_au64 room;			  /* to be handed out; who raises it from 0 is the holder until it is 0 again */
	hshm_au32 n_parked;
};

#endif
