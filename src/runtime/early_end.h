/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * early_end.h - when a task shall end early: it was cancelled, one that waits for it was, its client is gone, or its
 *               deadline has passed
 *
 * E1  A request is a word in the task (chi_cancel()); nobody carries it further. Who wants to know looks at the words
 *     of all tasks from his own up to the root. They are there: a task ends after its children (C4 in run_context.c).
 * E2  A deadline is handed down when a task is submitted: that of a task is never later than that of its parent.
 * E3  A fire-and-forget task is the root of its own tree: nothing reaches it from above. So is what a module's create()
 *     or destroy() submits: it works for the pool, and others wait for that (chi_context_is_own_root()).
 * E4  A walk that found nothing is not made again: each context it passed notes how many tasks of the runtime had been
 *     cancelled (n_cancels), and as long as that many have been, the next walk ends at it. So a tree that nobody
 *     cancels costs one step a task, however deep. The root's own word, which may be a client's, is looked at each
 *     time.
 * E5  Who would read the answer is gone: the session of the root has ended, by its client's death or by a disconnect.
 *     Fire-and-forget tasks were given away, and go on. That ends what nobody could cancel any more, as the word to do
 *     it by was in the dead one's segment.
 * E6  What a module's create() gave away serves the pool, and is told by nobody else that the runtime stops, which
 *     waits for it. It learns when it asks, so a loop ends; what has not started yet is started all the same.
 */
#ifndef RUNTIME_EARLY_END_H
#define RUNTIME_EARLY_END_H

#include <errno.h>
#include <hshm/clock.h>

#include "runtime/pool_manager.h"
#include "runtime/session.h"
#include "runtime/worker.h"

/* Whose end waits for that of @context: the origin of a broadcast for its part, else the parent. NULL: a root, or
 * detached. */
static inline struct chi_run_context *chi_context_above(const struct chi_run_context *context)
{
	return context->broadcast ? chi_broadcast_origin(context) : context->parent;
}

/* The word that its submitter writes; a part's own copy has none that anybody would. */
static inline const hshm_au32 *chi_context_cancel_word(const struct chi_run_context *context)
{
	return context->client_ref ? &chi_session_task(context->session, context->client_ref)->cancel
				   : &context->task->cancel;
}

/* Nothing comes to it from above, though there may be one who waits for it. */
static inline bool chi_context_is_own_root(const struct chi_run_context *context)
{
	return context->root == context;
}

static inline struct chi_run_context *next_to_ask(const struct chi_run_context *context)
{
	return chi_context_is_own_root(context) ? NULL : chi_context_above(context);
}

/* E5 */
static inline bool chi_context_lost_client(const struct chi_run_context *root)
{
	/* relaxed: a flag without data */
	return root->session && hshm_load_relaxed(&root->session->ended) &&
	       !(root->task->flags & CHI_TASK_FIRE_AND_FORGET);
}

/* E6 */
static inline bool chi_context_serves_what_stops(const struct chi_run_context *context)
{
	/* relaxed: a flag without data */
	return !context->root->session && (context->root->task->flags & CHI_TASK_FIRE_AND_FORGET) &&
	       hshm_load_relaxed(&context->pool->runtime->draining);
}

static inline bool chi_context_asked_to_end(struct chi_run_context *context)
{
	/* acquire: pairs with the release in the inner client's cancelled(): the words of so many cancels are seen
	 * below (E4) */
	uint64_t n_cancels = hshm_load_acquire(&context->pool->runtime->n_cancels);
	struct chi_run_context *at;

	/* relaxed, here and below: a request without data; and a note that whoever reads it compares with n_cancels */
	if (hshm_load_relaxed(chi_context_cancel_word(context->root)) || chi_context_lost_client(context->root))
		return true;
	for (at = context; at && hshm_load_relaxed(&at->not_asked) != n_cancels; at = next_to_ask(at))
		if (hshm_load_relaxed(chi_context_cancel_word(at)))
			return true;
	for (; context != at; context = next_to_ask(context))
		hshm_store_relaxed(&context->not_asked, n_cancels);
	return false;
}

/* 0, or why it shall end: -ECANCELED, -ETIMEDOUT. The clock is read only if there is a deadline. */
static inline int chi_context_early_end(struct chi_run_context *context)
{
	if (chi_context_asked_to_end(context))
		return -ECANCELED;
	return context->deadline_ns && hshm_clock_ns() >= context->deadline_ns ? -ETIMEDOUT : 0;
}

/* E2: the task's own deadline counts from @from_ns. */
static inline void chi_context_set_deadline(struct chi_run_context *context, uint64_t from_ns)
{
	const struct chi_run_context *above = next_to_ask(context);
	uint64_t above_ns = above ? above->deadline_ns : 0, own_ns = 0;

	if (context->task->deadline_us &&
	    __builtin_add_overflow(from_ns, context->task->deadline_us * HSHM_NSEC_PER_USEC, &own_ns))
		own_ns = HSHM_FOREVER;
	context->deadline_ns = own_ns == 0 || (above_ns && above_ns < own_ns) ? above_ns : own_ns;
}

/* The task is taken now: before it is routed. */
static inline void chi_context_take_deadline(struct chi_run_context *context)
{
	if (context->task->deadline_us || !chi_context_is_own_root(context))
		chi_context_set_deadline(context, context->task->deadline_us ? hshm_clock_ns() : 0);
}

#endif
