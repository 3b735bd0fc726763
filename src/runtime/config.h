/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.h - what can be configured; one table (config_table.c) has unit, default and limits of each key
 */
#ifndef RUNTIME_CONFIG_H
#define RUNTIME_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <chimaera/admin.h>
#include <chimaera/counters.h>

#include "runtime/fiber.h"

#define CHI_CONFIG_KEYS_MAX  64u
#define CHI_CONFIG_PATH_MAX  1024u
#define CHI_CONFIG_LABEL_MAX 128u

/* One of compose: a pool to be made at the start. */
struct chi_config_pool {
	char module[CHI_NAME_MAX];
	char name[CHI_NAME_MAX]; /* "" = the module's */
	uint32_t n_containers;
	char *params;			  /* the text for the module's create(); owned, NULL = none */
	char where[CHI_CONFIG_LABEL_MAX]; /* "chimaera.yaml:12:3" */
};

enum chi_lane_policy {
	CHI_LANES_ROUND_ROBIN = 0,
	CHI_LANES_LEAST_LOAD,
	CHI_LANES_FIXED,
};

struct chi_config {
	char name[CHI_NAME_MAX];  /* name: of the runtime, and so of its socket; "default" */
	char group[CHI_NAME_MAX]; /* group: whose members may connect; "" = the same user only */
	uint32_t log_level;	  /* log_level: error|warn|info|debug */

	char log_file[CHI_CONFIG_PATH_MAX]; /* log_file: "" = standard error */

	struct chi_config_pool *compose; /* compose: pools made at the start; owned, chi_config_free() */
	uint32_t n_compose;

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

	enum chi_lane_policy lane_policy; /* lanes.policy: round_robin|least_load|fixed */
	uint64_t balance_ns;		  /* lanes.balance_ms: how often lanes are moved off busy workers; 0 = never */

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

	uint64_t task_arena_bytes; /* memory.task_arena_kib: cap of chi_task_arena_alloc() for one task, 1024 */

	uint32_t counted_pools;	  /* counters.pools: rows, 256 */
	uint32_t counted_methods; /* counters.methods: 1024 */
	uint32_t counted_clients; /* counters.clients: 256 */
	uint32_t counted_lanes;	  /* counters.lanes: 1024 */

	bool move_lanes;  /* watchdog.move_lanes: false */
	uint64_t hang_ns; /* watchdog.hang_ms: a method that does not come back for so long is told, 1000; 0 = never */

	uint64_t stop_timeout_ns; /* stop_timeout_ms: for tasks in flight at stop, 10000 */
};

/* The defaults of the table. */
void chi_config_defaults(struct chi_config *config);
/* What the configuration owns. */
void chi_config_free(struct chi_config *config);

/* Later ones win. */
enum chi_config_layer {
	CHI_CONFIG_DEFAULT = 0,
	CHI_CONFIG_FILE,
	CHI_CONFIG_ENVIRONMENT,
	CHI_CONFIG_SETTING,
	CHI_CONFIG_NAME_OPTION,
};

/* What the layers are made from; all borrowed, all may be NULL. */
struct chi_config_layers {
	const char *file;	     /* YAML */
	const char *text;	     /* YAML, when there is no file */
	bool environment;	     /* look at CHIMAERA_... */
	const char *const *settings; /* "KEY=VALUE", the last one NULL */
	size_t n_settings;	     /* of a copy */
	const char *name;	     /* over all others' */
};

/* Copies of all strings, for a later look at the same layers. Returns 0, -ENOMEM. */
int chi_config_layers_copy(const struct chi_config_layers *layers, struct chi_config_layers *ret_copy);
void chi_config_layers_free(struct chi_config_layers *copy);

/* Which layer gave a key its value; the place of the key in a file. */
struct chi_config_origin {
	enum chi_config_layer layer;
	int line, column; /* from 1; 0: none */
};

/* Errors (-EINVAL, -ENOENT, -EACCES ...) say in chi_error_text() which source (file, line and column; variable;
 * option), key, and what is allowed; the outs are then unchanged. @ret_config: taken, chi_config_free(). @ret_origins:
 * by the key's place in the table; may be NULL. */
int chi_config_load(const struct chi_config_layers *layers, struct chi_config *ret_config,
		    struct chi_config_origin ret_origins[CHI_CONFIG_KEYS_MAX]);
/* "default", "chimaera.yaml:3:14", "environment CHIMAERA_NAME", "--set name" */
void chi_config_origin_text(const struct chi_config_layers *layers, size_t key_index,
			    const struct chi_config_origin *origin, char *text, size_t size);

/* CPUs the calling thread may run on; 1 when the kernel does not say. */
uint32_t chi_cpus_available(void);

#endif
