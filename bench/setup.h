/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * setup.h - what most cases begin with: a runtime, clients of it, and their tasks
 */
#ifndef BENCH_SETUP_H
#define BENCH_SETUP_H

#include <chimaera/task.h>

#include "bench.h"
#include "module/bench_module.h"
#include "runtime.h"

#define SETUP_TASKS_MAX	  1024u
#define SETUP_CLIENTS_MAX 64u

struct setup {
	struct bench *bench;
	struct bench_runtime runtime;
	/* clients besides the first: task i is of client i, if there are so many */
	struct chi_client *more[SETUP_CLIENTS_MAX];
	uint32_t n_more;
	struct chi_task *tasks[SETUP_TASKS_MAX];
	uint32_t n_tasks;
	uint32_t next;
};

/* Says on stderr what failed, and why. Returns @rc. */
int tell(const char *what, int rc);

void sleep_seconds(double seconds);

/* All of these tell what fails. */
int setup_start(struct bench *bench, const struct bench_runtime_spec *spec, struct setup *ret_setup);
int setup_add_client(struct setup *setup);
int setup_add_task(struct setup *setup, uint32_t size_bytes, struct chi_domain_query query, enum bench_method method);
/* @n noops for the first container */
int setup_add_noops(struct setup *setup, uint32_t n);
void setup_stop(struct setup *setup);

/* The workers have counted @n_expected tasks at least, and none of them failed. */
int setup_check(struct setup *setup, uint64_t n_expected);

struct chi_client *setup_client_of(const struct setup *setup, uint32_t task);
/* Hands one in, again and again while its lane is full. */
int setup_submit(struct setup *setup, uint32_t task);
/* Waits for one. Returns its result, or why it cannot be waited for. */
int setup_wait(struct setup *setup, uint32_t task);

/* Before a slice ends: the workers have stopped looking for more. */
void setup_settle(void);

/* A slice of chi_call()s of the first task; @arg: the setup. */
int setup_call_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples);

#endif
