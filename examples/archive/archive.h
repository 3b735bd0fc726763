/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * archive.h - an example: put real files into the module `blob`, get them back, see that they are the same
 *
 *   main.c      the command line: put, get, ls, demo
 *   walk.c      which files
 *   transfer.c  tasks in flight: read a file, put it; get it, compare it or write it       <- read this one first
 *   demo.c      the demonstration: embedded, or a daemon with two clients
 *   daemon.c    start and stop that daemon
 *   table.c     what the demonstration prints
 *   progress.c  a bar, on terminals
 */
#ifndef ARCHIVE_H
#define ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include <chimaera/chimaera.h>
#include <chimaera/modules/blob.h>

#define ARCHIVE_POOL	   "archive"
#define ARCHIVE_CONTAINERS 4u

enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3 };

/* ---- walk.c ---- */

struct file {
	char *path; /* on disk */
	struct chi_blob_key key;
	uint64_t size_bytes; /* when it was put */
	uint64_t stored_bytes;
	struct timespec mtime; /* when it was put */
	ino_t inode;
	bool stored;
};

struct file_list {
	struct file *files;
	size_t n;
	uint64_t size_bytes;
	size_t n_skipped; /* unreadable, or their path is too long for a key; each was named */
};

struct walk_limits {
	size_t n_max;		 /* of the list */
	uint64_t size_max_bytes; /* of the list */
	uint64_t file_min_bytes; /* of a file */
	uint64_t file_max_bytes;
	bool packed_only; /* files that are compressed already, by their names */
	bool quiet;	  /* do not name what is skipped */
};
extern const struct walk_limits WALK_ALL;

/* Add the regular files under path, in the order of their names; symbolic links
 * below it are left out, path itself may be one. False: path is not there, or neither file nor folder. */
bool walk(const char *path, const struct walk_limits *limits, struct file_list *list);
void file_list_add(struct file_list *list, const char *path, const struct chi_blob_key *key, uint64_t size_bytes);
void file_list_free(struct file_list *list);
bool is_packed(const char *path);
/* A key as it may be printed. */
const char *key_text(const struct chi_blob_key *key);

/* ---- transfer.c ---- */

#define ERROR_TEXT_MAX 512

/* What one client did. The demonstration's clients write theirs into memory shared with their parent. */
struct tally {
	hshm_au64 progress_bytes; /* others look at it meanwhile */
	uint64_t n_put, n_got, n_changed, n_failed;
	uint64_t in_bytes, stored_bytes, out_bytes;
	uint64_t n_chunks, n_chunks_raw;
	uint64_t put_begin_ns, put_end_ns, get_begin_ns, get_end_ns;
	uint64_t *put_ns, *get_ns;  /* how long each took; n_put and n_got of them. May be NULL. */
	char error[ERROR_TEXT_MAX]; /* the first */
};

struct job {
	struct chi_client *client;
	uint32_t pool_id;
	struct file *files;
	size_t n_files;
	uint32_t window; /* tasks in flight */
	struct tally *tally;
	void (*tick)(void *arg); /* now and then; may be NULL */
	void *tick_arg;
};

/* Each: 0, or a negative errno when it cannot go on; what went wrong with single files is in the tally. */
int transfer_put(struct job *job);
int transfer_compare(struct job *job); /* with the files on disk */
int transfer_get(struct job *job);     /* to the files' paths */

void tally_fail(struct tally *tally, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- demo.c, daemon.c ---- */

struct demo_opts {
	bool daemon;
	bool small;
	bool json;
	uint32_t window;
	char **paths;
	int n_paths;
};
enum exit_code demo(const struct demo_opts *opts);

struct daemon {
	pid_t pid;
	char dir[256]; /* its runtime directory; ours too */
};
/* Start `chimaera start --foreground` in a directory of its own. False: it has said why. */
bool daemon_start(struct daemon *daemon, uint32_t n_workers);
bool daemon_lives(struct daemon *daemon);
/* SIGTERM, wait for its end, remove the directory. False: it did not end well. */
bool daemon_stop(struct daemon *daemon, bool show_log);

/* Where this program is, with '/'. */
const char *program_dir(void);
/* Modules of the build, when the environment does not name others. */
void set_module_path(void);

/* ---- table.c ---- */

struct report {
	bool daemon;
	uint32_t n_clients;
	size_t n_files, n_packed;
	uint64_t largest_bytes;
	struct tally total; /* its put_ns and get_ns sorted */
	struct chi_runtime_info info;
	uint32_t n_containers, n_containers_used;
	uint64_t n_tasks, n_waits, n_workers_used;
};
void report_table(const struct report *report);
void report_json(const struct report *report, bool ok);
/* "1.5 MB"; a ring of buffers, so that one printf may use several. */
const char *bytes_text(uint64_t bytes);

/* ---- progress.c ---- */

/* Only on terminals; text is what happens, total 0 takes the bar away. */
void progress_show(const char *text, uint64_t done, uint64_t total);
void progress_clear(void);

#endif
