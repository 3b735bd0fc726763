/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bad_input_test.c - what bad input gets: its errno, its text, its line in the log; and the runtime goes on
 *
 * What a client's memory and messages may hold is in hostile_client_test.c; tasks in core_test.c.
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
#include <errno.h>
#include <fcntl.h>
#include <hshm/clock.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../modules/probe.h"
#include "../support/skip.h"

#define NAME	    "bad-input"
#define NOBODY	    65534
#define DEADLINE_NS (10 * HSHM_NSEC_PER_SEC)

extern char **environ;

static struct chi_runtime *runtime;
static struct chi_client *client;
static uint32_t pool;

static int start(const char *config)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.handle_faults = true, .listen = true, .name = NAME,
							.config_text = config);
	struct chi_pool_spec spec = { .module = "probe" };

	if (chi_runtime_start(&opts, &runtime) < 0 || chi_runtime_client(runtime, NULL, &client) < 0 ||
	    chi_pool_create(client, &spec, &pool) != 1) {
		print_error("%s\n", chi_error_text());
		return -1;
	}
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return start("log_level: warn\nworkers: { count: 2 }\nmemory: { private_mib: 256 }\n"
		     "clients: { max: 4, memory_mib: 4, lanes: 2, lane_depth: 64 }\n");
}

static int teardown(void **state)
{
	(void)state;
	chi_client_disconnect(client);
	return chi_runtime_stop(runtime, 5 * HSHM_NSEC_PER_SEC, NULL);
}

static struct probe_task *new_task(uint32_t method)
{
	struct probe_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), method, &task), 0);
	return task;
}

static int call(uint32_t method, uint64_t in)
{
	struct probe_task *task = new_task(method);
	int ret;

	task->in = in;
	ret = chi_call(client, task);
	chi_task_free(client, task);
	return ret;
}

static void assert_text(const char *part)
{
	if (!strstr(chi_error_text(), part))
		fail_msg("'%s' is not in \"%s\"", part, chi_error_text());
}

/* ---- what is written on stderr meanwhile ---- */

static struct {
	int saved;
	char path[512];
	char text[65536];
} caught;

static void catch_log(void)
{
	int fd;

	snprintf(caught.path, sizeof(caught.path), "%s/log.XXXXXX", getenv("TMPDIR"));
	fd = mkostemp(caught.path, O_CLOEXEC);
	assert_true(fd >= 0);
	caught.saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	close(fd);
}

static void read_caught(void)
{
	int fd = open(caught.path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, caught.text, sizeof(caught.text) - 1);

	assert_true(n >= 0);
	caught.text[n] = '\0';
	close(fd);
	unlink(caught.path);
}

static const char *caught_log(void)
{
	dup2(caught.saved, STDERR_FILENO);
	close(caught.saved);
	read_caught();
	return caught.text;
}

static uint32_t count_of(const char *text, const char *part)
{
	uint32_t n = 0;

	for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
		n++;
	return n;
}

/* As many lines as a limit of so many a second lets through, with those that tell what was held back. */
static uint32_t bound(uint64_t begin_ns, uint32_t a_second)
{
	return a_second * ((uint32_t)((hshm_clock_ns() - begin_ns) / HSHM_NSEC_PER_SEC) + 2);
}

/* ---- modules and pools ---- */

static bool is_listed(const char *name)
{
	struct chi_pool_info pools[16];
	int n = chi_pool_list(client, pools, 16);

	assert_in_range(n, 2, 16);
	for (int i = 0; i < n; i++)
		if (strcmp(pools[i].name, name) == 0)
			return true;
	return false;
}

static void a_module_that_cannot_be_used_is_refused_with_its_reason(void **state)
{
	static const struct {
		const char *module;
		int error;
		const char *text;
	} bad[] = {
		{ "no_such_module", -ENOENT, "chimaera_no_such_module.so" },
		{ "bad_abi", -ELIBBAD, "built for module ABI 9999" },
		{ "bad_no_note", -ELIBBAD, "no note" },
		{ "bad_no_symbol", -ELIBBAD, "chi_module_table" },
		{ "bad_table", -ELIBBAD, "'first' and 'second' have the same id 3" },
		{ "bad_undefined", -ELIBBAD, "chi_test_nobody_has_this" },
		{ "../evil", -EINVAL, "../evil" },
		{ "", -EINVAL, "name" },
	};
	uint32_t n_logged = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct chi_pool_spec spec = { .module = bad[i].module, .name = "made_of_it" };
		const char *log;
		uint32_t id;
		int ret;

		catch_log();
		ret = chi_pool_create(client, &spec, &id);
		log = caught_log();
		if (ret != bad[i].error)
			fail_msg("%s: %d, %s", bad[i].module, ret, chi_error_text());
		assert_text(bad[i].text);
		assert_false(is_listed("made_of_it"));
		/* what is wrong with a module stands in the log, once; of the same kind not more than 4 in a second */
		if (bad[i].error == -ELIBBAD ? n_logged++ < 4 : bad[i].error == -ENOENT) {
			if (count_of(log, bad[i].text) != 1)
				fail_msg("%s: the log says: %s", bad[i].module, log);
		}
		assert_int_equal(call(PROBE_ADD, 1), 0);
	}
}

struct create_fails_params {
	uint32_t container;
	int32_t error;
};

static void a_create_that_fails_gives_its_errno_and_no_pool(void **state)
{
	struct chi_pool_spec spec = { .module = "create_fails", .name = "half", .n_containers = 4 };
	struct chi_task *task;
	const char *log;
	uint32_t id;

	(void)state;
	catch_log();
	for (uint32_t i = 0; i < 4; i++) {
		struct create_fails_params params = { .container = i, .error = -EDOM };

		spec.params = &params;
		spec.params_size = sizeof(params);
		assert_int_equal(chi_pool_create(client, &spec, &id), -EDOM);
		assert_text("create() of module 'create_fails' failed for container");
		assert_false(is_listed("half"));
	}
	log = caught_log();
	assert_int_equal(count_of(log, "pool 'half' is not made: "), 4);
	assert_int_equal(count_of(log, "create() of module 'create_fails' failed for container 2: "), 1);
	/* the name is free, and of the four attempts nothing lives */
	spec.params_size = 0;
	assert_int_equal(chi_pool_create(client, &spec, &id), 1);
	assert_int_equal(chi_task_alloc(client, sizeof(*task), id, CHI_QUERY_LOCAL_ID(0), 0, &task), 0);
	assert_int_equal(chi_call(client, task), 4);
	assert_int_equal(chi_pool_destroy(client, id), 0);
	assert_int_equal(chi_call(client, task), -ENOENT);
	chi_task_free(client, task);
}

static void a_pool_that_cannot_be_is_refused(void **state)
{
	static char many[1 << 20 | 1];
	struct chi_pool_spec spec = { .module = "probe", .name = "two words" };
	char long_name[200];
	uint32_t id;

	(void)state;
	assert_int_equal(chi_pool_create(client, &spec, &id), -EINVAL);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	spec.name = long_name;
	assert_int_equal(chi_pool_create(client, &spec, &id), -EINVAL);
	spec.name = "other";
	spec.n_containers = CHI_POOL_CONTAINERS_MAX + 1;
	assert_int_equal(chi_pool_create(client, &spec, &id), -EINVAL);
	assert_text("containers");
	spec.n_containers = 1;
	spec.params = many;
	spec.params_size = sizeof(many);
	assert_int_equal(chi_pool_create(client, &spec, &id), -E2BIG);
	spec.params_size = 0;
	spec.interface_hash = 12345;
	assert_int_equal(chi_pool_create(client, &spec, &id), -EPROTO);
	spec = (struct chi_pool_spec){ .module = "create_fails", .name = "probe" };
	assert_int_equal(chi_pool_create(client, &spec, &id), -EEXIST);
	assert_text("of module 'probe'");
	assert_false(is_listed("other"));
}

/* ---- the log ---- */

static int call_nowhere(struct chi_client *by, uint32_t pool_id)
{
	struct chi_task *task;
	int ret;

	assert_int_equal(chi_task_alloc(by, sizeof(*task), pool_id, CHI_QUERY_LOCAL_ID(0), 0, &task), 0);
	ret = chi_call(by, task);
	chi_task_free(by, task);
	return ret;
}

static void what_is_held_back_of_one_runtime_is_told_of_another(void **state)
{
	uint64_t begin_ns = hshm_clock_ns();
	struct chi_runtime *other;
	struct chi_client *its_client;
	const char *log;

	(void)state;
	assert_int_equal(
		chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = "log_level: warn\nworkers: { count: 1 }\n"), &other),
		0);
	assert_int_equal(chi_runtime_client(other, NULL, &its_client), 0);
	catch_log();
	for (int i = 0; i < 100; i++)
		assert_int_equal(call_nowhere(client, 77), -ENOENT);
	assert_int_equal(call_nowhere(its_client, 78), -ENOENT);
	/* a refusal is answered first, then logged */
	chi_client_disconnect(its_client);
	assert_int_equal(chi_runtime_stop(other, HSHM_NSEC_PER_SEC, NULL), 0);
	log = caught_log();
	assert_in_range(count_of(log, "no such pool (pool 77,"), 1, bound(begin_ns, 5));
	assert_int_equal(count_of(log, "no such pool (pool 78,"), 1);
}

/* ---- tasks ---- */

static void memory_that_is_no_task_is_not_submitted(void **state)
{
	struct probe_task *task = new_task(PROBE_ADD), *shifted = (struct probe_task *)((char *)task + 8);
	struct {
		struct probe_task task;
	} HSHM_ALIGNED(64) on_stack = { .task.task.version = CHI_TASK_VERSION };

	(void)state;
	assert_int_equal(chi_wait(task, 0), -EINVAL);
	assert_int_equal(chi_wait_any(NULL, 0, 0), -EINVAL);
	assert_int_equal(chi_submit(client, &on_stack.task), -EINVAL);
	assert_text("chi_task_alloc()");
	assert_int_equal(chi_submit(client, shifted), -EINVAL);
	task->task.size_bytes = UINT32_MAX;
	assert_int_equal(chi_submit(client, task), -EINVAL);
	task->task.size_bytes = sizeof(*task);
	assert_int_equal(chi_call(client, task), 0);
	chi_task_free(client, task);
}

static void at_its_cap_a_client_gets_enomem_and_goes_on(void **state)
{
	struct probe_task *task = new_task(PROBE_ADD);
	void *blocks[128];
	uint32_t n = 0;
	int ret;

	(void)state;
	while ((ret = chi_alloc(client, 65536, &blocks[n])) == 0)
		assert_true(++n < 128); /* 4 MiB hold 64 at most */
	assert_int_equal(ret, -ENOMEM);
	assert_text("cap 4 MiB");
	assert_int_equal(chi_alloc(client, UINT64_C(1) << 40, &blocks[n]), -ENOMEM);
	assert_int_equal(chi_alloc(client, 0, &blocks[n]), -EINVAL);
	assert_int_equal(chi_call(client, task), 0);
	while (n > 0)
		chi_free(client, blocks[--n]);
	assert_int_equal(chi_alloc(client, 65536, &blocks[0]), 0);
	chi_free(client, blocks[0]);
	chi_task_free(client, task);
}

static void a_cause_is_logged_and_not_each_task_that_has_it(void **state)
{
	struct probe_task *task = new_task(200);
	uint64_t begin_ns = hshm_clock_ns();
	const char *log;

	(void)state;
	catch_log();
	for (int i = 0; i < 3000; i++)
		assert_int_equal(chi_call(client, task), -ENOSYS);
	log = caught_log();
	assert_in_range(count_of(log, "no such method"), 1, bound(begin_ns, 5));
	assert_in_range(count_of(log, "\n"), 1, bound(begin_ns, 6));
	chi_task_free(client, task);
}

/* ---- who connects ---- */

static void a_second_start_of_that_name_is_told_who_has_it(void **state)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.handle_faults = true, .listen = true, .name = NAME);
	struct chi_runtime *second;
	char pid[32];

	(void)state;
	snprintf(pid, sizeof(pid), "(pid %d)", (int)getpid());
	for (int i = 0; i < 3; i++) {
		assert_int_equal(chi_runtime_start(&opts, &second), -EADDRINUSE);
		assert_text(NAME ".sock");
		assert_text(pid);
		assert_int_equal(call(PROBE_ADD, 1), 0);
	}
}

static void more_clients_than_allowed_are_refused(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = NAME);
	struct chi_client *more[3], *refused;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(chi_client_connect(&opts, &more[i]), 0);
	assert_int_equal(chi_client_connect(&opts, &refused), -EUSERS);
	assert_text("clients.max");
	chi_client_disconnect(more[1]);
	/* its place is free once its session has ended: that is behind the hang-up */
	for (uint64_t deadline_ns = hshm_deadline_ns(DEADLINE_NS);;) {
		int ret = chi_client_connect(&opts, &more[1]);

		if (ret == 0)
			break;
		assert_int_equal(ret, -EUSERS);
		assert_true(hshm_clock_ns() < deadline_ns);
	}
	for (int i = 0; i < 3; i++)
		chi_client_disconnect(more[i]);
}

static void options_from_elsewhere_are_refused(void **state)
{
	struct {
		struct chi_client_opts opts;
		uint64_t newer;
	} longer = { CHI_CLIENT_OPTS(.name = NAME), 0 };
	struct chi_runtime_opts bad_name = CHI_RUNTIME_OPTS(.name = "a/b");
	struct chi_runtime *other;
	struct chi_client *made;

	(void)state;
	longer.opts.size = sizeof(longer);
	assert_int_equal(chi_client_connect(&longer.opts, &made), 0); /* zero: not set */
	chi_client_disconnect(made);
	longer.newer = 1;
	assert_int_equal(chi_client_connect(&longer.opts, &made), -E2BIG);
	longer.opts = CHI_CLIENT_OPTS(.name = NAME, .wait_policy = 17);
	assert_int_equal(chi_client_connect(&longer.opts, &made), -EINVAL);
	longer.opts = CHI_CLIENT_OPTS(.name = "../" NAME "?");
	assert_int_equal(chi_client_connect(&longer.opts, &made), -ENOENT); /* a path, with nothing there */
	longer.opts = CHI_CLIENT_OPTS(.name = "?");
	assert_int_equal(chi_client_connect(&longer.opts, &made), -EINVAL);
	assert_int_equal(chi_runtime_start(&bad_name, &other), -EINVAL);
}

static void the_child_of_a_fork_is_not_the_client(void **state)
{
	struct probe_task *task = new_task(PROBE_ADD);
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(chi_call(client, task), 0);
	pid = fork();
	if (pid == 0) {
		void *memory;
		int wrong = 0;

		/* the task's memory is not there: only its address is given */
		wrong |= (chi_client_alive(client) != -ENOTCONN) << 0;
		wrong |= (chi_alloc(client, 100, &memory) != -ENOTCONN) << 1;
		wrong |= (chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD, &task) !=
			  -ENOTCONN)
			 << 2;
		wrong |= (strstr(chi_error_text(), "forked") == NULL) << 3;
		chi_client_disconnect(client); /* its own copies, not the connection */
		_exit(wrong);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(chi_call(client, task), 0);
	chi_task_free(client, task);
}

/* As user nobody, with our folder as its working directory: past the folder's mode, to the runtime's own check. */
static int connect_as_nobody(const char *folder)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "./" NAME ".sock");
	struct chi_client *made;
	int ret;

	if (chdir(folder) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return 99;
	ret = chi_client_connect(&opts, &made);
	if (ret != -EACCES)
		fprintf(stderr, "as nobody: %d %s\n", ret, chi_error_text());
	return ret != -EACCES || !strstr(chi_error_text(), "user 65534 may not use");
}

static void a_client_of_another_user_is_refused(void **state)
{
	char folder[256], path[300];
	const char *log;
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip_because("becoming another user takes root");
	snprintf(folder, sizeof(folder), "%s/chimaera", getenv("XDG_RUNTIME_DIR"));
	snprintf(path, sizeof(path), "%s/" NAME ".sock", folder);
	assert_int_equal(chmod(folder, 0711), 0);
	assert_int_equal(chmod(path, 0666), 0);
	catch_log();
	pid = fork();
	if (pid == 0)
		_exit(connect_as_nobody(folder));
	waitpid(pid, &status, 0);
	log = caught_log();
	assert_int_equal(chmod(folder, 0700), 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("status %x: %s", (unsigned int)status, log);
	assert_int_equal(count_of(log, "user 65534 may not use the runtime of user 0"), 1);
	assert_int_equal(call(PROBE_ADD, 1), 0);
}

/* ---- limits ---- */

/* In a process of its own, whose limit is not the runtime's: at each number of free descriptors the client gets in, or is told
 * that there are none left. Then the same with its first lane. */
static int attach_with_few_descriptors(void)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = NAME);
	struct rlimit limit;
	struct chi_client *few;
	struct chi_task *task;
	rlim_t enough;
	int first = dup(STDIN_FILENO), ret = -EMFILE;

	close(first);
	getrlimit(RLIMIT_NOFILE, &limit);
	enough = limit.rlim_cur;
	for (int n = 0; ret < 0 && n < 16; n++) {
		limit.rlim_cur = (rlim_t)(first + n);
		setrlimit(RLIMIT_NOFILE, &limit);
		ret = chi_client_connect(&opts, &few);
		if (ret < 0 && (ret != -EMFILE || !strstr(chi_error_text(), n == 0 ? "socket" : ""))) {
			fprintf(stderr, "%d: %d %s\n", n, ret, chi_error_text());
			return 1;
		}
		if (n == 2 && !strstr(chi_error_text(), "raise the limit of open files")) {
			fprintf(stderr, "%d: %d %s\n", n, ret, chi_error_text());
			return 2;
		}
	}
	if (ret < 0)
		return 3;
	limit.rlim_cur = (rlim_t)first;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (chi_task_alloc(few, sizeof(*task), 4711, CHI_QUERY_LOCAL_ID(0), 0, &task) < 0)
		return 4;
	ret = chi_submit(few, task);
	if (ret != -EMFILE || !strstr(chi_error_text(), "raise the limit of open files")) {
		fprintf(stderr, "submit: %d %s\n", ret, chi_error_text());
		return 5;
	}
	limit.rlim_cur = enough;
	setrlimit(RLIMIT_NOFILE, &limit);
	ret = chi_call(few, task);
	chi_client_disconnect(few);
	return ret != -ENOENT;
}

static void a_client_out_of_descriptors_is_told_so(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0)
		_exit(attach_with_few_descriptors());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(call(PROBE_ADD, 1), 0);
}

static void a_container_that_is_not_there_is_logged_not_often(void **state)
{
	uint64_t begin_ns = hshm_clock_ns();
	const char *log;

	(void)state;
	catch_log();
	for (int i = 0; i < 50; i++) {
		struct probe_task *task;

		assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(99), PROBE_ADD, &task),
				 0);
		assert_int_equal(chi_call(client, task), -ENOENT);
		chi_task_free(client, task);
	}
	log = caught_log();
	if (!strstr(log, "pool 'probe' has no container for query 1, value 99 (1 containers, method 'add')") ||
	    count_of(log, "has no container") > bound(begin_ns, 5))
		fail_msg("%s", log);
}

/* A runtime of its own, with few fibers, that logs at info. */
static void what_clients_could_repeat_is_logged_not_often(void **state)
{
	struct chi_runtime_opts opts =
		CHI_RUNTIME_OPTS(.config_text = "log_level: info\nworkers: { count: 1 }\nfibers: { max: 2 }\n"
						"memory: { private_mib: 256 }\nclients: { memory_mib: 4 }\n");
	struct chi_pool_spec spec = { .module = "probe" };
	struct chi_runtime *small;
	struct chi_client *mine;
	uint64_t begin_ns = hshm_clock_ns();
	struct probe_task *tasks[20];
	uint32_t small_pool;
	const char *log;

	(void)state;
	catch_log();
	assert_int_equal(chi_runtime_start(&opts, &small), 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(chi_runtime_client(small, NULL, &mine), 0);
		chi_client_disconnect(mine);
	}
	assert_int_equal(chi_runtime_client(small, NULL, &mine), 0);
	assert_int_equal(chi_pool_create(mine, &spec, &small_pool), 1);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(chi_task_alloc(mine, sizeof(*tasks[i]), small_pool, CHI_QUERY_LOCAL_ID(0),
						PROBE_GATE_WAIT, &tasks[i]),
				 0);
		assert_int_equal(chi_submit(mine, tasks[i]), 0);
	}
	for (int i = 2; i < 20; i++)
		assert_int_equal(chi_wait(tasks[i], DEADLINE_NS) < 0 ? -ETIMEDOUT : tasks[i]->task.result, -EAGAIN);
	for (int i = 0; i < 2; i++)
		chi_cancel(tasks[i]);
	chi_client_disconnect(mine);
	assert_int_equal(chi_runtime_stop(small, 0, NULL), 0);
	log = caught_log();
	if (!strstr(log, "has begun 2 tasks, which is fibers.max: a task of pool 'probe' (module 'probe'), method "
			 "'gate_wait'") ||
	    count_of(log, "fibers.max") > bound(begin_ns, 2))
		fail_msg("%s", log);
	/* of 202 lines */
	if (count_of(log, "attached") + count_of(log, "detached") > bound(begin_ns, 25))
		fail_msg("%s", log);
}

/* ---- without a runtime ---- */

static void socket_path(char path[256])
{
	snprintf(path, 256, "%s/chimaera/" NAME ".sock", getenv("XDG_RUNTIME_DIR"));
}

static void leave_a_stale_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char path[256];

	socket_path(path);
	assert_true(fd >= 0 && strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

static void names_without_a_runtime_behind_them(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = NAME);
	struct chi_runtime_opts runtime_opts = CHI_RUNTIME_OPTS(.handle_faults = true, .listen = true, .name = NAME,
								.config_text = "memory: { private_mib: 64 }\n");
	struct chi_runtime *started;
	struct chi_client *made;
	char folder[256], path[256];
	int fd;

	(void)state;
	snprintf(folder, sizeof(folder), "%s/chimaera", getenv("XDG_RUNTIME_DIR"));
	socket_path(path);
	assert_int_equal(chi_client_connect(&opts, &made), -ENOENT);
	assert_text("no runtime named '" NAME "'");
	(void)mkdir(folder, 0700);

	leave_a_stale_socket();
	assert_int_equal(chi_client_connect(&opts, &made), -ECONNREFUSED);
	assert_text("is gone");
	assert_int_equal(chi_runtime_start(&runtime_opts, &started), 0);
	assert_int_equal(chi_client_connect(&opts, &made), 0);
	chi_client_disconnect(made);
	assert_int_equal(chi_runtime_stop(started, 0, NULL), 0);

	/* somebody's file is not removed */
	fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(chi_runtime_start(&runtime_opts, &started), -EADDRINUSE);
	assert_text("no socket");
	assert_int_equal(unlink(path), 0);

	/* others could put a socket of theirs there */
	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(chi_runtime_start(&runtime_opts, &started), -EACCES);
	assert_text("0755");
	assert_int_equal(chi_client_connect(&opts, &made), -EACCES);
	assert_int_equal(chmod(folder, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(folder, NOBODY, (gid_t)-1), 0);
		assert_int_equal(chi_runtime_start(&runtime_opts, &started), -EACCES);
		assert_text("belongs to user 65534");
		/* whoever made it: there is no runtime of ours in it */
		assert_int_equal(chi_client_connect(&opts, &made), -ENOENT);
		assert_text("belongs to user 65534");
		assert_int_equal(chown(folder, 0, (gid_t)-1), 0);
	}
}

static void a_bad_configuration_is_refused_with_line_and_key(void **state)
{
	static const struct {
		const char *text, *where, *key;
	} bad[] = {
		{ "workers: { count: 65 }\n", "(text):1:", "workers.count" },
		{ "\nworkers:\n  count: -1\n", "(text):3:", "workers.count" },
		{ "workers: { count: 1.5 }\n", "(text):1:", "workers.count" },
		{ "workers: { count: 0x10000000000000001 }\n", "(text):1:", "workers.count" },
		{ "workers:\n  count: 1\n  count: 2\n", "(text):3:", "count" },
		{ "workers: 3\n", "(text):1:", "workers" },
		{ "workers: { count: [1] }\n", "(text):1:", "workers.count" },
		{ "wrokers: { count: 1 }\n", "(text):1:", "wrokers" },
		{ "workers: { count: 2, high_latency: 2 }\n", "(text):1:", "workers.high_latency" },
		{ "workers: { completion_posting: perhaps }\n", "(text):1:", "workers.completion_posting" },
		{ "name: chimaera\nname: other\n", "(text):2:", "name" },
		{ "name: 'with space'\n", "(text):1:", "name" },
		{ "log_level: loud\n", "(text):1:", "log_level" },
		{ "clients:\n  lane_depth: 1000\n", "(text):2:", "clients.lane_depth" },
		{ "memory: { private_mib: 1 }\n", "(text):1:", "memory.private_mib" },
		{ "fibers: { stack_kib: 17 }\n", "(text):1:", "fibers.stack_kib" },
		{ "fibers: { guard: none }\n", "(text):1:", "fibers.guard" },
		{ "- a\n- b\n", "(text):1:", "" },
		{ "workers: {\n", "(text):", "" },
		{ "a: &x [*x]\n", "(text):", "" },
		{ "\x80\x81\x82", "(text):1:", "0x80" },
		{ "\xff\xfew\n", "(text):1:", "0xff" },
		{ "workers: { count: 1 }\n# \xed\xa0\x80\nwrokers: 1\n", "(text):2:", "0xed" },
		{ "workers: { count: 1 }\n\n\xc3", "(text):3:", "0xc3" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.config_text = bad[i].text);
		struct chi_runtime *started;
		int ret = chi_runtime_start(&opts, &started);

		if (ret != -EINVAL)
			fail_msg("\"%s\": %d", bad[i].text, ret);
		assert_text(bad[i].where);
		assert_text(bad[i].key);
	}
	/* each right for itself: together they do not fit */
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.config_text = "clients: { memory_mib: 1, lanes: 1024 }\n");
	struct chi_runtime *started;

	assert_int_equal(chi_runtime_start(&opts, &started), -EINVAL);
	assert_text("1024 lanes");
	opts = CHI_RUNTIME_OPTS(.config_file = "/nonexistent/chimaera.yaml");
	assert_int_equal(chi_runtime_start(&opts, &started), -ENOENT);
	assert_text("/nonexistent/chimaera.yaml");
	opts = CHI_RUNTIME_OPTS(.handle_faults = true, .listen = true,
				.config_text = "group: no-such-group-anywhere\n");
	assert_int_equal(chi_runtime_start(&opts, &started), -EINVAL);
	assert_text("no-such-group-anywhere");
}

/* ---- fibers ---- */

static bool guard_is_there(const char *guard)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS();
	struct chi_runtime *started;
	char config[128];
	int ret;

	snprintf(config, sizeof(config), "workers: { count: 1 }\nmemory: { private_mib: 64 }\nfibers: { guard: %s }\n",
		 guard);
	opts.config_text = config;
	ret = chi_runtime_start(&opts, &started);
	if (ret == 0)
		chi_runtime_stop(started, 0, NULL);
	return ret == 0;
}

#define FIBERS_MAX 24
#define MANY	   100

static void no_fiber_left_with(const char *guard)
{
	struct probe_task *tasks[MANY];
	uint32_t n_refused = 0;
	char config[256];

	snprintf(config, sizeof(config),
		 "workers: { count: 1 }\nmemory: { private_mib: 128 }\nfibers: { max: %d, guard: %s }\n"
		 "clients: { memory_mib: 16 }\n",
		 FIBERS_MAX, guard);
	assert_int_equal(start(config), 0);
	for (int i = 0; i < MANY; i++) {
		tasks[i] = new_task(PROBE_GATE_WAIT);
		assert_int_equal(chi_submit(client, tasks[i]), 0);
	}
	/* in the order of submission: those behind the limit are done when the last is */
	assert_int_equal(chi_wait(tasks[MANY - 1], DEADLINE_NS), 0);
	for (int i = 0; i < MANY; i++) {
		if (!chi_task_done(tasks[i])) {
			chi_cancel(tasks[i]);
			continue;
		}
		assert_int_equal(tasks[i]->task.result, -EAGAIN);
		n_refused++;
	}
	assert_int_equal(n_refused, MANY - FIBERS_MAX);
	assert_int_equal(chi_wait_all((void **)tasks, MANY, DEADLINE_NS), 0);
	for (int i = 0; i < MANY; i++)
		chi_task_free(client, tasks[i]);
	/* those that ended made room */
	assert_int_equal(call(PROBE_ADD, 1), 0);
	assert_int_equal(teardown(NULL), 0);
}

static void more_tasks_than_fibers_get_eagain(void **state)
{
	(void)state;
	no_fiber_left_with("mprotect");
	if (!guard_is_there("madvise"))
		skip_because("no MADV_GUARD_INSTALL before Linux 6.13");
	no_fiber_left_with("madvise");
}

/* This program again: an embedded runtime in which a method overflows its stack. */
static int role_overflow(const char *guard)
{
	char config[256];

	snprintf(config, sizeof(config), "workers: { count: 1 }\nmemory: { private_mib: 128 }\nfibers: { guard: %s }\n",
		 guard);
	if (start(config) < 0)
		return 90;
	(void)call(PROBE_OVERFLOW, 0);
	return 91;
}

static void overflow_with(const char *guard)
{
	char *argv[] = { (char *)(uintptr_t) "bad_input", (char *)(uintptr_t) "overflow", (char *)(uintptr_t)guard,
			 NULL };
	const char *sanitizer = getenv("CHI_TEST_SANITIZE"), *log;
	char path[256];
	int status;
	pid_t pid;

	catch_log();
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
	waitpid(pid, &status, 0);
	log = caught_log();
	if (sanitizer && *sanitizer) /* these end the process their own way */
		assert_false(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) >= 90));
	else if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
		fail_msg("status %x: %s", (unsigned int)status, log);
	if (count_of(log, "stack overflow in module probe, method overflow") != 1)
		fail_msg("it said: %s", log);
	/* it listened, and could not tidy up */
	socket_path(path);
	unlink(path);
}

static void a_stack_overflow_ends_the_process_and_names_the_method(void **state)
{
	(void)state;
	overflow_with("mprotect");
	if (!guard_is_there("madvise"))
		skip_because("no MADV_GUARD_INSTALL before Linux 6.13");
	overflow_with("madvise");
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "overflow") == 0)
		return role_overflow(argv[2]);

#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_without_a_runtime_behind_them),
		CASE(a_module_that_cannot_be_used_is_refused_with_its_reason),
		CASE(a_create_that_fails_gives_its_errno_and_no_pool),
		CASE(a_pool_that_cannot_be_is_refused),
		CASE(what_is_held_back_of_one_runtime_is_told_of_another),
		CASE(memory_that_is_no_task_is_not_submitted),
		CASE(at_its_cap_a_client_gets_enomem_and_goes_on),
		CASE(a_cause_is_logged_and_not_each_task_that_has_it),
		CASE(a_second_start_of_that_name_is_told_who_has_it),
		CASE(more_clients_than_allowed_are_refused),
		CASE(options_from_elsewhere_are_refused),
		CASE(the_child_of_a_fork_is_not_the_client),
		CASE(a_client_of_another_user_is_refused),
		CASE(a_client_out_of_descriptors_is_told_so),
		CASE(a_container_that_is_not_there_is_logged_not_often),
		CASE(what_clients_could_repeat_is_logged_not_often),
		cmocka_unit_test(a_bad_configuration_is_refused_with_line_and_key),
		cmocka_unit_test(more_tasks_than_fibers_get_eagain),
		cmocka_unit_test(a_stack_overflow_ends_the_process_and_names_the_method),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
