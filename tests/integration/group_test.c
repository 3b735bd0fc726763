/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * group_test.c - a runtime that a group may use: its members get in, by name, and nobody else
 *
 * Users and modes are real ones: it takes root, and a /run of our own (a mount namespace), as the folder is the machine's.
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
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../modules/probe.h"
#include "../support/skip.h"

#define NAME	   "group-test"
#define FOLDER	   "/run/chimaera"
#define SOCKET	   FOLDER "/" NAME ".sock"
#define COUNTERS   FOLDER "/group-test.counters"
#define GROUP_NAME "daemon" /* in every /etc/group */
#define SERVICE	   4711u
#define MEMBER	   4712u
#define STRANGER   4713u
#define OWN_GROUP  4714u

static gid_t group;
static const char *why_not; /* the cases cannot run */

static const char config[] = "group: " GROUP_NAME "\nlog_level: error\nworkers: { count: 1 }\n"
			     "memory: { private_mib: 256 }\nclients: { memory_mib: 4, lanes: 2, lane_depth: 64 }\n";

/* ---- users ---- */

static void become(uid_t uid, gid_t gid, gid_t supplementary)
{
	if (setgroups(1, &supplementary) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		_exit(99);
}

/* fn's answer, by a process that is that user; a negative errno or 0. Its error text is in `text`. */
static char text[512];

static int as_user(uid_t uid, gid_t gid, gid_t supplementary, int (*fn)(void))
{
	int pipes[2], answer = 0, status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		become(uid, gid, supplementary);
		answer = fn();
		snprintf(text, sizeof(text), "%s", chi_error_text());
		if (write(pipes[1], &answer, sizeof(answer)) < 0 || write(pipes[1], text, sizeof(text)) < 0)
			_exit(98);
		_exit(0);
	}
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &answer, sizeof(answer)), sizeof(answer));
	n = read(pipes[0], text, sizeof(text));
	assert_int_equal(n, sizeof(text));
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return answer;
}

/* ---- what they do ---- */

static int use_runtime(const char *name)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = name);
	struct chi_pool_spec spec = { .module = "probe" };
	struct chi_client *client;
	struct probe_task *task;
	uint32_t pool;
	int ret = chi_client_connect(&opts, &client);

	if (ret < 0)
		return ret;
	ret = chi_pool_create(client, &spec, &pool);
	if (ret >= 0)
		ret = chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD, &task);
	if (ret == 0) {
		task->in = 41;
		ret = chi_call(client, task);
		if (ret == 0 && task->out != 42)
			ret = -EIO;
		chi_task_free(client, task);
	}
	chi_client_disconnect(client);
	return ret;
}

static int by_name(void)
{
	return use_runtime(NAME);
}

static int by_path(void)
{
	return use_runtime(SOCKET);
}

static int from_working_directory(void)
{
	return use_runtime("./" NAME ".sock");
}

static int start(struct chi_runtime **ret_runtime)
{
	return chi_runtime_start(&CHI_RUNTIME_OPTS(.listen = true, .name = NAME, .config_text = config), ret_runtime);
}

static int start_and_stop(void)
{
	struct chi_runtime *runtime;
	int ret = start(&runtime);

	return ret < 0 ? ret : chi_runtime_stop(runtime, 0, NULL);
}

/* ---- stage ---- */

static struct chi_runtime *runtime;

static int mount_run(void)
{
	struct group *entry = getgrnam(GROUP_NAME);

	if (geteuid() != 0) {
		why_not = "users and groups take root";
	} else if (!entry) {
		why_not = "there is no group " GROUP_NAME;
	} else if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		   mount("none", "/run", "tmpfs", 0, "mode=0755") < 0) {
		why_not = "no mount namespace to be had";
	} else {
		group = entry->gr_gid;
	}
	return 0;
}

static int setup(void **state)
{
	(void)state;
	if (!why_not && start(&runtime) < 0) {
		print_error("%s\n", chi_error_text());
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (why_not)
		return 0;
	chi_runtime_stop(runtime, 0, NULL);
	return rmdir(FOLDER); /* nothing is left in it */
}

static unsigned int mode_of(const char *path, gid_t *ret_group)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	*ret_group = st.st_gid;
	return st.st_mode & 07777;
}

#define NEEDS_USERS()                                \
	do {                                         \
		(void)state;                         \
		if (why_not)                         \
			skip_because("%s", why_not); \
	} while (0)

/* ---- cases, with a runtime ---- */

static void folder_and_socket_are_open_to_the_group_alone(void **state)
{
	gid_t owner;

	NEEDS_USERS();
	assert_string_equal(chi_runtime_socket(runtime), SOCKET);
	assert_int_equal(mode_of(FOLDER, &owner), 0750);
	assert_int_equal(owner, group);
	assert_int_equal(mode_of(SOCKET, &owner), 0660);
	assert_int_equal(owner, group);
	assert_int_equal(mode_of(COUNTERS, &owner), 0640);
	assert_int_equal(owner, group);
}

static void a_member_is_served_by_name(void **state)
{
	NEEDS_USERS();
	if (as_user(MEMBER, group, OWN_GROUP, by_name) != 0)
		fail_msg("primary group: %s", text);
	if (as_user(MEMBER, OWN_GROUP, group, by_name) != 0)
		fail_msg("supplementary group: %s", text);
	assert_int_equal(by_name(), 0); /* the owner, whose own folders have no such socket */
}

static void a_stranger_finds_no_runtime(void **state)
{
	NEEDS_USERS();
	assert_int_equal(as_user(STRANGER, OWN_GROUP, OWN_GROUP, by_name), -ENOENT);
	assert_non_null(strstr(text, FOLDER " (which is not open to us)"));
	assert_int_equal(as_user(STRANGER, OWN_GROUP, OWN_GROUP, by_path), -EACCES);
}

/* Past folder and socket, were they opened by mistake: the runtime looks itself. */
static void a_stranger_who_reaches_the_socket_is_refused(void **state)
{
	char here[4096];

	NEEDS_USERS();
	assert_non_null(getcwd(here, sizeof(here)));
	assert_int_equal(chmod(FOLDER, 0755), 0);
	assert_int_equal(chmod(SOCKET, 0666), 0);
	assert_int_equal(chdir(FOLDER), 0);
	assert_int_equal(as_user(STRANGER, OWN_GROUP, OWN_GROUP, from_working_directory), -EACCES);
	assert_non_null(strstr(text, "user 4713 may not use"));
	assert_int_equal(as_user(MEMBER, OWN_GROUP, group, from_working_directory), 0);
	assert_int_equal(chdir(here), 0);
}

static void a_folder_in_which_others_may_write_is_not_trusted(void **state)
{
	NEEDS_USERS();
	assert_int_equal(chmod(FOLDER, 0770), 0);
	assert_int_equal(as_user(MEMBER, OWN_GROUP, group, by_name), -EACCES);
	assert_non_null(strstr(text, "not trusted"));
	assert_int_equal(chmod(FOLDER, 0750), 0);
}

static void where_anybody_may_make_the_folder_it_is_not_looked_at(void **state)
{
	NEEDS_USERS();
	assert_int_equal(chmod("/run", 01777), 0);
	assert_int_equal(as_user(MEMBER, OWN_GROUP, group, by_name), -ENOENT);
	assert_int_equal(start_and_stop(), -EACCES);
	assert_int_equal(chmod("/run", 0755), 0);
	assert_int_equal(as_user(MEMBER, OWN_GROUP, group, by_name), 0);
}

/* ---- cases without one ---- */

static void who_cannot_make_the_folder_is_told_how(void **state)
{
	NEEDS_USERS();
	assert_int_equal(as_user(SERVICE, group, group, start_and_stop), -EACCES);
	assert_non_null(strstr(text, "install -d -m 0750 -o 4711 -g "));
}

static int serve_until_asked(void)
{
	struct chi_runtime *served;
	int ret = start(&served);

	if (ret < 0)
		return ret;
	if (chi_runtime_wait_stop(served, UINT64_C(30000000000)) < 0)
		ret = -ETIMEDOUT;
	chi_runtime_stop(served, 0, NULL);
	return ret;
}

/* The usual case: a user of its own runs the daemon, in a folder that root made for it. */
static void a_service_user_serves_the_group(void **state)
{
	int status, answer = -ENOENT;
	pid_t pid;

	NEEDS_USERS();
	assert_int_equal(mkdir(FOLDER, 0700), 0);
	assert_int_equal(chown(FOLDER, SERVICE, group), 0);
	pid = fork();
	if (pid == 0) {
		become(SERVICE, OWN_GROUP, group);
		_exit(serve_until_asked() == 0 ? 0 : 1);
	}
	for (int i = 0; i < 10000 && (answer == -ENOENT || answer == -ECONNREFUSED); i++) {
		usleep(1000);
		answer = as_user(MEMBER, OWN_GROUP, group, by_name);
	}
	if (answer != 0)
		fail_msg("%d %s", answer, text);
	assert_int_equal(as_user(STRANGER, OWN_GROUP, OWN_GROUP, by_name), -ENOENT);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_int_equal(unlink(SOCKET), 0);
	assert_int_equal(unlink(COUNTERS), 0);
	assert_int_equal(rmdir(FOLDER), 0);
}

static void a_folder_that_is_not_as_it_has_to_be_is_refused(void **state)
{
	static const struct {
		unsigned int mode;
		uid_t owner;
		gid_t group; /* 0: the right one */
		int answer;
	} cases[] = {
		{ 0750, 0, 0, 0 },
		{ 0710, 0, 0, 0 },
		{ 0755, 0, 0, -EACCES },
		{ 0770, 0, 0, -EACCES },
		{ 0740, 0, 0, -EACCES },
		{ 0750, SERVICE, 0, -EACCES },
		{ 0750, 0, OWN_GROUP, -EACCES },
	};

	NEEDS_USERS();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int answer;

		assert_int_equal(mkdir(FOLDER, 0700), 0);
		assert_int_equal(chown(FOLDER, cases[i].owner, cases[i].group ? cases[i].group : group), 0);
		assert_int_equal(chmod(FOLDER, cases[i].mode), 0);
		answer = start_and_stop();
		if (answer != cases[i].answer)
			fail_msg("case %zu: %d %s", i, answer, chi_error_text());
		assert_int_equal(rmdir(FOLDER), 0);
	}
	assert_int_equal(mkdir("/run/elsewhere", 0700), 0);
	assert_int_equal(symlink("/run/elsewhere", FOLDER), 0);
	assert_int_equal(start_and_stop(), -EACCES);
	assert_int_equal(unlink(FOLDER), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(folder_and_socket_are_open_to_the_group_alone),
		CASE(a_member_is_served_by_name),
		CASE(a_stranger_finds_no_runtime),
		CASE(a_stranger_who_reaches_the_socket_is_refused),
		CASE(a_folder_in_which_others_may_write_is_not_trusted),
		CASE(where_anybody_may_make_the_folder_it_is_not_looked_at),
		cmocka_unit_test(who_cannot_make_the_folder_is_told_how),
		cmocka_unit_test(a_service_user_serves_the_group),
		cmocka_unit_test(a_folder_that_is_not_as_it_has_to_be_is_refused),
	};

	mount_run();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
