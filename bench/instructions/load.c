/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * load.c - a runtime, and tasks for its worker to be counted at; for run.sh, under callgrind
 *
 * The worker stands still until all tasks are in its client's lane, so that it never looks for work while it is counted.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chimaera/admin.h>
#include <chimaera/runtime.h>

#include "counted.h"

#define LANES_OF_ONE 2500u /* of a container */
#define LANES_MAX    100000u
#define TASKS_MAX    131000u
#define CLIENT_DEPTH "clients.lane_depth=131072"

static const char usage[] = "usage: chimaera-bench-load tasks N LANES one|turns|keys | waits N TASKS\n"
			    "  tasks: N noops for the same lane, for each of LANES in its turn, or for a lane by key;\n"
			    "         above 2500 LANES are those of several containers, all with as many\n"
			    "  waits: TASKS that wait N times each, and 3 N times, all at once\n";

struct load {
	struct chi_runtime *runtime;
	struct chi_client *client;
	uint32_t pool_id;
	uint32_t n_containers;
	int pipe[2];
};

static int tell(const char *what, int rc)
{
	fprintf(stderr, "chimaera-bench-load: %s: %s: %s\n", what, strerror(-rc), chi_error_text());
	return rc;
}

static int start(struct load *load, uint32_t n_lanes)
{
	/* It looks for work for so long that its client's lane is never left to a doorbell. */
	const char *settings[] = { "log_level=error",
				   "workers.count=1",
				   "workers.spin_us=1000000",
				   "watchdog.hang_ms=0",
				   n_lanes == 1 ? "memory.lane_depth=131072" : "memory.lane_depth=64",
				   "memory.private_mib=8192",
				   "fibers.max=131072",
				   CLIENT_DEPTH,
				   NULL };
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.settings = settings);
	struct chi_client_opts client_opts = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_SLEEP);
	uint32_t n_of_one;
	struct chi_pool_spec spec = {
		.name = "counted", .module = COUNTED_MODULE, .params = &n_of_one, .params_size = sizeof(n_of_one)
	};
	int rc = pipe(load->pipe) ? -errno : 0;

	load->n_containers = (n_lanes + LANES_OF_ONE - 1) / LANES_OF_ONE;
	n_of_one = n_lanes / load->n_containers;
	spec.n_containers = load->n_containers;
	if (!rc)
		rc = chi_runtime_start(&opts, &load->runtime);
	if (!rc)
		rc = chi_runtime_client(load->runtime, &client_opts, &load->client);
	if (!rc)
		rc = chi_pool_create(load->client, &spec, &load->pool_id);
	return rc < 0 ? tell("start", rc) : 0;
}

/* The client's lane is polled from here on, as where there is much to do. */
static int warm_up(struct load *load)
{
	struct chi_task *task;
	int rc = chi_task_alloc(load->client, sizeof(*task), load->pool_id, CHI_QUERY_LOCAL_ID(0), COUNTED_NOOP, &task);

	if (!rc)
		rc = chi_call(load->client, task);
	return rc < 0 ? tell("warm up", rc) : 0;
}

static int submit(struct load *load, uint32_t size_bytes, struct chi_domain_query query, enum counted_method method,
		  void *ret_task)
{
	int rc = chi_task_alloc(load->client, size_bytes, load->pool_id, query, method, ret_task);

	return rc ? rc : chi_submit(load->client, *(void **)ret_task);
}

/* From here on its worker stands still. */
static int submit_begin(struct load *load)
{
	struct counted_begin *begin;
	int rc = chi_task_alloc(load->client, sizeof(*begin), load->pool_id, CHI_QUERY_LOCAL_ID(0), COUNTED_BEGIN,
				&begin);

	if (rc)
		return rc;
	begin->fd = load->pipe[0];
	return chi_submit(load->client, begin);
}

static int wait_for(struct chi_task *task)
{
	int rc = chi_wait(task, HSHM_FOREVER);

	return rc ? rc : task->result;
}

enum which { ONE, TURNS, KEYS, N_WHICH };

static enum which which_of(const char *name)
{
	static const char *const names[] = { "one", "turns", "keys" };
	unsigned i = 0;

	while (i < N_WHICH && strcmp(name, names[i]) != 0)
		i++;
	return i;
}

static struct chi_domain_query query_of(const struct load *load, enum which which, uint32_t i)
{
	if (which == TURNS)
		return CHI_QUERY_LOCAL_ID(i % load->n_containers);
	return CHI_QUERY_LOCAL_HASH(which == KEYS ? i : 0);
}

static int run_tasks(struct load *load, uint32_t n_tasks, enum which which)
{
	struct chi_task **tasks = calloc(n_tasks, sizeof(*tasks)), *end = NULL;
	int rc = tasks ? submit_begin(load) : -ENOMEM;

	for (uint32_t i = 0; i < n_tasks && !rc; i++)
		rc = submit(load, sizeof(struct chi_task), query_of(load, which, i), COUNTED_NOOP, &tasks[i]);
	if (!rc)
		rc = submit(load, sizeof(struct chi_task), CHI_QUERY_LOCAL_ID(0), COUNTED_END, &end);
	if (!rc && write(load->pipe[1], "", 1) != 1)
		rc = -errno;
	if (!rc)
		rc = wait_for(end);
	/* all of them stood before the end, and so were counted */
	for (uint32_t i = 0; i < n_tasks && !rc; i++)
		rc = chi_task_done(tasks[i]) ? tasks[i]->result : -EBADMSG;
	free(tasks);
	return rc < 0 ? tell("tasks", rc) : 0;
}

static int run_waits(struct load *load, uint32_t n_waits, uint32_t n_tasks)
{
	struct counted_waits *crowd;
	int rc = chi_task_alloc(load->client, sizeof(*crowd), load->pool_id, CHI_QUERY_LOCAL_ID(0), COUNTED_CROWD,
				&crowd);

	if (!rc) {
		crowd->n_waits = n_waits;
		crowd->n_tasks = n_tasks;
		rc = chi_call(load->client, crowd);
	}
	return rc < 0 ? tell("waits", rc) : 0;
}

static uint32_t number(const char *text, uint32_t max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!*text || *end || n == 0 || n > max) {
		fprintf(stderr, "chimaera-bench-load: '%s': a number from 1 to %u\n%s", text, max, usage);
		exit(64);
	}
	return (uint32_t)n;
}

int main(int argc, char **argv)
{
	struct load load = { .pipe = { -1, -1 } };
	bool is_tasks = argc == 5 && !strcmp(argv[1], "tasks") && which_of(argv[4]) != N_WHICH;
	uint32_t n, n_lanes = 1, n_tasks = 0;
	int rc;

	if (!is_tasks && (argc != 4 || strcmp(argv[1], "waits") != 0)) {
		fputs(usage, stderr);
		return 64;
	}
	n = number(argv[2], TASKS_MAX);
	if (is_tasks)
		n_lanes = number(argv[3], LANES_MAX);
	else
		n_tasks = number(argv[3], TASKS_MAX);
	rc = start(&load, n_lanes);
	if (!rc)
		rc = warm_up(&load);
	if (!rc)
		rc = is_tasks ? run_tasks(&load, n, which_of(argv[4])) : run_waits(&load, n, n_tasks);
	/* a worker that waits for it goes on */
	close(load.pipe[1]);
	if (load.client)
		chi_client_disconnect(load.client);
	if (load.runtime)
		chi_runtime_stop(load.runtime, 0, NULL);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
