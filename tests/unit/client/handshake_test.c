/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handshake_test.c - what a client takes from a runtime's answer, and what it refuses
 */
#include "fake_runtime.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Connect to a fake that `spoil` has changed; nothing may be left open. */
static int connect_spoiled(void (*spoil)(struct fake_runtime *fake))
{
	struct fake_runtime fake;
	struct chi_client *client = NULL;
	int before = count_fds();
	int rc;

	fake_init(&fake);
	spoil(&fake);
	rc = fake_connect(&fake, &client);
	if (rc == 0)
		chi_client_disconnect(client);
	else
		assert_null(client);
	fake_fini(&fake);
	assert_int_equal(count_fds(), before);
	return rc;
}

static void spoil_nothing(struct fake_runtime *fake)
{
	(void)fake;
}

static void honest_welcome_makes_a_client_and_leaves_nothing_open(void **state)
{
	(void)state;
	assert_int_equal(connect_spoiled(spoil_nothing), 0);
}

static void client_tells_who_is_at_the_other_side(void **state)
{
	struct fake_runtime fake;
	struct chi_client *client;
	struct chi_runtime_info info;

	(void)state;
	fake_init(&fake);
	assert_int_equal(fake_connect(&fake, &client), 0);
	assert_int_equal(chi_client_alive(client), 0);
	assert_int_equal(chi_client_runtime_info(client, &info), 0);
	assert_int_equal(info.pid, getpid());
	assert_int_equal(info.n_workers, 2);
	assert_int_equal(info.generation, FAKE_GENERATION);
	assert_int_equal(info.started_ns, 5);
	chi_client_disconnect(client);
	fake_fini(&fake);
}

static void counters_that_somebody_has_cut_are_an_error(void **state)
{
	struct fake_runtime fake;
	struct chi_client *client;
	struct chi_runtime_info info;

	(void)state;
	fake_init(&fake);
	assert_int_equal(fake_connect(&fake, &client), 0);
	assert_int_equal(ftruncate(fake.counters_fd, CHI_COUNTERS_WORKERS_OFFSET + 100), 0);
	assert_int_equal(chi_client_runtime_info(client, &info), -EPROTO);
	chi_client_disconnect(client);
	fake_fini(&fake);
}

#define SPOILT(name, statement)                     \
	static void name(struct fake_runtime *fake) \
	{                                           \
		fake->statement;                    \
	}

SPOILT(version, welcome.layout_version++)
SPOILT(no_lanes, welcome.n_lanes = 0)
SPOILT(many_lanes, welcome.n_lanes = UINT32_MAX)
SPOILT(more_lanes, welcome.n_lanes = 60000)
SPOILT(odd_depth, welcome.lane_depth = 7)
SPOILT(zero_depth, welcome.lane_depth = 0)
SPOILT(huge_depth, welcome.lane_depth = 1u << 31)
SPOILT(other_abi, welcome.abi_version++)
SPOILT(many_workers, welcome.n_workers = CHI_WORKERS_MAX + 1)
SPOILT(small_client, welcome.client_bytes = CHI_PAGE)
SPOILT(odd_client, welcome.client_bytes += 64)
SPOILT(large_client, welcome.client_bytes += CHI_PAGE)
SPOILT(huge_client, welcome.client_bytes = UINT64_MAX - CHI_PAGE + 1)
SPOILT(small_main, welcome.main_bytes = CHI_PAGE)
SPOILT(large_main, welcome.main_bytes += CHI_PAGE)
SPOILT(other_generation, welcome.generation++)
SPOILT(main_id, welcome.main_segment_id = HIPC_SEGMENT_LOCAL)
SPOILT(client_id, welcome.client_segment_id = 0)
SPOILT(cut, welcome_bytes = sizeof(struct chi_welcome) - 4)
SPOILT(one_word, welcome_bytes = 4)
SPOILT(two_bytes, welcome_bytes = 2)
SPOILT(no_fds, welcome_fds = 0)
SPOILT(one_fd, welcome_fds = 1)
SPOILT(two_fds, welcome_fds = 2)
SPOILT(four_fds, welcome_fds = 4)
SPOILT(type, welcome.type = CHI_MESSAGE_LANE_OPENED)
SPOILT(unknown_type, welcome.type = 99)

static void wrong_welcome_returns_eproto(void **state)
{
	static const struct {
		const char *name;
		void (*spoil)(struct fake_runtime *fake);
	} cases[] = {
#define CASE(name) { #name, name }
		CASE(version),	    CASE(other_abi),	CASE(no_lanes),	    CASE(many_lanes),
		CASE(more_lanes),   CASE(odd_depth),	CASE(zero_depth),   CASE(huge_depth),
		CASE(many_workers), CASE(small_client), CASE(odd_client),   CASE(large_client),
		CASE(huge_client),  CASE(small_main),	CASE(large_main),   CASE(other_generation),
		CASE(main_id),	    CASE(client_id),	CASE(cut),	    CASE(one_word),
		CASE(two_bytes),    CASE(no_fds),	CASE(one_fd),	    CASE(two_fds),
		CASE(four_fds),	    CASE(type),		CASE(unknown_type),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int rc = connect_spoiled(cases[i].spoil);

		if (rc != -EPROTO)
			fail_msg("%s: %d (%s)", cases[i].name, rc, chi_error_text());
		assert_true(chi_error_text()[0]);
	}
}

static const struct chi_refusal refused = { CHI_MESSAGE_REFUSAL, 0, -EUSERS, "all places are taken" };
static const struct chi_refusal refused_with_success = { CHI_MESSAGE_REFUSAL, 0, 1, "yes and no" };

SPOILT(refusing, refusal = &refused)
SPOILT(refusing_badly, refusal = &refused_with_success)
SPOILT(saying_nothing, silent = true)

static void refusal_is_returned_with_its_text(void **state)
{
	(void)state;
	assert_int_equal(connect_spoiled(refusing), -EUSERS);
	assert_non_null(strstr(chi_error_text(), "all places are taken"));
}

static void refusal_without_an_error_returns_eproto(void **state)
{
	(void)state;
	assert_int_equal(connect_spoiled(refusing_badly), -EPROTO);
}

static void refusal_is_read_after_the_runtime_has_closed(void **state)
{
	int ends[2];
	struct chi_client *client;

	(void)state;
	/* before our hello, as when the runtime has no place for greeters: the hello is never read */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	assert_int_equal(hshm_fds_send(ends[1], &refused, sizeof(refused), NULL, 0), sizeof(refused));
	close(ends[1]);
	assert_int_equal(chi_client_open_socket(ends[0], NULL, &client), -EUSERS);
}

/* A runtime that has our hello, does not read it, says no and closes. */
static void refuse_unread(void *arg)
{
	struct pollfd hello = { .fd = *(int *)arg, .events = POLLIN };

	poll(&hello, 1, -1);
	(void)!hshm_fds_send(hello.fd, &refused, sizeof(refused), NULL, 0);
	close(hello.fd);
}

static void refusal_is_read_though_the_hello_never_was(void **state)
{
	struct hshm_thread *thread;
	struct chi_client *client;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	assert_int_equal(HSHM_THREAD_MODEL->spawn("refuse", refuse_unread, &ends[1], &thread), 0);
	assert_int_equal(chi_client_open_socket(ends[0], NULL, &client), -EUSERS);
	HSHM_THREAD_MODEL->join(thread);
}

static void silent_runtime_returns_etimedout_in_time(void **state)
{
	uint64_t begin_ns = hshm_clock_ns();

	(void)state;
	assert_int_equal(connect_spoiled(saying_nothing), -ETIMEDOUT);
	assert_true(hshm_clock_ns() - begin_ns >= 200 * HSHM_NSEC_PER_MSEC);
}

static void hang_up_in_the_handshake_returns_econnrefused(void **state)
{
	int ends[2];
	struct chi_client *client;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	close(ends[1]);
	assert_int_equal(chi_client_open_socket(ends[0], NULL, &client), -ECONNREFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(honest_welcome_makes_a_client_and_leaves_nothing_open),
		cmocka_unit_test(client_tells_who_is_at_the_other_side),
		cmocka_unit_test(counters_that_somebody_has_cut_are_an_error),
		cmocka_unit_test(wrong_welcome_returns_eproto),
		cmocka_unit_test(refusal_is_returned_with_its_text),
		cmocka_unit_test(refusal_without_an_error_returns_eproto),
		cmocka_unit_test(refusal_is_read_after_the_runtime_has_closed),
		cmocka_unit_test(refusal_is_read_though_the_hello_never_was),
		cmocka_unit_test(silent_runtime_returns_etimedout_in_time),
		cmocka_unit_test(hang_up_in_the_handshake_returns_econnrefused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
