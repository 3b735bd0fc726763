/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * admit.c - a client's reference becomes a run context: claimed, copied once, checked
 *
 * Everything read from the client's segment is read once, into private memory, and only the copy is looked at. What
 * fails a check is answered in the task, if there is a place to answer in, and logged, but not more often than is
 * useful.
 */
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
	uint16_t version;
	uint16_t flags;
	uint32_t size_bytes;
	uint32_t pool_id;
	uint32_t method_id;
	struct chi_domain_query query;
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
		     refusal_cause(error), request->pool_id, request->method_id, request->size_bytes);
}

static int check_request(const struct chi_session *session, uint32_t ref, const struct request *request)
{
	uint64_t begin = (uint64_t)ref * HIPC_REF_UNIT;

	if (request->version != CHI_TASK_VERSION)
		return -EPROTO;
	if (request->flags & ~CHI_TASK_FLAGS_KNOWN)
		return -EINVAL;
	if (request->size_bytes < sizeof(struct chi_task) || request->size_bytes > CHI_TASK_SIZE_MAX)
		return -EMSGSIZE;
	if (request->size_bytes > session->segment.map.size_bytes - begin)
		return -EFAULT;
	if (request->query.kind < CHI_DOMAIN_LOCAL_ID || request->query.kind > CHI_DOMAIN_DYNAMIC)
		return -EINVAL;
	if ((request->flags & CHI_TASK_PERIODIC) &&
	    (request->period_ns == 0 || request->query.kind == CHI_DOMAIN_GLOBAL_BCAST))
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
	if (request->size_bytes > sizeof(*copy))
		memcpy(copy + 1, shared + 1, request->size_bytes - sizeof(*copy));
}

/* Pool, method, context, copy, buffers. On error there is nothing to give back. */
static int make_context(struct chi_worker *worker, struct chi_session *session, const struct request *request,
			const struct chi_task *shared, struct chi_run_context **ret_context)
{
	struct chi_run_context *context;
	const struct chi_method *method;
	struct chi_pool *pool;
	uint8_t epoch;
	int ret;

	/* relaxed: a task that slips in is drained like those before it */
	if (hshm_load_relaxed(&worker->runtime->draining))
		return -ESHUTDOWN;
	pool = chi_pool_hold(worker, request->pool_id, &epoch);
	if (!pool)
		return -ENOENT;
	method = chi_pool_method(pool, request->method_id);
	if (!method)
		return -ENOSYS;
	ret = request->size_bytes != method->task_size ? -EMSGSIZE : 0;
	if (ret == 0)
		ret = chi_context_alloc_in_turn(worker, request->size_bytes, &context);
	if (ret < 0)
		goto count_refused;
	context->pool = pool;
	context->flush_epoch = epoch;
	context->is_held = context->in_place = true;
	context->method = method;
	context->session = session;
	context->task = (struct chi_task *)context->copy;
	copy_task(context, request, shared);
	ret = check_buffers(context);
	if (ret < 0)
		goto free_context;
	chi_count_started(worker, context);
	*ret_context = context;
	return 0;

free_context:
	chi_context_free(context);
count_refused:
	hshm_count_add(&chi_method_counters_at(worker, pool->counters_offsets[method->id])->refused, 1);
	return ret;
}

struct chi_run_context *chi_worker_admit(struct chi_worker *worker, struct chi_session *session, uint32_t ref)
{
	struct chi_run_context *context = NULL;
	struct request request = { 0 };
	struct chi_task *shared = NULL;
	int ret = chi_session_claim(session, ref, &shared);

	if (ret == 0) {
		/* the answer's line comes from the client's core while the request's is read and run */
		hshm_prefetch_write(&shared->completion);
		chi_sanitizer_from_client(session);
		memcpy(&request, shared, offsetof(struct request, deadline_us));
		request.deadline_us = shared->deadline_us;
		/* the compiler may not go back to the shared bytes for what was just copied */
		__asm__ __volatile__("" ::: "memory");
		ret = check_request(session, ref, &request);
		if (ret == 0)
			ret = make_context(worker, session, &request, shared, &context);
	}
	if (!context) {
		/* before the answer: who got it finds it counted */
		hshm_count_add(&worker->counters->tasks_refused, 1);
		hshm_count_add(&chi_client_counters(worker, session)->refused, 1);
		if (shared)
			chi_client_task_done(session, ref, shared, request.flags, ret);
		log_refused(session, ref, &request, ret);
		return NULL;
	}
	context->client_ref = ref;
	context->task->id.root = ((uint64_t)worker->id << 48) | ++worker->n_roots;
	chi_context_take_deadline(context);
	return context;
}
