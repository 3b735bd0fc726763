/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * phases.h - start, connect, submit ...: each is one operation in which a call is made to fail
 */
#ifndef TESTS_FAULT_PHASES_H
#define TESTS_FAULT_PHASES_H

#include <chimaera/runtime.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define SCENE_TEXT 4096

struct call_plan;

/* All that a child has. */
struct scene {
	char name[40]; /* of the runtime */
	char config_file[400];
	char log_file[400];
	struct chi_runtime *runtime;
	struct chi_client *client;
	uint32_t pool;
	const struct call_plan *plan;
	int hit;	/* enum call: what has failed; -1: nothing */
	int n_done;	/* callbacks */
	bool is_result; /* what failed is a task, not the call: it has a code and no text */
	/* an honest client at work meanwhile */
	struct chi_client *honest_client;
	pthread_t honest_thread;
	bool honest_runs;
	bool honest_stop;
	uint64_t n_honest;
	int honest_error;
	char why[SCENE_TEXT]; /* what is wrong; "" = nothing */
};

struct phase {
	const char *name;
	void (*before)(struct scene *scene);
	int (*operation)(struct scene *scene); /* as the call under test */
	/* it failed: nothing half-made may be there; then done again with success. It may have succeeded all the same. */
	void (*failed)(struct scene *scene);
	void (*check)(struct scene *scene); /* it succeeded: does all work? */
	bool must_succeed;		    /* an end: it has nobody to tell */
};

extern const struct phase phases[];

void scene_wrong(struct scene *scene, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Undo all; nothing of it may be left in the folders. */
void scene_end(struct scene *scene);

#endif
