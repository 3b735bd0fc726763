/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane.h - the runtime's view of one lane, and the active queue it is scheduled through
 *
 * Who touches what: `ring` and `header` any producer; everything marked (owner) only the lane's worker, or who
 * stands in for it (lane_take.c).
 * For a process lane `header` is the runtime's own copy (`own`), and the ring's bytes are the client's: read with care.
 */
#ifndef TASK_LANE_H
#define TASK_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hshm/atomic.h>
#include <hshm/doorbell.h>
#include <hshm/mpsc_queue.h>
#include <hshm/ptr.h>

#include "task/segment_layout.h"
#include "task/work.h"

struct chi_session;
struct chi_run_context;
struct chi_container;

/* One per worker and priority: lanes that have work. */
struct chi_active_queue {
	struct hipc_mpsc_queue ring;	    /* references to struct chi_lane in `arena` */
	struct hipc_mpsc_consumer consumer; /* (owner) */
	const struct hipc_mapping *arena;   /* the runtime's private segment */
	struct hshm_doorbell *doorbell;	    /* the worker's */
	hshm_au32 *sweep;		    /* the worker's: set when a ring was full */
};

struct chi_lane_balance {
	uint64_t n_tasks;	   /* it had run at the last look */
	uint64_t n_last, n_before; /* of them since the look before, and in the period before that */
	uint64_t weight;	   /* estimated ns of n_last */
	uint32_t moved_from;	   /* a worker's id + 1, until the next look judges that */
};

struct chi_lane {
	/* a line: what a task needs that is run at once. There may be 100,000 lanes, and each line comes from memory
	 * then. */
	struct chi_lane_header *header;
	struct hipc_mpsc_consumer consumer; /* (owner) */
	struct chi_lane *next;		    /* (owner) in the run list or woken list */
	hshm_au64 n_in_place;		    /* (owner writes) tasks run at once, that never stood in it */
	uint32_t counter_row;		    /* of its counters; 0: among the others of its worker */
	bool in_run_list;		    /* (owner) in one of these, or being run: another find is a duplicate */
	bool hot;			    /* (owner) process lane: polled */
	bool parked;			    /* (owner) waits for room elsewhere: not popped */
	/* and the others */
	struct hipc_mpsc_queue ring;
	hshm_au32 retired;		 /* set once: drop it wherever it is found */
	hshm_au32 move_to;		 /* asked for (lane_move.c): a worker's id + 1; 0: nothing */
	struct chi_session *session;	 /* process lane, else NULL; counted */
	struct chi_container *container; /* container lane, else NULL */
	struct chi_parking_lot parking;	 /* container lane: who waits for room here */
	hshm_au64 estimate_ns;		 /* (owner writes) of one of its tasks, a running mean; lane_load.c */
	uint64_t idle_since_ns;		 /* (owner) hot lanes */
	struct chi_work move_work;	 /* under way to the owner while move_to is set */
	bool moves_unparked;		 /* (owner) asked for while parked */
	uint32_t list_place;		 /* (owner) in its worker's list of lanes: index + 1; 0: in none */
	struct chi_lane_balance balance; /* (balancer) */
	/* process lane */
	struct chi_lane_header own;
	hshm_au32 *armed; /* in the main segment */
	uint32_t armed_index;
	int eventfd;
	struct hipc_mpsc_ahead ahead;	 /* (owner) references that it has seen */
	bool deep;			 /* (owner) there were as many as it looked for */
	uint32_t answer_bytes;		 /* (owner) of its newest task, from the answer's line on; 0: none yet */
	struct chi_run_context *stalled; /* (owner) taken from the ring, waits for room in its container lane */
	struct chi_parked park;		 /* (owner) brings the lane back when there is room */
} HSHM_ALIGNED(64);

_Static_assert(offsetof(struct chi_lane, ring) == 64, "the first line");
_Static_assert(offsetof(struct chi_lane, parking.n_parked) / 64 == 2, "the third: chi_lane_prefetch()");

#define CHI_ACTIVATION_WORKER_MASK UINT64_C(0xffff)
#define CHI_ACTIVATION_QUEUED	   (UINT64_C(1) << 16)
#define CHI_ACTIVATION_GENERATION  (UINT64_C(1) << 17)

static inline uint32_t chi_activation_worker(uint64_t word)
{
	return (uint32_t)(word & CHI_ACTIVATION_WORKER_MASK);
}

/* The worker a lane is assigned to. Only its owner changes it; others use it as an address to post to. Acquire: who
 * finds himself the owner sees what the last one left in the lane (lane_move.c, V1). */
static inline uint32_t chi_lane_worker(const struct chi_lane *lane)
{
	return chi_activation_worker(hshm_load_acquire(&lane->header->activation));
}

/* The lane is the worker's, and holds nothing of an enqueue that has returned: that would have left it marked, or the
 * worker has listed it. Its ring is not looked at: a line less. */
static inline bool chi_lane_is_idle(const struct chi_lane *lane, uint32_t worker_id)
{
	/* acquire: as in chi_lane_worker() */
	uint64_t word = hshm_load_acquire(&lane->header->activation);

	return (word & (CHI_ACTIVATION_QUEUED | CHI_ACTIVATION_WORKER_MASK)) == worker_id && !lane->in_run_list;
}

/* The lines of a container lane that its turn, or an enqueue, needs. */
static inline void chi_lane_prefetch(const struct chi_lane *lane)
{
	hshm_prefetch_write(lane);
	__builtin_prefetch(&lane->ring);
	__builtin_prefetch(&lane->parking.n_parked);
}

/* The rest exists in the runtime's library only. */

/* Publish a reference in a container's lane, and see that its worker will look: put the lane into that one's active
 * queue when it is not there (protocol and proof: task_queue.c). @active_queues: of all workers, [worker * CHI_PRIOS +
 * prio]. 0, or -EAGAIN: it is full, nothing changed. Any thread of the runtime. */
int chi_lane_enqueue(struct chi_lane *lane, struct chi_active_queue *active_queues, uint32_t ref);
/* After a push to lane->ring: activate the lane at its worker if it is not there, and ring. Any thread of the
 * runtime. */
void chi_lane_activate(struct chi_lane *lane, struct chi_active_queue *active_queues);

/* The owner found the lane empty: mark it idle, look again. Returns true when work came: keep the lane. */
bool chi_lane_deactivate(struct chi_lane *lane);

/* Put a lane into an active queue; sets sweep when that is full. Does not ring. */
void chi_active_queue_push(struct chi_active_queue *queue, struct chi_lane *lane);

/* The next lane, or NULL. The owner. */
struct chi_lane *chi_active_queue_pop(struct chi_active_queue *queue);

#endif
