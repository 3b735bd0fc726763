/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runtime.c - a runtime in a process of its own, for the cases that measure one
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <chimaera/admin.h>
#include <chimaera/runtime.h>

#include "bench.h"
#include "module/bench_module.h"

/* In the child: serve until the other end of the socket is closed. */
static void serve(int control, const unsigned cpus[2], const char *name, const char *config_text)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.listen = true, .config_text = config_text, .name = name);
	struct chi_runtime *runtime;
	char byte;
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* both: on one CPU alone no worker would spin; the configuration says which is the worker's */
	rc = bench_allow(cpus);
	if (!rc)
		rc = chi_runtime_start(&opts, &runtime);
	if (rc)
		fprintf(stderr, "chimaera-bench: the runtime does not start: %s: %s\n", strerror(-rc),
			chi_error_text());
	if (write(control, &rc, sizeof(rc)) != sizeof(rc) || rc)
		_exit(1);
	while (read(control, &byte, 1) < 0 && errno == EINTR)
		;
	chi_runtime_stop(runtime, 0, NULL);
	_exit(0);
}

static int spawn(struct bench_runtime *runtime, const unsigned cpus[2], const char *config_text)
{
	int ends[2], rc = -EPIPE;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	fflush(NULL);
	runtime->pid = fork();
	if (!runtime->pid) {
		close(ends[0]);
		serve(ends[1], cpus, runtime->name, config_text);
	}
	close(ends[1]);
	runtime->control = ends[0];
	if (runtime->pid < 0)
		return -errno;
	if (read(runtime->control, &rc, sizeof(rc)) != sizeof(rc))
		return -EPIPE;
	return rc;
}

int bench_runtime_start(const unsigned cpus[2], const char *config_text, enum chi_wait_policy policy,
			struct bench_runtime *ret_runtime)
{
	struct chi_pool_spec spec = { .module = BENCH_MODULE, .n_containers = 1 };
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.wait_policy = policy, .name = ret_runtime->name);
	static unsigned n_started;
	int rc;

	*ret_runtime = (struct bench_runtime){ .pid = -1, .control = -1 };
	snprintf(ret_runtime->name, sizeof(ret_runtime->name), "bench-%d-%u", (int)getpid(), n_started++);
	rc = spawn(ret_runtime, cpus, config_text);
	if (rc)
		goto stop;
	rc = chi_client_connect(&opts, &ret_runtime->client);
	if (rc < 0) {
		fprintf(stderr, "chimaera-bench: connecting: %s: %s\n", strerror(-rc), chi_error_text());
		goto stop;
	}
	rc = chi_pool_create(ret_runtime->client, &spec, &ret_runtime->pool_id);
	if (rc < 0) {
		fprintf(stderr, "chimaera-bench: the pool: %s: %s\n", strerror(-rc), chi_error_text());
		goto stop;
	}
	return 0;

stop:
	bench_runtime_stop(ret_runtime);
	return rc;
}

void bench_runtime_stop(struct bench_runtime *runtime)
{
	chi_client_disconnect(runtime->client);
	runtime->client = NULL;
	if (runtime->control >= 0)
		close(runtime->control);
	if (runtime->pid > 0)
		waitpid(runtime->pid, NULL, 0);
	runtime->pid = -1;
	runtime->control = -1;
}

uint64_t bench_runtime_cpu_ns(const struct bench_runtime *runtime)
{
	struct timespec used = { 0 };
	clockid_t clock;

	/* what getrusage() would say there, without waking that process to ask it */
	if (clock_getcpuclockid(runtime->pid, &clock) || clock_gettime(clock, &used))
		return 0;
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}
