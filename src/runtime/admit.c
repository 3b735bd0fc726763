/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * admit.c - a client's reference becomes a run context: claimed, copied once, checked
 *
 * Everything read from the client's segment is read once, into private memory, and only the copy is looked at. What
 * fails a check is answered in the task, if there is a place to answer in, and logged, but not more often than is
 * useful.
 *
 * A task that asks as the newest one did which is over, but for the value of its query, follows that: it is run in the
 * same context, without being checked anew (take_alike()). If that value is the same, too, it goes to the same lane,
 * unless lanes have turns (default_lane() in route.c).
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "runtime/early_end.h"
#include "runtime/log.h"
#include "runtime/count.h"
#include "runtime/pool_manager.h"
#include "runtime/sanitizer.h"
#include "runtime/session.h"
#include "runtime/worker.h"

#define REFUSALS_LOGGED_PER_SECOND 5

/* The part of struct chi_task that a client asks with. */
struct request {
	struct chi_asked asked;
	uint64_t period_ns;
	/* as far as that the same layout */
	uint32_t deadline_us;
};

_Static_assert(offsetof(struct request, period_ns) == offsetof(struct chi_task, period_ns), "the same layout");

static const char *refusal_cause(int error)
{
	switch (error) {
	case -ENOENT:
		return "no such pool";
	case -ENOSYS:
		return "no such method";
	case -EMSGSIZE:
		return "the task's size is not the method's";
	case -EPROTO:
		return "another version of struct chi_task";
	case -EFAULT:
		return "a reference or a buffer outside the client's segment";
	case -EBUSY:
		return "the task is in flight already";
	case -EINVAL:
		return "unknown flags or domain query, or a period that cannot be";
	case -ESHUTDOWN:
		return "the runtime is stopping";
	default:
		return strerror(-error);
	}
}

static void log_refused(const struct chi_session *session, uint32_t ref, const struct request *request, int error)
{
	if (!chi_log_allowed(&session->runtime->log_limits.task_refused, REFUSALS_LOGGED_PER_SECOND))
		return;
	chi_log_warn("client %u (pid %d): task at offset %llu refused: %s (pool %u, method %u, %u bytes)",
		     session->client_id, (int)session->pid, (unsigned long long)ref * HIPC_REF_UNIT,
		     refusal_cause(error), request->asked.pool_id, request->asked.method_id, request->asked.size_bytes);
}

static bool is_inside(const struct chi_session *session, uint32_t ref, uint32_t size_bytes)
{
	return size_bytes <= session->segment.map.size_bytes - (uint64_t)ref * HIPC_REF_UNIT;
}

static int check_request(const struct chi_session *session, uint32_t ref, const struct request *request)
{
	const struct chi_asked *asked = &request->asked;

	if (asked->version != CHI_TASK_VERSION)
		return -EPROTO;
	if (asked->flags & ~CHI_TASK_FLAGS_KNOWN)
		return -EINVAL;
	if (asked->size_bytes < sizeof(struct chi_task) || asked->size_bytes > CHI_TASK_SIZE_MAX)
		return -EMSGSIZE;
	if (!is_inside(session, ref, asked->size_bytes))
		return -EFAULT;
	if (asked->query.kind < CHI_DOMAIN_LOCAL_ID || asked->query.kind > CHI_DOMAIN_DYNAMIC)
		return -EINVAL;
	if ((asked->flags & CHI_TASK_PERIODIC) &&
	    (request->period_ns == 0 || asked->query.kind == CHI_DOMAIN_GLOBAL_BCAST))
		return -EINVAL;
	return 0;
}

/* The buffers of the private copy: inside the client's segment, or null. */
static int check_buffers(struct chi_run_context *context)
{
	const struct chi_method *method = context->method;
	const struct chi_buffer *buffers = (const void *)((const char *)context->task + method->buffers_offset);

	for (uint32_t i = 0; i < method->n_buffers; i++) {
		if (buffers[i].flags & ~(uint32_t)(CHI_BUFFER_IN | CHI_BUFFER_OUT))
			return -EINVAL;
		if (hipc_ptr_is_null(buffers[i].ptr) && buffers[i].size_bytes == 0)
			continue;
		if (!hipc_ptr_translate(&context->session->segment.map, buffers[i].ptr, buffers[i].size_bytes))
			return -EFAULT;
		context->io_bytes += buffers[i].size_bytes;
	}
	return 0;
}

static void copy_task(struct chi_run_context *context, const struct request *request, const struct chi_task *shared)
{
	struct chi_task *copy = context->task;

	chi_clear_lines(copy, sizeof(*copy));
	memcpy(copy, request, offsetof(struct request, deadline_us));
	copy->deadline_us = request->deadline_us;
	if (request->asked.size_bytes > sizeof(*copy))
		memcpy(copy + 1, shared + 1, request->asked.size_bytes - sizeof(*copy));
}

static void count_refused(struct chi_worker *worker, const struct chi_pool *pool, const struct chi_method *method)
{
	hshm_count_add(&chi_method_counters_at(worker, pool->counters_offsets[method->id])->refused, 1);
}

/* Most tasks are small: their contexts are all of one size, so that memory at rest is, too. */
static int alloc_context(struct chi_worker *worker, uint32_t task_bytes, struct chi_run_context **ret_context)
{
	return task_bytes <= CHI_MADE_TASK_BYTES ? chi_context_alloc_made(worker, CHI_MADE_FOR_CLIENT, ret_context)
						 : chi_context_alloc(worker->runtime, task_bytes, ret_context);
}

/* The request is checked, its pool and method found; a context for it. On error there is nothing to give back. */
static int make_context(struct chi_worker *worker, struct chi_session *session, uint32_t ref,
			const struct request *request, struct chi_run_context **ret_context)
{
	const struct chi_asked *asked = &request->asked;
	struct chi_run_context *context;
	const struct chi_method *method;
	struct chi_pool *pool;
	int ret = check_request(session, ref, request);

	if (ret < 0)
		return ret;
	/* relaxed: a task that slips in is drained like those before it */
	if (hshm_load_relaxed(&worker->runtime->draining))
		return -ESHUTDOWN;
	pool = chi_pool_hold(worker->runtime->pools, &worker->hold, asked->pool_id);
	if (!pool)
		return -ENOENT;
	method = chi_pool_method(pool, asked->method_id);
	if (!method)
		return -ENOSYS;
	ret = asked->size_bytes != method->task_size ? -EMSGSIZE : 0;
	if (ret == 0)
		ret = alloc_context(worker, asked->size_bytes, &context);
	if (ret < 0) {
		count_refused(worker, pool, method);
		return ret;
	}
	context->pool = pool;
	context->flush_epoch = worker->hold.flush_epoch;
	context->is_held = context->in_place = true;
	context->method = method;
	context->session = session;
	context->task = (struct chi_task *)context->copy;
	context->asked = *asked;
	*ret_context = context;
	return 0;
}

/* In the context of a task of this client that asked alike. NULL: there is none. */
static struct chi_run_context *take_alike(struct chi_worker *worker, struct chi_session *session, uint32_t ref,
					  const struct request *request)
{
	struct chi_run_context *context = chi_context_alike(worker, CHI_MADE_FOR_CLIENT, &request->asked);
	const struct chi_pool *pool;

	/* relaxed: as in make_context() */
	if (!context || context->session != session || !is_inside(session, ref, request->asked.size_bytes) ||
	    hshm_load_relaxed(&worker->runtime->draining))
		return NULL;
	/* By the id, which is never given twice: what the context points to is there if its pool is. */
	pool = chi_pool_hold(worker->runtime->pools, &worker->hold, request->asked.pool_id);
	if (!pool)
		return NULL;
	assert(pool == context->pool);
	chi_context_take_alike(worker, context, &request->asked);
	context->flush_epoch = worker->hold.flush_epoch;
	context->is_held = context->in_place = true;
	return context;
}

/* The context has its pool, its method and its memory. On error it is a spare. */
static int fill_context(struct chi_worker *worker, struct chi_run_context *context, const struct request *request,
			const struct chi_task *shared)
{
	int ret;

	copy_task(context, request, shared);
	ret = check_buffers(context);
	if (ret < 0) {
		count_refused(worker, context->pool, context->method);
		chi_context_leave_memory(worker, context);
		return ret;
	}
	chi_count_started(worker, context);
	return 0;
}

/* The task is claimed: read once, checked, with a context. */
static int admit(struct chi_worker *worker, struct chi_session *session, uint32_t ref, struct chi_task *shared,
		 struct request *request, struct chi_run_context **ret_context)
{
	int ret = 0;

	/* the answer's line comes from the client's core while the request's is read and run */
	hshm_prefetch_write(&shared->completion);
	chi_sanitizer_from_client(session);
	memcpy(request, shared, offsetof(struct request, deadline_us));
	request->deadline_us = shared->deadline_us;
	/* the compiler may not go back to the shared bytes for what was just copied */
	__asm__ __volatile__("" ::: "memory");
	*ret_context = take_alike(worker, session, ref, request);
	if (!*ret_context)
		ret = make_context(worker, session, ref, request, ret_context);
	return ret < 0 ? ret : fill_context(worker, *ret_context, request, shared);
}

static void refuse(struct chi_worker *worker, struct chi_session *session, uint32_t ref, struct chi_task *shared,
		   const struct request *request, int error)
{
	/* before the answer: who got it finds it counted */
	hshm_count_add(&worker->counters->tasks_refused, 1);
	hshm_count_add(&chi_client_counters(worker, session)->refused, 1);
	if (shared)
		chi_client_task_done(session, ref, shared, request->asked.flags, error);
	log_refused(session, ref, request, error);
}

struct chi_run_context *chi_worker_admit(struct chi_worker *worker, struct chi_session *session, uint32_t ref)
{
	struct chi_run_context *context = NULL;
	struct request request = { 0 };
	struct chi_task *shared = NULL;
	int ret = chi_session_claim(session, ref, &shared);

	if (ret == 0)
		ret = admit(worker, session, ref, shared, &request, &context);
	if (ret != 0) {
		refuse(worker, session, ref, shared, &request, ret);
		return NULL;
	}
	context->client_ref = ref;
	context->task->id.root = ((uint64_t)worker->id << 48) | ++worker->n_roots;
	chi_context_take_deadline(context);
	return context;
}
