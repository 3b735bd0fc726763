/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim.h - the stage: actors instead of threads, all in one thread; a virtual clock; what the kernel does to wake and sleep
 *
 *   actors.c   actors, the seeded scheduler, the clock
 *   kernel.c   eventfd, epoll, futex, semaphores, mutexes, the thread model: what the linker's --wrap puts in place of the real
 *   watch.c    looks on at seams between the runtime's files (--wrap, too): order of lanes, what is left at the end
 *   script.c   random task graphs, and the module whose methods run them
 *   clients.c  clients, made and ended through the ipc manager's own functions
 *   simulate.c options, a seed from its start to its end, figures
 *
 * Everything hangs on the seed: a seed run alone goes the same way as among others.
 */
#ifndef TESTS_MODEL_SIM_H
#define TESTS_MODEL_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hshm/clock.h>

#include "tests/support/random.h"

/* ---- chance ---- */

/* One draw an expression: C leaves open which argument or operand comes first, and a seed shall be the same run with each
 * compiler. */

struct sim_rng {
	uint64_t state;
};

static inline uint64_t sim_random(struct sim_rng *rng)
{
	return splitmix64(&rng->state);
}

static inline uint32_t sim_below(struct sim_rng *rng, uint32_t n)
{
	return (uint32_t)(((sim_random(rng) >> 32) * n) >> 32);
}

static inline bool sim_one_in(struct sim_rng *rng, uint32_t n)
{
	return sim_below(rng, n) == 0;
}

#define sim_choose(rng, ...)                                       \
	({                                                         \
		static const uint32_t of_[] = { __VA_ARGS__ };     \
		of_[sim_below(rng, sizeof(of_) / sizeof(of_[0]))]; \
	})

/* ---- actors.c ---- */

#define SIM_ACTORS_MAX 32u

struct sim_actor;

/* @seed decides all that is chance in the schedule. */
void sim_stage_open(uint64_t seed);
/* All actors but the caller must have ended, or are forgotten. */
void sim_stage_close(void);

struct sim_actor *sim_spawn(const char *name, void (*fn)(void *), void *arg);
/* The running one; the caller of sim_stage_open() is one, too. */
struct sim_actor *sim_self(void);
const char *sim_name(const struct sim_actor *actor);
uint32_t sim_index(const struct sim_actor *actor);
bool sim_has_ended(const struct sim_actor *actor);
/* After so many of its own preemptions, which come at each few points until then: it is killed there, or, without @killed,
 * stopped: not run for as long as another can be. 0: neither. */
void sim_strike_after(struct sim_actor *actor, uint32_t n_preemptions, void (*killed)(void *arg), void *arg);

bool sim_is_on_stack(const struct sim_actor *actor, const void *address);

/* Until @ready says so, or until @wake_ns. False: the time was over. */
bool sim_block(bool (*ready)(void *arg), void *arg, uint64_t wake_ns);
/* Let others run. */
void sim_yield(void);
uint64_t sim_now_ns(void);
/* Points seen, of all actors. */
uint64_t sim_n_points(void);
uint64_t sim_n_switches(void);

/* For memory of the actor that runs: where the route that it is in began (watch.c). */
uint64_t *sim_actor_note(void);

/* ---- kernel.c ---- */

void sim_kernel_open(uint64_t seed);
void sim_kernel_close(void); /* nothing may be left open */
/* An actor that stands for the ipc thread runs these in it, in order, between two of its waits. */
void sim_ipc_do(void (*fn)(void *arg), void *arg);
bool sim_ipc_is_idle(void);

/* ---- watch.c ---- */

void sim_watch_open(void);
/* Nobody can run until the next time somebody wants to be woken: is there nothing that should be running? */
void sim_watch_quiet(void);
struct chi_runtime;
extern struct chi_runtime *sim_runtime;

/* ---- books.c ---- */

void sim_books_quiet(void);
void sim_books_describe(void);

/* ---- simulate.c ---- */

extern bool sim_tracing;

/* Remember what happened; printed with --trace, and the last of them on a violation. Numbers only. */
#define sim_event(format, ...) sim_event_note(format, (int64_t[3]){ __VA_ARGS__ })
void sim_event_note(const char *format, const int64_t args[3]);
/* A violation: tells it, and how to see it again; ends the process. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define sim_check(condition, ...)              \
	do {                                   \
		if (!(condition))              \
			sim_fail(__VA_ARGS__); \
	} while (0)

#define SIM_KIND(name) SIM_KIND_##name,
enum sim_kind {
#include "tests/model/kinds.def"
	SIM_N_KINDS
};
#undef SIM_KIND
extern uint64_t *sim_counts;
#define sim_count(name)	       (sim_counts[SIM_KIND_##name]++)
#define sim_count_add(name, n) (sim_counts[SIM_KIND_##name] += (n))

#endif
