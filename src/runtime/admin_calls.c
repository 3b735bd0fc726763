/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * admin_calls.c - chimaera/runtime_admin.h: the pool manager, for a module
 */
#include <chimaera/runtime_admin.h>

#include "runtime/pool_manager.h"
#include "runtime/run_context.h"
#include "runtime/runtime.h"

static struct chi_runtime *runtime_of(const struct chi_run_context *context)
{
	return context->pool->runtime;
}

int chi_runtime_pool_make(struct chi_run_context *context, const struct chi_pool_spec *spec, bool open_existing,
			  uint32_t *ret_pool_id, bool *ret_created)
{
	return chi_pool_make(runtime_of(context)->pools, spec, open_existing, 0, ret_pool_id, ret_created);
}

int chi_runtime_pool_end(struct chi_run_context *context, uint32_t pool_id)
{
	return chi_pool_end(runtime_of(context)->pools, pool_id);
}

uint32_t chi_runtime_pool_list(struct chi_run_context *context, struct chi_pool_info *ret_pools, uint32_t n_max)
{
	return chi_pool_list_all(runtime_of(context)->pools, ret_pools, n_max);
}

int chi_runtime_flush(struct chi_run_context *context)
{
	return chi_pool_flush_all(runtime_of(context)->pools);
}

void chi_runtime_ask_stop(struct chi_run_context *context)
{
	chi_runtime_request_stop(runtime_of(context));
}
