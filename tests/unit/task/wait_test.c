/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wait_test.c - the client's way of waiting, in a thread that is no worker; the runtime is played by the case
 */
#include "task_test.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "task/submit_order.h"

#define N_TASKS 3
#define MSEC	HSHM_NSEC_PER_MSEC

static const uint32_t policies[] = { CHI_WAIT_SLEEP, CHI_WAIT_BUSY, CHI_WAIT_HYBRID };

struct fixture {
	struct fake_client fake;
	struct chi_task tasks[N_TASKS];
	void *pointers[N_TASKS];
};

static struct fixture fixture;

/* Each policy in turn, all tasks submitted. */
static void start_over(uint32_t policy)
{
	fake_init(&fixture.fake, policy);
	for (int i = 0; i < N_TASKS; i++) {
		chi_task_init(&fixture.tasks[i], sizeof(fixture.tasks[i]), 1, CHI_QUERY_LOCAL_ID(0), 0);
		fixture.pointers[i] = &fixture.tasks[i];
		assert_int_equal(chi_submit(&fixture.fake.client, &fixture.tasks[i]), 0);
	}
}

static int set_up(void **state)
{
	(void)state;
	start_over(CHI_WAIT_SLEEP);
	return 0;
}

/* What the runtime does: a store, and who is found asleep is woken through the word that the task names. */
static void complete(struct chi_task *task)
{
	uint64_t sleeper;

	task->result = 42;
	/* release: the result before the word */
	hshm_store_release(&task->completion, CHI_COMPLETION_DONE);
	hshm_fence_seq_cst();
	sleeper = hshm_load_relaxed(&task->sleeper);
	if (!sleeper)
		return;
	if ((uint32_t)sleeper != fixture.fake.park_ref)
		abort();
	/* release: nothing hangs on it but the kernel's compare */
	hshm_fetch_add_acq_rel(&fixture.fake.park, 1);
	syscall(SYS_futex, &fixture.fake.park.v, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

struct completer {
	pthread_t thread;
	struct chi_task *task;
	uint64_t after_ns; /* 0: as soon as the waiter sleeps in the kernel, or nearly */
	uint64_t completed_ns;
};

static void *completer(void *arg)
{
	struct completer *completer = arg;

	if (completer->after_ns) {
		usleep((useconds_t)(completer->after_ns / HSHM_NSEC_PER_USEC));
	} else {
		while (!hshm_load_relaxed(&completer->task->sleeper))
			usleep(10);
	}
	completer->completed_ns = hshm_clock_ns();
	complete(completer->task);
	return NULL;
}

static void start_completer(struct completer *completer_, struct chi_task *task, uint64_t after_ns)
{
	*completer_ = (struct completer){ .task = task, .after_ns = after_ns };
	assert_int_equal(pthread_create(&completer_->thread, NULL, completer, completer_), 0);
}

/* ---- what is refused ---- */

static void a_task_that_was_not_submitted_returns_einval(void **state)
{
	struct chi_task other;

	(void)state;
	chi_task_init(&other, sizeof(other), 1, CHI_QUERY_LOCAL_ID(0), 0);
	assert_int_equal(chi_wait(&other, HSHM_FOREVER), -EINVAL);
	fixture.pointers[N_TASKS - 1] = &other;
	assert_int_equal(chi_wait_all(fixture.pointers, N_TASKS, HSHM_FOREVER), -EINVAL);
	assert_int_equal(chi_wait_any(fixture.pointers, N_TASKS, HSHM_FOREVER), -EINVAL);
}

static void one_wait_for_tasks_of_two_clients_returns_einval(void **state)
{
	struct fake_client other;

	(void)state;
	fake_init(&other, CHI_WAIT_SLEEP);
	complete(&fixture.tasks[1]);
	assert_int_equal(chi_submit(&other.client, &fixture.tasks[1]), 0);
	assert_int_equal(chi_wait_all(fixture.pointers, 2, 0), -EINVAL);
	assert_int_equal(chi_wait_any(fixture.pointers, 2, 0), -EINVAL);
	assert_int_equal(chi_submit(&fixture.fake.client, &fixture.tasks[1]), -EINVAL);
	assert_int_equal(chi_wait(&fixture.tasks[1], 0), -ETIMEDOUT);
}

static void all_of_none_are_done_and_any_of_none_is_einval(void **state)
{
	(void)state;
	assert_int_equal(chi_wait_all(NULL, 0, HSHM_FOREVER), 0);
	assert_int_equal(chi_wait_any(NULL, 0, 0), -EINVAL);
}

/* ---- what is done already ---- */

static void what_is_done_is_found_without_waiting(void **state)
{
	(void)state;
	for (size_t p = 0; p < N_ELEMENTS(policies); p++) {
		start_over(policies[p]);
		for (int i = 0; i < N_TASKS; i++)
			complete(&fixture.tasks[i]);
		fixture.fake.alive_error = -EOWNERDEAD; /* done is done, whoever died since */
		assert_int_equal(chi_wait(&fixture.tasks[0], 0), 0);
		assert_int_equal(chi_wait(&fixture.tasks[0], HSHM_FOREVER), 0);
		assert_int_equal(chi_wait_all(fixture.pointers, N_TASKS, 0), 0);
		assert_int_equal(chi_wait_any(fixture.pointers, N_TASKS, 0), 0);
		assert_int_equal(fixture.fake.n_alive, 0);
	}
}

static void wait_any_gives_the_index_of_the_one_that_is_done(void **state)
{
	(void)state;
	for (size_t p = 0; p < N_ELEMENTS(policies); p++) {
		for (int done = 0; done < N_TASKS; done++) {
			start_over(policies[p]);
			complete(&fixture.tasks[done]);
			assert_int_equal(chi_wait_any(fixture.pointers, N_TASKS, HSHM_FOREVER), done);
		}
	}
}

static void wait_all_waits_for_each(void **state)
{
	(void)state;
	for (size_t p = 0; p < N_ELEMENTS(policies); p++) {
		for (int left = 0; left < N_TASKS; left++) {
			start_over(policies[p]);
			for (int i = 0; i < N_TASKS; i++)
				if (i != left)
					complete(&fixture.tasks[i]);
			assert_int_equal(chi_wait_all(fixture.pointers, N_TASKS, MSEC), -ETIMEDOUT);
			complete(&fixture.tasks[left]);
			assert_int_equal(chi_wait_all(fixture.pointers, N_TASKS, MSEC), 0);
		}
	}
}

/* ---- time ---- */

static void timeout_0_looks_once(void **state)
{
	(void)state;
	for (size_t p = 0; p < N_ELEMENTS(policies); p++) {
		start_over(policies[p]);
		assert_int_equal(chi_wait(&fixture.tasks[0], 0), -ETIMEDOUT);
		assert_int_equal(chi_wait_all(fixture.pointers, N_TASKS, 0), -ETIMEDOUT);
		assert_int_equal(chi_wait_any(fixture.pointers, N_TASKS, 0), -ETIMEDOUT);
		/* whoever asks like that again and again must find out that nobody answers any more */
		fixture.fake.alive_error = -EOWNERDEAD;
		assert_int_equal(chi_wait(&fixture.tasks[0], 0), -EOWNERDEAD);
	}
}

static void a_timeout_is_kept_and_the_task_stays_pending(void **state)
{
	static const uint64_t timeouts[] = { 50 * HSHM_NSEC_PER_USEC, 2 * MSEC, 30 * MSEC };

	(void)state;
	for (size_t p = 0; p < N_ELEMENTS(policies); p++) {
		for (size_t t = 0; t < N_ELEMENTS(timeouts); t++) {
			uint64_t begin_ns, waited_ns;

			start_over(policies[p]);
			begin_ns = hshm_clock_ns();
			assert_int_equal(chi_wait_any(fixture.pointers, N_TASKS, timeouts[t]), -ETIMEDOUT);
			waited_ns = hshm_clock_ns() - begin_ns;
			assert_true(waited_ns >= timeouts[t]);
			assert_true(waited_ns < timeouts[t] + HSHM_NSEC_PER_SEC);
			/* no mark of a sleeper is left */
			for (int i = 0; i < N_TASKS; i++)
				assert_int_equal(hshm_load_relaxed(&fixture.tasks[i].sleeper), 0);
		}
	}
}

/* As many behind it as can be: by what stands in the client's memory. */
static void have_all_behind(struct chi_task *task)
{
	chi_submit_order_note(task);
	chi_submit_order_count();
	task->order = (task->order & ~(uint64_t)UINT32_MAX) | (uint32_t)((uint32_t)task->order - INT32_MAX);
	assert_int_equal(chi_submit_order_n_behind(task), INT32_MAX);
}

static void who_spins_with_very_many_behind_is_told_in_time(void **state)
{
	struct completer completer_;
	uint64_t begin_ns;

	(void)state;
	start_over(CHI_WAIT_BUSY);
	have_all_behind(&fixture.tasks[0]);
	begin_ns = hshm_clock_ns();
	assert_int_equal(chi_wait(&fixture.tasks[0], MSEC), -ETIMEDOUT);
	start_completer(&completer_, &fixture.tasks[0], MSEC);
	assert_int_equal(chi_wait(&fixture.tasks[0], HSHM_FOREVER), 0);
	pthread_join(completer_.thread, NULL);
	assert_true(hshm_clock_ns() - begin_ns < HSHM_NSEC_PER_SEC);
}

static void a_completion_ends_the_wait_under_each_policy(void **state)
{
	(void)state;
	for (size_t p = 0; p < N_ELEMENTS(policies); p++) {
		struct completer completers[N_TASKS];

		start_over(policies[p]);
		for (int i = 0; i < N_TASKS; i++)
			start_completer(&completers[i], &fixture.tasks[i], (uint64_t)(N_TASKS - i) * 5 * MSEC);
		assert_int_equal(chi_wait(&fixture.tasks[2], HSHM_FOREVER), 0);
		assert_int_equal(fixture.tasks[2].result, 42);
		assert_int_equal(chi_wait_all(fixture.pointers, N_TASKS, HSHM_FOREVER), 0);
		for (int i = 0; i < N_TASKS; i++) {
			assert_int_equal(fixture.tasks[i].result, 42);
			pthread_join(completers[i].thread, NULL);
		}
	}
}

/* ---- death ---- */

static void a_dead_runtime_ends_the_wait_within_100_ms(void **state)
{
	(void)state;
	for (size_t p = 0; p < N_ELEMENTS(policies); p++) {
		uint64_t best_ns = UINT64_MAX;

		/* the machine may be busy: the best of three, or of as many as it takes */
		for (int i = 0; i < 3 || (i < 50 && best_ns >= 100 * MSEC); i++) {
			uint64_t begin_ns;

			start_over(policies[p]);
			fixture.fake.alive_error = -EOWNERDEAD;
			begin_ns = hshm_clock_ns();
			assert_int_equal(chi_wait(&fixture.tasks[0], HSHM_FOREVER), -EOWNERDEAD);
			best_ns = hshm_clock_ns() - begin_ns < best_ns ? hshm_clock_ns() - begin_ns : best_ns;
			assert_int_equal(hshm_load_relaxed(&fixture.tasks[0].completion), CHI_COMPLETION_PENDING);
		}
		assert_true(best_ns < 100 * MSEC);
	}
}

static void a_live_runtime_is_asked_now_and_then_only(void **state)
{
	(void)state;
	for (size_t p = 0; p < N_ELEMENTS(policies); p++) {
		uint32_t most = 0;

		/* who does not run for 100 ms asks less */
		for (int i = 0; i < 5 && most == 0; i++) {
			start_over(policies[p]);
			assert_int_equal(chi_wait(&fixture.tasks[0], 120 * MSEC), -ETIMEDOUT);
			assert_in_range(fixture.fake.n_alive, 0, 6);
			most = fixture.fake.n_alive;
		}
		assert_true(most > 0);
	}
}

static int complete_and_die(struct chi_client *client, void *const *tasks, uint32_t n_tasks, uint64_t now_ns)
{
	(void)tasks, (void)n_tasks, (void)now_ns;
	complete(fake_of(client)->last);
	return -EOWNERDEAD;
}

/* The last thing it did before it died. */
static void a_task_that_a_dead_runtime_completed_is_done(void **state)
{
	struct chi_client_ops ops = fake_ops;

	(void)state;
	ops.serves = complete_and_die;
	for (size_t p = 0; p < N_ELEMENTS(policies); p++) {
		start_over(policies[p]);
		fixture.fake.client.ops = &ops;
		assert_int_equal(chi_wait_any(fixture.pointers, N_TASKS, HSHM_FOREVER), N_TASKS - 1);
	}
}

/* ---- hybrid: sleeping until woken ---- */

#define PROMPT_NS (10 * MSEC)
#define ROUNDS	  200 /* as many rounds as it takes: the machine may be busy */

/* Of those who are not woken some few find out soon all the same, so one does not say enough. */
static bool enough_were_prompt(uint32_t n_prompt, uint32_t n_rounds)
{
	return n_rounds >= 10 && 10 * n_prompt >= 3 * n_rounds;
}

/* Without the wake-up it would be found at the next look at the runtime's life, after 20 ms. */
static void a_sleeper_is_woken_through_its_park_word(void **state)
{
	uint32_t n_woken = 0, n_prompt = 0;

	(void)state;
	for (uint32_t i = 0; i < ROUNDS && !enough_were_prompt(n_prompt, n_woken); i++) {
		struct completer completer_;
		uint64_t awake_ns;

		start_over(CHI_WAIT_HYBRID);
		start_completer(&completer_, &fixture.tasks[1], i % 2 ? 0 : 3 * MSEC);
		assert_int_equal(chi_wait_any(fixture.pointers, N_TASKS, HSHM_FOREVER), 1);
		awake_ns = hshm_clock_ns();
		pthread_join(completer_.thread, NULL);
		if (hshm_load_relaxed(&fixture.fake.park) == 0)
			continue; /* it was up for a look just then: nobody to wake */
		n_woken++;
		n_prompt += awake_ns - completer_.completed_ns < PROMPT_NS;
	}
	assert_true(enough_were_prompt(n_prompt, n_woken));
}

static void a_sleeper_for_all_is_woken_by_each(void **state)
{
	struct completer completers[N_TASKS];

	(void)state;
	start_over(CHI_WAIT_HYBRID);
	for (int i = 0; i < N_TASKS; i++)
		start_completer(&completers[i], &fixture.tasks[i], (uint64_t)(i + 1) * 4 * MSEC);
	assert_int_equal(chi_wait_all(fixture.pointers, N_TASKS, HSHM_FOREVER), 0);
	for (int i = 0; i < N_TASKS; i++)
		pthread_join(completers[i].thread, NULL);
	assert_in_range(hshm_load_relaxed(&fixture.fake.park), 0, N_TASKS);
}

/* ---- hybrid: the worker is being woken ---- */

static struct chi_parking_place park_and_complete(struct chi_client *client)
{
	complete(&fixture.tasks[0]);
	return fake_park(client);
}

static uint32_t n_parks;
static uint64_t completes_ns; /* 0: it has */

static struct chi_parking_place count_and_complete(struct chi_client *client)
{
	n_parks++;
	return park_and_complete(client);
}

static bool wakes_and_completes(struct chi_client *client)
{
	(void)client;
	if (completes_ns && hshm_clock_ns() >= completes_ns) {
		complete(&fixture.tasks[0]);
		completes_ns = 0;
	}
	return true;
}

static bool never_wakes(struct chi_client *client)
{
	(void)client;
	return true;
}

/* The spinning would be over when the task is completed. */
static bool spins_until_its_worker_is_up(void)
{
	struct chi_client_ops ops = fake_ops;
	const uint64_t spin_ns = 20 * MSEC;

	start_over(CHI_WAIT_HYBRID);
	ops.park = count_and_complete;
	ops.is_waking = wakes_and_completes;
	fixture.fake.client.ops = &ops;
	fixture.fake.client.spin_ns = spin_ns;
	n_parks = 0;
	completes_ns = hshm_clock_ns() + spin_ns + spin_ns / 4;
	assert_int_equal(chi_wait(&fixture.tasks[0], HSHM_FOREVER), 0);
	return n_parks == 0;
}

static void a_hybrid_waiter_does_not_sleep_while_its_worker_is_woken(void **state)
{
	uint32_t n_rounds = 0;

	(void)state;
	/* where the thread is stopped for 15 ms, it may be too late */
	while (!spins_until_its_worker_is_up())
		assert_true(++n_rounds < 20);
}

static void a_worker_that_does_not_wake_is_not_spun_for(void **state)
{
	struct chi_client_ops ops = fake_ops;
	struct completer completer_;

	(void)state;
	start_over(CHI_WAIT_HYBRID);
	ops.is_waking = never_wakes;
	fixture.fake.client.ops = &ops;
	fixture.fake.client.spin_ns = 1000;
	start_completer(&completer_, &fixture.tasks[0], 0); /* once it sleeps */
	assert_int_equal(chi_wait(&fixture.tasks[0], HSHM_FOREVER), 0);
	pthread_join(completer_.thread, NULL);
}

static uint32_t n_wakes;

static bool wakes_for_long(struct chi_client *client)
{
	(void)client;
	if (++n_wakes == 50)
		complete(&fixture.tasks[0]);
	return true;
}

static void who_spins_for_ever_does_not_sleep_after_a_wake(void **state)
{
	struct chi_client_ops ops = fake_ops;

	(void)state;
	start_over(CHI_WAIT_HYBRID);
	ops.park = count_and_complete;
	ops.is_waking = wakes_for_long;
	fixture.fake.client.ops = &ops;
	fixture.fake.client.spin_ns = HSHM_FOREVER;
	n_parks = n_wakes = 0;
	assert_int_equal(chi_wait(&fixture.tasks[0], HSHM_FOREVER), 0);
	assert_int_equal(n_parks, 0);
}

/* ---- hybrid: several wait for one ---- */

#define N_WAITERS 3

static hshm_au32 words[N_WAITERS];
static _Thread_local uint32_t my_word;

static struct chi_parking_place park_at_my_word(struct chi_client *client)
{
	return (struct chi_parking_place){ &words[my_word], my_word, &fake_of(client)->n_sleeps };
}

struct waiter {
	pthread_t thread;
	uint32_t word;
	uint64_t awake_ns;
	int ret;
};

static void *wait_for_the_first(void *arg)
{
	struct waiter *waiter = arg;

	my_word = waiter->word;
	waiter->ret = chi_wait(&fixture.tasks[0], HSHM_FOREVER);
	waiter->awake_ns = hshm_clock_ns();
	return NULL;
}

/* As the runtime does it: who marked is woken, and nobody else. Returns how late the last one was. */
static uint64_t complete_for_several(bool shares_a_word)
{
	struct waiter waiters[N_WAITERS];
	uint64_t completed_ns, sleeper, latest_ns = 0;
	hshm_au32 *word;

	for (uint32_t i = 0; i < N_WAITERS; i++) {
		waiters[i] = (struct waiter){ .word = shares_a_word ? 0 : i };
		assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_for_the_first, &waiters[i]), 0);
	}
	usleep(3000); /* so that most rounds find all of them asleep */
	completed_ns = hshm_clock_ns();
	hshm_store_release(&fixture.tasks[0].completion, CHI_COMPLETION_DONE);
	hshm_fence_seq_cst();
	sleeper = hshm_load_relaxed(&fixture.tasks[0].sleeper);
	if (sleeper) {
		word = &words[(uint32_t)sleeper];
		hshm_fetch_add_acq_rel(word, 1);
		syscall(SYS_futex, &word->v, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	for (int i = 0; i < N_WAITERS; i++) {
		pthread_join(waiters[i].thread, NULL);
		assert_int_equal(waiters[i].ret, 0);
		if (waiters[i].awake_ns - completed_ns > latest_ns)
			latest_ns = waiters[i].awake_ns - completed_ns;
	}
	return latest_ns;
}

/* Who relied on another's mark slept on until the next look at the runtime's life, after 20 ms. */
static void several_who_wait_for_one_task_all_find_it_done(void **state)
{
	struct chi_client_ops ops = fake_ops;

	(void)state;
	ops.park = park_at_my_word;
	for (int shares = 0; shares < 2; shares++) {
		uint32_t n_prompt = 0, n_rounds = 0;

		while (n_rounds < ROUNDS && !enough_were_prompt(n_prompt, n_rounds)) {
			start_over(CHI_WAIT_HYBRID);
			fixture.fake.client.ops = &ops;
			n_prompt += complete_for_several(shares) < PROMPT_NS;
			n_rounds++;
		}
		assert_true(enough_were_prompt(n_prompt, n_rounds));
	}
}

/* The completion falls between the last look and the mark: nobody would wake the sleeper, so it may not sleep. */
static void what_completes_before_the_mark_keeps_the_waiter_awake(void **state)
{
	struct chi_client_ops ops = fake_ops;
	uint64_t best_ns = UINT64_MAX;

	(void)state;
	ops.park = park_and_complete;
	for (int i = 0; i < 5 || (i < ROUNDS && best_ns >= PROMPT_NS); i++) {
		uint64_t begin_ns;

		start_over(CHI_WAIT_HYBRID);
		fixture.fake.client.ops = &ops;
		begin_ns = hshm_clock_ns();
		assert_int_equal(chi_wait_any(fixture.pointers, N_TASKS, HSHM_FOREVER), 0);
		best_ns = hshm_clock_ns() - begin_ns < best_ns ? hshm_clock_ns() - begin_ns : best_ns;
		for (int t = 1; t < N_TASKS; t++)
			assert_int_equal(hshm_load_relaxed(&fixture.tasks[t].sleeper), 0);
	}
	assert_true(best_ns < PROMPT_NS);
}

/* The inner client of a runtime has no park word: hybrid sleeps a little and looks again. */
static void hybrid_without_a_park_word_polls(void **state)
{
	struct chi_client_ops ops = fake_ops;
	struct completer completer_;

	(void)state;
	ops.park = NULL;
	start_over(CHI_WAIT_HYBRID);
	fixture.fake.client.ops = &ops;
	start_completer(&completer_, &fixture.tasks[0], 2 * MSEC);
	assert_int_equal(chi_wait(&fixture.tasks[0], HSHM_FOREVER), 0);
	pthread_join(completer_.thread, NULL);
	assert_int_equal(hshm_load_relaxed(&fixture.fake.park), 0);
}

/* ---- hybrid: it ends between the mark and the sleep ---- */

static hshm_au32 *counted_at; /* a page of its own, read only until somebody counts there */
static hshm_au64 counted_ns;  /* 0: nobody has */

static struct chi_parking_place park_at_a_trap(struct chi_client *client)
{
	return (struct chi_parking_place){ &fake_of(client)->park, fake_of(client)->park_ref, counted_at };
}

/* Who is about to sleep counts. A worker that looked for his mark before it was there completes the task now. */
static void complete_as_it_counts(int number)
{
	(void)number;
	hshm_store_relaxed(&counted_ns, hshm_clock_ns()); /* relaxed: the release follows */
	hshm_store_release(&fixture.tasks[0].completion, CHI_COMPLETION_DONE);
	if (mprotect(counted_at, (size_t)getpagesize(), PROT_READ | PROT_WRITE) < 0)
		abort();
}

static void what_completes_after_the_mark_keeps_the_waiter_awake(void **state)
{
	struct sigaction action = { .sa_handler = complete_as_it_counts }, before;
	struct chi_client_ops ops = fake_ops;
	uint64_t best_ns = UINT64_MAX;
	size_t bytes = (size_t)getpagesize();

	(void)state;
	ops.park = park_at_a_trap;
	counted_at = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(counted_at, MAP_FAILED);
	assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
	for (int i = 0; i < ROUNDS && best_ns >= PROMPT_NS; i++) {
		uint64_t late_ns;

		assert_int_equal(mprotect(counted_at, bytes, PROT_READ), 0);
		hshm_store_relaxed(&counted_ns, 0);
		start_over(CHI_WAIT_HYBRID);
		fixture.fake.client.ops = &ops;
		assert_int_equal(chi_wait(&fixture.tasks[0], HSHM_NSEC_PER_SEC), 0); /* else nobody has counted */
		late_ns = hshm_clock_ns() - hshm_load_relaxed(&counted_ns);
		best_ns = late_ns < best_ns ? late_ns : best_ns;
		assert_int_equal(hshm_load_relaxed(&fixture.tasks[0].sleeper), 0);
	}
	assert_true(best_ns < PROMPT_NS);
	assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
	munmap(counted_at, bytes);
}

static void a_task_that_is_waited_for_twice_in_one_wait_wakes_once(void **state)
{
	void *twice[] = { &fixture.tasks[0], &fixture.tasks[0] };
	struct completer completer_;

	(void)state;
	start_over(CHI_WAIT_HYBRID);
	start_completer(&completer_, &fixture.tasks[0], 20 * MSEC);
	assert_int_equal(chi_wait_all(twice, 2, HSHM_FOREVER), 0);
	pthread_join(completer_.thread, NULL);
	/* who takes his own mark for another's looks every 10 us, and does not count */
	assert_true(hshm_load_relaxed(&fixture.fake.n_sleeps) > 0);
	assert_int_equal(hshm_load_relaxed(&fixture.tasks[0].sleeper), 0);
}

/* Waiter and completer meet at every moment. */
static void no_wake_up_is_lost_over_many_waits(void **state)
{
	(void)state;
	for (int i = 0; i < 200; i++) {
		struct completer completers[N_TASKS];

		start_over(CHI_WAIT_HYBRID);
		for (int t = 0; t < N_TASKS; t++)
			start_completer(&completers[t], &fixture.tasks[t],
					(uint64_t)(1 + (i * 7 + t * 13) % 120) * HSHM_NSEC_PER_USEC);
		assert_true(chi_wait_any(fixture.pointers, N_TASKS, HSHM_NSEC_PER_SEC * 30) >= 0);
		assert_int_equal(chi_wait_all(fixture.pointers, N_TASKS, HSHM_NSEC_PER_SEC * 30), 0);
		for (int t = 0; t < N_TASKS; t++) {
			assert_int_equal(hshm_load_relaxed(&fixture.tasks[t].completion), CHI_COMPLETION_DONE);
			pthread_join(completers[t].thread, NULL);
		}
	}
}

static void yield_outside_a_task_returns(void **state)
{
	(void)state;
	chi_yield();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_task_that_was_not_submitted_returns_einval, set_up),
		cmocka_unit_test_setup(one_wait_for_tasks_of_two_clients_returns_einval, set_up),
		cmocka_unit_test(all_of_none_are_done_and_any_of_none_is_einval),
		cmocka_unit_test(what_is_done_is_found_without_waiting),
		cmocka_unit_test(wait_any_gives_the_index_of_the_one_that_is_done),
		cmocka_unit_test(wait_all_waits_for_each),
		cmocka_unit_test(timeout_0_looks_once),
		cmocka_unit_test(a_timeout_is_kept_and_the_task_stays_pending),
		cmocka_unit_test(who_spins_with_very_many_behind_is_told_in_time),
		cmocka_unit_test(a_completion_ends_the_wait_under_each_policy),
		cmocka_unit_test(a_dead_runtime_ends_the_wait_within_100_ms),
		cmocka_unit_test(a_live_runtime_is_asked_now_and_then_only),
		cmocka_unit_test(a_task_that_a_dead_runtime_completed_is_done),
		cmocka_unit_test(a_sleeper_is_woken_through_its_park_word),
		cmocka_unit_test(a_sleeper_for_all_is_woken_by_each),
		cmocka_unit_test(a_hybrid_waiter_does_not_sleep_while_its_worker_is_woken),
		cmocka_unit_test(a_worker_that_does_not_wake_is_not_spun_for),
		cmocka_unit_test(who_spins_for_ever_does_not_sleep_after_a_wake),
		cmocka_unit_test(several_who_wait_for_one_task_all_find_it_done),
		cmocka_unit_test(what_completes_before_the_mark_keeps_the_waiter_awake),
		cmocka_unit_test(hybrid_without_a_park_word_polls),
		cmocka_unit_test(what_completes_after_the_mark_keeps_the_waiter_awake),
		cmocka_unit_test(a_task_that_is_waited_for_twice_in_one_wait_wakes_once),
		cmocka_unit_test(no_wake_up_is_lost_over_many_waits),
		cmocka_unit_test(yield_outside_a_task_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
