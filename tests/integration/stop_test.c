/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stop_test.c - a daemon ends in time though a method does not return, and says which
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
#include <fcntl.h>
#include <hshm/clock.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../modules/probe.h"

#define FOR_EVER_NS (600 * HSHM_NSEC_PER_SEC)
#define SOON_NS	    (10 * HSHM_NSEC_PER_SEC) /* it has 0.1 s, and 1 s more; a busy machine longer */

extern char **environ;

static const char config[] = "stop_timeout_ms: 100\nlog_level: warn\nworkers: { count: 2 }\n"
			     "memory: { private_mib: 256 }\nclients: { memory_mib: 4, lanes: 2 }\n";

static char config_path[256], log_path[256], log_text[8192];
static pid_t daemon_pid;

static void start_daemon(void)
{
	char *argv[] = { getenv("CHIMAERA_BIN"), "start", "--foreground", "--config", config_path, NULL };
	posix_spawn_file_actions_t actions;
	char ready[256];
	int fd, ends[2];

	snprintf(config_path, sizeof(config_path), "%s/stop.yaml", getenv("TMPDIR"));
	snprintf(log_path, sizeof(log_path), "%s/stop.log", getenv("TMPDIR"));
	fd = open(config_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, config, sizeof(config) - 1), sizeof(config) - 1);
	close(fd);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(posix_spawn(&daemon_pid, argv[0], &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	assert_true(read(ends[0], ready, sizeof(ready)) > 0); /* "ready" */
	close(ends[0]);
}

static const char *daemon_log(void)
{
	int fd = open(log_path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, log_text, sizeof(log_text) - 1);

	close(fd);
	log_text[n > 0 ? n : 0] = '\0';
	return log_text;
}

/* A task that is on a worker and stays there. */
static struct probe_task *spin_for_ever(struct chi_client *client)
{
	struct chi_pool_spec spec = { .module = "probe", .name = "spinner" };
	struct probe_task *task;
	hshm_au32 *begun;
	uint32_t pool;
	void *memory;

	assert_int_equal(chi_pool_create(client, &spec, &pool), 1);
	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), PROBE_SPIN, &task), 0);
	assert_int_equal(chi_alloc(client, sizeof(*begun), &memory), 0);
	begun = memset(memory, 0, sizeof(*begun));
	task->in = FOR_EVER_NS;
	assert_int_equal(chi_buffer_set(client, &task->buffers[0], begun, sizeof(*begun), CHI_BUFFER_OUT), 0);
	assert_int_equal(chi_submit(client, task), 0);
	while (!hshm_load_acquire(begun))
		usleep(1000);
	return task;
}

static void a_daemon_ends_though_a_method_does_not_return(void **state)
{
	struct chi_client *client;
	struct probe_task *task;
	uint64_t begin_ns;
	int status;

	(void)state;
	start_daemon();
	assert_int_equal(chi_client_connect(NULL, &client), 0);
	task = spin_for_ever(client);
	begin_ns = hshm_clock_ns();
	assert_int_equal(kill(daemon_pid, SIGTERM), 0);
	assert_int_equal(waitpid(daemon_pid, &status, 0), daemon_pid);
	assert_true(hshm_clock_ns() - begin_ns < SOON_NS);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 1 ||
	    !strstr(daemon_log(), "is stuck in pool 'spinner' (module 'probe'), method 'spin': its thread"))
		fail_msg("status %x: %s", (unsigned int)status, daemon_log());
	assert_int_equal(chi_wait(task, HSHM_FOREVER), -EOWNERDEAD);
	chi_client_disconnect(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_daemon_ends_though_a_method_does_not_return),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
