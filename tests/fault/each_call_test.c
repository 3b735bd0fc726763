/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * each_call_test.c - every allocation and system call of start, connect, submit, pool create ... made to fail in turn
 *
 * usage: ./dev fault, or fault_each_call [--all] [--phase NAME] [[--others] --k N [--variant N] | --storm N] [--seed N] [--jobs N] [--underneath] [--verbose]
 *
 * In a child process of its own the k-th call of a phase fails, first of the thread that starts, connects ..., then of the others (the
 * runtime's threads, the ipc thread first of all), for k = 1, 2, ... until the phase has no such call; for each of the
 * errors that its kind of call may have; and, "sticky", with all of its class after it (memory, descriptors). Then the storm:
 * waits that are interrupted at random. What is asked of each: an error has a code and a text; the same again succeeds;
 * what did not fail works; an honest client meanwhile has right answers; when all was undone nothing is left (ledger.h);
 * nothing hangs. Without --all every 7th k is tried, from a seeded start; with it three quarters of the calls have to be hit at
 * least, as they are not as many each time.
 */
#include <chimaera/runtime.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "each_call/calls.h"
#include "each_call/ledger.h"
#include "each_call/phases.h"
#include "each_call/text.h"
#include "support/commit.h"

#define STRIDE	     7u
#define CHILD_NS     (15 * HSHM_NSEC_PER_SEC)
#define SLOW_NS	     (5 * HSHM_NSEC_PER_SEC)
#define MISSES_MAX   3u /* in a row, past the calls that were counted: there are no more */
#define STORMS_ALL   24u
#define STORMS_FEW   3u
#define SHOWN_MAX    100u /* violations told in full, a phase */
#define TEXT_BYTES   8192
#define STDERR_BYTES 2000

enum outcome { PASSED, CLEAN, TOLERATED, VIOLATION };

/* Of one child; shared with its maker. */
struct report {
	struct call_plan plan;
	bool finished; /* the child came to its end */
	int rc;	       /* the operation's */
	uint64_t took_ns;
	enum outcome outcome;
	char error_text[600];
	char why[TEXT_BYTES];
	int n_frames; /* of a signal that ended it */
	void *frames[CALL_FRAMES];
	int signal_number;
};

/* Of one phase; shared by the jobs. */
struct tally {
	uint64_t n_children, n_clean, n_tolerated, n_violations, n_calls[2], n_ks[2], n_injected;
	uint64_t n_slow, longest_ns;
	uint64_t calls[CALL_N_KINDS], failed[CALL_N_KINDS];
};

static struct {
	bool all, first, others, underneath, verbose;
	const char *phase;
	uint64_t k, storm;
	int variant;
	uint64_t seed;
	uint32_t n_jobs;
} options = { .variant = -1, .n_jobs = 2 };

static struct report *report; /* this process's child's */
static char folder[300];

/* ---- the child ---- */

static void on_signal(int number)
{
	report->signal_number = number;
	report->n_frames = backtrace(report->frames, CALL_FRAMES);
	signal(number, SIG_DFL);
	raise(number);
}

static void catch_signals(void)
{
	static const int numbers[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		signal(numbers[i], on_signal);
}

static void write_config(const struct scene *scene, bool compose)
{
	FILE *file = fopen(scene->config_file, "w");

	fprintf(file,
		"workers: { count: 2, cpus: [0] }\n"
		"lanes: { balance_ms: 100 }\n"
		"memory: { private_mib: 64, lane_depth: 64 }\n"
		"clients: { max: 8, memory_mib: 16, lanes: 2, lane_depth: 64 }\n"
		"log_level: info\nlog_file: %s\n%s",
		scene->log_file, compose ? "compose:\n  - { module: probe, name: composed, containers: 1 }\n" : "");
	fclose(file);
}

static void set_scene(struct scene *scene, bool compose)
{
	snprintf(scene->name, sizeof(scene->name), "fault-%d", (int)getpid());
	snprintf(scene->config_file, sizeof(scene->config_file), "%s/fault.yaml", folder);
	snprintf(scene->log_file, sizeof(scene->log_file), "%s/fault.log", folder);
	write_config(scene, compose);
}

/* A text that is there before, to see that the operation says something of its own. */
static void set_old_text(char *text, size_t size)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.wait_policy = 99);
	struct chi_client *client;

	if (chi_client_connect(&opts, &client) == 0)
		abort();
	snprintf(text, size, "%s", chi_error_text());
}

static void judge(const struct phase *phase, struct scene *scene, const char *old_text)
{
	struct call_plan *plan = &report->plan;
	bool injected = plan->hit || plan->storm;

	snprintf(report->error_text, sizeof(report->error_text), "%s", chi_error_text());
	if (report->rc < 0 && !injected)
		scene_wrong(scene, "it failed without a failure: %s (%s)", strerror(-report->rc), report->error_text);
	if (report->rc < 0 && phase->must_succeed)
		scene_wrong(scene, "an end must not fail: %s (%s)", strerror(-report->rc), report->error_text);
	if (report->rc < 0 && (plan->storm || (!plan->sticky && plan->hit_error > CALL_MUST_RETRY)))
		scene_wrong(scene, "an interruption was taken for a failure: %s (%s)", strerror(-report->rc),
			    report->error_text);
	if (report->rc < 0 && !scene->is_result &&
	    (!report->error_text[0] || strcmp(report->error_text, old_text) == 0))
		scene_wrong(scene, "%s without a text", strerror(-report->rc));
	if (report->took_ns > SLOW_NS && phase->must_succeed)
		scene_wrong(scene, "it took %llu ms", (unsigned long long)(report->took_ns / HSHM_NSEC_PER_MSEC));
	report->outcome = !injected ? PASSED : report->rc < 0 ? CLEAN : TOLERATED;
}

static void run_phase(const struct phase *phase, struct scene *scene)
{
	char old_text[600];

	scene->plan = &report->plan;
	phase->before(scene);
	if (scene->why[0])
		return;
	set_old_text(old_text, sizeof(old_text));
	calls_arm(&report->plan);
	report->took_ns = hshm_clock_ns();
	report->rc = phase->operation(scene);
	report->took_ns = hshm_clock_ns() - report->took_ns;
	calls_disarm();
	scene->hit = report->plan.hit ? (int)report->plan.hit_call : -1;
	judge(phase, scene, old_text);
	if (report->rc < 0)
		phase->failed(scene);
	if (!scene->why[0])
		phase->check(scene);
}

static void child(const struct phase *phase, bool traces)
{
	struct scene scene = { 0 };
	struct ledger before;
	char left[TEXT_BYTES / 2];

	mallopt(M_PERTURB, 0xa5);
	catch_signals();
	set_scene(&scene, strcmp(phase->name, "start") == 0);
	ledger_begin(traces);
	ledger_look(&before);
	run_phase(phase, &scene);
	scene_end(&scene);
	ledger_compare(&before, left, sizeof(left));
	if (left[0])
		scene_wrong(&scene, "left behind:%s", left);
	if (scene.why[0]) {
		report->outcome = VIOLATION;
		snprintf(report->why, sizeof(report->why), "%s", scene.why);
	}
	report->finished = true;
	_exit(0);
}

/* ---- its maker ---- */

/* False: it hangs, and was ended. */
static bool await(pid_t pid, int *ret_status)
{
	uint64_t end_ns = hshm_clock_ns() + CHILD_NS;

	for (uint64_t us = 200;; us = us < 2000 ? us * 2 : us) {
		if (waitpid(pid, ret_status, WNOHANG) == pid)
			return true;
		if (hshm_clock_ns() > end_ns)
			break;
		usleep((useconds_t)us);
	}
	kill(pid, SIGKILL);
	waitpid(pid, ret_status, 0);
	return false;
}

static void append_stderr(const char *path, char *text, size_t size)
{
	char bytes[STDERR_BYTES];
	FILE *file = fopen(path, "r");
	size_t n = file ? fread(bytes, 1, sizeof(bytes), file) : 0;

	if (n)
		append(text, size, "\n  it wrote: %.*s", (int)n, bytes);
	if (file)
		fclose(file);
}

static void run_child(const struct phase *phase, const struct call_plan *plan, bool traces)
{
	char path[400];
	int status = 0;
	bool ended;
	pid_t pid;

	memset(report, 0, sizeof(*report));
	report->plan = *plan;
	snprintf(path, sizeof(path), "%s/stderr", folder);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

		dup2(fd, 2);
		close(fd);
		child(phase, traces);
	}
	ended = await(pid, &status);
	if (ended && report->finished)
		return;
	report->outcome = VIOLATION;
	if (!ended)
		append(report->why, sizeof(report->why), "it hangs");
	else if (WIFSIGNALED(status))
		append(report->why, sizeof(report->why), "%s", strsignal(WTERMSIG(status)));
	else
		append(report->why, sizeof(report->why), "it ended with %d", WEXITSTATUS(status));
	append_stderr(path, report->why, sizeof(report->why));
}

static void tell_frames(void *const *frames, int first, int n)
{
	for (int i = first; i < n; i++) {
		char name[400];

		ledger_name(frames[i], name, sizeof(name));
		if (strstr(name, " run_phase ")) /* from here on it is always the same */
			break;
		printf("    %s\n", name);
	}
}

static const char *error_name(int error)
{
	if (error == CALL_SHORT)
		return "short";
	return strerrorname_np(error > CALL_MUST_RETRY ? error - CALL_MUST_RETRY : error);
}

static void describe(const struct phase *phase)
{
	const struct call_plan *plan = &report->plan;

	if (plan->storm)
		printf("%s, storm with seed %llu: %llu of %llu waits interrupted", phase->name,
		       (unsigned long long)plan->seed, (unsigned long long)plan->n_failed,
		       (unsigned long long)plan->n_waits);
	else if (plan->hit)
		printf("%s, k %llu%s, variant %u: %s() fails with %s%s", phase->name, (unsigned long long)plan->k,
		       plan->others ? " of the runtime's threads" : "", plan->variant, call_kinds[plan->hit_call].name,
		       error_name(plan->hit_error), plan->sticky ? ", and all like it from there on" : "");
	else
		printf("%s, nothing fails", phase->name);
}

static void tell_violation(const struct phase *phase)
{
	const struct call_plan *plan = &report->plan;

	printf("VIOLATION: ");
	describe(phase);
	printf("\n  %s\n  called from:\n", report->why);
	tell_frames(plan->frames, 2, plan->n_frames);
	if (report->signal_number) {
		printf("  ended by a signal at:\n");
		tell_frames(report->frames, 2, report->n_frames);
	}
	printf("  again: ./dev fault --phase %s", phase->name);
	if (plan->storm)
		printf(" --storm %llu\n", (unsigned long long)plan->seed);
	else
		printf("%s --k %llu --variant %u%s\n", plan->others ? " --others" : "", (unsigned long long)plan->k,
		       plan->variant, options.underneath ? " --underneath" : "");
	fflush(stdout);
}

static void note(const struct phase *phase, struct tally *tally)
{
	const struct call_plan *plan = &report->plan;

	__atomic_fetch_add(&tally->n_children, 1, __ATOMIC_RELAXED);
	if (plan->n_failed)
		__atomic_fetch_add(&tally->n_injected, 1, __ATOMIC_RELAXED);
	if (plan->hit)
		__atomic_fetch_add(&tally->failed[plan->hit_call], 1, __ATOMIC_RELAXED);
	if (report->finished && report->took_ns > SLOW_NS)
		__atomic_fetch_add(&tally->n_slow, 1, __ATOMIC_RELAXED);
	if (report->finished && report->took_ns > tally->longest_ns)
		tally->longest_ns = report->took_ns;
	if (report->outcome == CLEAN)
		__atomic_fetch_add(&tally->n_clean, 1, __ATOMIC_RELAXED);
	if (report->outcome == TOLERATED)
		__atomic_fetch_add(&tally->n_tolerated, 1, __ATOMIC_RELAXED);
	if (report->outcome == VIOLATION && __atomic_fetch_add(&tally->n_violations, 1, __ATOMIC_RELAXED) < SHOWN_MAX)
		tell_violation(phase);
	if (options.verbose) {
		describe(phase);
		printf(": %s%s, %llu us\n",
		       report->outcome == CLEAN	      ? "clean: "
		       : report->outcome == TOLERATED ? "tolerated"
		       : report->outcome == PASSED    ? "passed"
						      : "VIOLATION",
		       report->outcome == CLEAN ? report->error_text : "", (unsigned long long)report->took_ns / 1000);
		if (options.k)
			tell_frames(plan->frames, 2, plan->n_frames);
	}
}

static void wrong(struct tally *tally, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void wrong(struct tally *tally, const char *format, ...)
{
	va_list args;

	printf("VIOLATION: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	__atomic_fetch_add(&tally->n_violations, 1, __ATOMIC_RELAXED);
}

/* Leaks are told with who made what is left, by running again. */
static void run_one(const struct phase *phase, struct call_plan *plan, struct tally *tally)
{
	run_child(phase, plan, false);
	if (report->outcome == VIOLATION && strstr(report->why, "left behind"))
		run_child(phase, plan, true);
	note(phase, tally);
}

static uint32_t n_variants(void)
{
	const struct call_kind *kind = &call_kinds[report->plan.hit_call];

	return kind->n_errors + (kind->class < CALL_OTHER);
}

/* All variants of one k, or one chosen by the seed. False: the phase has no k-th call. */
static bool run_k(const struct phase *phase, uint64_t k, bool others, struct tally *tally)
{
	struct call_plan plan = { .k = k, .others = others, .underneath = options.underneath };

	plan.variant = options.variant >= 0 ? (uint32_t)options.variant : 0;
	run_one(phase, &plan, tally);
	if (!report->plan.hit) {
		if (report->plan.n_calls[others] >= k)
			wrong(tally, "%s: call %llu of %llu was made, and did not fail", phase->name,
			      (unsigned long long)k, (unsigned long long)report->plan.n_calls[others]);
		return false;
	}
	__atomic_fetch_add(&tally->n_ks[others], 1, __ATOMIC_RELAXED);
	if (options.variant >= 0)
		return true;
	for (uint32_t n = n_variants(), variant = 1; variant < n; variant++) {
		if (!options.all && (k + options.seed) % n != variant)
			continue;
		plan.variant = variant;
		run_one(phase, &plan, tally);
	}
	return true;
}

static void run_storm(const struct phase *phase, uint64_t seed, struct tally *tally)
{
	struct call_plan plan = { .storm = seed % 3 ? 128 : 230, .seed = seed, .random = seed };

	run_one(phase, &plan, tally);
}

static void run_storms(const struct phase *phase, uint32_t job, struct tally *tally)
{
	uint32_t n = options.all ? STORMS_ALL : STORMS_FEW;

	for (uint32_t i = job; i < n; i += options.n_jobs)
		run_storm(phase, options.seed + i, tally);
}

static bool is_over(const struct tally *tally)
{
	return options.first && __atomic_load_n(&tally->n_violations, __ATOMIC_RELAXED);
}

/* A k that is not hit is not the end: the runtime's threads do not make as many calls each time. */
static void run_ks(const struct phase *phase, uint32_t number, bool others, struct tally *tally)
{
	uint64_t stride = options.all ? 1 : STRIDE;
	uint64_t k = (options.all ? 1 : 1 + options.seed % STRIDE) + number * stride;
	uint32_t n_missed = 0;

	while (!is_over(tally) && (k <= tally->n_calls[others] || n_missed < MISSES_MAX)) {
		n_missed = run_k(phase, k, others, tally) ? 0 : n_missed + 1;
		k += options.n_jobs * stride;
	}
}

static void job(const struct phase *phase, uint32_t number, struct tally *tally)
{
	for (int others = 0; others < 2; others++)
		run_ks(phase, number, others, tally);
	if (!is_over(tally))
		run_storms(phase, number, tally);
}

static void *shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	return memory;
}

static void set_folder(uint32_t number)
{
	const char *base = getenv("XDG_RUNTIME_DIR");

	snprintf(folder, sizeof(folder), "%s/%u", base, number);
	mkdir(folder, 0700);
	setenv("XDG_RUNTIME_DIR", folder, 1);
	setenv("TMPDIR", folder, 1);
}

/* What the phase does when nothing fails. */
static void count_once(const struct phase *phase, struct tally *tally)
{
	struct call_plan plan = { .underneath = options.underneath };

	run_child(phase, &plan, false);
	if (report->outcome == VIOLATION && strstr(report->why, "left behind"))
		run_child(phase, &plan, true);
	if (!tally->n_calls[0] || report->plan.n_calls[1] < tally->n_calls[1]) {
		memcpy(tally->calls, report->plan.n_of_kind, sizeof(tally->calls));
		memcpy(tally->n_calls, report->plan.n_calls, sizeof(tally->n_calls));
	}
	if (report->outcome == VIOLATION) {
		tally->n_violations++;
		tell_violation(phase);
	}
}

/* The run in which the runtime's threads made the fewest: they look more often on a busy machine. */
static void count_calls(const struct phase *phase, uint32_t number, struct tally *tally)
{
	(void)number;
	for (int i = 0; i < 3 && !tally->n_violations; i++)
		count_once(phase, tally);
}

static void tell(const struct phase *phase, const struct tally *tally, uint64_t took_ns)
{
	printf("%-8s %llu + %llu calls: k's %llu, runs %llu, clean errors %llu, tolerated %llu, slow %llu (longest %llu ms), "
	       "violations %llu; %.1f s\n",
	       phase->name, (unsigned long long)tally->n_calls[0], (unsigned long long)tally->n_calls[1],
	       (unsigned long long)(tally->n_ks[0] + tally->n_ks[1]), (unsigned long long)tally->n_children,
	       (unsigned long long)tally->n_clean, (unsigned long long)tally->n_tolerated,
	       (unsigned long long)tally->n_slow, (unsigned long long)(tally->longest_ns / HSHM_NSEC_PER_MSEC),
	       (unsigned long long)tally->n_violations, (double)took_ns / HSHM_NSEC_PER_SEC);
	printf("        ");
	for (int i = 0; i < CALL_N_KINDS; i++)
		if (tally->calls[i])
			printf(" %s %llu", call_kinds[i].name, (unsigned long long)tally->calls[i]);
	printf("\n");
	fflush(stdout);
}

static void add(struct tally *sum, const struct tally *tally)
{
	sum->n_children += tally->n_children;
	for (int others = 0; others < 2; others++)
		sum->n_ks[others] += tally->n_ks[others];
	sum->n_injected += tally->n_injected;
	sum->n_clean += tally->n_clean;
	sum->n_tolerated += tally->n_tolerated;
	for (int i = 0; i < CALL_N_KINDS; i++)
		sum->failed[i] += tally->failed[i];
}

static void tell_sum(const struct tally *sum)
{
	printf("%llu k's, %llu runs: %llu clean errors, %llu tolerated. Made to fail:\n        ",
	       (unsigned long long)(sum->n_ks[0] + sum->n_ks[1]), (unsigned long long)sum->n_children,
	       (unsigned long long)sum->n_clean, (unsigned long long)sum->n_tolerated);
	for (int i = 0; i < CALL_N_KINDS; i++)
		if (sum->failed[i])
			printf(" %s %llu", call_kinds[i].name, (unsigned long long)sum->failed[i]);
	printf("\n");
}

typedef void job_fn(const struct phase *phase, uint32_t number, struct tally *tally);

/* Each in a process and a folder of its own, until all have ended. */
static void run_jobs(const struct phase *phase, uint32_t n, job_fn *run, struct tally *tally)
{
	uint32_t n_running = 0;
	int status;

	for (uint32_t i = 0; i < n; i++) {
		pid_t pid;

		fflush(NULL);
		pid = fork();
		if (pid == 0) {
			report = shared(sizeof(*report));
			set_folder(i);
			run(phase, i, tally);
			fflush(stdout);
			_exit(0);
		}
		if (pid < 0)
			wrong(tally, "%s: no process for a job: %s", phase->name, strerror(errno));
		else
			n_running++;
	}
	for (; n_running; n_running--) {
		if (wait(&status) < 0)
			wrong(tally, "%s: a job is lost: %s", phase->name, strerror(errno));
		else if (status != 0)
			wrong(tally, "%s: a job ended with status 0x%x", phase->name, (unsigned int)status);
	}
}

static void run_phase_alone(const struct phase *phase, struct tally *tally)
{
	set_folder(0);
	if (options.k)
		run_k(phase, options.k, options.others, tally);
	else
		run_storm(phase, options.storm, tally);
}

/* Not all that were counted: who finds the answer there need not wait for it, and the runtime's threads look more or less
 * often. Two calls of ten are as much as that has made. What is made in a run and should fail does: run_k(). */
static void expect_hits(const struct phase *phase, struct tally *tally)
{
	uint64_t n_calls = tally->n_calls[0] + tally->n_calls[1], n_ks = tally->n_ks[0] + tally->n_ks[1];

	if (n_ks * 4 < n_calls * 3 || !tally->n_ks[0] || (tally->n_calls[1] && !tally->n_ks[1]))
		wrong(tally, "%s: of %llu and %llu calls no more than %llu and %llu were made to fail", phase->name,
		      (unsigned long long)tally->n_calls[0], (unsigned long long)tally->n_calls[1],
		      (unsigned long long)tally->n_ks[0], (unsigned long long)tally->n_ks[1]);
}

static void run_whole_phase(const struct phase *phase, struct tally *tally)
{
	uint64_t begin_ns = hshm_clock_ns();

	run_jobs(phase, 1, count_calls, tally);
	if (!is_over(tally))
		run_jobs(phase, options.n_jobs, job, tally);
	if (tally->n_calls[0] == 0)
		wrong(tally, "%s: no call was counted", phase->name);
	if (options.all && !is_over(tally))
		expect_hits(phase, tally);
	tell(phase, tally, hshm_clock_ns() - begin_ns);
}

static uint64_t run_phase_jobs(const struct phase *phase, struct tally *sum)
{
	struct tally *tally = shared(sizeof(*tally));
	uint64_t n_violations;

	if (options.k || options.storm)
		run_phase_alone(phase, tally);
	else
		run_whole_phase(phase, tally);
	add(sum, tally);
	n_violations = tally->n_violations;
	munmap(tally, sizeof(*tally));
	return n_violations;
}

static bool is_phase(const char *name)
{
	for (const struct phase *phase = phases; phase->name; phase++)
		if (strcmp(phase->name, name) == 0)
			return true;
	return false;
}

static void refuse_usage(void)
{
	fprintf(stderr, "options as at the head of each_call_test.c; 1 job at least; the phases:");
	for (const struct phase *phase = phases; phase->name; phase++)
		fprintf(stderr, " %s", phase->name);
	fprintf(stderr, "\n");
	exit(2);
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "phase", required_argument, NULL, 'p' },
		{ "k", required_argument, NULL, 'k' },
		{ "variant", required_argument, NULL, 'v' },
		{ "seed", required_argument, NULL, 's' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "storm", required_argument, NULL, 'S' },
		{ "others", no_argument, NULL, 'o' },
		{ "underneath", no_argument, NULL, 'u' },
		{ "verbose", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	options.all = options.first = getenv("CHI_FAULT_FIRST") != NULL; /* for ./dev mutants */
	options.seed = (uint64_t)time(NULL);
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'a':
			options.all = true;
			break;
		case 'p':
			options.phase = optarg;
			break;
		case 'k':
			options.k = strtoull(optarg, NULL, 0);
			options.all = options.verbose = true;
			break;
		case 'o':
			options.others = true;
			break;
		case 'S':
			options.storm = strtoull(optarg, NULL, 0);
			options.verbose = true;
			break;
		case 'v':
			options.variant = atoi(optarg);
			break;
		case 's':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 'j':
			options.n_jobs = (uint32_t)atoi(optarg);
			break;
		case 'u':
			options.underneath = true;
			break;
		case 'V':
			options.verbose = true;
			break;
		default:
			refuse_usage();
		}
	}
	if (optind != argc || options.n_jobs < 1 || (options.phase && !is_phase(options.phase)))
		refuse_usage();
}

int main(int argc, char **argv)
{
	struct tally sum = { 0 };
	uint64_t n_violations = 0;

	time_t now = time(NULL);

	read_options(argc, argv);
	localtime(&now); /* what the C library makes once for all is not the children's */
	printf("commit %s, seed %llu\n", commit_name(), (unsigned long long)options.seed);
	report = shared(sizeof(*report));
	for (const struct phase *phase = phases; phase->name; phase++)
		if ((!options.phase || strcmp(options.phase, phase->name) == 0) && !(options.first && n_violations))
			n_violations += run_phase_jobs(phase, &sum);
	tell_sum(&sum);
	if (!sum.n_injected) {
		printf("VIOLATION: nothing was made to fail\n");
		n_violations++;
	}
	printf("%llu violations\n", (unsigned long long)n_violations);
	return n_violations ? 1 : 0;
}
