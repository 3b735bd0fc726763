/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/liar.c - the campaign of lies: a daemon, processes that lie to it in every way they have, and honest clients
 *
 * usage: liar [--seed N] [--seconds N] [--liars N] [--honest N] [--only KIND] [--slower-max X] [--json]
 *
 * All processes are this program again, with a role. Two phases take turns: in one the liars lie, in the other as many honest
 * processes with as many threads work in their place. So the pace of the steady honest clients in the one can be held against
 * that in the other, whatever else the machine does. A turn of lies is of one kind for all liars; in a run too short for that
 * each liar has a kind of its own. Seen:
 *
 *   the daemon lives on under its pid, ends in order when asked, and (in a build for that) no sanitizer speaks;
 *   no honest client has an error or a wrong answer, none of its tasks is run twice or never, none of its memory changes;
 *   no liar is served what it has to be refused, and none is left without the answer that it is due;
 *   beside each kind of lie each steady client goes on at its pace, --slower-max times slower at most, and without a gap longer
 *   than GAP_MAX_NS or GAP_MAX_TIMES that beside load (--slower-max 0: neither is judged);
 *   what the liars had is given back: the daemon's descriptors and mappings are as before;
 *   there were lies, of each kind in a run of 20 s or more.
 *
 * A kind beside which a client looks slow gets AGAIN_TURNS more turns of its own, and if it still does as many again, and only
 * the last ones count: what a busy machine does to some turns it does not do each time.
 *
 * Exit code: 0; 1 on a violation, which is printed with the seed.
 */
#include <chimaera/chimaera.h>
#include <errno.h>
#include <hshm/clock.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chimaera/modules/blob.h>
#include <chimaera/modules/compress.h>

#include "hostile/board.h"
#include "support/commit.h"
#include "support/daemon.h"
#include "support/holdings.h"

#define LIES_NS	      (160 * HSHM_NSEC_PER_MSEC) /* of a turn, measured */
#define LOAD_NS	      (100 * HSHM_NSEC_PER_MSEC)
#define SETTLE_NS     (40 * HSHM_NSEC_PER_MSEC) /* until the other phase's processes are silent: not measured */
#define AGAIN_TURNS   10
#define AGAIN_TIMES   2
#define GAP_MAX_NS    (250 * HSHM_NSEC_PER_MSEC)
#define GAP_MAX_TIMES 10
#define PROCESSES_MAX (HONEST_MAX + 2 * LIARS_MAX)
#define END_MS	      60000
#define GIVEN_BACK_MS 20000
#define BROKEN_MS     3000 /* when a violation is known */
#define ALL_SECONDS   20   /* a run as long as this has a turn for each kind of lie */

extern char **environ;

static const char config_text[] = "log_level: error\n"
				  "workers: { count: 2 }\n"
				  "memory: { private_mib: 256 }\n"
				  "clients: { max: 128, memory_mib: 8, lanes: 4, lane_depth: 128, contexts: 64 }\n";

struct options {
	uint64_t seed;
	uint32_t seconds, n_liars, n_honest;
	const char *only;
	double slower_max;
	bool json;
};

/* The steady clients' answers, and in what time. */
struct pace {
	uint64_t ns, n_right[HONEST_MAX];
};

/* Beside one kind of lie, and in the turns of load just before. */
struct kind_pace {
	struct pace load, lies;
	uint32_t n_turns;
	bool again; /* these are the turns that count */
};

static struct campaign {
	struct options options;
	struct board *board;
	int board_fd;
	pid_t daemon;
	pid_t processes[PROCESSES_MAX];
	uint32_t n_processes;
	struct pace paces[PHASES];
	struct kind_pace kinds[KINDS_MAX];
	uint32_t order[KINDS_MAX], n_kinds, next; /* of the kinds to tell, in this round */
	uint64_t random, n_turns;
	uint32_t n_fds; /* the daemon's, before */
} campaign;

/* ---- the daemon, from outside ---- */

static bool is_violated(void)
{
	return hshm_load_relaxed(&campaign.board->violated) != 0;
}

static uint32_t count_fds(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)campaign.daemon);
	return holdings_names_in(path);
}

static uint32_t count_maps(void)
{
	char path[64], line[512];
	uint32_t n = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)campaign.daemon);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		n += strstr(line, "memfd:chimaera-client") != NULL;
	if (file)
		fclose(file);
	return n;
}

static void look_at_daemon(void)
{
	int status;

	if (campaign.daemon > 0 && waitpid(campaign.daemon, &status, WNOHANG) == campaign.daemon) {
		board_violation(campaign.board, "the daemon has ended: status 0x%x", (unsigned int)status);
		campaign.daemon = -1;
	}
}

static int make_pools(void)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = RUNTIME_NAME);
	struct chi_pool_spec tally = { .module = "tally", .n_containers = 4 };
	struct chi_pool_spec probe = { .module = "probe", .n_containers = 4 };
	struct chi_pool_spec compress = { .module = CHI_COMPRESS_MODULE, .name = "liars-compress", .n_containers = 2 };
	struct chi_blob_params params = { .size = sizeof(params),
					  .chunk_bytes = CHI_BLOB_CHUNK_BYTES_MIN,
					  .memory_max_bytes = UINT64_C(4) << 20,
					  .compress_pool = "liars-compress" };
	struct chi_client *client;

	if (chi_client_connect(&opts, &client) < 0 ||
	    chi_pool_create(client, &tally, &campaign.board->tally_pool) < 0 ||
	    chi_pool_create(client, &probe, &campaign.board->probe_pool) < 0 ||
	    chi_pool_create(client, &compress, &campaign.board->compress_pool) < 0 ||
	    chi_blob_open(client, "liars-blob", 2, &params, &campaign.board->blob_pool) < 0) {
		fprintf(stderr, "liar: %s\n", chi_error_text());
		return -1;
	}
	chi_client_disconnect(client);
	return 0;
}

/* Are all segments of clients and all descriptors but so many given back? */
static bool await_given_back(uint32_t n_fds)
{
	uint64_t deadline_ns = hshm_deadline_ns((is_violated() ? BROKEN_MS : GIVEN_BACK_MS) * HSHM_NSEC_PER_MSEC);

	while (count_maps() > 0 || count_fds() > n_fds) {
		if (hshm_clock_ns() > deadline_ns)
			return false;
		usleep(2000);
	}
	return true;
}

/* ---- the other processes ---- */

static int spawn_role(const char *role, uint32_t index)
{
	char fd_text[16], index_text[16];
	char *argv[] = { (char *)(uintptr_t) "liar",
			 (char *)(uintptr_t) "--role",
			 (char *)(uintptr_t)role,
			 index_text,
			 fd_text,
			 NULL };

	snprintf(fd_text, sizeof(fd_text), "%d", campaign.board_fd);
	snprintf(index_text, sizeof(index_text), "%u", index);
	if (posix_spawn(&campaign.processes[campaign.n_processes], "/proc/self/exe", NULL, NULL, argv, environ))
		return -1;
	campaign.n_processes++;
	return 0;
}

static int spawn_all(void)
{
	int ret = 0;

	for (uint32_t i = 0; i < campaign.options.n_honest && ret == 0; i++)
		ret = spawn_role("honest", i);
	for (uint32_t i = 0; i < campaign.options.n_liars && ret == 0; i++)
		ret = spawn_role("load", i);
	for (uint32_t i = 0; i < campaign.options.n_liars && ret == 0; i++)
		ret = spawn_role("liar", i);
	return ret;
}

static bool all_are_ready(void)
{
	bool ready = true;

	for (uint32_t i = 0; i < campaign.options.n_honest; i++)
		ready &= hshm_load_relaxed(&campaign.board->honest[i].ready) != 0;
	for (uint32_t i = 0; i < campaign.options.n_liars; i++)
		ready &= hshm_load_relaxed(&campaign.board->load[i].ready) != 0;
	return ready;
}

static void end_all(void)
{
	/* who waits for a daemon that is stuck waits for ever; one violation will do */
	uint64_t deadline_ns = hshm_deadline_ns((is_violated() ? BROKEN_MS : END_MS) * HSHM_NSEC_PER_MSEC);

	for (uint32_t i = 0; i < campaign.n_processes; i++) {
		struct pollfd ended = { .fd = (int)syscall(SYS_pidfd_open, campaign.processes[i], 0),
					.events = POLLIN };
		uint64_t now_ns = hshm_clock_ns();
		int status = 0;

		if (poll(&ended, 1, now_ns < deadline_ns ? (int)((deadline_ns - now_ns) / HSHM_NSEC_PER_MSEC) : 0) !=
		    1) {
			board_violation(campaign.board, "process %u of the campaign does not end", i);
			kill(campaign.processes[i], SIGKILL);
		}
		close(ended.fd);
		waitpid(campaign.processes[i], &status, 0);
		if (status != 0)
			board_violation(campaign.board, "process %u of the campaign ended with status 0x%x", i,
					(unsigned int)status);
	}
}

/* ---- turns ---- */

static void pass(uint64_t ns)
{
	uint64_t deadline_ns = hshm_deadline_ns(ns);

	while (hshm_clock_ns() < deadline_ns && !is_violated()) {
		usleep(5000);
		look_at_daemon();
	}
}

static void read_right(uint64_t *ret_n_right)
{
	for (uint32_t i = 0; i < campaign.options.n_honest; i++)
		ret_n_right[i] = hshm_load_relaxed(&campaign.board->honest[i].n_right);
}

static void set_turn(enum phase phase, const uint32_t *kinds)
{
	uint64_t turn = phase | (campaign.n_turns++ & 0xffffff) << 8;

	for (uint32_t i = 0; i < SHARED_MAX; i++)
		turn |= (uint64_t)kinds[i] << (32 + 8 * i);
	hshm_store_relaxed(&campaign.board->turn, turn);
}

static struct pace run_turn(enum phase phase, const uint32_t *kinds, uint64_t ns)
{
	uint64_t before[HONEST_MAX] = { 0 }, begin_ns;
	struct pace pace = { 0 };

	set_turn(phase, kinds);
	pass(SETTLE_NS);
	begin_ns = hshm_clock_ns();
	read_right(before);
	pass(ns);
	read_right(pace.n_right);
	pace.ns = hshm_clock_ns() - begin_ns;
	for (uint32_t i = 0; i < HONEST_MAX; i++)
		pace.n_right[i] -= before[i];
	return pace;
}

static void add_pace(struct pace *sum, const struct pace *pace)
{
	sum->ns += pace->ns;
	for (uint32_t i = 0; i < HONEST_MAX; i++)
		sum->n_right[i] += pace->n_right[i];
}

static void book(uint32_t kind, const struct pace *load, const struct pace *lies)
{
	struct kind_pace *row = &campaign.kinds[kind];

	add_pace(&row->load, load);
	add_pace(&row->lies, lies);
	row->n_turns++;
}

/* A turn of load, with the kinds before it, and one of lies. */
static void run_turns(const uint32_t *before, const uint32_t *kinds)
{
	struct pace load = run_turn(PHASE_LOAD, before, LOAD_NS);
	struct pace lies = run_turn(PHASE_LIES, kinds, LIES_NS);

	add_pace(&campaign.paces[PHASE_LOAD], &load);
	add_pace(&campaign.paces[PHASE_LIES], &lies);
	book(kinds[0], &load, &lies);
	for (uint32_t i = 1; i < SHARED_MAX; i++)
		if (kinds[i] != kinds[0])
			book(kinds[i], &load, &lies);
}

/* Each kind once in a round, in another order in each. */
static uint32_t next_kind(void)
{
	if (campaign.next == campaign.n_kinds) {
		for (uint32_t i = campaign.n_kinds - 1; i > 0; i--) {
			uint32_t j = (uint32_t)(next_random(&campaign.random) % (i + 1)), kind = campaign.order[i];

			campaign.order[i] = campaign.order[j];
			campaign.order[j] = kind;
		}
		campaign.next = 0;
	}
	return campaign.order[campaign.next++];
}

static void pick_kinds(uint32_t *kinds)
{
	const struct options *o = &campaign.options;
	uint32_t n_shared = o->seconds >= ALL_SECONDS || o->n_liars == 0 ? 1 : o->n_liars;

	for (uint32_t i = 0; i < SHARED_MAX; i++)
		kinds[i] = i < n_shared ? next_kind() : kinds[i % n_shared];
}

static void begin_rounds(void)
{
	const char *only = campaign.options.only;

	for (uint32_t kind = 0; lie_name(kind); kind++)
		if (!only[0] || strcmp(only, lie_name(kind)) == 0)
			campaign.order[campaign.n_kinds++] = kind;
	campaign.next = campaign.n_kinds;
	campaign.random = campaign.options.seed | 1;
}

static void run_all_turns(void)
{
	uint32_t before[SHARED_MAX], kinds[SHARED_MAX];
	uint64_t end_ns;

	begin_rounds();
	for (uint32_t i = 0; i < SHARED_MAX; i++)
		before[i] = UINT8_MAX; /* none */
	for (int i = 0; i < 2000 && !all_are_ready() && !is_violated(); i++)
		pass(10 * HSHM_NSEC_PER_MSEC);
	if (!all_are_ready())
		board_violation(campaign.board, "the honest clients do not come up");
	end_ns = hshm_deadline_ns(campaign.options.seconds * HSHM_NSEC_PER_SEC);
	while (hshm_clock_ns() < end_ns && !is_violated()) {
		pick_kinds(kinds);
		run_turns(before, kinds);
		memcpy(before, kinds, sizeof(before));
	}
}

/* ---- is it slow? ---- */

static double times_slower(const struct pace *load, const struct pace *lies, uint32_t client)
{
	double load_per_ns = load->ns ? (double)load->n_right[client] / (double)load->ns : 0;

	/* none counts as one: a number, and a large one */
	return load_per_ns * (double)lies->ns / (lies->n_right[client] ? (double)lies->n_right[client] : 1);
}

/* The client that has it worst. */
static double slower_beside(uint32_t kind)
{
	const struct kind_pace *row = &campaign.kinds[kind];
	double worst = 0;

	for (uint32_t i = 0; i < campaign.options.n_honest; i++) {
		double times = times_slower(&row->load, &row->lies, i);

		worst = times > worst ? times : worst;
	}
	return worst;
}

static uint64_t longest_gap_beside(uint32_t kind)
{
	uint64_t longest = 0;

	for (uint32_t i = 0; i < campaign.options.n_honest; i++) {
		uint64_t gap_ns = hshm_load_relaxed(&campaign.board->honest[i].lies_gap_ns[kind]);

		longest = gap_ns > longest ? gap_ns : longest;
	}
	return longest;
}

static uint64_t longest_gap_beside_load(void)
{
	uint64_t longest = 0;

	for (uint32_t i = 0; i < campaign.options.n_honest; i++) {
		uint64_t gap_ns = hshm_load_relaxed(&campaign.board->honest[i].load_gap_ns);

		longest = gap_ns > longest ? gap_ns : longest;
	}
	return longest;
}

static uint64_t gap_max_ns(void)
{
	uint64_t times_ns = GAP_MAX_TIMES * longest_gap_beside_load();

	return times_ns > GAP_MAX_NS ? times_ns : GAP_MAX_NS;
}

static bool is_slow(uint32_t kind)
{
	return campaign.kinds[kind].n_turns > 0 &&
	       (slower_beside(kind) > campaign.options.slower_max || longest_gap_beside(kind) > gap_max_ns());
}

/* From nothing: what was seen of it before does not count. */
static void tell_again(uint32_t kind)
{
	const uint32_t kinds[SHARED_MAX] = { kind, kind, kind };

	set_turn(PHASE_LOAD, kinds);
	pass(2 * GAP_MAX_NS); /* a gap that is on has ended, or begins anew */
	campaign.kinds[kind] = (struct kind_pace){ .again = true };
	for (uint32_t i = 0; i < campaign.options.n_honest; i++)
		hshm_store_relaxed(&campaign.board->honest[i].lies_gap_ns[kind], 0);
	for (int i = 0; i < AGAIN_TURNS && !is_violated(); i++)
		run_turns(kinds, kinds);
}

/* A gap of one moment is the machine's: it would have to be there each time. */
static void judge_kind(uint32_t kind)
{
	for (int i = 0; i < AGAIN_TIMES && is_slow(kind) && !is_violated(); i++)
		tell_again(kind);
	if (is_slow(kind) && !is_violated())
		board_violation(
			campaign.board,
			"beside %s an honest client is %.2f times slower than beside honest ones, its longest gap "
			"%.0f ms (%.0f ms at most)",
			lie_name(kind), slower_beside(kind), (double)longest_gap_beside(kind) / 1e6,
			(double)gap_max_ns() / 1e6);
}

static void judge_kinds(void)
{
	const uint32_t none[SHARED_MAX] = { UINT8_MAX, UINT8_MAX, UINT8_MAX };

	for (uint32_t kind = 0; campaign.options.slower_max > 0 && lie_name(kind); kind++)
		judge_kind(kind);
	set_turn(PHASE_END, none);
}

/* ---- what came of it ---- */

struct figures {
	uint64_t n_right, n_wrong, n_errors, n_load, n_sent, gap_load_ns, gap_lies_ns;
	uint32_t n_checked, n_turns_min;
	double per_s[PHASES], slower, slower_worst;
};

static double per_s(const struct pace *pace)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < HONEST_MAX; i++)
		n += pace->n_right[i];
	return pace->ns ? 1e9 * (double)n / (double)pace->ns : 0;
}

/* The worst of all kinds, and how many turns the one with the fewest had. */
static void sum_up_kinds(struct figures *f)
{
	f->n_turns_min = UINT32_MAX;
	for (uint32_t i = 0; i < campaign.n_kinds; i++) {
		uint32_t kind = campaign.order[i], n_turns = campaign.kinds[kind].n_turns;
		uint64_t gap_ns = longest_gap_beside(kind);
		double slower = slower_beside(kind);

		f->n_turns_min = n_turns < f->n_turns_min ? n_turns : f->n_turns_min;
		f->gap_lies_ns = gap_ns > f->gap_lies_ns ? gap_ns : f->gap_lies_ns;
		f->slower_worst = slower > f->slower_worst ? slower : f->slower_worst;
	}
}

static struct figures sum_up(void)
{
	struct figures f = { 0 };

	for (uint32_t i = 0; i < campaign.options.n_honest; i++) {
		const struct honest_row *row = &campaign.board->honest[i];

		f.n_right += hshm_load_relaxed(&row->n_right);
		f.n_wrong += hshm_load_relaxed(&row->n_wrong);
		f.n_errors += hshm_load_relaxed(&row->n_errors);
		f.n_checked += hshm_load_relaxed(&row->checked);
	}
	for (uint32_t i = 0; i < campaign.options.n_liars; i++) {
		f.n_load += hshm_load_relaxed(&campaign.board->load[i].n_right);
		f.n_checked += hshm_load_relaxed(&campaign.board->load[i].checked);
		for (uint32_t kind = 0; lie_name(kind); kind++)
			f.n_sent += hshm_load_relaxed(&campaign.board->kinds[i][kind].n_sent);
	}
	f.gap_load_ns = longest_gap_beside_load();
	sum_up_kinds(&f);
	for (uint32_t phase = PHASE_LOAD; phase <= PHASE_LIES; phase++)
		f.per_s[phase] = per_s(&campaign.paces[phase]);
	f.slower = f.per_s[PHASE_LIES] > 0 ? f.per_s[PHASE_LOAD] / f.per_s[PHASE_LIES] : 0;
	return f;
}

static void add_rows(uint32_t kind, struct kind_row *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (uint32_t i = 0; i < campaign.options.n_liars; i++) {
		const struct kind_row *row = &campaign.board->kinds[i][kind];

		hshm_count_add(&sum->n_acts, hshm_load_relaxed(&row->n_acts));
		hshm_count_add(&sum->n_sent, hshm_load_relaxed(&row->n_sent));
		hshm_count_add(&sum->n_unanswered, hshm_load_relaxed(&row->n_unanswered));
		for (uint32_t e = 0; e < ERRNOS_MAX; e++)
			hshm_count_add(&sum->answers[e], hshm_load_relaxed(&row->answers[e]));
	}
}

static void expect_lies(const struct figures *f)
{
	const struct options *o = &campaign.options;

	if (f->n_sent == 0)
		board_violation(campaign.board, "nobody has lied");
	for (uint32_t kind = 0; o->seconds >= ALL_SECONDS && lie_name(kind); kind++) {
		struct kind_row sum;

		add_rows(kind, &sum);
		if (o->only[0] && strcmp(o->only, lie_name(kind)) != 0)
			continue;
		if (!hshm_load_relaxed(&sum.n_acts) || !hshm_load_relaxed(&sum.n_sent))
			board_violation(campaign.board, "nobody has told the lie %s", lie_name(kind));
	}
}

static void judge(const struct figures *f)
{
	if (f->n_checked != campaign.options.n_honest + campaign.options.n_liars)
		board_violation(campaign.board, "%u honest processes have checked their runs and their memory, not %u",
				f->n_checked, campaign.options.n_honest + campaign.options.n_liars);
	if (f->per_s[PHASE_LOAD] <= 0)
		board_violation(campaign.board, "no pace beside load was seen");
	if (campaign.options.n_liars > 0)
		expect_lies(f);
}

static void print_kind(uint32_t kind)
{
	const struct kind_pace *pace = &campaign.kinds[kind];
	bool json = campaign.options.json;
	const char *between = "";
	struct kind_row sum;

	add_rows(kind, &sum);
	printf(json ? "{\"kind\": \"%s\", \"turns\": %u, \"again\": %s, \"per_s_beside_load\": %.0f, \"per_s\": %.0f, "
		      "\"slower\": %.3f, \"longest_gap_ms\": %.2f, "
		    : "%-16s %5u%s %7.0f %7.0f %6.2f %8.1f  ",
	       lie_name(kind), pace->n_turns, json ? (pace->again ? "true" : "false") : (pace->again ? "*" : " "),
	       per_s(&pace->load), per_s(&pace->lies), slower_beside(kind), (double)longest_gap_beside(kind) / 1e6);
	printf(json ? "\"acts\": %llu, \"sent\": %llu, \"without_answer\": %llu, \"answers\": {"
		    : "%6llu %9llu %8llu  ",
	       (unsigned long long)hshm_load_relaxed(&sum.n_acts), (unsigned long long)hshm_load_relaxed(&sum.n_sent),
	       (unsigned long long)hshm_load_relaxed(&sum.n_unanswered));
	for (uint32_t e = 0; e < ERRNOS_MAX; e++) {
		uint64_t n = hshm_load_relaxed(&sum.answers[e]);

		if (!n)
			continue;
		printf(json ? "%s\"%s\": %llu" : "%s%s %llu", between, e ? strerrorname_np((int)e) : "served",
		       (unsigned long long)n);
		between = json ? ", " : "  ";
	}
	printf(json ? "}}\n" : "\n");
}

static void print_figures(const struct figures *f)
{
	const struct options *o = &campaign.options;

	printf(o->json ? "{\"commit\": \"%s\", \"seed\": %llu, \"seconds\": %u, \"liars\": %u, \"honest\": %u, "
		       : "commit %s, seed %llu, %u s, %u liars, %u steady honest clients\n",
	       commit_name(), (unsigned long long)o->seed, o->seconds, o->n_liars, o->n_honest);
	printf(o->json ? "\"lies\": %llu, \"right\": %llu, \"load\": %llu, \"wrong\": %llu, \"errors\": %llu, "
		       : "lies %llu; honest answers: %llu right (and %llu of the load), %llu wrong, %llu errors\n",
	       (unsigned long long)f->n_sent, (unsigned long long)f->n_right, (unsigned long long)f->n_load,
	       (unsigned long long)f->n_wrong, (unsigned long long)f->n_errors);
	printf(o->json ? "\"per_s_beside_load\": %.0f, \"per_s_beside_lies\": %.0f, \"slower\": %.3f, "
		       : "steady clients: %.0f tasks/s beside honest load, %.0f beside liars: %.2f times slower\n",
	       f->per_s[PHASE_LOAD], f->per_s[PHASE_LIES], f->slower);
	printf(o->json ? "\"turns_of_a_kind\": %u, \"slower_worst\": %.3f, "
		       : "each kind in %u turns or more; the worst kind for the client worst off: %.2f times slower\n",
	       f->n_turns_min, f->slower_worst);
	printf(o->json ? "\"longest_gap_load_ms\": %.2f, \"longest_gap_lies_ms\": %.2f, \"violated\": %s}\n"
		       : "longest gap: %.2f ms beside honest load, %.2f ms beside liars%s\n",
	       (double)f->gap_load_ns / 1e6, (double)f->gap_lies_ns / 1e6,
	       o->json ? (is_violated() ? "true" : "false") : "");
}

static int report(const struct figures *f)
{
	if (!campaign.options.json)
		printf("%-16s %6s %7s %7s %6s %8s  %6s %9s %8s  answers\n", "kind of lie", "turns", "load/s", "lies/s",
		       "slower", "gap/ms", "acts", "sent", "no ans.");
	for (uint32_t kind = 0; lie_name(kind); kind++)
		print_kind(kind);
	print_figures(f);
	fflush(stdout);
	/* acquire: pairs with the release in board_violation() */
	if (hshm_load_acquire(&campaign.board->violated)) {
		fprintf(stderr,
			"VIOLATION: %s\nagain: ./dev lies --seed %llu --seconds %u --liars %u --honest %u%s%s\n",
			campaign.board->violation, (unsigned long long)campaign.options.seed, campaign.options.seconds,
			campaign.options.n_liars, campaign.options.n_honest, campaign.options.only[0] ? " --only " : "",
			campaign.options.only);
		return 1;
	}
	return 0;
}

/* ---- life ---- */

static struct board *map_board(int fd)
{
	void *map = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return map == MAP_FAILED ? NULL : map;
}

static int begin(void)
{
	campaign.board_fd = memfd_create("board", 0);
	if (campaign.board_fd < 0 || ftruncate(campaign.board_fd, sizeof(struct board)) < 0)
		return -1;
	campaign.board = map_board(campaign.board_fd);
	if (!campaign.board)
		return -1;
	campaign.board->seed = campaign.options.seed;
	campaign.daemon = daemon_start(RUNTIME_NAME, config_text);
	if (campaign.daemon < 0 || make_pools() < 0)
		return -1;
	if (!await_given_back(UINT32_MAX))
		return -1;
	campaign.n_fds = count_fds();
	return spawn_all();
}

static void end(void)
{
	int status;

	end_all();
	look_at_daemon();
	if (campaign.daemon < 0)
		return;
	if (!await_given_back(campaign.n_fds))
		board_violation(campaign.board, "the daemon keeps %u descriptors (%u before), %u segments of clients",
				count_fds(), campaign.n_fds, count_maps());
	status = daemon_end(campaign.daemon, SIGTERM);
	if (status != 0)
		board_violation(campaign.board, "the daemon's end: status 0x%x", (unsigned int)status);
}

static int run_role(char **argv)
{
	uint32_t index = (uint32_t)strtoul(argv[3], NULL, 10);
	struct board *board = map_board(atoi(argv[4]));

	if (!board)
		return 3;
	if (strcmp(argv[2], "honest") == 0)
		return role_honest(board, index);
	return strcmp(argv[2], "load") == 0 ? role_load(board, index) : role_liar(board, index);
}

static uint64_t take_number(int argc, char **argv, int *at)
{
	return *at + 1 < argc ? strtoull(argv[++*at], NULL, 0) : 0;
}

static bool is_kind(const char *name)
{
	for (uint32_t kind = 0; lie_name(kind); kind++)
		if (strcmp(lie_name(kind), name) == 0)
			return true;
	return false;
}

static int take_options(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--seed") == 0)
			o->seed = take_number(argc, argv, &i);
		else if (strcmp(argv[i], "--seconds") == 0)
			o->seconds = (uint32_t)take_number(argc, argv, &i);
		else if (strcmp(argv[i], "--liars") == 0)
			o->n_liars = (uint32_t)take_number(argc, argv, &i);
		else if (strcmp(argv[i], "--honest") == 0)
			o->n_honest = (uint32_t)take_number(argc, argv, &i);
		else if (strcmp(argv[i], "--slower-max") == 0 && i + 1 < argc)
			o->slower_max = strtod(argv[++i], NULL);
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			o->only = argv[++i];
		else if (strcmp(argv[i], "--json") == 0)
			o->json = true;
		else
			return -1;
	}
	if (o->only[0] && !is_kind(o->only))
		return -1;
	return o->n_liars <= LIARS_MAX && o->n_honest >= 1 && o->n_honest <= HONEST_MAX && o->seconds > 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct figures figures;

	if (argc == 5 && strcmp(argv[1], "--role") == 0)
		return run_role(argv);
	campaign.options =
		(struct options){ .seed = hshm_clock_ns(), .seconds = 4, .n_liars = 3, .n_honest = 2, .only = "" };
	if (take_options(argc, argv, &campaign.options) < 0) {
		fprintf(stderr,
			"usage: liar [--seed N] [--seconds N] [--liars 0..%u] [--honest 1..%u] [--only KIND] "
			"[--slower-max X] [--json]\n",
			LIARS_MAX, HONEST_MAX);
		fprintf(stderr, "KIND is one of");
		for (uint32_t kind = 0; lie_name(kind); kind++)
			fprintf(stderr, " %s", lie_name(kind));
		fprintf(stderr, "\n");
		return 2;
	}
	if (begin() < 0) {
		fprintf(stderr, "liar: cannot begin\n");
		return 2;
	}
	run_all_turns();
	judge_kinds();
	end();
	figures = sum_up();
	judge(&figures);
	return report(&figures);
}
