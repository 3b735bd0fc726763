/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wait.c - waiting for tasks: one source, compiled once for the client and once for the runtime
 *
 * CHIMAERA_RUNTIME 1, in a task: the worker blocks the task and goes on with others (chi_worker_wait()).
 * Else, and in threads of the runtime's process that are no workers: check, sleep 10 us, check again; or by the
 * client's policy spin, or spin a little and then sleep until woken. Either way look now and then whether the runtime
 * lives.
 *
 * A waiter that spins looks at the answer's line just as the worker writes there, and takes it from it each time. So it
 * looks the less often, the more tasks its thread has handed in behind the one it waits for: most often these are next,
 * the worker gets ahead, and the next waits find their tasks done. If they are not, it is told 0.8 us late, at most.
 *
 * A hybrid waiter's spinning counts from when its worker is up, within limits: to sleep meanwhile would add its own
 * waking to the worker's. The limits are for where a host gives both one CPU: there the worker comes up once the client
 * sleeps. It does not yield: if others want its CPU, that would cost it a whole slice.
 *
 * Being woken (verify/client_wake.pml). The runtime completes a task by a plain store, as an exchange would wait there
 * for all stores before it, which are on their way to the client's lines:
 *
 *   client   seen = parking word; sleeper = mark, in each task; n_sleeps++; fence; not done: sleep while word == seen
 *   runtime  completion = DONE; fence; if sleeper: raise the word it names, wake
 *
 * W1  The fences: either the runtime sees the mark, or we see that the task is done (Dekker).
 * W2  The word is read first: a completion that finds the mark has changed what the sleep compares, or the second look
 *     finds it.
 * W3  The tasks of a turn share a fence, at its end. Each is looked at as it ends, too, which finds who sleeps already;
 *     at the end all are looked at again, if n_sleeps is not what it was before the first, for sleeps that were not
 *     woken yet.
 * W4  A task bears one mark: another thread that waits for it, too, looks every 10 us. A mark is of one sleep, so who
 *     takes his back never takes another's, even if they share a parking word.
 */
#include <chimaera/client.h>
#include <errno.h>
#include <hshm/clock.h>
#include <hshm/thread_model.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "task/cur_worker.h"
#include "task/error.h"
#include "task/submit_order.h"
#include "task/submitter.h"

#define POLL_SLEEP_US	      10u
#define ALIVE_CHECK_NS	      (20 * HSHM_NSEC_PER_MSEC) /* -EOWNERDEAD well within 100 ms */
#define PAUSES_MAX	      32u			/* until the next look: 0.8 us, where one takes 26 ns */
#define PAUSES_BETWEEN_CLOCKS 64u
#define SPINS_IN_WAKE	      2u  /* times spin_ns, at most, until a worker that is being woken is up */
#define FETCHED_MAX	      16u /* lines at once, about as many as a core has on their way */

/* The index of a task that is done (ANY), n_tasks - 1 when all are (ALL), or -1. */
static int find_done(void *const *tasks, uint32_t n_tasks, enum chi_wait_mode mode)
{
	for (uint32_t i = 0; i < n_tasks; i++) {
		bool done = chi_task_done(tasks[i]);

		if (mode == CHI_WAIT_FOR_ANY && done)
			return (int)i;
		if (mode == CHI_WAIT_FOR_ALL && !done)
			return -1;
	}
	return mode == CHI_WAIT_FOR_ALL ? (int)n_tasks - 1 : -1;
}

static void futex_sleep(hshm_au32 *word, uint32_t seen, uint64_t ns)
{
	struct timespec timeout = { (time_t)(ns / HSHM_NSEC_PER_SEC), (long)(ns % HSHM_NSEC_PER_SEC) };

	syscall(SYS_futex, &word->v, FUTEX_WAIT, seen, &timeout, NULL, 0);
}

/* In the upper half a number of its own, for a sleep of this process. */
static uint64_t make_mark(uint32_t park_ref)
{
	static hshm_au32 n_marks;

	/* relaxed: it only has to be another one */
	return (uint64_t)hshm_fetch_add_relaxed(&n_marks, 1) << 32 | park_ref;
}

enum marked { MARKED_DONE, MARKED_ALL, MARKED_BY_ANOTHER };

/* Mark those that are pending, up to one that bears another's mark. @ret_n: how many were looked at. */
static enum marked mark_sleeping(void *const *tasks, uint32_t n_tasks, uint64_t mark, enum chi_wait_mode mode,
				 uint32_t *ret_n)
{
	bool any_done = false, all_done = true;

	for (*ret_n = 0; *ret_n < n_tasks; ++*ret_n) {
		struct chi_task *task = tasks[*ret_n];
		uint64_t nobody = 0;

		if (chi_task_done(task)) {
			any_done = true;
			continue;
		}
		/* Release: the look at the parking word stays before it (W2). Our own mark: the task is there twice. */
		if (!hshm_cas_release(&task->sleeper, &nobody, mark) && nobody != mark)
			return MARKED_BY_ANOTHER;
		all_done = false;
	}
	return (mode == CHI_WAIT_FOR_ANY ? any_done : all_done) ? MARKED_DONE : MARKED_ALL;
}

static void unmark_sleeping(void *const *tasks, uint32_t n_tasks, uint64_t mark)
{
	for (uint32_t i = 0; i < n_tasks; i++) {
		uint64_t expected = mark;

		/* relaxed: nothing is published */
		hshm_cas_relaxed(&((struct chi_task *)tasks[i])->sleeper, &expected, 0);
	}
}

/* Another waiter's mark is not to be relied on: its word may be another, and it is taken back when that one likes. */
static void sleep_until_woken(struct chi_client *client, void *const *tasks, uint32_t n_tasks, enum chi_wait_mode mode,
			      uint64_t ns)
{
	struct chi_parking_place place = client->ops->park(client);
	/* relaxed: the CASes that follow release it; the kernel compares once more */
	uint32_t seen = hshm_load_relaxed(place.word), n_looked;
	uint64_t mark = make_mark(place.ref);
	enum marked marked = mark_sleeping(tasks, n_tasks, mark, mode, &n_looked);

	if (marked == MARKED_ALL) {
		/* release: who sees the count finds the marks; pairs with the acquires in run_context.c (W3) */
		hshm_fetch_add_release(place.n_sleeps, 1);
		hshm_fence_after_rmw(); /* W1 */
		if (find_done(tasks, n_tasks, mode) < 0)
			futex_sleep(place.word, seen, ns);
	}
	unmark_sleeping(tasks, n_looked, mark);
	if (marked == MARKED_BY_ANOTHER)
		HSHM_THREAD_MODEL->sleep_for_us(POLL_SLEEP_US);
}

struct waiting {
	struct chi_client *client;
	void *const *tasks;
	uint32_t n_tasks;
	enum chi_wait_mode mode;
	uint32_t n_done;      /* of all: the first ones, as far as they are done */
	uint64_t waited_ns;   /* as the clock said last */
	uint64_t up_since_ns; /* of it: the worker was last seen to be asleep */
};

static bool spins(const struct waiting *waiting)
{
	uint32_t policy = waiting->client->wait_policy;

	return policy == CHI_WAIT_BUSY ||
	       (policy == CHI_WAIT_HYBRID && waiting->waited_ns - waiting->up_since_ns < waiting->client->spin_ns);
}

/* After a look at the clock. */
static void spin_on_in_wake(struct waiting *waiting)
{
	struct chi_client *client = waiting->client;

	if (client->wait_policy == CHI_WAIT_HYBRID && waiting->waited_ns / SPINS_IN_WAKE < client->spin_ns &&
	    client->ops->is_waking && client->ops->is_waking(client))
		waiting->up_since_ns = waiting->waited_ns;
}

/* For all: the first of those that are not done; the others stay so. */
static const struct chi_task *first_pending(struct waiting *waiting)
{
	while (waiting->n_done < waiting->n_tasks - 1 && chi_task_done(waiting->tasks[waiting->n_done]))
		waiting->n_done++;
	return waiting->tasks[waiting->n_done];
}

/* Half as many as there are tasks behind it, which the worker may do meanwhile. For any: who knows which is next? */
static uint32_t n_pauses_until_look(struct waiting *waiting)
{
	uint32_t n;

	if (waiting->mode == CHI_WAIT_FOR_ANY)
		return 1;
	n = 1 + chi_submit_order_n_behind(first_pending(waiting)) / 2;
	return n < PAUSES_MAX ? n : PAUSES_MAX;
}

static void spin(uint32_t n_pauses)
{
	for (; n_pauses > 0; n_pauses--)
		hshm_cpu_relax();
}

/* One step of the client's policy. Returns how many pauses it made; when it slept, as many as call for the clock. */
static uint32_t pause_by_policy(struct waiting *waiting, uint64_t left_ns)
{
	struct chi_client *client = waiting->client;

	if (spins(waiting)) {
		uint32_t n_pauses = n_pauses_until_look(waiting);

		spin(n_pauses);
		return n_pauses;
	}
	if (client->wait_policy == CHI_WAIT_HYBRID && client->ops->park) {
		sleep_until_woken(client, waiting->tasks, waiting->n_tasks, waiting->mode,
				  left_ns < ALIVE_CHECK_NS ? left_ns : ALIVE_CHECK_NS);
	} else {
		HSHM_THREAD_MODEL->sleep_for_us(POLL_SLEEP_US);
	}
	return PAUSES_BETWEEN_CLOCKS;
}

static bool any_is_dispatched(void *const *tasks, uint32_t n_tasks)
{
	for (uint32_t i = 0; i < n_tasks; i++) {
		if (chi_task_is_dispatched(tasks[i]))
			return true;
	}
	return false;
}

static int wait_by_polling(void *const *tasks, uint32_t n_tasks, enum chi_wait_mode mode, uint64_t timeout_ns)
{
	struct chi_client *client = chi_task_submitter(tasks[0]);
	struct waiting waiting = { .client = client, .tasks = tasks, .n_tasks = n_tasks, .mode = mode };
	uint64_t begin_ns, alive_ns, now_ns;
	uint32_t n_pauses = 0;
	int done = find_done(tasks, n_tasks, mode);

	if (done >= 0)
		return done;
	if (any_is_dispatched(tasks, n_tasks))
		return chi_error_set(-EINVAL, "a task with a callback is dispatched, not waited for");
	begin_ns = alive_ns = now_ns = hshm_clock_ns();
	while (done < 0) {
		bool timed_out = now_ns - begin_ns >= timeout_ns;

		/* who waits for short times again and again shall find out, too */
		if (timed_out || now_ns - alive_ns >= ALIVE_CHECK_NS) {
			int ret = client->ops->serves ? client->ops->serves(client, tasks, n_tasks, now_ns) : 0;

			if (ret < 0) {
				done = find_done(tasks, n_tasks, mode);
				return done >= 0 ? done : ret;
			}
			alive_ns = now_ns;
		}
		if (timed_out)
			return chi_error_set(-ETIMEDOUT, "%u tasks were not done in time", n_tasks);
		n_pauses += pause_by_policy(&waiting, timeout_ns - waiting.waited_ns);
		done = find_done(tasks, n_tasks, mode);
		/* while it spins, the clock (25 ns) is read now and then only */
		if (done < 0 && n_pauses >= PAUSES_BETWEEN_CLOCKS) {
			n_pauses = 0;
			now_ns = hshm_clock_ns();
			waiting.waited_ns = now_ns - begin_ns;
			spin_on_in_wake(&waiting);
		}
	}
	return done;
}

/* Their answers, which come from the worker's core, all on their way before the first is looked at; to be written, as
 * they will be when they are handed in again: else each line would come twice. Before a wait, and not in it: a line
 * that is taken while its answer is about to be written makes that wait. */
static void fetch_answers(void *const *tasks, uint32_t n_tasks)
{
	for (uint32_t i = 0; i < n_tasks && i < FETCHED_MAX; i++)
		hshm_prefetch_write(&((struct chi_task *)tasks[i])->completion);
}

static int wait_for(void *const *tasks, uint32_t n_tasks, enum chi_wait_mode mode, uint64_t timeout_ns)
{
	if (mode == CHI_WAIT_FOR_ALL)
		fetch_answers(tasks, n_tasks);
	for (uint32_t i = 0; i < n_tasks; i++) {
		if (!chi_task_submitter(tasks[i]))
			return chi_error_set(-EINVAL, "wait for a task that was not submitted");
		if (chi_task_submitter(tasks[i]) != chi_task_submitter(tasks[0]))
			return chi_error_set(-EINVAL, "one wait for tasks of two clients");
	}
#if CHIMAERA_RUNTIME
	struct chi_worker *worker = CHI_CUR_WORKER;

	if (worker && chi_worker_in_task(worker)) {
		int done = find_done(tasks, n_tasks, mode), ret;

		if (done >= 0)
			return done;
		ret = chi_worker_wait(worker, tasks, n_tasks, mode, timeout_ns);
		return ret < 0 ? ret : find_done(tasks, n_tasks, mode);
	}
#endif
	return wait_by_polling(tasks, n_tasks, mode, timeout_ns);
}

int chi_wait(void *task, uint64_t timeout_ns)
{
	return wait_for(&task, 1, CHI_WAIT_FOR_ALL, timeout_ns);
}

int chi_wait_all(void *const *tasks, uint32_t n_tasks, uint64_t timeout_ns)
{
	int ret = n_tasks ? wait_for(tasks, n_tasks, CHI_WAIT_FOR_ALL, timeout_ns) : 0;

	return ret < 0 ? ret : 0;
}

int chi_wait_any(void *const *tasks, uint32_t n_tasks, uint64_t timeout_ns)
{
	if (n_tasks == 0)
		return chi_error_set(-EINVAL, "wait for any of no tasks");
	return wait_for(tasks, n_tasks, CHI_WAIT_FOR_ANY, timeout_ns);
}

void chi_yield(void)
{
#if CHIMAERA_RUNTIME
	struct chi_worker *worker = CHI_CUR_WORKER;

	if (worker && chi_worker_in_task(worker)) {
		chi_worker_yield(worker);
		return;
	}
#endif
	HSHM_THREAD_MODEL->yield();
}
