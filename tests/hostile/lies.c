/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/lies.c - a liar: it tells the kind of lie whose turn it is
 */
#include "hostile/lies.h"

#include <errno.h>
#include <hshm/clock.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ACT_NS (60 * HSHM_NSEC_PER_MSEC)

static const struct kind {
	const char *name;
	lie_fn tell;
} kinds[] = {
	{ "segment-noise", lie_segment_noise },
	{ "changed-later", lie_changed_later },
	{ "slots-and-tail", lie_slots_and_tail },
	{ "headers", lie_headers },
	{ "references", lie_references },
	{ "buffers", lie_buffers },
	{ "buffers-change", lie_buffers_change },
	{ "words", lie_words },
	{ "counters-file", lie_counters_file },
	{ "greetings", lie_greetings },
	{ "requests", lie_requests },
	{ "bytes", lie_bytes },
	{ "floods", lie_floods },
	{ "descriptors", lie_descriptors },
	{ "never-reads", lie_never_reads },
	{ "crowds", lie_crowds },
	{ "main-segment", lie_main_segment },
	{ "size-of-its-own", lie_size_of_its_own },
	{ "holes", lie_holes },
	{ "others-segments", lie_others_segments },
	{ "child-goes-on", lie_child_goes_on },
	{ "bells-passed-on", lie_bells_passed_on },
	{ "after-the-end", lie_goes_on_after_the_end },
	{ "periods", lie_periods },
	{ "cancels", lie_cancels },
	{ "greed", lie_greed },
	{ "modules", lie_modules },
	{ "pools", lie_pools },
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))
_Static_assert(N_KINDS <= KINDS_MAX, "a row for each kind");

const char *lie_name(uint32_t kind)
{
	return kind < N_KINDS ? kinds[kind].name : NULL;
}

/* ---- counting ---- */

bool lie_goes_on(const struct liar *liar)
{
	return board_phase(liar->board) == PHASE_LIES && hshm_clock_ns() < liar->act_ns;
}

void lie_sent(struct liar *liar)
{
	hshm_fetch_add_relaxed(&liar->row->n_sent, 1); /* its child of a fork counts there, too */
}

void lie_answered(struct liar *liar, int result)
{
	uint32_t error = result < 0 ? -(uint32_t)result : 0;

	if (result > 0 || error >= ERRNOS_MAX) {
		lie_violation(liar, "the answer %d is none", result);
		return;
	}
	hshm_count_add(&liar->row->answers[error], 1);
}

void lie_unanswered(struct liar *liar)
{
	hshm_count_add(&liar->row->n_unanswered, 1);
}

void board_violation(struct board *board, const char *format, ...)
{
	uint32_t nobody = 0;
	va_list args;

	if (!hshm_cas_relaxed(&board->violated, &nobody, 1))
		return;
	va_start(args, format);
	vsnprintf(board->violation, sizeof(board->violation), format, args);
	va_end(args);
	/* release: pairs with the acquire of who prints it */
	hshm_store_release(&board->violated, 2);
}

void lie_violation_at(struct liar *liar, const char *where, const char *format, ...)
{
	char text[300];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	board_violation(liar->board, "liar %u, %s, %s: %s", liar->index, liar->kind, where, text);
}

/* ---- what to say ---- */

uint64_t lie_pick(struct liar *liar, uint64_t n)
{
	return next_random(&liar->random) % n;
}

uint64_t lie_word(struct liar *liar)
{
	uint64_t word = next_random(&liar->random);

	switch (lie_pick(liar, 6)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX >> lie_pick(liar, 64);
	case 2:
		return UINT64_C(1) << lie_pick(liar, 64);
	case 3:
		return word >> lie_pick(liar, 64);
	default:
		return word;
	}
}

uint32_t lie_method(struct liar *liar)
{
	static const uint32_t methods[] = { PROBE_ADD, PROBE_FAIL, PROBE_COPY, PROBE_SUM, PROBE_COUNTS };

	return methods[lie_pick(liar, sizeof(methods) / sizeof(methods[0]))];
}

struct probe_task *lie_task(struct liar *liar, struct raw *raw, uint32_t n, uint32_t method)
{
	struct probe_task *task = raw_task(raw, n, liar->board->probe_pool, method, lie_pick(liar, 4));

	task->in = method == PROBE_FAIL ? EDOM : lie_pick(liar, 4);
	return task;
}

/* ---- beside the liar ---- */

static void *scribbler_thread(void *arg)
{
	struct scribbler *self = arg;

	while (!hshm_load_relaxed(&self->end)) /* relaxed: a flag that carries nothing */
		self->scribble(self->raw, &self->random);
	return NULL;
}

void scribbler_start(struct scribbler *scribbler, struct liar *liar, struct raw *raw,
		     void (*scribble)(struct raw *raw, uint64_t *random))
{
	*scribbler = (struct scribbler){ .raw = raw, .scribble = scribble, .random = next_random(&liar->random) | 1 };
	if (pthread_create(&scribbler->thread, NULL, scribbler_thread, scribbler))
		_exit(2);
}

void scribbler_end(struct scribbler *scribbler)
{
	hshm_store_relaxed(&scribbler->end, 1);
	pthread_join(scribbler->thread, NULL);
}

/* ---- the role ---- */

static void act(struct liar *liar, uint32_t kind)
{
	liar->row = &liar->board->kinds[liar->index][kind];
	liar->kind = kinds[kind].name;
	liar->act_ns = hshm_deadline_ns(ACT_NS);
	hshm_count_add(&liar->row->n_acts, 1);
	kinds[kind].tell(liar);
}

int role_liar(struct board *board, uint32_t index)
{
	struct liar liar = { .board = board, .index = index };

	liar.random = (board->seed ^ (index + 1) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
	for (uint64_t turn; turn_phase(turn = hshm_load_relaxed(&board->turn)) != PHASE_END;) {
		if (turn_phase(turn) == PHASE_LIES)
			act(&liar, turn_kind(turn, index));
		else
			usleep(1000);
	}
	return 0;
}
