/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench.h - measuring with care: several runs, each between two looks at the machine
 *
 * On a virtual machine the two CPUs we use may be two threads of a core now and two far cores a second later, which changes
 * every figure by a factor. So each run stands between two short ping-pongs of the same CPUs; when these differ by more
 * than BENCH_PLACEMENT_CHANGE the run is thrown away and counted, and every latency is also told as a multiple of them.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <chimaera/client.h>

#define BENCH_RUNS_MIN	       5u  /* kept */
#define BENCH_RUNS_MAX	       30u /* tried */
#define BENCH_PLACEMENT_CHANGE 1.5

struct echo;

struct bench {
	double seconds; /* per case, all its runs together */
	double idle_seconds;
	unsigned cpus[2];  /* ours, and the other side's */
	struct echo *echo; /* the other process of the ping-pong */
};

/* One run. Latencies in ns, rates per second. */
struct bench_run {
	uint64_t n;
	double min, p50, p99, max;
};

struct bench_result {
	const char *unit;
	const char *params;   /* members of a JSON object */
	struct bench_run run; /* n: of all kept runs; min, max: over all; p50, p99: the median run's */
	double spread;	      /* of the runs' p50: (highest - lowest) / median */
	double ratio;	      /* p50 in ping-pongs, the median run's; 0: not a latency */
	unsigned n_kept;
	unsigned n_discarded;
	const char *aim; /* NULL: none */
	bool aim_met;
};

struct bench_case {
	const char *name;
	const char *help;
	/* Returns 0, or a negative errno after telling on stderr why. */
	int (*run)(struct bench *bench, struct bench_result *ret_result);
};

/* Tables of cases; each ends with a NULL name. */
#define CASES(name) extern const struct bench_case bench_##name##_cases[];
#include "cases.def"
#undef CASES

/* ---- measure.c ---- */

uint64_t bench_now_ns(void);
int bench_pin(unsigned cpu);
int bench_allow(const unsigned cpus[2]);

/* Does one run of about @run_ns. */
typedef int (*bench_run_fn)(void *arg, uint64_t run_ns, struct bench_run *ret_run);

/* Run after run, until enough are kept. @is_latency: fill in the ratio. */
int bench_measure(struct bench *bench, bench_run_fn fn, void *arg, bool is_latency, struct bench_result *ret_result);

/* A run of single operations: min and p50 from batches, which the clock does not disturb; p99 and max from operations timed
 * one by one. @op returns 0 or a negative errno. */
int bench_latency_run(int (*op)(void *arg), void *arg, uint64_t run_ns, struct bench_run *ret_run);

/* A run of windows of @window operations each: the rates of the windows. */
int bench_rate_run(int (*ops)(void *arg, uint32_t n), void *arg, uint32_t window, uint64_t run_ns,
		   struct bench_run *ret_run);

/* ---- pingpong.c ---- */

/* The other process, pinned; asleep while nobody pings. Call before there are threads. */
int bench_echo_start(unsigned cpu, struct echo **ret_echo);
void bench_echo_stop(struct echo *echo);
/* ns of a bare round trip to the other CPU: how the two are placed just now */
double bench_placement_ns(struct bench *bench);

/* ---- runtime.c ---- */

/* A runtime in a process of its own, from configuration text, and a pool of our module in it. */
struct bench_runtime {
	pid_t pid;
	int control; /* closed: stop */
	uint32_t pool_id;
	char name[64];
	struct chi_client *client;
};
int bench_runtime_start(const unsigned cpus[2], const char *config_text, enum chi_wait_policy policy,
			struct bench_runtime *ret_runtime);
/* Accepts a runtime that did not start. */
void bench_runtime_stop(struct bench_runtime *runtime);
/* CPU time that its process has used */
uint64_t bench_runtime_cpu_ns(const struct bench_runtime *runtime);

#endif
