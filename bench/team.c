/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * team.c - several who hand in tasks at once
 *
 * Each member has a socket: an order says until when, the answer what was done. All of them share our CPU, so what one does
 * in a time of its own choice says nothing: only what all did in the same time does.
 */
#include "team.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLOCK_EVERY 64u /* tasks between two looks at the clock */

struct order {
	uint64_t end_ns; /* 0: go */
};

struct answer {
	uint64_t n; /* tasks that have ended */
	uint64_t end_ns;
	int64_t rc;
};

struct member {
	struct team *team;
	int ends[2]; /* ours, the member's */
	pid_t pid;
	pthread_t thread;
	bool made;
	/* the member's own */
	struct chi_client *client;
	struct chi_task **tasks;
};

struct team {
	struct team_spec spec;
	struct setup *setup;
	struct member members[]; /* n_members */
};

/* ---- a member ---- */

static int submit(struct member *self, uint32_t task)
{
	int rc;

	/* full, or all places taken: those who run them may want our CPU */
	while ((rc = chi_submit(self->client, self->tasks[task])) == -EAGAIN)
		chi_yield();
	return rc;
}

static int wait_for(struct member *self, uint32_t task)
{
	int rc = chi_wait(self->tasks[task], HSHM_FOREVER);

	return rc ? rc : self->tasks[task]->result;
}

static int work(struct member *self, uint64_t end_ns, uint64_t *ret_n)
{
	uint32_t n_outstanding = self->team->spec.n_outstanding, task = 0;
	uint64_t n = 0;
	int rc = 0;

	for (uint32_t i = 0; i < n_outstanding && !rc; i++)
		rc = submit(self, i);
	while (!rc && (n % CLOCK_EVERY || bench_now_ns() < end_ns)) {
		rc = wait_for(self, task);
		n++;
		if (!rc)
			rc = submit(self, task);
		task = task + 1 < n_outstanding ? task + 1 : 0;
	}
	for (uint32_t i = 0; i < n_outstanding && !rc; i++)
		rc = wait_for(self, i);
	*ret_n = n + n_outstanding;
	return rc;
}

static int get_ready(struct member *self)
{
	const struct team_spec *spec = &self->team->spec;
	const struct bench_runtime *runtime = &self->team->setup->runtime;
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_BUSY, .name = runtime->name);
	int rc = 0;

	self->client = runtime->client;
	if (spec->processes)
		rc = chi_client_connect(&opts, &self->client);
	self->tasks = calloc(spec->n_outstanding, sizeof(struct chi_task *));
	if (!self->tasks)
		return -ENOMEM;
	for (uint32_t i = 0; i < spec->n_outstanding && !rc; i++)
		rc = chi_task_alloc(self->client, sizeof(struct chi_task), runtime->pool_id,
				    CHI_QUERY_LOCAL_ID(spec->n_containers ? i % spec->n_containers : 0), BENCH_NOOP,
				    &self->tasks[i]);
	return rc < 0 ? tell("a member of the team", rc) : 0;
}

static void put_away(struct member *self)
{
	for (uint32_t i = 0; self->tasks && i < self->team->spec.n_outstanding; i++)
		chi_task_free(self->client, self->tasks[i]);
	free(self->tasks);
	if (self->team->spec.processes)
		chi_client_disconnect(self->client);
}

/* An answer when it is ready, and one for each order. */
static void *serve(void *arg)
{
	struct member *self = arg;
	struct answer answer = { .rc = get_ready(self) };
	struct order order;

	while (send(self->ends[1], &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer) && !answer.rc &&
	       recv(self->ends[1], &order, sizeof(order), 0) == sizeof(order) && order.end_ns) {
		answer.rc = work(self, order.end_ns, &answer.n);
		answer.end_ns = bench_now_ns();
		if (answer.rc)
			tell("a task of the team", (int)answer.rc);
	}
	put_away(self);
	return NULL;
}

/* ---- the team ---- */

static int make_member(struct team *team, struct member *member)
{
	int rc = 0;

	member->team = team;
	/* with records, so that the end of a process is seen, too */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, member->ends))
		return -errno;
	member->made = true;
	if (!team->spec.processes) {
		rc = pthread_create(&member->thread, NULL, serve, member);
		member->made = !rc;
		return -rc;
	}
	member->pid = fork();
	if (!member->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(member->ends[0]);
		serve(member);
		_exit(0);
	}
	close(member->ends[1]);
	member->ends[1] = -1;
	return member->pid < 0 ? -errno : 0;
}

static int hear(struct member *member, struct answer *ret_answer)
{
	if (recv(member->ends[0], ret_answer, sizeof(*ret_answer), 0) != sizeof(*ret_answer))
		return -EPIPE;
	return (int)ret_answer->rc;
}

int team_start(struct setup *setup, const struct team_spec *spec, struct team **ret_team)
{
	struct team *team = calloc(1, sizeof(*team) + spec->n_members * sizeof(team->members[0]));
	struct answer answer;
	int rc = 0;

	if (!team)
		return -ENOMEM;
	team->spec = *spec;
	team->setup = setup;
	for (uint32_t i = 0; i < spec->n_members && !rc; i++)
		rc = make_member(team, &team->members[i]);
	for (uint32_t i = 0; i < spec->n_members && !rc; i++)
		rc = hear(&team->members[i], &answer);
	if (rc) {
		tell("the team", rc);
		team_stop(team);
		return rc;
	}
	*ret_team = team;
	return 0;
}

static void end_member(struct member *member, bool processes)
{
	struct order order = { 0 };

	(void)!send(member->ends[0], &order, sizeof(order), MSG_NOSIGNAL);
	if (!processes)
		pthread_join(member->thread, NULL);
	else if (member->pid > 0)
		waitpid(member->pid, NULL, 0);
	close(member->ends[0]);
	if (member->ends[1] >= 0)
		close(member->ends[1]);
}

void team_stop(struct team *team)
{
	if (!team)
		return;
	for (uint32_t i = 0; i < team->spec.n_members; i++)
		if (team->members[i].made)
			end_member(&team->members[i], team->spec.processes);
	free(team);
}

int team_slice(struct team *team, uint32_t n_members, uint64_t slice_ns, struct bench_samples *samples)
{
	uint64_t begin_ns = bench_now_ns(), end_ns = begin_ns, n = 0;
	struct order order = { .end_ns = begin_ns + slice_ns };
	struct answer answer;
	int rc = 0;

	for (uint32_t i = 0; i < n_members && !rc; i++)
		if (send(team->members[i].ends[0], &order, sizeof(order), MSG_NOSIGNAL) != sizeof(order))
			rc = -EPIPE;
	for (uint32_t i = 0; i < n_members && !rc; i++) {
		rc = hear(&team->members[i], &answer);
		n += answer.n;
		end_ns = answer.end_ns > end_ns ? answer.end_ns : end_ns;
	}
	if (!rc)
		bench_sample(samples, (double)n * 1e9 / (double)(end_ns - begin_ns), n);
	setup_settle();
	return rc ? tell("the team's work", rc) : 0;
}
