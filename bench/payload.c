/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * payload.c - tasks with a buffer that the method reads, or writes, against doing so without a runtime
 */
#include "setup.h"

#include <errno.h>
#include <stdlib.h>

struct payload {
	uint64_t n_bytes;
	enum bench_method method;
	const char *params;
};

struct payload_run {
	struct setup setup;
	const struct payload *how;
	uint64_t *words;     /* the task's buffer */
	uint64_t *own_words; /* the reference's */
	uint64_t sum, n_calls;
	uint64_t n_failed; /* answers that were not the buffer's sum, or the other way round */
};

#define FIRST 1000u /* of the words */

static uint64_t n_words(const struct payload_run *run)
{
	return run->how->n_bytes / sizeof(uint64_t);
}

static int call(void *arg)
{
	struct payload_run *run = arg;
	struct bench_payload *task = (struct bench_payload *)run->setup.tasks[0];
	int rc;

	task->count = FIRST + run->n_calls++;
	rc = chi_call(run->setup.runtime.client, task);
	/* what was answered says what was read; what was written is looked at after the last */
	run->n_failed += task->sum != run->sum;
	return rc;
}

static int payload_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	int rc = bench_latency_slice(call, arg, slice_ns, samples);

	setup_settle();
	return rc < 0 ? tell("a task with a buffer", rc) : 0;
}

static int do_alone(void *arg)
{
	struct payload_run *run = arg;
	uint64_t sum;

	if (run->how->method == BENCH_WRITE) {
		bench_fill(run->own_words, n_words(run), FIRST + run->n_calls++);
		/* as if somebody read it */
		__asm__ volatile("" : : "r"(run->own_words) : "memory");
		return 0;
	}
	sum = bench_sum(run->own_words, n_words(run));
	__asm__ volatile("" : : "r"(sum));
	return 0;
}

static int alone_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	return bench_latency_slice(do_alone, arg, slice_ns, samples);
}

static int check(const struct payload_run *run)
{
	const struct bench_payload *task = (const struct bench_payload *)run->setup.tasks[0];

	if (run->how->method == BENCH_WRITE)
		for (uint64_t i = 0; i < n_words(run); i++)
			if (run->words[i] != task->count + i)
				return tell("the method wrote something else", -EBADMSG);
	return run->n_failed ? tell("the method read something else", -EBADMSG) : 0;
}

static int add_payload(struct payload_run *run)
{
	struct chi_client *client = run->setup.runtime.client;
	int rc = setup_add_task(&run->setup, sizeof(struct bench_payload), CHI_QUERY_LOCAL_ID(0), run->how->method);

	if (!rc)
		rc = chi_alloc(client, run->how->n_bytes, &run->words);
	if (!rc)
		rc = chi_buffer_set(client, &((struct bench_payload *)run->setup.tasks[0])->data, run->words,
				    run->how->n_bytes,
				    run->how->method == BENCH_WRITE ? CHI_BUFFER_OUT : CHI_BUFFER_IN);
	if (!rc && !(run->own_words = aligned_alloc(64, run->how->n_bytes)))
		rc = -ENOMEM;
	if (rc)
		return tell("a buffer", rc);
	bench_fill(run->words, n_words(run), FIRST);
	bench_fill(run->own_words, n_words(run), FIRST);
	if (run->how->method == BENCH_READ)
		run->sum = bench_sum(run->own_words, n_words(run));
	return 0;
}

static int payload(struct bench *bench, struct bench_result *ret_result)
{
	static const struct bench_runtime_spec runtime;
	struct payload_run run = { .how = bench->current->arg };
	struct bench_side side = { .slice = payload_slice, .arg = &run };
	struct bench_side alone = { .name = "no-runtime", .slice = alone_slice, .arg = &run };
	int rc = setup_start(bench, &runtime, &run.setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = run.how->params;
	rc = add_payload(&run);
	if (!rc)
		rc = bench_measure_pair(bench, &side, &alone, ret_result);
	if (!rc)
		rc = check(&run);
	if (!rc)
		rc = setup_check(&run.setup, ret_result->run.n);
	chi_free(run.setup.runtime.client, run.words);
	free(run.own_words);
	setup_stop(&run.setup);
	return rc;
}

static const struct payload read_4k = { 4096, BENCH_READ, "\"bytes\":4096,\"what\":\"read\"" };
static const struct payload read_1m = { 1u << 20, BENCH_READ, "\"bytes\":1048576,\"what\":\"read\"" };
static const struct payload write_4k = { 4096, BENCH_WRITE, "\"bytes\":4096,\"what\":\"write\"" };
static const struct payload write_1m = { 1u << 20, BENCH_WRITE, "\"bytes\":1048576,\"what\":\"write\"" };

const struct bench_case bench_payload_cases[] = {
	{ "payload-4k", "a task whose method reads 4 KiB, against reading it ourselves", payload, .arg = &read_4k },
	{ "payload-1m", "1 MiB", payload, .arg = &read_1m },
	{ "payload-write-4k", "a task whose method writes 4 KiB", payload, true, &write_4k },
	{ "payload-write-1m", "1 MiB", payload, true, &write_1m },
	{ NULL, NULL, NULL },
};
