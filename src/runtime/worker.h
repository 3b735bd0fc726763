/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker.h - one worker: a thread, its lanes with work, its fibers, its wait heap
 *
 * Everything is the worker thread's own but what is marked (any): written by other threads of the runtime. While it is
 * in a method, another thread may stand in for it at its lists of lanes (lane_take.c).
 */
#ifndef RUNTIME_WORKER_H
#define RUNTIME_WORKER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include <chimaera/counters.h>
#include <hshm/doorbell.h>
#include <hshm/min_heap.h>
#include <hshm/thread_model.h>

#include "runtime/fiber.h"
#include "runtime/pool_manager.h"
#include "runtime/run_context.h"
#include "runtime/runtime.h"
#include "task/counters_layout.h"
#include "task/cur_worker.h"
#include "task/lane.h"
#include "task/work.h"

struct chi_lane_list {
	struct chi_lane *first, *last;
};

struct chi_context_list {
	struct chi_run_context *first, *last;
};

#define CHI_SPARES_MAX 64u /* about as many as a parent has under way at a time */

/* Contexts that are over, for those to come. */
struct chi_spares {
	struct chi_run_context *newest; /* `next` leads to the one before */
	uint32_t n;
};

#define CHI_ENDED_MAX 64u

/* Tasks of a client that have ended in this turn, and for which nobody looks at their end alone (W3 in wait.c). */
struct chi_ended {
	struct chi_session *session; /* theirs; NULL: there are none. Held by the turn's lane */
	uint32_t n_sleeps;	     /* the client's count before the first of them ended */
	uint32_t n;
	struct {
		uint64_t woken; /* the mark of who slept as it ended; 0: nobody */
		uint32_t ref;
	} tasks[CHI_ENDED_MAX];
};

struct chi_worker {
	struct chi_runtime *runtime;
	uint32_t id;
	struct hshm_thread *thread;
	sem_t started; /* posted by the thread once start_error is set */
	int start_error;
	/* in the counters file; the lines written are its own */
	struct chi_worker_counters *counters;
	struct chi_method_counters *method_counters; /* [row] */
	struct chi_client_counters *client_counters; /* [row] */
	struct chi_lane_counters *lane_counters;     /* [row], of all lanes: it writes those of its own */

	/* lanes with work */
	struct chi_active_queue *active; /* [CHI_PRIOS] */
	struct chi_lane_list run_list[CHI_PRIOS];
	struct chi_lane_list woken[CHI_PRIOS]; /* those that were idle when the worker itself gave them work */
	uint8_t next_source[CHI_PRIOS];	       /* run list, active queue and woken list take turns */
	uint32_t low_latency_turns;	       /* since the last high-latency one */
	uint32_t low_latency_polls;	       /* the same for hot lanes */
	uint32_t hot_next;		       /* where the next look at the hot lanes begins */
	struct chi_lane **hot;		       /* process lanes that are polled, oldest first */
	uint32_t n_hot;
	struct chi_lane *turn; /* whose turn it is; NULL: none */

	/* tasks */
	struct chi_fiber_pool *fibers;
	struct chi_fiber *runner;  /* the fiber that has a lane's turn (turn.c) */
	struct chi_pool_hold hold; /* of the pool of the turn's newest task (pool_entry.c, G3) */
	struct chi_spares spares[CHI_MAKES];
	struct chi_ended ended_tasks;	 /* of the turn */
	struct chi_run_context *current; /* whose method runs; NULL: none */
	struct chi_context_list ready;	 /* what they waited for is there */
	struct chi_context_list yielded; /* they let others go first */
	struct hshm_min_heap waiting;	 /* the waiting queue: blocked tasks by the time they may be done */
	uint64_t n_roots;
	uint32_t n_sampled;
	bool sample_was_short; /* the last run that was timed */
	bool samples_few;      /* of short methods, as long as these are the worker's samples */
	uint32_t n_calls;      /* in place, since the loop had its say (F4 in turn.c) */
	uint32_t n_noted;      /* tasks started from lanes, for the lanes' estimates */

	/* time */
	uint64_t now_ns;  /* as of this iteration, or a little older */
	uint64_t turn_ns; /* when this turn began, as far as it is known */
	bool turn_is_timed;
	uint64_t polled_ns;
	uint64_t idle_since_ns; /* 0 = has work */
	hshm_au64 busy_ns;	/* as the counters file has it, but not for others to write: the balancer goes by it */
	hshm_au64 counted_ns;	/* up to here its time is in busy_ns, or was without work */
	uint32_t n_iterations;
	uint32_t n_idle_looks; /* since it had work */
	bool spinning;
	int epoll_fd;

	/* lanes assigned here, for sweeps */
	pthread_mutex_t lanes_lock;
	struct chi_lane **lanes; /* (any, under the lock) */
	uint32_t n_lanes;	 /* (any, under the lock) */
	uint32_t lanes_allocated;
	hshm_au32 lanes_added;	  /* (any) publishes a lane before its events can come */
	hshm_au32 n_client_lanes; /* (any, changed under the lock) of them, clients': only these ring */

	struct hshm_doorbell doorbell HSHM_ALIGNED(128);
	hshm_aptr inbox; /* (any) stack of struct chi_work */
	/* (any) the same, of ended clients' retirements: taken by the worker, or by who stands in for it */
	hshm_aptr retires;
	hshm_au32 sweep;  /* (any) an active queue was full: look at all lanes */
	hshm_au32 expire; /* (any) periodic tasks end now: pool closing, client gone, or the runtime stops */
	hshm_au32 stop;	  /* (any) end */

	/* for who asks it to end and waits (given_up.c), and for the watchdog */
	hshm_aptr running; /* `current`, as others may look at it */
	hshm_au32 taking;  /* (any) somebody stands in for it (lane_take.c): wait before going on from a method */
	hshm_au32 hangs;   /* (watchdog) */
	/* raised at each start of a method and each look for work: the same again, it is where it was */
	hshm_au64 beats;
	pid_t tid;		     /* once it has started */
	pthread_mutex_t taking_lock; /* held while `taking` is set */
	hshm_au32 ended;	     /* set last: nothing here is the thread's any more */
};

/* worker.c */
int chi_worker_init(struct chi_worker *worker, struct chi_runtime *runtime, uint32_t id,
		    struct chi_active_queue *active);
void chi_worker_fini(struct chi_worker *worker);
int chi_worker_start(struct chi_worker *worker);
void chi_worker_ask_stop(struct chi_worker *worker);
/* Has its thread done its last? Then its lists may be looked at. */
bool chi_worker_has_ended(const struct chi_worker *worker);
/* How long it has had work in all, with what it is at. Threads: any. */
uint64_t chi_worker_busy_ns(struct chi_worker *worker);
int chi_worker_add_lane(struct chi_worker *worker, struct chi_lane *lane);
/* Out of the epoll set and the list of lanes. @place: its list_place when it was put there, as it may have one at
 * another worker by now (lane_move.c); 0: it is in no list, nothing happens. The owner, or who stands in for it. */
void chi_worker_forget_lane(struct chi_worker *worker, struct chi_lane *lane, uint32_t place);
void chi_worker_ask_expire(struct chi_worker *worker);
void chi_worker_make_ready(struct chi_worker *worker, struct chi_run_context *context);
void chi_worker_make_yielded(struct chi_worker *worker, struct chi_run_context *context);

#define CHI_WORKER_TURN_NS HSHM_NSEC_PER_MSEC

/* Turns of lanes, of the hot ones, of those that are ready or of those that yielded begin. */
static inline void chi_worker_begin_turn(struct chi_worker *worker)
{
	worker->turn_ns = worker->now_ns;
	worker->turn_is_timed = false;
}

/* Asked in a turn after each task: has it taken long, and is it for others to go on? As the clock said last: at each
 * yield, and at the end of each task that declares much I/O and of one in some others. The first look at a clock may
 * tell of what was before the turn, so the turn's time counts from there. */
static inline bool chi_worker_took_long(struct chi_worker *worker)
{
	if (__builtin_expect(worker->now_ns - worker->turn_ns < CHI_WORKER_TURN_NS, 1))
		return false;
	if (worker->turn_is_timed)
		return true;
	chi_worker_begin_turn(worker);
	worker->turn_is_timed = true;
	return false;
}

/* As chi_worker_post(), into the list of retirements; if the worker hangs, who stands in for it is woken. */
void chi_worker_post_retire(struct chi_worker *worker, struct chi_work *work);
/* The same, without telling anybody. */
void chi_worker_put_back_retire(struct chi_worker *worker, struct chi_work *work);
/* Take all of them: a list. The owner, or who stands in for it (lane_take.c). */
struct chi_work *chi_worker_take_retires(struct chi_worker *worker);

/* worker_lanes.c: which lanes next, and a turn of each */
bool chi_worker_run_lanes(struct chi_worker *worker);
/* As chi_lane_enqueue(), by the worker, to a lane that is idle (chi_lane_is_idle()): listed at once
 * (I5 in task_queue.c). Not in a method: T3 in lane_take.c. */
int chi_worker_enqueue_own(struct chi_worker *worker, struct chi_lane *lane, uint32_t ref);
bool chi_worker_poll_hot(struct chi_worker *worker);
/* A hint: is there another task in the lane whose turn it is? */
bool chi_worker_turn_goes_on(const struct chi_worker *worker);
bool chi_worker_arm_all(struct chi_worker *worker);
bool chi_worker_sweep(struct chi_worker *worker);
bool chi_worker_has_lanes(struct chi_worker *worker);
/* an eventfd fired */
void chi_worker_lane_rung(struct chi_worker *worker, struct chi_lane *lane);
/* Take a lane out of run list, woken list and hot list. */
void chi_worker_take_out_lane(struct chi_worker *worker, struct chi_lane *lane);
/* Take a retired lane out of all lists, the list of lanes too. False: it is parked, or about to be moved: try again
 * after the inbox was drained. */
bool chi_worker_drop_lane(struct chi_worker *worker, struct chi_lane *lane);
/* Pull everything out of the active queues, so that no retired lane is left in them. */
void chi_worker_empty_active(struct chi_worker *worker);

/* lane_load.c */
/* A task of the lane is about to start: some are asked for their estimate. The lane's worker. */
void chi_lane_note_task(struct chi_worker *worker, struct chi_lane *lane, const struct chi_run_context *context);
/* What one of its tasks takes, by estimate. Threads: any. */
uint64_t chi_lane_task_ns(const struct chi_lane *lane);
/* Estimated time of what waits in the worker's lanes, and how many those are. Threads: any but inside a lane's turn. */
uint64_t chi_worker_load_ns(struct chi_worker *worker, uint32_t *ret_n_lanes);

/* lane_move.c: what chi_work_orch_remap_lane() asked for; the owner, between two turns */
void chi_worker_move_lane(struct chi_worker *worker, struct chi_lane *lane);

/* To another worker's list and epoll set, out of our own, and listed there. @lane: not during its turn, not parked, not
 * retired. Returns whether it could be. The owner, or who stands in for it (lane_take.c). */
bool chi_worker_hand_lane(struct chi_worker *worker, struct chi_lane *lane, uint32_t to);

/* lane_take.c: lanes of a worker that hangs in a method */
/* Once in the process, before the first take. Returns 0, or -ENOSYS ... (no membarrier()). */
int chi_lane_take_init(void);
/* Give lanes of a worker that is in a method to others of their kind that do not hang; not the one whose turn it is,
 * nor parked ones, and @n_max at most. Returns how many went; 0 also when it is in no method. Threads: any but
 * workers. */
uint32_t chi_worker_take_lanes(struct chi_worker *worker, uint32_t n_max);
/* Do the part of a worker that is in a method in the retirements of ended clients' lanes. Returns how many of those
 * wait for the worker itself. Threads: any but workers. */
uint32_t chi_worker_retire_for(struct chi_worker *worker);
/* The worker, from a method: somebody stands in for it. */
void chi_worker_await_taker(struct chi_worker *worker);

/* admit.c: a client's reference becomes a run context */
struct chi_run_context *chi_worker_admit(struct chi_worker *worker, struct chi_session *session, uint32_t ref);

/* route.c */
/* The container that a task's query names, on this node. Not for broadcasts. 0 or a negative errno. */
int chi_worker_resolve_query(struct chi_worker *worker, struct chi_pool *pool, const struct chi_task *task,
			     struct chi_container **ret_container);
/* Resolve, ask the container's monitor for a lane, if there is one, hand over. 0: it is the runtime's; @ret_lane: the
 * lane that took it, or NULL: it was run, completed with an error, or is a broadcast that has begun. -EAGAIN: the lane
 * in @ret_lane has no room, the context is still the caller's. */
int chi_worker_route(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane);
/* A second try, by who was woken for room in a lane and has to pass it on: never in place. */
int chi_worker_route_woken(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane);
/* The same in a lane's turn, but what can run in place is left to the caller: CHI_ROUTED_HERE. */
#define CHI_ROUTED_HERE 1
int chi_worker_route_in_turn(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane);
/* As chi_worker_route(), for the running task, which waits for this one: what can run in place does so now, until it
 * ends (F4 in turn.c). */
int chi_worker_route_call(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane);

/* turn.c */
struct chi_turn {
	struct chi_worker *worker;
	struct chi_lane *lane;
	/* Takes from the lane until there is a task to be run here. NULL: the turn is over. */
	struct chi_run_context *(*next)(struct chi_turn *turn);
	struct chi_run_context *context; /* to be run now */
	uint32_t n_taken;
	uint32_t n_contexts; /* of the client, as it was seen last */
};
/* Run the tasks of a turn, until there is none. */
void chi_worker_run_turn(struct chi_worker *worker, struct chi_turn *turn);

/* run_context.c */
int chi_context_alloc(struct chi_runtime *runtime, uint32_t task_bytes, struct chi_run_context **ret_context);
/* The same, of that make: a spare one, if there is any. */
int chi_context_alloc_made(struct chi_worker *worker, enum chi_context_make make, struct chi_run_context **ret_context);
/* The newest spare, if it asked alike: for the same, but for the value of its query. What it was found to be holds for
 * a task that asks so now, but for what may have changed meanwhile. NULL: it did not. */
static inline struct chi_run_context *chi_context_alike(const struct chi_worker *worker, enum chi_context_make make,
							const struct chi_asked *asked)
{
	struct chi_run_context *context = worker->spares[make].newest;

	return context && context->by_default &&
			       memcmp(&context->asked, asked, offsetof(struct chi_asked, query.value)) == 0
		       ? context
		       : NULL;
}
static inline void chi_context_take_spare(struct chi_worker *worker, struct chi_run_context *context)
{
	struct chi_spares *spares = &worker->spares[context->make];

	spares->newest = context->next;
	spares->n--;
}
/* Use the newest spare once more, as another. What is not set here is set by each way in (submit.c, admit.c) or when it
 * begins, or is at each end as it was at first, or is the same for all who ask alike. */
static inline void chi_context_take_alike(struct chi_worker *worker, struct chi_run_context *context,
					  const struct chi_asked *asked)
{
	chi_context_take_spare(worker, context);
	if (context->asked.query.value != asked->query.value) {
		context->asked.query.value = asked->query.value;
		context->lane = NULL;
	}
	context->state = CHI_CONTEXT_QUEUED;
	context->root = context;
	context->worker = worker;
	context->io_bytes = 0;
	context->started_ns = 0;
	context->deadline_ns = 0;
	context->below = NULL;
	/* relaxed, both: nobody else knows it yet */
	hshm_store_relaxed(&context->not_asked, 0);
	hshm_store_relaxed(&context->n_numbered, 0);
}
void chi_context_free(struct chi_run_context *context);
/* It is over: a spare from here on, or freed. */
void chi_context_leave_memory(struct chi_worker *worker, struct chi_run_context *context);
/* What a worker keeps that rests: the newest for a client's task, or a new one if there is memory. */
void chi_context_rest_spares(struct chi_worker *worker);
void chi_context_free_spares(struct chi_worker *worker);
/* It outlasts its place in the turn or the call, or starts others: from here on it counts for itself, in its pool, and
 * in its session or with its parent. It is the one that the turn let in last, or the one that is called; or else it
 * does already, and nothing happens. */
void chi_context_keep(struct chi_worker *worker, struct chi_run_context *context);
/* The parent waits for it before it ends. Called by it: once it has left its place; else when it is submitted. */
void chi_context_join_parent(struct chi_run_context *context);
/* In a fiber of its own. */
void chi_context_start(struct chi_worker *worker, struct chi_run_context *context);
/* On the caller's stack (F4 in turn.c): returns when it has ended. */
void chi_context_call(struct chi_worker *worker, struct chi_run_context *caller, struct chi_run_context *context);
/* On the fiber that has the turn, until its end. False: it was blocked meanwhile and has the fiber for itself, which
 * returns now, and touches nothing of the turn. */
bool chi_context_run_here(struct chi_worker *worker, struct chi_run_context *context);
/* This one's method has the thread from here on. NULL: none has. */
void chi_context_set_running(struct chi_worker *worker, struct chi_run_context *context);
void chi_context_resume(struct chi_worker *worker, struct chi_run_context *context);
/* What the works of the list that begins here will need, if they are posts of ended tasks: of the first two. */
void chi_context_prefetch_posts(const struct chi_work *work);
/* The task is done with that result: outputs, completion, waiter, counts. Frees the context, now or when its post was
 * seen. */
void chi_context_complete(struct chi_worker *worker, struct chi_run_context *context, int result);
/* Answer in a client's segment: result, then the completion word; wakes a sleeping client. The claim on @ref ends. */
void chi_client_task_done(struct chi_session *session, uint32_t ref, struct chi_task *shared, uint16_t flags,
			  int result);
/* At a turn's end, while its lane holds the session: who was about to sleep for one of its tasks as that ended is woken
 * now (W3 in wait.c). */
void chi_client_tasks_told(struct chi_worker *worker);
/* From here on it counts in its container's n_outstanding, if it does not yet, and there is a choice of containers: it
 * goes into a lane, or blocks. A task that is run at once and ends is no load to anyone else. */
void chi_context_count_load(struct chi_run_context *context);
/* From inside the running fiber: switch to the worker until made ready. */
void chi_context_block(struct chi_run_context *context);
/* The same for who has done to itself already what makes it come back. */
void chi_context_leave(struct chi_run_context *context);

/* context_wait.c */
/* One of the tasks that @waiter waits for has told its worker. */
void chi_wait_posted(struct chi_worker *worker, struct chi_run_context *waiter);
bool chi_worker_check_waiting(struct chi_worker *worker);
void chi_worker_expire_periodic(struct chi_worker *worker);
int chi_worker_put_periodic(struct chi_worker *worker, struct chi_run_context *context);

/* broadcast.c */
int chi_broadcast_start(struct chi_worker *worker, struct chi_run_context *origin);
/* The context whose task the part is a copy of. */
struct chi_run_context *chi_broadcast_origin(const struct chi_run_context *part);
/* The part has its result; the worker that started the broadcast goes on with it. */
void chi_broadcast_part_done(struct chi_run_context *part);

/* parking.c: waiting for room. Workers, in fibers or out. */
#define CHI_PARKING_ALL UINT32_MAX
/* Into the lot; the caller must look once more for room afterwards and, finding some, call chi_parking_wake(). */
void chi_parking_enter(struct chi_parking_lot *lot, struct chi_parked *parked);
/* There is room for so many: post those to their workers that came first. */
void chi_parking_wake(struct chi_parking_lot *lot, uint32_t n_room);
/* After making room: wake as many, if there are any. Returns whether there were. */
bool chi_parking_check(struct chi_parking_lot *lot, uint32_t n_room);
/* Park at a lane that was found full; counted. */
void chi_parking_at_lane(struct chi_parked *parked, struct chi_lane *full);
/* Whoever was woken, once it has tried: unless that lane took its task, the room is for the next. */
void chi_parking_pass_on(struct chi_parked *parked, const struct chi_lane *took);
/* Route a task that the running one submits, which is blocked while the lane is full. @is_call: it will wait for it,
 * first thing and for ever. */
void chi_parking_route(struct chi_worker *worker, struct chi_run_context *context, bool is_call);

/* submit.c */
extern const struct chi_client_ops chi_inner_client_ops;

static inline uint32_t chi_context_ref(struct chi_runtime *runtime, const struct chi_run_context *context)
{
	return hipc_ref_of(&runtime->private_mem.map, context);
}

#endif
