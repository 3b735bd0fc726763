/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench.h - measuring with care: case and reference in turn, in slices, each round between two looks at the machine
 *
 * On a virtual machine the two CPUs we use may be two threads of a core now and two far cores a second later, which changes
 * every figure by a factor. So a case and its reference take turns of some milliseconds, and each such round stands between
 * two short ping-pongs of the same CPUs. When these differ by more than BENCH_PLACEMENT_CHANGE, or say "near" where most
 * rounds of the case say "far", the round is thrown away and counted. What is compared between runs are ratios.
 *
 *	static int call(void *arg) { return chi_call(...); }
 *	static int call_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
 *	{
 *		return bench_latency_slice(call, arg, slice_ns, samples);
 *	}
 *	...
 *	struct bench_side side = { .slice = call_slice, .arg = &setup };
 *	ret_result->unit = "ns";
 *	rc = bench_measure_against(bench, &side, "pingpong", ret_result);
 *
 * To compare with something that is not in the table of references: bench_measure_pair(), with a side for each.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_RUNS_MIN	       5u   /* kept, runs or rounds */
#define BENCH_RUNS_MAX	       30u  /* tried, by bench_measure() */
#define BENCH_ROUNDS_MAX       512u /* tried, by bench_measure_pair() */
#define BENCH_PATIENCE	       4u /* times the seconds of a case: then a machine that does not keep still is given up */
#define BENCH_SLICE_NS	       UINT64_C(25000000)
#define BENCH_PLACEMENT_CHANGE 1.5
#define BENCH_NEAR_NS	       300.0   /* a ping-pong below this: the two CPUs are near to each other */
#define BENCH_TAKEN_NS	       10000.0 /* above this: somebody else runs on one of them */

struct echo;
struct bench_case;

struct bench {
	const struct bench_case *current; /* being run */
	const char *group;		  /* its */
	double seconds;			  /* per case, all its runs together */
	double idle_seconds;
	bool full;	   /* the long form was asked for */
	unsigned cpus[2];  /* ours, and the other side's */
	struct echo *echo; /* the other process of the ping-pong */
};

/* One run, or all of them. Latencies in ns, rates per second: of these p99 and p999 are the low end. */
struct bench_run {
	uint64_t n;
	double min, p50, p99, max;
	double p999; /* 0: not known */
};

struct bench_result {
	const char *unit;   /* set before measuring; ends in "/s": more is better */
	const char *params; /* members of a JSON object */
	struct bench_run
		run;   /* n: of all kept runs; min, max: over all; the others: of all together, or the median run's */
	double ratio;  /* p50 in p50s of the reference, the median round's; 0: has none */
	double spread; /* of the rounds' ratios: what lies between their quartiles, / median */
	const char *reference;
	struct bench_run reference_run; /* n = 0: the ping-pong alone */
	double pingpong_ns;		/* median of the kept rounds; 0: was not looked at */
	unsigned n_kept;
	unsigned n_discarded;
	const char *aim; /* NULL: none */
	bool aim_met;
};

struct bench_case {
	const char *name;
	const char *help;
	/* Returns 0, or a negative errno after telling on stderr why. -ENOTSUP: cannot be measured here. */
	int (*run)(struct bench *bench, struct bench_result *ret_result);
	bool only_full;	 /* not among the cases of a quick run, unless it is named */
	const void *arg; /* run's own: bench->current->arg */
};

/* Tables of cases, each a group of the command line; each ends with a NULL name. */
#define CASES(name) extern const struct bench_case bench_##name##_cases[];
#include "cases.def"
#undef CASES

/* ---- samples.c: what a side has measured so far ---- */

struct bench_samples;

/* One value, timed by the caller: ns, or a rate per second. @n: how many operations it stands for. */
void bench_sample(struct bench_samples *samples, double value, uint64_t n);

/* Single operations for about @slice_ns, one at least: min and p50 from batches, which the clock does not disturb; p99 to
 * max from operations timed one by one. Slow ones (5 us) are all timed one by one. @op returns 0 or a negative errno. */
int bench_latency_slice(int (*op)(void *arg), void *arg, uint64_t slice_ns, struct bench_samples *samples);

/* Windows of @window operations each, one at least: the rates of the windows. */
int bench_rate_slice(int (*ops)(void *arg, uint32_t n), void *arg, uint32_t window, uint64_t slice_ns,
		     struct bench_samples *samples);

/* The same, for bench_measure(). */
int bench_latency_run(int (*op)(void *arg), void *arg, uint64_t run_ns, struct bench_run *ret_run);
int bench_rate_run(int (*ops)(void *arg, uint32_t n), void *arg, uint32_t window, uint64_t run_ns,
		   struct bench_run *ret_run);

/* ---- measure.c ---- */

uint64_t bench_now_ns(void);
int bench_pin(unsigned cpu);
int bench_allow(const unsigned cpus[2]);

/* Is more better? */
bool bench_is_rate(const char *unit);

/* One of the two that take turns. */
struct bench_side {
	const char *name; /* the reference's, in the output */
	const char
		*unit; /* NULL: as the result's. A rate against a latency: the ratio is how many in the time of one */
	/* Measures for about @slice_ns into @samples. At its end nobody of it may go on using a CPU. Returns 0, or a
	 * negative errno after telling on stderr why. */
	int (*slice)(void *arg, uint64_t slice_ns, struct bench_samples *samples);
	void *arg;
	uint32_t ops_per_call; /* by bench_latency_slice(): the time of a call is divided by it; 0: 1 */
	uint64_t pause_ns;     /* by bench_latency_slice(): asleep for so long before each call, which is not timed */
};

/* Rounds of a slice each, in turn, until the time is over and enough are kept. @ret_result->unit is set by the
 * caller, before; params and aim too, whenever. */
int bench_measure_pair(struct bench *bench, const struct bench_side *side, const struct bench_side *reference,
		       struct bench_result *ret_result);

/* Does one run of about @run_ns. */
typedef int (*bench_run_fn)(void *arg, uint64_t run_ns, struct bench_run *ret_run);

/* Run after run, until enough are kept; the reference is the ping-pong around each. @is_latency: the ratio is p50 in
 * ping-pongs, otherwise how many operations are done in the time of one. */
int bench_measure(struct bench *bench, bench_run_fn fn, void *arg, bool is_latency, struct bench_result *ret_result);

/* One value, measured once: memory, a start. There is no ratio. */
void bench_once(double value, struct bench_result *ret_result);

/* ---- references.c: what the machine can do without us ---- */

/* Starts the reference of that name (they are cases, too: --list), measures @side and it in turn, with the side's pause for
 * both, and stops it. */
int bench_measure_against(struct bench *bench, const struct bench_side *side, const char *reference,
			  struct bench_result *ret_result);

/* ---- pingpong.c ---- */

/* The other process, pinned; asleep while nobody pings. Call before there are threads. */
int bench_echo_start(unsigned cpu, struct echo **ret_echo);
void bench_echo_stop(struct echo *echo);
/* ns of a bare round trip to the other CPU: how the two are placed just now */
double bench_placement_ns(struct bench *bench);

#endif
