/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * modules_test.h - a runtime in this process, a client of it, and bytes to work on
 */
#ifndef MODULES_TEST_H
#define MODULES_TEST_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <chimaera/chimaera.h>
#include <chimaera/modules/blob.h>
#include <chimaera/modules/compress.h>
#include <chimaera/runtime.h>

static struct chi_runtime *runtime;
static struct chi_client *client;

static inline int start_runtime_with(const char *config)
{
	int rc = chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config), &runtime);

	if (!rc)
		rc = chi_runtime_client(runtime, NULL, &client);
	if (rc)
		fprintf(stderr, "runtime: %d: %s\n", rc, chi_error_text());
	return rc;
}

static inline int start_runtime(void **state)
{
	(void)state;
	return start_runtime_with("workers:\n  count: 3\n");
}

static int stop_runtime(void **state)
{
	(void)state;
	chi_client_disconnect(client);
	return chi_runtime_stop(runtime, 0, NULL);
}

static inline void *lend(uint64_t size_bytes)
{
	void *memory = NULL;

	assert_int_equal(chi_alloc(client, size_bytes ? size_bytes : 1, &memory), 0);
	return memory;
}

static inline uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Words, which pack well; or noise, which does not. */
static inline void fill(unsigned char *bytes, uint64_t size_bytes, uint64_t seed, int noise)
{
	static const char *const words[] = { "lane ", "worker ", "task ", "fiber\n", "heap ", "wait " };
	uint64_t at = 0;

	seed = seed * 2 + 1;
	while (at < size_bytes) {
		uint64_t random = next_random(&seed);
		const char *word = words[random % 6];
		const void *from = noise ? (const void *)&random : word;
		uint64_t n = noise ? sizeof(random) : strlen(word);

		if (n > size_bytes - at)
			n = size_bytes - at;
		memcpy(bytes + at, from, n);
		at += n;
	}
}

/* A thread that writes over lent memory while a task reads or writes it, as a hostile client would. */
struct scribbler {
	pthread_t thread;
	unsigned char *bytes;
	uint64_t size_bytes;
	hshm_au32 stop;
};

static inline void *scribble(void *arg)
{
	struct scribbler *scribbler = arg;
	uint64_t seed = 77;

	/* relaxed: only ends the loop */
	while (!hshm_load_relaxed(&scribbler->stop)) {
		uint64_t random = next_random(&seed);
		volatile unsigned char *byte = &scribbler->bytes[random % scribbler->size_bytes];

		*byte = (unsigned char)(random >> 32);
	}
	return NULL;
}

static inline void scribbler_start(struct scribbler *scribbler, void *bytes, uint64_t size_bytes)
{
	scribbler->bytes = bytes;
	scribbler->size_bytes = size_bytes;
	hshm_store_relaxed(&scribbler->stop, 0);
	assert_int_equal(pthread_create(&scribbler->thread, NULL, scribble, scribbler), 0);
}

static inline void scribbler_stop(struct scribbler *scribbler)
{
	hshm_store_relaxed(&scribbler->stop, 1);
	pthread_join(scribbler->thread, NULL);
}

#endif
