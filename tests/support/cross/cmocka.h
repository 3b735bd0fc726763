/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cross/cmocka.h - the part of cmocka that our tests use, for machines it is not packaged for
 *
 * ./dev cross alone includes it: the same test sources, one group a program. A failed assertion ends its case by longjmp,
 * so it has to come from the thread that runs the case, as with cmocka itself.
 */
#ifndef TESTS_CROSS_CMOCKA_H
#define TESTS_CROSS_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uintmax_t LargestIntegralType;
typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
	const char *name;
	CMUnitTestFunction test_func;
	CMFixtureFunction setup_func;
	CMFixtureFunction teardown_func;
	void *initial_state;
};

#define cmocka_unit_test(f)             \
	{                               \
#f, f, NULL, NULL, NULL \
	}
#define cmocka_unit_test_prestate(f, s) \
	{                               \
#f, f, NULL, NULL, s    \
	}
#define cmocka_unit_test_setup(f, up) \
	{                             \
#f, f, up, NULL, NULL \
	}
#define cmocka_unit_test_teardown(f, down) \
	{                                  \
#f, f, NULL, down, NULL    \
	}
#define cmocka_unit_test_setup_teardown(f, up, down) \
	{                                            \
#f, f, up, down, NULL                \
	}
#define cmocka_unit_test_prestate_setup_teardown(f, up, down, s) \
	{                                                        \
#f, f, up, down, s                               \
	}

enum { CROSS_CASE_FAILED = 1, CROSS_CASE_SKIPPED = 2 };

static jmp_buf cross_case_end __attribute__((unused));

__attribute__((noreturn, format(printf, 3, 4), unused)) static void cross_fail(const char *file, int line,
									       const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: error: ", file, line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	longjmp(cross_case_end, CROSS_CASE_FAILED);
}

#define cross_require(cond, ...)                                     \
	do {                                                         \
		if (!(cond))                                         \
			cross_fail(__FILE__, __LINE__, __VA_ARGS__); \
	} while (0)

/* both sides once, as integers of the widest kind, as cmocka compares them */
#define cross_compare(a, op, b)                                                                           \
	do {                                                                                              \
		uintmax_t cross_a = (uintmax_t)(a);                                                       \
		uintmax_t cross_b = (uintmax_t)(b);                                                       \
		cross_require(cross_a op cross_b, "%s %s %s: %#jx, %#jx", #a, #op, #b, cross_a, cross_b); \
	} while (0)

#define assert_true(c)		   cross_require((c), "%s", #c)
#define assert_false(c)		   cross_require(!(c), "not %s", #c)
#define assert_non_null(p)	   cross_require((p) != NULL, "%s is NULL", #p)
#define assert_null(p)		   cross_require((p) == NULL, "%s is not NULL", #p)
#define assert_ptr_equal(a, b)	   cross_require((const void *)(a) == (const void *)(b), "%s == %s", #a, #b)
#define assert_ptr_not_equal(a, b) cross_require((const void *)(a) != (const void *)(b), "%s != %s", #a, #b)
#define assert_int_equal(a, b)	   cross_compare(a, ==, b)
#define assert_int_not_equal(a, b) cross_compare(a, !=, b)
#define assert_in_range(v, low, high)                                                                                \
	do {                                                                                                         \
		uintmax_t cross_v = (uintmax_t)(v), cross_low = (uintmax_t)(low);                                    \
		cross_require(cross_v >= cross_low && cross_v <= (uintmax_t)(high), "%s = %#jx is out of range", #v, \
			      cross_v);                                                                              \
	} while (0)
#define assert_not_in_range(v, low, high)                                                                         \
	do {                                                                                                      \
		uintmax_t cross_v = (uintmax_t)(v);                                                               \
		cross_require(cross_v<(uintmax_t)(low) || cross_v>(uintmax_t)(high), "%s = %#jx is in range", #v, \
			      cross_v);                                                                           \
	} while (0)
#define assert_return_code(rc, error)	cross_require((rc) >= 0, "%s: %s", #rc, strerror(error))
#define assert_string_equal(a, b)	cross_require(strcmp((a), (b)) == 0, "\"%s\" == \"%s\"", (a), (b))
#define assert_string_not_equal(a, b)	cross_require(strcmp((a), (b)) != 0, "\"%s\" != \"%s\"", (a), (b))
#define assert_memory_equal(a, b, size) cross_require(memcmp((a), (b), (size)) == 0, "%s and %s differ", #a, #b)
#define assert_memory_not_equal(a, b, size) \
	cross_require(memcmp((a), (b), (size)) != 0, "%s and %s are the same", #a, #b)
#define fail()		   cross_fail(__FILE__, __LINE__, "fail()")
#define fail_msg(...)	   cross_fail(__FILE__, __LINE__, __VA_ARGS__)
#define skip()		   longjmp(cross_case_end, CROSS_CASE_SKIPPED)
#define print_message(...) printf(__VA_ARGS__)
#define print_error(...)   fprintf(stderr, __VA_ARGS__)

/* a fixture's assertions end the case too */
static int cross_run_case(const struct CMUnitTest *test, void **state)
{
	int how = setjmp(cross_case_end);

	if (how)
		return how;
	if (test->setup_func && test->setup_func(state))
		cross_fail(test->name, 0, "its setup failed");
	test->test_func(state);
	return 0;
}

static int cross_teardown(const struct CMUnitTest *test, void **state)
{
	int how = setjmp(cross_case_end);

	if (how)
		return how;
	if (test->teardown_func && test->teardown_func(state))
		cross_fail(test->name, 0, "its teardown failed");
	return 0;
}

__attribute__((unused)) static int cross_run_group(const char *name, const struct CMUnitTest *tests, size_t n_tests,
						   CMFixtureFunction group_setup, CMFixtureFunction group_teardown)
{
	void *group_state = NULL;
	int n_failed = 0;
	int n_skipped = 0;

	printf("[==========] %s: Running %zu test(s).\n", name, n_tests);
	if (group_setup && group_setup(&group_state)) {
		fprintf(stderr, "%s: the group's setup failed\n", name);
		return 1;
	}
	for (size_t i = 0; i < n_tests; i++) {
		const struct CMUnitTest *test = &tests[i];
		void *state = test->initial_state ? test->initial_state : group_state;

		printf("[ RUN      ] %s\n", test->name);
		fflush(stdout);
		int how = cross_run_case(test, &state);
		int after = cross_teardown(test, &state);

		if (how == CROSS_CASE_FAILED || after) {
			n_failed++;
			printf("[  FAILED  ] %s\n", test->name);
		} else if (how == CROSS_CASE_SKIPPED) {
			n_skipped++;
			printf("[  SKIPPED ] %s\n", test->name);
		} else {
			printf("[       OK ] %s\n", test->name);
		}
		fflush(stdout);
	}
	if (group_teardown && group_teardown(&group_state))
		n_failed++;
	if (n_skipped)
		printf("\n %d SKIPPED TEST(S)\n", n_skipped);
	printf("[==========] %zu test(s) run, %d failed.\n", n_tests, n_failed);
	return n_failed;
}

#define cmocka_run_group_tests(tests, up, down) \
	cross_run_group(#tests, tests, sizeof(tests) / sizeof((tests)[0]), up, down)
#define cmocka_run_group_tests_name(name, tests, up, down) \
	cross_run_group(name, tests, sizeof(tests) / sizeof((tests)[0]), up, down)

#endif
