/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_asker.c - the task that asks for a pool, its end or a flush: who it is, what is logged of it, how it waits
 */
#include "runtime/context_wait.h"
#include "runtime/early_end.h"
#include "runtime/log.h"
#include "runtime/pool_internal.h"
#include "runtime/runtime.h"
#include "runtime/session.h"
#include "runtime/worker.h"

#define WAIT_LONGEST_NS (5 * HSHM_NSEC_PER_MSEC)
#define LOGGED_A_SECOND 10u

void chi_pool_wait_a_little(uint64_t *delay_ns)
{
	chi_context_sleep(*delay_ns);
	if (*delay_ns < WAIT_LONGEST_NS)
		*delay_ns *= 2;
}

const struct chi_run_context *chi_pool_asker(void)
{
	return CHI_CUR_WORKER ? CHI_CUR_WORKER->current : NULL;
}

bool chi_pool_asked_from(const struct chi_pool *pool)
{
	for (const struct chi_run_context *c = chi_pool_asker(); c; c = chi_context_above(c)) {
		if (c->pool == pool)
			return true;
	}
	return false;
}

bool chi_pool_asked_by(const struct chi_run_context *context)
{
	for (const struct chi_run_context *c = chi_pool_asker(); c; c = chi_context_above(c)) {
		if (c == context)
			return true;
	}
	return false;
}

void chi_pool_log_life(const struct chi_pool *pool, const char *what)
{
	const struct chi_run_context *context = chi_pool_asker();

	if (!context || !chi_log_allowed(&pool->runtime->log_limits.pool_life, LOGGED_A_SECOND))
		return;
	if (context->session)
		chi_log_info("pool '%s' %s: id %u, asked by client %u, pid %d", pool->name, what, pool->id,
			     context->session->client_id, (int)context->session->pid);
	else
		chi_log_info("pool '%s' %s: id %u, asked by a task of the runtime", pool->name, what, pool->id);
}
