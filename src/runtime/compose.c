/* SPDX-License-Identifier: BSD-3-Clause */
#include "runtime/compose.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <chimaera/admin.h>

#include "runtime/log.h"
#include "runtime/runtime.h"
#include "task/error.h"

static int make_pool(struct chi_client *client, const struct chi_config_pool *pool)
{
	const char *name = pool->name[0] ? pool->name : pool->module;
	struct chi_pool_spec spec = {
		.module = pool->module,
		.name = name,
		.n_containers = pool->n_containers,
		.exclusive = true,
		.params = pool->params,
		.params_size = pool->params ? strlen(pool->params) : 0,
	};
	uint32_t pool_id;
	char cause[400];
	int ret = chi_pool_create(client, &spec, &pool_id);

	if (ret < 0) {
		snprintf(cause, sizeof(cause), "%s", *chi_error_text() ? chi_error_text() : strerror(-ret));
		return chi_error_set(ret, "%s: pool '%s': %s", pool->where, name, cause);
	}
	chi_log_info("pool '%s' made: module %s, %u containers", name, pool->module, pool->n_containers);
	return 0;
}

int chi_compose_pools(struct chi_runtime *runtime)
{
	const struct chi_config *config = &runtime->config;
	struct chi_client *client;
	int ret = 0;

	if (config->n_compose == 0)
		return 0;
	/* a client like any other: create() runs in a fiber and may submit tasks */
	ret = chi_runtime_client(runtime, NULL, &client);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < config->n_compose && ret == 0; i++)
		ret = make_pool(client, &config->compose[i]);
	chi_client_disconnect(client);
	return ret;
}
