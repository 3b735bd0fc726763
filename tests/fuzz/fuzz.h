/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz.h - what the fuzzers share
 *
 * A target is NAME_fuzz.c with LLVMFuzzerInitialize() and LLVMFuzzerTestOneInput(). With clang it is linked with libFuzzer
 * (preset fuzz, ./dev fuzz); in every other build main.c runs the files of corpus/NAME through it once, as the test
 * fuzz_NAME: each input that ever broke something lies there.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <hshm/clock.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size); /* libFuzzer's */

/* Say why on the standard error that there was at the start, and abort(): an input that breaks a promise. */
void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void fuzz_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define fuzz_check(condition)                                                                \
	do {                                                                                 \
		if (!(condition))                                                            \
			fuzz_fail("%s:%d: not so: %s", __FILE_NAME__, __LINE__, #condition); \
	} while (0)
#ifndef __FILE_NAME__
#define __FILE_NAME__ __FILE__
#endif

/* An event that comes; the deadline is only for what is broken. */
#define FUZZ_DEADLINE_NS (10 * HSHM_NSEC_PER_SEC)
#define fuzz_await(condition)                                                     \
	do {                                                                      \
		uint64_t deadline_ns_ = hshm_deadline_ns(FUZZ_DEADLINE_NS);       \
		while (!(condition)) {                                            \
			if (hshm_clock_ns() > deadline_ns_)                       \
				fuzz_fail("%s: never: %s", __func__, #condition); \
			fuzz_pause();                                             \
		}                                                                 \
	} while (0)
void fuzz_pause(void);

/* Keep standard error for fuzz_fail(). First in LLVMFuzzerInitialize(). */
void fuzz_init(void);
/* A folder of our own for the time of the process, and into it. */
void fuzz_enter_folder(void);

/* ---- bytes to a program ---- */

struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

static inline void fuzz_bytes(struct fuzz_input *input, void *out, size_t n)
{
	size_t taken = n < input->left ? n : input->left;

	memset(out, 0, n); /* what is missing is 0 */
	if (taken)
		memcpy(out, input->at, taken);
	input->at += taken;
	input->left -= taken;
}

#define FUZZ_TAKE(bits)                                                     \
	static inline uint##bits##_t fuzz_u##bits(struct fuzz_input *input) \
	{                                                                   \
		uint##bits##_t value;                                       \
		fuzz_bytes(input, &value, sizeof(value));                   \
		return value;                                               \
	}
FUZZ_TAKE(8)
FUZZ_TAKE(16)
FUZZ_TAKE(32)
FUZZ_TAKE(64)

/* ---- a mutator for text: lines come, go, change places; @make_line writes a new one, without its end ---- */

#define FUZZ_LINE_MAX 256u
uint32_t fuzz_random(uint64_t *state, uint32_t n);
size_t fuzz_mutate_lines(uint8_t *data, size_t size, size_t max_size, unsigned int seed,
			 void (*make_line)(uint64_t *random, char line[FUZZ_LINE_MAX]));

#endif
