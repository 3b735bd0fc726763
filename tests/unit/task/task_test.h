/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task_test.h - a client that is nobody's: its table of functions is the test's own
 */
#ifndef TASK_TEST_H
#define TASK_TEST_H

#ifdef NDEBUG
#error "tests need their asserts"
#endif

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <chimaera/client.h>
#include <hshm/clock.h>

#include "task/submitter.h"

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

struct fake_client {
	struct chi_client client; /* first */
	int usable_error, alloc_error, submit_error, alive_error;
	uint32_t n_full; /* so many submits find the lane full */
	uint32_t n_room; /* 0: no limit; else submits beyond it find the lane full */
	uint32_t n_rings, n_unrung;
	uint32_t n_blocks; /* allocated and not freed */
	uint32_t n_submitted;
	uint32_t n_alive;	  /* how often somebody asked */
	struct chi_task *last;	  /* submitted */
	bool done_at_once;	  /* submit() completes the task */
	unsigned char arena[256]; /* what locate() finds */
	hshm_au32 park, n_sleeps;
	uint32_t park_ref;
};

static inline struct fake_client *fake_of(const struct chi_client *client)
{
	return (struct fake_client *)(uintptr_t)client;
}

static inline int fake_alloc(struct chi_client *client, uint64_t size_bytes, void **ret_memory)
{
	if (fake_of(client)->alloc_error)
		return fake_of(client)->alloc_error;
	*ret_memory = malloc(size_bytes);
	assert_non_null(*ret_memory);
	memset(*ret_memory, 0xa5, size_bytes);
	fake_of(client)->n_blocks++;
	return 0;
}

static inline void fake_free(struct chi_client *client, void *memory)
{
	free(memory);
	fake_of(client)->n_blocks--;
}

static inline int fake_locate(struct chi_client *client, const void *memory, uint64_t size_bytes,
			      struct hipc_ptr *ret_ptr)
{
	const struct hipc_mapping map = { fake_of(client)->arena, sizeof(fake_of(client)->arena), 7 };
	struct hipc_ptr ptr = hipc_ptr_of(&map, memory);

	if (!hipc_ptr_translate(&map, ptr, size_bytes))
		return -EFAULT;
	*ret_ptr = ptr;
	return 0;
}

static inline int fake_usable(const struct chi_client *client)
{
	return fake_of(client)->usable_error;
}

static inline int fake_submit(struct chi_client *client, struct chi_task *task, enum chi_submit_next next)
{
	struct fake_client *fake = fake_of(client);

	if (fake->n_full) {
		fake->n_full--;
		return -EAGAIN;
	}
	if (fake->submit_error || (fake->n_room && fake->n_submitted == fake->n_room))
		return fake->submit_error ? fake->submit_error : -EAGAIN;
	if (next == CHI_NEXT_SUBMIT)
		fake->n_unrung++;
	fake->n_submitted++;
	fake->last = task;
	if (fake->done_at_once) {
		task->result = 17;
		/* release: the result before the word, as the runtime does */
		hshm_store_release(&task->completion, CHI_COMPLETION_DONE);
	}
	return 0;
}

static inline void fake_ring(struct chi_client *client)
{
	fake_of(client)->n_rings++;
	fake_of(client)->n_unrung = 0;
}

static inline int fake_alive(struct chi_client *client)
{
	fake_of(client)->n_alive++;
	return fake_of(client)->alive_error;
}

static inline int fake_serves(struct chi_client *client, void *const *tasks, uint32_t n_tasks, uint64_t now_ns)
{
	(void)tasks, (void)n_tasks, (void)now_ns;
	return fake_alive(client);
}

static inline struct chi_parking_place fake_park(struct chi_client *client)
{
	struct fake_client *fake = fake_of(client);

	return (struct chi_parking_place){ &fake->park, fake->park_ref, &fake->n_sleeps };
}

static const struct chi_client_ops fake_ops = {
	.alloc = fake_alloc,
	.free = fake_free,
	.locate = fake_locate,
	.usable = fake_usable,
	.submit = fake_submit,
	.ring = fake_ring,
	.alive = fake_alive,
	.serves = fake_serves,
	.park = fake_park,
};

static inline void fake_init(struct fake_client *fake, uint32_t wait_policy)
{
	memset(fake, 0, sizeof(*fake));
	fake->client.magic = CHI_CLIENT_MAGIC;
	fake->client.wait_policy = wait_policy;
	fake->client.spin_ns = 30 * HSHM_NSEC_PER_USEC;
	fake->client.ops = &fake_ops;
	fake->park_ref = 4711;
}

#endif
