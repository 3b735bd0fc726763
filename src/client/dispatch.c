/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dispatch.c - callbacks for programs with an event loop of their own
 *
 * The descriptor is an epoll set, so that it stays the same over a reconnect. In it: the attachment's event socket, its
 * connection and the runtime's process (either's end makes it readable), and an eventfd by which we make it readable
 * ourselves, when there is more than a dispatch may do.
 *
 * D1  A reconnect puts the new attachment in and then writes the eventfd; a dispatch reads the eventfd and then looks
 *     which attachment it is: who takes the wake-up out finds what it was for, and arms that.
 * D2  A task that was pushed as the runtime died may become a lost one after the loop was told the end; its submitter
 *     marks it (under the lock of the events) and then looks whether the runtime is known to be gone. Who found it gone
 *     looked for lost ones after that, under the same lock: one of the two sees the other.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hshm/clock.h>

#include "client/process_client.h"
#include "task/error.h"

/* ---- the descriptor; under event_lock ---- */

static int watch(int epoll, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events };

	if (fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST)
		return 0;
	return chi_error_set(-errno, "no room in an epoll set");
}

static void unwatch_attachment(struct process_client *client, struct chi_attachment *attachment)
{
	const int fds[] = { attachment->events.socket, attachment->connection.socket, attachment->connection.pidfd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0)
			epoll_ctl(client->event_epoll, EPOLL_CTL_DEL, fds[i], NULL);
	}
}

/* Its events are open. All of it, or nothing: what is closed stays in the set while a forked child has a copy. */
static int watch_attachment(struct process_client *client, struct chi_attachment *attachment)
{
	int rc = watch(client->event_epoll, attachment->events.socket, EPOLLIN);

	if (rc == 0)
		rc = watch(client->event_epoll, attachment->connection.socket, EPOLLRDHUP);
	if (rc == 0)
		rc = watch(client->event_epoll, attachment->connection.pidfd, EPOLLIN);
	if (rc < 0)
		unwatch_attachment(client, attachment);
	return rc;
}

static int more_fd(const struct process_client *client)
{
	/* acquire: pairs with the release in open_descriptor() */
	return (int)hshm_load_acquire(&client->event_more) - 1;
}

/* D1, D2 */
static void wake_loop(const struct process_client *client)
{
	int more = more_fd(client);

	if (more >= 0)
		(void)eventfd_write(more, 1);
}

static void close_descriptor(struct process_client *client)
{
	if (client->event_epoll >= 0)
		close(client->event_epoll);
	if (more_fd(client) >= 0)
		close(more_fd(client));
	client->event_epoll = -1;
	/* relaxed: nobody dispatches while it ends, or it was never there */
	hshm_store_relaxed(&client->event_more, 0);
}

static int open_descriptor(struct process_client *client)
{
	struct chi_attachment *now = process_client_now(client);
	int more = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC); /* 1: the first dispatch arms */
	int rc;

	client->event_epoll = epoll_create1(EPOLL_CLOEXEC);
	if (client->event_epoll < 0 || more < 0)
		rc = chi_error_set(-EMFILE, "no descriptor for events");
	else
		rc = watch(client->event_epoll, more, EPOLLIN);
	if (rc == 0)
		rc = chi_attachment_open_events(now, hshm_deadline_ns(client->connect_timeout_ns));
	if (rc == 0)
		rc = watch_attachment(client, now);
	if (rc < 0) {
		close_descriptor(client);
		if (more >= 0)
			close(more);
		return rc;
	}
	/* release: pairs with the acquire in more_fd(). Last: whoever dispatches meanwhile does not know a descriptor
	 * that may yet be closed, and its number go to somebody else. */
	hshm_store_release(&client->event_more, (uint32_t)(more + 1));
	return 0;
}

static int check_client(const struct process_client *client)
{
	if (client->base.ops != &chi_process_client_ops)
		return chi_error_set(-ENOTSUP, "a method waits for its subtasks, it has no event loop");
	return chi_fork_guard_is_owner(&client->guard) ? 0 : process_client_forked();
}

int chi_client_event_fd(struct chi_client *base)
{
	struct process_client *client = (struct process_client *)base;
	int rc = check_client(client);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&client->event_lock);
	if (client->event_epoll < 0)
		rc = open_descriptor(client);
	if (rc == 0)
		rc = client->event_epoll;
	pthread_mutex_unlock(&client->event_lock);
	return rc == -ETIMEDOUT ? -EAGAIN : rc;
}

/* Take event_lock, with the events of @to open if there is a descriptor. Its runtime is asked without the lock, which
 * an event loop may want meanwhile: nobody else knows @to yet. */
static int lock_for(struct process_client *client, struct chi_attachment *to, uint64_t deadline_ns)
{
	pthread_mutex_lock(&client->event_lock);
	while (client->event_epoll >= 0 && to->events.socket < 0) {
		int rc;

		pthread_mutex_unlock(&client->event_lock);
		rc = chi_attachment_open_events(to, deadline_ns);
		if (rc < 0)
			return rc;
		pthread_mutex_lock(&client->event_lock);
	}
	return 0;
}

int process_client_replace(struct process_client *client, struct chi_attachment *to, uint64_t deadline_ns)
{
	/* through both steps: a descriptor that is opened in between would watch the old one */
	int rc = lock_for(client, to, deadline_ns);

	if (rc < 0)
		return rc;
	if (client->event_epoll >= 0)
		rc = watch_attachment(client, to);
	if (rc == 0) {
		if (client->event_epoll >= 0)
			unwatch_attachment(client, process_client_now(client));
		process_client_attach(client, to);
		/* D1. The lost ones of the old are still to be told, and the new one is to be armed. */
		wake_loop(client);
	}
	pthread_mutex_unlock(&client->event_lock);
	return rc;
}

void process_client_close_events(struct process_client *client)
{
	close_descriptor(client);
}

/* ---- submit ---- */

int chi_submit_notify(struct chi_client *base, void *memory, chi_notify_fn fn, void *arg)
{
	struct process_client *client = (struct process_client *)base;
	struct chi_task *task = memory;
	struct chi_attachment *now;
	uint64_t notice;
	int rc = check_client(client);

	if (rc < 0)
		return rc;
	now = process_client_now(client);
	if (!chi_attachment_has(now, task))
		return process_client_not_ours(client, task);
	rc = chi_task_check_idle(base, task);
	if (rc < 0)
		return rc;
	if (!fn || (task->flags & CHI_TASK_FIRE_AND_FORGET))
		return chi_error_set(-EINVAL, "a callback is missing, or nobody waits for the task");
	rc = chi_events_add(&now->events, task, fn, arg, &notice);
	if (rc < 0)
		return rc;
	rc = chi_task_submit_as(base, task, CHI_COMPLETION_NOTIFY, CHI_NEXT_ANY);
	if (rc < 0) {
		chi_events_remove(&now->events, task);
		return rc;
	}
	chi_events_submitted(&now->events, notice);
	if (chi_attachment_is_dead(now))
		wake_loop(client); /* D2 */
	return 0;
}

/* ---- dispatch ---- */

static uint64_t count_callbacks(struct process_client *client)
{
	uint64_t n = 0;

	pthread_mutex_lock(&client->lock);
	for (struct chi_attachment *at = client->former; at; at = at->older)
		n += chi_events_count(&at->events);
	pthread_mutex_unlock(&client->lock);
	return n + chi_events_count(&process_client_now(client)->events);
}

/* How many one dispatch calls. All (0) are those of the tasks that are under way as it begins, for callbacks may hand
 * in others without end; and one more, so that to reach it means that they did, and that there may be more. */
static uint32_t limit_of(struct process_client *client, uint32_t n_max)
{
	uint64_t limit = n_max ? n_max : count_callbacks(client) + 1;

	return limit < INT32_MAX ? (uint32_t)limit : INT32_MAX;
}

static bool take_from(struct chi_attachment *attachment, struct chi_event *ret_event)
{
	return chi_events_take(&attachment->events, ret_event) ||
	       (chi_attachment_is_dead(attachment) && chi_events_take_lost(&attachment->events, ret_event));
}

static bool take_next(struct process_client *client, struct chi_event *ret_event)
{
	bool found = false;

	pthread_mutex_lock(&client->lock);
	for (struct chi_attachment *at = client->former; at && !found; at = at->older)
		found = take_from(at, ret_event);
	pthread_mutex_unlock(&client->lock);
	return found || take_from(process_client_now(client), ret_event);
}

static uint32_t run(struct process_client *client, uint32_t n_max)
{
	struct chi_event event;
	uint32_t n = 0;

	while (n < n_max && take_next(client, &event)) {
		event.fn(event.task, event.result, event.arg);
		n++;
	}
	return n;
}

/* Once: what is left in the descriptor is another attachment's. */
static int tell_end(struct process_client *client, struct chi_attachment *attachment)
{
	pthread_mutex_lock(&client->event_lock);
	if (client->event_epoll >= 0)
		unwatch_attachment(client, attachment); /* it shall not be told for ever */
	pthread_mutex_unlock(&client->event_lock);
	return chi_attachment_gone(attachment);
}

int chi_client_dispatch(struct chi_client *base, uint32_t n_max)
{
	struct process_client *client = (struct process_client *)base;
	struct chi_attachment *now;
	uint32_t limit, n = 0;
	eventfd_t written;
	int rc = check_client(client), more;

	if (rc < 0)
		return rc;
	more = more_fd(client);
	if (more >= 0)
		(void)eventfd_read(more, &written);
	chi_events_drain(&process_client_now(client)->events);
	limit = limit_of(client, n_max);
	do {
		n += run(client, limit - n);
		/* D1: not before the read. Nor before the callbacks: they may reconnect, and what was `now` be
		 * released. */
		now = process_client_now(client);
	} while (n < limit && !chi_events_arm(&now->events));
	if (n == 0 && chi_attachment_alive(now) < 0) {
		n = run(client, limit);
		if (n == 0 && now == process_client_now(client))
			return tell_end(client, now);
	}
	if (n == limit)
		wake_loop(client);
	return (int)n;
}
