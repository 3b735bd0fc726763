/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * single_step.c - a client that dies at one instruction after the other
 *
 * For each variant (a submit, a wait, a connect, ...) and each k: a fresh process prepares, is stepped k instructions into the
 * call by PTRACE_SINGLESTEP, and is killed there. After each: a steady client's task is answered, and the daemon holds what it
 * held before: clients, descriptors, segments, bytes in its heaps. A first run without a kill counts the instructions and where
 * they lie. In a long call (connect fills its heap's tables, 50,000 instructions) a breakpoint leads to the last place before k
 * that was new then, and the steps begin there.
 *
 * usage: single_step [--full | --kills N] [--seed S] [--variant NAME [--at K]] [--json]
 *   --full      every instruction; of calls that have more than 5,000 of them 1,000, as --kills 1000
 *   --kills N   of each variant N, evenly spread from a seeded offset (the default: 3), and before and after each system call, if N > 16
 *   --at K      one kill after K instructions: what a failure names
 * Exit code: 0, 1 when a promise was broken, 77 where it cannot be done.
 */
#include <errno.h>
#include <stdio.h>

#if !defined(__x86_64__)
int main(void)
{
	printf("SKIP: the single steps are written for x86-64\n");
	return 77;
}
#else

#include <chimaera/admin.h>
#include <chimaera/chimaera.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "modules/probe.h"
#include "support/commit.h"
#include "support/daemon.h"
#include "support/holdings.h"

#define NAME	       "steps"
#define N_TASKS	       3u
#define BUFFER_BYTES   4096u
#define STEPS_MAX      1000000u
#define SYSCALLS_MAX   64u
#define LONG_CALL      5000u /* instructions; --full takes LONG_KILLS of one that has more */
#define LONG_KILLS     1000u
#define FEW_KILLS      16u
#define LOOKS	       5u			/* of the bytes, before the first kill */
#define PROGRESS_NS    (10 * HSHM_NSEC_PER_SEC) /* no answer to the steady client in that time: a failure */
#define BACK_NS	       (10 * HSHM_NSEC_PER_SEC) /* the dead one's memory is not back in that time: a failure */
#define HANG_S	       60			/* the whole campaign has stood still for that long */
#define RSS_GROWS_KIB  1024u
/* so many of a call's kills, and of all, may come when it has ended: the clock decides how long a wait spins */
#define MISSED_PERCENT 5u
#define MISSED_FEW     2u

#define CONFIG                                                                                                                         \
	"log_level: error\nmemory: { private_mib: 256 }\nclients: { memory_mib: 8, lanes: 4, lane_depth: 64 }\nstop_timeout_ms: 100\n" \
	"workers: { count: 1, spin_us: %u }\n"

/* ---- the victim ---- */

enum phase {
	PHASE_PREPARES,
	PHASE_INSIDE, /* the call that is stepped through */
	PHASE_AFTER,
};

/* Seen by both without a system call. */
struct shared {
	hshm_au32 phase;
	int32_t result; /* of the call */
};
static struct shared *shared;

struct victim {
	struct chi_client *client;
	uint32_t pool;
	struct probe_task *tasks[N_TASKS];
	char *from, *to;
};

static void need(int rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "single_step: the victim cannot prepare: %s: %s\n", what, chi_error_text());
	_exit(2);
}

static void attach(struct victim *victim)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = NAME, .wait_policy = CHI_WAIT_HYBRID, .spin_ns = 1);

	need(chi_client_connect(&opts, &victim->client), "connect");
}

static void make_tasks(struct victim *victim, enum probe_method method)
{
	for (unsigned i = 0; i < N_TASKS; i++)
		need(chi_task_alloc(victim->client, sizeof(struct probe_task), victim->pool, CHI_QUERY_LOCAL_ID(0),
				    method, &victim->tasks[i]),
		     "task");
}

/* A client that has tasks with buffers and has not submitted yet. */
static void prepare_first(struct victim *victim)
{
	attach(victim);
	make_tasks(victim, PROBE_COPY);
	need(chi_alloc(victim->client, BUFFER_BYTES, &victim->from), "buffer");
	need(chi_alloc(victim->client, BUFFER_BYTES, &victim->to), "buffer");
	memset(victim->from, 7, BUFFER_BYTES);
	for (unsigned i = 0; i < N_TASKS; i++) {
		struct chi_buffer *buffers = victim->tasks[i]->buffers;

		need(chi_buffer_set(victim->client, &buffers[0], victim->from, BUFFER_BYTES, CHI_BUFFER_IN), "in");
		need(chi_buffer_set(victim->client, &buffers[1], victim->to, BUFFER_BYTES, CHI_BUFFER_OUT), "out");
	}
}

/* The same, its lane open and known to the worker. */
static void prepare_warm(struct victim *victim)
{
	struct probe_task *task;

	prepare_first(victim);
	need(chi_task_alloc(victim->client, sizeof(*task), victim->pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD, &task),
	     "task");
	need(chi_call(victim->client, task), "call");
	need(chi_task_free(victim->client, task), "free");
}

static void prepare_given(struct victim *victim)
{
	prepare_warm(victim);
	victim->tasks[0]->task.flags = CHI_TASK_FIRE_AND_FORGET;
}

/* Nobody opens the gate: its task ends because the client is dead. */
static void prepare_waiter(struct victim *victim)
{
	prepare_warm(victim);
	make_tasks(victim, PROBE_GATE_WAIT);
	need(chi_submit(victim->client, victim->tasks[0]), "submit");
}

static void prepare_ended(struct victim *victim)
{
	prepare_warm(victim);
	need(chi_call(victim->client, victim->tasks[0]), "call");
}

static void prepare_nothing(struct victim *victim)
{
	(void)victim;
}

static int do_connect(struct victim *victim)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = NAME);

	return chi_client_connect(&opts, &victim->client);
}

static int do_submit(struct victim *victim)
{
	return chi_submit(victim->client, victim->tasks[0]);
}

static int do_submit_many(struct victim *victim)
{
	void *tasks[N_TASKS] = { victim->tasks[0], victim->tasks[1], victim->tasks[2] };

	return chi_submit_many(victim->client, tasks, N_TASKS);
}

static void ignore_end(void *task, int result, void *arg)
{
	(void)task;
	(void)result;
	(void)arg;
}

static int do_submit_notify(struct victim *victim)
{
	return chi_submit_notify(victim->client, victim->tasks[0], ignore_end, NULL);
}

/* Marks its task, sleeps on its word, unmarks. */
static int do_wait(struct victim *victim)
{
	int rc = chi_wait(victim->tasks[0], HSHM_NSEC_PER_MSEC);

	return rc == -ETIMEDOUT ? 0 : rc;
}

static int do_alloc(struct victim *victim)
{
	char *memory = NULL;

	return chi_alloc(victim->client, 1 << 20, &memory);
}

static int do_free(struct victim *victim)
{
	chi_free(victim->client, victim->from);
	return chi_task_free(victim->client, victim->tasks[0]);
}

static int do_disconnect(struct victim *victim)
{
	chi_client_disconnect(victim->client);
	return 0;
}

enum worker_state {
	WORKER_HOT,    /* polls the lane */
	WORKER_ASLEEP, /* the lane is armed: a submit rings */
};

struct variant {
	const char *name;
	enum worker_state worker;
	bool has_task; /* under way, until it is killed: the worker does not sleep */
	void (*prepare)(struct victim *victim);
	int (*call)(struct victim *victim);
};

static const struct variant variants[] = {
	{ "submit, hot lane", WORKER_HOT, false, prepare_warm, do_submit },
	{ "submit_many of 3, hot", WORKER_HOT, false, prepare_warm, do_submit_many },
	{ "submit, armed lane", WORKER_ASLEEP, false, prepare_warm, do_submit },
	{ "submit, first of a thread", WORKER_ASLEEP, false, prepare_first, do_submit },
	{ "submit_many of 3, armed", WORKER_ASLEEP, false, prepare_warm, do_submit_many },
	{ "submit, fire-and-forget", WORKER_ASLEEP, false, prepare_given, do_submit },
	{ "submit_notify", WORKER_ASLEEP, false, prepare_warm, do_submit_notify },
	{ "wait, to sleep and back", WORKER_ASLEEP, true, prepare_waiter, do_wait },
	{ "alloc of 1 MiB", WORKER_ASLEEP, false, prepare_warm, do_alloc },
	{ "free of task and buffer", WORKER_ASLEEP, false, prepare_ended, do_free },
	{ "connect", WORKER_ASLEEP, false, prepare_nothing, do_connect },
	{ "disconnect", WORKER_ASLEEP, false, prepare_ended, do_disconnect },
};
#define N_VARIANTS (sizeof(variants) / sizeof(variants[0]))

static _Noreturn void be_victim(const struct variant *variant, uint32_t pool)
{
	struct victim victim = { .pool = pool };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	variant->prepare(&victim);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(errno == EPERM ? 77 : 2);
	raise(SIGSTOP);
	/* relaxed, both: the driver looks while this process stands still */
	hshm_store_relaxed(&shared->phase, PHASE_INSIDE);
	shared->result = variant->call(&victim);
	hshm_store_relaxed(&shared->phase, PHASE_AFTER);
	for (;;)
		raise(SIGSTOP);
}

/* ---- the driver ---- */

struct place {
	uintptr_t at;
	unsigned k;
};

struct tally {
	unsigned n_instructions; /* in the run that counts */
	struct place *places;	 /* in that run: of each instruction, later by address */
	unsigned *landings;	 /* for each: the last one, up to it, at a place that was new; NULL: not a long call */
	unsigned n_library;	 /* of them, in libchimaera */
	unsigned n_syscalls;
	unsigned syscall_at[SYSCALLS_MAX];
	unsigned n_kills;
	unsigned n_kills_library; /* the next instruction would have been one of libchimaera */
	unsigned n_kills_missed;  /* of those inside: the call had ended, it took a shorter way this time */
	uint64_t progress_max_ns, back_max_ns;
};

/* What the runtime counts. */
struct counted {
	uint64_t n_clients; /* attached, or gone with something of theirs still there */
	uint64_t own_bytes, module_bytes;
	bool asleep;
};

static struct {
	uint64_t seed;
	pid_t daemon; /* 0: none */
	enum worker_state worker;
	struct chi_client *steady;
	uint32_t pool;
	struct holdings before; /* with the steady client alone */
	struct counted counted;
	uintptr_t library_begin, library_end;
	unsigned n_broken;
	/* for whoever hangs */
	const struct variant *variant;
	unsigned at;
} driver;

static _Noreturn void give_up(const char *why)
{
	fprintf(stderr, "single_step: %s. Again: ./dev crash single_step --variant \"%s\" --at %u --seed %llu\n", why,
		driver.variant ? driver.variant->name : "", driver.at, (unsigned long long)driver.seed);
	if (driver.daemon > 0)
		kill(driver.daemon, SIGKILL);
	fflush(stdout);
	_exit(1);
}

/* What the handler says: it must not format anything. */
static char hang_text[256];
static size_t hang_text_size;

static void hangs(int signal)
{
	(void)signal;
	(void)!write(STDERR_FILENO, hang_text, hang_text_size);
	if (driver.daemon > 0)
		kill(driver.daemon, SIGKILL);
	_exit(1);
}

/* From now on @k is at work: what a failure names, and a minute for it. */
static void begin_kill(const struct variant *variant, unsigned k)
{
	alarm(0);
	driver.variant = variant;
	driver.at = k;
	hang_text_size = (size_t)snprintf(
		hang_text, sizeof(hang_text),
		"single_step: nothing has moved for a minute. Again: ./dev crash single_step --variant \"%s\" --at %u --seed %llu\n",
		variant->name, k, (unsigned long long)driver.seed);
	alarm(HANG_S);
}

static void broken(const char *what)
{
	driver.n_broken++;
	printf("BROKEN: %s. Again: ./dev crash single_step --variant \"%s\" --at %u --seed %llu\n", what,
	       driver.variant->name, driver.at, (unsigned long long)driver.seed);
	fflush(stdout);
}

/* Where the code of libchimaera lies; the children have it at the same place. */
static void find_library(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], rights[8];
	unsigned long begin, end;

	while (maps && fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "/libchimaera.so") || sscanf(line, "%lx-%lx %7s", &begin, &end, rights) != 3 ||
		    rights[2] != 'x')
			continue;
		driver.library_begin = begin;
		driver.library_end = end;
	}
	if (maps)
		fclose(maps);
	if (!driver.library_end)
		give_up("libchimaera.so is not mapped");
}

static bool in_library(uintptr_t at)
{
	return at >= driver.library_begin && at < driver.library_end;
}

static uint64_t cell(const struct chi_counters *counters, uint32_t table, const char *column)
{
	return chi_counters_number(counters, table, 0, (uint32_t)chi_counters_column(table, column));
}

static struct counted read_counters(void)
{
	struct chi_counters *counters;
	struct counted now;

	if (chi_counters_read(NAME, &counters) < 0)
		give_up(chi_error_text());
	now.n_clients = cell(counters, CHI_COUNTERS_RUNTIME, "clients_attached") -
			cell(counters, CHI_COUNTERS_RUNTIME, "clients_ended");
	now.own_bytes = cell(counters, CHI_COUNTERS_RUNTIME, "own_bytes");
	now.module_bytes = cell(counters, CHI_COUNTERS_RUNTIME, "module_bytes");
	now.asleep = cell(counters, CHI_COUNTERS_WORKERS, "asleep");
	chi_counters_free(counters);
	return now;
}

static void await_sleep(void)
{
	while (!read_counters().asleep)
		usleep(50);
}

/* A task of the steady client, to its end; returns what it answers. */
static uint64_t call_steadily(enum probe_method method, uint64_t in)
{
	struct probe_task *task;
	uint64_t out;
	int rc;

	if (chi_task_alloc(driver.steady, sizeof(*task), driver.pool, CHI_QUERY_LOCAL_ID(0), method, &task) < 0)
		give_up(chi_error_text());
	task->in = in;
	rc = chi_submit(driver.steady, task);
	if (rc == 0)
		rc = chi_wait(task, PROGRESS_NS);
	if (rc < 0)
		give_up(chi_error_text());
	out = task->task.result == 0 ? task->out : 0;
	chi_task_free(driver.steady, task);
	return out;
}

static uint64_t check_progress(void)
{
	static uint64_t number;
	uint64_t begin_ns = hshm_clock_ns();

	number++;
	if (call_steadily(PROBE_ADD, number) != number + 1)
		broken("the steady client has a wrong answer");
	return hshm_clock_ns() - begin_ns;
}

/* The runtime counts its bytes when a client comes or goes: with what was in flight just then. One comes and goes now. */
static void have_bytes_counted(void)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = NAME);
	struct chi_client *client;

	if (chi_client_connect(&opts, &client) < 0)
		give_up(chi_error_text());
	chi_client_disconnect(client);
}

static bool has_clients_and_descriptors(const struct counted *counted, const struct holdings *held)
{
	return counted->n_clients == 1 && held->n_fds == driver.before.n_fds &&
	       held->n_segments == driver.before.n_segments;
}

static bool has_bytes(const struct counted *counted)
{
	return counted->own_bytes == driver.counted.own_bytes && counted->module_bytes == driver.counted.module_bytes;
}

static uint64_t lower(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What the daemon holds for the steady client. What is in flight can only add to the bytes: the lowest of some looks counts. */
static void look_before(void)
{
	driver.before = holdings_of(driver.daemon);
	driver.counted.own_bytes = driver.counted.module_bytes = UINT64_MAX;
	for (unsigned i = 0; i < LOOKS; i++) {
		struct counted counted;
		struct holdings held;

		have_bytes_counted();
		do {
			usleep(50);
			counted = read_counters();
			held = holdings_of(driver.daemon);
		} while (!has_clients_and_descriptors(&counted, &held)); /* SIGALRM ends it */
		driver.counted.own_bytes = lower(driver.counted.own_bytes, counted.own_bytes);
		driver.counted.module_bytes = lower(driver.counted.module_bytes, counted.module_bytes);
	}
}

static _Noreturn void not_back(const struct counted *counted, const struct holdings *held)
{
	printf("clients %llu, descriptors %u (before %u), segments %u (before %u), own bytes %llu (before %llu), "
	       "modules' bytes %llu (before %llu)\n",
	       (unsigned long long)counted->n_clients, held->n_fds, driver.before.n_fds, held->n_segments,
	       driver.before.n_segments, (unsigned long long)counted->own_bytes,
	       (unsigned long long)driver.counted.own_bytes, (unsigned long long)counted->module_bytes,
	       (unsigned long long)driver.counted.module_bytes);
	give_up("what the dead one had is not back");
}

/* Until the daemon holds what it held without the dead one. */
static uint64_t await_back(void)
{
	uint64_t begin_ns = hshm_clock_ns();

	for (;;) {
		struct counted counted = read_counters();
		struct holdings held = holdings_of(driver.daemon);
		bool has_others = has_clients_and_descriptors(&counted, &held);

		if (has_others && has_bytes(&counted))
			return hshm_clock_ns() - begin_ns;
		if (hshm_clock_ns() - begin_ns > BACK_NS)
			not_back(&counted, &held);
		if (has_others)
			have_bytes_counted();
		usleep(50);
	}
}

/* ---- steps ---- */

/* Returns the signal by which it is stopped. */
static int await_stop(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			give_up(strerror(errno));
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		printf("SKIP: ptrace is not permitted here\n");
		fflush(stdout);
		kill(driver.daemon, SIGKILL);
		_exit(77);
	}
	if (!WIFSTOPPED(status))
		give_up("the victim ended");
	return WSTOPSIG(status);
}

static void check_stopped(pid_t pid, int signal)
{
	if (await_stop(pid) != signal)
		give_up("the victim was stopped by something else");
}

static void step(pid_t pid)
{
	if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
		give_up(strerror(errno));
	check_stopped(pid, SIGTRAP);
}

static uintptr_t next_instruction(pid_t pid)
{
	return (uintptr_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), NULL);
}

/* Run to @at, a place where it has not been yet. False: it came to its end on another way. */
static bool run_to(pid_t pid, uintptr_t at)
{
	static const size_t rip = offsetof(struct user_regs_struct, rip);
	long code = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
	int signal;

	ptrace(PTRACE_POKETEXT, pid, at, (code & ~0xffL) | 0xcc); /* int3 */
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	signal = await_stop(pid);
	ptrace(PTRACE_POKETEXT, pid, at, code);
	if (signal == SIGTRAP)
		ptrace(PTRACE_POKEUSER, pid, rip, at);
	return signal == SIGTRAP;
}

static enum phase phase_now(void)
{
	/* relaxed: the victim stands still */
	return hshm_load_relaxed(&shared->phase);
}

/* A fresh victim, at the first instruction of the call. */
static pid_t start_victim(const struct variant *variant)
{
	pid_t pid;

	hshm_store_relaxed(&shared->phase, PHASE_PREPARES);
	shared->result = -EINPROGRESS;
	pid = fork();
	if (pid == 0)
		be_victim(variant, driver.pool);
	if (pid < 0)
		give_up(strerror(errno));
	check_stopped(pid, SIGSTOP);
	if (variant->worker == WORKER_ASLEEP && !variant->has_task)
		await_sleep();
	while (phase_now() != PHASE_INSIDE)
		step(pid);
	return pid;
}

static void end_victim(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void note_place(struct tally *tally, uintptr_t at)
{
	static const uint16_t syscall_instruction = 0x050f;
	unsigned k = tally->n_instructions++;

	/* NOLINTNEXTLINE(performance-no-int-to-ptr): a register's value; the code lies at the same addresses as ours */
	if (memcmp((const void *)at, &syscall_instruction, sizeof(syscall_instruction)) == 0 &&
	    tally->n_syscalls < SYSCALLS_MAX)
		tally->syscall_at[tally->n_syscalls++] = k;
	tally->n_library += in_library(at);
	tally->places[k] = (struct place){ at, k };
}

/* To the end of the call: how many instructions, and where. */
static void count_instructions(const struct variant *variant, struct tally *tally)
{
	pid_t pid = start_victim(variant);

	tally->places = calloc(STEPS_MAX, sizeof(*tally->places));
	if (!tally->places)
		give_up("no memory");
	while (phase_now() != PHASE_AFTER && tally->n_instructions < STEPS_MAX) {
		note_place(tally, next_instruction(pid));
		step(pid);
	}
	if (phase_now() != PHASE_AFTER)
		give_up("the call does not end");
	if (shared->result < 0) {
		printf("%s: %d\n", variant->name, shared->result);
		broken("the call fails when nobody is killed");
	}
	end_victim(pid);
	await_back();
}

static int by_address(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->k < y->k ? -1 : 1;
}

static void find_landings(struct tally *tally)
{
	unsigned last = 0;

	tally->landings = calloc(tally->n_instructions, sizeof(*tally->landings));
	if (!tally->landings)
		give_up("no memory");
	qsort(tally->places, tally->n_instructions, sizeof(*tally->places), by_address);
	for (unsigned i = 0; i < tally->n_instructions; i++) {
		bool first = i == 0 || tally->places[i].at != tally->places[i - 1].at;

		tally->landings[tally->places[i].k] = first ? i + 1 : 0;
	}
	/* from the index of its place, plus 1, to that of the last one that is new */
	for (unsigned k = 0; k < tally->n_instructions; k++) {
		last = tally->landings[k] ? tally->landings[k] : last;
		tally->landings[k] = last - 1;
	}
}

static void advance(pid_t pid, unsigned k, const struct tally *tally)
{
	unsigned i = 0;

	if (tally->landings && k > 0 && k < tally->n_instructions) {
		const struct place *landing = &tally->places[tally->landings[k]];

		i = landing->k;
		if (i > 0 && !run_to(pid, landing->at))
			return;
	}
	for (; i < k && phase_now() == PHASE_INSIDE; i++)
		step(pid);
}

static void kill_at(const struct variant *variant, unsigned k, struct tally *tally)
{
	uint64_t progress_ns, back_ns;
	pid_t pid;

	begin_kill(variant, k);
	pid = start_victim(variant);
	advance(pid, k, tally);
	tally->n_kills++;
	tally->n_kills_missed += k < tally->n_instructions && phase_now() == PHASE_AFTER;
	tally->n_kills_library += in_library(next_instruction(pid));
	end_victim(pid);
	progress_ns = check_progress();
	back_ns = await_back();
	if (progress_ns > tally->progress_max_ns)
		tally->progress_max_ns = progress_ns;
	if (back_ns > tally->back_max_ns)
		tally->back_max_ns = back_ns;
}

/* ---- campaign ---- */

struct options {
	unsigned n_kills; /* of each variant; 0 = every instruction */
	int at;		  /* -1 = not that */
	const char *variant;
	uint64_t seed;
	bool json;
};

static void start_daemon(enum worker_state worker)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = NAME);
	struct chi_pool_spec spec = { .module = "probe", .n_containers = 1 };
	char config[512];

	snprintf(config, sizeof(config), CONFIG, worker == WORKER_HOT ? 1000000u : 0u);
	driver.daemon = daemon_start(NAME, config);
	driver.worker = worker;
	if (driver.daemon < 0)
		give_up("no daemon");
	if (chi_client_connect(&opts, &driver.steady) < 0 || chi_pool_create(driver.steady, &spec, &driver.pool) < 0)
		give_up(chi_error_text());
	check_progress();
	look_before();
}

static void end_daemon(void)
{
	struct holdings now;

	if (driver.daemon == 0)
		return;
	now = holdings_of(driver.daemon);
	if (now.rss_kib > driver.before.rss_kib + RSS_GROWS_KIB) {
		printf("daemon: %llu KiB resident, before %llu\n", (unsigned long long)now.rss_kib,
		       (unsigned long long)driver.before.rss_kib);
		broken("the daemon grows");
	}
	chi_client_disconnect(driver.steady);
	if (daemon_end(driver.daemon, SIGTERM) != 0)
		broken("the daemon did not end in order");
	driver.daemon = 0;
}

static void show(const struct variant *variant, const struct tally *tally, const struct options *options)
{
	unsigned long long progress_us = tally->progress_max_ns / HSHM_NSEC_PER_USEC;
	unsigned long long back_us = tally->back_max_ns / HSHM_NSEC_PER_USEC;

	if (options->json)
		printf("{\"bench\":\"single_step\",\"commit\":\"%s\",\"seed\":%llu,\"variant\":\"%s\",\"instructions\":%u,\"in_libchimaera\":%u,"
		       "\"syscalls\":%u,\"kills\":%u,\"kills_in_libchimaera\":%u,\"kills_missed\":%u,"
		       "\"progress_max_us\":%llu,\"back_max_us\":%llu}\n",
		       commit_name(), (unsigned long long)driver.seed, variant->name, tally->n_instructions,
		       tally->n_library, tally->n_syscalls, tally->n_kills, tally->n_kills_library,
		       tally->n_kills_missed, progress_us, back_us);
	else
		printf("%-26s %7u %7u %5u %7u %7u %6u %9llu %9llu\n", variant->name, tally->n_instructions,
		       tally->n_library, tally->n_syscalls, tally->n_kills, tally->n_kills_library,
		       tally->n_kills_missed, progress_us, back_us);
	fflush(stdout);
}

/* A death behind the call tells nothing about the call. */
static void judge_missed(const char *name, const struct tally *tally, const struct options *options)
{
	unsigned most = tally->n_kills * MISSED_PERCENT / 100;

	if (tally->n_kills_missed <= (most > MISSED_FEW ? most : MISSED_FEW))
		return;
	driver.n_broken++;
	printf("BROKEN: %s: %u of %u kills missed. Again: ./dev crash single_step --kills %u --seed %llu\n", name,
	       tally->n_kills_missed, tally->n_kills, options->n_kills, (unsigned long long)driver.seed);
	fflush(stdout);
}

static void kill_in_turn(const struct variant *variant, const struct options *options, struct tally *tally)
{
	unsigned n_kills = options->n_kills, stride = 1;

	if (n_kills == 0 && tally->n_instructions > LONG_CALL)
		n_kills = LONG_KILLS;
	if (n_kills && tally->n_instructions > n_kills)
		stride = tally->n_instructions / n_kills;
	/* also before the first and behind the last */
	for (unsigned k = (unsigned)(options->seed % stride); k <= tally->n_instructions; k += stride)
		kill_at(variant, k, tally);
	for (unsigned i = 0; stride > 1 && n_kills > FEW_KILLS && i < tally->n_syscalls; i++) {
		kill_at(variant, tally->syscall_at[i], tally);
		kill_at(variant, tally->syscall_at[i] + 1, tally);
	}
}

static void add_to(struct tally *sum, const struct tally *tally)
{
	sum->n_instructions += tally->n_instructions;
	sum->n_library += tally->n_library;
	sum->n_syscalls += tally->n_syscalls;
	sum->n_kills += tally->n_kills;
	sum->n_kills_library += tally->n_kills_library;
	sum->n_kills_missed += tally->n_kills_missed;
	if (tally->progress_max_ns > sum->progress_max_ns)
		sum->progress_max_ns = tally->progress_max_ns;
	if (tally->back_max_ns > sum->back_max_ns)
		sum->back_max_ns = tally->back_max_ns;
}

static void run_variant(const struct variant *variant, const struct options *options, struct tally *sum)
{
	struct tally tally = { 0 };

	begin_kill(variant, 0);
	if (driver.daemon && driver.worker != variant->worker)
		end_daemon();
	if (!driver.daemon)
		start_daemon(variant->worker);
	count_instructions(variant, &tally);
	if (tally.n_instructions > LONG_CALL)
		find_landings(&tally);
	if (options->at >= 0)
		kill_at(variant, (unsigned)options->at, &tally);
	else
		kill_in_turn(variant, options, &tally);
	free(tally.places);
	free(tally.landings);
	show(variant, &tally, options);
	judge_missed(variant->name, &tally, options);
	add_to(sum, &tally);
}

static struct options read_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "full", no_argument, NULL, 'f' },
		{ "kills", required_argument, NULL, 'k' },
		{ "seed", required_argument, NULL, 's' },
		{ "at", required_argument, NULL, 'a' },
		{ "variant", required_argument, NULL, 'v' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { .n_kills = 3, .at = -1, .seed = (uint64_t)time(NULL) };
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'f':
			options.n_kills = 0;
			break;
		case 'k':
			options.n_kills = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 's':
			options.seed = strtoull(optarg, NULL, 10);
			break;
		case 'a':
			options.at = (int)strtol(optarg, NULL, 10);
			break;
		case 'v':
			options.variant = optarg;
			break;
		case 'j':
			options.json = true;
			break;
		default:
			exit(2);
		}
	}
	return options;
}

int main(int argc, char **argv)
{
	struct options options = read_options(argc, argv);
	uint64_t begin_ns = hshm_clock_ns();
	struct tally sum = { 0 };

	/* the instructions shall be those of the call, not of the linker that looks its functions up */
	if (!getenv("LD_BIND_NOW")) {
		setenv("LD_BIND_NOW", "1", 1);
		execv("/proc/self/exe", argv);
	}
	driver.seed = options.seed;
	signal(SIGALRM, hangs);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		give_up(strerror(errno));
	find_library();
	if (!options.json)
		printf("commit %s, seed %llu\n%-26s %7s %7s %5s %7s %7s %6s %9s %9s\n", commit_name(),
		       (unsigned long long)options.seed, "call", "instr.", "in lib", "sysc.", "kills", "in lib",
		       "missed", "answer us", "back us");
	for (unsigned i = 0; i < N_VARIANTS; i++) {
		if (!options.variant || strcmp(options.variant, variants[i].name) == 0)
			run_variant(&variants[i], &options, &sum);
	}
	end_daemon();
	show(&(struct variant){ .name = "all" }, &sum, &options);
	judge_missed("all", &sum, &options);
	if (sum.n_kills == 0)
		return 2; /* no such variant */
	if (!options.json)
		printf("single_step: %u instructions, a death at %u of them (%u in libchimaera), %u broken, %.1f s\n",
		       sum.n_instructions, sum.n_kills - sum.n_kills_missed, sum.n_kills_library, driver.n_broken,
		       (double)(hshm_clock_ns() - begin_ns) / HSHM_NSEC_PER_SEC);
	return driver.n_broken ? 1 : 0;
}
#endif
