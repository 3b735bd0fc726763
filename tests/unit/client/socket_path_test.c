/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socket_path_test.c - where a runtime's socket is, and which folders are not trusted
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chimaera/task.h>

#include "support/skip.h"
#include "task/socket_path.h"

static char base[64];

/* A folder for each case; both variables point there. */
static int setup(void **state)
{
	(void)state;
	snprintf(base, sizeof(base), "/tmp/chi-path.XXXXXX");
	if (!mkdtemp(base))
		return -1;
	setenv("XDG_RUNTIME_DIR", base, 1);
	setenv("TMPDIR", base, 1);
	unsetenv("CHIMAERA_NAME");
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", base);
	return system(command) ? -1 : 0;
}

static void touch(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void name_gives_a_socket_in_the_runtime_directory(void **state)
{
	struct chi_socket_path where;
	char wanted[128];
	struct stat st;

	(void)state;
	assert_int_equal(chi_socket_path("one", CHI_SOCKET_MAKE, &where), 0);
	snprintf(wanted, sizeof(wanted), "%s/chimaera/one.sock", base);
	assert_string_equal(where.path, wanted);
	assert_false(where.given);
	snprintf(wanted, sizeof(wanted), "%s/chimaera", base);
	assert_int_equal(stat(wanted, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void client_finds_what_the_runtime_made(void **state)
{
	struct chi_socket_path made, found;

	(void)state;
	assert_int_equal(chi_socket_path("one", CHI_SOCKET_MAKE, &made), 0);
	touch(made.path);
	assert_int_equal(chi_socket_path("one", CHI_SOCKET_FIND, &found), 0);
	assert_string_equal(found.path, made.path);
}

static void no_socket_returns_enoent_and_names_the_folders(void **state)
{
	struct chi_socket_path where;

	(void)state;
	assert_int_equal(chi_socket_path("nobody", CHI_SOCKET_FIND, &where), -ENOENT);
	assert_non_null(strstr(chi_error_text(), "nobody"));
	assert_non_null(strstr(chi_error_text(), base));
}

static void name_comes_from_the_environment_or_is_default(void **state)
{
	struct chi_socket_path where;

	(void)state;
	assert_int_equal(chi_socket_path(NULL, CHI_SOCKET_MAKE, &where), 0);
	assert_non_null(strstr(where.path, "/default.sock"));
	setenv("CHIMAERA_NAME", "other", 1);
	assert_int_equal(chi_socket_path(NULL, CHI_SOCKET_MAKE, &where), 0);
	assert_non_null(strstr(where.path, "/other.sock"));
}

static void name_with_a_slash_is_the_path_itself(void **state)
{
	struct chi_socket_path where;

	(void)state;
	assert_int_equal(chi_socket_path("./here.sock", CHI_SOCKET_FIND, &where), 0);
	assert_string_equal(where.path, "./here.sock");
	assert_true(where.given);
}

static void folder_that_others_may_enter_is_refused(void **state)
{
	struct chi_socket_path where;
	char folder[128];

	(void)state;
	snprintf(folder, sizeof(folder), "%s/chimaera", base);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(chmod(folder, 0750), 0);
	assert_int_equal(chi_socket_path("one", CHI_SOCKET_MAKE, &where), -EACCES);
	assert_int_equal(chi_socket_path("one", CHI_SOCKET_FIND, &where), -EACCES);
	assert_non_null(strstr(chi_error_text(), "0750"));
}

static void folder_behind_a_symbolic_link_is_refused(void **state)
{
	struct chi_socket_path where;
	char folder[128], target[128];

	(void)state;
	snprintf(folder, sizeof(folder), "%s/chimaera", base);
	snprintf(target, sizeof(target), "%s/real", base);
	assert_int_equal(mkdir(target, 0700), 0);
	assert_int_equal(symlink(target, folder), 0);
	assert_int_equal(chi_socket_path("one", CHI_SOCKET_MAKE, &where), -EACCES);
}

static void folder_of_another_user_is_refused(void **state)
{
	struct chi_socket_path where;
	char folder[128];

	(void)state;
	if (geteuid() != 0)
		skip_because("only root can give a folder away");
	snprintf(folder, sizeof(folder), "%s/chimaera", base);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(chown(folder, 65534, 65534), 0);
	assert_int_equal(chi_socket_path("one", CHI_SOCKET_MAKE, &where), -EACCES);
	assert_non_null(strstr(chi_error_text(), "65534"));
	assert_non_null(strstr(chi_error_text(), "set XDG_RUNTIME_DIR"));
}

/* Anybody can make it in /tmp: it must not keep us from the folders after it. */
static void folder_of_another_user_is_passed_over_by_who_looks(void **state)
{
	struct chi_socket_path where;
	char folder[128], socket[160];

	(void)state;
	if (geteuid() != 0)
		skip_because("only root can give a folder away");
	snprintf(folder, sizeof(folder), "%s/chimaera", base);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(chown(folder, 65534, 65534), 0);
	assert_int_equal(chi_socket_path("passed_over", CHI_SOCKET_FIND, &where), -ENOENT);
	assert_non_null(strstr(chi_error_text(), "/chimaera belongs to user 65534, not to us (0)"));

	snprintf(folder, sizeof(folder), "%s/chimaera-0", base);
	assert_int_equal(mkdir(folder, 0700), 0);
	snprintf(socket, sizeof(socket), "%s/passed_over.sock", folder);
	touch(socket);
	assert_int_equal(chi_socket_path("passed_over", CHI_SOCKET_FIND, &where), 0);
	assert_string_equal(where.path, socket);
}

static void names_that_are_none_are_refused(void **state)
{
	static const char *const names[] = { ".hidden", "a b", "a\nb", "\xc3\xa9" };
	struct chi_socket_path where;
	char long_name[65];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(chi_socket_path(names[i], CHI_SOCKET_MAKE, &where), -EINVAL);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[64] = '\0';
	assert_int_equal(chi_socket_path(long_name, CHI_SOCKET_MAKE, &where), -EINVAL);
}

static void path_too_long_for_a_socket_returns_einval(void **state)
{
	struct chi_socket_path where;
	char path[120], folder[PATH_MAX];

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[119] = '\0';
	assert_int_equal(chi_socket_path(path, CHI_SOCKET_FIND, &where), -EINVAL);
	path[107] = '\0';
	assert_int_equal(chi_socket_path(path, CHI_SOCKET_FIND, &where), 0);

	snprintf(folder, sizeof(folder), "%s/%080d", base, 1);
	assert_int_equal(mkdir(folder, 0700), 0);
	setenv("XDG_RUNTIME_DIR", folder, 1);
	assert_int_equal(chi_socket_path("one", CHI_SOCKET_MAKE, &where), -EINVAL);
}

static void runtime_directory_that_is_not_there_is_passed_over(void **state)
{
	struct chi_socket_path where;
	char missing[128];

	(void)state;
	snprintf(missing, sizeof(missing), "%s/missing", base);
	setenv("XDG_RUNTIME_DIR", missing, 1);
	assert_int_equal(chi_socket_path("one", CHI_SOCKET_MAKE, &where), 0);
	assert_null(strstr(where.path, "missing"));
	if (strncmp(where.path, "/run/", 5) == 0) {
		char *slash = strrchr(where.path, '/');

		*slash = '\0';
		rmdir(where.path); /* stays when a runtime uses it */
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(name_gives_a_socket_in_the_runtime_directory),
		CASE(client_finds_what_the_runtime_made),
		CASE(no_socket_returns_enoent_and_names_the_folders),
		CASE(name_comes_from_the_environment_or_is_default),
		CASE(name_with_a_slash_is_the_path_itself),
		CASE(folder_that_others_may_enter_is_refused),
		CASE(folder_behind_a_symbolic_link_is_refused),
		CASE(folder_of_another_user_is_refused),
		CASE(folder_of_another_user_is_passed_over_by_who_looks),
		CASE(names_that_are_none_are_refused),
		CASE(path_too_long_for_a_socket_returns_einval),
		CASE(runtime_directory_that_is_not_there_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
