/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/stage.h - for a test of its own methods: one embedded runtime, one client, one pool of a module in the test
 *
 * Included once in a test, after cmocka.h.
 */
#ifndef TESTS_SUPPORT_STAGE_H
#define TESTS_SUPPORT_STAGE_H

#include <chimaera/chimaera.h>
#include <chimaera/module.h>
#include <chimaera/runtime.h>
#include <errno.h>

#include "runtime/module_manager.h"
#include "runtime/runtime.h"

#define TIME_MAX_NS (20 * HSHM_NSEC_PER_SEC)
#define STAGE_LANES 8u

static struct chi_runtime *runtime;
static struct chi_client *client;
static uint32_t pool;

static inline int stage_start(const char *config, const struct chi_module *module, uint32_t n_containers)
{
	struct chi_pool_spec spec = { .module = module->name, .n_containers = n_containers };

	if (chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config), &runtime) < 0 ||
	    chi_module_register_builtin(runtime->modules, module) < 0 ||
	    chi_runtime_client(runtime, &CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID), &client) < 0 ||
	    chi_pool_create(client, &spec, &pool) < 0) {
		print_error("%s\n", chi_error_text());
		return -1;
	}
	return 0;
}

static inline int stage_stop(void **state)
{
	(void)state;
	chi_client_disconnect(client);
	return chi_runtime_stop(runtime, 5 * HSHM_NSEC_PER_SEC, NULL);
}

/* A container with STAGE_LANES lanes. */
static inline int stage_create_lanes(struct chi_container *container, const void *params, uint64_t params_size)
{
	(void)params;
	(void)params_size;
	return chi_container_create_local_queue(container, 0, STAGE_LANES, 0);
}

/* The query's value says the lane, and so the worker. */
static inline int stage_lane_by_value(struct chi_container *container, enum chi_monitor_mode mode,
				      struct chi_monitor *answer)
{
	(void)container;
	if (mode != CHI_MONITOR_LOCAL_SCHEDULE)
		return -ENOTSUP;
	answer->lane_id = (uint32_t)(answer->task->query.value % STAGE_LANES);
	return 0;
}

static inline void stage_wait_until(hshm_au32 *count, uint32_t n)
{
	uint64_t end_ns = hshm_clock_ns() + TIME_MAX_NS;

	/* acquire: pairs with what the test counts by */
	while (hshm_load_acquire(count) < n) {
		assert_true(hshm_clock_ns() < end_ns);
		chi_yield();
	}
}

#endif
