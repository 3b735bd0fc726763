/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * phases.c - see phases.h
 */
#include "phases.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../modules/probe.h"
#include "calls.h"
#include "ledger.h"

#define CONNECT_NS (2 * HSHM_NSEC_PER_SEC)
#define EVENT_NS   (3 * HSHM_NSEC_PER_SEC)

void scene_wrong(struct scene *scene, const char *format, ...)
{
	size_t used = strlen(scene->why);
	va_list args;

	va_start(args, format);
	vsnprintf(scene->why + used, sizeof(scene->why) - used, format, args);
	va_end(args);
	used = strlen(scene->why);
	snprintf(scene->why + used, sizeof(scene->why) - used, "; ");
}

/* ---- pieces ---- */

static int start(struct scene *scene)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.listen = true, .config_file = scene->config_file,
							.name = scene->name, .handle_faults = true);

	return chi_runtime_start(&opts, &scene->runtime);
}

static int attach(struct scene *scene, struct chi_client **ret_client)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = chi_runtime_socket(scene->runtime),
						      .connect_timeout_ns = CONNECT_NS);

	return chi_client_connect(&opts, ret_client);
}

static int make_pool(struct chi_client *client, const char *name, uint32_t *ret_pool)
{
	struct chi_pool_spec spec = {
		.module = "probe", .name = name, .n_containers = 2, .params = "\3", .params_size = 1
	};

	return chi_pool_create(client, &spec, ret_pool);
}

/* @task: given. Its output must be @out. */
static int call(struct chi_client *client, struct probe_task *task, uint64_t out, bool *ret_is_result)
{
	int rc = chi_call(client, task);

	*ret_is_result = rc < 0 && task->task.submitter && chi_task_done(task);
	if (rc == 0 && task->out != out)
		rc = -EBADMSG;
	if (chi_task_free(client, task) < 0 && rc == 0)
		rc = -EBUSY;
	return rc;
}

static int add_one(struct chi_client *client, uint32_t pool, uint64_t in, bool *ret_is_result)
{
	struct probe_task *task;
	int rc = chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_HASH(in), PROBE_ADD, &task);

	if (rc < 0)
		return rc;
	task->in = in;
	return call(client, task, in + 1, ret_is_result);
}

static void must(struct scene *scene, int rc, const char *what)
{
	if (rc < 0)
		scene_wrong(scene, "%s: %s (%s)", what, strerror(-rc), chi_error_text());
}

/* Does this client get right answers from that pool? */
static void check_client(struct scene *scene, struct chi_client *client, uint32_t pool)
{
	for (uint64_t i = 0; i < 20 && !scene->why[0]; i++)
		must(scene, add_one(client, pool, i, &scene->is_result), "afterwards, a task");
}

/* ---- an honest client ---- */

static void *work(void *arg)
{
	struct scene *scene = arg;
	bool is_result = false;

	calls_spare_me(true);
	while (!__atomic_load_n(&scene->honest_stop, __ATOMIC_RELAXED) && scene->honest_error == 0) {
		scene->honest_error = add_one(scene->honest_client, scene->pool, scene->n_honest, &is_result);
		/* the memory that was missing may have been for its task: refused is no wrong answer */
		if (is_result && (scene->honest_error == -ENOMEM || scene->honest_error == -EAGAIN) && scene->plan->hit)
			scene->honest_error = 0;
		__atomic_fetch_add(&scene->n_honest, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static uint64_t n_honest(const struct scene *scene)
{
	return __atomic_load_n(&scene->n_honest, __ATOMIC_RELAXED);
}

static void await_honest(const struct scene *scene, uint64_t n)
{
	while (n_honest(scene) < n && scene->honest_error == 0)
		usleep(100);
}

/* Its lane is open and its first fibers are made when this returns. */
static void begin_honest(struct scene *scene)
{
	must(scene, attach(scene, &scene->honest_client), "before, connect");
	if (scene->why[0])
		return;
	must(scene, make_pool(scene->honest_client, "honest", &scene->pool), "before, pool");
	scene->honest_runs = !scene->why[0] && pthread_create(&scene->honest_thread, NULL, work, scene) == 0;
	await_honest(scene, 50);
}

static void end_honest(struct scene *scene)
{
	if (scene->honest_runs) {
		await_honest(scene, n_honest(scene) + 50);
		__atomic_store_n(&scene->honest_stop, true, __ATOMIC_RELAXED);
		pthread_join(scene->honest_thread, NULL);
		if (scene->honest_error)
			scene_wrong(scene, "the honest client's task %llu: %s", (unsigned long long)scene->n_honest,
				    strerror(-scene->honest_error));
	}
	chi_client_disconnect(scene->honest_client);
	scene->honest_client = NULL;
	scene->honest_runs = false;
}

/* ---- start ---- */

static void start_failed(struct scene *scene)
{
	if (scene->runtime)
		scene_wrong(scene, "a runtime was given though the start failed");
	must(scene, start(scene), "a second start");
}

static bool faults_are_handled(void)
{
	struct sigaction now;

	return sigaction(SIGSEGV, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO);
}

static void start_check(struct scene *scene)
{
	uint32_t pool = 0;

	if (!faults_are_handled())
		scene_wrong(scene, "afterwards, no handler for SIGSEGV");
	must(scene, attach(scene, &scene->client), "afterwards, connect");
	if (!scene->why[0])
		must(scene, make_pool(scene->client, "again", &pool), "afterwards, pool");
	if (!scene->why[0])
		check_client(scene, scene->client, pool);
}

/* ---- connect ---- */

static void before_all(struct scene *scene)
{
	must(scene, start(scene), "before, start");
	if (!scene->why[0])
		begin_honest(scene);
}

static int connect_operation(struct scene *scene)
{
	return attach(scene, &scene->client);
}

static void connect_failed(struct scene *scene)
{
	if (scene->client)
		scene_wrong(scene, "a client was given though connecting failed");
	must(scene, attach(scene, &scene->client), "a second try");
}

static void client_check(struct scene *scene)
{
	check_client(scene, scene->client, scene->pool);
}

/* ---- first submit and wait ---- */

static void before_client(struct scene *scene)
{
	before_all(scene);
	if (!scene->why[0])
		must(scene, attach(scene, &scene->client), "before, connect");
}

/* What of the runtime's failed may end this client's session (its answer cannot be sent): then it is told so. */
static void again_if_gone(struct scene *scene)
{
	if (chi_client_alive(scene->client) == 0)
		return;
	chi_client_disconnect(scene->client);
	scene->client = NULL;
	must(scene, attach(scene, &scene->client), "to connect again");
}

static int submit_operation(struct scene *scene)
{
	struct probe_task *given;
	int rc = add_one(scene->client, scene->pool, 7, &scene->is_result);

	if (rc < 0)
		return rc;
	rc = chi_task_alloc(scene->client, sizeof(*given), scene->pool, CHI_QUERY_LOCAL_ID(0), PROBE_NOOP, &given);
	if (rc < 0)
		return rc;
	given->task.flags = CHI_TASK_FIRE_AND_FORGET;
	rc = chi_submit(scene->client, given);
	if (rc < 0)
		chi_task_free(scene->client, given);
	return rc;
}

static void submit_failed(struct scene *scene)
{
	again_if_gone(scene);
	if (!scene->why[0])
		must(scene, submit_operation(scene), "a second submit");
}

/* ---- methods with subtasks: fibers, run contexts, waits ---- */

static int nested_operation(struct scene *scene)
{
	struct probe_task *task;
	uint64_t n = 12;
	int rc = chi_task_alloc(scene->client, sizeof(*task), scene->pool, CHI_QUERY_LOCAL_ID(0), PROBE_DEEP, &task);

	if (rc < 0)
		return rc;
	task->count = n;
	return call(scene->client, task, n, &scene->is_result);
}

static void nested_failed(struct scene *scene)
{
	again_if_gone(scene);
	if (!scene->why[0])
		must(scene, nested_operation(scene), "a second one");
}

/* ---- events ---- */

static void count_done(void *task, int result, void *arg)
{
	struct scene *scene = arg;

	(void)task;
	scene->n_done = result < 0 ? result : 1;
	scene->is_result = result < 0;
}

static int await_event(struct scene *scene, int fd)
{
	struct pollfd event = { .fd = fd, .events = POLLIN };
	uint64_t end_ns = hshm_clock_ns() + EVENT_NS;

	while (scene->n_done == 0) {
		int rc;

		if (hshm_clock_ns() > end_ns)
			return -ETIME;
		calls_spare_me(true); /* the test's own */
		rc = poll(&event, 1, 100);
		calls_spare_me(false);
		if (rc > 0)
			rc = chi_client_dispatch(scene->client, 0);
		if (rc < 0)
			return rc;
	}
	return scene->n_done < 0 ? scene->n_done : 0;
}

static int events_operation(struct scene *scene)
{
	struct probe_task *task;
	int fd, rc;

	scene->n_done = 0;
	fd = chi_client_event_fd(scene->client);
	if (fd < 0)
		return fd;
	rc = chi_task_alloc(scene->client, sizeof(*task), scene->pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD, &task);
	if (rc < 0)
		return rc;
	rc = chi_submit_notify(scene->client, task, count_done, scene);
	if (rc == 0)
		rc = await_event(scene, fd);
	if (rc == -ETIME)
		scene_wrong(scene, "the callback does not come");
	if (rc != -ETIME && chi_task_free(scene->client, task) < 0 && rc == 0)
		rc = -EBUSY;
	return rc;
}

static void events_failed(struct scene *scene)
{
	again_if_gone(scene);
	if (!scene->why[0])
		must(scene, events_operation(scene), "a second one");
}

/* ---- pool create ---- */

static int pool_operation(struct scene *scene)
{
	return make_pool(scene->client, "again", &scene->pool);
}

static void before_pool(struct scene *scene)
{
	must(scene, start(scene), "before, start");
	if (!scene->why[0])
		must(scene, attach(scene, &scene->client), "before, connect");
}

static void pool_failed(struct scene *scene)
{
	struct chi_pool_info pools[4];
	int n;

	if (scene->pool)
		scene_wrong(scene, "a pool was given though its making failed");
	again_if_gone(scene);
	if (scene->why[0])
		return;
	n = chi_pool_list(scene->client, pools, 4);
	must(scene, n, "afterwards, list");
	if (n > 1)
		scene_wrong(scene, "half-made: %d pools, the second is '%s'", n, pools[1].name);
	n = pool_operation(scene);
	must(scene, n, "the same pool again");
	if (n == 0)
		scene_wrong(scene, "the name was there already");
}

static void pool_check(struct scene *scene)
{
	struct chi_pool_info pools[4];

	check_client(scene, scene->client, scene->pool);
	if (chi_pool_list(scene->client, pools, 4) != 2)
		scene_wrong(scene, "not two pools");
	must(scene, chi_pool_destroy(scene->client, scene->pool), "afterwards, destroy");
	if (ledger_n_modules())
		scene_wrong(scene, "afterwards, a module that nobody uses is loaded");
}

/* ---- reload ---- */

static int reload_operation(struct scene *scene)
{
	return chi_runtime_reload(scene->runtime);
}

static void reload_failed(struct scene *scene)
{
	must(scene, chi_runtime_reload(scene->runtime), "a second reload");
	client_check(scene);
}

/* ---- disconnect and stop ---- */

static void before_stop(struct scene *scene)
{
	before_client(scene);
	if (!scene->why[0])
		must(scene, submit_operation(scene), "before, submit");
	end_honest(scene);
}

static int stop_operation(struct scene *scene)
{
	struct chi_runtime *runtime = scene->runtime;

	chi_client_disconnect(scene->client);
	scene->client = NULL;
	scene->runtime = NULL;
	return chi_runtime_stop(runtime, 0, NULL);
}

static void nothing(struct scene *scene)
{
	(void)scene;
}

const struct phase phases[] = {
	{ "start", nothing, start, start_failed, start_check, false },
	{ "connect", before_all, connect_operation, connect_failed, client_check, false },
	{ "submit", before_client, submit_operation, submit_failed, client_check, false },
	{ "nested", before_client, nested_operation, nested_failed, client_check, false },
	{ "events", before_client, events_operation, events_failed, client_check, false },
	{ "pool", before_pool, pool_operation, pool_failed, pool_check, false },
	{ "reload", before_client, reload_operation, reload_failed, client_check, false },
	{ "stop", before_stop, stop_operation, nothing, nothing, true },
	{ NULL, NULL, NULL, NULL, NULL, false },
};

/* ---- the end ---- */

/* A file of the runtime's name in one of the folders; false: there is none. */
static bool find_file(const struct scene *scene, char *path, size_t size)
{
	char folders[3][400];
	bool found = false;

	snprintf(folders[0], sizeof(folders[0]), "%s/chimaera", getenv("XDG_RUNTIME_DIR"));
	snprintf(folders[1], sizeof(folders[1]), "/run/chimaera-%u", (unsigned)geteuid());
	snprintf(folders[2], sizeof(folders[2]), "%s/chimaera-%u", getenv("TMPDIR"), (unsigned)geteuid());
	for (int i = 0; i < 3 && !found; i++) {
		DIR *entries = opendir(folders[i]);
		struct dirent *entry;

		while (!found && entries && (entry = readdir(entries)))
			found = strncmp(entry->d_name, scene->name, strlen(scene->name)) == 0 &&
				snprintf(path, size, "%s/%s", folders[i], entry->d_name) > 0;
		if (entries)
			closedir(entries);
	}
	return found;
}

/* Without a descriptor, or in a folder that refuses, a stop cannot take its name away. */
static bool may_leave_files(int hit)
{
	return hit >= 0 && (call_kinds[hit].class == CALL_DESCRIPTOR || hit == CALL_lstat || hit == CALL_fstat ||
			    hit == CALL_flock || hit == CALL_unlink);
}

static void look_for_files(struct scene *scene)
{
	char path[500];

	if (!find_file(scene, path, sizeof(path)))
		return;
	if (may_leave_files(scene->hit)) {
		must(scene, start(scene), "with files left, start");
		must(scene, chi_runtime_stop(scene->runtime, 0, NULL), "with files left, stop");
	}
	if (find_file(scene, path, sizeof(path)))
		scene_wrong(scene, "%s is left", path);
}

void scene_end(struct scene *scene)
{
	end_honest(scene);
	chi_client_disconnect(scene->client);
	if (scene->runtime)
		must(scene, chi_runtime_stop(scene->runtime, 0, NULL), "stop");
	scene->runtime = NULL;
	scene->client = NULL;
	if (faults_are_handled() && scene->hit != CALL_sigaction)
		scene_wrong(scene, "the handler for SIGSEGV is left");
	look_for_files(scene);
}
