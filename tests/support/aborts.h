/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/aborts.h - misuse is asserted: does it end the process?
 *
 * Included after cmocka.h.
 */
#ifndef TESTS_SUPPORT_ABORTS_H
#define TESTS_SUPPORT_ABORTS_H

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child, so that the test goes on: does the call end the process by abort()? Such a case is the first, before any
 * threads: a lock that one of them has at the fork, as that of a sanitizer's allocator, is held in the child for ever. */
__attribute__((unused)) static bool aborts(void (*fn)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		signal(SIGABRT, SIG_DFL);
		dup2(null, STDERR_FILENO);
		fn(arg);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

#endif
