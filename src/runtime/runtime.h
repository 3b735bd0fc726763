/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runtime.h - one runtime and what it owns; nothing of it is global
 */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <pthread.h>

#include <chimaera/runtime.h>
#include <hshm/heap.h>
#include <hshm/segment.h>

#include "runtime/config.h"
#include "runtime/log.h"
#include "task/segment_layout.h"
#include "task/submitter.h"

#define CHI_SEGMENT_MAIN    1u
#define CHI_SEGMENT_PRIVATE 2u
#define CHI_SEGMENT_CLIENTS 3u /* client slot i has segment 3 + i */

/* Of what clients can repeat in the log: one limit for each kind, and of this runtime alone. */
struct chi_log_limits {
	struct chi_log_limit task_refused;
	struct chi_log_limit no_container;
	struct chi_log_limit no_fiber;
	struct chi_log_limit lane_stays;
	struct chi_log_limit client_untold;
	struct chi_log_limit pool_life;
	struct chi_log_limit pool_not_made;
};

struct chi_runtime {
	struct chi_config config;
	struct chi_config_layers layers; /* what it was made from: copies */
	bool log_beside_socket;
	char log_path[CHI_CONFIG_PATH_MAX]; /* "" = standard error */
	uint64_t generation;
	struct hshm_segment main;	 /* header, armed words: clients map it read-only */
	struct hshm_segment private_mem; /* run contexts, container lanes: references are offsets in it */
	struct hshm_heap *heap;		 /* in private_mem: the runtime's own */
	struct hshm_heap *module_heap;	 /* in private_mem: what modules take, at most the rest of it */
	struct chi_client inner;	 /* what methods submit through (submit.c) */
	struct chi_module_manager *modules;
	struct chi_pool_manager *pools;
	struct chi_work_orch *orch;
	struct chi_ipc_manager *ipc;
	struct chi_counter_page *counters;
	pthread_mutex_t stop_lock;
	pthread_cond_t stop_asked;
	hshm_au32 stop_requested;
	hshm_au32 n_spinning; /* workers that look for work instead of sleeping; never more than spinning_max */
	uint32_t spinning_max;
	hshm_au64 n_cancels; /* of tasks submitted inside the runtime, ever; counts from 1 */
	hshm_au32 draining;  /* new root tasks get -ESHUTDOWN */
	bool handles_faults;
	struct chi_log_limits log_limits;
	struct chi_runtime *next_abandoned;
};

/* A caller's options in this library's own size; NULL gives all defaults. Returns 0, -EINVAL, -E2BIG. */
int chi_runtime_check_opts(const struct chi_runtime_opts *opts, struct chi_runtime_opts *ret_opts);
struct chi_config_layers chi_runtime_layers(const struct chi_runtime_opts *opts);

static inline struct chi_main_header *chi_runtime_main_header(struct chi_runtime *runtime)
{
	return runtime->main.map.base;
}

#endif
