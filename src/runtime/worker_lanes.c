/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker_lanes.c - which lane a worker runs next, and a turn of it
 *
 * A lane with work is in exactly one of these places, all the worker's own: the run list, or that of those which the
 * worker woke itself (in_run_list, both; also while its turn is on), the hot list (process lanes that are polled, also
 * while their turn is on), or a parking lot (it waits for room elsewhere). The active queues are how others get it
 * here; found there again meanwhile, it is a duplicate and dropped.
 *
 * L1  Run list, woken list and active queue take turns, so lanes that are always full starve none that wake.
 * L2  Low-latency lanes first; after LOW_LATENCY_TURNS_MAX of them one high-latency lane has its turn.
 */
#include <errno.h>
#include <sys/epoll.h>

#include "runtime/container.h"
#include "runtime/count.h"
#include "runtime/session.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"
#include "task/task_queue.h"

#define LOW_LATENCY_TURNS_MAX 8u
#define LOOK_AHEAD	      8u /* references: a line of slots */
#define LOOK_AGAIN	      8u /* left, in a lane that is deep */
#define ANSWER_AHEAD	      6u /* places behind the head: whose answer's lines are sent for */
#define TASK_BYTES_MAX	      (2 * sizeof(struct chi_task)) /* of which is sent for */

/* ---- lists ---- */

static void append(struct chi_lane_list *list, struct chi_lane *lane)
{
	lane->in_run_list = true;
	lane->next = NULL;
	if (list->last)
		list->last->next = lane;
	else
		list->first = lane;
	list->last = lane;
}

static void append_run_list(struct chi_worker *worker, struct chi_lane *lane)
{
	append(&worker->run_list[lane->header->priority], lane);
}

static void prefetch_context(const struct chi_worker *worker, uint32_t ref)
{
	const char *context = (const char *)worker->runtime->private_mem.map.base + (uint64_t)ref * HIPC_REF_UNIT;

	chi_prefetch_lines(context, sizeof(struct chi_run_context) + sizeof(struct chi_task));
}

/* A task's way from a lane to its method is the lane, its slot, the context and the task: each says where the next
 * lies, and among 10,000 each comes from memory. So there is a step for each of the three lanes that come next. */
static void prefetch_next(const struct chi_worker *worker, const struct chi_lane *first)
{
	const struct chi_lane *second = first ? first->next : NULL, *third = second ? second->next : NULL;

	if (third)
		chi_lane_prefetch(third);
	if (second) {
		hshm_prefetch_write(second->header);
		hipc_mpsc_prefetch_head(&second->consumer);
	}
	if (first && first->container)
		prefetch_context(worker, hipc_mpsc_peek(&first->consumer));
}

static struct chi_lane *pop(const struct chi_worker *worker, struct chi_lane_list *list)
{
	struct chi_lane *lane = list->first;

	if (lane) {
		list->first = lane->next;
		if (!list->first)
			list->last = NULL;
		prefetch_next(worker, list->first);
	}
	return lane;
}

static void remove_lane(struct chi_lane_list *list, const struct chi_lane *lane)
{
	struct chi_lane *before = NULL;

	for (struct chi_lane *at = list->first; at; before = at, at = at->next) {
		if (at != lane)
			continue;
		if (before)
			before->next = lane->next;
		else
			list->first = lane->next;
		if (list->last == lane)
			list->last = before;
		return;
	}
}

static void remove_hot(struct chi_worker *worker, uint32_t index)
{
	worker->hot[index]->hot = false;
	worker->n_hot--;
	for (uint32_t i = index; i < worker->n_hot; i++)
		worker->hot[i] = worker->hot[i + 1];
}

/* ---- arming: the client must ring from now on ---- */

/* Returns whether work came meanwhile: then it is not armed. */
static bool arm_lane(struct chi_lane *lane)
{
	/* relaxed: the fence orders it */
	hshm_store_relaxed(lane->armed, 1);
	/* pairs with the fences in chi_task_queue_enqueue() and client_ring(): the client sees `armed`, or
	 * we see its push */
	hshm_fence_seq_cst();
	if (hipc_mpsc_peek(&lane->consumer) == 0)
		return false;
	hshm_store_relaxed(lane->armed, 0); /* relaxed: a late ring is harmless */
	return true;
}

static void arm_or_run(struct chi_worker *worker, struct chi_lane *lane)
{
	if (arm_lane(lane))
		append_run_list(worker, lane);
}

static uint32_t longest_idle(const struct chi_worker *worker)
{
	uint32_t longest = 0;

	for (uint32_t i = 1; i < worker->n_hot; i++)
		if (worker->hot[i]->idle_since_ns < worker->hot[longest]->idle_since_ns)
			longest = i;
	return longest;
}

static void make_hot(struct chi_worker *worker, struct chi_lane *lane)
{
	uint32_t n_max = worker->runtime->config.hot_lanes_max;

	if (n_max == 0) {
		arm_or_run(worker, lane);
		return;
	}
	if (worker->n_hot == n_max) {
		uint32_t leaves = longest_idle(worker);
		struct chi_lane *idle = worker->hot[leaves];

		remove_hot(worker, leaves);
		arm_or_run(worker, idle);
	}
	lane->hot = true;
	lane->idle_since_ns = worker->now_ns;
	worker->hot[worker->n_hot++] = lane;
}

bool chi_worker_arm_all(struct chi_worker *worker)
{
	while (worker->n_hot) {
		struct chi_lane *lane = worker->hot[worker->n_hot - 1];

		if (arm_lane(lane))
			return false;
		remove_hot(worker, worker->n_hot - 1);
	}
	return true;
}

void chi_worker_lane_rung(struct chi_worker *worker, struct chi_lane *lane)
{
	hshm_count_add(&worker->counters->doorbells, 1);
	/* relaxed: from here on we look at the ring ourselves; a client that still sees 1 rings in vain */
	hshm_store_relaxed(lane->armed, 0);
	chi_active_queue_push(&worker->active[lane->header->priority], lane);
}

/* ---- parking: no room where the head of the lane wants to go ---- */

static void lane_unparked(struct chi_worker *worker, struct chi_work *work)
{
	struct chi_lane *lane = (struct chi_lane *)((char *)work - offsetof(struct chi_lane, park.work));

	lane->parked = false;
	if (!hshm_load_relaxed(&lane->retired)) /* relaxed: set long before; who sets it comes by himself */
		append_run_list(worker, lane);
	if (lane->moves_unparked) {
		lane->moves_unparked = false;
		chi_worker_move_lane(worker, lane);
	}
}

static void prepare_park(struct chi_worker *worker, struct chi_lane *lane)
{
	hshm_count_add(&chi_client_counters(worker, lane->session)->parks, 1);
	hshm_count_add(&chi_lane_counters(worker, lane)->parks, 1);
	lane->parked = true;
	lane->park.work.fn = lane_unparked;
	lane->park.worker = worker;
}

static bool at_context_cap(const struct chi_session *session)
{
	return chi_session_n_contexts(session) >= session->contexts_max;
}

static void park_until_contexts_end(struct chi_worker *worker, struct chi_lane *lane)
{
	struct chi_session *session = lane->session;

	prepare_park(worker, lane);
	hshm_count_add(&worker->counters->parks, 1);
	chi_parking_enter(&session->parking, &lane->park);
	if (!at_context_cap(session))
		chi_parking_wake(&session->parking, 1);
}

/* ---- turns ---- */

static void park_at_lane(struct chi_worker *worker, struct chi_lane *lane, struct chi_run_context *context,
			 struct chi_lane *full)
{
	lane->stalled = context;
	prepare_park(worker, lane);
	chi_parking_at_lane(&lane->park, full);
}

/* Returns 0 when it is done with here, CHI_ROUTED_HERE, or -EAGAIN: the lane is parked. */
static int route_or_park(struct chi_worker *worker, struct chi_lane *lane, struct chi_run_context *context)
{
	struct chi_lane *where;
	int ret = chi_worker_route_in_turn(worker, context, &where);

	if (ret < 0)
		park_at_lane(worker, lane, context, where);
	return ret;
}

/* The same for the task that the lane was parked with. */
static int route_stalled(struct chi_worker *worker, struct chi_lane *lane)
{
	struct chi_run_context *context = lane->stalled;
	struct chi_lane *where;
	int ret = chi_worker_route_in_turn(worker, context, &where);

	lane->stalled = NULL;
	chi_parking_pass_on(&lane->park, where);
	if (ret < 0)
		park_at_lane(worker, lane, context, where);
	return ret;
}

/* NULL, which is as good to prefetch: not wholly inside of the client's segment, where alone it has a say. */
static const char *task_ahead(const struct chi_lane *lane, uint32_t n)
{
	uint32_t ref = hipc_mpsc_ahead_at(&lane->consumer, &lane->ahead, n);

	if ((uint64_t)ref + TASK_BYTES_MAX / HIPC_REF_UNIT > lane->session->n_claims)
		return NULL;
	return (const char *)chi_session_task(lane->session, ref);
}

/* The answer's line, and the method's own fields, taken to be as many as those of the task before. Without it each task
 * pays for its lines to come from the client's core, one after the other. Sent for with those of all that a look has
 * found, they would be more than a core has on their way; so the first of a look go without, which is no slower. */
static void prefetch_answer(const struct chi_lane *lane, uint32_t n)
{
	const char *task = n < hipc_mpsc_n_ahead(&lane->consumer, &lane->ahead) ? task_ahead(lane, n) : NULL;

	if (task)
		chi_prefetch_lines(task + offsetof(struct chi_task, completion), lane->answer_bytes);
}

/* A client that is slower than we are writes just where we look. So we look when we have run what we saw, and it has
 * written some more meanwhile; sooner only if it is far ahead. */
static void look_ahead(struct chi_lane *lane)
{
	uint32_t n_seen = hipc_mpsc_n_ahead(&lane->consumer, &lane->ahead), n;

	if (n_seen > (lane->deep ? LOOK_AGAIN : 0))
		return;
	n = hipc_mpsc_look_ahead(&lane->consumer, &lane->ahead, LOOK_AHEAD);
	lane->deep = n == LOOK_AHEAD;
	for (uint32_t i = 0; i < n; i++)
		__builtin_prefetch(task_ahead(lane, n_seen + i));
	if (n_seen == 0)
		prefetch_answer(lane, 0);
}

bool chi_worker_turn_goes_on(const struct chi_worker *worker)
{
	const struct chi_lane *lane = worker->turn;

	/* not by a look at a client's slots: that takes their line from him */
	return lane && (lane->session ? hipc_mpsc_n_ahead(&lane->consumer, &lane->ahead) != 0
				      : hipc_mpsc_peek(&lane->consumer) != 0);
}

/* 0: there is none. */
static uint32_t dequeue(struct chi_lane *lane)
{
	look_ahead(lane);
	prefetch_answer(lane, ANSWER_AHEAD);
	return hipc_mpsc_n_ahead(&lane->consumer, &lane->ahead) ? chi_task_queue_dequeue_ahead(lane) : 0;
}

/* How many wait in it. The tail is a hint, and in a client's ring whatever the client likes. */
static uint64_t n_queued(const struct chi_lane *lane)
{
	uint64_t depth = UINT64_C(1) << lane->ring.depth_shift;
	uint64_t n;

	if (hipc_mpsc_peek(&lane->consumer) == 0)
		return 0;
	n = hshm_load_relaxed(lane->ring.tail) - lane->consumer.head; /* relaxed: a figure */
	return n - 1 < depth ? n : 1;
}

static void count_turn(struct chi_worker *worker, struct chi_lane *lane, uint32_t n_taken)
{
	struct chi_lane_counters *counters = chi_lane_counters(worker, lane);
	uint64_t n = n_queued(lane);

	hshm_count_add(&counters->taken, n_taken);
	/* relaxed, all: figures; the worker is told each time, as lanes move */
	hshm_store_relaxed(&counters->worker, worker->id);
	hshm_store_relaxed(&counters->queued, n);
	if (n > hshm_load_relaxed(&counters->queued_max))
		hshm_store_relaxed(&counters->queued_max, n);
}

static void count_contexts(struct chi_client_counters *counters, uint32_t n)
{
	if (n > hshm_load_relaxed(&counters->contexts_max))
		hshm_store_relaxed(&counters->contexts_max, n); /* relaxed: a figure */
}

/* From the answer's line on; of a large task the first lines. */
static uint32_t answer_bytes(const struct chi_run_context *context)
{
	uint32_t size_bytes = context->asked.size_bytes;

	return (size_bytes < TASK_BYTES_MAX ? size_bytes : TASK_BYTES_MAX) - offsetof(struct chi_task, completion);
}

/* One reference from the lane, and its context routed: as route_or_park(); -ENOENT: there is none, or the client has as
 * many contexts as it may. */
static int take_reference(struct chi_turn *turn, struct chi_run_context **ret_context)
{
	struct chi_worker *worker = turn->worker;
	struct chi_lane *lane = turn->lane;
	struct chi_session *session = lane->session;
	uint32_t ref;

	turn->n_contexts = chi_session_n_contexts(session);
	if (turn->n_contexts >= session->contexts_max) {
		park_until_contexts_end(worker, lane);
		return -ENOENT;
	}
	ref = dequeue(lane);
	if (!ref)
		return -ENOENT;
	turn->n_taken++;
	*ret_context = chi_worker_admit(worker, session, ref);
	if (!*ret_context)
		return 0;
	lane->answer_bytes = answer_bytes(*ret_context);
	hshm_count_add(&chi_client_counters(worker, session)->started, 1);
	return route_or_park(worker, lane, *ret_context);
}

static struct chi_run_context *next_of_process_lane(struct chi_turn *turn)
{
	struct chi_worker *worker = turn->worker;
	struct chi_run_context *context = turn->lane->stalled;
	int ret = context ? route_stalled(worker, turn->lane) : 0;

	while (ret == 0 && turn->n_taken < worker->runtime->config.lane_batch &&
	       !(turn->n_taken && chi_worker_took_long(worker)))
		ret = take_reference(turn, &context);
	return ret == CHI_ROUTED_HERE ? context : NULL;
}

/* Returns how many references it took. */
static uint32_t turn_process_lane(struct chi_worker *worker, struct chi_lane *lane)
{
	struct chi_parking_lot *cap = &lane->session->parking;
	bool was_woken = lane->park.lot == cap;
	struct chi_turn turn = { .worker = worker, .lane = lane, .next = next_of_process_lane };

	if (was_woken)
		lane->park.lot = NULL;
	chi_worker_run_turn(worker, &turn);
	chi_task_queue_release(lane);
	count_contexts(chi_client_counters(worker, lane->session), turn.n_contexts);
	count_turn(worker, lane, turn.n_taken);
	if (was_woken && !at_context_cap(lane->session))
		chi_parking_wake(cap, 1); /* room is left: for the client's next lane */
	return turn.n_taken;
}

static struct chi_run_context *next_of_container_lane(struct chi_turn *turn)
{
	struct chi_worker *worker = turn->worker;
	struct chi_run_context *context;
	uint32_t ref;

	if (turn->n_taken && (turn->n_taken >= worker->runtime->config.lane_batch || chi_worker_took_long(worker)))
		return NULL;
	ref = chi_task_queue_dequeue(turn->lane);
	if (!ref)
		return NULL;
	turn->n_taken++;
	context = hipc_ref_translate(&worker->runtime->private_mem.map, ref, sizeof(*context));
	if (context->client_ref) /* the answer's line */
		hshm_prefetch_write(&chi_session_task(context->session, context->client_ref)->completion);
	chi_lane_note_task(worker, turn->lane, context);
	return context;
}

static uint32_t turn_container_lane(struct chi_worker *worker, struct chi_lane *lane)
{
	struct chi_turn turn = { .worker = worker, .lane = lane, .next = next_of_container_lane };

	chi_worker_run_turn(worker, &turn);
	chi_task_queue_release(lane);
	if (turn.n_taken && chi_parking_check(&lane->parking, turn.n_taken))
		hshm_count_add(&chi_lane_counters(worker, lane)->full_turns, 1);
	count_turn(worker, lane, turn.n_taken);
	return turn.n_taken;
}

static void after_process_turn(struct chi_worker *worker, struct chi_lane *lane)
{
	lane->in_run_list = false;
	if (lane->parked)
		return;
	if (hipc_mpsc_peek(&lane->consumer))
		append_run_list(worker, lane);
	else
		make_hot(worker, lane);
}

static void after_container_turn(struct chi_worker *worker, struct chi_lane *lane)
{
	if (hipc_mpsc_peek(&lane->consumer) || chi_lane_deactivate(lane))
		append_run_list(worker, lane);
	else
		lane->in_run_list = false;
}

static bool is_ended(const struct chi_lane *lane)
{
	/* relaxed: seen late, a dead client's task or two run for nobody */
	return hshm_load_relaxed(&lane->retired) || (lane->session && hshm_load_relaxed(&lane->session->ended));
}

/* Returns how many tasks it took. */
static uint32_t run_lane(struct chi_worker *worker, struct chi_lane *lane)
{
	uint32_t n_taken = 0;

	hshm_count_add(&worker->counters->turns, 1);
	worker->turn = lane;
	if (is_ended(lane)) {
		lane->in_run_list = false;
	} else if (lane->session) {
		n_taken = turn_process_lane(worker, lane);
		after_process_turn(worker, lane);
	} else {
		n_taken = turn_container_lane(worker, lane);
		after_container_turn(worker, lane);
	}
	worker->turn = NULL;
	return n_taken;
}

/* ---- which lane next ---- */

int chi_worker_enqueue_own(struct chi_worker *worker, struct chi_lane *lane, uint32_t ref)
{
	int ret = hipc_mpsc_enqueue(&lane->ring, ref);
	uint64_t word;

	if (ret < 0)
		return ret;
	append(&worker->woken[lane->header->priority], lane);
	/* relaxed, both: the worker and the generation are ours to change, and whoever else marks it writes the same */
	word = hshm_load_relaxed(&lane->header->activation);
	hshm_store_relaxed(&lane->header->activation, word | CHI_ACTIVATION_QUEUED);
	return 0;
}

static bool is_duplicate(const struct chi_lane *lane)
{
	return lane->in_run_list || lane->hot || lane->parked;
}

static void forward_stray(struct chi_worker *worker, struct chi_lane *lane)
{
	struct chi_active_queue *all = chi_work_orch_active_queues(worker->runtime->orch);
	struct chi_active_queue *its = &all[chi_lane_worker(lane) * CHI_PRIOS + lane->header->priority];

	hshm_count_add(&worker->counters->strays, 1);
	chi_active_queue_push(its, lane);
	hshm_doorbell_ring(its->doorbell);
}

static struct chi_lane *take_active(struct chi_worker *worker, uint32_t prio)
{
	struct chi_lane *lane;

	while ((lane = chi_active_queue_pop(&worker->active[prio]))) {
		if (hshm_load_relaxed(&lane->retired)) /* relaxed: seen late, its owner drops it with the rest */
			continue;
		if (chi_lane_worker(lane) != worker->id) {
			forward_stray(worker, lane);
			continue;
		}
		if (is_duplicate(lane)) {
			hshm_count_add(&worker->counters->duplicates, 1);
			continue;
		}
		lane->in_run_list = true;
		return lane;
	}
	return NULL;
}

enum source { FROM_RUN_LIST, FROM_ACTIVE, FROM_WOKEN, N_SOURCES };

static struct chi_lane *take_from(struct chi_worker *worker, uint32_t prio, uint32_t source)
{
	if (source == FROM_ACTIVE)
		return take_active(worker, prio);
	return pop(worker, source == FROM_WOKEN ? &worker->woken[prio] : &worker->run_list[prio]);
}

static struct chi_lane *take_lane(struct chi_worker *worker, uint32_t prio)
{
	for (uint32_t i = 0; i < N_SOURCES; i++) {
		uint32_t source = worker->next_source[prio];
		struct chi_lane *lane = take_from(worker, prio, source);

		worker->next_source[prio] = (source + 1) % N_SOURCES; /* L1 */
		if (lane)
			return lane;
	}
	return NULL;
}

static struct chi_lane *take_next_lane(struct chi_worker *worker)
{
	bool high_first = worker->low_latency_turns >= LOW_LATENCY_TURNS_MAX; /* L2 */
	uint32_t first = high_first ? CHI_PRIO_HIGH_LATENCY : CHI_PRIO_LOW_LATENCY;
	struct chi_lane *lane = take_lane(worker, first);

	if (!lane)
		lane = take_lane(worker, 1 - first);
	if (lane)
		worker->low_latency_turns = lane->header->priority == CHI_PRIO_HIGH_LATENCY
						    ? 0
						    : worker->low_latency_turns + 1;
	return lane;
}

/* What an iteration has besides costs as much as some tasks, and 10,000 lanes may have one each. */
bool chi_worker_run_lanes(struct chi_worker *worker)
{
	uint32_t n_taken = 0;
	struct chi_lane *lane;

	chi_worker_begin_turn(worker);
	while (n_taken < worker->runtime->config.lane_batch && !(n_taken && chi_worker_took_long(worker)) &&
	       (lane = take_next_lane(worker))) {
		uint32_t n = run_lane(worker, lane);

		n_taken += n ? n : 1; /* a turn, at least */
	}
	return n_taken != 0;
}

/* A turn of the hot lane at @index; it stays there unless it is parked or ended. Returns how many references it
 * took. */
static uint32_t run_hot(struct chi_worker *worker, uint32_t index)
{
	struct chi_lane *lane = worker->hot[index];
	uint32_t n = 0;

	hshm_count_add(&worker->counters->turns, 1);
	if (!is_ended(lane)) {
		worker->turn = lane;
		n = turn_process_lane(worker, lane);
		worker->turn = NULL;
		lane->idle_since_ns = worker->now_ns;
	}
	if (lane->parked || is_ended(lane)) {
		/* others may have been taken out of the list meanwhile (lane_take.c) */
		while (index >= worker->n_hot || worker->hot[index] != lane)
			index--;
		remove_hot(worker, index);
	}
	return n;
}

/* Look at all hot lanes of the priority, from where the last look ended: a turn for those with work, until a batch was
 * taken in all, or one turn took long; out of the list with those that had none for long. */
static bool poll_hot_of(struct chi_worker *worker, uint32_t prio)
{
	uint32_t n_taken = 0, n_looks = worker->n_hot;
	bool worked = false;

	chi_worker_begin_turn(worker);
	while (n_looks-- && n_taken < worker->runtime->config.lane_batch && !(worked && chi_worker_took_long(worker))) {
		uint32_t index = worker->hot_next < worker->n_hot ? worker->hot_next : 0;
		struct chi_lane *lane;
		uint32_t n_hot = worker->n_hot;

		if (n_hot == 0)
			break;
		lane = worker->hot[index];
		if (lane->header->priority == prio && hipc_mpsc_peek(&lane->consumer)) {
			n_taken += run_hot(worker, index);
			worked = true;
		} else if (lane->header->priority == prio &&
			   worker->now_ns - lane->idle_since_ns > worker->runtime->config.spin_ns) {
			remove_hot(worker, index);
			arm_or_run(worker, lane);
		}
		/* where one left, the next stands at its index now */
		worker->hot_next = worker->n_hot == n_hot ? index + 1 : index;
	}
	return worked;
}

bool chi_worker_poll_hot(struct chi_worker *worker)
{
	bool worked = poll_hot_of(worker, CHI_PRIO_LOW_LATENCY);

	worker->low_latency_polls = worked ? worker->low_latency_polls + 1 : LOW_LATENCY_TURNS_MAX; /* L2 */
	if (worker->low_latency_polls >= LOW_LATENCY_TURNS_MAX) {
		worker->low_latency_polls = 0;
		worked |= poll_hot_of(worker, CHI_PRIO_HIGH_LATENCY);
	}
	return worked;
}

bool chi_worker_has_lanes(struct chi_worker *worker)
{
	for (uint32_t prio = 0; prio < CHI_PRIOS; prio++)
		if (worker->run_list[prio].first || worker->woken[prio].first ||
		    hipc_mpsc_peek(&worker->active[prio].consumer))
			return true;
	return false;
}

/* Was the lane to be listed, be there work in it or not (it was moved here)? Nobody will do it again: its producers go
 * by the mark, or by the armed word. */
static bool should_be_listed(const struct chi_lane *lane)
{
	/* relaxed, both: written before the lane was to be listed, and so before `sweep` */
	if (lane->session)
		return !hshm_load_relaxed(lane->armed);
	return hshm_load_relaxed(&lane->header->activation) & CHI_ACTIVATION_QUEUED;
}

bool chi_worker_sweep(struct chi_worker *worker)
{
	/* acquire: pairs with the release in chi_active_queue_push(): the pushes announced are seen below. Taken before
	 * the look, so that what comes after the look is announced anew. */
	if (hshm_load_relaxed(&worker->sweep) == 0 || hshm_exchange_acquire(&worker->sweep, 0) == 0)
		return false;
	hshm_count_add(&worker->counters->sweeps, 1);
	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes; i++) {
		struct chi_lane *lane = worker->lanes[i];

		/* on its way to us or away from us: it is, or will be, in an active queue */
		if (chi_lane_worker(lane) != worker->id)
			continue;
		if (!is_duplicate(lane) && !is_ended(lane) &&
		    (hipc_mpsc_peek(&lane->consumer) || should_be_listed(lane)))
			append_run_list(worker, lane);
	}
	pthread_mutex_unlock(&worker->lanes_lock);
	return true;
}

/* ---- retirement ---- */

void chi_worker_empty_active(struct chi_worker *worker)
{
	for (uint32_t prio = 0; prio < CHI_PRIOS; prio++) {
		struct chi_lane *lane;

		while ((lane = take_active(worker, prio)))
			append_run_list(worker, lane);
	}
}

void chi_worker_take_out_lane(struct chi_worker *worker, struct chi_lane *lane)
{
	if (lane->in_run_list) {
		remove_lane(&worker->run_list[lane->header->priority], lane);
		remove_lane(&worker->woken[lane->header->priority], lane);
	}
	lane->in_run_list = false;
	for (uint32_t i = 0; lane->hot && i < worker->n_hot; i++)
		if (worker->hot[i] == lane)
			remove_hot(worker, i);
}

bool chi_worker_drop_lane(struct chi_worker *worker, struct chi_lane *lane)
{
	chi_worker_forget_lane(worker, lane,
			       lane->list_place); /* so whoever looks for lanes to move does not find it */
	lane->list_place = 0;
	if (lane->parked) {
		/* its entry may be in the lot still: it must come out first, and nobody knows its place */
		chi_parking_wake(lane->park.lot, CHI_PARKING_ALL);
		return false;
	}
	/* acquire: pairs with the exchange of whoever asked, before the lane was out of his reach */
	if (hshm_load_acquire(&lane->move_to))
		return false; /* its node is in an inbox, or will be in a moment */
	chi_parking_pass_on(&lane->park, NULL);
	chi_worker_take_out_lane(worker, lane);
	if (lane->stalled) {
		chi_context_complete(worker, lane->stalled, -ECANCELED);
		lane->stalled = NULL;
	}
	return true;
}
