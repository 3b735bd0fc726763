/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run_context.h - one task inside the runtime, from its check to its completion
 *
 * Made for each task that comes in, from the runtime's private heap, or in the memory of one that is over; container
 * lanes carry references to it. After its start only the worker that runs it touches it, but for what others
 * write: tasks below it that end elsewhere n_children, all a root's n_numbered, and not_asked; who posts it work.next;
 * who hands a lock over next.
 */
#ifndef RUNTIME_RUN_CONTEXT_H
#define RUNTIME_RUN_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <chimaera/module.h>
#include <hshm/min_heap.h>
#include <hshm/ptr.h>

#include "task/work.h"

struct chi_arena_block;
struct chi_fiber;
struct chi_lane;
struct chi_pool;
struct chi_session;
struct chi_worker;
struct chi_wait;

/* Where its memory goes when it is over: to those of the worker's next that are made like it, or back to the heap. */
enum chi_context_make {
	CHI_MADE_ODDLY = 0,
	CHI_MADE_FOR_CLIENT, /* room for a copy of the task */
	CHI_MADE_FOR_SUBTASK,
	CHI_MAKES
};

enum chi_context_state {
	CHI_CONTEXT_QUEUED = 0, /* in a lane, or about to be */
	CHI_CONTEXT_RUNNING,
	CHI_CONTEXT_READY, /* in its worker's ready list */
	CHI_CONTEXT_ENDED, /* its method has returned */
};

/* The first part of a task's request, as its submitter wrote it: two that are alike here, but for the query's value,
 * are admitted alike; if that is the same, too, they go the same way. */
struct chi_asked {
	uint16_t version;
	uint16_t flags;
	uint32_t size_bytes;
	uint32_t pool_id;
	uint32_t method_id;
	struct chi_domain_query query;
};

_Static_assert(sizeof(struct chi_asked) == offsetof(struct chi_task, period_ns), "the same layout");
_Static_assert(offsetof(struct chi_asked, query.value) + sizeof(uint64_t) == sizeof(struct chi_asked),
	       "what may differ is last: chi_context_alike()");

#define CHI_MADE_TASK_BYTES 448u /* of a client's task that CHI_MADE_FOR_CLIENT holds at most */

struct chi_run_context {
	struct chi_task *task; /* what the method sees: `copy` for a client's task, else the submitter's own memory */
	const struct chi_method *method;
	struct chi_container *container;
	struct chi_pool *pool; /* counted (in flight): for itself, or is_held */
	struct chi_worker *worker;
	struct chi_fiber *fiber;
	enum chi_context_state state;
	enum chi_context_make make;
	bool blocked;		  /* until its wait ends the worker does nothing to it */
	bool counts_as_load;	  /* in its container's n_outstanding */
	bool joins;		  /* its method has returned, and n_own_children is in n_children */
	bool lock_shared;	  /* waits for a chi_rwlock as a reader */
	bool works_for_pool;	  /* in a module's create() or destroy() */
	bool is_held;		  /* another counts for it: the turn, in pool and session, or its caller, in the pool */
	bool in_place;		  /* of a turn or a call, until it leaves it */
	bool by_default;	  /* container and lane are what pool and query name (route.c) */
	uint8_t flush_epoch;	  /* of the pool's in-flight count */
	uint32_t counters_offset; /* of its method's counters, in each worker's set */
	uint32_t client_ref;	  /* of the client's task in its segment; 0 = submitted inside the runtime */
	int32_t result;
	struct chi_session *session; /* whose memory it may use; counted, as the pool, or by its parent; NULL = none */
	struct chi_run_context *parent; /* waits for us before it ends; NULL = root, or detached */
	struct chi_run_context *next;	/* ready list; line of a lock (rwlock.c); over: the spare before it */
	struct chi_work work;		/* ended: posts to the waiter's worker; blocked: wakes us */
	struct chi_run_context *waiter; /* ended: whom `work` tells */
	struct hshm_min_heap_node heap_node;
	uint32_t timed_for;	      /* so many runs that are like this one */
	struct chi_wait *wait;	      /* blocked: what for (context_wait.c) */
	uint32_t n_own_children;      /* not detached: started, less those that ended on our worker (C5) */
	hshm_au32 n_children;	      /* less those that ended elsewhere; once it joins: all that are left */
	hshm_au32 n_numbered;	      /* root: numbers given to tasks of its tree */
	struct chi_run_context *root; /* of its tree; itself when it has nobody above */
	hshm_au64 not_asked;  /* chi_runtime.n_cancels when nobody up to the root had been asked to end (early_end.h) */
	uint64_t started_ns;  /* 0: not timed */
	uint64_t io_bytes;    /* of its declared buffers */
	uint64_t deadline_ns; /* no later than the parent's; 0 = none */
	uint64_t due_ns;      /* periodic: when this run was due, while it rests the next one; 0 = first run */
	struct chi_broadcast *broadcast; /* this is a part of it */
	struct chi_arena_block *arena;	 /* its newest block (task_arena.c) */
	struct chi_lane *lane;		 /* of all who ask for `asked`; NULL: one has to look for each */
	struct chi_asked asked;
	struct chi_run_context *below; /* called it in place: whose stack it is on, too (F4 in turn.c); or NULL */
	_Alignas(64) unsigned char copy[];
};

/* By its worker, while its method runs: it has some that have not ended, or that ended elsewhere just now. */
static inline bool chi_context_has_children(const struct chi_run_context *context)
{
	/* relaxed: seen late, there is one more */
	return context->n_own_children + hshm_load_relaxed(&context->n_children) != 0;
}

/* Whole lines, one by one: for so few the string instruction that memset() becomes takes longer to begin than to
 * end. */
static inline void chi_clear_lines(void *memory, size_t size_bytes)
{
	for (size_t at = 0; at < size_bytes; at += HIPC_REF_UNIT)
		memset(__builtin_assume_aligned((char *)memory + at, HIPC_REF_UNIT), 0, HIPC_REF_UNIT);
}

/* For writing. Not checked: a prefetch of rubbish does nothing. */
static inline void chi_prefetch_lines(const void *memory, size_t size_bytes)
{
	for (size_t at = 0; at < size_bytes; at += HIPC_REF_UNIT)
		hshm_prefetch_write((const char *)memory + at);
}

_Static_assert(sizeof(struct chi_run_context) % HIPC_REF_UNIT == 0 && sizeof(struct chi_task) % HIPC_REF_UNIT == 0,
	       "whole lines");

#endif
