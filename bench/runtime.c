/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runtime.c - a runtime to measure
 */
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
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

/* What is set for each, and what a case sets besides, as chi_runtime_start() wants it. */
struct settings {
	char workers[32], cpus[48];
	const char *all[BENCH_SETTINGS_MAX + 4];
};

static void settings_init(struct settings *settings, const unsigned cpus[2], const struct bench_runtime_spec *spec)
{
	unsigned n = 0;

	snprintf(settings->workers, sizeof(settings->workers), "workers.count=%u",
		 spec->n_workers ? spec->n_workers : 1);
	snprintf(settings->cpus, sizeof(settings->cpus), "workers.cpus=[%u, %u]", cpus[1], cpus[0]);
	settings->all[n++] = "log_level=warn";
	settings->all[n++] = settings->workers;
	settings->all[n++] = settings->cpus;
	for (unsigned i = 0; i < BENCH_SETTINGS_MAX && spec->settings[i]; i++)
		settings->all[n++] = spec->settings[i];
	settings->all[n] = NULL;
}

/* ---- forked ---- */

/* In the child: serve until the other end of the socket is closed. */
static void serve(int control, const unsigned cpus[2], const char *name, const struct settings *settings)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.listen = true, .settings = settings->all, .name = name);
	struct chi_runtime *runtime;
	char byte;
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* both: on one CPU alone no worker would spin; the settings say which is the worker's */
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

static int start_forked(struct bench_runtime *runtime, const unsigned cpus[2], const struct settings *settings)
{
	int ends[2], rc = -EPIPE;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	fflush(NULL);
	runtime->pid = fork();
	if (!runtime->pid) {
		close(ends[0]);
		serve(ends[1], cpus, runtime->name, settings);
	}
	close(ends[1]);
	runtime->control = ends[0];
	if (runtime->pid < 0)
		return -errno;
	if (read(runtime->control, &rc, sizeof(rc)) != sizeof(rc))
		return -EPIPE;
	return rc;
}

/* ---- embedded ---- */

static int start_embedded(struct bench_runtime *runtime, const unsigned cpus[2], const struct settings *settings)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.settings = settings->all, .name = runtime->name);
	int rc = bench_allow(cpus), pinned;

	if (!rc)
		rc = chi_runtime_start(&opts, &runtime->embedded);
	if (rc)
		fprintf(stderr, "chimaera-bench: the runtime does not start: %s: %s\n", strerror(-rc),
			chi_error_text());
	pinned = bench_pin(cpus[0]);
	runtime->pid = getpid();
	return rc ? rc : pinned;
}

/* ---- daemon ---- */

#define WORDS_MAX (6 + 2 * (BENCH_SETTINGS_MAX + 4))

/* Beside us, unless $CHIMAERA_BIN says where. */
static void become_daemon(const unsigned cpus[2], const char *name, const struct settings *settings)
{
	const char *words[WORDS_MAX] = { "chimaera", "start", "--foreground", "--name", name };
	const char *program = getenv("CHIMAERA_BIN");
	char self[PATH_MAX] = "", beside[PATH_MAX + 16];
	unsigned n = 5;

	for (const char *const *setting = settings->all; *setting; setting++) {
		words[n++] = "--set";
		words[n++] = *setting;
	}
	if (!program && readlink("/proc/self/exe", self, sizeof(self) - 1) > 0) {
		snprintf(beside, sizeof(beside), "%s/chimaera", dirname(self));
		program = beside;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (program && !bench_allow(cpus))
		execv(program, (char *const *)words);
	fprintf(stderr, "chimaera-bench: %s: %s\n", program ? program : "chimaera", strerror(errno));
	_exit(127);
}

/* It says a line on its standard output when it is ready, or nothing. */
static int await_ready(int output)
{
	char byte = 0;
	ssize_t n;

	do
		n = read(output, &byte, 1);
	while (n == 1 ? byte != '\n' : n < 0 && errno == EINTR);
	return n == 1 ? 0 : -EPIPE;
}

static int start_daemon(struct bench_runtime *runtime, const unsigned cpus[2], const struct settings *settings)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	runtime->pid = fork();
	if (!runtime->pid) {
		dup2(ends[1], STDOUT_FILENO);
		become_daemon(cpus, runtime->name, settings);
	}
	close(ends[1]);
	runtime->control = ends[0];
	return runtime->pid < 0 ? -errno : await_ready(ends[0]);
}

/* ---- all kinds ---- */

static int start(struct bench_runtime *runtime, const unsigned cpus[2], const struct bench_runtime_spec *spec)
{
	struct settings settings;

	settings_init(&settings, cpus, spec);
	runtime->is_daemon = spec->kind == BENCH_DAEMON;
	switch (spec->kind) {
	case BENCH_FORKED:
		return start_forked(runtime, cpus, &settings);
	case BENCH_EMBEDDED:
		return start_embedded(runtime, cpus, &settings);
	case BENCH_DAEMON:
		return start_daemon(runtime, cpus, &settings);
	}
	return -EINVAL;
}

static int connect_client(struct bench_runtime *runtime, enum chi_wait_policy policy)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.wait_policy = policy ? policy : CHI_WAIT_BUSY,
						      .name = runtime->name);
	int rc = runtime->embedded ? chi_runtime_client(runtime->embedded, &opts, &runtime->client)
				   : chi_client_connect(&opts, &runtime->client);

	if (rc < 0)
		fprintf(stderr, "chimaera-bench: connecting: %s: %s\n", strerror(-rc), chi_error_text());
	return rc;
}

int bench_runtime_add_pool(struct bench_runtime *runtime, const char *name, uint32_t n_containers, uint32_t n_lanes,
			   uint32_t *ret_pool_id)
{
	struct chi_pool_spec spec = { .module = BENCH_MODULE, .name = name, .n_containers = n_containers };
	int rc;

	if (n_lanes) {
		spec.params = &n_lanes;
		spec.params_size = sizeof(n_lanes);
	}
	rc = chi_pool_create(runtime->client, &spec, ret_pool_id);
	if (rc < 0)
		fprintf(stderr, "chimaera-bench: the pool: %s: %s\n", strerror(-rc), chi_error_text());
	return rc < 0 ? rc : 0;
}

int bench_runtime_start(const unsigned cpus[2], const struct bench_runtime_spec *spec,
			struct bench_runtime *ret_runtime)
{
	static unsigned n_started;
	int rc;

	*ret_runtime = (struct bench_runtime){ .pid = -1, .control = -1 };
	snprintf(ret_runtime->name, sizeof(ret_runtime->name), "bench-%d-%u", (int)getpid(), n_started++);
	rc = start(ret_runtime, cpus, spec);
	if (!rc)
		rc = connect_client(ret_runtime, spec->policy);
	if (!rc)
		rc = bench_runtime_add_pool(ret_runtime, NULL, spec->n_containers, spec->n_lanes,
					    &ret_runtime->pool_id);
	if (rc)
		bench_runtime_stop(ret_runtime);
	return rc;
}

void bench_runtime_stop(struct bench_runtime *runtime)
{
	bool is_child = runtime->pid > 0 && runtime->pid != getpid();

	chi_client_disconnect(runtime->client);
	chi_runtime_stop(runtime->embedded, 0, NULL);
	if (is_child && runtime->is_daemon)
		kill(runtime->pid, SIGTERM);
	if (runtime->control >= 0)
		close(runtime->control);
	if (is_child)
		waitpid(runtime->pid, NULL, 0);
	*runtime = (struct bench_runtime){ .pid = -1, .control = -1 };
}

/* ---- what it uses ---- */

uint64_t bench_runtime_cpu_ns(const struct bench_runtime *runtime)
{
	struct timespec used = { 0 };
	clockid_t clock;

	/* what getrusage() would say there, without waking that process to ask it */
	if (clock_getcpuclockid(runtime->pid, &clock) || clock_gettime(clock, &used))
		return 0;
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

uint64_t bench_runtime_rss_bytes(const struct bench_runtime *runtime)
{
	unsigned long long kib = 0;
	char path[64], line[256];
	FILE *file;

	/* it counts the pages; `status' may be some dozen behind */
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)runtime->pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Rss: %llu kB", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib * 1024;
}
