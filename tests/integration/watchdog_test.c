/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watchdog_test.c - a method that does not come back is told in the log, with its stack; the other workers go on
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <chimaera/chimaera.h>
#include <chimaera/counters.h>
#include <chimaera/runtime.h>
#include <dirent.h>
#include <errno.h>
#include <hshm/clock.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../modules/probe.h"
#include "support/daemon.h"

#define NAME	     "watchdog"
#define SOON_NS	     (20 * HSHM_NSEC_PER_SEC)
#define HANG_NS	     (200 * HSHM_NSEC_PER_MSEC)
#define STAYS_NS     (2 * HSHM_NSEC_PER_SEC) /* in which it is found and its stack read, by threads that may have to wait */
#define N_CONTAINERS 4u
#define N_OTHERS     2u
#define N_OF_A_TURN  36u /* a turn that takes long ends at the second clock, which one task in sixteen looks at */
#define CLIENTS_MAX  12u
#define N_BEFORE     8u

static char log_path[256], log_text[65536];
static struct chi_client *client;
static hshm_au32 *begun; /* the last task's word, in the client's memory */
static pid_t daemon_pid;
static uint32_t pool, worker_of[N_CONTAINERS];

/* ThreadSanitizer holds a signal back until the thread calls into its library. */
static bool has_stacks(void)
{
	const char *sanitize = getenv("CHI_TEST_SANITIZE");

	return !sanitize || !strstr(sanitize, "thread");
}

static const char *read_log(void)
{
	FILE *file = fopen(log_path, "re");
	size_t n = file ? fread(log_text, 1, sizeof(log_text) - 1, file) : 0;

	if (file)
		fclose(file);
	log_text[n] = '\0';
	return log_text;
}

static const char *await_log(const char *text)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);
	const char *found;

	while (!(found = strstr(read_log(), text))) {
		if (hshm_clock_ns() > deadline_ns)
			fail_msg("'%s' is not in the log: %s", text, log_text);
		usleep(1000);
	}
	return found;
}

static uint32_t n_in_log(const char *text)
{
	uint32_t n = 0;

	for (const char *at = read_log(); (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* A task that its worker has begun. */
static struct probe_task *begin(uint32_t method, uint64_t container, uint64_t ns, uint32_t *ret_worker)
{
	struct probe_task *task;
	void *memory;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(container), method, &task), 0);
	assert_int_equal(chi_alloc(client, sizeof(*begun), &memory), 0);
	begun = memset(memory, 0, sizeof(*begun));
	task->in = ns;
	assert_int_equal(chi_buffer_set(client, &task->buffers[0], begun, sizeof(*begun), CHI_BUFFER_OUT), 0);
	assert_int_equal(chi_submit(client, task), 0);
	/* acquire: pairs with the release in the method */
	while (!hshm_load_acquire(begun))
		usleep(500);
	*ret_worker = hshm_load_relaxed(begun) - 1; /* relaxed: seen above */
	return task;
}

static void start_daemon(const char *more)
{
	struct chi_pool_spec spec = { .module = "probe", .name = "hanger", .n_containers = N_CONTAINERS };
	char config[1024];

	snprintf(log_path, sizeof(log_path), "%s/watchdog.log", getenv("XDG_RUNTIME_DIR"));
	unlink(log_path);
	snprintf(config, sizeof(config),
		 "log_level: warn\nlog_file: %s\nstop_timeout_ms: 100\nmemory: { private_mib: 256 }\n"
		 "clients: { memory_mib: 4, lanes: 2, max: %u }\n%s",
		 log_path, CLIENTS_MAX, more);
	daemon_pid = daemon_start(NAME, config);
	assert_true(daemon_pid > 0);
	assert_int_equal(chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &client), 0);
	assert_int_equal(chi_pool_create(client, &spec, &pool), 1);
	for (uint64_t i = 0; i < N_CONTAINERS; i++) {
		struct probe_task *task = begin(PROBE_SPIN, i, 0, &worker_of[i]);

		assert_int_equal(chi_wait(task, SOON_NS), 0);
	}
}

static void end_daemon(void)
{
	int status;

	chi_client_disconnect(client);
	status = daemon_end(daemon_pid, SIGTERM);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A container whose lane is not on that worker. */
static uint64_t container_not_on(uint32_t worker)
{
	for (uint64_t i = 0; i < N_CONTAINERS; i++)
		if (worker_of[i] != worker)
			return i;
	fail_msg("all containers are on worker %u", worker);
	return 0;
}

static void let_go(struct probe_task *task)
{
	hshm_store_release(begun, 0); /* release: pairs with the acquire in the method */
	assert_int_equal(chi_wait(task, SOON_NS), 0);
}

static void expect_served(struct chi_client *of, uint64_t container)
{
	struct probe_task *task;

	assert_int_equal(chi_task_alloc(of, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(container), PROBE_ADD, &task), 0);
	for (uint64_t n = 0; n < 100; n++) {
		task->in = n;
		assert_int_equal(chi_submit(of, task), 0);
		assert_int_equal(chi_wait(task, SOON_NS), 0);
		assert_int_equal(task->out, n + 1);
	}
	chi_task_free(of, task);
}

/* Lines that say @what of that worker and, unless NULL, name the method. A worker that gets no processor for long is told, too. */
static uint32_t n_told_of(uint32_t worker, const char *what, const char *method)
{
	char begins[64], names[64];
	uint32_t n = 0;

	snprintf(begins, sizeof(begins), "watchdog: worker %u %s", worker, what);
	snprintf(names, sizeof(names), "method '%s'", method ? method : "");
	for (char *at = (char *)read_log(); (at = strstr(at, begins)); n++) {
		char *end = strchrnul(at, '\n');
		bool ends = !*end;

		*end = '\0';
		n -= method && !strstr(at, names);
		at = ends ? end : end + 1;
	}
	return n;
}

static uint64_t sum_of(const char *column)
{
	struct chi_counters *counters;
	uint64_t sum = 0;

	assert_int_equal(chi_counters_read(NAME, &counters), 0);
	for (uint32_t row = 0; row < chi_counters_rows(counters, CHI_COUNTERS_WORKERS); row++)
		sum += chi_counters_number(counters, CHI_COUNTERS_WORKERS, row,
					   (uint32_t)chi_counters_column(CHI_COUNTERS_WORKERS, column));
	chi_counters_free(counters);
	return sum;
}

static uint64_t of_worker(uint32_t worker, const char *column)
{
	struct chi_counters *counters;
	uint64_t value;

	assert_int_equal(chi_counters_read(NAME, &counters), 0);
	value = chi_counters_number(counters, CHI_COUNTERS_WORKERS, worker,
				    (uint32_t)chi_counters_column(CHI_COUNTERS_WORKERS, column));
	chi_counters_free(counters);
	return value;
}

static struct probe_task *submit_add(struct chi_client *of, uint64_t container, uint64_t in)
{
	struct probe_task *task;

	assert_int_equal(chi_task_alloc(of, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(container), PROBE_ADD, &task), 0);
	task->in = in;
	assert_int_equal(chi_submit(of, task), 0);
	return task;
}

/* Lanes are given to workers in turn, so of several clients some have theirs where nothing hangs: one of them is served while
 * @held hangs, and its answers are right; all are when that was let go. */
static void others_go_on(uint32_t hung_worker, struct probe_task *held)
{
	uint64_t container = container_not_on(hung_worker), deadline_ns = hshm_deadline_ns(SOON_NS);
	struct chi_client *others[N_OTHERS];
	struct probe_task *tasks[N_OTHERS];
	uint32_t served = 0;

	for (uint32_t i = 0; i < N_OTHERS; i++) {
		assert_int_equal(chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &others[i]), 0);
		tasks[i] = submit_add(others[i], container, i);
	}
	while (!chi_task_done(tasks[served])) {
		assert_true(hshm_clock_ns() < deadline_ns);
		served = (served + 1) % N_OTHERS;
		usleep(100);
	}
	expect_served(others[served], container);
	assert_int_equal(n_told_of(hung_worker, "came back after", "hold"), 0);
	let_go(held);
	for (uint32_t i = 0; i < N_OTHERS; i++) {
		assert_int_equal(chi_wait(tasks[i], SOON_NS), 0);
		assert_int_equal(tasks[i]->out, i + 1);
		chi_client_disconnect(others[i]);
	}
}

static void expect_told(const char *method, const char *function)
{
	char text[256];

	snprintf(text, sizeof(text), "from pool 'hanger' (module 'probe'), method '%s' (task ", method);
	await_log(text);
	assert_non_null(strstr(log_text, "has not come back for "));
	if (has_stacks()) {
		/* "watchdog: worker 1: #0 spin+0x2f (chimaera_probe.so+0x1b2c)" */
		snprintf(text, sizeof(text), "%s+0x", function);
		await_log(text);
		await_log("(chimaera_probe.so+0x");
		await_log("fiber_entry+0x"); /* the stack was walked to its end */
	}
}

static void a_method_that_stays_is_told_with_its_stack_and_once(void **state)
{
	struct probe_task *task;
	uint64_t told_ns, held_ns;
	uint32_t worker;

	(void)state;
	start_daemon("workers: { count: 2 }\nwatchdog: { hang_ms: 50 }\n");
	task = begin(PROBE_HOLD, 0, 0, &worker);
	expect_told("hold", " hold");
	told_ns = hshm_clock_ns();
	usleep(HANG_NS / HSHM_NSEC_PER_USEC); /* in which it could be told again */
	held_ns = hshm_clock_ns() - told_ns;
	others_go_on(worker, task);
	while (!n_told_of(worker, "came back after ", "hold")) /* ctest ends it */
		usleep(1000);
	assert_true(of_worker(worker, "hang_max_ns") >= held_ns);
	/* of those that the machine makes some may not be told, or not yet */
	assert_true(of_worker(worker, "hangs") >= n_told_of(worker, "has not come back for ", NULL));
	end_daemon();
	assert_int_equal(n_told_of(worker, "has not come back for ", "hold"), 1);
	assert_int_equal(n_told_of(worker, "came back after ", "hold"), 1);
}

/* Its call ends no sooner for the signal: sleep_for_us() goes on. */
static void a_method_that_sleeps_in_a_library_is_told(void **state)
{
	struct probe_task *task;
	uint64_t begin_ns;
	uint32_t worker;

	(void)state;
	start_daemon("workers: { count: 2 }\nwatchdog: { hang_ms: 50 }\n");
	begin_ns = hshm_clock_ns();
	task = begin(PROBE_OCCUPY, 1, STAYS_NS, &worker);
	expect_told("occupy", " occupy");
	assert_int_equal(chi_wait(task, SOON_NS), 0);
	assert_true(hshm_clock_ns() - begin_ns >= STAYS_NS);
	await_log("came back after ");
	end_daemon();
}

/* ---- its lanes ---- */

/* Clients that were there before, those that come, containers, admin: all but what the worker was at. */
static void lanes_of_a_worker_that_hangs_move_when_told_to(void **state)
{
	struct chi_pool_spec spec = { .module = "probe", .name = "meanwhile" };
	struct chi_client *before[N_OTHERS], *meanwhile[N_OTHERS];
	struct probe_task *task;
	uint32_t worker, made;

	(void)state;
	start_daemon("workers: { count: 2 }\nwatchdog: { hang_ms: 50, move_lanes: true }\n");
	for (uint32_t i = 0; i < N_OTHERS; i++) {
		assert_int_equal(chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &before[i]), 0);
		expect_served(before[i], i);
	}
	task = begin(PROBE_HOLD, 0, 0, &worker);
	await_log(" go to others");
	for (uint32_t i = 0; i < N_OTHERS; i++) {
		assert_int_equal(chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &meanwhile[i]), 0);
		for (uint64_t container = 1; container < N_CONTAINERS; container++) {
			expect_served(before[i], container);
			expect_served(meanwhile[i], container);
		}
	}
	assert_int_equal(chi_pool_create(meanwhile[0], &spec, &made), 1);
	assert_int_equal(n_told_of(worker, "came back after ", "hold"), 0);
	assert_true(sum_of("lanes_moved") >= 2);
	let_go(task);
	await_log("came back after ");
	for (uint32_t i = 0; i < N_OTHERS; i++) {
		expect_served(client, i);
		chi_client_disconnect(before[i]);
		chi_client_disconnect(meanwhile[i]);
	}
	end_daemon();
}

/* ---- clients and pools that end meanwhile ---- */

static uint64_t n_clients(void)
{
	struct chi_counters *counters;
	uint64_t n;

	assert_int_equal(chi_counters_read(NAME, &counters), 0);
	n = chi_counters_number(counters, CHI_COUNTERS_RUNTIME, 0,
				(uint32_t)chi_counters_column(CHI_COUNTERS_RUNTIME, "clients_attached")) -
	    chi_counters_number(counters, CHI_COUNTERS_RUNTIME, 0,
				(uint32_t)chi_counters_column(CHI_COUNTERS_RUNTIME, "clients_ended"));
	chi_counters_free(counters);
	return n;
}

static uint32_t n_descriptors(void)
{
	char path[64];
	uint32_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)daemon_pid);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Until as many are attached, and the daemon has no more descriptors. */
static void await_left(uint64_t n, uint32_t n_fds)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);

	while (n_clients() != n || n_descriptors() > n_fds) {
		if (hshm_clock_ns() > deadline_ns || n_in_log("clients that ended wait"))
			fail_msg("%ju clients, %u descriptors; not %ju, %u; log: %s", (uintmax_t)n_clients(),
				 n_descriptors(), (uintmax_t)n, n_fds, log_text);
		usleep(1000);
	}
}

/* A client that is killed with its lanes open. */
static void come_and_die(uint64_t container)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct chi_client *mine;
		struct probe_task *task;

		if (chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &mine) == 0 &&
		    chi_task_alloc(mine, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(container), PROBE_ADD, &task) == 0 &&
		    chi_call(mine, task) == 0)
			raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(daemon_end(pid, 0), SIGKILL);
}

static void clients_come_and_go_while_a_worker_hangs(void **state)
{
	struct chi_client *before[N_BEFORE];
	struct probe_task *task;
	uint64_t container;
	uint32_t worker, n_fds;

	(void)state;
	start_daemon("workers: { count: 2 }\nwatchdog: { hang_ms: 50 }\n");
	n_fds = n_descriptors();
	for (uint32_t i = 0; i < N_BEFORE; i++) {
		assert_int_equal(chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &before[i]), 0);
		expect_served(before[i], i % N_CONTAINERS);
	}
	task = begin(PROBE_HOLD, 0, 0, &worker);
	container = container_not_on(worker);
	/* some before it is noticed */
	for (uint32_t i = 0; i < N_BEFORE / 2; i++)
		chi_client_disconnect(before[i]);
	while (!n_told_of(worker, "has not come back for ", "hold")) /* ctest ends it */
		usleep(1000);
	for (uint32_t i = N_BEFORE / 2; i < N_BEFORE; i++)
		chi_client_disconnect(before[i]);
	await_left(1, n_fds);
	for (uint32_t i = 0; i < 2 * CLIENTS_MAX; i++) {
		come_and_die(container);
		await_left(1, n_fds);
	}
	assert_int_equal(n_told_of(worker, "came back after ", "hold"), 0);
	let_go(task);
	await_log("came back after ");
	for (uint64_t i = 0; i < N_CONTAINERS; i++)
		expect_served(client, i);
	await_left(1, n_fds);
	end_daemon();
}

static void *destroy_pool(void *arg)
{
	struct chi_client *mine;
	int ret = chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &mine);

	if (ret == 0)
		ret = chi_pool_destroy(mine, *(const uint32_t *)arg);
	chi_client_disconnect(mine);
	return (void *)(intptr_t)ret;
}

/* Its end waits for the worker, and holds nobody else up. */
static void a_pool_that_ends_while_a_worker_hangs_waits_alone(void **state)
{
	struct chi_pool_spec spec = { .module = "probe", .name = "ends", .n_containers = 2 };
	struct probe_task *task;
	uint32_t worker, ends, other;
	pthread_t thread;
	void *ret;
	int made;

	(void)state;
	start_daemon("workers: { count: 2 }\nwatchdog: { hang_ms: 50, move_lanes: true }\n");
	assert_int_equal(chi_pool_create(client, &spec, &ends), 1);
	task = begin(PROBE_HOLD, 0, 0, &worker);
	await_log(" go to others");
	assert_int_equal(pthread_create(&thread, NULL, destroy_pool, &ends), 0);
	while ((made = chi_pool_create(client, &spec, &other)) == 0) /* its name is free again */
		usleep(1000);
	assert_int_equal(made, 1);
	for (uint64_t i = 1; i < N_CONTAINERS; i++)
		expect_served(client, i);
	come_and_die(1);
	assert_int_equal(n_told_of(worker, "came back after ", "hold"), 0);
	let_go(task);
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_int_equal((intptr_t)ret, 0);
	assert_int_equal(chi_pool_destroy(client, other), 0);
	end_daemon();
}

/* Whichever worker has admin's lane. */
static void a_stop_is_taken_while_a_worker_hangs(void **state)
{
	(void)state;
	for (uint32_t hung = 0; hung < 2; hung++) {
		uint32_t worker;
		char command[300];
		int status;

		start_daemon("workers: { count: 2 }\nwatchdog: { hang_ms: 50, move_lanes: true }\n");
		begin(PROBE_HOLD, container_not_on(1 - hung), 0, &worker);
		assert_int_equal(worker, hung);
		await_log(" go to others");
		snprintf(command, sizeof(command), "timeout 20 %s stop --name " NAME " 2>&1", getenv("CHIMAERA_BIN"));
		(void)!system(command);
		status = daemon_end(daemon_pid, 0);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
		await_log("is stuck in pool 'hanger' (module 'probe'), method 'hold'");
		chi_client_disconnect(client);
	}
}

/* Tasks of one turn, each short, all of them long. A second without a processor would be told, too. */
static void many_tasks_of_a_turn_are_no_hang(void **state)
{
	struct probe_task *tasks[N_OF_A_TURN];

	(void)state;
	start_daemon("workers: { count: 1 }\nwatchdog: { hang_ms: 1000 }\n");
	for (uint32_t i = 0; i < N_OF_A_TURN; i++) {
		assert_int_equal(
			chi_task_alloc(client, sizeof(*tasks[i]), pool, CHI_QUERY_LOCAL_ID(0), PROBE_SPIN, &tasks[i]),
			0);
		tasks[i]->in = 100 * HSHM_NSEC_PER_MSEC;
		assert_int_equal(chi_submit(client, tasks[i]), 0);
	}
	assert_int_equal(chi_wait_all((void **)tasks, N_OF_A_TURN, SOON_NS), 0);
	assert_int_equal(sum_of("hangs"), 0);
	end_daemon();
}

/* ---- embedded: signals are the application's ---- */

static hshm_au32 n_urgent;

static void on_urgent(int signal_number)
{
	(void)signal_number;
	hshm_fetch_add_relaxed(&n_urgent, 1); /* relaxed: this thread raises it */
}

static struct chi_runtime *start_embedded(bool handle_faults)
{
	struct chi_pool_spec spec = { .module = "probe", .name = "hanger", .n_containers = N_CONTAINERS };
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.handle_faults = handle_faults);
	struct chi_runtime *runtime;
	char config[1024];

	snprintf(config, sizeof(config),
		 "log_level: warn\nlog_file: %s\nworkers: { count: 2 }\nwatchdog: { hang_ms: 50 }\n"
		 "memory: { private_mib: 256 }\n",
		 log_path);
	unlink(log_path);
	opts.config_text = config;
	assert_int_equal(chi_runtime_start(&opts, &runtime), 0);
	assert_int_equal(chi_runtime_client(runtime, NULL, &client), 0);
	assert_int_equal(chi_pool_create(client, &spec, &pool), 1);
	return runtime;
}

static void without_handlers_it_is_told_without_a_stack(void **state)
{
	struct chi_runtime *runtime = start_embedded(false);
	struct sigaction now;
	uint32_t worker;
	struct probe_task *task = begin(PROBE_HOLD, 0, 0, &worker);

	(void)state;
	assert_int_equal(sigaction(SIGURG, NULL, &now), 0);
	assert_true(now.sa_handler == SIG_DFL);
	await_log("method 'hold' (task ");
	assert_non_null(strstr(log_text, "no stack without handle_faults"));
	let_go(task);
	await_log("came back after ");
	chi_client_disconnect(client);
	assert_int_equal(chi_runtime_stop(runtime, 0, NULL), 0);
}

static void a_signal_that_is_not_ours_goes_to_the_applications_handler(void **state)
{
	struct sigaction theirs = { .sa_handler = on_urgent }, before, now;
	struct chi_runtime *runtime;
	struct probe_task *task;
	uint32_t worker;

	(void)state;
	assert_int_equal(sigaction(SIGURG, &theirs, &before), 0);
	runtime = start_embedded(true);
	raise(SIGURG);
	assert_int_equal(hshm_load_relaxed(&n_urgent), 1);
	task = begin(PROBE_SPIN, 0, STAYS_NS, &worker);
	expect_told("spin", " spin");
	assert_int_equal(chi_wait(task, SOON_NS), 0);
	assert_int_equal(hshm_load_relaxed(&n_urgent), 1); /* the watchdog's was not passed on */
	chi_client_disconnect(client);
	assert_int_equal(chi_runtime_stop(runtime, 0, NULL), 0);
	assert_int_equal(sigaction(SIGURG, &before, &now), 0);
	assert_true(now.sa_handler == on_urgent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_method_that_stays_is_told_with_its_stack_and_once),
		cmocka_unit_test(a_method_that_sleeps_in_a_library_is_told),
		cmocka_unit_test(many_tasks_of_a_turn_are_no_hang),
		cmocka_unit_test(lanes_of_a_worker_that_hangs_move_when_told_to),
		cmocka_unit_test(clients_come_and_go_while_a_worker_hangs),
		cmocka_unit_test(a_pool_that_ends_while_a_worker_hangs_waits_alone),
		cmocka_unit_test(a_stop_is_taken_while_a_worker_hangs),
		cmocka_unit_test(without_handlers_it_is_told_without_a_stack),
		cmocka_unit_test(a_signal_that_is_not_ours_goes_to_the_applications_handler),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
