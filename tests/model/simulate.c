/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * simulate.c - the runtime, workers and all, in one thread under a seeded scheduler and a virtual clock
 *
 * usage: simulate [--seeds N] [--from S] [--seed S] [--jobs J] [--trace] [--kinds]. Seeds S to S + N - 1, or the one; J
 * processes share them. --trace tells all that happens. --kinds fails when a kind of event has not occurred at all.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime/config.h"
#include "runtime/log.h"
#include "runtime/module_manager.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"
#include "tests/model/graph.h"
#include "tests/model/sim.h"

#define JOBS_MAX     16u
#define EVENTS_KEPT  48u
#define SEED_SECONDS 60u
#define AGAIN_EVERY  50u
#define STOP_NS	     (100 * HSHM_NSEC_PER_SEC)

/* What a job tells its parent. */
struct job {
	uint64_t n_done;
	uint64_t n_points, n_switches;
	uint64_t counts[SIM_N_KINDS];
	pid_t pid;
};

static const char *const kind_names[] = {
#define SIM_KIND(name) #name,
#include "tests/model/kinds.def"
#undef SIM_KIND
};

bool sim_tracing;
uint64_t *sim_counts;

static struct options {
	uint64_t from, n_seeds;
	uint32_t n_jobs;
	bool one, kinds;
} options = { .from = 1, .n_seeds = 1000, .n_jobs = 1 };

static uint64_t seed; /* that runs */
static bool is_late;

/* ---- what happened ---- */

static struct event {
	uint64_t ns;
	const char *actor;
	const char *format;
	int64_t args[3];
} events[EVENTS_KEPT];
static uint64_t n_events, events_hash;

static void print_event(const struct event *event)
{
	printf("%12.3f us  %-12s ", (double)event->ns / 1000, event->actor);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	printf(event->format, (long long)event->args[0], (long long)event->args[1], (long long)event->args[2]);
#pragma GCC diagnostic pop
	printf("\n");
}

void sim_event_note(const char *format, const int64_t args[3])
{
	struct event *event = &events[n_events++ % EVENTS_KEPT];

	events_hash = (events_hash ^ sim_now_ns() ^ (uint64_t)args[0] << 32 ^ (uint64_t)args[1]) *
		      UINT64_C(0x9e3779b97f4a7c15);
	*event = (struct event){ sim_now_ns(), sim_name(sim_self()), format, { args[0], args[1], args[2] } };
	if (sim_tracing)
		print_event(event);
}

static void print_last_events(void)
{
	uint64_t first = n_events > EVENTS_KEPT ? n_events - EVENTS_KEPT : 0;

	if (!sim_tracing)
		for (uint64_t i = first; i < n_events; i++)
			print_event(&events[i % EVENTS_KEPT]);
	printf("not seen done:\n");
	sim_books_describe();
}

static _Noreturn void end_with_failure(void)
{
	printf("to see it again: ./dev simulate --seed %llu --trace\n", (unsigned long long)seed);
	fflush(stdout);
	_exit(1);
}

void sim_fail(const char *format, ...)
{
	va_list args;

	printf("seed %llu: VIOLATION: ", (unsigned long long)seed);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	print_last_events();
	end_with_failure();
}

/* An assertion of the code under test, a wild pointer, or a seed that hangs without a point. */
static void on_signal(int number)
{
	printf("seed %llu: VIOLATION: %s\n", (unsigned long long)seed,
	       number == SIGALRM   ? "it hangs"
	       : number == SIGABRT ? "an assertion, or abort()"
				   : "a wild pointer");
	print_last_events();
	end_with_failure();
}

/* Late once: this process may have been stopped, and go on. */
static void on_alarm(int number)
{
	if (is_late)
		on_signal(number);
	is_late = true;
	alarm(SEED_SECONDS);
}

static void catch_signals(void)
{
	static char stack[64 << 10];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND };
	struct sigaction late = { .sa_handler = on_alarm, .sa_flags = SA_ONSTACK };
	const int numbers[] = { SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE };

	sigaltstack(&alternate, NULL);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
#ifdef __SANITIZE_ADDRESS__
		if (numbers[i] != SIGSEGV && numbers[i] != SIGBUS) /* it tells more */
#endif
			sigaction(numbers[i], &action, NULL);
	sigaction(SIGALRM, &late, NULL);
}

/* ---- a runtime for the seed ---- */

static struct chi_config seed_config;

int __wrap_chi_config_load(const struct chi_config_layers *layers, struct chi_config *ret_config,
			   struct chi_config_origin origins[CHI_CONFIG_KEYS_MAX]);
int __wrap_chi_config_load(const struct chi_config_layers *layers, struct chi_config *ret_config,
			   struct chi_config_origin origins[CHI_CONFIG_KEYS_MAX])
{
	(void)layers;
	(void)origins;
	*ret_config = seed_config;
	return 0;
}

static void make_config(struct sim_rng *rng)
{
	struct chi_config *config = &seed_config;

	chi_config_defaults(config);
	config->log_level = CHI_LOG_ERROR;
	config->hang_ns = 0;
	config->n_workers = 1 + sim_below(rng, 4);
	config->n_high_latency = config->n_workers > 1 && sim_one_in(rng, 3) ? 1 : 0;
	config->lane_batch = sim_choose(rng, 1, 2, 3, 64);
	config->spin_ns = sim_choose(rng, 0, 100, 2000, 10000);
	config->hot_lanes_max = sim_choose(rng, 1, 2, 8);
	config->active_depth = sim_choose(rng, 2, 2, 4, 64);
	config->completion_posting = !sim_one_in(rng, 4);
	config->run_in_place = sim_one_in(rng, 2);
	config->lane_policy = sim_below(rng, 3);
	config->stack_bytes = 64u << 10;
	config->fibers_max = sim_choose(rng, 4, 8, 96, 96, 96, 96);
	config->clients_max = 4;
	config->client_bytes = 256u << 10;
	config->client_lanes = 1 + sim_below(rng, 3);
	config->client_lane_depth = sim_choose(rng, 2, 4, 64);
	config->client_contexts_max = sim_choose(rng, 1, 2, 4, 4096);
	config->private_bytes = 64u << 20;
	config->container_lane_depth = sim_choose(rng, 2, 2, 4, 64);
	config->counted_pools = 4;
	config->counted_methods = 16;
	config->counted_clients = 2;
	config->counted_lanes = 16;
}

static void make_pools(void)
{
	for (uint32_t i = 0; i < sim_graph.n_pools; i++) {
		struct sim_pool_params params = { sim_graph.n_lanes, 0 };
		struct chi_pool_spec spec = { .module = sim_modules[sim_graph.plain[i]].name,
					      .name = i ? "pool-1" : "pool-0",
					      .n_containers = sim_graph.n_containers[i],
					      .params = &params,
					      .params_size = sizeof(params) };
		bool created;

		sim_check(chi_pool_make(sim_runtime->pools, &spec, false, 0, &sim_graph.pool_ids[i], &created) == 0,
			  "a pool cannot be made");
	}
}

static void run_seed(void)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.config_text = "");
	struct sim_rng rng = { seed * UINT64_C(0xd1342543de82ef95) + 1 };
	uint64_t n_given_up, clients_seed;

	make_config(&rng);
	sim_graph_make(sim_random(&rng), seed_config.fibers_max < 96, seed_config.completion_posting);
	n_events = events_hash = 0;
	sim_stage_open(sim_random(&rng));
	sim_kernel_open(sim_random(&rng));
	sim_watch_open();
	sim_check(chi_runtime_start(&opts, &sim_runtime) == 0, "no runtime: %s", chi_error_text());
	for (uint32_t i = 0; i < 2; i++)
		sim_check(chi_module_register_builtin(sim_runtime->modules, &sim_modules[i]) == 0, "no module");
	make_pools();
	clients_seed = sim_random(&rng);
	sim_clients_start(clients_seed, sim_one_in(&rng, 2));
	sim_clients_finish();
	sim_event("all clients are gone: the runtime stops");
	sim_check(chi_runtime_stop(sim_runtime, STOP_NS, &n_given_up) == 0 && n_given_up == 0,
		  "left at stop: %llu tasks", (unsigned long long)n_given_up);
	sim_runtime = NULL;
	sim_stage_close();
	sim_kernel_close();
	sim_graph_check_end();
}

/* ---- many ---- */

/* A seed that does not go the same way twice could not be seen again. */
static void run_again(void)
{
	uint64_t hash = events_hash, n_points = sim_n_points(), n_switches = sim_n_switches();

	run_seed();
	sim_check(hash == events_hash && n_points == sim_n_points() && n_switches == sim_n_switches(),
		  "it went another way the second time: %llu points, then %llu", (unsigned long long)n_points,
		  (unsigned long long)sim_n_points());
}

static void run_job(struct job *job, uint32_t index)
{
	sim_counts = job->counts;
	catch_signals();
	for (uint64_t i = index; i < options.n_seeds; i += options.n_jobs) {
		seed = options.from + i;
		is_late = false;
		alarm(SEED_SECONDS);
		run_seed();
		job->n_done++;
		job->n_points += sim_n_points();
		job->n_switches += sim_n_switches();
		if (i % AGAIN_EVERY == 0)
			run_again();
	}
	alarm(0);
}

static double seconds_since(const struct timespec *begin)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

static uint64_t sum_done(const struct job *jobs)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < options.n_jobs; i++)
		n += __atomic_load_n(&jobs[i].n_done, __ATOMIC_RELAXED);
	return n;
}

static void end_others(const struct job *jobs)
{
	for (uint32_t i = 0; i < options.n_jobs; i++)
		if (jobs[i].pid > 0)
			kill(jobs[i].pid, SIGKILL);
}

/* Returns whether all have passed. */
static bool await_jobs(struct job *jobs, const struct timespec *begin)
{
	uint32_t n_running = options.n_jobs;
	bool passed = true;

	while (n_running) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid == 0) {
			usleep(100000);
			if (isatty(STDERR_FILENO))
				fprintf(stderr, "\r%llu of %llu seeds, %.0f/s ", (unsigned long long)sum_done(jobs),
					(unsigned long long)options.n_seeds,
					(double)sum_done(jobs) / seconds_since(begin));
			continue;
		}
		if (pid < 0) {
			perror("waitpid");
			end_others(jobs);
			return false;
		}
		n_running--;
		for (uint32_t i = 0; i < options.n_jobs; i++)
			jobs[i].pid = jobs[i].pid == pid ? 0 : jobs[i].pid;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			passed = false;
			end_others(jobs);
		}
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	return passed;
}

static bool run_jobs(struct job *jobs, const struct timespec *begin)
{
	if (options.n_jobs == 1) {
		run_job(&jobs[0], 0);
		return true;
	}
	for (uint32_t i = 0; i < options.n_jobs; i++) {
		fflush(stdout);
		jobs[i].pid = fork();
		if (jobs[i].pid == 0) {
			run_job(&jobs[i], i);
			fflush(stdout);
			_exit(0);
		}
		if (jobs[i].pid < 0) {
			perror("fork");
			end_others(jobs);
			exit(2);
		}
	}
	return await_jobs(jobs, begin);
}

/* Returns how many kinds have not occurred. */
static uint32_t print_kinds(const struct job *jobs)
{
	uint32_t n_missing = 0;

	for (uint32_t kind = 0; kind < SIM_N_KINDS; kind++) {
		uint64_t n = 0;

		for (uint32_t i = 0; i < options.n_jobs; i++)
			n += jobs[i].counts[kind];
		printf("%s%-22s %12llu%s", kind % 3 ? "  " : "", kind_names[kind], (unsigned long long)n,
		       kind % 3 == 2 ? "\n" : "");
		if (n == 0)
			n_missing++;
	}
	printf("%s", SIM_N_KINDS % 3 ? "\n" : "");
	for (uint32_t kind = 0; options.kinds && kind < SIM_N_KINDS; kind++) {
		bool any = false;

		for (uint32_t i = 0; i < options.n_jobs; i++)
			any |= jobs[i].counts[kind] != 0;
		if (!any)
			printf("has not occurred: %s\n", kind_names[kind]);
	}
	return n_missing;
}

static int finish(const struct job *jobs, bool passed, double seconds)
{
	uint64_t n_done = sum_done(jobs), n_points = 0, n_switches = 0;
	uint32_t n_missing = print_kinds(jobs);

	for (uint32_t i = 0; i < options.n_jobs; i++) {
		n_points += jobs[i].n_points;
		n_switches += jobs[i].n_switches;
	}
	printf("%llu seeds from %llu in %.1f s (%.0f/s), %u processes; %llu points, %llu switches\n",
	       (unsigned long long)n_done, (unsigned long long)options.from, seconds, (double)n_done / seconds,
	       options.n_jobs, (unsigned long long)n_points, (unsigned long long)n_switches);
	if ((options.kinds && n_missing) || n_done != options.n_seeds)
		passed = false;
	printf("%llu passed, %u failed\n", (unsigned long long)n_done, passed ? 0 : 1);
	return passed ? 0 : 1;
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "seeds", required_argument, NULL, 'n' },
		{ "from", required_argument, NULL, 'f' },
		{ "seed", required_argument, NULL, 's' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "trace", no_argument, NULL, 't' },
		{ "kinds", no_argument, NULL, 'k' },
		{ 0 },
	};
	const char *seeds = getenv("CHI_SIMULATE_SEEDS"); /* for ./dev mutants */
	int option;

	if (seeds)
		options.n_seeds = strtoull(seeds, NULL, 0);
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'n':
			options.n_seeds = strtoull(optarg, NULL, 0);
			break;
		case 's':
			options.one = true;
			options.n_seeds = 1;
			/* fall through */
		case 'f':
			options.from = strtoull(optarg, NULL, 0);
			break;
		case 'j':
			options.n_jobs = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		case 't':
			sim_tracing = true;
			break;
		case 'k':
			options.kinds = true;
			break;
		default:
			exit(2);
		}
	}
	if (options.one)
		options.n_jobs = 1;
	if (options.n_jobs == 0 || options.n_jobs > JOBS_MAX || options.n_seeds == 0 || optind != argc) {
		fprintf(stderr, "1 to %u jobs, 1 seed at least, and nothing but options\n", JOBS_MAX);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct timespec begin;
	struct job *jobs;
	bool passed;

	read_options(argc, argv);
	jobs = mmap(NULL, JOBS_MAX * sizeof(*jobs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (jobs == MAP_FAILED)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	passed = run_jobs(jobs, &begin);
	return finish(jobs, passed, seconds_since(&begin));
}
