/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tally.c - how often each task was run (tally.h)
 *
 * For each key a window of bits below the highest number: a bit that is set already, or a number below the window, is a second
 * run. The client keeps fewer tasks in flight than the window is wide.
 */
#include "tally.h"

#include <chimaera/module.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define KEYS_MAX 64u

struct account {
	uint64_t key;
	uint64_t end; /* the highest number, plus 1 */
	uint64_t n_runs, n_twice;
	unsigned char seen[TALLY_WINDOW];
};

/* One for all containers: a task that two of them run is a task run twice. */
static struct {
	pthread_mutex_t lock; /* held for some stores: no method waits under it */
	uint32_t n_accounts;
	struct account accounts[KEYS_MAX];
} book = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct account *find(uint64_t key)
{
	for (uint32_t i = 0; i < book.n_accounts; i++)
		if (book.accounts[i].key == key)
			return &book.accounts[i];
	return NULL;
}

static void note(struct account *account, uint64_t number)
{
	account->n_runs++;
	for (; account->end <= number; account->end++)
		account->seen[account->end % TALLY_WINDOW] = 0;
	if (number + TALLY_WINDOW < account->end || account->seen[number % TALLY_WINDOW])
		account->n_twice++;
	account->seen[number % TALLY_WINDOW] = 1;
}

static int tally_open(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	const struct tally_task *self = (const struct tally_task *)task;
	int ret = 0;

	(void)container, (void)context;
	pthread_mutex_lock(&book.lock);
	if (find(self->key))
		ret = -EEXIST;
	else if (book.n_accounts == KEYS_MAX)
		ret = -ENOSPC;
	else
		book.accounts[book.n_accounts++] = (struct account){ .key = self->key };
	pthread_mutex_unlock(&book.lock);
	return ret;
}

static int copy_words(struct chi_run_context *context, const struct tally_task *self)
{
	const uint64_t *from = chi_context_buffer(context, &self->buffers[0]);
	uint64_t *to = chi_context_buffer(context, &self->buffers[1]);
	uint64_t n_bytes = self->buffers[0].size_bytes;

	if (!from && !to)
		return 0;
	if (!from || !to || n_bytes != self->buffers[1].size_bytes)
		return -EINVAL;
	for (uint64_t i = 0; i < n_bytes / sizeof(*to); i++)
		to[i] = from[i] ^ self->key;
	return 0;
}

static int tally_run(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct tally_task *self = (struct tally_task *)task;
	struct account *account;

	(void)container;
	pthread_mutex_lock(&book.lock);
	account = find(self->key);
	/* far ahead of what is in flight is no number of this client's */
	if (account && self->number < account->end + TALLY_WINDOW) {
		note(account, self->number);
		self->n_twice = account->n_twice;
	} else {
		account = NULL;
	}
	pthread_mutex_unlock(&book.lock);
	if (!account)
		return -ENOKEY;
	self->echo = tally_echo(self->key, self->number);
	return copy_words(context, self);
}

static int tally_read(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct tally_task *self = (struct tally_task *)task;
	const struct account *account;

	(void)container, (void)context;
	pthread_mutex_lock(&book.lock);
	account = find(self->key);
	if (account) {
		self->echo = account->n_runs;
		self->n_twice = account->n_twice;
	}
	pthread_mutex_unlock(&book.lock);
	return account ? 0 : -ENOKEY;
}

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	(void)container, (void)params, (void)params_size;
	return 0;
}

static void destroy(struct chi_container *container)
{
	(void)container;
}

#define TALLY_METHOD(number, text, function)                                                               \
	{                                                                                                  \
		.name = (text), .id = (number), .task_size = sizeof(struct tally_task), .run = (function), \
		.buffers_offset = offsetof(struct tally_task, buffers), .n_buffers = 2,                    \
		.out_offset = offsetof(struct tally_task, echo), .out_size = 2 * sizeof(uint64_t),         \
	}

static const struct chi_method methods[] = {
	TALLY_METHOD(TALLY_OPEN, "open", tally_open),
	TALLY_METHOD(TALLY_RUN, "run", tally_run),
	TALLY_METHOD(TALLY_READ, "read", tally_read),
};

static const struct chi_module tally_module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "tally",
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = create,
	.destroy = destroy,
};

CHI_MODULE(tally_module);
