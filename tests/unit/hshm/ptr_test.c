/* SPDX-License-Identifier: BSD-3-Clause */
#include "hshm_test.h"

#include <hshm/ptr.h>

#define SIZE 4096u

static char memory[SIZE] HSHM_ALIGNED(4096);
static const struct hipc_mapping mapping = { memory, SIZE, 7 };

/* An address that C's arithmetic may not make */
static void *address(int64_t from_base)
{
	return (void *)((uintptr_t)memory + (uintptr_t)from_base);
}

static void pointer_and_address_translate_both_ways(void **state)
{
	struct hipc_ptr ptr = hipc_ptr_of(&mapping, memory + 100);

	(void)state;
	assert_int_equal(hipc_ptr_segment(ptr), 7);
	assert_int_equal(hipc_ptr_offset(ptr), 100);
	assert_ptr_equal(hipc_ptr_translate(&mapping, ptr, 10), memory + 100);
	/* offset 0 of a segment is a place, not null */
	assert_ptr_equal(hipc_ptr_translate(&mapping, hipc_ptr_of(&mapping, memory), 1), memory);
}

static void range_must_lie_inside_to_the_last_byte(void **state)
{
	(void)state;
	assert_ptr_equal(hipc_ptr_translate(&mapping, hipc_ptr_make(7, 0), SIZE), memory);
	assert_null(hipc_ptr_translate(&mapping, hipc_ptr_make(7, 0), SIZE + 1));
	assert_ptr_equal(hipc_ptr_translate(&mapping, hipc_ptr_make(7, SIZE - 1), 1), memory + SIZE - 1);
	assert_null(hipc_ptr_translate(&mapping, hipc_ptr_make(7, SIZE - 1), 2));
	assert_null(hipc_ptr_translate(&mapping, hipc_ptr_make(7, SIZE), 0));
	assert_ptr_equal(hipc_ptr_translate(&mapping, hipc_ptr_make(7, SIZE - 1), 0), memory + SIZE - 1);
}

static void numbers_that_would_overflow_are_refused(void **state)
{
	/* at the top of the address space base + offset wraps, whatever the size */
	const struct hipc_mapping high = { (void *)(UINTPTR_MAX - SIZE + 1), SIZE, 7 };

	(void)state;
	assert_null(hipc_ptr_translate(&mapping, hipc_ptr_make(7, 64), UINT64_MAX));
	assert_null(hipc_ptr_translate(&mapping, hipc_ptr_make(7, 64), UINT64_MAX - 63));
	assert_null(hipc_ptr_translate(&mapping, hipc_ptr_make(7, HIPC_OFFSET_MAX), 1));
	assert_null(hipc_ptr_translate(&mapping, hipc_ptr_make(7, HIPC_OFFSET_MAX), UINT64_MAX - HIPC_OFFSET_MAX + 1));
	assert_null(hipc_ptr_translate(&high, hipc_ptr_make(7, SIZE), 1));
	assert_null(hipc_ref_translate(&mapping, UINT32_MAX, 1));
	assert_null(hipc_ref_translate(&mapping, 1, UINT64_MAX));
	assert_null(hipc_ref_translate(&high, SIZE / HIPC_REF_UNIT, 1));
}

static void pointers_of_other_segments_are_refused(void **state)
{
	const struct hipc_mapping local = { memory, SIZE, HIPC_SEGMENT_LOCAL };
	const struct hipc_mapping none = { memory, SIZE, HIPC_SEGMENT_NONE };

	(void)state;
	assert_null(hipc_ptr_translate(&mapping, (struct hipc_ptr){ 0 }, 1));
	assert_null(hipc_ptr_translate(&mapping, hipc_ptr_make(8, 64), 1));
	assert_null(hipc_ptr_translate(&mapping, hipc_ptr_local(memory), 1));
	/* not even when a mapping claims such an id */
	assert_null(hipc_ptr_translate(&local, hipc_ptr_make(HIPC_SEGMENT_LOCAL, 64), 1));
	assert_null(hipc_ptr_translate(&none, hipc_ptr_make(HIPC_SEGMENT_NONE, 64), 1));
}

static void addresses_outside_have_no_pointer(void **state)
{
	(void)state;
	assert_true(hipc_ptr_is_null(hipc_ptr_of(&mapping, address(-1))));
	assert_true(hipc_ptr_is_null(hipc_ptr_of(&mapping, address(SIZE))));
	assert_true(hipc_ptr_is_null(hipc_ptr_of(&mapping, NULL)));
	assert_true(hipc_ptr_is_null(hipc_ptr_of(&mapping, (void *)UINTPTR_MAX)));
}

static void short_references_translate_both_ways(void **state)
{
	(void)state;
	assert_int_equal(hipc_ref_of(&mapping, memory + 128), 2);
	assert_ptr_equal(hipc_ref_translate(&mapping, 2, 64), memory + 128);
	assert_ptr_equal(hipc_ref_translate(&mapping, SIZE / 64 - 1, 64), memory + SIZE - 64);
	assert_null(hipc_ref_translate(&mapping, SIZE / 64 - 1, 65));
	assert_null(hipc_ref_translate(&mapping, SIZE / 64, 0));
	assert_null(hipc_ref_translate(&mapping, 0, 1));
}

static void places_without_a_short_reference_get_none(void **state)
{
	const struct hipc_mapping vast = { memory, UINT64_C(1) << 40, 7 };

	(void)state;
	assert_int_equal(hipc_ref_of(&mapping, memory), 0);
	assert_int_equal(hipc_ref_of(&mapping, memory + 65), 0);
	assert_int_equal(hipc_ref_of(&mapping, address(SIZE)), 0);
	assert_int_equal(hipc_ref_of(&mapping, address(-64)), 0);
	assert_int_equal(hipc_ref_of(&vast, address(INT64_C(64) << 32)), 0);
	assert_int_equal(hipc_ref_of(&vast, address((INT64_C(64) << 32) - 64)), UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pointer_and_address_translate_both_ways),
		cmocka_unit_test(range_must_lie_inside_to_the_last_byte),
		cmocka_unit_test(numbers_that_would_overflow_are_refused),
		cmocka_unit_test(pointers_of_other_segments_are_refused),
		cmocka_unit_test(addresses_outside_have_no_pointer),
		cmocka_unit_test(short_references_translate_both_ways),
		cmocka_unit_test(places_without_a_short_reference_get_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
