/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/lies.h - one liar process, and what the kinds of lies share
 */
#ifndef TESTS_HOSTILE_LIES_H
#define TESTS_HOSTILE_LIES_H

#include <pthread.h>
#include <stdbool.h>

#include "hostile/board.h"
#include "hostile/raw.h"

struct liar {
	struct board *board;
	struct kind_row *row; /* of the lie at hand */
	const char *kind;
	uint32_t index;
	uint64_t random; /* its generator's state */
	uint64_t act_ns; /* until when the act at hand may last */
};

/* May the act go on? Not in another phase, nor past its time. */
bool lie_goes_on(const struct liar *liar);
/* One lie went out. */
void lie_sent(struct liar *liar);
/* An answer, 0 or a negative errno, was got. */
void lie_answered(struct liar *liar, int result);
/* Nothing came back, as may be. */
void lie_unanswered(struct liar *liar);
/* Something that must never be. */
#define lie_violation(liar, ...) lie_violation_at(liar, __func__, __VA_ARGS__)
void lie_violation_at(struct liar *liar, const char *where, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A number from 0 to n - 1. */
uint64_t lie_pick(struct liar *liar, uint64_t n);
/* Any word, more often one at some edge. */
uint64_t lie_word(struct liar *liar);

/* A method that does not compute for as long as its task says. */
uint32_t lie_method(struct liar *liar);
/* The n-th task of a method that takes what it is given; it would be served. */
struct probe_task *lie_task(struct liar *liar, struct raw *raw, uint32_t n, uint32_t method);

/* A thread that calls scribble() without a pause, beside the liar. */
struct scribbler {
	struct raw *raw;
	void (*scribble)(struct raw *raw, uint64_t *random);
	uint64_t random;
	hshm_au32 end;
	pthread_t thread;
};
void scribbler_start(struct scribbler *scribbler, struct liar *liar, struct raw *raw,
		     void (*scribble)(struct raw *raw, uint64_t *random));
void scribbler_end(struct scribbler *scribbler);

typedef void (*lie_fn)(struct liar *liar);

/* lies_memory.c: what a client can write */
void lie_segment_noise(struct liar *liar);
void lie_changed_later(struct liar *liar);
void lie_slots_and_tail(struct liar *liar);
void lie_headers(struct liar *liar);
void lie_references(struct liar *liar);
void lie_buffers(struct liar *liar);
void lie_buffers_change(struct liar *liar);
void lie_words(struct liar *liar);
void lie_counters_file(struct liar *liar);

/* lies_messages.c: what it can send */
void lie_greetings(struct liar *liar);
void lie_requests(struct liar *liar);
void lie_bytes(struct liar *liar);
void lie_floods(struct liar *liar);
void lie_descriptors(struct liar *liar);
void lie_never_reads(struct liar *liar);
void lie_crowds(struct liar *liar);

/* lies_rights.c: what it may not, and what it may do with what it was given */
void lie_main_segment(struct liar *liar);
void lie_size_of_its_own(struct liar *liar);
void lie_holes(struct liar *liar);
void lie_others_segments(struct liar *liar);
void lie_child_goes_on(struct liar *liar);
void lie_bells_passed_on(struct liar *liar);
void lie_goes_on_after_the_end(struct liar *liar);
void lie_periods(struct liar *liar);
void lie_cancels(struct liar *liar);
void lie_greed(struct liar *liar);

/* lies_modules.c: what it can ask of modules, and for modules */
void lie_modules(struct liar *liar);
void lie_pools(struct liar *liar);

#endif
