/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reconnect_test.c - the daemon dies, again and again: waits end, clients come back, nothing is mixed up
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <chimaera/chimaera.h>
#include <chimaera/runtime.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../modules/probe.h"
#include "support/daemon.h"

#define ROUNDS	  12
#define N_WAITERS 6
#define MSEC	  HSHM_NSEC_PER_MSEC
/* three clients, the attachment in use and the last former one, up to 4 lanes: which are open depends on the threads */
#define LANE_FDS (3 * 2 * 3)

static const char config[] = "log_level: error\nworkers: { count: 2 }\nmemory: { private_mib: 256 }\n"
			     "clients: { memory_mib: 64, lanes: 4 }\nstop_timeout_ms: 100\n";

static struct chi_client *connect_to(const char *name, enum chi_wait_policy policy)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = name, .wait_policy = policy);
	struct chi_client *client = NULL;

	if (chi_client_connect(&opts, &client) < 0)
		fail_msg("%s", chi_error_text());
	return client;
}

static uint32_t open_pool(struct chi_client *client)
{
	struct chi_pool_spec spec = { .module = "probe", .n_containers = 1 };
	uint32_t pool = 0;

	if (chi_pool_create(client, &spec, &pool) < 0)
		fail_msg("%s", chi_error_text());
	return pool;
}

static struct probe_task *new_task(struct chi_client *client, uint32_t pool, enum probe_method method)
{
	struct probe_task *task = NULL;

	if (chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), method, &task) < 0)
		fail_msg("%s", chi_error_text());
	return task;
}

static uint64_t add_one(struct chi_client *client, uint32_t pool, uint64_t to)
{
	struct probe_task *task = new_task(client, pool, PROBE_ADD);
	uint64_t sum;

	task->in = to;
	if (chi_call(client, task) < 0)
		fail_msg("%s", chi_error_text());
	sum = task->out;
	assert_int_equal(chi_task_free(client, task), 0);
	return sum;
}

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ---- waits ---- */

struct waiter {
	struct chi_client *client;
	uint32_t pool;
	unsigned kind;
	pthread_barrier_t *barrier;
	uint64_t ended_ns;
	int wait_rc, reconnect_rc;
	struct probe_task *tasks[2];
};

/* One of each way to wait; the tasks never end. */
static int wait_somehow(struct waiter *waiter)
{
	void *tasks[2] = { waiter->tasks[0], waiter->tasks[1] };
	int rc;

	switch (waiter->kind % 4) {
	case 0:
		return chi_wait(tasks[0], HSHM_FOREVER);
	case 1:
		return chi_wait_all(tasks, 2, HSHM_FOREVER);
	case 2:
		return chi_wait_any(tasks, 2, HSHM_FOREVER);
	default:
		while ((rc = chi_wait(tasks[1], 2 * MSEC)) == -ETIMEDOUT)
			;
		return rc;
	}
}

static void *wait_and_come_back(void *arg)
{
	struct waiter *waiter = arg;

	for (int i = 0; i < 2; i++) {
		while (chi_submit(waiter->client, waiter->tasks[i]) == -EAGAIN)
			;
	}
	pthread_barrier_wait(waiter->barrier);
	waiter->wait_rc = wait_somehow(waiter);
	waiter->ended_ns = hshm_clock_ns();
	waiter->reconnect_rc = chi_client_reconnect(waiter->client, 20 * HSHM_NSEC_PER_SEC);
	return NULL;
}

/* What is left of the time before: readable, freeable, and of no use. */
static void check_leftovers(struct waiter *waiter)
{
	struct probe_task *task = waiter->tasks[0], *other = waiter->tasks[1];
	void *both[2] = { task, other };
	struct chi_buffer buffer;

	assert_int_equal(task->in, 4711);
	assert_false(chi_task_done(task));
	assert_int_equal(chi_wait(task, 0), -EOWNERDEAD);
	assert_int_equal(chi_wait(task, HSHM_FOREVER), -EOWNERDEAD);
	assert_int_equal(chi_wait_any(both, 2, HSHM_FOREVER), -EOWNERDEAD);
	assert_int_equal(chi_submit(waiter->client, task), -EOWNERDEAD);
	assert_int_equal(chi_submit_many(waiter->client, both, 2), -EOWNERDEAD);
	assert_int_equal(chi_buffer_set(waiter->client, &buffer, task, 8, CHI_BUFFER_IN), -EOWNERDEAD);
	assert_int_equal(chi_task_free(waiter->client, task), 0);
	assert_int_equal(chi_task_free(waiter->client, other), 0);
}

/* Returns how long the slowest of them took to learn of the death. */
static uint64_t run_round(struct chi_client *clients[3], uint32_t *pools, pid_t *daemon)
{
	struct waiter waiters[N_WAITERS] = { 0 };
	pthread_t threads[N_WAITERS];
	pthread_barrier_t barrier;
	uint64_t killed_ns, slowest_ns = 0;

	pthread_barrier_init(&barrier, NULL, N_WAITERS + 1);
	for (unsigned i = 0; i < N_WAITERS; i++) {
		waiters[i] = (struct waiter){ .client = clients[i % 3], .pool = pools[i % 3], .kind = i };
		waiters[i].barrier = &barrier;
		for (int t = 0; t < 2; t++) {
			waiters[i].tasks[t] = new_task(waiters[i].client, waiters[i].pool, PROBE_GATE_WAIT);
			waiters[i].tasks[t]->in = 4711;
		}
		assert_int_equal(pthread_create(&threads[i], NULL, wait_and_come_back, &waiters[i]), 0);
	}
	pthread_barrier_wait(&barrier);
	usleep(5000);
	killed_ns = hshm_clock_ns();
	daemon_end(*daemon, SIGKILL);
	*daemon = daemon_launch("phoenix", config);
	for (unsigned i = 0; i < N_WAITERS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(waiters[i].wait_rc, -EOWNERDEAD);
		assert_int_equal(waiters[i].reconnect_rc, 0);
		if (waiters[i].ended_ns - killed_ns > slowest_ns)
			slowest_ns = waiters[i].ended_ns - killed_ns;
		check_leftovers(&waiters[i]);
	}
	pthread_barrier_destroy(&barrier);
	return slowest_ns;
}

static void a_killed_daemon_ends_each_wait_and_its_successor_is_reached(void **state)
{
	static const enum chi_wait_policy policies[3] = { CHI_WAIT_SLEEP, CHI_WAIT_HYBRID, CHI_WAIT_BUSY };
	struct chi_client *clients[3];
	pid_t daemon = daemon_start("phoenix", config);
	uint32_t pools[3];
	unsigned n_prompt = 0, n_fds = 0;
	char *kept = NULL;

	(void)state;
	assert_true(daemon > 0);
	for (int i = 0; i < 3; i++) {
		clients[i] = connect_to("phoenix", policies[i]);
		pools[i] = open_pool(clients[i]);
	}
	/* the machine may be busy: half of the rounds, or as many of more, have to be within the promise */
	for (int round = 0; round < ROUNDS || (n_prompt < ROUNDS / 2 && round < 10 * ROUNDS); round++) {
		if (run_round(clients, pools, &daemon) < 100 * MSEC)
			n_prompt++;
		for (int i = 0; i < 3; i++) {
			struct probe_task *stray = new_task(clients[i], pools[i], PROBE_ADD);

			/* the pool of the time before */
			assert_int_equal(chi_call(clients[i], stray), -ENOENT);
			assert_int_equal(chi_task_free(clients[i], stray), 0);
			pools[i] = open_pool(clients[i]);
			assert_int_equal(add_one(clients[i], pools[i], (uint64_t)round), round + 1);
			assert_int_equal(chi_client_reconnect(clients[i], 0), 0); /* it lives: nothing to do */
		}
		if (round == 0) {
			assert_int_equal(chi_alloc(clients[0], 1 << 20, &kept), 0);
			strcpy(kept, "still here");
		}
		if (round == 2)
			n_fds = count_fds();
	}
	/* what was kept is kept, what nobody needs is gone */
	assert_string_equal(kept, "still here");
	chi_free(clients[0], kept);
	assert_in_range(count_fds(), 1, n_fds + LANE_FDS);
	assert_true(n_prompt >= ROUNDS / 2);
	for (int i = 0; i < 3; i++)
		chi_client_disconnect(clients[i]);
	assert_int_equal(daemon_end(daemon, SIGTERM), 0);
}

static void reconnect_without_a_successor_says_so_in_time(void **state)
{
	pid_t daemon = daemon_start("phoenix", config);
	struct chi_client *client;
	struct probe_task *given;
	uint64_t begin_ns;
	uint32_t pool;

	(void)state;
	assert_true(daemon > 0);
	client = connect_to("phoenix", CHI_WAIT_SLEEP);
	pool = open_pool(client);
	given = new_task(client, pool, PROBE_GATE_WAIT);
	given->task.flags = CHI_TASK_FIRE_AND_FORGET;
	assert_int_equal(chi_submit(client, given), 0);
	daemon_end(daemon, SIGKILL);
	assert_int_equal(chi_client_reconnect(client, 0), -ECONNREFUSED);
	begin_ns = hshm_clock_ns();
	assert_int_equal(chi_client_reconnect(client, 50 * MSEC), -ECONNREFUSED);
	assert_in_range(hshm_clock_ns() - begin_ns, 50 * MSEC, 5000 * MSEC);
	daemon = daemon_start("phoenix", config);
	assert_int_equal(chi_client_reconnect(client, 0), 0);
	assert_int_equal(add_one(client, open_pool(client), 1), 2);
	/* a stop is no death, and it hangs up all the same */
	assert_int_equal(daemon_end(daemon, SIGTERM), 0);
	assert_int_equal(chi_client_alive(client), -EOWNERDEAD);
	assert_int_equal(chi_client_reconnect(client, 0), -ENOENT);
	chi_client_disconnect(client);
}

/* ---- starting and stopping ---- */

static void connect_can_wait_for_a_runtime_that_is_just_starting(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "phoenix", .start_timeout_ns = 20 * HSHM_NSEC_PER_SEC);
	struct chi_client *client;
	pid_t daemon;

	(void)state;
	for (int i = 0; i < 3; i++) {
		daemon = daemon_launch("phoenix", config);
		assert_int_equal(chi_client_connect(&opts, &client), 0);
		assert_int_equal(add_one(client, open_pool(client), 1), 2);
		/* not by a signal: it need not have said that it is ready */
		assert_int_equal(chi_stop(client), 0);
		chi_client_disconnect(client);
		assert_int_equal(daemon_end(daemon, 0), 0);
	}
}

/* Returns NULL when each that was asked to end did. */
static void *come_and_go(void *arg)
{
	hshm_au32 *over = arg;
	bool stuck = false;

	/* relaxed: a flag that carries nothing */
	while (!hshm_load_relaxed(over)) {
		pid_t daemon = daemon_start("phoenix", config);

		if (daemon > 0)
			stuck |= daemon_end(daemon, hshm_clock_ns() % 2 ? SIGTERM : SIGKILL) < 0;
	}
	return stuck ? arg : NULL;
}

static void connects_while_it_comes_and_goes_never_hang(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "phoenix", .connect_timeout_ns = HSHM_NSEC_PER_SEC);
	uint64_t end_ns = hshm_clock_ns() + 2 * HSHM_NSEC_PER_SEC;
	unsigned n_connected = 0;
	pthread_t thread;
	hshm_au32 over = { 0 };
	void *stuck;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, come_and_go, &over), 0);
	while (hshm_clock_ns() < end_ns || n_connected == 0) { /* ctest ends it */
		struct chi_client *client = NULL;
		uint64_t begin_ns = hshm_clock_ns();
		int rc = chi_client_connect(&opts, &client);

		assert_in_range(hshm_clock_ns() - begin_ns, 0, 10 * HSHM_NSEC_PER_SEC);
		if (rc == 0)
			n_connected++;
		else if (rc != -ENOENT && rc != -ECONNREFUSED && rc != -ESHUTDOWN && rc != -ETIMEDOUT)
			fail_msg("%d: %s", rc, chi_error_text());
		chi_client_disconnect(client);
	}
	hshm_store_relaxed(&over, 1);
	pthread_join(thread, &stuck);
	assert_null(stuck);
}

static void expect_a_time_out(const struct chi_client_opts *opts)
{
	struct chi_client *client = NULL;
	uint64_t begin_ns = hshm_clock_ns();

	assert_int_equal(chi_client_connect(opts, &client), -ETIMEDOUT);
	assert_in_range(hshm_clock_ns() - begin_ns, 50 * MSEC, 10000 * MSEC);
}

static void a_frozen_daemon_is_given_up_in_time(void **state)
{
	/* the shorter of two timeouts counts, each is the shorter once */
	struct chi_client_opts once = CHI_CLIENT_OPTS(.name = "phoenix", .connect_timeout_ns = 50 * MSEC);
	struct chi_client_opts until = CHI_CLIENT_OPTS(.name = "phoenix", .connect_timeout_ns = 20000 * MSEC,
						       .start_timeout_ns = 50 * MSEC);
	struct chi_client *client = NULL;
	pid_t daemon = daemon_start("phoenix", config);
	uint64_t begin_ns;

	(void)state;
	assert_int_equal(daemon_freeze(daemon), 0);
	expect_a_time_out(&once);
	expect_a_time_out(&until);
	assert_int_equal(kill(daemon, SIGCONT), 0);
	until.start_timeout_ns = 0;
	assert_int_equal(chi_client_connect(&until, &client), 0);
	daemon_end(daemon, SIGKILL);
	daemon = daemon_start("phoenix", config);
	assert_int_equal(daemon_freeze(daemon), 0);
	begin_ns = hshm_clock_ns();
	assert_int_equal(chi_client_reconnect(client, 50 * MSEC), -ETIMEDOUT);
	assert_in_range(hshm_clock_ns() - begin_ns, 50 * MSEC, 10000 * MSEC);
	assert_int_equal(kill(daemon, SIGCONT), 0);
	assert_int_equal(chi_client_reconnect(client, 0), 0);
	chi_client_disconnect(client);
	assert_int_equal(daemon_end(daemon, SIGTERM), 0);
}

/* ---- many runtimes ---- */

static void runtimes_of_one_process_do_not_mix(void **state)
{
	struct chi_runtime_opts embedded_opts = CHI_RUNTIME_OPTS(.config_text = config);
	struct chi_runtime *embedded = NULL;
	struct chi_client *clients[3];
	struct probe_task *tasks[3], *gates[3];
	pid_t daemons[2] = { daemon_start("one", config), daemon_start("two", config) };
	uint32_t pools[3];

	(void)state;
	assert_true(daemons[0] > 0 && daemons[1] > 0);
	assert_int_equal(chi_runtime_start(&embedded_opts, &embedded), 0);
	clients[0] = connect_to("one", CHI_WAIT_HYBRID);
	clients[1] = connect_to("two", CHI_WAIT_SLEEP);
	assert_int_equal(chi_runtime_client(embedded, NULL, &clients[2]), 0);
	for (int i = 0; i < 3; i++) {
		pools[i] = open_pool(clients[i]);
		tasks[i] = new_task(clients[i], pools[i], PROBE_ADD);
		gates[i] = new_task(clients[i], pools[i], PROBE_GATE_WAIT);
		assert_int_equal(chi_submit(clients[i], gates[i]), 0);
	}
	for (int i = 0; i < 3; i++) {
		int other = (i + 1) % 3;
		void *mixed[2] = { gates[i], gates[other] };
		struct chi_buffer buffer;

		assert_int_equal(chi_submit(clients[other], tasks[i]), -EINVAL);
		assert_int_equal(chi_submit(clients[other], gates[i]), -EINVAL);
		assert_int_equal(chi_wait_any(mixed, 2, 0), -EINVAL);
		assert_int_equal(chi_wait_all(mixed, 2, 0), -EINVAL);
		assert_int_equal(chi_buffer_set(clients[other], &buffer, tasks[i], 8, CHI_BUFFER_IN), -EFAULT);
		tasks[i]->in = (uint64_t)(100 * i);
		assert_int_equal(chi_call(clients[i], tasks[i]), 0);
		assert_int_equal(tasks[i]->out, 100 * i + 1);
	}
	/* one dies: the others' tasks go on, and only its own are lost */
	daemon_end(daemons[0], SIGKILL);
	assert_int_equal(chi_wait(gates[0], HSHM_FOREVER), -EOWNERDEAD);
	for (int i = 1; i < 3; i++) {
		assert_int_equal(chi_wait(gates[i], 0), -ETIMEDOUT);
		assert_int_equal(add_one(clients[i], pools[i], 7), 8);
		chi_cancel(gates[i]);
		assert_int_equal(chi_wait(gates[i], HSHM_FOREVER), 0);
	}
	for (int i = 0; i < 3; i++)
		chi_client_disconnect(clients[i]);
	assert_int_equal(chi_runtime_stop(embedded, HSHM_NSEC_PER_SEC, NULL), 0);
	assert_int_equal(daemon_end(daemons[1], SIGTERM), 0);
	/* a socket that a killed one left: the next of its name takes it away */
	daemons[0] = daemon_start("one", config);
	assert_int_equal(daemon_end(daemons[0], SIGTERM), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_killed_daemon_ends_each_wait_and_its_successor_is_reached),
		cmocka_unit_test(reconnect_without_a_successor_says_so_in_time),
		cmocka_unit_test(connect_can_wait_for_a_runtime_that_is_just_starting),
		cmocka_unit_test(connects_while_it_comes_and_goes_never_hang),
		cmocka_unit_test(a_frozen_daemon_is_given_up_in_time),
		cmocka_unit_test(runtimes_of_one_process_do_not_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
