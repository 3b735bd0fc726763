/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * submit.c - the runtime's inner client: what methods allocate from and submit through
 *
 * A subtask is not copied: its memory is the submitting method's, inside the process, and trusted. It enters where a
 * client's task is after its checks: routing.
 */
#include <errno.h>

#include "runtime/early_end.h"
#include "runtime/count.h"
#include "runtime/pool_manager.h"
#include "runtime/session.h"
#include "runtime/worker.h"
#include "task/error.h"

static struct chi_runtime *runtime_of(struct chi_client *client)
{
	return (struct chi_runtime *)((char *)client - offsetof(struct chi_runtime, inner));
}

static int inner_alloc(struct chi_client *client, uint64_t size_bytes, void **ret_memory)
{
	int ret = hshm_heap_alloc(runtime_of(client)->module_heap, size_bytes, ret_memory);

	if (ret == -ENOMEM)
		return chi_error_set(ret, "the memory of modules is at its cap: raise memory.private_mib");
	return ret;
}

static void inner_free(struct chi_client *client, void *memory)
{
	hshm_heap_free(runtime_of(client)->module_heap, memory);
}

static int inner_locate(struct chi_client *client, const void *memory, uint64_t size_bytes, struct hipc_ptr *ret_ptr)
{
	(void)client;
	(void)size_bytes;
	*ret_ptr = memory ? hipc_ptr_local(memory) : (struct hipc_ptr){ 0 };
	return 0;
}

static int inner_alive(struct chi_client *client)
{
	(void)client;
	return 0; /* it is this process */
}

static void inner_cancelled(struct chi_client *client)
{
	/* release: the task's word before the count; pairs with the acquire in chi_context_asked_to_end() */
	hshm_fetch_add_release(&runtime_of(client)->n_cancels, 1);
}

static int check_subtask(const struct chi_pool *pool, const struct chi_task *task, const struct chi_method **ret_method)
{
	const struct chi_method *method = chi_pool_method(pool, task->method_id);

	if (!method)
		return chi_error_set(-ENOSYS, "pool '%s' has no method %u", pool->name, task->method_id);
	if (task->size_bytes != method->task_size)
		return chi_error_set(-EMSGSIZE, "a task of %u bytes for %s.%s, which takes %u", task->size_bytes,
				     pool->name, method->name, method->task_size);
	if (task->version != CHI_TASK_VERSION || (task->flags & ~CHI_TASK_FLAGS_KNOWN) ||
	    task->query.kind < CHI_DOMAIN_LOCAL_ID || task->query.kind > CHI_DOMAIN_DYNAMIC ||
	    ((task->flags & CHI_TASK_PERIODIC) &&
	     (task->period_ns == 0 || task->query.kind == CHI_DOMAIN_GLOBAL_BCAST)))
		return chi_error_set(-EINVAL, "version, flags, domain query or period of the task");
	*ret_method = method;
	return 0;
}

static uint64_t declared_bytes(const struct chi_task *task, const struct chi_method *method)
{
	const struct chi_buffer *buffers = (const void *)((const char *)task + method->buffers_offset);
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < method->n_buffers; i++)
		bytes += buffers[i].size_bytes;
	return bytes;
}

/* A detached task may outlive its parent's tree: it is the root of its own. That of a create() or destroy() is one, too
 * (E3 in early_end.h). */
static void give_id(struct chi_worker *worker, struct chi_run_context *parent, struct chi_run_context *context)
{
	struct chi_task_id *id = &context->task->id;

	if (!context->parent || parent->works_for_pool) {
		id->root = ((uint64_t)worker->id << 48) | ++worker->n_roots;
		id->number = 0;
		return;
	}
	context->root = parent->root;
	id->root = parent->task->id.root;
	/* relaxed: a number, from the one count of the whole tree */
	id->number = 1 + hshm_fetch_add_relaxed(&parent->root->n_numbered, 1);
}

/* A subtask's pool, and who counts for it there. */
struct entry {
	struct chi_pool *pool;
	uint8_t flush_epoch;
	bool by_caller;
};

static int enter_pool(struct chi_worker *worker, uint32_t pool_id, bool is_call, struct entry *ret_entry)
{
	struct chi_run_context *parent = worker->current;

	chi_context_keep(worker, parent);
	ret_entry->by_caller = is_call && chi_pool_get_by_caller(parent, pool_id);
	if (ret_entry->by_caller) {
		ret_entry->pool = parent->pool;
		ret_entry->flush_epoch = parent->flush_epoch;
		return 0;
	}
	ret_entry->pool = chi_pool_get(worker->runtime->pools, pool_id, &ret_entry->flush_epoch);
	return ret_entry->pool ? 0 : chi_error_set(-ENOENT, "no pool %u", pool_id);
}

/* A parent waits for those that are not detached; one that is called joins them when it leaves its place. */
static void take_parent(struct chi_run_context *context, struct chi_run_context *parent)
{
	/* what works for a pool stays when the client goes that had it made: no session */
	context->session = parent->works_for_pool ? NULL : parent->session;
	if (context->task->flags & CHI_TASK_FIRE_AND_FORGET) {
		if (context->session)
			chi_session_get(context->session);
		return;
	}
	context->parent = parent;
	if (!context->in_place)
		chi_context_join_parent(context);
}

static int make_context(struct chi_worker *worker, struct chi_task *task, struct chi_pool *pool,
			struct chi_run_context **ret_context)
{
	struct chi_run_context *context = NULL;
	const struct chi_method *method = NULL;
	int ret = check_subtask(pool, task, &method);

	if (ret == 0)
		ret = chi_context_alloc_made(worker, CHI_MADE_FOR_SUBTASK, &context);
	if (ret < 0)
		return ret;
	context->pool = pool;
	context->method = method;
	context->worker = worker;
	memcpy(&context->asked, task, sizeof(context->asked));
	*ret_context = context;
	return 0;
}

/* In the context of a subtask that asked alike. NULL: there is none. */
static struct chi_run_context *take_alike(struct chi_worker *worker, const struct chi_task *task)
{
	const struct chi_asked *asked = (const void *)task;
	struct chi_run_context *context = chi_context_alike(worker, CHI_MADE_FOR_SUBTASK, asked);

	if (context)
		chi_context_take_alike(worker, context, asked);
	return context;
}

static int make_subtask(struct chi_worker *worker, struct chi_task *task, bool is_call,
			struct chi_run_context **ret_context)
{
	struct chi_run_context *parent = worker->current, *context;
	struct entry entry;
	int ret = enter_pool(worker, task->pool_id, is_call, &entry);

	if (ret < 0)
		return ret;
	context = take_alike(worker, task);
	if (!context)
		ret = make_context(worker, task, entry.pool, &context);
	if (ret < 0) {
		if (!entry.by_caller)
			chi_pool_put(entry.pool, entry.flush_epoch);
		return ret;
	}
	context->task = task;
	context->flush_epoch = entry.flush_epoch;
	context->is_held = entry.by_caller;
	context->in_place = is_call;
	context->io_bytes = declared_bytes(task, context->method);
	take_parent(context, parent);
	give_id(worker, parent, context);
	chi_context_take_deadline(context);
	chi_count_started(worker, context);
	*ret_context = context;
	return 0;
}

static int inner_submit(struct chi_client *client, struct chi_task *task, enum chi_submit_next next)
{
	struct chi_worker *worker = CHI_CUR_WORKER;
	struct chi_run_context *context = NULL;
	bool is_call = next == CHI_NEXT_WAIT && !(task->flags & (CHI_TASK_FIRE_AND_FORGET | CHI_TASK_PERIODIC));
	int ret;

	(void)client;
	if (!worker || !worker->current)
		return chi_error_set(-EPERM, "only a method can submit through its context's client");
	ret = make_subtask(worker, task, is_call, &context);
	if (ret < 0)
		return ret;
	chi_parking_route(worker, context, is_call);
	return 0;
}

const struct chi_client_ops chi_inner_client_ops = {
	.alloc = inner_alloc,
	.free = inner_free,
	.locate = inner_locate,
	.submit = inner_submit,
	.alive = inner_alive,
	.cancelled = inner_cancelled,
	.park = NULL,
};
