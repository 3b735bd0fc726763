/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread_stack_test.c - a thread asked for its stack: a question withdrawn meanwhile, a stack that cannot be walked
 *
 * The test has a backtrace() of its own, which does in the handler what each case wants.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include "runtime/thread_stack.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <hshm/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "runtime/fault.h"

#define PAGE 4096u

static void (*in_handler)(void);
static int (*system_backtrace)(void **frames, int n_max);

int backtrace(void **frames, int n_max)
{
	void (*act)(void) = in_handler;

	in_handler = NULL;
	if (act)
		act();
	return system_backtrace(frames, n_max);
}

static pid_t own_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

/* In the case itself: cmocka has handlers of its own around it. */
static void begin(void)
{
	assert_int_equal(chi_fault_install(), 0);
	assert_int_equal(chi_fault_thread_init(), 0);
	chi_stack_thread_init();
}

static void end(void)
{
	chi_fault_thread_fini();
	chi_fault_uninstall();
}

/* ---- withdrawn ---- */

/* Until the handler is through, its place is nobody else's. */
static void withdraw_and_ask_again(void)
{
	chi_stack_withdraw();
	assert_int_equal(chi_stack_ask(own_tid()), -EBUSY);
}

static void a_question_withdrawn_while_it_is_answered_leaves_its_place(void **state)
{
	struct chi_stack stack;

	(void)state;
	begin();
	in_handler = withdraw_and_ask_again;
	assert_int_equal(chi_stack_ask(own_tid()), 0); /* answered before it returns */
	assert_null(in_handler);
	assert_false(chi_stack_take(&stack));
	assert_int_equal(chi_stack_ask(own_tid()), 0);
	assert_true(chi_stack_take(&stack));
	assert_true(stack.n > 1);
	end();
}

static void a_question_withdrawn_after_its_answer_leaves_its_place(void **state)
{
	struct chi_stack stack;

	(void)state;
	begin();
	assert_int_equal(chi_stack_ask(own_tid()), 0);
	chi_stack_withdraw();
	assert_false(chi_stack_take(&stack));
	assert_int_equal(chi_stack_ask(own_tid()), 0);
	assert_true(chi_stack_take(&stack));
	end();
}

/* ---- broken ---- */

static volatile char *nowhere; /* a page that nobody may read */

static void read_what_is_not_there(void)
{
	(void)*nowhere;
}

static void a_stack_that_cannot_be_walked_is_its_innermost_place(void **state)
{
	struct chi_stack stack;
	sigset_t before, after;

	(void)state;
	nowhere = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(nowhere != MAP_FAILED);
	begin();
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
	in_handler = read_what_is_not_there;
	assert_int_equal(chi_stack_ask(own_tid()), 0);
	assert_true(chi_stack_take(&stack));
	assert_int_equal(stack.n, 1);
	assert_non_null(stack.pcs[0]);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
	assert_int_equal(sigismember(&after, SIGSEGV), sigismember(&before, SIGSEGV));
	assert_int_equal(sigismember(&after, CHI_STACK_SIGNAL), sigismember(&before, CHI_STACK_SIGNAL));
	/* and the next one is whole */
	assert_int_equal(chi_stack_ask(own_tid()), 0);
	assert_true(chi_stack_take(&stack));
	assert_true(stack.n > 1);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_withdrawn_while_it_is_answered_leaves_its_place),
		cmocka_unit_test(a_question_withdrawn_after_its_answer_leaves_its_place),
		cmocka_unit_test(a_stack_that_cannot_be_walked_is_its_innermost_place),
	};
	const char *sanitize = getenv("CHI_TEST_SANITIZE");

	if (sanitize && strstr(sanitize, "thread")) {
		puts("SKIP: ThreadSanitizer holds signals back");
		return 77;
	}
	*(void **)&system_backtrace = dlsym(RTLD_NEXT, "backtrace");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
