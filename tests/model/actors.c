/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * actors.c - actors, one at a time, and a scheduler that chooses by the seed
 *
 * An actor is a stack and what a thread has of its own (CHI_CUR_WORKER, errno). It runs until it has passed so many points
 * (points.h) or waits for something; then the next is chosen. How, is the seed's say: by chance, or by priorities that change
 * now and then (few preemptions at the right places find more than many anywhere), and how long one runs on average.
 *
 * When nobody can run, it is quiet: nobody is about to wake anybody. The watchers look whether somebody sleeps who should not.
 * Then the clock goes to the first moment at which somebody wants to be woken; is there none, they are stuck.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/sanitizer.h"
#include "runtime/worker.h"
#include "tests/model/sim.h"

#define STACK_BYTES (256u << 10)
#define GUARD_BYTES 4096u
/* A seed that needs more is one that does not end. */
#define POINTS_MAX    UINT64_C(30000000)
#define STALL_CHOICES 3000u
#define TIME_MAX_NS   (600 * HSHM_NSEC_PER_SEC)

typedef void *fcontext_t;
typedef struct {
	fcontext_t from;
	void *data;
} transfer_t;
extern transfer_t jump_fcontext(fcontext_t to, void *data);
extern fcontext_t make_fcontext(void *stack_top, size_t size, void (*fn)(transfer_t));

enum actor_state { ACTOR_CAN_RUN, ACTOR_WAITS, ACTOR_ENDED };

struct sim_actor {
	fcontext_t context; /* where it goes on */
	char *stack;
	uint32_t index;
	char name[16];
	void (*fn)(void *arg);
	void *arg;
	enum actor_state state;
	bool (*ready)(void *arg);
	void *ready_arg;
	uint64_t wake_ns;
	uint32_t priority;
	uint64_t stalled_until; /* so many choices were made, or nobody else can run */
	uint32_t strike_in;	/* preemptions; 0: never */
	void (*killed)(void *arg);
	void *killed_arg;
	uint64_t note;
	/* of a thread of its own */
	struct chi_worker *cur_worker;
	int saved_errno;
	struct chi_sanitizer_stack sanitizer; /* of the stack on which it left */
};

/* points.h */
extern int64_t sim_points_left;
void sim_preempt(void);

int64_t sim_points_left = INT64_MAX;

static struct {
	struct sim_actor actors[SIM_ACTORS_MAX];
	uint32_t n_actors;
	struct sim_actor *running, *came_from;
	struct sim_rng rng;
	uint64_t now_ns;
	uint64_t tick_ns;     /* what a look at the clock costs */
	uint32_t mean_points; /* between two preemptions */
	bool by_priority;
	uint32_t jumps; /* one preemption in so many takes a while; 0: none */
	int64_t points_given;
	uint64_t n_points, n_switches, n_choices;
	bool open;
} stage;

static char *stacks[SIM_ACTORS_MAX]; /* kept from seed to seed */

/* ---- the switch ---- */

static void arrive(void)
{
	struct sim_actor *self = stage.running;

	chi_sanitizer_arrive(&self->sanitizer, &stage.came_from->sanitizer);
	chi_cur_worker = self->cur_worker;
	errno = self->saved_errno;
}

static void switch_to(struct sim_actor *next)
{
	struct sim_actor *self = stage.running;
	transfer_t back;

	if (next == self)
		return;
	self->cur_worker = chi_cur_worker;
	self->saved_errno = errno;
	stage.came_from = self;
	stage.running = next;
	stage.n_switches++;
	chi_sanitizer_leave(&self->sanitizer, &next->sanitizer);
	back = jump_fcontext(next->context, NULL);
	stage.came_from->context = back.from;
	arrive();
}

/* ---- who is next ---- */

static void draw_points(void)
{
	uint64_t mean = stage.mean_points;

	stage.n_points += (uint64_t)(stage.points_given - (sim_points_left < 0 ? 0 : sim_points_left));
	/* from 1 to about 2 * mean, and now and then much longer */
	stage.points_given = 1 + (int64_t)(sim_random(&stage.rng) % (2 * mean));
	if (sim_one_in(&stage.rng, 16))
		stage.points_given *= 16;
	sim_points_left = stage.points_given;
	sim_check(stage.n_points < POINTS_MAX, "it does not come to an end: %llu points",
		  (unsigned long long)stage.n_points);
	sim_check(stage.now_ns < TIME_MAX_NS, "it does not come to an end: %llu s",
		  (unsigned long long)(stage.now_ns / HSHM_NSEC_PER_SEC));
}

static bool can_run(struct sim_actor *actor)
{
	return actor->state == ACTOR_CAN_RUN ||
	       (actor->state == ACTOR_WAITS &&
		(actor->wake_ns <= stage.now_ns || (actor->ready && actor->ready(actor->ready_arg))));
}

static uint32_t find_candidates(struct sim_actor **ret_candidates)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < stage.n_actors; i++)
		if (stage.actors[i].stalled_until <= stage.n_choices && can_run(&stage.actors[i]))
			ret_candidates[n++] = &stage.actors[i];
	return n;
}

static bool end_stalls(void)
{
	bool any = false;

	for (uint32_t i = 0; i < stage.n_actors; i++) {
		any |= stage.actors[i].stalled_until > stage.n_choices;
		stage.actors[i].stalled_until = 0;
	}
	return any;
}

static void pass_time(void)
{
	uint64_t next_ns = HSHM_FOREVER;

	for (uint32_t i = 0; i < stage.n_actors; i++)
		if (stage.actors[i].state == ACTOR_WAITS && stage.actors[i].wake_ns < next_ns)
			next_ns = stage.actors[i].wake_ns;
	sim_count(quiet_moments);
	sim_watch_quiet();
	sim_books_quiet();
	sim_check(next_ns != HSHM_FOREVER, "stuck: nobody can run, and nobody wants to be woken");
	stage.now_ns = next_ns;
}

static struct sim_actor *highest(struct sim_actor **candidates, uint32_t n)
{
	struct sim_actor *best = candidates[0];

	for (uint32_t i = 1; i < n; i++)
		if (candidates[i]->priority > best->priority)
			best = candidates[i];
	return best;
}

static struct sim_actor *choose(void)
{
	struct sim_actor *candidates[SIM_ACTORS_MAX];
	uint32_t n;

	stage.n_choices++;
	while ((n = find_candidates(candidates)) == 0)
		if (!end_stalls())
			pass_time();
	if (!stage.by_priority || sim_one_in(&stage.rng, 8))
		return candidates[sim_below(&stage.rng, n)];
	return highest(candidates, n);
}

static void run_next(void)
{
	struct sim_actor *next = choose();

	next->state = ACTOR_CAN_RUN;
	draw_points();
	if (next->strike_in) /* at any point, so look at each few */
		sim_points_left = stage.points_given = 1 + sim_below(&stage.rng, 4);
	switch_to(next);
}

static void be_struck(struct sim_actor *self)
{
	if (!self->killed) {
		sim_count(clients_stalled);
		self->stalled_until = stage.n_choices + STALL_CHOICES;
		return;
	}
	self->state = ACTOR_ENDED;
	self->killed(self->killed_arg);
	run_next();
	abort();
}

static void jump(void)
{
	uint64_t max_ns = UINT64_C(1) << (6 + sim_below(&stage.rng, 14));

	stage.now_ns += sim_random(&stage.rng) % max_ns;
}

void sim_preempt(void)
{
	struct sim_actor *self = stage.running;

	if (!stage.open) {
		sim_points_left = INT64_MAX;
		return;
	}
	sim_count(preemptions);
	if (self->strike_in && --self->strike_in == 0)
		be_struck(self);
	if (stage.by_priority && sim_one_in(&stage.rng, 4))
		self->priority = sim_below(&stage.rng, 1000);
	if (stage.jumps && sim_one_in(&stage.rng, stage.jumps))
		jump();
	run_next();
}

/* ---- what actors do ---- */

void sim_yield(void)
{
	run_next();
}

bool sim_block(bool (*ready)(void *arg), void *arg, uint64_t wake_ns)
{
	struct sim_actor *self = stage.running;

	if (!stage.open)
		abort();
	while (!(ready && ready(arg))) {
		if (wake_ns <= stage.now_ns)
			return false;
		self->ready = ready;
		self->ready_arg = arg;
		self->wake_ns = wake_ns;
		self->state = ACTOR_WAITS;
		run_next();
	}
	return true;
}

static void actor_main(transfer_t first)
{
	struct sim_actor *self = stage.running;

	stage.came_from->context = first.from;
	arrive();
	self->fn(self->arg);
	self->state = ACTOR_ENDED;
	run_next();
	abort();
}

static char *stack_of(uint32_t index)
{
	if (!stacks[index]) {
		void *memory = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

		if (memory == MAP_FAILED || mprotect(memory, GUARD_BYTES, PROT_NONE) < 0)
			abort();
		stacks[index] = (char *)memory + GUARD_BYTES;
	}
#if CHI_ASAN
	__asan_unpoison_memory_region(stacks[index], STACK_BYTES);
#endif
	return stacks[index];
}

struct sim_actor *sim_spawn(const char *name, void (*fn)(void *), void *arg)
{
	struct sim_actor *actor = &stage.actors[stage.n_actors];
	uint32_t index = stage.n_actors;

	sim_check(stage.n_actors < SIM_ACTORS_MAX, "too many actors");
	*actor = (struct sim_actor){ .index = index, .fn = fn, .arg = arg, .priority = sim_below(&stage.rng, 1000) };
	strncpy(actor->name, name, sizeof(actor->name) - 1);
	actor->stack = stack_of(index);
	actor->context = make_fcontext(actor->stack + STACK_BYTES, STACK_BYTES, actor_main);
	actor->sanitizer.bottom = actor->stack;
	actor->sanitizer.size = STACK_BYTES;
	stage.n_actors++;
	return actor;
}

struct sim_actor *sim_self(void)
{
	return stage.running;
}

const char *sim_name(const struct sim_actor *actor)
{
	return actor->name;
}

uint32_t sim_index(const struct sim_actor *actor)
{
	return actor->index;
}

bool sim_has_ended(const struct sim_actor *actor)
{
	return actor->state == ACTOR_ENDED;
}

bool sim_is_on_stack(const struct sim_actor *actor, const void *address)
{
	return (const char *)address >= actor->stack && (const char *)address < actor->stack + STACK_BYTES;
}

void sim_strike_after(struct sim_actor *actor, uint32_t n_preemptions, void (*killed)(void *arg), void *arg)
{
	actor->strike_in = n_preemptions;
	actor->killed = killed;
	actor->killed_arg = arg;
}

uint64_t *sim_actor_note(void)
{
	return &stage.running->note;
}

uint64_t sim_now_ns(void)
{
	return stage.open ? stage.now_ns : 0;
}

uint64_t sim_n_points(void)
{
	return stage.n_points;
}

uint64_t sim_n_switches(void)
{
	return stage.n_switches;
}

/* A look at the clock takes time; so what looks again and again sees it pass. */
uint64_t sim_look_at_clock(void);
uint64_t sim_look_at_clock(void)
{
	return stage.now_ns += stage.tick_ns;
}

void sim_stage_open(uint64_t seed)
{
	struct sim_actor *self = &stage.actors[0];

	memset(&stage, 0, sizeof(stage));
	stage.rng.state = seed;
	stage.now_ns = HSHM_NSEC_PER_SEC;
	stage.tick_ns = sim_choose(&stage.rng, 5, 50, 50, 200, 1000);
	stage.mean_points = sim_choose(&stage.rng, 1, 3, 10, 30, 100, 1000);
	stage.by_priority = sim_one_in(&stage.rng, 2);
	stage.jumps = sim_choose(&stage.rng, 0, 0, 200, 20);
	*self = (struct sim_actor){ .name = "main", .priority = 500 };
	stage.n_actors = 1;
	stage.running = stage.came_from = self;
	stage.open = true;
	sim_points_left = 0;
	draw_points();
}

void sim_stage_close(void)
{
	for (uint32_t i = 1; i < stage.n_actors; i++)
		sim_check(stage.actors[i].state == ACTOR_ENDED, "%s has not ended", stage.actors[i].name);
	draw_points();
	stage.open = false;
	sim_points_left = INT64_MAX;
}
