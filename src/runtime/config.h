/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.h - what can be configured: one YAML file, one table (config.c) with unit, default and limits of each key
 */
#ifndef RUNTIME_CONFIG_H
#define RUNTIME_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <chimaera/admin.h>
#include <chimaera/counters.h>

#include "runtime/fiber.h"

struct chi_config {
	char name[CHI_NAME_MAX];  /* name: of the runtime, and so of its socket; "default" */
	char group[CHI_NAME_MAX]; /* group: whose members may connect; "" = the same user only */
	uint32_t log_level;	  /* log_level: error|warn|info|debug */

	uint32_t n_workers;	 /* workers.count: 0 = one per CPU we may run on; at most CHI_WORKERS_MAX */
	uint32_t n_high_latency; /* workers.high_latency: of them, only for high-latency lanes; 0 = all serve both */
	uint32_t n_cpus;	 /* workers.cpus: list; worker i is bound to cpus[i % n]; empty = not bound */
	uint32_t cpus[CHI_WORKERS_MAX];
	uint32_t lane_batch;	 /* workers.lane_batch: tasks a turn, 64 */
	uint64_t spin_ns;	 /* workers.spin_us: how long to look for work before sleeping, 50 */
	uint32_t hot_lanes_max;	 /* workers.hot_lanes: client lanes a worker polls, 256 */
	uint32_t active_depth;	 /* workers.active_depth: slots of each active queue, 1024, a power of two */
	bool completion_posting; /* workers.completion_posting: true; false = the wait heap alone */
	bool run_in_place;	 /* workers.run_in_place: true; skip the second hop when the lane is ours and empty */

	uint64_t stack_bytes;		  /* fibers.stack_kib: 64 */
	uint32_t fibers_max;		  /* fibers.max: per worker, 16384 */
	enum chi_fiber_guard fiber_guard; /* fibers.guard: auto|madvise|mprotect */

	uint32_t clients_max;	      /* clients.max: 1024 */
	uint64_t client_bytes;	      /* clients.memory_mib: cap of one client's segment, 4096 */
	uint32_t client_lanes;	      /* clients.lanes: per client, 16 */
	uint32_t client_lane_depth;   /* clients.lane_depth: slots, 1024, a power of two */
	uint32_t client_contexts_max; /* clients.contexts: run contexts at once, 4096 */

	uint64_t private_bytes;	       /* memory.private_mib: run contexts, container lanes, module memory; 16384 */
	uint32_t container_lane_depth; /* memory.lane_depth: slots of a container lane, 1024, a power of two */

	uint64_t stop_timeout_ns; /* stop_timeout_ms: for tasks in flight at stop, 10000 */
};

/* The defaults of the table. */
void chi_config_defaults(struct chi_config *config);

/* Defaults, then the file. Errors (-EINVAL, -ENOENT, -EACCES ...) say file, line, column, key and what is allowed in
 * chi_error_text(); @ret_config is then unchanged. */
int chi_config_load_file(const char *path, struct chi_config *ret_config);
/* The same from text; @label stands for the file's name in errors. */
int chi_config_load_text(const char *text, const char *label, struct chi_config *ret_config);

/* The table as a YAML file of all keys with their defaults, units, limits: docs/chimaera.yaml. */
void chi_config_write_keys(FILE *out);

#endif
