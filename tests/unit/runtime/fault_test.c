/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault_test.c - SIGSEGV in a task names it, SIGBUS in a client's segment ends that client, the rest goes its old way
 *
 * What may die does so in a child, whose stderr comes back.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <chimaera/runtime.h>

#include "runtime/fault.h"
#include "runtime/fiber.h"
#include "runtime/pool_manager.h"
#include "runtime/run_context.h"
#include "runtime/sanitizer.h"
#include "runtime/session.h"
#include "support/skip.h"

#define STACK_BYTES 65536u
#define PAGE	    4096u

/* In the children a fault shall kill, not make a sanitizer report and exit. */
#if CHI_ASAN
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "handle_segv=0:handle_sigbus=0:handle_abort=0";
}
#elif CHI_TSAN
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "handle_segv=0:handle_sigbus=0:handle_abort=0";
}
#endif

/* ---- children ---- */

struct ending {
	int status;
	char text[4096];
};

static bool died_by(const struct ending *ending, int signal_number)
{
	return WIFSIGNALED(ending->status) && WTERMSIG(ending->status) == signal_number;
}

static bool exited(const struct ending *ending, int code)
{
	return WIFEXITED(ending->status) && WEXITSTATUS(ending->status) == code;
}

/* in a child: what must not fail */
static void must(bool ok)
{
	if (!ok)
		_exit(99);
}

static void in_child(void (*fn)(void *arg), void *arg, struct ending *ret_ending)
{
	int pipes[2];
	size_t n = 0;
	ssize_t got;
	pid_t child;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		/* cmocka's handlers would make a failed test of it */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		signal(SIGABRT, SIG_DFL);
		prctl(PR_SET_DUMPABLE, 0);
		/* what faults outside a task needs none; but valgrind cannot always grow a stack for a signal */
		must(chi_fault_thread_init() == 0);
		dup2(pipes[1], STDERR_FILENO);
		close(pipes[0]);
		fn(arg);
		_exit(0);
	}
	close(pipes[1]);
	while ((got = read(pipes[0], ret_ending->text + n, sizeof(ret_ending->text) - 1 - n)) > 0)
		n += (size_t)got;
	ret_ending->text[n] = '\0';
	close(pipes[0]);
	assert_int_equal(waitpid(child, &ret_ending->status, 0), child);
}

/* ---- a task, as the worker would have it ---- */

static struct chi_loaded_module module = { .name = "blob" };
static struct chi_pool pool = { .module = &module };
static const struct chi_method method = { .name = "put" };
static struct chi_task task = { .id = { .root = 1234567890123, .number = 7 } };
static struct chi_run_context context = { .task = &task, .method = &method, .pool = &pool };

static void run_task(enum chi_fiber_guard guard, chi_fiber_fn fn)
{
	struct chi_fiber_opts opts = {
		.stack_bytes = STACK_BYTES, .fibers_max = 8, .guard = guard, .more_bytes = 16384
	};
	struct chi_fiber_pool *fibers;

	must(chi_fault_install() == 0);
	must(chi_fiber_pool_create(&opts, &fibers) == 0 && chi_fiber_get(fibers, &context.fiber) == 0);
	chi_fault_current = &context;
	chi_fiber_start(context.fiber, fn, NULL);
	chi_fault_current = NULL;
	chi_fiber_put(fibers, context.fiber);
	chi_fiber_pool_destroy(fibers);
	chi_fault_uninstall();
}

static volatile int forever = -1;

static __attribute__((noinline)) int dig(int depth)
{
	volatile char frame[300];

	frame[depth % 300] = (char)depth;
	if (depth == forever)
		return 0;
	return dig(depth + 1) + frame[depth % 300];
}

static void overflow(void *arg)
{
	(void)arg;
	dig(0);
}

static void overflow_in_task(void *arg)
{
	run_task(*(enum chi_fiber_guard *)arg, overflow);
}

static const char overflow_text[] =
	"chimaera: fatal: stack overflow in module blob, method put (task 1234567890123.7): "
	"its stack has 64 KiB; raise fibers.stack_kib\n";

static void expect_overflow(enum chi_fiber_guard guard)
{
	struct ending ending;

	in_child(overflow_in_task, &guard, &ending);
	assert_true(died_by(&ending, SIGSEGV));
	assert_string_equal(ending.text, overflow_text);
}

static void stack_overflow_dies_by_sigsegv_and_names_module_and_method(void **state)
{
	(void)state;
	expect_overflow(CHI_FIBER_GUARD_AUTO);
}

static void stack_overflow_into_an_mprotect_guard_does_the_same(void **state)
{
	(void)state;
	expect_overflow(CHI_FIBER_GUARD_MPROTECT);
}

static void *overflow_in_thread(void *arg)
{
	must(chi_fault_thread_init() == 0);
	overflow_in_task(arg);
	chi_fault_thread_fini();
	return NULL;
}

static void overflow_in_other_thread(void *arg)
{
	pthread_t thread;

	must(pthread_create(&thread, NULL, overflow_in_thread, arg) == 0);
	pthread_join(thread, NULL);
}

static void stack_overflow_in_a_workers_thread_has_a_signal_stack(void **state)
{
	enum chi_fiber_guard guard = CHI_FIBER_GUARD_AUTO;
	struct ending ending;

	(void)state;
	in_child(overflow_in_other_thread, &guard, &ending);
	assert_true(died_by(&ending, SIGSEGV));
	assert_string_equal(ending.text, overflow_text);
}

/* A frame so large that it steps over the guard: here its far end is written, where the next stack would be. */
static void write_lowest_bytes(void *arg)
{
	const void *low, *high;

	(void)arg;
	chi_fiber_stack(context.fiber, &low, &high);
	*(volatile char *)(uintptr_t)low = 1;
	chi_fiber_leave(context.fiber);
}

static void write_lowest_bytes_in_task(void *arg)
{
	(void)arg;
	run_task(CHI_FIBER_GUARD_AUTO, write_lowest_bytes);
}

static void overwritten_canary_is_found_at_the_switch(void **state)
{
	struct ending ending;

	(void)state;
	in_child(write_lowest_bytes_in_task, NULL, &ending);
	assert_true(died_by(&ending, SIGABRT));
	assert_string_equal(ending.text, overflow_text);
}

static void write_lowest_bytes_between_two_tasks(void *arg)
{
	const void *low, *high;

	(void)arg;
	chi_fiber_stack(context.fiber, &low, &high);
	*(volatile char *)(uintptr_t)low = 1;
	chi_fiber_check(context.fiber);
	_exit(0);
}

static void write_lowest_bytes_and_go_on(void *arg)
{
	(void)arg;
	run_task(CHI_FIBER_GUARD_AUTO, write_lowest_bytes_between_two_tasks);
}

static void overwritten_canary_is_found_between_two_tasks_of_a_fiber(void **state)
{
	struct ending ending;

	(void)state;
	in_child(write_lowest_bytes_and_go_on, NULL, &ending);
	assert_true(died_by(&ending, SIGABRT));
	assert_string_equal(ending.text, overflow_text);
}

static volatile uintptr_t bad_address = 8;

static void write_to_page_zero(void *arg)
{
	(void)arg;
	*(volatile char *)bad_address = 1;
}

static void segv_in_task(void *arg)
{
	(void)arg;
	run_task(CHI_FIBER_GUARD_AUTO, write_to_page_zero);
}

static void segv_in_a_task_names_it_and_dies(void **state)
{
	struct ending ending;

	(void)state;
	in_child(segv_in_task, NULL, &ending);
	assert_true(died_by(&ending, SIGSEGV));
	assert_string_equal(
		ending.text,
		"chimaera: fatal: SIGSEGV at address 0x8 in module blob, method put (task 1234567890123.7)\n");
}

static void segv_outside_task(void *arg)
{
	must(chi_fault_install() == 0);
	write_to_page_zero(arg);
}

static void segv_outside_a_task_dies_without_a_word(void **state)
{
	struct ending ending;

	(void)state;
	in_child(segv_outside_task, NULL, &ending);
	assert_true(died_by(&ending, SIGSEGV));
	assert_string_equal(ending.text, "");
}

static void send_segv(void *arg)
{
	(void)arg;
	must(chi_fault_install() == 0);
	kill(getpid(), SIGSEGV);
}

static void segv_that_somebody_sent_kills_all_the_same(void **state)
{
	struct ending ending;

	(void)state;
	in_child(send_segv, NULL, &ending);
	assert_true(died_by(&ending, SIGSEGV));
}

/* ---- other people's handlers ---- */

static void theirs_exits_42(int signal_number, siginfo_t *info, void *ucontext)
{
	(void)signal_number;
	(void)ucontext;
	_exit(info->si_addr == (void *)8 ? 42 : 43);
}

static void set_handler(void (*fn)(int, siginfo_t *, void *), struct sigaction *ret_before)
{
	struct sigaction action = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigaction(SIGSEGV, &action, ret_before);
}

static void segv_with_handler_below(void *arg)
{
	set_handler(theirs_exits_42, NULL);
	segv_outside_task(arg);
}

static void fault_that_is_not_ours_goes_to_the_previous_handler(void **state)
{
	struct ending ending;

	(void)state;
	in_child(segv_with_handler_below, NULL, &ending);
	assert_true(exited(&ending, 42));
}

static void install_twice(void *arg)
{
	struct sigaction before, now;

	(void)arg;
	set_handler(theirs_exits_42, NULL);
	sigaction(SIGSEGV, NULL, &before);
	must(chi_fault_install() == 0 && chi_fault_install() == 0);
	chi_fault_uninstall();
	sigaction(SIGSEGV, NULL, &now);
	must(now.sa_sigaction != before.sa_sigaction);
	chi_fault_uninstall();
	sigaction(SIGSEGV, NULL, &now);
	must(now.sa_sigaction == before.sa_sigaction);
	chi_fault_uninstall(); /* one too many is nothing */
}

static void last_uninstall_puts_the_previous_handler_back(void **state)
{
	struct ending ending;

	(void)state;
	in_child(install_twice, NULL, &ending);
	assert_true(exited(&ending, 0));
}

static struct sigaction below_theirs;

static void theirs_passes_on(int signal_number, siginfo_t *info, void *ucontext)
{
	static int n_calls;

	if (++n_calls > 5)
		_exit(50); /* a ring of handlers */
	below_theirs.sa_sigaction(signal_number, info, ucontext);
}

static void handler_above_ours(void *arg)
{
	struct sigaction now;

	set_handler(theirs_exits_42, NULL);
	must(chi_fault_install() == 0);
	set_handler(theirs_passes_on, &below_theirs);
	chi_fault_uninstall();
	sigaction(SIGSEGV, NULL, &now);
	must(now.sa_sigaction == theirs_passes_on);
	/* a second runtime's life */
	must(chi_fault_install() == 0);
	write_to_page_zero(arg);
}

static void handler_that_was_put_over_ours_stays_and_may_pass_on_to_us(void **state)
{
	struct ending ending;

	(void)state;
	in_child(handler_above_ours, NULL, &ending);
	assert_true(exited(&ending, 42));
}

/* ---- clients' segments ---- */

struct client {
	struct chi_session session;
	int peer; /* the client's end of the socket */
	int memfd;
	char *base;
};

static void client_make(struct client *client, size_t size_bytes)
{
	int ends[2];

	*client = (struct client){ .memfd = memfd_create("client", MFD_CLOEXEC) };
	must(client->memfd >= 0 && ftruncate(client->memfd, (off_t)size_bytes) == 0);
	client->base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, client->memfd, 0);
	must(client->base != MAP_FAILED);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
	client->peer = ends[1];
	client->session.socket = ends[0];
	client->session.segment.map.base = client->base;
	client->session.segment.map.size_bytes = size_bytes;
}

/* volatile: it changes more than the byte, as the compiler cannot know */
static void touch(struct client *client, size_t offset)
{
	((volatile char *)client->base)[offset] = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static bool hung_up(const struct client *client)
{
	char byte;

	return recv(client->peer, &byte, 1, MSG_DONTWAIT) == 0;
}

/* Cut a segment, as a bad page would; unsealed, since the test made it. */
static void touch_cut_segment(void *arg)
{
	struct client good, bad, next;

	(void)arg;
	must(chi_fault_install() == 0);
	client_make(&good, 16 * PAGE);
	client_make(&next, 2 * PAGE);
	client_make(&bad, 16 * PAGE);
	must(chi_fault_watch(&good.session) == 0 && chi_fault_watch(&bad.session) == 0);
	good.base[5 * PAGE] = 'g';
	bad.base[5 * PAGE] = 'b';
	must(ftruncate(bad.memfd, PAGE) == 0);

	errno = 12;
	for (size_t i = 0; i < 16; i++)
		((volatile char *)bad.base)[i * PAGE] = (char)i;
	must(errno == 12);
	for (size_t i = 0; i < 16; i++)
		must(bad.base[i * PAGE] == (char)i);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	must(bad.session.ended.v == 1 && hung_up(&bad) && chi_fault_hit(&bad.session));
	must(good.session.ended.v == 0 && !hung_up(&good) && !chi_fault_hit(&good.session));
	must(good.base[5 * PAGE] == 'g');

	chi_fault_unwatch(&bad.session);
	must(!chi_fault_hit(&bad.session));
	chi_fault_unwatch(&bad.session);

	/* in the entry of the former */
	must(chi_fault_watch(&next.session) == 0 && !chi_fault_hit(&next.session));
	next.session.socket = -1; /* the handler's shutdown() fails, which nobody may notice */
	must(ftruncate(next.memfd, 0) == 0);
	errno = 12;
	touch(&next, PAGE);
	must(errno == 12 && chi_fault_hit(&next.session));
	chi_fault_unwatch(&next.session);
	chi_fault_unwatch(&good.session);
	chi_fault_uninstall();
	_exit(7);
}

static void sigbus_in_a_clients_segment_ends_that_client_and_the_runtime_goes_on(void **state)
{
	struct ending ending;

	(void)state;
	in_child(touch_cut_segment, NULL, &ending);
	assert_true(exited(&ending, 7));
	assert_string_equal(ending.text, "");
}

static void touch_segment_after_unwatch(void *arg)
{
	struct client client;

	(void)arg;
	must(chi_fault_install() == 0);
	client_make(&client, 4 * PAGE);
	must(chi_fault_watch(&client.session) == 0);
	chi_fault_unwatch(&client.session);
	must(ftruncate(client.memfd, 0) == 0);
	touch(&client, 0);
}

static void sigbus_elsewhere_dies_by_the_signal(void **state)
{
	struct ending ending;

	(void)state;
	in_child(touch_segment_after_unwatch, NULL, &ending);
	assert_true(died_by(&ending, SIGBUS));
}

/* More than one block of the table; the last one is found, and freed entries are used again. */
static void watch_three_thousand(void *arg)
{
	struct chi_session *sessions = calloc(3000, sizeof(*sessions));
	struct client client;

	(void)arg;
	must(sessions && chi_fault_install() == 0);
	for (int round = 0; round < 3; round++) {
		for (uintptr_t i = 0; i < 3000; i++) {
			sessions[i].segment.map.base = (void *)((i + 1) << 40);
			sessions[i].segment.map.size_bytes = PAGE;
			must(chi_fault_watch(&sessions[i]) == 0);
		}
		client_make(&client, 4 * PAGE);
		must(chi_fault_watch(&client.session) == 0);
		must(ftruncate(client.memfd, 0) == 0);
		touch(&client, PAGE);
		must(chi_fault_hit(&client.session));
		for (uintptr_t i = 0; i < 3000; i++) {
			must(!chi_fault_hit(&sessions[i]));
			chi_fault_unwatch(&sessions[i]);
		}
		chi_fault_unwatch(&client.session);
	}
	free(sessions);
	_exit(7);
}

static void thousands_of_sessions_can_be_watched(void **state)
{
	struct ending ending;

	(void)state;
	in_child(watch_three_thousand, NULL, &ending);
	assert_true(exited(&ending, 7));
}

static void *watch_and_unwatch(void *arg)
{
	volatile bool *stop = arg;
	struct chi_session sessions[8];

	memset(sessions, 0, sizeof(sessions));
	while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		for (uintptr_t i = 0; i < 8; i++) {
			/* huge sizes: a torn pair of base and size would cover the other thread's fault */
			sessions[i].segment.map.base = (void *)(((i & 1) ? UINT64_C(1) << 62 : UINT64_C(1) << 12));
			sessions[i].segment.map.size_bytes = (i & 1) ? UINT64_C(1) << 61 : PAGE;
			must(chi_fault_watch(&sessions[i]) == 0);
		}
		for (uintptr_t i = 0; i < 8; i++)
			chi_fault_unwatch(&sessions[(i * 3) % 8]);
	}
	for (uintptr_t i = 0; i < 8; i++)
		must(sessions[i].ended.v == 0);
	return NULL;
}

static void fault_while_others_watch(void *arg)
{
	bool stop = false;
	pthread_t thread;

	(void)arg;
	must(chi_fault_install() == 0);
	must(pthread_create(&thread, NULL, watch_and_unwatch, &stop) == 0);
	for (int i = 0; i < 2000; i++) {
		struct client client;

		client_make(&client, 2 * PAGE);
		must(chi_fault_watch(&client.session) == 0);
		must(ftruncate(client.memfd, 0) == 0);
		touch(&client, PAGE);
		must(client.session.ended.v == 1 && chi_fault_hit(&client.session));
		chi_fault_unwatch(&client.session);
		munmap(client.base, 2 * PAGE);
		close(client.memfd);
		close(client.peer);
		close(client.session.socket);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	_exit(7);
}

static void faults_find_their_session_while_others_come_and_go(void **state)
{
	struct ending ending;

	(void)state;
	in_child(fault_while_others_watch, NULL, &ending);
	assert_true(exited(&ending, 7));
}

/* ---- signal stacks ---- */

static void touch_cut_file(void *arg)
{
	struct client file;

	(void)arg;
	must(chi_fault_install() == 0);
	client_make(&file, 16 * PAGE);
	must(chi_fault_watch_memory(file.base, 16 * PAGE) == 0);
	must(ftruncate(file.memfd, 0) == 0);
	errno = 12;
	for (size_t i = 0; i < 16; i++)
		touch(&file, i * PAGE);
	must(errno == 12 && file.session.ended.v == 0 && !hung_up(&file));
	chi_fault_unwatch_memory(file.base);
	chi_fault_unwatch_memory(file.base);
	chi_fault_uninstall();
	_exit(7);
}

static void sigbus_in_a_watched_file_is_told_once_and_the_runtime_goes_on(void **state)
{
	struct ending ending;

	(void)state;
	in_child(touch_cut_file, NULL, &ending);
	assert_true(exited(&ending, 7));
	assert_non_null(strstr(ending.text, "cut the counters file"));
	assert_ptr_equal(strchr(ending.text, '\n'), ending.text + strlen(ending.text) - 1);
}

static void thread_init_gives_a_signal_stack_and_fini_takes_it_back(void **state)
{
	stack_t before, during, after;

	(void)state;
#if CHI_VALGRIND
	if (RUNNING_ON_VALGRIND)
		skip_because("valgrind tells of signal stacks what it likes");
#endif
	assert_int_equal(sigaltstack(NULL, &before), 0);
	assert_int_equal(chi_fault_thread_init(), 0);
	assert_int_equal(chi_fault_thread_init(), 0);
	assert_int_equal(sigaltstack(NULL, &during), 0);
	assert_false(during.ss_flags & SS_DISABLE);
	assert_true(during.ss_size >= 32768);
	chi_fault_thread_fini();
	chi_fault_thread_fini();
	assert_int_equal(sigaltstack(NULL, &after), 0);
	assert_int_equal(after.ss_flags, before.ss_flags);
	assert_ptr_equal(after.ss_sp, before.ss_sp);
}

/* ---- a runtime in somebody's process ---- */

static struct chi_runtime *start_runtime(bool handle_faults)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.handle_faults = handle_faults,
							.config_text = "workers: { count: 1 }\nlog_level: error\n"
								       "memory: { private_mib: 256 }\n");
	struct chi_runtime *runtime = NULL;

	assert_int_equal(chi_runtime_start(&opts, &runtime), 0);
	return runtime;
}

static void *handler_of(int signal_number)
{
	struct sigaction action;

	assert_int_equal(sigaction(signal_number, NULL, &action), 0);
	return (void *)(uintptr_t)action.sa_handler;
}

static void a_runtime_handles_faults_only_when_asked(void **state)
{
	static const int signals[] = { SIGSEGV, SIGBUS };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		void *before = handler_of(signals[i]);
		struct chi_runtime *shy = start_runtime(false), *first, *second;

		assert_ptr_equal(handler_of(signals[i]), before);
		first = start_runtime(true);
		assert_ptr_not_equal(handler_of(signals[i]), before);
		second = start_runtime(true);
		/* in any order: the last one that asked puts it back, one that did not ask takes nothing away */
		assert_int_equal(chi_runtime_stop(shy, 0, NULL), 0);
		assert_int_equal(chi_runtime_stop(first, 0, NULL), 0);
		assert_ptr_not_equal(handler_of(signals[i]), before);
		assert_int_equal(chi_runtime_stop(second, 0, NULL), 0);
		assert_ptr_equal(handler_of(signals[i]), before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_runtime_handles_faults_only_when_asked),
		cmocka_unit_test(stack_overflow_dies_by_sigsegv_and_names_module_and_method),
		cmocka_unit_test(stack_overflow_into_an_mprotect_guard_does_the_same),
		cmocka_unit_test(stack_overflow_in_a_workers_thread_has_a_signal_stack),
		cmocka_unit_test(overwritten_canary_is_found_at_the_switch),
		cmocka_unit_test(overwritten_canary_is_found_between_two_tasks_of_a_fiber),
		cmocka_unit_test(segv_in_a_task_names_it_and_dies),
		cmocka_unit_test(segv_outside_a_task_dies_without_a_word),
		cmocka_unit_test(segv_that_somebody_sent_kills_all_the_same),
		cmocka_unit_test(fault_that_is_not_ours_goes_to_the_previous_handler),
		cmocka_unit_test(last_uninstall_puts_the_previous_handler_back),
		cmocka_unit_test(handler_that_was_put_over_ours_stays_and_may_pass_on_to_us),
		cmocka_unit_test(sigbus_in_a_clients_segment_ends_that_client_and_the_runtime_goes_on),
		cmocka_unit_test(sigbus_in_a_watched_file_is_told_once_and_the_runtime_goes_on),
		cmocka_unit_test(sigbus_elsewhere_dies_by_the_signal),
		cmocka_unit_test(thousands_of_sessions_can_be_watched),
		cmocka_unit_test(faults_find_their_session_while_others_come_and_go),
		cmocka_unit_test(thread_init_gives_a_signal_stack_and_fini_takes_it_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
