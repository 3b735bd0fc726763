/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/board.h - what the processes of the campaign have in common: whose turn it is, and what each has counted
 *
 * The liar program starts the others with the descriptor of this memory. A row is written by its process alone, but for gaps
 * that are set back; `turn` by the liar program; the first violation by whoever finds one. Relaxed, all: counts and one word,
 * nothing else is read by them.
 *
 * Turn, 64 bits:  kinds, 8 each:32 | serial:24 | phase:8. In a turn of load the kinds are those of the turn before it.
 */
#ifndef TESTS_HOSTILE_BOARD_H
#define TESTS_HOSTILE_BOARD_H

#include <hshm/atomic.h>
#include <stdint.h>

#define HONEST_MAX   8u
#define LIARS_MAX    8u
#define KINDS_MAX    40u
#define SHARED_MAX   3u	  /* kinds in one turn */
#define ERRNOS_MAX   134u /* answers by errno; 0: served */
#define RUNTIME_NAME "liar"

enum phase { PHASE_START, PHASE_LOAD, PHASE_LIES, PHASE_END, PHASES };

struct honest_row {
	hshm_au64 n_right, n_wrong, n_errors;
	/* between two of its answers: those that touch a turn of lies, by kind; the others */
	hshm_au64 lies_gap_ns[KINDS_MAX], load_gap_ns;
	hshm_au32 ready;
	hshm_au32 checked; /* at its end: the runs and its memory are what they should be */
} HSHM_ALIGNED(HSHM_FALSE_SHARING);

struct kind_row {
	hshm_au64 n_acts, n_sent, n_unanswered;
	hshm_au64 answers[ERRNOS_MAX];
};

struct board {
	hshm_au64 turn;
	hshm_au32 violated; /* taken by who writes `violation` */
	char violation[512];
	uint64_t seed;
	uint32_t tally_pool, probe_pool, blob_pool, compress_pool; /* the last three are the liars' */
	struct honest_row honest[HONEST_MAX];			   /* the steady ones */
	struct honest_row load[LIARS_MAX];			   /* those in the place of a liar */
	struct kind_row kinds[LIARS_MAX][KINDS_MAX];
};

static inline enum phase turn_phase(uint64_t turn)
{
	return (enum phase)(turn & 0xff);
}

/* What the liar of this index tells. */
static inline uint32_t turn_kind(uint64_t turn, uint32_t index)
{
	return turn >> (32 + 8 * (index % SHARED_MAX)) & 0xff;
}

static inline enum phase board_phase(const struct board *board)
{
	return turn_phase(hshm_load_relaxed(&board->turn));
}

/* Something that must never be. The first is kept. */
void board_violation(struct board *board, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The roles; each returns the process's exit code. */
int role_honest(struct board *board, uint32_t index);
int role_load(struct board *board, uint32_t index);
int role_liar(struct board *board, uint32_t index);

/* The kinds of lies, by number; NULL behind the last. */
const char *lie_name(uint32_t kind);

#endif
