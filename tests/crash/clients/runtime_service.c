/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runtime_service.c - a real daemon under attack: start, stop, measure when it is quiet
 */
#include "runtime_service.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "support/daemon.h"

#define QUIET_NS (20 * HSHM_NSEC_PER_SEC) /* by then the dead are gone with all their tasks */
#define EQUAL_NS (5 * HSHM_NSEC_PER_SEC)  /* descriptors are closed by a thread of their own, a little later */
#define LOOK_NS	 (20 * HSHM_NSEC_PER_MSEC)
#define LOG_TAIL 20

static pid_t daemon_pid = -1;
static char log_path[512];

pid_t runtime_service_pid(void)
{
	return daemon_pid;
}

static void show_log(void)
{
	char command[sizeof(log_path) + 32];

	snprintf(command, sizeof(command), "tail -n %d '%s' >&2", LOG_TAIL, log_path);
	fprintf(stderr, "the daemon's log ends:\n");
	if (system(command) != 0)
		fprintf(stderr, "(no log)\n");
}

static int start(void)
{
	char config[1024];

	snprintf(log_path, sizeof(log_path), "%s/crash.log", getenv("XDG_RUNTIME_DIR"));
	snprintf(config, sizeof(config),
		 "log_file: \"%s\"\n"
		 "workers: { count: 2 }\n"
		 "memory: { private_mib: 1024 }\n"
		 "clients: { memory_mib: 256 }\n",
		 log_path);
	daemon_pid = daemon_start(RUNTIME_NAME, config);
	return daemon_pid > 0 ? 0 : -1;
}

static bool alive(void)
{
	if (!has_ended(daemon_pid))
		return true;
	show_log();
	return false;
}

static int stop(void)
{
	int status = daemon_end(daemon_pid, SIGTERM);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	fprintf(stderr, "the daemon ended with status 0x%x\n", (unsigned int)status);
	show_log();
	return -1;
}

static void look_later(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
}

static int wait_until_quiet(uint32_t n_steady)
{
	uint64_t end_ns = hshm_deadline_ns(QUIET_NS), n;

	while ((n = measure_sessions(RUNTIME_NAME)) != n_steady) {
		if (hshm_clock_ns() > end_ns) {
			fprintf(stderr, "%llu sessions are left, %u expected\n", (unsigned long long)n, n_steady);
			show_log();
			return -1;
		}
		look_later();
	}
	return 0;
}

static int measure(uint32_t n_steady, const struct measure *expected, struct measure *ret_measure)
{
	uint64_t end_ns = hshm_deadline_ns(EQUAL_NS);
	struct measure last;

	if (wait_until_quiet(n_steady) < 0 || measure_runtime(RUNTIME_NAME, daemon_pid, ret_measure) < 0)
		return -1;
	do {
		last = *ret_measure;
		look_later();
		if (measure_runtime(RUNTIME_NAME, daemon_pid, ret_measure) < 0)
			return -1;
	} while (!measures_are_equal(ret_measure, expected ? expected : &last) && hshm_clock_ns() < end_ns);
	return 0;
}

const struct service runtime_service = {
	.name = "runtime",
	.start = start,
	.stop = stop,
	.alive = alive,
	.steady = runtime_steady,
	.victim = runtime_victim,
	.settle = runtime_settle,
	.measure = measure,
};
