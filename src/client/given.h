/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * given.h - the fire-and-forget tasks of a client: their memory comes back when their completion word says done
 *
 * The runtime cannot free them, it does not allocate in a client's segment. So the client remembers what it gave, one
 * list a lane, and looks at a few of the oldest at each further submit.
 *
 *   incoming   a stack that any thread pushes to without a lock; taken whole by who holds `lock`
 *   first      a queue of those taken over, oldest first; only under `lock`. One that is not done when it is looked at
 *              goes to the end: a task that never ends (periodic) does not hide the others.
 *
 * I1  Nodes leave `incoming` all at once, by one exchange: no pop, so no ABA.
 * I2  Who pushes publishes node, link and task by the CAS (release); each CAS carries on the releases before it, so the
 *     one exchange (acquire) has all nodes of the stack.
 * I3  A node is in one place: with who adds it, in `incoming`, or in the queue; who took it off the queue frees it.
 * I4  A task is freed only when its completion word says done, or nobody works on it any more (chi_given_drop_all()).
 *
 * A node is private memory: a link inside the task would change while the runtime copies it.
 */
#ifndef CLIENT_GIVEN_H
#define CLIENT_GIVEN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <chimaera/task.h>
#include <hshm/atomic.h>
#include <hshm/heap.h>

struct chi_given {
	struct chi_given *next;
	struct chi_task *task;
};

struct chi_given_list {
	hshm_aptr incoming;
	pthread_mutex_t lock;
	struct chi_given *first;
	struct chi_given *last;
	uint32_t n_queued;
};

void chi_given_init(struct chi_given_list *list);
/* Forgets all; the tasks' memory goes with the segment. */
void chi_given_fini(struct chi_given_list *list);

/* @node: given, from malloc(); its task is the runtime's now. Threads: any. Lock-free. */
void chi_given_add(struct chi_given_list *list, struct chi_given *node);

/* Look at @n_max of the oldest, free those that are done. Does nothing when another thread is at it. Threads: any. */
void chi_given_sweep(struct chi_given_list *list, struct hshm_heap *heap, uint32_t n_max);

/* Look at all, waiting for the lock. Returns how many were freed. Threads: any. */
uint32_t chi_given_sweep_all(struct chi_given_list *list, struct hshm_heap *heap);

/* Free all, done or not: nobody works on them any more. Threads: any. */
void chi_given_drop_all(struct chi_given_list *list, struct hshm_heap *heap);

#endif
