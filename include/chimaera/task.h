/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/task.h - the task: what a submitter hands to a runtime and gets back
 *
 * A task is a plain struct that starts with struct chi_task, followed by the method's own fields. It may declare
 * buffers: memory that the submitter supplies and the method reads or writes. Bytes: docs/shm-layout.md.
 */
#ifndef CHIMAERA_TASK_H
#define CHIMAERA_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <chimaera/cdefs.h>
#include <hshm/atomic.h>
#include <hshm/clock.h>
#include <hshm/ptr.h>

CHI_BEGIN_DECLS

struct chi_client;

#define CHI_TASK_VERSION     1u
#define CHI_TASK_SIZE_MAX    4096u /* bytes, header included; data goes into buffers */
#define CHI_TASK_BUFFERS_MAX 16u

enum chi_task_flag {
	CHI_TASK_FIRE_AND_FORGET = 1u << 0, /* given to the runtime; nobody waits; freed when done; see below */
	CHI_TASK_PERIODIC = 1u << 1,	    /* runs again period_ns after each start, until cancelled or it fails */
	CHI_TASK_HIGH_LATENCY = 1u << 2,    /* may wait behind others: goes to the high-latency lanes */
	CHI_TASK_NOTIFY = 1u << 3,	    /* set by chi_submit_notify() alone: its end is announced */
};
#define CHI_TASK_FLAGS_KNOWN (CHI_TASK_FIRE_AND_FORGET | CHI_TASK_PERIODIC | CHI_TASK_HIGH_LATENCY | CHI_TASK_NOTIFY)

/*
 * Whose a task is. When its client goes, a task is asked to end early, as by chi_cancel(), with all its subtasks; one
 * given away, and what that waits for, goes on. But a periodic one ends with its client in any case. A fire-and-forget
 * task of a method is its client's, too: it may use the client's memory, and holds it. What create() and destroy() of a
 * module submit is nobody's but the pool's (chi_container_client()).
 */

/* Which container of the pool a task is for. */
enum chi_domain_kind {
	CHI_DOMAIN_LOCAL_ID = 1, /* value: index among this node's containers */
	CHI_DOMAIN_GLOBAL_ID,	 /* value: the container's id in the pool */
	CHI_DOMAIN_LOCAL_HASH,	 /* value: any number; modulo this node's containers */
	CHI_DOMAIN_GLOBAL_HASH,	 /* value: any number; modulo the pool's containers */
	CHI_DOMAIN_GLOBAL_BCAST, /* every container of the pool; the results are folded into one */
	CHI_DOMAIN_DYNAMIC,	 /* the module decides: monitor(CHI_MONITOR_GLOBAL_SCHEDULE) */
};

struct chi_domain_query {
	uint32_t kind; /* enum chi_domain_kind */
	uint32_t reserved;
	uint64_t value;
};

static inline struct chi_domain_query chi_query(enum chi_domain_kind kind, uint64_t value)
{
	struct chi_domain_query query = { (uint32_t)kind, 0, value };
	return query;
}

#define CHI_QUERY_LOCAL_ID(i)	 chi_query(CHI_DOMAIN_LOCAL_ID, (i))
#define CHI_QUERY_GLOBAL_ID(i)	 chi_query(CHI_DOMAIN_GLOBAL_ID, (i))
#define CHI_QUERY_LOCAL_HASH(h)	 chi_query(CHI_DOMAIN_LOCAL_HASH, (h))
#define CHI_QUERY_GLOBAL_HASH(h) chi_query(CHI_DOMAIN_GLOBAL_HASH, (h))
#define CHI_QUERY_GLOBAL_BCAST() chi_query(CHI_DOMAIN_GLOBAL_BCAST, 0)
#define CHI_QUERY_DYNAMIC()	 chi_query(CHI_DOMAIN_DYNAMIC, 0)

/* Given by the runtime; the same root for a task and all its subtasks, whose numbers count from 1. */
struct chi_task_id {
	uint64_t root;
	uint32_t number;
	uint32_t reserved;
};

enum chi_buffer_flag {
	CHI_BUFFER_IN = 1u << 0,  /* the method reads it */
	CHI_BUFFER_OUT = 1u << 1, /* the method writes it */
};

/* Memory that the submitter lends until the task is done. Its contents stay shared: a method copies before it
 * parses. */
struct chi_buffer {
	struct hipc_ptr ptr; /* set by chi_buffer_set() */
	uint64_t size_bytes;
	uint32_t flags; /* enum chi_buffer_flag */
	uint32_t reserved;
};

/* The completion word. Inside the runtime it may also hold the address of the waiting run context. */
#define CHI_COMPLETION_PENDING 0u
#define CHI_COMPLETION_DONE    1u
#define CHI_COMPLETION_NOTIFY  2u /* pending, and its end will be announced */
#define CHI_COMPLETION_LISTED \
	3u /* ended and announced, not dispatched yet: upper half: the one before it in the list */

struct chi_task {
	/* line 0: the request, written by the submitter before chi_submit(); after it only cancel */
	uint16_t version;    /* CHI_TASK_VERSION */
	uint16_t flags;	     /* enum chi_task_flag */
	uint32_t size_bytes; /* of the whole struct: the method's task size */
	uint32_t pool_id;
	uint32_t method_id;
	struct chi_domain_query query;
	uint64_t period_ns;    /* with CHI_TASK_PERIODIC */
	struct chi_task_id id; /* written by the runtime in its copy; for the method and the log */
	hshm_au32 cancel;      /* the submitter asks for an early end: chi_cancel() */
	uint32_t deadline_us;  /* 0 = none; see below */
	/* line 1: the answer, written by the runtime; and what the submitter keeps for itself */
	hshm_au64 completion; /* see CHI_COMPLETION_* */
	int32_t result;	      /* valid once done: 0 or more, or a negative errno */
	uint32_t notice;      /* the submitter's own: which callback */
	uint64_t submitter;   /* the submitter's own handle; nothing to anyone else */
	hshm_au64 sleeper; /* a client's thread that sleeps until it is done; 0: none. Lower half: its parking word */
	uint64_t order;	   /* the submitter's own: its thread, and in the lower half which of that one's tasks it is */
	uint64_t reserved2[3];
};

/*
 * deadline_us: the task shall have ended that long after the runtime takes it; relative, since the clocks of two nodes
 * differ. Subtasks inherit what is left of it, and may have a sooner one of their own; fire-and-forget tasks do not
 * inherit. Past it, a task that has not started ends with -ETIMEDOUT when its turn comes; in one that runs
 * chi_cancelled() is true. For a periodic task it counts for each run, from when the run is due.
 */

CHI_STATIC_ASSERT(sizeof(struct chi_task) == 128, "two lines: request and answer");
CHI_STATIC_ASSERT(offsetof(struct chi_task, completion) == 64, "the answer has a line of its own");
CHI_STATIC_ASSERT(sizeof(struct chi_domain_query) == 16 && sizeof(struct chi_task_id) == 16, "fixed layout");
CHI_STATIC_ASSERT(sizeof(struct chi_buffer) == 24, "fixed layout");

/**
 * chi_task_init - fill the header of a task in memory of the caller's own
 * @task:       borrowed; size_bytes of it are zeroed first
 * @size_bytes: of the whole struct
 *
 * For subtasks in a method: the struct may stand on the fiber's stack, when the method waits for it. Clients use
 * chi_task_alloc(), since a task must lie in their segment.
 * Threads: any. May switch the fiber: no.
 */
CHI_API void chi_task_init(struct chi_task *task, uint32_t size_bytes, uint32_t pool_id, struct chi_domain_query query,
			   uint32_t method_id);

/**
 * chi_task_alloc - a zeroed task with its header filled in
 * @client:   borrowed
 * @ret_task: out; release with chi_task_free(), or give it away with CHI_TASK_FIRE_AND_FORGET
 *
 * Threads: any of the process. May switch the fiber: no.
 * Returns: 0, -ENOMEM (the client's memory is at its cap), -EINVAL (size), -EOWNERDEAD (the runtime is gone), -ENOTCONN
 *          (child after a fork).
 */
CHI_API CHI_NODISCARD int chi_task_alloc(struct chi_client *client, uint32_t size_bytes, uint32_t pool_id,
					 struct chi_domain_query query, uint32_t method_id, void *ret_task);

/**
 * chi_task_free - release a task that is not in flight
 * @task: given; NULL is accepted. A task still in flight is left alone: -EBUSY, unless its runtime is gone.
 *
 * Threads: any. May switch the fiber: no.
 * Returns: 0, -EBUSY (submitted and not done; it stays the runtime's), -ENOTCONN (child after a fork).
 */
CHI_API int chi_task_free(struct chi_client *client, void *task);

/**
 * chi_alloc - memory that can be lent to tasks as buffers
 * @ret_memory: out, aligned to 64 bytes, not zeroed; release with chi_free()
 *
 * For a client in its segment, for a method in the runtime's private memory.
 * Threads: any. May switch the fiber: no.
 * Returns: 0, -ENOMEM, -EINVAL (size 0), -EOWNERDEAD, -ENOTCONN.
 */
CHI_API CHI_NODISCARD int chi_alloc(struct chi_client *client, uint64_t size_bytes, void *ret_memory);

/** chi_free - give memory of chi_alloc() back; NULL is accepted. Threads: any. May switch the fiber: no. */
CHI_API void chi_free(struct chi_client *client, void *memory);

/**
 * chi_buffer_set - declare memory as a buffer of a task
 * @buffer: borrowed; in the task
 * @memory: lent until the task is done. For a client: inside chi_alloc() memory. For a method: any memory.
 * @flags:  enum chi_buffer_flag
 *
 * Threads: any. May switch the fiber: no.
 * Returns: 0, -EFAULT (not in the client's segment), -EOWNERDEAD (in that of a runtime that is gone), -EINVAL (flags).
 */
CHI_API CHI_NODISCARD int chi_buffer_set(struct chi_client *client, struct chi_buffer *buffer, void *memory,
					 uint64_t size_bytes, uint32_t flags);

/**
 * chi_submit - hand one task to the runtime
 * @client: borrowed
 * @task:   lent until it is done (look at it only through chi_wait() and chi_task_done()); with
 *          CHI_TASK_FIRE_AND_FORGET given. Still the caller's on error.
 *
 * Threads: any thread of the process. Lock-free but for a thread's first submit; a system call only when the lane
 *          was idle. Async-signal: no. May switch the fiber: only inside a method, when the lane is full.
 * Returns: 0, or -EAGAIN (lane full, nothing lost, retry later), -EOWNERDEAD (the runtime is gone), -EINVAL (not
 *          this client's memory), -EBUSY (already submitted), -ENOTCONN (child after a fork).
 *          A thread's first submit opens its lane: -EAGAIN also when the runtime does not answer within
 *          connect_timeout_ns; -EMFILE (no descriptor left), -EPROTO (an answer that is none), -ESHUTDOWN (it is
 *          stopping), or why the runtime refused.
 *          In a method also what routing finds at once: -ENOENT (pool, container), -ENOSYS (method), -EMSGSIZE (task
 *          size); -ENOMEM. -EPERM: by a context's client, and not in a method.
 */
CHI_API CHI_NODISCARD int chi_submit(struct chi_client *client, void *task);

/**
 * chi_submit_many - hand many tasks to the runtime, with one look at whether its worker sleeps
 * @tasks:   borrowed array of task pointers; each task as in chi_submit()
 * @n_tasks: 0 returns 0
 *
 * In order, all by the calling thread's lane. Stops at the first that cannot be submitted: those before it are lent, it
 * and those behind it are still the caller's. Hand in the rest again: then its error, if it is not that the lane was
 * full, is the call's.
 * Threads, fiber: as chi_submit().
 * Returns: how many were taken, at least 1; or, when the first was not, what chi_submit() says of it.
 */
CHI_API CHI_NODISCARD int chi_submit_many(struct chi_client *client, void *const *tasks, uint32_t n_tasks);

/** chi_task_done - whether it has completed. Acquire: results and buffers may be read then. Threads: any. */
static inline bool chi_task_done(const void *task)
{
	/* acquire: pairs with the release that sets the word when the runtime completes the task */
	return hshm_load_acquire(&((const struct chi_task *)task)->completion) == CHI_COMPLETION_DONE;
}

/* How often a periodic task at rest is looked at, whether it was cancelled. */
#define CHI_CANCEL_LOOK_NS (200 * HSHM_NSEC_PER_MSEC)

/**
 * chi_cancel - ask that a task end early
 *
 * A request, not an order: not yet started, it ends with -ECANCELED when its turn comes; running, its method may look
 * with chi_cancelled(). A request to a task is one to all its subtasks, but for fire-and-forget ones. A periodic task
 * that rests ends within CHI_CANCEL_LOOK_NS, with -ECANCELED. The task completes in any case, and must be waited for as
 * ever.
 * Threads: any. May switch the fiber: no.
 */
CHI_API void chi_cancel(void *task);

/* A timeout: until the deadline of the method's own task; without one, and in a client, for ever. */
#define CHI_UNTIL_DEADLINE (HSHM_FOREVER - 1)

/**
 * chi_wait - wait until a task is done
 * @task:       borrowed; submitted by this client or method
 * @timeout_ns: 0 looks once, HSHM_FOREVER waits until the task is done (or the runtime ends). In a method every other
 *              timeout ends at the deadline of the method's own task, too: CHI_UNTIL_DEADLINE is that one alone.
 *
 * In a method: blocks the task, never the worker; switches the fiber. One waiter at a time per task.
 * In a client: by its wait policy (struct chi_client_opts). Several threads may wait for one task; with CHI_WAIT_HYBRID
 * one of them at most is woken, the others check every 10 us.
 * Threads: any. May switch the fiber: yes.
 * Returns: 0 (done: see task->result), -ETIMEDOUT (the wait ended, not the task: its memory stays lent),
 *          -EOWNERDEAD (the runtime is gone), -EBUSY (another waits for it), -EINVAL (never submitted; in one of the
 *          calls below: submitted through different clients).
 */
CHI_API CHI_NODISCARD int chi_wait(void *task, uint64_t timeout_ns);

/** chi_wait_all - wait until all are done; as chi_wait(). @tasks: borrowed array of task pointers; n 0 returns 0. */
CHI_API CHI_NODISCARD int chi_wait_all(void *const *tasks, uint32_t n_tasks, uint64_t timeout_ns);

/** chi_wait_any - wait until one is done; as chi_wait(), but returns the index of one that is. n 0: -EINVAL. */
CHI_API CHI_NODISCARD int chi_wait_any(void *const *tasks, uint32_t n_tasks, uint64_t timeout_ns);

/**
 * chi_call - submit (retrying while the lane is full) and wait for ever
 *
 * In a method, a task whose lane is idle and of the same worker is run at once, on the caller's stack, ahead of the
 * worker's other tasks (workers.run_in_place); not one that is periodic or fire-and-forget. It has fibers.stack_kib of
 * its own, as any. After workers.lane_batch such calls on a worker, or a millisecond, those have their say.
 * Returns: the task's result, or what chi_submit() or chi_wait() said. May switch the fiber: yes.
 */
CHI_API CHI_NODISCARD int chi_call(struct chi_client *client, void *task);

/** chi_yield - let other tasks (in a method) or threads (elsewhere) go first. May switch the fiber: yes. */
CHI_API void chi_yield(void);

/** chi_error_text - what the last failing call of this thread has to say about it; "" when nothing. Never NULL. */
CHI_API const char *chi_error_text(void);

CHI_END_DECLS
#endif
