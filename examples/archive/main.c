/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - the command line of the archive
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive.h"

#define WINDOW	   32u
#define LIST_INFOS 64u

static const char usage[] =
	"usage: archive put [--name NAME] PATH...              store files; folders with all that is in them;\n"
	"                                                      symbolic links in them are left out, one that is\n"
	"                                                      named is followed\n"
	"       archive get [--name NAME] [-o DIR] [FILE...]   fetch files, or folders, or everything, into DIR\n"
	"       archive ls  [--name NAME] [FILE...]            what is there\n"
	"       archive demo [--daemon] [--small] [--jobs N] [--json] [PATH...]\n"
	"                                                      store, fetch and compare a real tree; no daemon needed\n"
	"\n"
	"NAME is the daemon's. Contents are kept, in its memory; owners, modes, times and links are not.\n"
	"Exit code: 0 done, 1 failed, 2 wrong usage, 3 no daemon is running.\n";

struct opts {
	struct demo_opts demo;
	const char *name;
	const char *out_dir;
};

static enum exit_code connect_runtime(const struct opts *opts, struct chi_client **ret_client, uint32_t *ret_pool_id)
{
	int rc = chi_client_connect(&CHI_CLIENT_OPTS(.name = opts->name), ret_client);

	if (rc == -ENOENT || rc == -ECONNREFUSED) {
		fprintf(stderr, "archive: no daemon%s%s is running; start one: chimaera start%s%s\n",
			opts->name ? " " : "", opts->name ? opts->name : "", opts->name ? " --name " : "",
			opts->name ? opts->name : "");
		return EXIT_NO_DAEMON;
	}
	if (rc) {
		fprintf(stderr, "archive: connecting: %s: %s\n", strerror(-rc), chi_error_text());
		return EXIT_FAILED;
	}
	rc = chi_blob_open(*ret_client, ARCHIVE_POOL, ARCHIVE_CONTAINERS, NULL, ret_pool_id);
	if (rc < 0) {
		fprintf(stderr, "archive: pool " ARCHIVE_POOL ": %s: %s\n", strerror(-rc), chi_error_text());
		chi_client_disconnect(*ret_client);
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

struct progress {
	const struct tally *tally;
	uint64_t size_bytes;
};

static void show_progress(void *arg)
{
	const struct progress *progress = arg;

	/* relaxed: for the eye */
	progress_show("archive", hshm_load_relaxed(&progress->tally->progress_bytes), progress->size_bytes);
}

/* Run one of the transfers and say what failed. */
static bool transfer(int (*run)(struct job *job), struct chi_client *client, uint32_t pool_id, struct file_list *list,
		     struct tally *tally)
{
	struct progress progress = { tally, list->size_bytes };
	struct job job = {
		.client = client,
		.pool_id = pool_id,
		.files = list->files,
		.n_files = list->n,
		.window = WINDOW,
		.tally = tally,
		.tick = show_progress,
		.tick_arg = &progress,
	};
	int rc = run(&job);

	progress_clear();
	if (rc)
		tally_fail(tally, "%s", rc == -EOWNERDEAD ? chi_error_text() : strerror(-rc));
	if (tally->n_failed)
		fprintf(stderr, "archive: %s (%llu failures)\n", tally->error, (unsigned long long)tally->n_failed);
	return !tally->n_failed;
}

/* ---- put ---- */

static enum exit_code put(const struct opts *opts)
{
	struct chi_client *client;
	struct file_list list = { 0 };
	struct tally tally = { 0 };
	uint32_t pool_id;
	enum exit_code code = connect_runtime(opts, &client, &pool_id);
	bool ok = true;

	if (code)
		return code;
	for (int i = 0; i < opts->demo.n_paths; i++)
		ok = walk(opts->demo.paths[i], &WALK_ALL, &list) && ok;
	ok = transfer(transfer_put, client, pool_id, &list, &tally) && ok;
	printf("stored %llu files, %s as %s\n", (unsigned long long)tally.n_put, bytes_text(tally.in_bytes),
	       bytes_text(tally.stored_bytes));
	ok = ok && !list.n_skipped && !tally.n_changed;
	chi_client_disconnect(client);
	file_list_free(&list);
	return ok ? EXIT_OK : EXIT_FAILED;
}

/* ---- get, ls ---- */

/* May a key be used as a path below a folder? Anyone could have put it. */
static bool is_safe(const struct chi_blob_key *key)
{
	const char *at = key->bytes, *end = key->bytes + key->size;

	while (at <= end) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		size_t n = (size_t)((slash ? slash : end) - at);

		if (!n || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.') || memchr(at, '\0', n))
			return false;
		if (!slash)
			break;
		at = slash + 1;
	}
	return true;
}

/* Is it the file of that name, or one in the folder of that name? "" is everything. */
static bool matches(const struct chi_blob_key *key, const char *name)
{
	size_t n = strlen(name);

	while (n && name[n - 1] == '/')
		n--;
	return !n || (key->size >= n && memcmp(key->bytes, name, n) == 0 && (key->size == n || key->bytes[n] == '/'));
}

static int by_key(const void *a, const void *b)
{
	const struct chi_blob_key *x = &((const struct file *)a)->key, *y = &((const struct file *)b)->key;
	int order = memcmp(x->bytes, y->bytes, x->size < y->size ? x->size : y->size);

	return order ? order : x->size - y->size;
}

static void add_found(const struct chi_blob_info *info, const char *out_dir, struct file_list *list)
{
	char path[4096 + CHI_BLOB_KEY_MAX];

	snprintf(path, sizeof(path), "%s/%.*s", out_dir, info->key.size, info->key.bytes);
	file_list_add(list, path, &info->key, info->size_bytes);
	list->files[list->n - 1].stored = true;
	list->files[list->n - 1].stored_bytes = info->stored_bytes;
}

/* Everything in the store that a name stands for. Returns 0 or a negative errno. */
static int find(struct chi_client *client, uint32_t pool_id, const char *name, const char *out_dir,
		struct file_list *list)
{
	struct chi_blob_cursor cursor = { 0 };
	struct chi_blob_key prefix = { 0 };
	struct chi_blob_info *infos;
	size_t length = strlen(name);
	int rc;

	while (length && name[length - 1] == '/')
		length--;
	if (length && chi_blob_key_set(&prefix, name, length))
		return 0; /* no key is that long */
	rc = chi_alloc(client, LIST_INFOS * sizeof(*infos), &infos);
	while (rc >= 0 && !cursor.end) {
		rc = chi_blob_list(client, pool_id, &prefix, &cursor, infos, LIST_INFOS);
		for (int i = 0; i < rc; i++) {
			if (matches(&infos[i].key, name))
				add_found(&infos[i], out_dir, list);
		}
	}
	chi_free(client, infos);
	return rc < 0 ? rc : 0;
}

/* @list: found, in order, each once. False: some name has nothing, or the runtime failed; it is said. */
static bool find_all(struct chi_client *client, uint32_t pool_id, const struct opts *opts, struct file_list *list)
{
	static char *everything[] = { "" };
	char **names = opts->demo.n_paths ? opts->demo.paths : everything;
	int n_names = opts->demo.n_paths ? opts->demo.n_paths : 1;
	size_t kept = 0;
	bool ok = true;

	for (int i = 0; i < n_names; i++) {
		size_t n_before = list->n;
		int rc = find(client, pool_id, names[i], opts->out_dir, list);

		if (rc)
			fprintf(stderr, "archive: listing: %s\n", strerror(-rc));
		else if (list->n == n_before && names[i][0])
			fprintf(stderr, "archive: %s: not in the archive\n", names[i]);
		ok = ok && !rc && (list->n > n_before || !names[i][0]);
	}
	if (list->n)
		qsort(list->files, list->n, sizeof(*list->files), by_key);
	for (size_t i = 0; i < list->n; i++) {
		if (kept && by_key(&list->files[kept - 1], &list->files[i]) == 0)
			free(list->files[i].path);
		else
			list->files[kept++] = list->files[i];
	}
	list->n = kept;
	return ok;
}

static bool leave_out_unsafe(struct file_list *list)
{
	bool ok = true;

	for (size_t i = 0; i < list->n; i++) {
		if (is_safe(&list->files[i].key))
			continue;
		fprintf(stderr, "archive: left out, not a path below a folder: %s\n", key_text(&list->files[i].key));
		list->files[i].stored = false;
		ok = false;
	}
	return ok;
}

static enum exit_code get(const struct opts *opts)
{
	struct chi_client *client;
	struct file_list list = { 0 };
	struct tally tally = { 0 };
	uint32_t pool_id;
	enum exit_code code = connect_runtime(opts, &client, &pool_id);
	bool ok;

	if (code)
		return code;
	ok = find_all(client, pool_id, opts, &list);
	ok = leave_out_unsafe(&list) && ok;
	ok = transfer(transfer_get, client, pool_id, &list, &tally) && ok;
	printf("fetched %llu files, %s\n", (unsigned long long)tally.n_got, bytes_text(tally.out_bytes));
	chi_client_disconnect(client);
	file_list_free(&list);
	return ok ? EXIT_OK : EXIT_FAILED;
}

static enum exit_code ls(const struct opts *opts)
{
	struct chi_client *client;
	struct file_list list = { 0 };
	uint32_t pool_id;
	enum exit_code code = connect_runtime(opts, &client, &pool_id);
	bool ok;

	if (code)
		return code;
	ok = find_all(client, pool_id, opts, &list);
	for (size_t i = 0; i < list.n; i++)
		printf("%10s %10s  %s\n", bytes_text(list.files[i].size_bytes), bytes_text(list.files[i].stored_bytes),
		       key_text(&list.files[i].key));
	chi_client_disconnect(client);
	file_list_free(&list);
	return ok && fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK : EXIT_FAILED;
}

/* ---- the command line ---- */

static bool parse_jobs(const char *text, uint32_t *ret_jobs)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || end == text || n < 1 || n > 1024) {
		fprintf(stderr, "archive: --jobs is a number from 1 to 1024, not \"%s\"\n", text);
		return false;
	}
	*ret_jobs = (uint32_t)n;
	return true;
}

enum option_code { OPT_NAME = 256, OPT_DAEMON, OPT_SMALL, OPT_JOBS, OPT_JSON, OPT_HELP };

/* 0, or the exit code + 1 */
static int parse(int argc, char **argv, bool is_demo, struct opts *opts)
{
	static const struct option daemon_options[] = {
		{ "name", required_argument, NULL, OPT_NAME },
		{ "help", no_argument, NULL, OPT_HELP },
		{ NULL, 0, NULL, 0 },
	};
	static const struct option demo_options[] = {
		{ "daemon", no_argument, NULL, OPT_DAEMON },   { "small", no_argument, NULL, OPT_SMALL },
		{ "jobs", required_argument, NULL, OPT_JOBS }, { "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, OPT_HELP },       { NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, is_demo ? "" : "o:", is_demo ? demo_options : daemon_options, NULL)) !=
	       -1) {
		switch (option) {
		case OPT_NAME:
			opts->name = optarg;
			break;
		case 'o':
			opts->out_dir = optarg;
			break;
		case OPT_DAEMON:
			opts->demo.daemon = true;
			break;
		case OPT_SMALL:
			opts->demo.small = true;
			break;
		case OPT_JSON:
			opts->demo.json = true;
			break;
		case OPT_JOBS:
			if (!parse_jobs(optarg, &opts->demo.window))
				return EXIT_USAGE + 1;
			break;
		case OPT_HELP:
			fputs(usage, stdout);
			return EXIT_OK + 1;
		default:
			return EXIT_USAGE + 1;
		}
	}
	opts->demo.paths = argv + optind;
	opts->demo.n_paths = argc - optind;
	return 0;
}

int main(int argc, char **argv)
{
	struct opts opts = { .out_dir = "." };
	const char *command = argc > 1 ? argv[1] : "";
	bool is_demo = strcmp(command, "demo") == 0;
	int done;

	if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	if (argc > 1) {
		argv[1] = argv[0];
		done = parse(argc - 1, argv + 1, is_demo, &opts);
		if (done)
			return done - 1;
	}
	if (is_demo)
		return (int)demo(&opts.demo);
	if (strcmp(command, "put") == 0 && opts.demo.n_paths)
		return (int)put(&opts);
	if (strcmp(command, "get") == 0)
		return (int)get(&opts);
	if (strcmp(command, "ls") == 0)
		return (int)ls(&opts);
	fputs(usage, stderr);
	return EXIT_USAGE;
}
