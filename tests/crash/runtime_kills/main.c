/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - runtime_kills: a daemon that is killed again and again, and clients in full flow that go on with its successor
 *
 * Each round: all threads of all client processes (flows.c) work with the daemon; at a seeded moment it gets
 * SIGKILL; the next is started at once under the same name. Some rounds kill while a client connects, while a pool is made, or
 * the successor, once or more, while it starts. Counted: from when the kernel has done with a dead one (its pidfd says
 * so) until each thread that worked with it was told, who was told before that counts as 0, less the thread's own waits for a
 * processor meanwhile: hardly any may be later than 100 ms, however busy the machine is; how soon the successor is ready; what is left
 * of the dead ones. A thread may have come to a successor that is then killed, too, before another thread
 * is told of the first death: each of its news is of the death of the runtime that it was with.
 *
 * usage: runtime_kills [--full] [--rounds N] [--seed S] [--json]
 *   --full       1,000 rounds
 *   --rounds N   12 when left out; the last daemon is killed, too
 * Exit code: 0, 1 when a promise was broken.
 */
#include <chimaera/chimaera.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "flows.h"
#include "support/commit.h"
#include "support/daemon.h"
#include "support/holdings.h"
#include "support/processor.h"
#include "support/random.h"

#define N_PROCESSES    2u
#define N_ROWS	       (N_PROCESSES * FLOW_KINDS)
#define ROUNDS_SETTLE  8u /* what the clients hold in these is what they may hold later */
#define FDS_SPARE      6u /* a client that connects just now */
#define SEGMENTS_SPARE 2u
#define TOLD_NS	       (100 * HSHM_NSEC_PER_MSEC) /* the promise: the waits for a processor are taken off */
#define TOLD_MAX_NS    (2 * HSHM_NSEC_PER_SEC)	  /* and with them */
#define LATE_SPARE     2u			  /* so many are the machine's, and one in LATE_SHARE */
#define LATE_SHARE     1000u
#define HANG_NS	       (10 * HSHM_NSEC_PER_SEC) /* not told by then: it hangs */
#define WORK_NS	       (30 * HSHM_NSEC_PER_SEC) /* to attach and work again */
#define END_NS	       (30 * HSHM_NSEC_PER_SEC) /* for a client process, when all is over: less than ctest gives us */
#define FLOW_US_MAX    4000u
#define START_US_MAX   30000u
#define STARTS_MAX     3u

static const char config[] = "log_level: error\nworkers: { count: 2 }\nmemory: { private_mib: 256 }\n"
			     "clients: { memory_mib: 64, lanes: 16 }\nstop_timeout_ms: 1000\n";

enum moment {
	WHEN_IN_FLOW,
	WHEN_CONNECTING,
	WHEN_CREATING,
	WHEN_STARTING,
	MOMENTS,
};
static const char *const moment_names[MOMENTS] = { "in full flow", "while a client connects", "while a pool is made",
						   "while it starts" };

struct death {
	pid_t pid;
	uint64_t killed_ns, hang_up_ns, ended_ns; /* of hang_up: 0: its socket was not there yet */
	uint64_t waited_ns[N_ROWS];		  /* of each thread, for a processor, up to its end */
};

/* Told of an end: how often, latest, with the waits for a processor and without. */
struct told {
	unsigned n, n_late, n_late_net;
	uint64_t max_ns, net_max_ns;
};

struct series {
	uint64_t *values;
	size_t n, room;
};

struct left_over {
	unsigned names, shm; /* of files: in the daemon's folder, in /dev/shm */
	struct holdings clients[N_PROCESSES];
};

static struct {
	struct flows *flows;
	pid_t daemon, clients[N_PROCESSES];
	uint64_t seed, random;
	unsigned n_rounds;
	unsigned round, n_kills[MOMENTS], n_in_phase[FLOW_PHASES], n_broken;
	struct death deaths[1 + STARTS_MAX]; /* of this round, the first one first */
	unsigned n_deaths;
	uint32_t n_news[N_ROWS];     /* of before it */
	int own, processors[N_ROWS]; /* the files of the threads' waits */
	struct series hang_up, ended, told, told_net, told_of_kill, seen_late, ready;
	struct told by_kind[FLOW_KINDS];
	struct left_over most; /* in the first rounds */
} driver;

/* ---- small things ---- */

static void end_all(void)
{
	for (unsigned i = 0; i < N_PROCESSES; i++) {
		if (driver.clients[i] > 0)
			kill(driver.clients[i], SIGKILL);
	}
	if (driver.daemon > 0)
		kill(driver.daemon, SIGKILL);
}

/* Where it came from, behind each failure. */
static void print_again(FILE *to)
{
	fprintf(to, ". Again: ./dev crash runtime_kills --seed %llu --rounds %u\n", (unsigned long long)driver.seed,
		driver.n_rounds);
}

static _Noreturn void give_up(const char *why)
{
	fprintf(stderr, "runtime_kills: round %u: %s", driver.round, why);
	print_again(stderr);
	for (unsigned i = 0; i < N_ROWS; i++) {
		struct flow_row *row = &driver.flows->rows[i];

		/* relaxed: for whoever reads the log */
		fprintf(stderr, "  %s of process %d: %s, with %u\n", flow_kind_names[i % FLOW_KINDS],
			(int)driver.clients[i / FLOW_KINDS], flow_phase_names[hshm_load_relaxed(&row->phase)],
			hshm_load_relaxed(&row->with));
	}
	end_all();
	exit(1);
}

static __attribute__((format(printf, 1, 2))) void broken(const char *format, ...)
{
	va_list args;

	driver.n_broken++;
	printf("BROKEN: round %u: ", driver.round);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	print_again(stdout);
}

static uint64_t next_random(void)
{
	return splitmix64(&driver.random);
}

static void add_value(struct series *series, uint64_t value)
{
	if (series->n == series->room) {
		series->room = series->room ? series->room * 2 : 1024;
		series->values = realloc(series->values, series->room * sizeof(*series->values));
		if (!series->values)
			give_up("no memory");
	}
	series->values[series->n++] = value;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static void higher_ns(uint64_t *most, uint64_t now)
{
	*most = now > *most ? now : *most;
}

static void sort(struct series *series)
{
	qsort(series->values, series->n, sizeof(*series->values), by_value);
}

/* Of a sorted series. */
static double quantile_ms(const struct series *series, double q)
{
	size_t i = (size_t)(q * (double)series->n);

	if (series->n == 0)
		return 0;
	return (double)series->values[i < series->n ? i : series->n - 1] / HSHM_NSEC_PER_MSEC;
}

/* ---- the daemon ---- */

static void start_at_once(void)
{
	uint64_t begin_ns = hshm_clock_ns();

	driver.daemon = daemon_start(FLOWS_NAME, config);
	if (driver.daemon < 0)
		give_up("a fresh start did not work");
	add_value(&driver.ready, hshm_clock_ns() - begin_ns);
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* A connection that asks for nothing, for its hang-up; -1: there is nobody to connect to. */
static int connect_to_daemon(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/chimaera/" FLOWS_NAME ".sock",
		 getenv("XDG_RUNTIME_DIR"));
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Kill it, and see its signs of death as a client does. */
static void kill_daemon(void)
{
	struct death *death = &driver.deaths[driver.n_deaths++];
	struct pollfd hang_up = { .fd = connect_to_daemon(), .events = POLLRDHUP };
	struct pollfd ended = { .fd = (int)syscall(SYS_pidfd_open, driver.daemon, 0), .events = POLLIN };
	uint64_t own_ns;

	if (ended.fd < 0)
		give_up("no pidfd");
	own_ns = processor_wait_ns(driver.own);
	*death = (struct death){ .pid = driver.daemon, .killed_ns = hshm_clock_ns() };
	kill(driver.daemon, SIGKILL);
	if (hang_up.fd >= 0 && poll(&hang_up, 1, -1) == 1)
		death->hang_up_ns = hshm_clock_ns();
	(void)!poll(&ended, 1, -1);
	death->ended_ns = hshm_clock_ns();
	for (unsigned i = 0; i < N_ROWS; i++)
		death->waited_ns[i] = processor_wait_ns(driver.processors[i]);
	add_value(&driver.seen_late, processor_wait_ns(driver.own) - own_ns);
	reap(driver.daemon);
	close(hang_up.fd);
	close(ended.fd);
}

/* Begun, and killed before it is ready or soon after. */
static void kill_starting(void)
{
	unsigned n = 1 + (unsigned)(next_random() % STARTS_MAX);

	for (unsigned i = 0; i < n; i++) {
		driver.daemon = daemon_launch(FLOWS_NAME, config);
		if (driver.daemon < 0)
			give_up("no daemon");
		usleep((unsigned)(next_random() % START_US_MAX));
		kill_daemon();
		driver.n_kills[WHEN_STARTING]++;
	}
}

/* ---- rounds ---- */

static bool all_work_with(uint32_t pid)
{
	for (unsigned i = 0; i < N_ROWS; i++) {
		/* acquire: pairs with the release in run_flow() */
		if (hshm_load_acquire(&driver.flows->rows[i].with) != pid)
			return false;
	}
	return true;
}

static void await_work(void)
{
	uint64_t end_ns = hshm_clock_ns() + WORK_NS;

	while (!all_work_with((uint32_t)driver.daemon)) {
		if (hshm_clock_ns() > end_ns)
			give_up("not all clients came back");
		if (waitpid(driver.clients[0], NULL, WNOHANG) || waitpid(driver.clients[1], NULL, WNOHANG))
			give_up("a client process died");
		usleep(100);
	}
}

static void await_phase(enum flow_kind kind, enum flow_phase phase)
{
	struct flow_row *row = &driver.flows->rows[kind + FLOW_KINDS * (next_random() % N_PROCESSES)];
	uint64_t end_ns = hshm_clock_ns() + WORK_NS;

	/* relaxed, both: any moment will do */
	while (hshm_load_relaxed(&row->phase) != (uint32_t)phase) {
		if (hshm_clock_ns() > end_ns)
			give_up("a thread does not go on");
	}
	for (uint64_t us_ns = hshm_clock_ns() + next_random() % (500 * HSHM_NSEC_PER_USEC); hshm_clock_ns() < us_ns;)
		hshm_cpu_relax();
}

static void await_moment(enum moment moment)
{
	if (moment == WHEN_CONNECTING)
		await_phase(FLOW_CONNECTOR, FLOW_CONNECTS);
	else if (moment == WHEN_CREATING)
		await_phase(FLOW_CREATOR, FLOW_CREATES);
	else
		usleep((unsigned)(next_random() % FLOW_US_MAX));
}

/* All worked with the first that died. */
static void await_news(void)
{
	for (unsigned i = 0; i < N_ROWS; i++) {
		/* acquire: pairs with the release in keep_news() */
		while (hshm_load_acquire(&driver.flows->rows[i].n_news) == driver.n_news[i]) {
			if (hshm_clock_ns() - driver.deaths[0].killed_ns > HANG_NS)
				give_up("a thread was not told");
			usleep(100);
		}
	}
}

static const struct death *death_of(pid_t pid)
{
	for (unsigned i = 0; i < driver.n_deaths; i++) {
		if (driver.deaths[i].pid == pid)
			return &driver.deaths[i];
	}
	return NULL;
}

/* From a death to a thread's news of it. */
static void count_told(unsigned row, const struct flow_news *news)
{
	unsigned kind = row % FLOW_KINDS;
	const struct death *death = death_of(news->pid);
	struct told *told = &driver.by_kind[kind];
	uint64_t told_ns, waited_ns, net_ns;

	if (!death) {
		broken("a thread ('%s') was told of the end of a runtime that lives (pid %d)", flow_kind_names[kind],
		       news->pid);
		return;
	}
	told_ns = less(news->told_ns, death->ended_ns);
	waited_ns = less(news->waited_ns, death->waited_ns[row]);
	net_ns = less(told_ns, waited_ns);
	add_value(&driver.told, told_ns);
	add_value(&driver.told_net, net_ns);
	add_value(&driver.told_of_kill, news->told_ns - death->killed_ns);
	told->n++;
	told->n_late += told_ns > TOLD_NS;
	told->n_late_net += net_ns > TOLD_NS;
	higher_ns(&told->max_ns, told_ns);
	higher_ns(&told->net_max_ns, net_ns);
	if (net_ns > TOLD_NS)
		fprintf(stderr,
			"round %u: a thread ('%s') was told %.1f ms after the end of runtime %d of %u, %.1f ms of them "
			"without a processor\n",
			driver.round, flow_kind_names[kind], (double)told_ns / HSHM_NSEC_PER_MSEC,
			(int)(death - driver.deaths) + 1, driver.n_deaths, (double)waited_ns / HSHM_NSEC_PER_MSEC);
	if (told_ns > TOLD_MAX_NS)
		broken("a thread ('%s') was told after %.1f s", flow_kind_names[kind],
		       (double)told_ns / HSHM_NSEC_PER_SEC);
}

/* What a hypervisor takes from a thread is told by nobody, and stands in the net time, too. */
static void judge_told(void)
{
	unsigned n_late = 0;

	for (unsigned i = 0; i < FLOW_KINDS; i++)
		n_late += driver.by_kind[i].n_late_net;
	if (n_late > LATE_SPARE + driver.told.n / LATE_SHARE)
		broken("threads were told later than 100 ms %u times, less their waits for a processor", n_late);
}

/* All work with a daemon that lives: no more news of those before it will come. */
static void count_news(void)
{
	for (unsigned i = 0; i < N_ROWS; i++) {
		const struct flow_row *row = &driver.flows->rows[i];
		/* relaxed: all_work_with() has acquired what came before it */
		uint32_t n_news = hshm_load_relaxed(&row->n_news);

		for (uint32_t n = driver.n_news[i]; n != n_news; n++)
			count_told(i, &row->news[n % FLOW_NEWS_KEPT]);
		driver.n_news[i] = n_news;
	}
	for (unsigned i = 0; i < driver.n_deaths; i++) {
		const struct death *death = &driver.deaths[i];

		add_value(&driver.ended, death->ended_ns - death->killed_ns);
		if (death->hang_up_ns)
			add_value(&driver.hang_up, death->hang_up_ns - death->killed_ns);
	}
	driver.n_deaths = 0;
}

static struct left_over look_for_left_overs(void)
{
	struct left_over now;
	char folder[256];

	snprintf(folder, sizeof(folder), "%s/chimaera", getenv("XDG_RUNTIME_DIR"));
	now.names = holdings_names_in(folder);
	now.shm = holdings_names_with("/dev/shm", "chimaera");
	for (unsigned i = 0; i < N_PROCESSES; i++)
		now.clients[i] = holdings_of(driver.clients[i]);
	return now;
}

static void higher(unsigned *most, unsigned now)
{
	*most = now > *most ? now : *most;
}

/* All work with the daemon now: nothing of those before it is left, but what a client keeps for a round. */
static void check_left_overs(void)
{
	struct left_over now = look_for_left_overs(), *most = &driver.most;

	if (driver.round < ROUNDS_SETTLE) {
		higher(&most->names, now.names);
		for (unsigned i = 0; i < N_PROCESSES; i++) {
			higher(&most->clients[i].n_fds, now.clients[i].n_fds);
			higher(&most->clients[i].n_segments, now.clients[i].n_segments);
		}
		return;
	}
	if (now.names > most->names)
		broken("files are left beside the socket");
	for (unsigned i = 0; i < N_PROCESSES; i++) {
		if (now.clients[i].n_fds > most->clients[i].n_fds + FDS_SPARE)
			broken("a client has more and more descriptors");
		if (now.clients[i].n_segments > most->clients[i].n_segments + SEGMENTS_SPARE)
			broken("a client has more and more segments");
	}
}

static void run_round(void)
{
	enum moment moment = next_random() % MOMENTS;

	await_work();
	count_news();
	check_left_overs();
	await_moment(moment);
	for (unsigned i = 0; i < N_ROWS; i++) /* relaxed: a histogram */
		driver.n_in_phase[hshm_load_relaxed(&driver.flows->rows[i].phase)]++;
	kill_daemon();
	driver.n_kills[moment == WHEN_STARTING ? WHEN_IN_FLOW : moment]++;
	if (moment == WHEN_STARTING)
		kill_starting();
	start_at_once();
	await_news();
}

/* ---- begin and end ---- */

static void start_clients(void)
{
	for (unsigned i = 0; i < N_PROCESSES; i++) {
		driver.clients[i] = fork();
		if (driver.clients[i] < 0)
			give_up("no process");
		if (driver.clients[i] == 0)
			flows_run(driver.flows, i * FLOW_KINDS);
	}
}

static void watch_processors(void)
{
	await_work();
	driver.own = processor_open(0, 0);
	for (unsigned i = 0; i < N_ROWS; i++) {
		/* all_work_with() has acquired it */
		const struct flow_row *row = &driver.flows->rows[i];

		driver.processors[i] = processor_open(row->pid, row->tid);
		if (driver.processors[i] < 0)
			give_up("the kernel does not say how long a thread waits for a processor (/proc/PID/task/TID/schedstat)");
	}
}

static void await_end(pid_t pid)
{
	uint64_t end_ns = hshm_clock_ns() + END_NS;
	int status = 0;
	pid_t ended;

	while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && hshm_clock_ns() < end_ns)
		usleep(1000);
	if (ended == 0) {
		broken("client process %d does not end", (int)pid);
		kill(pid, SIGKILL);
		reap(pid);
	} else if (ended < 0 || status != 0) {
		broken("client process %d did not end in order: status 0x%x", (int)pid, (unsigned)status);
	}
}

/* The last daemon is killed, too; the one after it serves, stops in order, and leaves nothing. */
static void end_clients(unsigned shm_before)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = FLOWS_NAME);
	struct chi_client *client = NULL;
	struct left_over now;

	await_work();
	count_news();
	check_left_overs();
	hshm_store_relaxed(&driver.flows->over, 1); /* relaxed: a flag that carries nothing */
	kill(driver.daemon, SIGKILL);
	reap(driver.daemon);
	start_at_once();
	for (unsigned i = 0; i < N_PROCESSES; i++) {
		await_end(driver.clients[i]);
		driver.clients[i] = 0;
	}
	if (chi_client_connect(&opts, &client) < 0)
		broken("the last runtime is not to be reached");
	chi_client_disconnect(client);
	if (daemon_end(driver.daemon, SIGTERM) != 0)
		broken("the last runtime did not stop in order");
	driver.daemon = 0;
	now = look_for_left_overs();
	if (now.names > 0)
		broken("files are left beside where the socket was");
	if (now.shm > shm_before)
		broken("names are left in /dev/shm");
}

/* Of a sorted series, from @i on, which moves behind them. */
static size_t n_up_to(const struct series *series, size_t *i, unsigned ms)
{
	size_t before = *i;

	while (*i < series->n && series->values[*i] <= ms * HSHM_NSEC_PER_MSEC)
		++*i;
	return *i - before;
}

static void show_told(void)
{
	static const unsigned bounds_ms[] = { 1, 2, 5, 10, 20, 30, 50, 100 };
	size_t i = 0, i_net = 0;

	printf("\ntold of the end, ms from the death  times   net\n");
	for (unsigned b = 0; b < sizeof(bounds_ms) / sizeof(bounds_ms[0]); b++) {
		size_t n = n_up_to(&driver.told, &i, bounds_ms[b]);

		printf("  up to %3u %31zu %5zu\n", bounds_ms[b], n, n_up_to(&driver.told_net, &i_net, bounds_ms[b]));
	}
	printf("  more %36zu %5zu\n", driver.told.n - i, driver.told_net.n - i_net);
	printf("\nkind of thread       times  most ms  later than 100  net: most ms  later\n");
	for (unsigned kind = 0; kind < FLOW_KINDS; kind++) {
		const struct told *told = &driver.by_kind[kind];

		printf("%-20s %5u %8.1f %15u %13.1f %6u\n", flow_kind_names[kind], told->n,
		       (double)told->max_ns / HSHM_NSEC_PER_MSEC, told->n_late,
		       (double)told->net_max_ns / HSHM_NSEC_PER_MSEC, told->n_late_net);
	}
}

static void show_from_kill(const char *to, const struct series *series)
{
	printf("from SIGKILL to the %s: %.1f ms (median), %.1f ms (p99), %.1f ms (most)\n", to,
	       quantile_ms(series, 0.5), quantile_ms(series, 0.99), quantile_ms(series, 1));
}

static unsigned show(bool json)
{
	unsigned n_kills = 0, n_broken = driver.n_broken + hshm_load_relaxed(&driver.flows->n_broken);
	unsigned long long n_answers = 0, n_again = 0;
	unsigned n_late = 0, n_late_net = 0;

	for (unsigned i = 0; i < N_ROWS; i++) { /* relaxed: their processes have ended */
		n_answers += hshm_load_relaxed(&driver.flows->rows[i].n_answers);
		n_again += hshm_load_relaxed(&driver.flows->rows[i].n_again);
	}
	for (unsigned i = 0; i < MOMENTS; i++)
		n_kills += driver.n_kills[i];
	for (unsigned i = 0; i < FLOW_KINDS; i++) {
		n_late += driver.by_kind[i].n_late;
		n_late_net += driver.by_kind[i].n_late_net;
	}
	sort(&driver.told);
	sort(&driver.told_net);
	sort(&driver.seen_late);
	sort(&driver.told_of_kill);
	sort(&driver.hang_up);
	sort(&driver.ended);
	sort(&driver.ready);
	if (json) {
		printf("{\"bench\":\"runtime_kills\",\"commit\":\"%s\",\"seed\":%llu,\"rounds\":%u,\"kills\":%u,"
		       "\"told\":%zu,\"told_p50_ms\":%.2f,\"told_p99_ms\":%.2f,\"told_max_ms\":%.2f,\"late\":%u,"
		       "\"net_max_ms\":%.2f,\"net_late\":%u,\"ready_p50_ms\":%.2f,\"ready_max_ms\":%.2f,"
		       "\"answers\":%llu,\"again\":%llu,\"broken\":%u}\n",
		       commit_name(), (unsigned long long)driver.seed, driver.n_rounds, n_kills, driver.told.n,
		       quantile_ms(&driver.told, 0.5), quantile_ms(&driver.told, 0.99), quantile_ms(&driver.told, 1),
		       n_late, quantile_ms(&driver.told_net, 1), n_late_net, quantile_ms(&driver.ready, 0.5),
		       quantile_ms(&driver.ready, 1), n_answers, n_again, n_broken);
		return n_broken;
	}
	printf("%-26s %6s\n", "killed", "times");
	for (unsigned i = 0; i < MOMENTS; i++)
		printf("%-26s %6u\n", moment_names[i], driver.n_kills[i]);
	printf("\n%-26s %6s\n", "a thread, at a kill", "times");
	for (unsigned i = 0; i < FLOW_PHASES; i++)
		printf("%-26s %6u\n", flow_phase_names[i], driver.n_in_phase[i]);
	show_told();
	printf("\nfresh starts %zu, ready after %.1f ms (median), %.1f ms (most)\n", driver.ready.n,
	       quantile_ms(&driver.ready, 0.5), quantile_ms(&driver.ready, 1));
	show_from_kill("hang-up", &driver.hang_up);
	show_from_kill("end of the process", &driver.ended);
	show_from_kill("news", &driver.told_of_kill);
	printf("so much later the driver may have seen the end, as it had no processor: %.1f ms (median), %.1f ms (p99), "
	       "%.1f ms (most)\n",
	       quantile_ms(&driver.seen_late, 0.5), quantile_ms(&driver.seen_late, 0.99),
	       quantile_ms(&driver.seen_late, 1));
	printf("answers checked %llu; handed in again, and answered %llu\n", n_answers, n_again);
	printf("runtime_kills: %u kills, %zu times told: median %.1f ms, p99 %.1f ms, most %.1f ms, %u later than 100 ms; less "
	       "the waits for a processor: p99 %.1f ms, most %.1f ms, %u later; %u broken\n",
	       n_kills, driver.told.n, quantile_ms(&driver.told, 0.5), quantile_ms(&driver.told, 0.99),
	       quantile_ms(&driver.told, 1), n_late, quantile_ms(&driver.told_net, 0.99),
	       quantile_ms(&driver.told_net, 1), n_late_net, n_broken);
	return n_broken;
}

/* For us alone: daemons that are only launched say there that they are ready. */
static void keep_output(void)
{
	int own = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0), null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	stdout = own < 0 ? NULL : fdopen(own, "w");
	if (!stdout || null < 0 || dup2(null, STDOUT_FILENO) < 0)
		exit(2);
	close(null);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "full", no_argument, NULL, 'f' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "seed", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned shm_before = holdings_names_with("/dev/shm", "chimaera");
	bool json = false;
	int c;

	driver.n_rounds = 12;
	driver.seed = (uint64_t)time(NULL);
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'f')
			driver.n_rounds = 1000;
		else if (c == 'r')
			driver.n_rounds = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 's')
			driver.seed = strtoull(optarg, NULL, 10);
		else if (c == 'j')
			json = true;
		else
			return 2;
	}
	driver.random = driver.seed;
	keep_output();
	if (!json)
		printf("commit %s, seed %llu\n", commit_name(), (unsigned long long)driver.seed);
	driver.flows = mmap(NULL, sizeof(*driver.flows) + N_ROWS * sizeof(struct flow_row), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (driver.flows == MAP_FAILED)
		return 2;
	driver.flows->seed = driver.seed;
	start_at_once();
	start_clients();
	watch_processors();
	for (driver.round = 0; driver.round < driver.n_rounds; driver.round++)
		run_round();
	end_clients(shm_before);
	judge_told();
	return show(json) ? 1 : 0;
}
