/* SPDX-License-Identifier: BSD-3-Clause */
#include "hshm_test.h"

#include <hshm/min_heap.h>

#define N_ITEMS 300
#define SEED	UINT64_C(0x5eed)

struct item {
	struct hshm_min_heap_node node;
	uint64_t key;
	bool is_in;
};

static struct item *item_of(const struct hshm_min_heap_entry *entry)
{
	return (struct item *)((char *)entry->node - offsetof(struct item, node));
}

static void empty_heap_has_no_minimum(void **state)
{
	struct hshm_min_heap heap = { 0 };

	(void)state;
	assert_null(hshm_min_heap_min(&heap));
	hshm_min_heap_fini(&heap); /* zeroed is enough */
	hshm_min_heap_init(&heap);
	assert_null(hshm_min_heap_min(&heap));
	hshm_min_heap_fini(&heap);
	hshm_min_heap_fini(&heap);
}

static void items_leave_in_the_order_of_their_keys(void **state)
{
	static struct item items[N_ITEMS];
	uint64_t seed = SEED, last = 0;
	struct hshm_min_heap heap;

	(void)state;
	hshm_min_heap_init(&heap);
	for (int i = 0; i < N_ITEMS; i++)
		assert_int_equal(hshm_min_heap_insert(&heap, &items[i].node, random_below(&seed, 1000)), 0);
	for (int i = 0; i < N_ITEMS; i++) {
		const struct hshm_min_heap_entry *min = hshm_min_heap_min(&heap);

		assert_true(min->key >= last);
		last = min->key;
		hshm_min_heap_remove(&heap, min->node);
	}
	assert_null(hshm_min_heap_min(&heap));
	hshm_min_heap_fini(&heap);
}

static uint64_t least_key(const struct item *items)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < N_ITEMS; i++)
		if (items[i].is_in && items[i].key < least)
			least = items[i].key;
	return least;
}

static void step(struct hshm_min_heap *heap, struct item *item, uint64_t *seed)
{
	uint64_t key = random_below(seed, 8) == 0 ? UINT64_MAX - random_below(seed, 4) : random_below(seed, 500);

	if (!item->is_in) {
		assert_int_equal(hshm_min_heap_insert(heap, &item->node, key), 0);
		item->is_in = true;
		item->key = key;
	} else if (random_below(seed, 2)) {
		hshm_min_heap_update(heap, &item->node, key);
		item->key = key;
	} else {
		hshm_min_heap_remove(heap, &item->node);
		item->is_in = false;
	}
}

static void random_steps_agree_with_a_plain_list(void **state)
{
	static struct item items[N_ITEMS];
	struct hshm_min_heap heap;
	uint64_t seed = SEED;
	uint32_t n_in;

	(void)state;
	hshm_min_heap_init(&heap);
	for (int i = 0; i < 20000; i++) {
		const struct hshm_min_heap_entry *min;

		step(&heap, &items[random_below(&seed, N_ITEMS)], &seed);
		assert_true(hshm_min_heap_check(&heap));
		n_in = 0;
		for (int k = 0; k < N_ITEMS; k++)
			n_in += items[k].is_in;
		min = hshm_min_heap_min(&heap);
		assert_int_equal(heap.n_entries, n_in);
		assert_int_equal(n_in == 0, min == NULL);
		if (min) {
			assert_true(min->key == least_key(items));
			assert_true(item_of(min)->is_in && item_of(min)->key == min->key);
		}
	}
	hshm_min_heap_fini(&heap);
}

static void removing_a_node_in_no_heap_is_nothing(void **state)
{
	struct item in = { 0 }, out = { 0 };
	struct hshm_min_heap heap;

	(void)state;
	hshm_min_heap_init(&heap);
	assert_int_equal(hshm_min_heap_insert(&heap, &in.node, 1), 0);
	hshm_min_heap_remove(&heap, &out.node);
	assert_int_equal(heap.n_entries, 1);
	hshm_min_heap_remove(&heap, &in.node);
	hshm_min_heap_remove(&heap, &in.node);
	assert_int_equal(heap.n_entries, 0);
	/* and it can come back */
	assert_int_equal(hshm_min_heap_insert(&heap, &in.node, 1), 0);
	hshm_min_heap_fini(&heap);
	assert_int_equal(in.node.place, 0);
}

static void insert_twice(void *arg)
{
	struct item item = { 0 };
	struct hshm_min_heap heap;

	(void)arg;
	hshm_min_heap_init(&heap);
	if (hshm_min_heap_insert(&heap, &item.node, 1) == 0 && hshm_min_heap_insert(&heap, &item.node, 2) == 0)
		_exit(1);
}

static void inserting_a_node_twice_is_a_bug(void **state)
{
	(void)state;
	assert_true(aborts(insert_twice, NULL));
}

static void check_sees_a_broken_order(void **state)
{
	struct item items[2] = { 0 };
	struct hshm_min_heap heap;

	(void)state;
	hshm_min_heap_init(&heap);
	assert_int_equal(hshm_min_heap_insert(&heap, &items[0].node, 1), 0);
	assert_int_equal(hshm_min_heap_insert(&heap, &items[1].node, 2), 0);
	heap.entries[1].key = 0;
	assert_false(hshm_min_heap_check(&heap));
	heap.entries[1].key = 2;
	assert_true(hshm_min_heap_check(&heap));
	items[1].node.place = 1;
	assert_false(hshm_min_heap_check(&heap));
	hshm_min_heap_fini(&heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_heap_has_no_minimum),
		cmocka_unit_test(items_leave_in_the_order_of_their_keys),
		cmocka_unit_test(random_steps_agree_with_a_plain_list),
		cmocka_unit_test(removing_a_node_in_no_heap_is_nothing),
		cmocka_unit_test(inserting_a_node_twice_is_a_bug),
		cmocka_unit_test(check_sees_a_broken_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
