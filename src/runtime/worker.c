/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker.c - the worker's loop: lanes, ready tasks, its inbox, the waiting queue's minimum; and sleep
 *
 * One iteration runs lanes from run list, active queue and woken list until a batch was taken, and hot lanes until
 * another was, the tasks that were made ready and those that yielded, drains the inbox, and checks the minimum of the
 * waiting queue. With nothing to do it looks for spin_ns longer (if fewer workers than cores do), then arms its hot
 * lanes and sleeps until the waiting queue's minimum or until somebody rings.
 *
 * S1  Only the worker writes doorbell.sleeping. Everyone who gives it work fences, then tests the word (doorbell.h).
 * S2  The last look covers all that a poster may have written: active queues, inbox, retires, sweep, expire, stop.
 */
#include "runtime/worker.h"

#include <errno.h>
#include <hshm/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/counter_page.h"
#include "runtime/fault.h"
#include "runtime/ipc_manager.h"
#include "runtime/log.h"
#include "runtime/thread_stack.h"

#define EVENTS_MAX 64
#define CALLERS_STACK_BYTES \
	(16 * UINT64_C(1024)) /* of a fiber's stack: so much may callers use below a task that is called in place */
#define POLL_EVERY_NS (10 * HSHM_NSEC_PER_USEC) /* epoll costs 160 ns */
#define CLOCK_EVERY   32u			/* iterations without work; the clock costs 25 ns */
#define LOOKS_BARE    256u			/* for work, before the first pause: that is 25 ns, too */

_Thread_local struct chi_worker *chi_cur_worker __attribute__((tls_model("initial-exec")));

/* ---- inbox ---- */

static void push(hshm_aptr *stack, struct chi_work *work)
{
	void *head = hshm_load_relaxed(stack); /* relaxed: the CAS checks it */

	do
		work->next = head;
	/* release: what the work is about; pairs with the acquires in drain_inbox() and chi_worker_take_retires() */
	while (!hshm_cas_release(stack, &head, work));
}

void chi_worker_post(struct chi_worker *worker, struct chi_work *work)
{
	push(&worker->inbox, work);
	if (CHI_CUR_WORKER != worker)
		hshm_doorbell_ring(&worker->doorbell);
}

static bool drain_inbox(struct chi_worker *worker)
{
	struct chi_work *newest, *oldest = NULL;

	if (!hshm_load_relaxed(&worker->inbox)) /* relaxed: a look; the exchange takes */
		return false;
	/* acquire: pairs with the release in chi_worker_post() */
	newest = hshm_exchange_acquire(&worker->inbox, NULL);
	while (newest) {
		struct chi_work *before = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = before;
	}
	while (oldest) {
		struct chi_work *work = oldest;

		oldest = work->next; /* fn may free it or post it again */
		chi_context_prefetch_posts(oldest);
		work->fn(worker, work);
	}
	return true;
}

/* ---- retirements of ended clients' lanes ---- */

void chi_worker_put_back_retire(struct chi_worker *worker, struct chi_work *work)
{
	push(&worker->retires, work);
}

void chi_worker_post_retire(struct chi_worker *worker, struct chi_work *work)
{
	push(&worker->retires, work);
	if (CHI_CUR_WORKER != worker)
		hshm_doorbell_ring(&worker->doorbell);
	/* relaxed: missed, the watchdog's next look finds it */
	if (hshm_load_relaxed(&worker->hangs))
		chi_ipc_wake(worker->runtime->ipc);
}

struct chi_work *chi_worker_take_retires(struct chi_worker *worker)
{
	if (!hshm_load_relaxed(&worker->retires)) /* relaxed: a look; the exchange takes */
		return NULL;
	/* acquire: pairs with the release in push() */
	return hshm_exchange_acquire(&worker->retires, NULL);
}

/* None of them runs a method, so they are never on our stack while somebody stands in for us. */
static bool run_retires(struct chi_worker *worker)
{
	struct chi_work *work = chi_worker_take_retires(worker), *next;
	bool worked = work != NULL;

	for (; work; work = next) {
		next = work->next; /* fn may post it again */
		work->fn(worker, work);
	}
	return worked;
}

/* ---- ready tasks ---- */

static void append_ready(struct chi_context_list *list, struct chi_run_context *context)
{
	context->blocked = false;
	context->state = CHI_CONTEXT_READY;
	context->next = NULL;
	if (list->last)
		list->last->next = context;
	else
		list->first = context;
	list->last = context;
}

void chi_worker_make_ready(struct chi_worker *worker, struct chi_run_context *context)
{
	append_ready(&worker->ready, context);
}

void chi_worker_make_yielded(struct chi_worker *worker, struct chi_run_context *context)
{
	append_ready(&worker->yielded, context);
}

/* Among 10,000 each context, fiber and stack comes from memory: a step for each of the three that come next. */
static void prefetch_next(const struct chi_run_context *first)
{
	const struct chi_run_context *second = first ? first->next : NULL, *third = second ? second->next : NULL;

	if (third)
		chi_prefetch_lines(third, sizeof(*third) + sizeof(struct chi_task));
	if (second)
		hshm_prefetch_write(second->fiber);
	if (first)
		chi_fiber_prefetch(first->fiber);
}

/* A turn of the ready or the yielded ones. */
static bool resume_all(struct chi_worker *worker, struct chi_context_list *list)
{
	struct chi_context_list pass = *list;

	if (!pass.first)
		return false;
	/* those that come into it meanwhile have their turn in the next iteration */
	list->first = list->last = NULL;
	chi_worker_begin_turn(worker);
	do {
		struct chi_run_context *context = pass.first;

		pass.first = context->next;
		prefetch_next(pass.first);
		chi_context_resume(worker, context);
	} while (pass.first && !chi_worker_took_long(worker));
	if (pass.first) { /* ahead of those */
		pass.last->next = list->first;
		list->first = pass.first;
		if (!list->last)
			list->last = pass.last;
	}
	return true;
}

/* ---- events ---- */

static void handle_events(struct chi_worker *worker, const struct epoll_event *events, int n_events)
{
	/* acquire: pairs with the add in chi_worker_add_lane(); the kernel has brought an event of the lane, so the add
	 * is seen */
	(void)hshm_load_acquire(&worker->lanes_added);
	for (int i = 0; i < n_events; i++)
		if (events[i].data.ptr)
			chi_worker_lane_rung(worker, events[i].data.ptr);
}

/* Returns whether there were any. */
static bool wait_events(struct chi_worker *worker, uint64_t timeout_ns)
{
	struct timespec timeout = { (time_t)(timeout_ns / HSHM_NSEC_PER_SEC), (long)(timeout_ns % HSHM_NSEC_PER_SEC) };
	struct epoll_event events[EVENTS_MAX];
	int n_events;

	if (timeout_ns == 0) /* a look costs half with this one */
		n_events = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, 0);
	else
		n_events = epoll_pwait2(worker->epoll_fd, events, EVENTS_MAX,
					timeout_ns == HSHM_FOREVER ? NULL : &timeout, NULL);

	handle_events(worker, events, n_events);
	return n_events > 0;
}

/* For whoever looks at the counters. */
static void show_levels(struct chi_worker *worker)
{
	struct chi_worker_counters *counters = worker->counters;

	/* relaxed, all: figures, each for itself */
	hshm_store_relaxed(&counters->looked_ns, worker->now_ns);
	hshm_store_relaxed(&counters->hot_lanes, worker->n_hot);
	hshm_store_relaxed(&counters->blocked, worker->waiting.n_entries);
	hshm_store_relaxed(&counters->wakeups, hshm_load_relaxed(&worker->doorbell.n_rings));
}

static void count_busy(struct chi_worker *worker)
{
	uint64_t ns = worker->now_ns - hshm_load_relaxed(&worker->counted_ns);

	/* relaxed, all: figures */
	hshm_count_add(&worker->busy_ns, ns);
	hshm_count_add(&worker->counters->busy_ns, ns);
	hshm_store_relaxed(&worker->counted_ns, worker->now_ns);
}

/* Its hot lanes it looks at. One that is listed or parked is taken for one that may: it is soon hot, or armed. */
static bool any_may_ring(const struct chi_worker *worker)
{
	/* relaxed: a new lane is counted before its client knows of it, and one that is handed over comes listed; seen
	 * late, the first ring waits for the next look. So it does while a hot lane is being dropped, which is out of
	 * the count before it is out of the list. */
	return worker->n_hot < hshm_load_relaxed(&worker->n_client_lanes);
}

static void read_clock(struct chi_worker *worker)
{
	worker->now_ns = hshm_clock_ns();
	if (worker->now_ns - worker->polled_ns >= POLL_EVERY_NS) {
		worker->polled_ns = worker->now_ns;
		if (worker->idle_since_ns == 0)
			count_busy(worker);
		show_levels(worker);
		if (any_may_ring(worker)) /* one in 66 round trips would wait for it: their p99 */
			wait_events(worker, 0);
	}
}

/* ---- sleep ---- */

static bool take_spin_permit(struct chi_worker *worker)
{
	struct chi_runtime *runtime = worker->runtime;
	uint32_t n = hshm_load_relaxed(&runtime->n_spinning);

	/* relaxed throughout: a count of permits guards no data */
	while (n < runtime->spinning_max)
		if (hshm_cas_relaxed(&runtime->n_spinning, &n, n + 1))
			return true;
	return false;
}

static void give_spin_permit(struct chi_worker *worker)
{
	if (worker->spinning)
		hshm_fetch_sub_relaxed(&worker->runtime->n_spinning, 1); /* relaxed: as above */
	worker->spinning = false;
}

static bool has_work(struct chi_worker *worker)
{
	/* relaxed: ordered by the fence in hshm_doorbell_prepare_sleep() */
	return chi_worker_has_lanes(worker) || worker->ready.first || worker->yielded.first ||
	       hshm_load_relaxed(&worker->inbox) || hshm_load_relaxed(&worker->retires) ||
	       hshm_load_relaxed(&worker->sweep) || hshm_load_relaxed(&worker->expire) ||
	       hshm_load_relaxed(&worker->stop);
}

static uint64_t time_until_minimum(struct chi_worker *worker)
{
	const struct hshm_min_heap_entry *min = hshm_min_heap_min(&worker->waiting);
	uint64_t now_ns;

	if (!min || min->key == HSHM_FOREVER)
		return HSHM_FOREVER;
	now_ns = hshm_clock_ns();
	return min->key > now_ns ? min->key - now_ns : 0;
}

/* Returns whether somebody has work for it, or had at the last look; false: the waiting queue's minimum is due. */
static bool sleep_until_work(struct chi_worker *worker)
{
	bool rung = true;

	if (!chi_worker_arm_all(worker))
		return true;
	hshm_doorbell_prepare_sleep(&worker->doorbell);
	if (!has_work(worker)) { /* S2 */
		hshm_count_add(&worker->counters->sleeps, 1);
		show_levels(worker);
		hshm_store_relaxed(&worker->counters->asleep, 1); /* relaxed: a figure */
		rung = wait_events(worker, time_until_minimum(worker));
		hshm_store_relaxed(&worker->counters->asleep, 0);
	}
	worker->now_ns = worker->polled_ns = hshm_clock_ns();
	hshm_store_relaxed(&worker->counted_ns, worker->now_ns); /* relaxed: a figure */
	hshm_doorbell_end_sleep(&worker->doorbell);
	return rung;
}

/* Since its last idle look (counted_ns): the iteration that found work may have run it for long. */
static void become_busy(struct chi_worker *worker)
{
	give_spin_permit(worker);
	worker->idle_since_ns = 0;
}

/* now_ns is of the end of the work before this look: iterate() sees to it. */
static void become_idle(struct chi_worker *worker)
{
	count_busy(worker);
	worker->n_idle_looks = 0;
	worker->idle_since_ns = worker->now_ns;
	worker->spinning = take_spin_permit(worker);
}

static void idle(struct chi_worker *worker)
{
	if (worker->idle_since_ns == 0)
		become_idle(worker);
	if (worker->spinning && worker->now_ns - worker->idle_since_ns < worker->runtime->config.spin_ns) {
		hshm_store_relaxed(&worker->counted_ns, worker->now_ns); /* relaxed: a figure */
		if (worker->n_idle_looks++ >= LOOKS_BARE)
			hshm_cpu_relax();
		return;
	}
	give_spin_permit(worker);
	chi_context_rest_spares(worker);
	/* what is only due is looked at; when that was all, it sleeps on at once */
	if (!sleep_until_work(worker))
		return;
	worker->idle_since_ns = worker->now_ns;
	worker->spinning = take_spin_permit(worker);
}

/* ---- the loop ---- */

static bool expire_periodic(struct chi_worker *worker)
{
	/* acquire: pairs with the release in chi_worker_ask_expire(): the reason was set before */
	if (!hshm_load_relaxed(&worker->expire) || !hshm_exchange_acquire(&worker->expire, 0))
		return false;
	chi_worker_expire_periodic(worker);
	return true;
}

static bool iterate(struct chi_worker *worker)
{
	bool worked, worked_late;

	hshm_count_add(&worker->beats, 1);
	worker->n_calls = 0;
	worked = chi_worker_run_lanes(worker);

	worked |= chi_worker_poll_hot(worker);
	worked |= resume_all(worker, &worker->ready);
	worked |= resume_all(worker, &worker->yielded);
	worked |= chi_worker_sweep(worker);
	worked |= expire_periodic(worker);
	/* a turn may take long; an idle look does not */
	if (worked || worker->waiting.n_entries || ++worker->n_iterations % CLOCK_EVERY == 0)
		read_clock(worker);
	worked_late = drain_inbox(worker); /* before the heap's check: W2 in context_wait.c */
	worked_late |= run_retires(worker);
	worked_late |= chi_worker_check_waiting(worker);
	if (worked_late) /* for long, perhaps: a task may have run in place */
		worker->now_ns = hshm_clock_ns();
	return worked | worked_late;
}

static void bind_to_cpu(struct chi_worker *worker)
{
	const struct chi_config *config = &worker->runtime->config;
	uint32_t cpu;
	int ret;

	if (config->n_cpus == 0)
		return;
	cpu = config->cpus[worker->id % config->n_cpus];
	ret = HSHM_THREAD_MODEL->set_affinity(cpu);
	if (ret < 0)
		chi_log_warn("worker %u: cannot bind to CPU %u (workers.cpus): %s", worker->id, cpu, strerror(-ret));
}

/* What belongs to the thread: its fibers know its stack, the signal stack is its own. */
static int init_thread(struct chi_worker *worker)
{
	const struct chi_config *config = &worker->runtime->config;
	struct chi_fiber_opts opts = { config->stack_bytes, config->fibers_max, config->fiber_guard,
				       CALLERS_STACK_BYTES };
	int ret;

	chi_cur_worker = worker;
	worker->tid = (pid_t)syscall(SYS_gettid);
	chi_counter_page_worker_runs(worker->runtime->counters, worker->id);
	prctl(PR_SET_TIMERSLACK, 1UL);
	bind_to_cpu(worker);
	ret = chi_fault_thread_init();
	if (ret == 0 && worker->runtime->handles_faults)
		chi_stack_thread_init();
	chi_context_rest_spares(worker);
	return ret < 0 ? ret : chi_fiber_pool_create(&opts, &worker->fibers);
}

/* Its fibers stay until all workers have ended: tasks that were given up may lie on their stacks. */
static void fini_thread(void)
{
	chi_fault_thread_fini();
	chi_cur_worker = NULL;
}

static void run_until_stop(struct chi_worker *worker)
{
	worker->now_ns = hshm_clock_ns();
	hshm_store_relaxed(&worker->counted_ns, worker->now_ns); /* relaxed: a figure */
	/* relaxed: the doorbell's fences see to it that it is seen; nothing else hangs on it */
	while (!hshm_load_relaxed(&worker->stop)) {
		if (!iterate(worker))
			idle(worker);
		else if (worker->idle_since_ns)
			become_busy(worker);
	}
	give_spin_permit(worker);
}

static void worker_main(void *arg)
{
	struct chi_worker *worker = arg;
	int error = init_thread(worker);

	worker->start_error = error;
	sem_post(&worker->started);
	if (error == 0)
		run_until_stop(worker);
	hshm_store_relaxed(&worker->counters->looked_ns, 0); /* relaxed: a figure; it looks no more */
	fini_thread();
	/* release: what the thread has done to its lists; pairs with the acquire in chi_worker_has_ended() */
	hshm_store_release(&worker->ended, 1);
}

/* ---- the outside ---- */

static int init_epoll(struct chi_worker *worker)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (worker->epoll_fd < 0 || epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->doorbell.fd, &event) < 0)
		return -errno;
	return 0;
}

int chi_worker_init(struct chi_worker *worker, struct chi_runtime *runtime, uint32_t id,
		    struct chi_active_queue *active)
{
	int ret;

	worker->runtime = runtime;
	worker->id = id;
	worker->active = active;
	worker->counters = chi_counter_page_worker(runtime->counters, id);
	worker->method_counters = chi_counter_page_methods(runtime->counters, id);
	worker->client_counters = chi_counter_page_clients(runtime->counters, id);
	worker->lane_counters = chi_counter_page_lanes(runtime->counters);
	worker->epoll_fd = -1;
	pthread_mutex_init(&worker->lanes_lock, NULL);
	pthread_mutex_init(&worker->taking_lock, NULL);
	sem_init(&worker->started, 0, 0);
	hshm_min_heap_init(&worker->waiting);
	worker->hot = calloc(runtime->config.hot_lanes_max, sizeof(*worker->hot));
	if (!worker->hot)
		return -ENOMEM;
	ret = hshm_doorbell_init(&worker->doorbell);
	return ret < 0 ? ret : init_epoll(worker);
}

void chi_worker_fini(struct chi_worker *worker)
{
	chi_context_free_spares(worker);
	if (worker->epoll_fd >= 0)
		close(worker->epoll_fd);
	hshm_doorbell_fini(&worker->doorbell);
	hshm_min_heap_fini(&worker->waiting);
	pthread_mutex_destroy(&worker->lanes_lock);
	pthread_mutex_destroy(&worker->taking_lock);
	sem_destroy(&worker->started);
	chi_fiber_pool_destroy(worker->fibers);
	free(worker->lanes);
	free(worker->hot);
}

int chi_worker_start(struct chi_worker *worker)
{
	char name[HSHM_THREAD_NAME_MAX];
	int ret;

	snprintf(name, sizeof(name), "chi-worker-%u", worker->id);
	ret = HSHM_THREAD_MODEL->spawn(name, worker_main, worker, &worker->thread);
	if (ret < 0)
		return ret;
	while (sem_wait(&worker->started) < 0)
		;
	if (worker->start_error < 0) {
		HSHM_THREAD_MODEL->join(worker->thread);
		worker->thread = NULL;
	}
	return worker->start_error;
}

void chi_worker_ask_stop(struct chi_worker *worker)
{
	/* relaxed: the doorbell's fence orders it */
	hshm_store_relaxed(&worker->stop, 1);
	hshm_doorbell_ring(&worker->doorbell);
}

bool chi_worker_has_ended(const struct chi_worker *worker)
{
	/* acquire: pairs with the release in worker_main() */
	return hshm_load_acquire(&worker->ended) != 0;
}

uint64_t chi_worker_busy_ns(struct chi_worker *worker)
{
	/* relaxed: a figure; what is counted between this load and the next is left out until the next look */
	uint64_t busy_ns = hshm_load_relaxed(&worker->busy_ns), now_ns = hshm_clock_ns(), counted_ns;

	/* acquire: pairs with the release in hshm_doorbell_end_sleep(): awake, it has set counted_ns to its waking. The
	 * clock was read before: if it has slept since, counted_ns is later. */
	if (hshm_load_acquire(&worker->doorbell.sleeping))
		return busy_ns;
	counted_ns = hshm_load_relaxed(&worker->counted_ns); /* relaxed: ordered by the load before */
	return counted_ns && counted_ns < now_ns ? busy_ns + now_ns - counted_ns : busy_ns;
}

void chi_worker_ask_expire(struct chi_worker *worker)
{
	/* release: the reason before the request; pairs with the exchange in expire_periodic() */
	hshm_store_release(&worker->expire, 1);
	hshm_doorbell_ring(&worker->doorbell);
}

int chi_worker_add_lane(struct chi_worker *worker, struct chi_lane *lane)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = lane };
	int ret = 0;

	pthread_mutex_lock(&worker->lanes_lock);
	if (worker->n_lanes == worker->lanes_allocated) {
		uint32_t n = worker->lanes_allocated ? 2 * worker->lanes_allocated : 64;
		struct chi_lane **lanes = realloc(worker->lanes, n * sizeof(*lanes));

		if (!lanes) {
			ret = -ENOMEM;
			goto unlock;
		}
		worker->lanes = lanes;
		worker->lanes_allocated = n;
	}
	/* acq_rel: the lane's fields before its events; pairs with the load in handle_events() */
	hshm_fetch_add_acq_rel(&worker->lanes_added, 1);
	if (lane->session && epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, lane->eventfd, &event) < 0) {
		ret = -errno;
		goto unlock;
	}
	worker->lanes[worker->n_lanes++] = lane;
	lane->list_place = worker->n_lanes;
	if (lane->session)
		hshm_fetch_add_relaxed(&worker->n_client_lanes, 1); /* relaxed: see any_may_ring() */
unlock:
	pthread_mutex_unlock(&worker->lanes_lock);
	return ret;
}

void chi_worker_forget_lane(struct chi_worker *worker, struct chi_lane *lane, uint32_t place)
{
	struct chi_lane *last;

	pthread_mutex_lock(&worker->lanes_lock);
	if (place) {
		last = worker->lanes[--worker->n_lanes];
		worker->lanes[place - 1] = last;
		if (last != lane)
			last->list_place = place;
		if (lane->session) {
			hshm_fetch_sub_relaxed(&worker->n_client_lanes, 1); /* relaxed: as it is raised */
			epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, lane->eventfd, NULL);
		}
	}
	pthread_mutex_unlock(&worker->lanes_lock);
}

bool chi_worker_in_task(const struct chi_worker *worker)
{
	return worker->current != NULL;
}
