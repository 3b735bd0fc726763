/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork_test.c - a process forks while its threads are in calls: the parent goes on, the child connects by itself
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <chimaera/chimaera.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../modules/probe.h"
#include "support/daemon.h"

#define N_FORKS	  20
#define N_CALLERS 4

static const char config[] = "log_level: error\nworkers: { count: 2 }\nmemory: { private_mib: 256 }\n"
			     "clients: { memory_mib: 64 }\n";

struct caller {
	struct chi_client *client;
	uint32_t pool;
	hshm_au32 *over;
	uint64_t n_calls;
	int error;
};

/* Returns 0 when the method has added one. */
static int call_add(struct chi_client *client, uint32_t pool, uint64_t in)
{
	struct probe_task *task;
	int rc = chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD, &task);

	if (rc < 0)
		return rc;
	task->in = in;
	rc = chi_call(client, task);
	if (rc == 0 && task->out != in + 1)
		rc = -EBADMSG;
	chi_task_free(client, task);
	return rc;
}

static void *call_all_the_time(void *arg)
{
	struct caller *caller = arg;

	/* relaxed: a flag that carries nothing */
	while (!hshm_load_relaxed(caller->over) && caller->error == 0) {
		caller->error = call_add(caller->client, caller->pool, caller->n_calls);
		caller->n_calls++;
	}
	return NULL;
}

static int failed(int number)
{
	fprintf(stderr, "child: %d: %s\n", number, chi_error_text());
	return number;
}

/*
 * The exit code of the child: 0, or the number of what failed.
 *
 * @closes_all: the descriptors it inherited, as daemons do: then its own client's have the numbers of the parent's
 */
static int be_child(struct chi_client *parents, uint32_t pool, const void *parents_memory, bool closes_all)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "forked");
	struct chi_client *own = NULL;
	void *memory;

	if (chi_client_alive(parents) != -ENOTCONN || chi_alloc(parents, 64, &memory) != -ENOTCONN)
		return 1;
	if (chi_submit(parents, (void *)(uintptr_t)parents_memory) != -ENOTCONN ||
	    chi_submit_many(parents, &memory, 1) != -ENOTCONN || chi_client_reconnect(parents, 0) != -ENOTCONN)
		return 2;
	chi_free(parents, (void *)(uintptr_t)parents_memory);
	if (closes_all)
		close_range(3, ~0U, 0);
	if (chi_client_connect(&opts, &own) < 0)
		return failed(3);
	for (uint64_t i = 0; i < 50; i++) {
		if (call_add(own, pool, i) != 0)
			return failed(4);
	}
	/* released before or after, the parent's is not harmed */
	chi_client_disconnect(parents);
	if (call_add(own, pool, 1) != 0)
		return failed(5);
	chi_client_disconnect(own);
	return 0;
}

static void children_connect_and_the_parents_threads_go_on(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "forked", .wait_policy = CHI_WAIT_HYBRID);
	struct chi_pool_spec spec = { .module = "probe", .n_containers = 1 };
	struct caller callers[N_CALLERS];
	pthread_t threads[N_CALLERS];
	struct chi_client *client = NULL;
	pid_t daemon = daemon_start("forked", config);
	hshm_au32 over = { 0 };
	int n_failed = 0;
	void *memory;
	uint32_t pool;

	(void)state;
	assert_true(daemon > 0);
	assert_int_equal(chi_client_connect(&opts, &client), 0);
	assert_true(chi_pool_create(client, &spec, &pool) >= 0);
	assert_int_equal(chi_alloc(client, 64, &memory), 0);
	for (int i = 0; i < N_CALLERS; i++) {
		callers[i] = (struct caller){ .client = client, .pool = pool, .over = &over };
		assert_int_equal(pthread_create(&threads[i], NULL, call_all_the_time, &callers[i]), 0);
	}
	for (int i = 0; i < N_FORKS; i++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(be_child(client, pool, memory, i % 2));
		/* not asserted before the threads have ended: they use this frame */
		n_failed += waitpid(child, &status, 0) != child || status != 0;
	}
	hshm_store_relaxed(&over, 1);
	for (int i = 0; i < N_CALLERS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(callers[i].error, 0);
		assert_true(callers[i].n_calls > N_FORKS);
	}
	assert_int_equal(n_failed, 0);
	assert_int_equal(chi_client_alive(client), 0);
	chi_client_disconnect(client);
	assert_int_equal(daemon_end(daemon, SIGTERM), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(children_connect_and_the_parents_threads_go_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
