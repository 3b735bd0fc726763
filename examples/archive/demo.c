/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * demo.c - archive a real tree, read it back, compare, and tell how it went
 *
 * Embedded: the runtime's workers are threads of this process. With --daemon: a daemon, and two processes that are its
 * clients at the same time, each with half of the files.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chimaera/runtime.h>

#include "archive.h"

#define N_CLIENTS_MAX	   2u
#define WINDOW_DEFAULT	   32u
#define LARGE_BYTES	   (64u << 20)
#define CONNECT_TIMEOUT_NS (10 * HSHM_NSEC_PER_SEC)

/* ---- which files ---- */

struct source {
	const char *path;
	size_t n_max; /* of files from it */
	uint64_t size_max_bytes;
	uint64_t file_max_bytes;
};

/* Licence texts, documentation, our sources, libraries; then whatever makes up the number. */
static const struct source sources_full[] = {
	{ "/usr/share/common-licenses", 100, 4 << 20, 4 << 20 },
	{ "src", 500, 16 << 20, 4 << 20 },
	{ "include", 500, 16 << 20, 4 << 20 },
	{ "modules", 500, 16 << 20, 4 << 20 },
	{ "tests", 500, 16 << 20, 4 << 20 },
	{ "/usr/share/doc", 4000, 96 << 20, 16 << 20 },
	{ "/usr/lib", 1000, 128 << 20, 32 << 20 },
};
static const struct source sources_small[] = {
	{ "/usr/share/common-licenses", 20, 1 << 20, 1 << 20 },
	{ "src", 60, 2 << 20, 1 << 20 },
	{ "/usr/share/doc", 120, 3 << 20, 1 << 20 },
	{ "/usr/lib", 60, 3 << 20, 1 << 20 },
};
static const char *const sources_more[] = { "/usr/share", "/usr/lib", "/usr/include", "/usr/bin", "/etc" };

struct aim {
	size_t n_files;
	uint64_t size_bytes;
	uint64_t large_bytes; /* one file of at least this */
};
static const struct aim aim_full = { 2000, 50 << 20, LARGE_BYTES + 1 };
static const struct aim aim_small = { 200, 5 << 20, (2 << 20) + 1 };

static size_t count_packed(const struct file_list *list)
{
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++)
		n += is_packed(list->files[i].path);
	return n;
}

static void take(const struct source *source, struct file_list *list)
{
	struct walk_limits limits = {
		.n_max = list->n + source->n_max,
		.size_max_bytes = list->size_bytes + source->size_max_bytes,
		.file_max_bytes = source->file_max_bytes,
		.quiet = true,
	};

	if (access(source->path, R_OK | X_OK) == 0)
		walk(source->path, &limits, list);
}

/* Sources overlap when the number must be made up. */
static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static void drop_doubles(struct file_list *list)
{
	size_t kept = 0;

	if (list->n)
		qsort(list->files, list->n, sizeof(*list->files), by_path);
	for (size_t i = 0; i < list->n; i++) {
		if (kept && strcmp(list->files[kept - 1].path, list->files[i].path) == 0) {
			list->size_bytes -= list->files[i].size_bytes;
			free(list->files[i].path);
			continue;
		}
		list->files[kept++] = list->files[i];
	}
	list->n = kept;
}

static void make_up_number(const struct aim *aim, uint64_t file_max_bytes, struct file_list *list)
{
	for (size_t i = 0; i < sizeof(sources_more) / sizeof(sources_more[0]); i++) {
		if (list->n >= aim->n_files && list->size_bytes >= aim->size_bytes)
			return;
		/* twice the number: what we have already may come again */
		take(&(struct source){ sources_more[i], 2 * aim->n_files, 2 * aim->size_bytes, file_max_bytes }, list);
		drop_doubles(list);
	}
}

/* Some that cannot be compressed again. */
static void find_packed(struct file_list *list)
{
	struct walk_limits limits = { SIZE_MAX, UINT64_MAX, 4096, 4 << 20, true, true };

	if (count_packed(list))
		return;
	for (size_t i = 0; i < sizeof(sources_more) / sizeof(sources_more[0]); i++) {
		limits.n_max = list->n + 20;
		walk(sources_more[i], &limits, list);
	}
	drop_doubles(list);
}

/* No such file on this machine: string libraries together, beside the build. */
static bool make_large(uint64_t size_bytes, struct file_list *list)
{
	struct file_list libraries = { 0 };
	struct walk_limits limits = { 2000, 2 * size_bytes, 65536, 64 << 20, false, true };
	char path[4200], piece[65536];
	struct chi_blob_key key;
	uint64_t written = 0;
	FILE *to;

	walk("/usr/lib", &limits, &libraries);
	snprintf(path, sizeof(path), "%s../archive-demo.large", program_dir());
	to = libraries.n ? fopen(path, "we") : NULL;
	for (size_t i = 0; to && written < size_bytes; i = (i + 1) % libraries.n) {
		FILE *from = fopen(libraries.files[i].path, "re");
		size_t n;

		while (from && (n = fread(piece, 1, sizeof(piece), from)) > 0)
			written += fwrite(piece, 1, n, to);
		if (from)
			fclose(from);
		if (ferror(to) || (i + 1 == libraries.n && !written))
			break;
	}
	file_list_free(&libraries);
	if (!to || fclose(to) || written < size_bytes || chi_blob_key_set(&key, "large", 5)) {
		fprintf(stderr, "archive: %s: cannot be made: %s\n", path, strerror(errno));
		return false;
	}
	fprintf(stderr, "archive: no file of that size here: made %s from libraries (%s)\n", path, bytes_text(written));
	file_list_add(list, path, &key, written);
	return true;
}

static bool find_large(uint64_t size_bytes, struct file_list *list)
{
	struct walk_limits limits = { list->n + 1, UINT64_MAX, size_bytes, 4 * size_bytes, false, true };

	for (size_t i = 0; i < list->n; i++) {
		if (list->files[i].size_bytes >= size_bytes)
			return true;
	}
	for (size_t i = 0; i < sizeof(sources_more) / sizeof(sources_more[0]) && list->n < limits.n_max; i++)
		walk(sources_more[i], &limits, list);
	return list->n == limits.n_max || make_large(size_bytes, list);
}

static bool choose_files(const struct demo_opts *opts, struct file_list *list)
{
	const struct source *sources = opts->small ? sources_small : sources_full;
	size_t n_sources = opts->small ? sizeof(sources_small) / sizeof(sources_small[0])
				       : sizeof(sources_full) / sizeof(sources_full[0]);
	const struct aim *aim = opts->small ? &aim_small : &aim_full;

	if (opts->n_paths) {
		for (int i = 0; i < opts->n_paths; i++) {
			if (!walk(opts->paths[i], &WALK_ALL, list))
				return false;
		}
		drop_doubles(list);
		if (!list->n)
			fprintf(stderr, "archive: no files there\n");
		return list->n > 0;
	}
	for (size_t i = 0; i < n_sources; i++)
		take(&sources[i], list);
	drop_doubles(list);
	make_up_number(aim, sources[n_sources - 1].file_max_bytes, list);
	find_packed(list);
	if (!find_large(aim->large_bytes, list))
		return false;
	if (list->n < aim->n_files || list->size_bytes < aim->size_bytes || !count_packed(list)) {
		fprintf(stderr,
			"archive: this machine has too little to show: %zu files, %s, %zu of them compressed; "
			"name a PATH\n",
			list->n, bytes_text(list->size_bytes), count_packed(list));
		return false;
	}
	return true;
}

/* ---- a client's work ---- */

struct share {
	struct file *files;
	size_t n_files;
	struct tally *tally;
};

struct progress {
	struct tally *tallies;
	uint32_t n;
	uint64_t size_bytes;
};

static void tick(void *arg)
{
	const struct progress *progress = arg;
	uint64_t done = 0;

	for (uint32_t i = 0; i < progress->n; i++)
		done += hshm_load_relaxed(&progress->tallies[i].progress_bytes); /* relaxed: for the eye */
	if (done < progress->size_bytes)
		progress_show("put", done, progress->size_bytes);
	else
		progress_show("compare", done - progress->size_bytes, progress->size_bytes);
}

static bool work(struct chi_client *client, const struct share *share, uint32_t window, struct progress *progress)
{
	struct job job = {
		.client = client,
		.files = share->files,
		.n_files = share->n_files,
		.window = window,
		.tally = share->tally,
		.tick = progress ? tick : NULL,
		.tick_arg = progress,
	};
	int rc = chi_blob_open(client, ARCHIVE_POOL, ARCHIVE_CONTAINERS, NULL, &job.pool_id);

	if (rc < 0) {
		tally_fail(share->tally, "pool " ARCHIVE_POOL ": %s%s%s", strerror(-rc),
			   chi_error_text()[0] ? ": " : "", chi_error_text());
		return false;
	}
	rc = transfer_put(&job);
	if (!rc)
		rc = transfer_compare(&job);
	if (rc)
		tally_fail(share->tally, "%s", strerror(-rc));
	return rc == 0 && !share->tally->n_failed;
}

/* ---- what the runtime says of it ---- */

static bool ask_runtime(struct chi_client *client, struct report *report)
{
	uint32_t pool_id;
	int rc = chi_client_runtime_info(client, &report->info);

	if (!rc)
		rc = chi_blob_open(client, ARCHIVE_POOL, ARCHIVE_CONTAINERS, NULL, &pool_id);
	report->n_containers = ARCHIVE_CONTAINERS;
	for (uint32_t i = 0; rc >= 0 && i < ARCHIVE_CONTAINERS; i++) {
		struct chi_blob_usage usage = { 0 };

		rc = chi_blob_usage_call(client, pool_id, CHI_QUERY_GLOBAL_ID(i), &usage);
		if (!rc)
			report->n_containers_used += usage.n_objects > 0;
	}
	if (rc < 0) {
		fprintf(stderr, "archive: asking the runtime: %s\n", strerror(-rc));
		return false;
	}
	for (uint32_t i = 0; i < report->info.n_workers; i++) {
		const struct chi_worker_counters *counters = &report->info.workers[i];

		report->n_tasks += counters->tasks.v;
		report->n_waits += counters->waits.v;
		report->n_workers_used += counters->tasks.v > 0;
	}
	return true;
}

/* ---- the two ways ---- */

static uint32_t choose_workers(void)
{
	cpu_set_t cpus;
	int n = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : CPU_COUNT(&cpus);

	return n < 2 ? 2 : n > 8 ? 8 : (uint32_t)n;
}

static bool run_embedded(const struct share *share, uint32_t window, struct report *report)
{
	struct progress progress = { share->tally, 1, report->total.in_bytes };
	struct chi_runtime *runtime = NULL;
	struct chi_client *client = NULL;
	char config[64];
	bool ok = false;
	int rc;

	snprintf(config, sizeof(config), "log_level: warn\nworkers:\n  count: %u\n", choose_workers());
	rc = chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config, .handle_faults = true), &runtime);
	if (!rc)
		rc = chi_runtime_client(runtime, NULL, &client);
	if (rc) {
		fprintf(stderr, "archive: the runtime does not start: %s: %s\n", strerror(-rc), chi_error_text());
	} else {
		ok = work(client, share, window, &progress);
		ok = ask_runtime(client, report) && ok;
	}
	chi_client_disconnect(client);
	if (chi_runtime_stop(runtime, 0, NULL)) {
		fprintf(stderr, "archive: tasks were still in flight at the end\n");
		ok = false;
	}
	return ok;
}

/* The daemon may still be starting. */
static int connect_daemon(struct daemon *daemon, struct chi_client **ret_client)
{
	uint64_t deadline_ns = hshm_deadline_ns(CONNECT_TIMEOUT_NS);
	int rc;

	for (;;) {
		rc = chi_client_connect(NULL, ret_client);
		if ((rc != -ENOENT && rc != -ECONNREFUSED) || hshm_clock_ns() > deadline_ns ||
		    (daemon && !daemon_lives(daemon)))
			return rc;
		usleep(5000);
	}
}

static int client_process(const struct share *share, uint32_t window)
{
	struct chi_client *client;
	bool ok;
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	rc = connect_daemon(NULL, &client);
	if (rc) {
		tally_fail(share->tally, "connecting to the daemon: %s", strerror(-rc));
		return EXIT_FAILED;
	}
	ok = work(client, share, window, NULL);
	chi_client_disconnect(client);
	return ok ? EXIT_OK : EXIT_FAILED;
}

/* Show how far they are until both have ended. */
static bool wait_clients(const pid_t *pids, uint32_t n, struct progress *progress)
{
	bool ok = true, ended[N_CLIENTS_MAX] = { false };
	uint32_t n_ended = 0;

	while (n_ended < n) {
		for (uint32_t i = 0; i < n; i++) {
			int status;

			if (ended[i] || waitpid(pids[i], &status, WNOHANG) == 0)
				continue;
			ended[i] = true;
			n_ended++;
			if (WIFSIGNALED(status))
				tally_fail(&progress->tallies[i], "client %u ended by signal %d", i, WTERMSIG(status));
			ok = ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
		}
		tick(progress);
		usleep(2000);
	}
	return ok;
}

static bool run_daemon(const struct share *shares, uint32_t n, uint32_t window, struct report *report)
{
	struct progress progress = { shares[0].tally, n, report->total.in_bytes };
	struct chi_client *client = NULL;
	struct daemon daemon = { 0 };
	pid_t pids[N_CLIENTS_MAX];
	uint32_t n_started = 0;
	bool ok;
	int rc;

	if (!daemon_start(&daemon, choose_workers()))
		return false;
	/* one look before the clients: a daemon that cannot start shall not cost their whole patience */
	rc = connect_daemon(&daemon, &client);
	chi_client_disconnect(client);
	client = NULL;
	for (uint32_t i = 0; !rc && i < n; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(client_process(&shares[i], window));
		if (pids[i] < 0)
			rc = -errno;
		else
			n_started++;
	}
	ok = wait_clients(pids, n_started, &progress) && !rc;
	if (!rc)
		rc = connect_daemon(&daemon, &client);
	if (rc)
		fprintf(stderr, "archive: the daemon: %s\n", strerror(-rc));
	ok = !rc && ask_runtime(client, report) && ok;
	chi_client_disconnect(client);
	return daemon_stop(&daemon, !ok) && ok;
}

/* ---- together ---- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a && a < b ? a : b;
}

/* The clients' latencies lie one after the other in one array, with gaps for what did not come. */
static uint64_t *join(uint64_t *all, uint64_t n_before, const uint64_t *from, uint64_t n)
{
	if (n)
		memmove(all + n_before, from, n * sizeof(*all));
	return all;
}

static void add_up(const struct tally *tallies, uint32_t n, struct tally *total)
{
	memset(total, 0, sizeof(*total));
	for (uint32_t i = 0; i < n; i++) {
		const struct tally *one = &tallies[i];

		total->put_ns = join(tallies[0].put_ns, total->n_put, one->put_ns, one->n_put);
		total->get_ns = join(tallies[0].get_ns, total->n_got, one->get_ns, one->n_got);
		total->n_put += one->n_put;
		total->n_got += one->n_got;
		total->n_changed += one->n_changed;
		total->n_failed += one->n_failed;
		total->in_bytes += one->in_bytes;
		total->stored_bytes += one->stored_bytes;
		total->out_bytes += one->out_bytes;
		total->n_chunks += one->n_chunks;
		total->n_chunks_raw += one->n_chunks_raw;
		total->put_begin_ns = earlier(total->put_begin_ns, one->put_begin_ns);
		total->get_begin_ns = earlier(total->get_begin_ns, one->get_begin_ns);
		total->put_end_ns = one->put_end_ns > total->put_end_ns ? one->put_end_ns : total->put_end_ns;
		total->get_end_ns = one->get_end_ns > total->get_end_ns ? one->get_end_ns : total->get_end_ns;
		if (!total->error[0])
			memcpy(total->error, one->error, sizeof(total->error));
	}
	qsort(total->put_ns, total->n_put, sizeof(uint64_t), by_value);
	qsort(total->get_ns, total->n_got, sizeof(uint64_t), by_value);
}

/* Did the run show what it is there to show? */
static bool check(const struct report *report, const char **ret_why)
{
	const struct tally *total = &report->total;

	*ret_why = total->n_failed			 ? total->error
		   : !total->n_put			 ? "nothing was stored"
		   : total->n_got != total->n_put	 ? "not everything came back"
		   : total->out_bytes != total->in_bytes ? "more or fewer bytes came back than went in"
		   : !report->n_waits			 ? "the counters show no blocked wait"
		   : report->n_containers_used < 2	 ? "all went into one container"
		   : report->n_workers_used < 2		 ? "one worker did everything"
							 : NULL;
	return !*ret_why;
}

/* Files of about the same size for each: every other one. */
static void deal(struct file_list *list, struct share *shares, uint32_t n)
{
	struct file *dealt = malloc(list->n * sizeof(*dealt));
	size_t at = 0;

	if (!dealt)
		exit(EXIT_FAILED);
	for (uint32_t i = 0; i < n; i++) {
		shares[i].files = list->files + at;
		for (size_t k = i; k < list->n; k += n)
			dealt[at++] = list->files[k];
		shares[i].n_files = (size_t)(list->files + at - shares[i].files);
	}
	memcpy(list->files, dealt, list->n * sizeof(*dealt));
	free(dealt);
}

/* Tallies and latencies, in memory that the clients of --daemon share with us. */
static bool make_tallies(struct share *shares, uint32_t n, size_t n_files)
{
	size_t size_bytes = N_CLIENTS_MAX * sizeof(struct tally) + 2 * n_files * sizeof(uint64_t);
	void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct tally *tallies = memory;
	uint64_t *times;

	if (memory == MAP_FAILED)
		return false;
	times = (uint64_t *)(tallies + N_CLIENTS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		shares[i].tally = &tallies[i];
		tallies[i].put_ns = times;
		tallies[i].get_ns = times + n_files;
		times += shares[i].n_files;
	}
	return true;
}

enum exit_code demo(const struct demo_opts *opts)
{
	uint32_t n_clients = opts->daemon ? 2 : 1;
	uint32_t window = opts->window ? opts->window : WINDOW_DEFAULT;
	struct report report = { .daemon = opts->daemon, .n_clients = n_clients };
	struct share shares[N_CLIENTS_MAX];
	struct file_list list = { 0 };
	const char *why = NULL;
	bool ok;

	set_module_path();
	if (!choose_files(opts, &list))
		return EXIT_FAILED;
	report.n_packed = count_packed(&list);
	for (size_t i = 0; i < list.n; i++) {
		if (list.files[i].size_bytes > report.largest_bytes)
			report.largest_bytes = list.files[i].size_bytes;
	}
	report.n_files = list.n;
	report.total.in_bytes = list.size_bytes; /* for the progress bar, until it is known */
	if (!opts->json)
		printf("archive: %zu files, %s, %s\n", list.n, bytes_text(list.size_bytes),
		       opts->daemon ? "a daemon and two clients" : "the runtime embedded");
	deal(&list, shares, n_clients);
	if (!make_tallies(shares, n_clients, list.n))
		return EXIT_FAILED;
	ok = opts->daemon ? run_daemon(shares, n_clients, window, &report) : run_embedded(&shares[0], window, &report);
	progress_clear();
	add_up(shares[0].tally, n_clients, &report.total);
	ok = check(&report, &why) && ok;
	if (opts->json)
		report_json(&report, ok);
	else
		report_table(&report);
	if (why)
		fprintf(stderr, "archive: FAILED: %s (%llu failures)\n", why,
			(unsigned long long)report.total.n_failed);
	else if (!opts->json && ok)
		printf("\nok: %llu files came back the same, byte for byte\n",
		       (unsigned long long)(report.total.n_got - report.total.n_changed));
	file_list_free(&list);
	return ok ? EXIT_OK : EXIT_FAILED;
}
