/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - chimaera-bench-peers: measures others beside us
 *
 * Each case in a process of its own: its library may do as it likes there, and when it does not come to an end, it is
 * ended with all its children.
 */
#include <argp.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"
#include "output.h"
#include "cases.h"

const char *argp_program_version = "chimaera-bench-peers " CHIMAERA_VERSION;

struct arguments {
	bool json;
	bool list;
	bool cpus_given;
	double timeout_s;
	struct bench bench;
	struct peer_case cases[PEER_CASES_MAX];
	unsigned n_cases;
	bool chosen[PEER_CASES_MAX];
	bool choose;
};

/* ---- options ---- */

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "One JSON object a line, one line a case", 0 },
	{ "seconds", 's', "N", 0, "Measure each case for so long (1)", 0 },
	{ "timeout", 't', "N", 0, "End a case that takes so many seconds longer than it should (20)", 0 },
	{ "cpus", 'c', "A,B", 0, "Our CPU and the other side's (the first two we may use)", 0 },
	{ "list", 'l', NULL, 0, "List the cases", 0 },
	{ 0 },
};

/* "ucx": both its cases; "ucx-64": that one. Returns whether there is one. */
static bool choose(struct arguments *arguments, const char *text)
{
	bool found = false;

	for (unsigned i = 0; i < arguments->n_cases; i++) {
		const struct peer_case *one = &arguments->cases[i];
		char name[48];

		if (strcmp(text, peer_case_name(one, name)) &&
		    strcmp(text, one->peer ? one->peer->name : one->scheduler->name))
			continue;
		arguments->chosen[i] = true;
		found = true;
	}
	arguments->choose = true;
	return found;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'j':
		arguments->json = true;
		return 0;
	case 'l':
		arguments->list = true;
		return 0;
	case 's':
		if (!bench_parse_seconds(text, &arguments->bench.seconds))
			argp_error(state, "--seconds %s: 0.05 to 3600", text);
		return 0;
	case 't':
		if (!bench_parse_seconds(text, &arguments->timeout_s))
			argp_error(state, "--timeout %s: 0.05 to 3600", text);
		return 0;
	case 'c':
		if (!bench_parse_cpus(text, arguments->bench.cpus))
			argp_error(state, "--cpus %s: two different numbers, like 0,1", text);
		arguments->cpus_given = true;
		return 0;
	case ARGP_KEY_ARG:
		if (!choose(arguments, text))
			argp_error(state, "no peer or case is called '%s' (--list shows them)", text);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ---- output ---- */

static void print_header(void)
{
	printf("%-28s %10s %10s %10s %10s %-7s %9s %7s %-4s %6s\n", "peer", "p50", "p99", "ours p50", "p99", "unit",
	       "ours/peer", "spread", "", "runs");
}

static void print_row(const char *name, const struct bench_result *result)
{
	const struct bench_run *ours = &result->run, *theirs = &result->reference_run;
	char p50[16], p99[16], ours_p50[16], ours_p99[16], runs[32];

	snprintf(runs, sizeof(runs), result->n_discarded ? "%u-%u" : "%u", result->n_kept + result->n_discarded,
		 result->n_discarded);
	printf("%-28s %10s %10s %10s %10s %-7s %9.3f %6.1f%% %-4s %6s\n", name, bench_human(theirs->p50, p50),
	       bench_human(theirs->p99, p99), bench_human(ours->p50, ours_p50), bench_human(ours->p99, ours_p99),
	       result->unit, result->ratio, result->spread * 100, bench_placement_name(result->pingpong_ns), runs);
	fflush(stdout);
}

/* ---- a process for each case ---- */

/* In the child. */
static int run_case(const struct arguments *arguments, const struct peer_case *one, const char *cpu)
{
	struct bench bench = arguments->bench;
	struct bench_result result = { 0 };
	char name[48];
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	bench.group = "peers";
	rc = peer_case_run(&bench, one, &result);
	if (rc)
		return EXIT_FAILURE;
	if (arguments->json)
		bench_print_json(peer_case_name(one, name), &result, &bench, cpu);
	else
		print_row(peer_case_name(one, name), &result);
	return EXIT_SUCCESS;
}

/* Returns whether the case went well. What it started goes with it: PR_SET_PDEATHSIG. */
static bool wait_for_case(const struct arguments *arguments, pid_t pid, const char *name)
{
	/* it may try for so long to find the CPUs in their places */
	double timeout_s = arguments->bench.seconds * BENCH_PATIENCE + arguments->timeout_s;
	struct pollfd ended = { .fd = pidfd_open(pid, 0), .events = POLLIN };
	int status = 1;

	if (ended.fd < 0 || poll(&ended, 1, (int)(timeout_s * 1000)) <= 0) {
		fprintf(stderr, "chimaera-bench-peers: %s: not over after %.0f s: ended\n", name, timeout_s);
		kill(pid, SIGKILL);
	}
	close(ended.fd);
	waitpid(pid, &status, 0);
	if (status)
		fprintf(stderr, "chimaera-bench-peers: %s failed\n", name);
	return status == 0;
}

static bool fork_case(const struct arguments *arguments, const struct peer_case *one, const char *cpu)
{
	char name[48];
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int rc = run_case(arguments, one, cpu);

		fflush(NULL);
		_exit(rc); /* no library's own end: it was stopped, or it did not start */
	}
	if (pid < 0) {
		perror("chimaera-bench-peers: fork");
		return false;
	}
	return wait_for_case(arguments, pid, peer_case_name(one, name));
}

static int run_cases(struct arguments *arguments, const char *cpu)
{
	unsigned n_failed = 0;

	if (!arguments->json) {
		printf("%s; CPUs %u and %u; ping-pong %.0f ns\n", cpu, arguments->bench.cpus[0],
		       arguments->bench.cpus[1], bench_placement_ns(&arguments->bench));
		print_header();
	}
	for (unsigned i = 0; i < arguments->n_cases; i++)
		if (!arguments->choose || arguments->chosen[i])
			n_failed += !fork_case(arguments, &arguments->cases[i], cpu);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int list_cases(const struct arguments *arguments)
{
	for (unsigned i = 0; i < arguments->n_cases; i++) {
		char name[48], help[160];

		printf("%-28s %s\n", peer_case_name(&arguments->cases[i], name),
		       peer_case_help(&arguments->cases[i], help));
	}
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "[PEER|CASE...]",
		.doc = "Measure other ways to have something done by another process, or another thread, beside ours.\v"
		       "Messages of 64 bytes go to a process on the other CPU and come back, one at a time or 64 outstanding. "
		       "Peer and ours take turns of some milliseconds; ours/peer is the median of these turns: for a latency "
		       "(ns) below 1 is better, for a rate above 1. A peer that spins has our wait policy busy beside it, one that "
		       "sleeps has hybrid; -batched has chi_submit_many(). Runs and placement as in chimaera-bench. "
		       "Exit status: 0, 1 a case failed or was ended, 64 bad usage, 77 there are no two CPUs.",
	};
	static struct arguments arguments = { .timeout_s = 20, .bench = { .seconds = 1 } };
	char cpu[128];
	int rc;

	arguments.n_cases = peer_cases(arguments.cases);
	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	if (arguments.list)
		return list_cases(&arguments);
	rc = bench_machine_start(&arguments.bench, arguments.cpus_given, cpu, sizeof(cpu));
	if (rc)
		return rc;
	rc = run_cases(&arguments, cpu);
	bench_echo_stop(arguments.bench.echo);
	return rc;
}
