/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config_table.c - the one table of keys, and what is said about them
 *
 * From it come the checks, `chimaera config`, docs/chimaera.yaml, the table of docs/configuration.md and
 * chimaera.yaml(5).
 */
#include "runtime/config_internal.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include <chimaera/module.h>
#include <hshm/clock.h>

#include "task/counters_layout.h"
#include "task/error.h"
#include "task/segment_layout.h"

#define CPUS_MAX    1024u /* CPU_SETSIZE */
#define MIB	    (UINT64_C(1) << 20)
#define REF_MIB_MAX 262144u /* 32 bits of 64-byte units: 256 GiB */
#define VARIABLES   "CHIMAERA_"
#define NEAR	    4u /* further away is no typing error */

static const char *const log_levels[] = { "error", "warn", "info", "debug", NULL };
static const char *const guards[] = { "auto", "madvise", "mprotect", NULL };
static const char *const lane_policies[] = { "round_robin", "least_load", "fixed", NULL };
static const char *const bools[] = { "false", "true", NULL };

/* A key's last argument may be `.live = true`. */
#define FIELD(f) offsetof(struct chi_config, f)
#define KEY(p, t, u, h, ...)                                                        \
	{                                                                           \
		.path = p, .type = t, .unit = u, .help = h, .scale = 1, __VA_ARGS__ \
	}
#define NAME(p, f, d, h) KEY(p, KEY_NAME, "", h, .def_text = (d), .max = CHI_NAME_MAX - 1, .offset = FIELD(f))
#define PATH(p, f, h, ...) \
	KEY(p, KEY_PATH, "", h, .def_text = "", .max = CHI_CONFIG_PATH_MAX - 1, .offset = FIELD(f), __VA_ARGS__)
#define NUMBER(p, u, f, d, lo, hi, h, ...) \
	KEY(p, KEY_NUMBER, u, h, .def = d, .min = lo, .max = hi, .offset = FIELD(f), __VA_ARGS__)
#define POWER(p, u, f, d, lo, hi, h, ...) \
	KEY(p, KEY_POWER_OF_2, u, h, .def = d, .min = lo, .max = hi, .offset = FIELD(f), __VA_ARGS__)
#define BIG(p, u, s, f, d, lo, hi, h, ...)                                                                    \
	{                                                                                                     \
		.path = p, .type = KEY_BIG, .unit = u, .help = h, .scale = s, .def = d, .min = lo, .max = hi, \
		.offset = FIELD(f), __VA_ARGS__                                                               \
	}
#define BOOL(p, f, d, h, ...) \
	KEY(p, KEY_BOOL, "", h, .def = d, .max = 1, .choices = bools, .offset = FIELD(f), __VA_ARGS__)
#define CHOICE(p, f, d, first, c, h, ...) \
	KEY(p, KEY_CHOICE, "", h, .def = d, .min = first, .choices = c, .offset = FIELD(f), __VA_ARGS__)

_Static_assert(sizeof(enum chi_lane_policy) == sizeof(uint32_t), "KEY_CHOICE writes 32 bits");
_Static_assert(sizeof(enum chi_fiber_guard) == sizeof(uint32_t), "KEY_CHOICE writes 32 bits");

const struct chi_config_key chi_config_keys[] = {
	NAME("name", name, "default", "of the runtime, and so of its socket"),
	NAME("group", group, "", "whose members may connect; empty: the same user only"),
	CHOICE("log_level", log_level, CHI_LOG_INFO, CHI_LOG_ERROR, log_levels, "how much the log says", .live = true),
	PATH("log_file", log_file,
	     "where the log goes; empty: standard error, of a daemon in the background NAME.log beside "
	     "its socket",
	     .live = true),
	BIG("stop_timeout_ms", "ms", HSHM_NSEC_PER_MSEC, stop_timeout_ns, 10000, 0, 86400000,
	    "how long a stop waits for tasks in flight", .live = true),
	KEY("compose", KEY_POOLS, "pools", "made at the start, in this order; if one cannot be made the start fails",
	    .offset = FIELD(compose)),

	NUMBER("workers.count", "threads", n_workers, 0, 0, CHI_WORKERS_MAX, "0: one for each CPU we may run on"),
	NUMBER("workers.high_latency", "threads", n_high_latency, 0, 0, CHI_WORKERS_MAX - 1,
	       "of them, only for high-latency lanes; 0: all serve both kinds"),
	KEY("workers.cpus", KEY_CPUS, "CPUs", "worker i is bound to the i-th, round and round; empty: not bound",
	    .max = CPUS_MAX - 1, .offset = FIELD(cpus)),
	NUMBER("workers.lane_batch", "tasks", lane_batch, 64, 1, 65536,
	       "at most so many of one lane in a turn, and so many calls in place"),
	BIG("workers.spin_us", "us", HSHM_NSEC_PER_USEC, spin_ns, 50, 0, 1000000,
	    "how long a worker looks for work before it sleeps"),
	NUMBER("workers.hot_lanes", "lanes", hot_lanes_max, 256, 0, 1024, "client lanes that a worker polls"),
	POWER("workers.active_depth", "slots", active_depth, 1024, 2, HIPC_MPSC_DEPTH_MAX, "of each active queue"),
	BOOL("workers.completion_posting", completion_posting, 1,
	     "completions wake who waits; false: the wait heap alone finds them"),
	BOOL("workers.run_in_place", run_in_place, 1,
	     "run a task at once when its container lane is the worker's own and empty"),

	CHOICE("lanes.policy", lane_policy, CHI_LANES_ROUND_ROBIN, CHI_LANES_ROUND_ROBIN, lane_policies,
	       "which worker a new lane goes to"),
	BIG("lanes.balance_ms", "ms", HSHM_NSEC_PER_MSEC, balance_ns, 0, 0, 60000,
	    "how often lanes may be moved from busy workers to others; 0: never"),

	BIG("fibers.stack_kib", "KiB", 1024, stack_bytes, 64, 16, 65536, "stack of a task, whole pages"),
	NUMBER("fibers.max", "fibers", fibers_max, 16384, 1, 1u << 20, "of one worker: tasks that have begun"),
	CHOICE("fibers.guard", fiber_guard, CHI_FIBER_GUARD_AUTO, CHI_FIBER_GUARD_AUTO, guards,
	       "what lies below a stack; auto: madvise where the kernel has it"),

	NUMBER("clients.max", "processes", clients_max, 1024, 1, 16384, "attached at once"),
	BIG("clients.memory_mib", "MiB", MIB, client_bytes, 4096, 1, REF_MIB_MAX,
	    "cap of one client's segment; pages come as they are used"),
	NUMBER("clients.lanes", "lanes", client_lanes, 16, 1, 1024, "of one client; further threads share"),
	POWER("clients.lane_depth", "slots", client_lane_depth, 1024, 2, HIPC_MPSC_DEPTH_MAX, "of a client's lane"),
	NUMBER("clients.contexts", "tasks", client_contexts_max, 4096, 1, 1u << 20,
	       "of one client, taken and not ended; at the cap its lanes wait (each worker may take one past it)"),

	BIG("memory.private_mib", "MiB", MIB, private_bytes, 16384, 64, REF_MIB_MAX,
	    "cap of the runtime's own: tasks, container lanes, module memory"),
	POWER("memory.lane_depth", "slots", container_lane_depth, 1024, 2, HIPC_MPSC_DEPTH_MAX,
	      "of a container's lane"),
	BIG("memory.task_arena_kib", "KiB", 1024, task_arena_bytes, 1024, 1, 1048576,
	    "cap of what one task may take by chi_task_arena_alloc()"),

	BIG("watchdog.hang_ms", "ms", HSHM_NSEC_PER_MSEC, hang_ns, 1000, 0, 3600000,
	    "a method that neither returns nor waits for so long is told in the log, with its stack; 0: never, and "
	    "ended clients wait for it"),
	BOOL("watchdog.move_lanes", move_lanes, 0,
	     "give the lanes of a worker that hangs in a method to others, all but the one whose turn it is; its "
	     "fibers stay"),

	NUMBER("counters.pools", "pools", counted_pools, 256, 1, CHI_COUNTED_POOLS_MAX,
	       "counted one by one; the others are not"),
	NUMBER("counters.methods", "methods", counted_methods, 1024, 16, CHI_COUNTED_METHODS_MAX,
	       "of all pools, counted one by one; the others together"),
	NUMBER("counters.clients", "processes", counted_clients, 256, 1, CHI_COUNTED_CLIENTS_MAX,
	       "counted one by one; the others together"),
	NUMBER("counters.lanes", "lanes", counted_lanes, 1024, 16, CHI_COUNTED_LANES_MAX,
	       "counted one by one; the others by worker"),
};
const size_t chi_config_n_keys = sizeof(chi_config_keys) / sizeof(chi_config_keys[0]);
_Static_assert(sizeof(chi_config_keys) / sizeof(chi_config_keys[0]) <= CHI_CONFIG_KEYS_MAX, "room for their origins");

const struct chi_config_key *chi_config_find_key(const char *path)
{
	for (size_t i = 0; i < chi_config_n_keys; i++) {
		if (strcmp(chi_config_keys[i].path, path) == 0)
			return &chi_config_keys[i];
	}
	return NULL;
}

const struct chi_config_key *chi_config_find_group(const char *group)
{
	size_t n = strlen(group);

	for (size_t i = 0; i < chi_config_n_keys; i++) {
		if (strncmp(chi_config_keys[i].path, group, n) == 0 && chi_config_keys[i].path[n] == '.')
			return &chi_config_keys[i];
	}
	return NULL;
}

/* ---- what may be said about a key ---- */

void chi_config_describe_allowed(const struct chi_config_key *key, char text[CHI_CONFIG_ALLOWED_MAX])
{
	size_t size = CHI_CONFIG_ALLOWED_MAX;

	switch (key->type) {
	case KEY_NAME:
		snprintf(text, size, "allowed: at most %" PRIu64 " letters, digits and . _ -", key->max);
		break;
	case KEY_PATH:
		snprintf(text, size, "allowed: a path");
		break;
	case KEY_POOLS:
		snprintf(text, size, "allowed: a list of {module, name, containers, params}");
		break;
	case KEY_NUMBER:
	case KEY_BIG:
	case KEY_CPUS:
		snprintf(text, size, "allowed %" PRIu64 "..%" PRIu64, key->min, key->max);
		break;
	case KEY_POWER_OF_2:
		snprintf(text, size, "allowed: powers of two in %" PRIu64 "..%" PRIu64, key->min, key->max);
		break;
	case KEY_BOOL:
	case KEY_CHOICE:
		snprintf(text, size, "allowed:");
		for (const char *const *choice = key->choices; *choice; choice++) {
			size_t used = strlen(text);

			snprintf(text + used, size - used, "%s %s", choice == key->choices ? "" : ",", *choice);
		}
		break;
	}
}

void chi_config_variable(const struct chi_config_key *key, char name[CHI_CONFIG_VARIABLE_MAX])
{
	size_t n = (size_t)snprintf(name, CHI_CONFIG_VARIABLE_MAX, VARIABLES "%s", key->path);

	for (size_t i = sizeof(VARIABLES) - 1; i < n && i < CHI_CONFIG_VARIABLE_MAX; i++) {
		if (name[i] == '.')
			name[i] = '_';
		else if (name[i] >= 'a' && name[i] <= 'z')
			name[i] = (char)(name[i] - 'a' + 'A');
	}
}

/* ---- typing errors ---- */

static uint32_t edit_distance(const char *a, const char *b)
{
	uint32_t row[64];
	size_t n = strlen(b);

	if (n >= 64)
		return UINT32_MAX;
	for (uint32_t j = 0; j <= n; j++)
		row[j] = j;
	for (uint32_t i = 0; a[i]; i++) {
		uint32_t corner = row[0];

		row[0] = i + 1;
		for (uint32_t j = 0; j < n; j++) {
			uint32_t best = corner + (a[i] != b[j]);

			corner = row[j + 1];
			if (corner + 1 < best)
				best = corner + 1;
			if (row[j] + 1 < best)
				best = row[j] + 1;
			row[j + 1] = best;
		}
	}
	return row[n];
}

int chi_config_unknown_key(const struct chi_config_place *place, const char *path)
{
	const char *leaf = strrchr(path, '.');
	const char *nearest = NULL;
	uint32_t best = NEAR;

	leaf = leaf ? leaf + 1 : path;
	for (size_t i = 0; i < chi_config_n_keys; i++) {
		const char *key = chi_config_keys[i].path, *key_leaf = strrchr(key, '.');
		uint32_t distance = edit_distance(path, key);

		/* the right key in the wrong group */
		if (key_leaf && strcmp(key_leaf + 1, leaf) == 0 && distance > 1)
			distance = 1;
		if (distance < best) {
			best = distance;
			nearest = key;
		}
	}
	if (nearest)
		return chi_config_bad(place, path, "there is no such key; is '%s' meant?", nearest);
	return chi_config_bad(place, path, "there is no such key");
}

const char *chi_config_variable_meant(const char *variable, char name[CHI_CONFIG_VARIABLE_MAX])
{
	uint32_t best = NEAR;

	if (strncmp(variable, VARIABLES, sizeof(VARIABLES) - 1) != 0)
		return NULL;
	for (size_t i = 0; i < chi_config_n_keys; i++) {
		char of_key[CHI_CONFIG_VARIABLE_MAX];
		uint32_t distance;

		chi_config_variable(&chi_config_keys[i], of_key);
		distance = edit_distance(variable, of_key);
		if (distance == 0)
			return NULL;
		if (distance < best) {
			best = distance;
			strcpy(name, of_key);
		}
	}
	return best < NEAR ? name : NULL;
}
