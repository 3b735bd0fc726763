/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flows.c - what the threads of a client process do while their runtime is killed again and again
 */
#include "flows.h"

#include <chimaera/admin.h>
#include <chimaera/chimaera.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "modules/probe.h"
#include "support/processor.h"

#define N_BATCH	     16u
#define N_EVENTS     4u
#define BUFFER_BYTES 4096u
#define REACH_NS     (20 * HSHM_NSEC_PER_SEC)
#define POLL_MS	     10000

const char *const flow_kind_names[FLOW_KINDS] = {
	[FLOW_WAIT_SLEEP] = "wait, sleep",
	[FLOW_WAIT_BUSY] = "wait, busy",
	[FLOW_WAIT_ALL_HYBRID] = "wait_all, hybrid",
	[FLOW_WAIT_ANY_HYBRID] = "wait_any, hybrid",
	[FLOW_SHORT_WAITS] = "waits of 2 ms",
	[FLOW_EVENTS] = "event descriptor",
	[FLOW_BATCHES] = "batches",
	[FLOW_MIXED] = "mixed",
	[FLOW_CONNECTOR] = "connects",
	[FLOW_CREATOR] = "makes pools",
};
const char *const flow_phase_names[FLOW_PHASES] = { "attaches", "submits", "waits", "connects", "makes a pool" };

enum { CLIENT_SLEEP, CLIENT_BUSY, CLIENT_HYBRID, N_CLIENTS };

/* Threads share them, so that several find the end at once and reconnect. */
static const int client_of[FLOW_KINDS] = {
	[FLOW_WAIT_SLEEP] = CLIENT_SLEEP,	[FLOW_WAIT_BUSY] = CLIENT_BUSY,
	[FLOW_WAIT_ALL_HYBRID] = CLIENT_HYBRID, [FLOW_WAIT_ANY_HYBRID] = CLIENT_HYBRID,
	[FLOW_SHORT_WAITS] = CLIENT_SLEEP,	[FLOW_EVENTS] = CLIENT_HYBRID,
	[FLOW_BATCHES] = CLIENT_SLEEP,		[FLOW_MIXED] = CLIENT_HYBRID,
	[FLOW_CONNECTOR] = CLIENT_SLEEP,	[FLOW_CREATOR] = CLIENT_SLEEP,
};

struct flow {
	struct flows *all;
	struct flow_row *row;
	enum flow_kind kind;
	int processor; /* the file of its waits */
	struct chi_client *client;
	int pid; /* of the runtime that it works with */
	uint32_t pool;
	uint64_t number;
	/* FLOW_BATCHES: inputs that have no answer yet */
	uint64_t open[N_BATCH];
	uint32_t n_open;
};

/* ---- what is said ---- */

static __attribute__((format(printf, 2, 3))) void broken(const struct flow *flow, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	hshm_fetch_add_relaxed(&flow->all->n_broken, 1); /* relaxed: a count */
	fprintf(stderr, "BROKEN: thread '%s' of process %d: %s (%s); seed %llu\n", flow_kind_names[flow->kind],
		(int)getpid(), text, chi_error_text(), (unsigned long long)flow->all->seed);
}

static void enter(struct flow *flow, enum flow_phase phase)
{
	hshm_store_relaxed(&flow->row->phase, phase); /* relaxed: for the histogram */
}

static bool is_over(const struct flow *flow)
{
	return hshm_load_relaxed(&flow->all->over); /* relaxed: a flag that carries nothing */
}

static void count_answer(struct flow *flow)
{
	hshm_fetch_add_relaxed(&flow->row->n_answers, 1); /* relaxed: a count */
}

/* ---- tasks ---- */

/* NULL: the runtime is gone. */
static struct probe_task *new_task(struct flow *flow, struct chi_client *client, uint32_t pool,
				   enum probe_method method)
{
	struct probe_task *task = NULL;
	int rc = chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_HASH(flow->number), method, &task);

	if (rc == 0)
		task->in = ++flow->number;
	else if (rc != -EOWNERDEAD)
		broken(flow, "a task cannot be had: %d", rc);
	return rc == 0 ? task : NULL;
}

static int submit(struct flow *flow, struct chi_client *client, void *task)
{
	int rc;

	do
		rc = chi_submit(client, task);
	while (rc == -EAGAIN);
	if (rc < 0 && rc != -EOWNERDEAD)
		broken(flow, "submit: %d", rc);
	return rc;
}

static void release(struct flow *flow, struct chi_client *client, void *task)
{
	int rc = chi_task_free(client, task);

	if (rc < 0)
		broken(flow, "a task of a runtime that is gone is %d", rc);
}

/* The result of an addition: 0, or -EOWNERDEAD (another thread has reconnected: the pool is of the one before). */
static int check_sum(struct flow *flow, const struct probe_task *task)
{
	if (task->task.result == -ENOENT)
		return -EOWNERDEAD;
	if (task->task.result != 0 || task->out != task->in + 1) {
		broken(flow, "%llu + 1 is %llu, result %d", (unsigned long long)task->in, (unsigned long long)task->out,
		       task->task.result);
		return -EBADMSG;
	}
	count_answer(flow);
	return 0;
}

static int add_once(struct flow *flow, struct chi_client *client, uint32_t pool)
{
	struct probe_task *task = new_task(flow, client, pool, PROBE_ADD);
	int rc = task ? submit(flow, client, task) : -EOWNERDEAD;

	if (rc == 0)
		rc = chi_wait(task, HSHM_FOREVER);
	if (rc == 0)
		rc = check_sum(flow, task);
	release(flow, client, task);
	return rc;
}

static int runtime_pid(struct flow *flow)
{
	static _Thread_local struct chi_runtime_info info;

	return chi_client_runtime_info(flow->client, &info) < 0 ? -1 : info.pid;
}

/* Another thread has reconnected while this one was between two tasks: nobody tells it. */
static bool is_left_behind(struct flow *flow)
{
	return runtime_pid(flow) != flow->pid;
}

/* ---- flows: each returns what told it of the end ---- */

static int wait_in_its_way(struct flow *flow, struct probe_task *tasks[2])
{
	void *both[2] = { tasks[0], tasks[1] };
	int rc;

	switch (flow->kind) {
	case FLOW_WAIT_ALL_HYBRID:
		return chi_wait_all(both, 2, HSHM_FOREVER);
	case FLOW_WAIT_ANY_HYBRID:
		return chi_wait_any(both, 2, HSHM_FOREVER);
	case FLOW_SHORT_WAITS:
		while ((rc = chi_wait(tasks[0], 2 * HSHM_NSEC_PER_MSEC)) == -ETIMEDOUT)
			;
		return rc;
	default:
		return chi_wait(tasks[0], HSHM_FOREVER);
	}
}

/* One that does not end: it yields all the time, or rests for an hour before its next run. */
static struct probe_task *endless_task(struct flow *flow)
{
	bool yields = flow->kind == FLOW_SHORT_WAITS;
	struct probe_task *task = new_task(flow, flow->client, flow->pool, yields ? PROBE_GATE_WAIT : PROBE_ADD);

	if (task && !yields) {
		task->task.flags = CHI_TASK_PERIODIC;
		task->task.period_ns = 3600 * HSHM_NSEC_PER_SEC;
	}
	return task;
}

static int flow_waits(struct flow *flow)
{
	struct probe_task *tasks[2] = { NULL };
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0; i++) {
		tasks[i] = endless_task(flow);
		rc = tasks[i] ? submit(flow, flow->client, tasks[i]) : -EOWNERDEAD;
	}
	enter(flow, FLOW_WAITS);
	if (rc == 0)
		rc = wait_in_its_way(flow, tasks);
	for (int i = 0; i < 2; i++)
		release(flow, flow->client, tasks[i]);
	return rc;
}

struct events {
	struct flow *flow;
	bool ended; /* a callback has told it */
};

/* Checked, and handed in again. The last one never ends. */
static void event_came(void *memory, int result, void *arg)
{
	struct probe_task *task = memory;
	struct events *events = arg;
	int rc = -EOWNERDEAD;

	if (result != -EOWNERDEAD && check_sum(events->flow, task) == 0) {
		task->in++;
		do
			rc = chi_submit_notify(events->flow->client, task, event_came, events);
		while (rc == -EAGAIN);
	}
	events->ended |= rc < 0;
}

static int poll_events(struct flow *flow, struct events *events)
{
	struct pollfd wake = { .fd = chi_client_event_fd(flow->client), .events = POLLIN };
	int rc;

	if (wake.fd < 0)
		return wake.fd;
	while (!events->ended) {
		enter(flow, FLOW_WAITS);
		if (poll(&wake, 1, POLL_MS) == 0)
			broken(flow, "the event descriptor tells nothing");
		enter(flow, FLOW_SUBMITS);
		rc = chi_client_dispatch(flow->client, 0);
		if (rc < 0)
			return rc;
	}
	return -EOWNERDEAD;
}

static int flow_events(struct flow *flow)
{
	struct events events = { .flow = flow };
	struct probe_task *tasks[N_EVENTS] = { NULL };
	int rc = 0;

	for (unsigned i = 0; i < N_EVENTS && rc == 0; i++) {
		tasks[i] = i ? new_task(flow, flow->client, flow->pool, PROBE_ADD) : endless_task(flow);
		if (!tasks[i])
			rc = -EOWNERDEAD;
		while (rc == 0 && (rc = chi_submit_notify(flow->client, tasks[i], event_came, &events)) == -EAGAIN)
			rc = 0;
	}
	if (rc == 0)
		rc = poll_events(flow, &events);
	/* those whose callback has not been called yet: until then they are lent */
	while (chi_client_dispatch(flow->client, 0) > 0)
		;
	for (unsigned i = 0; i < N_EVENTS; i++)
		release(flow, flow->client, tasks[i]);
	return rc;
}

/* Fill `open` up, submit all of it, wait. What has an answer leaves `open`; the rest is for the next runtime. */
static int run_batch(struct flow *flow)
{
	struct probe_task *tasks[N_BATCH] = { NULL };
	void *submitted[N_BATCH];
	uint32_t n = 0, n_open = 0;
	int rc = 0;

	if (is_left_behind(flow))
		return -EOWNERDEAD;
	while (flow->n_open < N_BATCH)
		flow->open[flow->n_open++] = ++flow->number;
	enter(flow, FLOW_SUBMITS);
	for (; n < N_BATCH && rc == 0; n += rc == 0) {
		tasks[n] = new_task(flow, flow->client, flow->pool, PROBE_ADD);
		if (!tasks[n])
			rc = -EOWNERDEAD;
		else
			tasks[n]->in = flow->open[n];
		if (rc == 0)
			rc = submit(flow, flow->client, tasks[n]);
		submitted[n] = tasks[n];
	}
	enter(flow, FLOW_WAITS);
	if (rc == 0)
		rc = chi_wait_all(submitted, n, HSHM_FOREVER);
	for (uint32_t i = 0; i < N_BATCH; i++) {
		bool answered = i < n && chi_task_done(tasks[i]) && check_sum(flow, tasks[i]) == 0;

		if (!answered)
			flow->open[n_open++] = flow->open[i];
		release(flow, flow->client, tasks[i]);
	}
	flow->n_open = n_open;
	return rc == 0 && n_open ? -EOWNERDEAD : rc;
}

static int flow_batches(struct flow *flow)
{
	int rc;

	/* relaxed: a count */
	hshm_fetch_add_relaxed(&flow->row->n_again, flow->n_open);
	while ((rc = run_batch(flow)) == 0)
		;
	return rc;
}

static int copy_once(struct flow *flow, char *from, char *to)
{
	struct probe_task *task = new_task(flow, flow->client, flow->pool, PROBE_COPY);
	int rc = task ? 0 : -EOWNERDEAD;

	memset(from, (int)flow->number, BUFFER_BYTES);
	if (rc == 0)
		rc = chi_buffer_set(flow->client, &task->buffers[0], from, BUFFER_BYTES, CHI_BUFFER_IN);
	if (rc == 0)
		rc = chi_buffer_set(flow->client, &task->buffers[1], to, BUFFER_BYTES, CHI_BUFFER_OUT);
	enter(flow, FLOW_SUBMITS);
	if (rc == 0)
		rc = submit(flow, flow->client, task);
	enter(flow, FLOW_WAITS);
	if (rc == 0)
		rc = chi_wait(task, HSHM_FOREVER);
	if (rc == 0 && task->task.result == -ENOENT)
		rc = -EOWNERDEAD;
	if (rc == 0) {
		if (task->task.result != 0 || memcmp(from, to, BUFFER_BYTES) != 0)
			broken(flow, "a copy is not the same, result %d", task->task.result);
		count_answer(flow);
	}
	release(flow, flow->client, task);
	return rc;
}

static int give_away(struct flow *flow)
{
	struct probe_task *task = new_task(flow, flow->client, flow->pool, PROBE_ADD);
	int rc = task ? 0 : -EOWNERDEAD;

	if (rc == 0) {
		task->task.flags = CHI_TASK_FIRE_AND_FORGET;
		rc = submit(flow, flow->client, task);
		if (rc < 0)
			release(flow, flow->client, task);
	}
	return rc;
}

static int flow_mixed(struct flow *flow)
{
	struct probe_task *periodic = endless_task(flow);
	char *from = NULL, *to = NULL;
	int rc = periodic ? 0 : -EOWNERDEAD;

	if (rc == 0) {
		periodic->task.period_ns = HSHM_NSEC_PER_MSEC;
		rc = submit(flow, flow->client, periodic);
	}
	if (rc == 0)
		rc = chi_alloc(flow->client, BUFFER_BYTES, &from);
	if (rc == 0)
		rc = chi_alloc(flow->client, BUFFER_BYTES, &to);
	while (rc == 0) {
		rc = give_away(flow);
		if (rc == 0)
			rc = copy_once(flow, from, to);
	}
	chi_free(flow->client, from);
	chi_free(flow->client, to);
	release(flow, flow->client, periodic);
	return rc;
}

static bool is_no_runtime(int rc)
{
	return rc == -ENOENT || rc == -ECONNREFUSED || rc == -ESHUTDOWN || rc == -ETIMEDOUT;
}

static int flow_connector(struct flow *flow)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = FLOWS_NAME);
	struct chi_client *client = NULL;
	int rc;

	do {
		enter(flow, FLOW_CONNECTS);
		if (is_left_behind(flow))
			return -EOWNERDEAD;
		rc = chi_client_connect(&opts, &client);
		if (rc < 0 && !is_no_runtime(rc))
			broken(flow, "connect: %d", rc);
		if (rc < 0)
			return -EOWNERDEAD;
		rc = add_once(flow, client, flow->pool);
		chi_client_disconnect(client);
	} while (rc == 0);
	return rc;
}

static int flow_creator(struct flow *flow)
{
	char name[32];
	struct chi_pool_spec spec = { .module = "probe", .name = name, .n_containers = 2, .exclusive = true };
	uint32_t pool;
	int rc;

	snprintf(name, sizeof(name), "of_%d", (int)getpid());
	do {
		enter(flow, FLOW_CREATES);
		if (is_left_behind(flow))
			return -EOWNERDEAD;
		rc = chi_pool_create(flow->client, &spec, &pool);
		if (rc >= 0)
			rc = add_once(flow, flow->client, pool);
		if (rc >= 0)
			rc = chi_pool_destroy(flow->client, pool);
		if (rc == -ENOENT)
			rc = -EOWNERDEAD; /* as in check_sum() */
	} while (rc == 0);
	return rc;
}

/* ---- one runtime after the other ---- */

/* Returns the pid of the runtime that we and our pool belong to. */
static int attach(struct flow *flow)
{
	struct chi_pool_spec spec = { .module = "probe", .n_containers = 4 };

	enter(flow, FLOW_ATTACHES);
	while (!is_over(flow)) {
		int rc = chi_client_reconnect(flow->client, REACH_NS), pid;

		if (rc < 0) {
			/* another thread may have been at it until a moment ago */
			if (!is_no_runtime(rc))
				broken(flow, "reconnect: %d", rc);
			continue;
		}
		pid = runtime_pid(flow);
		rc = chi_pool_create(flow->client, &spec, &flow->pool);
		if (rc >= 0 && pid == runtime_pid(flow))
			return pid;
		if (rc < 0 && rc != -EOWNERDEAD)
			broken(flow, "a pool cannot be opened: %d", rc);
	}
	return 0;
}

static int work(struct flow *flow)
{
	enter(flow, FLOW_SUBMITS);
	switch (flow->kind) {
	case FLOW_EVENTS:
		return flow_events(flow);
	case FLOW_BATCHES:
		return flow_batches(flow);
	case FLOW_MIXED:
		return flow_mixed(flow);
	case FLOW_CONNECTOR:
		return flow_connector(flow);
	case FLOW_CREATOR:
		return flow_creator(flow);
	default:
		return flow_waits(flow);
	}
}

/* It has let go of the runtime it was with. */
static void keep_news(struct flow *flow)
{
	struct flow_row *row = flow->row;
	uint32_t n = hshm_load_relaxed(&row->n_news); /* relaxed: this thread's own */

	struct flow_news news = { .told_ns = hshm_clock_ns(), .pid = flow->pid };

	news.waited_ns = processor_wait_ns(flow->processor);
	hshm_store_relaxed(&row->with, 0); /* relaxed: the news come behind it */
	row->news[n % FLOW_NEWS_KEPT] = news;
	/* release: pairs with await_news() */
	hshm_store_release(&row->n_news, n + 1);
}

static void *run_flow(void *arg)
{
	struct flow *flow = arg;
	int rc;

	flow->processor = processor_open(0, 0);
	flow->row->pid = (int)getpid();
	flow->row->tid = (int)gettid();
	while ((flow->pid = attach(flow))) {
		hshm_store_release(&flow->row->with, (uint32_t)flow->pid); /* release: pairs with all_work_with() */
		rc = work(flow);
		if (rc != -EOWNERDEAD)
			broken(flow, "the end is told as %d", rc);
		keep_news(flow);
	}
	close(flow->processor);
	return NULL;
}

static struct chi_client *reach(enum chi_wait_policy policy)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = FLOWS_NAME, .wait_policy = policy,
						      .start_timeout_ns = REACH_NS);
	struct chi_client *client = NULL;

	if (chi_client_connect(&opts, &client) < 0) {
		fprintf(stderr, "runtime_kills: %s\n", chi_error_text());
		_exit(2);
	}
	return client;
}

_Noreturn void flows_run(struct flows *flows, uint32_t first)
{
	struct chi_client *clients[N_CLIENTS];
	struct flow flow_of[FLOW_KINDS];
	pthread_t threads[FLOW_KINDS];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	clients[CLIENT_SLEEP] = reach(CHI_WAIT_SLEEP);
	clients[CLIENT_BUSY] = reach(CHI_WAIT_BUSY);
	clients[CLIENT_HYBRID] = reach(CHI_WAIT_HYBRID);
	for (int i = 0; i < FLOW_KINDS; i++) {
		flow_of[i] = (struct flow){ .all = flows,
					    .row = &flows->rows[first + (uint32_t)i],
					    .kind = i,
					    .client = clients[client_of[i]] };
		if (pthread_create(&threads[i], NULL, run_flow, &flow_of[i]))
			_exit(2);
	}
	for (int i = 0; i < FLOW_KINDS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < N_CLIENTS; i++)
		chi_client_disconnect(clients[i]);
	_exit(0);
}
