/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * error_test.c - the thread's text behind chi_error_text()
 */
#include "task_test.h"

#include "task/error.h"

#define TEXT_BYTES 512 /* as error.h says */

static void the_number_comes_back_and_the_text_is_kept(void **state)
{
	(void)state;
	assert_int_equal(chi_error_set(-ENOENT, "no pool %u of '%s'", 12, "blob"), -ENOENT);
	assert_string_equal(chi_error_text(), "no pool 12 of 'blob'");
	assert_int_equal(chi_error_set(-EBUSY, "busy"), -EBUSY);
	assert_string_equal(chi_error_text(), "busy");
}

static void a_long_text_is_cut_and_ends(void **state)
{
	char word[3 * TEXT_BYTES];

	(void)state;
	memset(word, 'x', sizeof(word));
	word[sizeof(word) - 1] = '\0';
	assert_int_equal(chi_error_set(-EINVAL, "%s", word), -EINVAL);
	assert_int_equal(strlen(chi_error_text()), TEXT_BYTES - 1);
	assert_memory_equal(chi_error_text(), word, TEXT_BYTES - 1);
}

static int pass_on(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error = chi_error_vset(error, format, args);
	va_end(args);
	return error;
}

static void a_list_of_arguments_does_the_same(void **state)
{
	(void)state;
	assert_int_equal(pass_on(-EPROTO, "%s %d", "layout", 3), -EPROTO);
	assert_string_equal(chi_error_text(), "layout 3");
}

struct other_thread {
	char at_first[TEXT_BYTES];
	char later[TEXT_BYTES];
};

static void *other_thread(void *arg)
{
	struct other_thread *other = arg;

	strcpy(other->at_first, chi_error_text());
	chi_error_set(-EIO, "theirs");
	strcpy(other->later, chi_error_text());
	return NULL;
}

static void each_thread_has_a_text_of_its_own(void **state)
{
	struct other_thread other = { "not called", "not called" };
	pthread_t thread;

	(void)state;
	chi_error_set(-EIO, "ours");
	assert_int_equal(pthread_create(&thread, NULL, other_thread, &other), 0);
	pthread_join(thread, NULL);
	assert_string_equal(other.at_first, "");
	assert_string_equal(other.later, "theirs");
	assert_string_equal(chi_error_text(), "ours");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_number_comes_back_and_the_text_is_kept),
		cmocka_unit_test(a_long_text_is_cut_and_ends),
		cmocka_unit_test(a_list_of_arguments_does_the_same),
		cmocka_unit_test(each_thread_has_a_text_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
