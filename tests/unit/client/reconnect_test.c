/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reconnect_test.c - a client comes back to runtimes that die, or freeze, at a chosen step of it (with real daemons:
 * integration_reconnect)
 */
#include "fake_runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include <hshm/clock.h>

#define N_RUNTIMES 3u
#define MSEC	   HSHM_NSEC_PER_MSEC
#define SEC	   HSHM_NSEC_PER_SEC

/* What one does that is asked for events. */
enum when_asked { DIES, FREEZES };

/* Runtimes of the same name, one after the other: each serves one client until that hangs up, or until it dies. */
struct successors {
	struct fake_runtime fakes[N_RUNTIMES];
	enum when_asked when_asked; /* the second of them; the others answer */
	uint32_t n;
	int listener;
	int event_ends[N_RUNTIMES];
	hshm_aptr serves;  /* the one that does */
	hshm_au32 n_asked; /* for events */
	char path[108];
};

static void answer_events(struct fake_runtime *fake, const struct chi_events_open *request, int *ret_own_end)
{
	struct chi_events_opened answer = { CHI_MESSAGE_EVENTS_OPENED, request->serial };
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	(void)!hshm_fds_send(fake->own_end, &answer, sizeof(answer), &ends[0], 1);
	close(ends[0]);
	*ret_own_end = ends[1];
}

static void serve(struct successors *all, uint32_t which)
{
	struct fake_runtime *fake = &all->fakes[which];
	const int fds[CHI_WELCOME_FDS] = { fake->main.fd, fake->segment.fd, fake->counters_fd };
	union chi_message message;

	while (hshm_fds_receive(fake->own_end, &message, sizeof(message), NULL, 0, NULL) > 0) {
		if (message.type == CHI_MESSAGE_HELLO)
			(void)!hshm_fds_send(fake->own_end, &fake->welcome, sizeof(fake->welcome), fds,
					     CHI_WELCOME_FDS);
		if (message.type != CHI_MESSAGE_EVENTS_OPEN)
			continue;
		hshm_fetch_add_relaxed(&all->n_asked, 1); /* relaxed: the test waits for the number alone */
		if (which == 1 && all->when_asked == DIES)
			break;
		if (which != 1)
			answer_events(fake, &message.events_open, &all->event_ends[which]);
	}
	shutdown(fake->own_end, SHUT_RDWR);
}

static void serve_all(void *arg)
{
	struct successors *all = arg;

	for (uint32_t i = 0; i < all->n; i++) {
		int fd = accept(all->listener, NULL, NULL);

		assert_true(fd >= 0);
		close(all->fakes[i].own_end);
		all->fakes[i].own_end = fd;
		hshm_store_release(&all->serves, &all->fakes[i]); /* release: the test shuts its socket down */
		serve(all, i);
	}
	/* of that name there is none any more */
	close(all->listener);
	all->listener = -1;
}

static struct successors *listen_as(uint32_t n, enum when_asked when_asked)
{
	struct successors *all = calloc(1, sizeof(*all));
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	all->n = n;
	all->when_asked = when_asked;
	for (uint32_t i = 0; i < N_RUNTIMES; i++) {
		fake_init(&all->fakes[i]);
		all->fakes[i].welcome.generation = FAKE_GENERATION;
		all->event_ends[i] = -1;
	}
	snprintf(all->path, sizeof(all->path), "%s/fake.sock", getenv("XDG_RUNTIME_DIR"));
	strcpy(address.sun_path, all->path);
	all->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(all->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(all->listener, 4), 0);
	return all;
}

static void release(struct successors *all)
{
	unlink(all->path);
	for (uint32_t i = 0; i < N_RUNTIMES; i++) {
		if (all->event_ends[i] >= 0)
			close(all->event_ends[i]);
		close(all->fakes[i].client_end);
		fake_fini(&all->fakes[i]);
	}
	free(all);
}

/* Connected to the first of them, with an event descriptor; that one has died since. */
static struct chi_client *left_by_the_first(struct successors *all, uint64_t connect_timeout_ns,
					    struct hshm_thread **ret_thread)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = all->path, .connect_timeout_ns = connect_timeout_ns);
	struct chi_client *client = NULL;

	assert_int_equal(HSHM_THREAD_MODEL->spawn("fakes", serve_all, all, ret_thread), 0);
	assert_int_equal(chi_client_connect(&opts, &client), 0);
	assert_true(chi_client_event_fd(client) >= 0);
	/* acquire: pairs with the release in serve_all() */
	shutdown(((struct fake_runtime *)hshm_load_acquire(&all->serves))->own_end, SHUT_RDWR);
	while (chi_client_alive(client) == 0)
		HSHM_THREAD_MODEL->yield();
	return client;
}

static void a_runtime_that_dies_while_a_client_comes_back_is_passed_over(void **state)
{
	struct successors *all = listen_as(3, DIES);
	struct hshm_thread *thread;
	struct chi_client *client = left_by_the_first(all, 5 * SEC, &thread);

	(void)state;
	assert_int_equal(chi_client_reconnect(client, 5 * SEC), 0);
	assert_ptr_equal(hshm_load_acquire(&all->serves), &all->fakes[2]);
	assert_int_equal(chi_client_alive(client), 0);
	chi_client_disconnect(client);
	HSHM_THREAD_MODEL->join(thread);
	release(all);
}

static void a_runtime_that_freezes_while_a_client_comes_back_is_passed_over(void **state)
{
	struct successors *all = listen_as(3, FREEZES);
	struct hshm_thread *thread;
	struct chi_client *client = left_by_the_first(all, SEC, &thread);

	(void)state;
	assert_int_equal(chi_client_reconnect(client, 20 * SEC), 0);
	assert_ptr_equal(hshm_load_acquire(&all->serves), &all->fakes[2]);
	chi_client_disconnect(client);
	HSHM_THREAD_MODEL->join(thread);
	release(all);
}

static void a_reconnect_to_a_runtime_that_freezes_ends_in_time(void **state)
{
	struct successors *all = listen_as(2, FREEZES);
	struct hshm_thread *thread;
	struct chi_client *client = left_by_the_first(all, 4 * SEC, &thread);
	uint64_t begin_ns = hshm_clock_ns();

	(void)state;
	assert_int_equal(chi_client_reconnect(client, 50 * MSEC), -ETIMEDOUT);
	assert_in_range(hshm_clock_ns() - begin_ns, 50 * MSEC, 3 * SEC);
	chi_client_disconnect(client);
	HSHM_THREAD_MODEL->join(thread);
	release(all);
}

struct other_thread {
	struct chi_client *client;
	int result;
};

static void reconnect(void *arg)
{
	struct other_thread *other = arg;

	other->result = chi_client_reconnect(other->client, 20 * SEC);
}

/* The conversation with a new runtime takes as long as that likes. */
static void an_event_loop_goes_on_beside_a_reconnect(void **state)
{
	struct successors *all = listen_as(3, FREEZES);
	struct hshm_thread *fakes, *thread;
	struct chi_client *client = left_by_the_first(all, 8 * SEC, &fakes);
	struct other_thread other = { .client = client };
	uint64_t begin_ns;

	(void)state;
	assert_int_equal(HSHM_THREAD_MODEL->spawn("reconnect", reconnect, &other, &thread), 0);
	while (hshm_load_relaxed(&all->n_asked) < 2)
		HSHM_THREAD_MODEL->yield();
	begin_ns = hshm_clock_ns();
	assert_int_equal(chi_client_dispatch(client, 0), -EOWNERDEAD);
	assert_true(chi_client_event_fd(client) >= 0);
	assert_true(hshm_clock_ns() - begin_ns < 5 * SEC); /* long before the other thread gives up */
	/* it is still frozen, and asked: let it die */
	assert_ptr_equal(hshm_load_acquire(&all->serves), &all->fakes[1]);
	shutdown(all->fakes[1].own_end, SHUT_RDWR);
	HSHM_THREAD_MODEL->join(thread);
	assert_int_equal(other.result, 0);
	chi_client_disconnect(client);
	HSHM_THREAD_MODEL->join(fakes);
	release(all);
}

static void one_try_at_a_runtime_that_dies_meanwhile_returns_econnrefused(void **state)
{
	struct successors *all = listen_as(2, DIES);
	struct hshm_thread *thread;
	struct chi_client *client = left_by_the_first(all, 5 * SEC, &thread);

	(void)state;
	assert_int_equal(chi_client_reconnect(client, 0), -ECONNREFUSED);
	chi_client_disconnect(client);
	HSHM_THREAD_MODEL->join(thread);
	release(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_runtime_that_dies_while_a_client_comes_back_is_passed_over),
		cmocka_unit_test(a_runtime_that_freezes_while_a_client_comes_back_is_passed_over),
		cmocka_unit_test(a_reconnect_to_a_runtime_that_freezes_ends_in_time),
		cmocka_unit_test(an_event_loop_goes_on_beside_a_reconnect),
		cmocka_unit_test(one_try_at_a_runtime_that_dies_meanwhile_returns_econnrefused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
