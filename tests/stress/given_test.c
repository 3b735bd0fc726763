/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * given_test.c - two threads add to one list of fire-and-forget tasks while a third sweeps it: I1 to I4 of client/given.h
 *
 * A task is done when it is added, or a little later. The heap refuses a block that is freed twice; what was added and not freed
 * is found at the end.
 */
#include "hshm_stress.h"

#include <hshm/atomic.h>
#include <hshm/thread_model.h>

#include "client/given.h"

#define N_PUSHERS 2u
#define OFFSET	  UINT64_C(65536)
#define SIZE	  (UINT64_C(16) << 20)

static struct hshm_segment segment;
static struct hshm_heap *heap;
static struct chi_given_list list;
static hshm_au32 n_pushing;

struct pusher {
	uint64_t seed, end_ns, n_added;
};

static void set_done(struct chi_task *task)
{
	hshm_store_release(&task->completion, CHI_COMPLETION_DONE); /* release: as the runtime's (run_context.c) */
}

static void push(void *arg)
{
	struct pusher *pusher = arg;
	struct chi_task *late = NULL;

	while (hshm_clock_ns() < pusher->end_ns) {
		struct chi_given *node = malloc(sizeof(*node));
		void *block;

		assert_non_null(node);
		if (hshm_heap_alloc(heap, sizeof(struct chi_task), &block) < 0) {
			free(node); /* the sweeper is behind */
			HSHM_THREAD_MODEL->yield();
			continue;
		}
		memset(block, (int)pusher->n_added, sizeof(struct chi_task));
		node->task = block;
		hshm_store_relaxed(&node->task->completion, CHI_COMPLETION_PENDING); /* relaxed: the add publishes it */
		if (late)
			set_done(late);
		late = random_below(&pusher->seed, 4) == 0 ? node->task : NULL;
		if (!late)
			set_done(node->task);
		chi_given_add(&list, node);
		pusher->n_added++;
	}
	if (late)
		set_done(late);
	hshm_fetch_sub_relaxed(&n_pushing, 1); /* relaxed: the join publishes the rest */
}

static void each_added_task_is_freed_once(void **state)
{
	struct hshm_thread *threads[N_PUSHERS];
	struct pusher pushers[N_PUSHERS];
	struct hshm_heap_stats stats;
	uint64_t seed = stress_seed(), end_ns = stress_end_ns(), n_added = 0, n_freed = 0;

	(void)state;
	assert_int_equal(hshm_segment_create("heap", OFFSET + SIZE, 1, HSHM_SEAL_SIZE, &segment), 0);
	assert_int_equal(hshm_heap_create(&segment, OFFSET, SIZE, &heap), 0);
	chi_given_init(&list);
	hshm_store_relaxed(&n_pushing, N_PUSHERS);
	for (uint32_t i = 0; i < N_PUSHERS; i++) {
		pushers[i] = (struct pusher){ .seed = seed + 2 * i, .end_ns = end_ns };
		assert_int_equal(HSHM_THREAD_MODEL->spawn("adds", push, &pushers[i], &threads[i]), 0);
	}
	while (hshm_load_relaxed(&n_pushing))
		n_freed += chi_given_sweep_all(&list, heap);
	for (uint32_t i = 0; i < N_PUSHERS; i++) {
		HSHM_THREAD_MODEL->join(threads[i]);
		n_added += pushers[i].n_added;
	}
	n_freed += chi_given_sweep_all(&list, heap);
	print_message("%llu tasks\n", (unsigned long long)n_added);
	assert_true(n_added > 0);
	assert_int_equal(n_freed, n_added);
	chi_given_fini(&list);
	hshm_heap_get_stats(heap, &stats);
	assert_int_equal(stats.n_blocks, 0);
	hshm_heap_destroy(heap);
	hshm_segment_close(&segment);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_added_task_is_freed_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
