/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transfer.c - many tasks in flight
 *
 * A flight is one file under way: a task, and memory lent to it, both in the client's segment. The file is read straight
 * into that memory, and what comes back is compared or written from there: no copy on our side.
 *
 *   begin   allocate, fill, chi_submit()
 *   wait    chi_wait_any() when nothing more may begin
 *   end     look at task->result and the answer, free both
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive.h"

#define IN_FLIGHT_MAX_BYTES (256u << 20) /* or one file, when that is larger */
#define WINDOW_MAX	    1024u
#define PIECE_BYTES	    (256u << 10)

struct flight {
	struct file *file;
	struct chi_blob_task *task;
	unsigned char *memory; /* NULL: an empty file */
	uint64_t size_bytes;
	uint64_t begin_ns;
};

/* What put, compare and get do differently. begin: 0, 1 (leave this file out), or a negative errno. */
struct pump_ops {
	int (*begin)(struct job *job, struct flight *flight);
	void (*end)(struct job *job, struct flight *flight, uint64_t took_ns);
};

void tally_fail(struct tally *tally, const char *format, ...)
{
	va_list args;

	if (tally->n_failed++)
		return;
	va_start(args, format);
	vsnprintf(tally->error, sizeof(tally->error), format, args);
	va_end(args);
}

static void note(struct job *job, const struct file *file, const char *what)
{
	job->tally->n_changed++;
	progress_clear();
	fprintf(stderr, "archive: %s: %s\n", file->path, what);
}

/* ---- the pump ---- */

static void flight_free(struct job *job, struct flight *flight)
{
	chi_task_free(job->client, flight->task);
	chi_free(job->client, flight->memory);
}

static int flight_alloc(struct job *job, struct flight *flight, enum chi_blob_method method)
{
	const struct chi_blob_key *key = &flight->file->key;
	struct chi_domain_query query = chi_blob_query(key);
	int rc = 0;

	if (flight->size_bytes)
		rc = chi_alloc(job->client, flight->size_bytes, &flight->memory);
	if (rc)
		return rc;
	if (method == CHI_BLOB_PUT)
		rc = chi_blob_put_alloc(job->client, job->pool_id, query, flight->memory, flight->size_bytes, *key,
					&flight->task);
	else
		rc = chi_blob_get_alloc(job->client, job->pool_id, query, flight->memory, flight->size_bytes, *key,
					&flight->task);
	if (rc)
		chi_free(job->client, flight->memory);
	return rc;
}

static void finish(struct job *job, const struct pump_ops *ops, struct flight *flights, uint32_t index,
		   uint32_t *n_flights, uint64_t *in_flight_bytes)
{
	struct flight flight = flights[index];

	flights[index] = flights[--*n_flights];
	*in_flight_bytes -= flight.size_bytes;
	ops->end(job, &flight, hshm_clock_ns() - flight.begin_ns);
	/* relaxed: a number for the progress bar */
	hshm_count_add(&job->tally->progress_bytes, flight.size_bytes);
	flight_free(job, &flight);
	if (job->tick)
		job->tick(job->tick_arg);
}

static int wait_one(const struct flight *flights, uint32_t n_flights)
{
	void *tasks[WINDOW_MAX];

	for (uint32_t i = 0; i < n_flights; i++)
		tasks[i] = flights[i].task;
	return chi_wait_any(tasks, n_flights, HSHM_FOREVER);
}

/* Begin one more flight. 0, 1 (nothing began), -EAGAIN (not now), or what ends the job. */
static int launch(struct job *job, const struct pump_ops *ops, struct file *file, struct flight *flight)
{
	int rc;

	memset(flight, 0, sizeof(*flight));
	flight->file = file;
	flight->size_bytes = file->size_bytes;
	rc = ops->begin(job, flight);
	if (rc)
		return rc == -ENOMEM ? -EAGAIN : rc;
	flight->begin_ns = hshm_clock_ns();
	rc = chi_submit(job->client, flight->task);
	if (rc)
		flight_free(job, flight);
	return rc;
}

static int pump(struct job *job, const struct pump_ops *ops)
{
	uint32_t window = job->window && job->window < WINDOW_MAX ? job->window : WINDOW_MAX;
	struct flight flights[WINDOW_MAX];
	uint64_t in_flight_bytes = 0;
	uint32_t n_flights = 0;
	size_t next = 0;
	int rc = 0;

	while (n_flights || (!rc && next < job->n_files)) {
		bool room = !rc && next < job->n_files && n_flights < window &&
			    (!n_flights || in_flight_bytes + job->files[next].size_bytes <= IN_FLIGHT_MAX_BYTES);
		int index;

		if (room) {
			int began = launch(job, ops, &job->files[next], &flights[n_flights]);

			if (began == 0)
				in_flight_bytes += flights[n_flights++].size_bytes;
			if (began >= 0)
				next++;
			else if (began != -EAGAIN)
				rc = began;
			else if (!n_flights)
				rc = -ENOMEM; /* nothing is in flight whose end could make room */
			room = began >= 0;
		}
		/* those that are done by now; then, when nothing more may begin, wait for one */
		for (uint32_t i = 0; i < n_flights;) {
			if (chi_task_done(flights[i].task))
				finish(job, ops, flights, i, &n_flights, &in_flight_bytes);
			else
				i++;
		}
		if (room || !n_flights)
			continue;
		index = wait_one(flights, n_flights);
		if (index < 0)
			return index; /* the runtime is gone: nothing in flight can be had back */
		finish(job, ops, flights, (uint32_t)index, &n_flights, &in_flight_bytes);
	}
	return rc;
}

/* ---- put ---- */

static ssize_t read_full(int fd, unsigned char *bytes, size_t size_bytes)
{
	size_t n_read = 0;

	while (n_read < size_bytes) {
		ssize_t n = read(fd, bytes + n_read, size_bytes - n_read);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		n_read += (size_t)n;
	}
	return (ssize_t)n_read;
}

static int put_begin(struct job *job, struct flight *flight)
{
	struct file *file = flight->file;
	int fd = open(file->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	struct stat status;
	int rc;

	if (fd < 0 || fstat(fd, &status) || !S_ISREG(status.st_mode)) {
		note(job, file, fd < 0 ? strerror(errno) : "no longer a regular file");
		if (fd >= 0)
			close(fd);
		return 1;
	}
	file->size_bytes = flight->size_bytes = (uint64_t)status.st_size;
	file->mtime = status.st_mtim;
	file->inode = status.st_ino;
	rc = flight_alloc(job, flight, CHI_BLOB_PUT);
	if (!rc && read_full(fd, flight->memory, flight->size_bytes) != (ssize_t)flight->size_bytes) {
		note(job, file, "could not be read whole");
		flight_free(job, flight);
		rc = 1;
	}
	close(fd);
	return rc;
}

static void put_end(struct job *job, struct flight *flight, uint64_t took_ns)
{
	struct tally *tally = job->tally;
	struct file *file = flight->file;
	int result = flight->task->task.result;

	if (result < 0) {
		tally_fail(tally, "put %s: %s", file->path, strerror(-result));
		return;
	}
	file->stored = true;
	file->stored_bytes = flight->task->size.stored_bytes;
	if (tally->put_ns)
		tally->put_ns[tally->n_put] = took_ns;
	tally->n_put++;
	tally->in_bytes += file->size_bytes;
	tally->stored_bytes += file->stored_bytes;
	tally->n_chunks += flight->task->size.n_chunks;
	tally->n_chunks_raw += flight->task->size.n_chunks_raw;
}

int transfer_put(struct job *job)
{
	static const struct pump_ops ops = { put_begin, put_end };
	int rc;

	job->tally->put_begin_ns = hshm_clock_ns();
	rc = pump(job, &ops);
	job->tally->put_end_ns = hshm_clock_ns();
	return rc;
}

/* ---- compare, get ---- */

static int get_begin(struct job *job, struct flight *flight)
{
	return flight->file->stored ? flight_alloc(job, flight, CHI_BLOB_GET) : 1;
}

/* Did it come, and whole? */
static bool arrived(struct job *job, struct flight *flight, uint64_t took_ns)
{
	struct tally *tally = job->tally;
	int result = flight->task->task.result;

	if (result < 0) {
		tally_fail(tally, "get %s: %s", key_text(&flight->file->key), strerror(-result));
		return false;
	}
	if (flight->task->size.size_bytes != flight->size_bytes) {
		tally_fail(tally, "get %s: %llu bytes instead of %llu", key_text(&flight->file->key),
			   (unsigned long long)flight->task->size.size_bytes, (unsigned long long)flight->size_bytes);
		return false;
	}
	if (tally->get_ns)
		tally->get_ns[tally->n_got] = took_ns;
	tally->n_got++;
	tally->out_bytes += flight->size_bytes;
	return true;
}

/* Is the file still the one that was put? */
static bool unchanged(int fd, const struct file *file)
{
	struct stat status;

	return fstat(fd, &status) == 0 && (uint64_t)status.st_size == file->size_bytes &&
	       status.st_ino == file->inode && status.st_mtim.tv_sec == file->mtime.tv_sec &&
	       status.st_mtim.tv_nsec == file->mtime.tv_nsec;
}

/* The first byte that differs, or size_bytes. */
static uint64_t first_difference(int fd, const unsigned char *bytes, uint64_t size_bytes)
{
	static unsigned char piece[PIECE_BYTES];

	for (uint64_t at = 0; at < size_bytes;) {
		uint64_t n = size_bytes - at < PIECE_BYTES ? size_bytes - at : PIECE_BYTES;
		ssize_t n_read = read_full(fd, piece, n);
		uint64_t i = 0;

		if (n_read == (ssize_t)n && memcmp(piece, bytes + at, n) == 0) {
			at += n;
			continue;
		}
		while ((ssize_t)i < n_read && piece[i] == bytes[at + i])
			i++;
		return at + i;
	}
	return size_bytes;
}

static void compare_end(struct job *job, struct flight *flight, uint64_t took_ns)
{
	struct file *file = flight->file;
	uint64_t at;
	int fd;

	if (!arrived(job, flight, took_ns))
		return;
	fd = open(file->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		note(job, file, "vanished, not compared");
		return;
	}
	at = first_difference(fd, flight->memory, flight->size_bytes);
	if (!unchanged(fd, file))
		note(job, file, "changed meanwhile, not compared");
	else if (at < flight->size_bytes)
		tally_fail(job->tally, "%s: byte %llu differs from the file", file->path, (unsigned long long)at);
	close(fd);
}

int transfer_compare(struct job *job)
{
	static const struct pump_ops ops = { get_begin, compare_end };
	int rc;

	job->tally->get_begin_ns = hshm_clock_ns();
	rc = pump(job, &ops);
	job->tally->get_end_ns = hshm_clock_ns();
	return rc;
}

/* The folders above path. */
static int make_parents(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0777) && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return 0;
}

static int write_file(const char *path, const unsigned char *bytes, uint64_t size_bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
	int rc = 0;

	if (fd < 0)
		return -errno;
	while (size_bytes) {
		ssize_t n = write(fd, bytes, size_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			rc = -errno;
			break;
		}
		bytes += n;
		size_bytes -= (uint64_t)n;
	}
	if (close(fd) && !rc)
		rc = -errno;
	return rc;
}

static void get_end(struct job *job, struct flight *flight, uint64_t took_ns)
{
	char *path = flight->file->path;
	int rc;

	if (!arrived(job, flight, took_ns))
		return;
	rc = make_parents(path);
	if (!rc)
		rc = write_file(path, flight->memory, flight->size_bytes);
	if (rc)
		tally_fail(job->tally, "%s: %s", path, strerror(-rc));
}

int transfer_get(struct job *job)
{
	static const struct pump_ops ops = { get_begin, get_end };

	return pump(job, &ops);
}
