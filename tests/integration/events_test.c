/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * events_test.c - callbacks through an event descriptor: all are called once, a sleeping loop is woken, ends are told
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
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../modules/probe.h"
#include "support/daemon.h"

#define N_TASKS	  200u
#define N_EACH	  50u
#define N_THREADS 3u
#define POLL_MS	  20000

static const char config[] = "log_level: error\nworkers: { count: 3 }\nmemory: { private_mib: 256 }\n"
			     "clients: { memory_mib: 64 }\nstop_timeout_ms: 100\n";

struct fixture {
	struct chi_runtime *runtime;
	struct chi_client *client;
	uint32_t pool;
	uint32_t n_called;
	uint32_t n_left; /* of all that are still to be handed in */
};

static uint32_t open_pool(struct chi_client *client)
{
	struct chi_pool_spec spec = { .module = "probe", .n_containers = 3 };
	uint32_t pool = 0;

	if (chi_pool_create(client, &spec, &pool) < 0)
		fail_msg("%s", chi_error_text());
	return pool;
}

static int setup(void **state)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.config_text = config);
	struct fixture *f = calloc(1, sizeof(*f));

	if (chi_runtime_start(&opts, &f->runtime) < 0 || chi_runtime_client(f->runtime, NULL, &f->client) < 0)
		return -1;
	f->pool = open_pool(f->client);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int rc;

	chi_client_disconnect(f->client);
	rc = chi_runtime_stop(f->runtime, 5 * HSHM_NSEC_PER_SEC, NULL);
	free(f);
	return rc;
}

static struct probe_task *new_task(struct fixture *f, enum probe_method method, uint64_t i)
{
	struct probe_task *task = NULL;

	if (chi_task_alloc(f->client, sizeof(*task), f->pool, CHI_QUERY_LOCAL_HASH(i), method, &task) < 0)
		fail_msg("%s", chi_error_text());
	return task;
}

static bool is_readable(int fd, int timeout_ms)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };

	return poll(&readable, 1, timeout_ms) == 1;
}

/* Hands its task in again, until all were. */
static void count_and_go_on(void *memory, int result, void *arg)
{
	struct probe_task *task = memory;
	struct fixture *f = arg;

	assert_int_equal(result, 0);
	assert_int_equal(task->out, task->in + 1);
	f->n_called++;
	if (f->n_left == 0) {
		assert_int_equal(chi_task_free(f->client, task), 0);
		return;
	}
	f->n_left--;
	while (chi_submit_notify(f->client, task, count_and_go_on, f) == -EAGAIN)
		;
}

static void count_and_free(void *task, int result, void *arg)
{
	struct fixture *f = arg;

	(void)result;
	f->n_called++;
	assert_int_equal(chi_task_free(f->client, task), 0);
}

static void each_callback_is_called_once_and_a_sleeping_loop_is_woken(void **state)
{
	struct fixture *f = *state;
	int fd = chi_client_event_fd(f->client);

	assert_true(fd >= 0);
	assert_int_equal(chi_client_event_fd(f->client), fd);
	f->n_called = 0;
	f->n_left = N_TASKS * N_EACH - N_TASKS;
	for (uint32_t i = 0; i < N_TASKS; i++) {
		struct probe_task *task = new_task(f, PROBE_ADD, i);

		task->in = i;
		assert_int_equal(chi_submit_notify(f->client, task, count_and_go_on, f), 0);
	}
	while (f->n_called < N_TASKS * N_EACH) {
		/* a wake-up that is lost ends the test here */
		assert_true(is_readable(fd, POLL_MS));
		assert_true(chi_client_dispatch(f->client, 0) >= 0);
	}
	assert_int_equal(chi_client_dispatch(f->client, 0), 0);
	assert_false(is_readable(fd, 0));
}

/* One at a time: the loop sleeps before nearly each end. */
static void one_task_at_a_time_wakes_each_time(void **state)
{
	struct fixture *f = *state;
	int fd = chi_client_event_fd(f->client);

	f->n_called = 0;
	f->n_left = 3000 - 1;
	assert_int_equal(chi_submit_notify(f->client, new_task(f, PROBE_ADD, 0), count_and_go_on, f), 0);
	while (f->n_called < 3000) {
		assert_true(is_readable(fd, POLL_MS));
		assert_true(chi_client_dispatch(f->client, 0) >= 0);
	}
}

static void what_is_left_of_a_limited_dispatch_stays_readable(void **state)
{
	struct fixture *f = *state;
	int fd = chi_client_event_fd(f->client), n;

	f->n_called = 0;
	assert_int_equal(chi_client_dispatch(f->client, 0), 0);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(chi_submit_notify(f->client, new_task(f, PROBE_ADD, i), count_and_free, f), 0);
	assert_int_equal(chi_flush(f->client), 0);
	for (uint32_t i = 0; i < 10; i += (uint32_t)n) {
		assert_true(is_readable(fd, POLL_MS));
		n = chi_client_dispatch(f->client, 3);
		assert_in_range(n, 0, 3);
	}
	assert_int_equal(f->n_called, 10);
}

/* When it returns, its task has ended again. */
static void hand_in_again_and_await(void *task, int result, void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(result, 0);
	f->n_called++;
	if (f->n_left == 0) {
		assert_int_equal(chi_task_free(f->client, task), 0);
		return;
	}
	f->n_left--;
	assert_int_equal(chi_submit_notify(f->client, task, hand_in_again_and_await, f), 0);
	assert_int_equal(chi_flush(f->client), 0);
}

static void callbacks_that_hand_in_again_leave_the_loop_its_turn(void **state)
{
	struct fixture *f = *state;
	int fd = chi_client_event_fd(f->client);

	f->n_called = 0;
	f->n_left = 2 * 100 - 2;
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(chi_submit_notify(f->client, new_task(f, PROBE_ADD, i), hand_in_again_and_await, f),
				 0);
	while (f->n_called < 2 * 100) {
		assert_true(is_readable(fd, POLL_MS));
		assert_in_range(chi_client_dispatch(f->client, 0), 0, 3);
	}
}

static void a_task_with_a_callback_is_not_waited_for_nor_freed(void **state)
{
	struct fixture *f = *state;
	struct probe_task *gate = new_task(f, PROBE_GATE_WAIT, 0), *plain = new_task(f, PROBE_ADD, 0);
	void *both[2] = { plain, gate };

	f->n_called = 0;
	assert_int_equal(chi_submit_notify(f->client, gate, NULL, NULL), -EINVAL);
	plain->task.flags = CHI_TASK_FIRE_AND_FORGET;
	assert_int_equal(chi_submit_notify(f->client, plain, count_and_free, f), -EINVAL);
	plain->task.flags = CHI_TASK_NOTIFY;
	assert_int_equal(chi_submit(f->client, plain), -EINVAL);
	plain->task.flags = 0;
	assert_int_equal(chi_submit_notify(f->client, gate, count_and_free, f), 0);
	assert_int_equal(chi_submit_notify(f->client, gate, count_and_free, f), -EBUSY);
	assert_int_equal(chi_wait(gate, HSHM_FOREVER), -EINVAL);
	assert_int_equal(chi_task_free(f->client, gate), -EBUSY);
	assert_int_equal(chi_submit(f->client, plain), 0);
	assert_int_equal(chi_wait_all(both, 2, HSHM_FOREVER), -EINVAL);
	chi_cancel(gate);
	/* without the descriptor's help, too */
	while (f->n_called == 0)
		assert_true(chi_client_dispatch(f->client, 0) >= 0);
	assert_int_equal(chi_wait(plain, HSHM_FOREVER), 0);
	/* the flag went with the callback: an ordinary task again */
	assert_int_equal(chi_call(f->client, plain), 0);
	assert_int_equal(chi_task_free(f->client, plain), 0);
}

static void a_refused_task_is_told_like_any_other(void **state)
{
	struct fixture *f = *state;
	struct probe_task *task = new_task(f, PROBE_ADD, 0);

	f->n_called = 0;
	task->task.pool_id ^= 1u << 31;
	assert_int_equal(chi_submit_notify(f->client, task, count_and_free, f), 0);
	while (f->n_called == 0) {
		assert_true(is_readable(chi_client_event_fd(f->client), POLL_MS));
		assert_true(chi_client_dispatch(f->client, 0) >= 0);
	}
}

/* ---- several threads ---- */

struct shared {
	struct fixture *f;
	hshm_au32 n_called;
	uint32_t n_wanted;
};

static void count_shared(void *task, int result, void *arg)
{
	struct shared *shared = arg;

	assert_int_equal(result, 0);
	assert_int_equal(chi_task_free(shared->f->client, task), 0);
	/* relaxed: a count, read when the threads have ended */
	hshm_fetch_add_relaxed(&shared->n_called, 1);
}

static void *submit_and_dispatch(void *arg)
{
	struct shared *shared = arg;
	int fd = chi_client_event_fd(shared->f->client);

	for (uint32_t i = 0; i < N_TASKS * 4; i++) {
		struct probe_task *task = new_task(shared->f, PROBE_ADD, i);

		while (chi_submit_notify(shared->f->client, task, count_shared, shared) == -EAGAIN)
			;
		if (i % 16 == 0)
			assert_true(chi_client_dispatch(shared->f->client, 8) >= 0);
	}
	while (hshm_load_relaxed(&shared->n_called) < shared->n_wanted) {
		/* another thread may have taken what woke us, and be the last */
		is_readable(fd, 10);
		assert_true(chi_client_dispatch(shared->f->client, 0) >= 0);
	}
	return NULL;
}

static void several_threads_share_the_dispatching(void **state)
{
	struct shared shared = { .f = *state, .n_wanted = N_THREADS * N_TASKS * 4 };
	pthread_t threads[N_THREADS];

	for (uint32_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, submit_and_dispatch, &shared), 0);
	for (uint32_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(hshm_load_relaxed(&shared.n_called), shared.n_wanted);
}

/* ---- the runtime's end ---- */

static void count_lost(void *task, int result, void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(result, -EOWNERDEAD);
	f->n_called++;
	assert_int_equal(chi_submit_notify(f->client, task, count_lost, f), -EOWNERDEAD);
	assert_int_equal(chi_task_free(f->client, task), 0);
}

static void a_death_wakes_the_loop_and_calls_every_callback(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "loop");
	pid_t daemon = daemon_start("loop", config);
	struct fixture f = { 0 };
	int fd = -1;

	(void)state;
	assert_true(daemon > 0);
	assert_int_equal(chi_client_connect(&opts, &f.client), 0);
	for (int round = 0; round < 5; round++) {
		f.pool = open_pool(f.client);
		f.n_called = 0;
		fd = chi_client_event_fd(f.client);
		assert_true(fd >= 0);
		for (uint32_t i = 0; i < 20; i++)
			assert_int_equal(chi_submit_notify(f.client, new_task(&f, PROBE_GATE_WAIT, i), count_lost, &f),
					 0);
		while (is_readable(fd, 0))
			assert_int_equal(chi_client_dispatch(f.client, 0), 0);
		daemon_end(daemon, SIGKILL);
		assert_true(is_readable(fd, POLL_MS));
		if (round % 2) {
			/* told before the reconnect, or after it */
			assert_int_equal(chi_client_dispatch(f.client, 7), 7);
			assert_true(is_readable(fd, POLL_MS));
			assert_int_equal(chi_client_dispatch(f.client, 0), 13);
			assert_true(is_readable(fd, POLL_MS));
			assert_int_equal(chi_client_dispatch(f.client, 0), -EOWNERDEAD);
			/* and then no more */
			assert_false(is_readable(fd, 0));
		}
		daemon = daemon_start("loop", config);
		assert_int_equal(chi_client_reconnect(f.client, 0), 0);
		assert_int_equal(chi_client_event_fd(f.client), fd);
		while (is_readable(fd, 0))
			assert_true(chi_client_dispatch(f.client, 0) >= 0);
		assert_int_equal(f.n_called, 20);
		/* the same descriptor tells of the new runtime's tasks */
		f.pool = open_pool(f.client);
		assert_int_equal(chi_submit_notify(f.client, new_task(&f, PROBE_ADD, 0), count_and_free, &f), 0);
		while (f.n_called < 21) {
			assert_true(is_readable(fd, POLL_MS));
			assert_true(chi_client_dispatch(f.client, 0) >= 0);
		}
	}
	chi_client_disconnect(f.client);
	assert_int_equal(daemon_end(daemon, SIGTERM), 0);
}

/* ---- between two steps ---- */

/* Called by this thread's next call of the function, in the middle of what the library does. */
static _Thread_local struct {
	void (*at_epoll_add)(struct fixture *f); /* and the call fails then */
	void (*after_eventfd_write)(struct fixture *f);
	void (*before_eventfd_read)(struct fixture *f);
	struct fixture *f;
	uint32_t n_eventfd_reads;
} step;

static void take_step(void (**slot)(struct fixture *f))
{
	void (*call)(struct fixture * f) = *slot;

	*slot = NULL;
	if (call)
		call(step.f);
}

/* The C library's, with a step before or after it; the library under test finds these. */
#define IN_ITS_PLACE __attribute__((visibility("default")))

IN_ITS_PLACE int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	if (op == EPOLL_CTL_ADD && step.at_epoll_add && event->events == EPOLLRDHUP) {
		take_step(&step.at_epoll_add);
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
}

IN_ITS_PLACE int eventfd_write(int fd, eventfd_t value)
{
	int rc = write(fd, &value, sizeof(value)) == sizeof(value) ? 0 : -1;

	take_step(&step.after_eventfd_write);
	return rc;
}

IN_ITS_PLACE int eventfd_read(int fd, eventfd_t *ret_value)
{
	step.n_eventfd_reads++;
	take_step(&step.before_eventfd_read);
	return read(fd, ret_value, sizeof(*ret_value)) == sizeof(*ret_value) ? 0 : -1;
}

/* That a killed daemon left: the next of its name does. */
static void take_socket_away(void)
{
	assert_int_equal(daemon_end(daemon_start("loop", config), SIGTERM), 0);
}

static void dispatch_one(struct fixture *f)
{
	assert_int_equal(chi_client_dispatch(f->client, 0), 1);
}

static void reconnect_now(struct fixture *f)
{
	assert_int_equal(chi_client_reconnect(f->client, 0), 0);
}

/* A task that ends wakes the loop that sleeps on the descriptor. */
static void expect_a_wake_up(struct fixture *f, int fd)
{
	uint32_t n_before = f->n_called;

	f->pool = open_pool(f->client);
	while (is_readable(fd, 0))
		assert_true(chi_client_dispatch(f->client, 0) >= 0);
	assert_int_equal(chi_submit_notify(f->client, new_task(f, PROBE_ADD, 0), count_and_free, f), 0);
	while (f->n_called == n_before) {
		assert_true(is_readable(fd, POLL_MS));
		assert_true(chi_client_dispatch(f->client, 0) >= 0);
	}
}

static void a_dispatch_beside_a_reconnect_loses_no_wake_up(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "loop");
	pid_t daemon = daemon_start("loop", config);
	struct fixture f = { 0 };
	int fd;

	(void)state;
	assert_true(daemon > 0);
	assert_int_equal(chi_client_connect(&opts, &f.client), 0);
	f.pool = open_pool(f.client);
	fd = chi_client_event_fd(f.client);
	assert_true(fd >= 0);
	for (int round = 0; round < 4; round++) {
		assert_int_equal(chi_submit_notify(f.client, new_task(&f, PROBE_GATE_WAIT, 0), count_lost, &f), 0);
		while (is_readable(fd, 0))
			assert_int_equal(chi_client_dispatch(f.client, 0), 0);
		daemon_end(daemon, SIGKILL);
		assert_int_equal(chi_client_alive(f.client), -EOWNERDEAD);
		daemon = daemon_start("loop", config);
		assert_true(daemon > 0);
		step.f = &f;
		if (round % 2) {
			/* the wake-up of the reconnect, taken out as soon as it is there */
			step.after_eventfd_write = dispatch_one;
			reconnect_now(&f);
		} else {
			/* a reconnect, when a dispatch has just begun */
			step.before_eventfd_read = reconnect_now;
			assert_int_equal(chi_client_dispatch(f.client, 0), 1);
		}
		expect_a_wake_up(&f, fd);
	}
	chi_client_disconnect(f.client);
	assert_int_equal(daemon_end(daemon, SIGTERM), 0);
}

static void dispatch_nothing(struct fixture *f)
{
	assert_int_equal(chi_client_dispatch(f->client, 0), 0);
}

/* It may be closed again, and its number be another file's by the time that something is written to it. */
static void a_descriptor_that_is_not_complete_is_used_by_nobody(void **state)
{
	struct fixture *embedded = *state, f = { .pool = embedded->pool };

	assert_int_equal(chi_runtime_client(embedded->runtime, NULL, &f.client), 0);
	step.f = &f;
	step.n_eventfd_reads = 0;
	step.at_epoll_add = dispatch_nothing;
	assert_int_equal(chi_client_event_fd(f.client), -ENOSPC);
	assert_null(step.at_epoll_add);
	dispatch_nothing(&f);
	assert_int_equal(step.n_eventfd_reads, 0);
	expect_a_wake_up(&f, chi_client_event_fd(f.client));
	chi_client_disconnect(f.client);
}

struct comeback {
	struct fixture f;
	pid_t daemon;
};

static void reconnect_three_times(void *task, int result, void *arg)
{
	struct comeback *back = arg;

	assert_int_equal(result, -EOWNERDEAD);
	assert_int_equal(chi_task_free(back->f.client, task), 0);
	for (int i = 0; i < 3; i++) {
		if (i > 0)
			daemon_end(back->daemon, SIGKILL);
		assert_int_equal(chi_client_alive(back->f.client), -EOWNERDEAD);
		back->daemon = daemon_start("loop", config);
		assert_true(back->daemon > 0);
		reconnect_now(&back->f);
	}
}

/* Not a call that keeps to the runtime it began with: that one's memory is gone. */
static void a_callback_may_reconnect_as_often_as_it_likes(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "loop");
	struct comeback back = { .daemon = daemon_start("loop", config) };
	struct fixture *f = &back.f;
	int fd;

	(void)state;
	assert_true(back.daemon > 0);
	assert_int_equal(chi_client_connect(&opts, &f->client), 0);
	fd = chi_client_event_fd(f->client);
	f->pool = open_pool(f->client);
	assert_int_equal(chi_submit_notify(f->client, new_task(f, PROBE_GATE_WAIT, 0), reconnect_three_times, &back),
			 0);
	daemon_end(back.daemon, SIGKILL);
	assert_int_equal(chi_client_alive(f->client), -EOWNERDEAD);
	assert_int_equal(chi_client_dispatch(f->client, 0), 1);
	expect_a_wake_up(f, fd);
	chi_client_disconnect(f->client);
	assert_int_equal(daemon_end(back.daemon, SIGTERM), 0);
}

static pid_t child;

/* It has copies of all descriptors, and closes none. */
static void fork_a_child(struct fixture *f)
{
	(void)f;
	child = fork();
	while (child == 0)
		pause();
}

static void a_reconnect_that_fails_leaves_nothing_in_the_descriptor(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "loop");
	pid_t daemon = daemon_start("loop", config);
	struct fixture f = { 0 };
	int fd;

	(void)state;
	assert_true(daemon > 0);
	assert_int_equal(chi_client_connect(&opts, &f.client), 0);
	fd = chi_client_event_fd(f.client);
	assert_true(fd >= 0);
	daemon_end(daemon, SIGKILL);
	assert_int_equal(chi_client_alive(f.client), -EOWNERDEAD);
	daemon = daemon_start("loop", config);
	assert_true(daemon > 0);
	step.f = &f;
	step.at_epoll_add = fork_a_child;
	assert_int_equal(chi_client_reconnect(f.client, 0), -ENOSPC);
	assert_true(child > 0);
	/* the child's copies hang up */
	daemon_end(daemon, SIGKILL);
	assert_int_equal(chi_client_dispatch(f.client, 0), -EOWNERDEAD);
	assert_false(is_readable(fd, 0));
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	chi_client_disconnect(f.client);
	take_socket_away();
}

/* ---- who is told ---- */

struct race {
	struct fixture f;
	hshm_au32 over;
};

static void *dispatch_all_the_time(void *arg)
{
	struct race *race = arg;

	/* relaxed: a flag that carries nothing */
	while (!hshm_load_relaxed(&race->over))
		(void)!chi_client_dispatch(race->f.client, 0);
	return NULL;
}

static void count_call(void *task, int result, void *arg)
{
	(void)task, (void)result;
	/* relaxed: a count */
	hshm_fetch_add_relaxed((hshm_au32 *)arg, 1);
}

static void a_task_that_is_refused_is_not_told_by_a_callback(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "loop");
	pid_t daemon = daemon_start("loop", config);
	struct race race = { 0 };
	struct probe_task *task;
	hshm_au32 n_calls = { 0 };
	pthread_t thread;

	(void)state;
	assert_true(daemon > 0);
	assert_int_equal(chi_client_connect(&opts, &race.f.client), 0);
	race.f.pool = open_pool(race.f.client);
	task = new_task(&race.f, PROBE_NOOP, 0);
	daemon_end(daemon, SIGKILL);
	assert_int_equal(chi_client_alive(race.f.client), -EOWNERDEAD);
	assert_int_equal(pthread_create(&thread, NULL, dispatch_all_the_time, &race), 0);
	for (int i = 0; i < 50000; i++)
		assert_int_equal(chi_submit_notify(race.f.client, task, count_call, &n_calls), -EOWNERDEAD);
	hshm_store_relaxed(&race.over, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(hshm_load_relaxed(&n_calls), 0);
	assert_int_equal(chi_task_free(race.f.client, task), 0);
	chi_client_disconnect(race.f.client);
	take_socket_away();
}

/* ---- a runtime that is slow, and one that hangs up ---- */

static void answers_that_come_late_are_dropped(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "loop", .connect_timeout_ns = 2 * HSHM_NSEC_PER_SEC);
	pid_t daemon = daemon_start("loop", config);
	struct fixture f = { 0 };
	struct probe_task *task;
	int fd, rc;

	(void)state;
	assert_true(daemon > 0);
	assert_int_equal(chi_client_connect(&opts, &f.client), 0);
	f.pool = open_pool(f.client);
	task = new_task(&f, PROBE_ADD, 0);
	assert_int_equal(daemon_freeze(daemon), 0);
	assert_int_equal(chi_client_event_fd(f.client), -EAGAIN);
	task->task.flags = CHI_TASK_HIGH_LATENCY; /* a lane that is not open */
	assert_int_equal(chi_submit(f.client, task), -EAGAIN);
	assert_int_equal(kill(daemon, SIGCONT), 0);
	while ((rc = chi_submit(f.client, task)) == -EAGAIN)
		;
	assert_int_equal(rc, 0);
	assert_int_equal(chi_wait(task, HSHM_FOREVER), 0);
	assert_int_equal(chi_task_free(f.client, task), 0);
	while ((fd = chi_client_event_fd(f.client)) == -EAGAIN)
		;
	assert_true(fd >= 0);
	expect_a_wake_up(&f, fd);
	chi_client_disconnect(f.client);
	assert_int_equal(daemon_end(daemon, SIGTERM), 0);
}

/* The last socket of the kind that a connection to a runtime is. */
static int find_connection(void)
{
	int found = -1, type;

	for (int fd = 0; fd < 1024; fd++) {
		socklen_t length = sizeof(type);

		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET)
			found = fd;
	}
	return found;
}

static void a_session_that_is_ended_is_no_death_of_the_runtime(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "loop");
	pid_t daemon = daemon_start("loop", config);
	struct chi_client *client = NULL;
	uint64_t n_given_up;

	(void)state;
	assert_true(daemon > 0);
	assert_int_equal(chi_client_connect(&opts, &client), 0);
	assert_int_equal(chi_client_runtime_end(client, &n_given_up), -EAGAIN);
	assert_int_equal(send(find_connection(), "rubbish", 7, MSG_NOSIGNAL), 7);
	while (chi_client_alive(client) == 0)
		;
	assert_int_equal(chi_client_runtime_end(client, &n_given_up), -ECONNRESET);
	assert_int_equal(chi_client_reconnect(client, 0), 0);
	daemon_end(daemon, SIGKILL);
	assert_int_equal(chi_client_runtime_end(client, &n_given_up), -EOWNERDEAD);
	chi_client_disconnect(client);
	take_socket_away();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_callback_is_called_once_and_a_sleeping_loop_is_woken),
		cmocka_unit_test(one_task_at_a_time_wakes_each_time),
		cmocka_unit_test(what_is_left_of_a_limited_dispatch_stays_readable),
		cmocka_unit_test(callbacks_that_hand_in_again_leave_the_loop_its_turn),
		cmocka_unit_test(a_task_with_a_callback_is_not_waited_for_nor_freed),
		cmocka_unit_test(a_refused_task_is_told_like_any_other),
		cmocka_unit_test(several_threads_share_the_dispatching),
		cmocka_unit_test(a_death_wakes_the_loop_and_calls_every_callback),
		cmocka_unit_test(a_dispatch_beside_a_reconnect_loses_no_wake_up),
		cmocka_unit_test(a_descriptor_that_is_not_complete_is_used_by_nobody),
		cmocka_unit_test(a_callback_may_reconnect_as_often_as_it_likes),
		cmocka_unit_test(a_reconnect_that_fails_leaves_nothing_in_the_descriptor),
		cmocka_unit_test(a_task_that_is_refused_is_not_told_by_a_callback),
		cmocka_unit_test(answers_that_come_late_are_dropped),
		cmocka_unit_test(a_session_that_is_ended_is_no_death_of_the_runtime),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
