/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/lies_modules.c - what a client can ask of modules with bytes that change, and what pools it can have made
 *
 * The pools "liars-blob" and "liars-compress" are the liars' own, and those called liar-N-N: honest clients use neither.
 */
#include <chimaera/modules/blob.h>
#include <chimaera/modules/compress.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hostile/lies.h"

#define N_TASKS	  4u
#define BYTES_AT  64u		 /* pages into the heap: behind the tasks */
#define BYTES	  (4 * CHI_PAGE) /* all of them; the buffers lie somewhere in them, and over each other */
#define PARAMS_AT 32u
#define KEYS	  6u
#define POOLS	  2u

static char *bytes_of(const struct raw *raw)
{
	return raw->segment + raw->heap + BYTES_AT * CHI_PAGE;
}

static int await(struct liar *liar, const void *task)
{
	int ret = raw_await(task, RAW_ANSWER_MS);

	if (ret == -ETIMEDOUT)
		lie_violation(liar, "no answer in %d ms", RAW_ANSWER_MS);
	lie_answered(liar, ret > 0 ? 0 : ret); /* a put that made its object says 1 */
	return ret;
}

static int ask(struct liar *liar, struct raw *raw, const void *task)
{
	if (raw_push(raw, task) < 0) {
		lie_violation(liar, "its empty lane is full");
		return -EAGAIN;
	}
	lie_sent(liar);
	return await(liar, task);
}

/* ---- objects and frames, of bytes that change ---- */

/* Words, and whole stretches of one byte: what packs well and what does not, from one moment to the next. */
static void scribble_bytes(struct raw *raw, uint64_t *random)
{
	uint64_t at = next_random(random) % (BYTES / 8) * 8, n = next_random(random) % 256 * 8;

	if (next_random(random) % 4)
		__atomic_store_n((uint64_t *)(void *)(bytes_of(raw) + at), next_random(random), __ATOMIC_RELAXED);
	else
		memset(bytes_of(raw) + at, (int)(n & 0xff), at + n <= BYTES ? n : BYTES - at);
}

/* Anywhere in them, at any byte, of any size; sometimes none. */
static struct chi_buffer some_bytes(struct liar *liar, const struct raw *raw, uint32_t flags)
{
	uint64_t at = lie_pick(liar, BYTES), size = lie_pick(liar, lie_pick(liar, 2) ? 256 : BYTES - at + 1);

	size = size <= BYTES - at ? size : BYTES - at;
	return (struct chi_buffer){ hipc_ptr_make(raw->welcome.client_segment_id, raw->heap + BYTES_AT * CHI_PAGE + at),
				    size, flags, 0 };
}

static void *write_blob_task(struct liar *liar, struct raw *raw, char *place)
{
	static const uint32_t methods[] = { CHI_BLOB_PUT, CHI_BLOB_PUT,	   CHI_BLOB_GET,
					    CHI_BLOB_GET, CHI_BLOB_REMOVE, CHI_BLOB_STAT };
	struct chi_blob_task *task = (struct chi_blob_task *)(void *)place;
	uint32_t method = methods[lie_pick(liar, sizeof(methods) / sizeof(methods[0]))];
	struct chi_blob_key key = { .size = (uint8_t)(1 + lie_pick(liar, KEYS)), .bytes = "aaaaaaa" };

	if (lie_pick(liar, 16) == 0)
		key.size = (uint8_t)lie_pick(liar, 256); /* or none, or longer than what was written */
	chi_task_init(&task->task, sizeof(*task), liar->board->blob_pool, chi_blob_query(&key), method);
	if (lie_pick(liar, 16) == 0)
		task->task.query = CHI_QUERY_LOCAL_ID(lie_pick(liar, 3)); /* perhaps not where the key lives */
	task->value = (struct chi_buffer){ 0 };
	if (method == CHI_BLOB_PUT || method == CHI_BLOB_GET || lie_pick(liar, 8) == 0)
		task->value = some_bytes(liar, raw, CHI_BUFFER_IN | CHI_BUFFER_OUT);
	task->key = key;
	return task;
}

static void *write_compress_task(struct liar *liar, struct raw *raw, char *place)
{
	struct chi_compress_task *task = (struct chi_compress_task *)(void *)place;

	chi_task_init(&task->task, sizeof(*task), liar->board->compress_pool, CHI_QUERY_LOCAL_HASH(lie_pick(liar, 9)),
		      lie_pick(liar, 2) ? CHI_COMPRESS_COMPRESS : CHI_COMPRESS_DECOMPRESS);
	/* they overlap, as often as not */
	task->in = some_bytes(liar, raw, CHI_BUFFER_IN);
	task->out = lie_pick(liar, 4) ? some_bytes(liar, raw, CHI_BUFFER_OUT) : task->in;
	task->out.flags = CHI_BUFFER_OUT;
	task->level = lie_pick(liar, 8) ? (int32_t)lie_pick(liar, 6) - 2 : (int32_t)lie_word(liar);
	task->level = task->level > 3 && task->level <= CHI_COMPRESS_LEVEL_MAX
			      ? 3
			      : task->level; /* not for the sake of work */
	task->flags = lie_pick(liar, 8) ? 0 : (uint32_t)lie_word(liar);
	return task;
}

/* What is put is checked when it is read: whatever its bytes did meanwhile, it is one value, whole. */
static void expect_whole(struct liar *liar, const struct chi_task *task)
{
	if (task->pool_id == liar->board->blob_pool && task->result == -EBADMSG)
		lie_violation(liar, "an object is damaged");
}

void lie_modules(struct liar *liar)
{
	struct scribbler scribbler;
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	scribbler_start(&scribbler, liar, &raw, scribble_bytes);
	while (lie_goes_on(liar)) {
		void *tasks[N_TASKS];
		uint32_t n = 1 + (uint32_t)lie_pick(liar, N_TASKS);

		for (uint32_t i = 0; i < n; i++) {
			char *place = raw.segment + raw.heap + (uint64_t)i * CHI_PAGE;

			tasks[i] = lie_pick(liar, 2) ? write_blob_task(liar, &raw, place)
						     : write_compress_task(liar, &raw, place);
			if (raw_push(&raw, tasks[i]) < 0)
				lie_violation(liar, "its empty lane is full");
			lie_sent(liar);
		}
		for (uint32_t i = 0; i < n; i++) {
			(void)await(liar, tasks[i]);
			expect_whole(liar, tasks[i]);
		}
	}
	scribbler_end(&scribbler);
	raw_detach(&raw);
}

/* ---- pools ---- */

/* Parameters of `blob`, good but for some word; or rubbish of any size, and more than there may be. */
static struct chi_buffer some_params(struct liar *liar, const struct raw *raw)
{
	struct chi_blob_params *params = (void *)(raw->segment + raw->heap + PARAMS_AT * CHI_PAGE);
	uint64_t size = sizeof(*params);

	*params = (struct chi_blob_params){ .size = sizeof(*params), .compress_pool = "liars-compress" };
	switch (lie_pick(liar, 6)) {
	case 0:
		size = 1 + lie_pick(liar, 4096);
		for (uint64_t i = 0; i < size; i++)
			((char *)params)[i] = (char)next_random(&liar->random);
		break;
	case 1:
		size = (UINT64_C(1) << 20) + 1 + lie_pick(liar, 4096);
		break;
	case 2:
		memset(params->compress_pool, 'x', sizeof(params->compress_pool)); /* without an end */
		break;
	case 3:
		snprintf(params->compress_module, sizeof(params->compress_module), "%s",
			 lie_pick(liar, 2) ? "no-such-module" : "probe");
		break;
	case 4:
		params->level = (int32_t)lie_word(liar);
		params->window = (uint32_t)lie_word(liar);
		params->chunk_bytes = (uint32_t)lie_word(liar);
		break;
	default:
		break;
	}
	return (struct chi_buffer){ hipc_ptr_make(raw->welcome.client_segment_id, raw->heap + PARAMS_AT * CHI_PAGE),
				    size, CHI_BUFFER_IN, 0 };
}

static void name_module(struct liar *liar, struct chi_name *name)
{
	static const char *const modules[] = { "blob",	   "blob", "compress", "probe", "no-such-module",
					       "../probe", "/",	   "admin",    "" };

	snprintf(name->text, sizeof(name->text), "%s", modules[lie_pick(liar, sizeof(modules) / sizeof(modules[0]))]);
	if (lie_pick(liar, 16) == 0)
		memset(name->text, 'm', sizeof(name->text)); /* without an end */
}

/* Returns the pool's id when one was made, else 0. */
static uint32_t make_pool(struct liar *liar, struct raw *raw)
{
	static const uint32_t containers[] = { 0, 1, 1, 2, 2, CHI_POOL_CONTAINERS_MAX + 1, UINT32_MAX };
	struct chi_admin_create_pool_task *task = (void *)(raw->segment + raw->heap);

	memset(task, 0, sizeof(*task));
	chi_task_init(&task->task, sizeof(*task), CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0), CHI_ADMIN_CREATE_POOL);
	name_module(liar, &task->module);
	snprintf(task->name.text, sizeof(task->name.text), "liar-%u-%u", liar->index, (uint32_t)lie_pick(liar, POOLS));
	if (lie_pick(liar, 16) == 0)
		snprintf(task->name.text, sizeof(task->name.text), "tally"); /* an honest pool's, of another module */
	task->n_containers = containers[lie_pick(liar, sizeof(containers) / sizeof(containers[0]))];
	task->open_existing = (uint32_t)lie_pick(liar, 2);
	task->interface_hash = lie_pick(liar, 4) ? 0 : lie_word(liar);
	task->params = lie_pick(liar, 4) ? some_params(liar, raw) : (struct chi_buffer){ 0 };
	if (ask(liar, raw, task) < 0)
		return 0;
	if (strcmp(task->name.text, "tally") == 0)
		lie_violation(liar, "an honest client's pool was opened as one of %s", task->module.text);
	return task->created ? task->id : 0;
}

static int end_pool(struct liar *liar, struct raw *raw, uint32_t id)
{
	struct chi_admin_destroy_pool_task *task = (void *)(raw->segment + raw->heap);

	chi_task_init(&task->task, sizeof(*task), CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0), CHI_ADMIN_DESTROY_POOL);
	task->id = id;
	return ask(liar, raw, task);
}

void lie_pools(struct liar *liar)
{
	struct raw raw;

	if (raw_attach(&raw) < 0)
		return;
	while (lie_goes_on(liar)) {
		uint32_t id = make_pool(liar, &raw);

		if (lie_pick(liar, 8) == 0 && end_pool(liar, &raw, CHI_ADMIN_POOL_ID) != -EPERM)
			lie_violation(liar, "admin's pool was ended");
		if (!id)
			continue;
		/* a task on its way there, or too late */
		(void)raw_push(&raw, raw_task(&raw, 1, id, (uint32_t)lie_pick(liar, 4), 0));
		if (end_pool(liar, &raw, id) != 0)
			lie_violation(liar, "pool %u, which it made, was not ended", id);
		if (end_pool(liar, &raw, id) != -ENOENT)
			lie_violation(liar, "pool %u was ended twice", id);
	}
	raw_detach(&raw);
}
