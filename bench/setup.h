/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * setup.h - what most cases begin with: a runtime in another process, clients of it, and their tasks
 */
#ifndef BENCH_SETUP_H
#define BENCH_SETUP_H

#include <chimaera/task.h>

#include "bench.h"
#include "module/bench_module.h"

#define SETUP_TASKS_MAX 64u

struct setup {
	struct bench_runtime runtime;
	/* clients besides the first: task i is of client i, if there are so many */
	struct chi_client *more[SETUP_TASKS_MAX];
	uint32_t n_more;
	struct chi_task *tasks[SETUP_TASKS_MAX];
	uint32_t n_tasks;
	uint32_t next;
	int (*submit_all)(struct setup *setup);
};

/* Says on stderr what failed, and why. Returns @rc. */
int tell(const char *what, int rc);

void sleep_seconds(double seconds);

/* A runtime with one worker on the other side's CPU. All of these tell what fails. */
int setup_start(struct bench *bench, enum chi_wait_policy policy, struct setup *ret_setup);
int setup_add_client(struct setup *setup);
int setup_add_task(struct setup *setup, uint32_t size_bytes, enum bench_method method);
/* All that a run submitted has run: by the workers' own count. */
int setup_check(struct setup *setup, uint64_t n_expected);
void setup_stop(struct setup *setup);

struct chi_client *setup_client_of(const struct setup *setup, uint32_t task);
/* Hands one in, again and again while its lane is full. */
int setup_submit(struct setup *setup, uint32_t task);

/* bench_latency_run() of chi_call()s of the first task; @arg: the setup */
int setup_call_run(void *arg, uint64_t run_ns, struct bench_run *ret_run);

#endif
