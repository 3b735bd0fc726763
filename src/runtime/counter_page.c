/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counter_page.c - making the counters file, its rows, and its end
 *
 * The file's bytes are ours alone to write, but not alone in our power: whoever may write the file may also change or
 * cut it. So nothing is read back from it but the counter that is added to, and a SIGBUS in it puts private memory in
 * its place (fault.c): the figures are lost to tools then, the runtime goes on.
 */
#include "runtime/counter_page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <hshm/clock.h>

#include "runtime/fault.h"
#include "runtime/ipc_socket.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"
#include "runtime/session.h"
#include "task/error.h"
#include "task/lane.h"
#include "task/socket_path.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

struct free_rows {
	uint32_t n;
	uint32_t *rows; /* the lowest on top */
};

struct chi_counter_page {
	char *base;
	uint64_t size_bytes;
	struct chi_counters_place places[CHI_COUNTERS_TABLES];
	uint32_t n_reserved[CHI_COUNTERS_TABLES]; /* the first rows: see the header */

	pthread_mutex_t lock; /* of rows and of the runtime's own counters */
	struct free_rows free[CHI_COUNTERS_TABLES];

	int fd; /* holds the lock that says "alive" */
	int reader_fd;
	char socket_path[PATH_MAX]; /* "": no file */
	char path[PATH_MAX];
	dev_t device; /* of the file: is the name still ours? */
	ino_t inode;
};

/* ---- where everything is ---- */

static uint64_t place_after(uint64_t *end, uint64_t bytes)
{
	uint64_t offset = (*end + HSHM_FALSE_SHARING - 1) / HSHM_FALSE_SHARING * HSHM_FALSE_SHARING;

	*end = offset + bytes;
	return offset;
}

static void place_table(struct chi_counter_page *page, enum chi_counters_table table, uint32_t n_rows,
			uint32_t n_writers, uint64_t *end)
{
	const struct chi_counters_table_info *info = &chi_counters_tables[table];
	struct chi_counters_place *place = &page->places[table];

	place->n_rows = n_rows;
	place->n_writers = n_writers;
	place->facts_offset = place_after(end, (uint64_t)n_rows * info->facts_bytes);
	place->counters_offset = place_after(end, (uint64_t)n_writers * n_rows * info->counters_bytes);
}

/* Rows for what is counted by name, and those reserved; even, so that the sets of two workers share no pair of
 * lines. */
static uint32_t rows_for(uint32_t n_wanted, uint32_t n_reserved)
{
	return (n_wanted + n_reserved + 1) & ~1u;
}

static void place_tables(struct chi_counter_page *page, const struct chi_config *config, uint32_t n_workers)
{
	uint64_t end = CHI_COUNTERS_WORKERS_OFFSET + CHI_WORKERS_MAX * sizeof(struct chi_worker_counters);
	uint32_t n_clients = config->counted_clients < config->clients_max ? config->counted_clients
									   : config->clients_max;

	page->n_reserved[CHI_COUNTERS_POOLS] = 1;
	page->n_reserved[CHI_COUNTERS_METHODS] = 1;
	page->n_reserved[CHI_COUNTERS_CLIENTS] = 1;
	page->n_reserved[CHI_COUNTERS_LANES] = n_workers;
	place_table(page, CHI_COUNTERS_WORKERS, n_workers, 0, &end);
	page->places[CHI_COUNTERS_WORKERS].counters_offset = CHI_COUNTERS_WORKERS_OFFSET;
	page->places[CHI_COUNTERS_WORKERS].n_writers = 1;
	place_table(page, CHI_COUNTERS_RUNTIME, 1, 1, &end);
	place_table(page, CHI_COUNTERS_POOLS, rows_for(config->counted_pools, 1), 0, &end);
	place_table(page, CHI_COUNTERS_METHODS, rows_for(config->counted_methods, 1), n_workers, &end);
	place_table(page, CHI_COUNTERS_CLIENTS, rows_for(n_clients, 1), n_workers, &end);
	place_table(page, CHI_COUNTERS_LANES, rows_for(config->counted_lanes, n_workers), 1, &end);
	page->size_bytes = (end + CHI_PAGE - 1) / CHI_PAGE * CHI_PAGE;
}

static int make_free_rows(struct chi_counter_page *page)
{
	for (uint32_t t = 0; t < CHI_COUNTERS_TABLES; t++) {
		struct free_rows *free_rows = &page->free[t];
		uint32_t n_rows = page->places[t].n_rows;

		if (page->n_reserved[t] == 0)
			continue;
		free_rows->rows = calloc(n_rows, sizeof(*free_rows->rows));
		if (!free_rows->rows)
			return chi_error_set(-ENOMEM, "no memory for %u rows of counters", n_rows);
		for (uint32_t row = n_rows; row-- > page->n_reserved[t];)
			free_rows->rows[free_rows->n++] = row;
	}
	return 0;
}

/* ---- addresses ---- */

static void *facts_of(const struct chi_counter_page *page, enum chi_counters_table table, uint32_t row)
{
	return page->base + page->places[table].facts_offset + (uint64_t)row * chi_counters_tables[table].facts_bytes;
}

static void *counters_of(const struct chi_counter_page *page, enum chi_counters_table table, uint32_t writer,
			 uint32_t row)
{
	const struct chi_counters_place *place = &page->places[table];

	return page->base + place->counters_offset +
	       ((uint64_t)writer * place->n_rows + row) * chi_counters_tables[table].counters_bytes;
}

static struct chi_runtime_counters *own_counters(const struct chi_counter_page *page)
{
	return counters_of(page, CHI_COUNTERS_RUNTIME, 0, 0);
}

struct chi_worker_counters *chi_counter_page_worker(const struct chi_counter_page *page, uint32_t worker)
{
	return counters_of(page, CHI_COUNTERS_WORKERS, 0, worker);
}

struct chi_method_counters *chi_counter_page_methods(const struct chi_counter_page *page, uint32_t worker)
{
	return counters_of(page, CHI_COUNTERS_METHODS, worker, 0);
}

struct chi_client_counters *chi_counter_page_clients(const struct chi_counter_page *page, uint32_t worker)
{
	return counters_of(page, CHI_COUNTERS_CLIENTS, worker, 0);
}

struct chi_lane_counters *chi_counter_page_lanes(const struct chi_counter_page *page)
{
	return counters_of(page, CHI_COUNTERS_LANES, 0, 0);
}

int chi_counter_page_reader_fd(const struct chi_counter_page *page)
{
	return page->reader_fd;
}

/* ---- the file ---- */

static int file_error(const char *path, const char *what)
{
	int error = errno;

	return chi_error_set(-error, "%s: cannot %s the counters file: %s", path, what, strerror(error));
}

/* Its group may read it, if there is one. */
static int give_to_group(int fd, gid_t group)
{
	if (group == CHI_NO_GROUP)
		return fchmod(fd, 0600);
	return fchown(fd, (uid_t)-1, group) < 0 ? -1 : fchmod(fd, 0640);
}

/* A full disk shows here, not as a SIGBUS in a worker. */
static int reserve_file(const struct chi_counter_page *page, const char *path)
{
	int error;

	do
		error = posix_fallocate(page->fd, 0, (off_t)page->size_bytes);
	while (error == EINTR);
	if (error)
		return chi_error_set(-error,
				     "%s: no room for %llu bytes of counters: %s (counters.* of the configuration say "
				     "how many are kept)",
				     path, (unsigned long long)page->size_bytes, strerror(error));
	return 0;
}

/* For as long as this process, or a child that it forked, has the file open. Whoever reads it asks for the lock. */
static int lock_file(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock);
}

static int open_file(struct chi_counter_page *page, const char *path, gid_t group)
{
	int rc;

	/* left by one that died while it made it; we hold the runtime's name, so nobody else is at it */
	unlink(path);
	page->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (page->fd < 0)
		return file_error(path, "make");
	rc = reserve_file(page, path);
	if (rc < 0)
		return rc;
	page->reader_fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (page->reader_fd < 0)
		return file_error(path, "open");
	/* first: who may read it could lock it */
	if (lock_file(page->fd) < 0)
		return file_error(path, "lock");
	if (give_to_group(page->fd, group) < 0)
		return file_error(path, "set the mode of");
	return 0;
}

static int open_memory(struct chi_counter_page *page)
{
	page->fd = memfd_create("chimaera-counters", MFD_CLOEXEC);
	if (page->fd < 0)
		return chi_error_set(-errno, "counters: %s", strerror(errno));
	page->reader_fd = page->fd;
	return reserve_file(page, "memory");
}

static int map(struct chi_counter_page *page)
{
	void *base = mmap(NULL, page->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, page->fd, 0);

	if (base == MAP_FAILED)
		return chi_error_set(-ENOMEM, "no memory for the counters: %s", strerror(errno));
	page->base = base;
	/* a forked child is no second one that counts */
	if (madvise(base, page->size_bytes, MADV_DONTFORK) < 0 || chi_fault_watch_memory(base, page->size_bytes) < 0)
		return chi_error_set(-ENOMEM, "no memory for the counters");
	/* spares the faults one by one; should it fail, they are taken at the touch */
	madvise(base, page->size_bytes, MADV_POPULATE_WRITE);
	return 0;
}

/* Under NAME.lock, as at the end: so nobody removes the file of the next runtime of that name. */
static int rename_file(struct chi_counter_page *page, const char *path)
{
	struct stat st;
	int lock_fd = -1, rc;

	if (fstat(page->fd, &st) < 0)
		return file_error(path, "look at");
	rc = chi_ipc_name_lock(page->socket_path, &lock_fd);
	if (rc < 0)
		return rc;
	if (rename(path, page->path) < 0) {
		rc = file_error(page->path, "make");
	} else {
		page->device = st.st_dev;
		page->inode = st.st_ino;
	}
	chi_ipc_name_unlock(page->socket_path, lock_fd);
	return rc;
}

/* ---- rows ---- */

static void store(hshm_au64 *word, uint64_t value)
{
	/* relaxed: facts are published by `used`, counters stand for themselves */
	hshm_store_relaxed(word, value);
}

static void set_text(char text[CHI_COUNTERS_TEXT_MAX], const char *from)
{
	snprintf(text, CHI_COUNTERS_TEXT_MAX, "%s", from);
}

/* Every struct of facts begins with it. */
static void set_used(void *facts, bool used)
{
	/* release: the facts before the mark; for readers that map the file, and a process that dies half way */
	hshm_store_release((hshm_au64 *)facts, used);
}

static void clear_counters(struct chi_counter_page *page, enum chi_counters_table table, uint32_t row)
{
	for (uint32_t w = 0; w < page->places[table].n_writers; w++) {
		hshm_au64 *words = counters_of(page, table, w, row);

		for (uint32_t i = 0; i < chi_counters_tables[table].counters_bytes / sizeof(*words); i++)
			store(&words[i], 0);
	}
}

static hshm_au64 *uncounted(struct chi_counter_page *page, enum chi_counters_table table)
{
	struct chi_runtime_counters *own = own_counters(page);

	switch (table) {
	case CHI_COUNTERS_POOLS:
		return &own->pools_uncounted;
	case CHI_COUNTERS_METHODS:
		return &own->methods_uncounted;
	case CHI_COUNTERS_CLIENTS:
		return &own->clients_uncounted;
	default:
		return &own->lanes_uncounted;
	}
}

/* From here on the reserved rows have something to show; but pools count in their methods. */
static void show_reserved(struct chi_counter_page *page, enum chi_counters_table table)
{
	for (uint32_t row = 0; table != CHI_COUNTERS_POOLS && row < page->n_reserved[table]; row++)
		set_used(facts_of(page, table, row), true);
}

/* Under the lock. Row 0: there was none, and it is noted. */
static uint32_t take_row(struct chi_counter_page *page, enum chi_counters_table table)
{
	struct free_rows *free_rows = &page->free[table];
	uint32_t row;

	if (free_rows->n == 0) {
		hshm_count_add(uncounted(page, table), 1);
		show_reserved(page, table);
		return 0;
	}
	row = free_rows->rows[--free_rows->n];
	clear_counters(page, table, row);
	return row;
}

uint32_t chi_counter_page_add_pool(struct chi_counter_page *page, const struct chi_pool *pool)
{
	uint32_t row;

	pthread_mutex_lock(&page->lock);
	row = take_row(page, CHI_COUNTERS_POOLS);
	if (row) {
		struct chi_pool_facts *facts = facts_of(page, CHI_COUNTERS_POOLS, row);

		store(&facts->pool, pool->id);
		store(&facts->containers, pool->n_containers);
		set_text(facts->name, pool->name);
		set_text(facts->module, pool->module->name);
		set_used(facts, true);
	}
	pthread_mutex_unlock(&page->lock);
	return row;
}

uint32_t chi_counter_page_add_method(struct chi_counter_page *page, const struct chi_pool *pool,
				     const struct chi_method *method)
{
	uint32_t row;

	pthread_mutex_lock(&page->lock);
	row = take_row(page, CHI_COUNTERS_METHODS);
	if (row) {
		struct chi_method_facts *facts = facts_of(page, CHI_COUNTERS_METHODS, row);

		store(&facts->pool, pool->id);
		store(&facts->method, method->id);
		set_text(facts->name, method->name);
		set_used(facts, true);
	}
	pthread_mutex_unlock(&page->lock);
	return row;
}

uint32_t chi_counter_page_add_client(struct chi_counter_page *page, const struct chi_session *session, uid_t uid)
{
	uint32_t row;

	pthread_mutex_lock(&page->lock);
	hshm_count_add(&own_counters(page)->clients_attached, 1);
	row = take_row(page, CHI_COUNTERS_CLIENTS);
	if (row) {
		struct chi_client_facts *facts = facts_of(page, CHI_COUNTERS_CLIENTS, row);

		store(&facts->client, session->client_id);
		store(&facts->pid, (uint64_t)session->pid);
		store(&facts->uid, uid);
		store(&facts->attached_ns, hshm_clock_ns());
		store(&facts->memory_bytes, session->segment.map.size_bytes);
		set_used(facts, true);
	}
	pthread_mutex_unlock(&page->lock);
	return row;
}

uint32_t chi_counter_page_add_lane(struct chi_counter_page *page, const struct chi_lane *lane)
{
	uint32_t row;

	pthread_mutex_lock(&page->lock);
	row = take_row(page, CHI_COUNTERS_LANES);
	if (row) {
		struct chi_lane_facts *facts = facts_of(page, CHI_COUNTERS_LANES, row);
		struct chi_lane_counters *counters = counters_of(page, CHI_COUNTERS_LANES, 0, row);

		store(&facts->client, lane->session ? lane->session->client_id : 0);
		store(&facts->pool, lane->header->pool_id);
		store(&facts->container, lane->header->container_id);
		store(&facts->queue, lane->header->queue_id);
		store(&facts->lane, lane->header->lane_id);
		store(&facts->high_latency, lane->header->priority == CHI_PRIO_HIGH_LATENCY);
		store(&facts->depth, UINT64_C(1) << lane->ring.depth_shift);
		store(&counters->worker, chi_lane_worker(lane));
		set_used(facts, true);
	}
	pthread_mutex_unlock(&page->lock);
	return row;
}

void chi_counter_page_remove(struct chi_counter_page *page, enum chi_counters_table table, uint32_t row)
{
	pthread_mutex_lock(&page->lock);
	if (table == CHI_COUNTERS_CLIENTS)
		hshm_count_add(&own_counters(page)->clients_ended, 1);
	if (row >= page->n_reserved[table]) {
		struct free_rows *free_rows = &page->free[table];

		set_used(facts_of(page, table, row), false);
		free_rows->rows[free_rows->n++] = row;
	}
	pthread_mutex_unlock(&page->lock);
}

void chi_counter_page_worker_runs(struct chi_counter_page *page, uint32_t worker)
{
	struct chi_worker_facts *facts = facts_of(page, CHI_COUNTERS_WORKERS, worker);

	store(&facts->thread, (uint64_t)gettid());
	set_used(facts, true);
}

void chi_counter_page_note_memory(struct chi_counter_page *page, struct hshm_heap *own, struct hshm_heap *modules)
{
	struct hshm_heap_stats own_stats, module_stats;

	hshm_heap_get_stats(own, &own_stats);
	hshm_heap_get_stats(modules, &module_stats);
	pthread_mutex_lock(&page->lock);
	store(&own_counters(page)->own_bytes, own_stats.used_bytes);
	store(&own_counters(page)->module_bytes, module_stats.used_bytes);
	pthread_mutex_unlock(&page->lock);
}

void chi_counter_page_stopping(struct chi_counter_page *page)
{
	pthread_mutex_lock(&page->lock);
	store(&own_counters(page)->stopping, 1);
	pthread_mutex_unlock(&page->lock);
}

/* ---- life ---- */

static void write_own_rows(struct chi_counter_page *page, const struct chi_runtime *runtime, uint32_t n_workers)
{
	struct chi_runtime_facts *facts = facts_of(page, CHI_COUNTERS_RUNTIME, 0);
	struct chi_method_facts *others = facts_of(page, CHI_COUNTERS_METHODS, 0);

	set_text(facts->name, runtime->config.name);
	set_text(facts->version, CHI_VERSION_TEXT);
	store(&facts->pid, (uint64_t)getpid());
	store(&facts->uid, geteuid());
	store(&facts->generation, runtime->generation);
	store(&facts->started_ns, hshm_clock_ns());
	store(&facts->started_unix_s, (uint64_t)time(NULL));
	set_used(facts, true);
	set_text(others->name, "(others)");
	for (uint32_t w = 0; w < n_workers; w++) {
		struct chi_lane_counters *lanes = counters_of(page, CHI_COUNTERS_LANES, 0, w);

		store(&lanes->worker, w);
		store(&((struct chi_worker_facts *)facts_of(page, CHI_COUNTERS_WORKERS, w))->worker, w);
	}
}

static void write_header(struct chi_counter_page *page)
{
	struct chi_counters_header *header = (struct chi_counters_header *)page->base;

	header->magic = CHI_COUNTERS_MAGIC;
	header->header_bytes = sizeof(*header);
	header->size_bytes = page->size_bytes;
	header->columns_hash = chi_counters_hash();
	memcpy(header->places, page->places, sizeof(page->places));
	/* release: all of it first; pairs with a reader that maps the file */
	hshm_store_release(&header->layout_version, CHI_LAYOUT_VERSION);
}

int chi_counter_page_create(struct chi_runtime *runtime, uint32_t n_workers, const struct chi_ipc_socket *beside,
			    struct chi_counter_page **ret_page)
{
	struct chi_counter_page *page = calloc(1, sizeof(*page));
	char new_path[PATH_MAX + 8] = "";
	int rc;

	if (!page)
		return chi_error_set(-ENOMEM, "no memory for counters");
	page->fd = page->reader_fd = -1;
	pthread_mutex_init(&page->lock, NULL);
	place_tables(page, &runtime->config, n_workers);
	rc = make_free_rows(page);
	if (rc == 0 && beside) {
		chi_socket_sibling(beside->where.path, CHI_COUNTERS_SUFFIX, page->path);
		snprintf(page->socket_path, sizeof(page->socket_path), "%s", beside->where.path);
		snprintf(new_path, sizeof(new_path), "%s.new", page->path);
		rc = open_file(page, new_path, beside->group);
	} else if (rc == 0) {
		rc = open_memory(page);
	}
	if (rc == 0)
		rc = map(page);
	if (rc == 0) {
		write_own_rows(page, runtime, n_workers);
		write_header(page);
		if (beside)
			rc = rename_file(page, new_path);
	}
	if (rc < 0) {
		if (new_path[0])
			unlink(new_path);
		chi_counter_page_destroy(page);
		return rc;
	}
	*ret_page = page;
	return 0;
}

void chi_counter_page_remove_file(struct chi_counter_page *page)
{
	if (page->inode)
		chi_ipc_file_remove(page->socket_path, page->path, page->device, page->inode);
	page->inode = 0;
}

void chi_counter_page_destroy(struct chi_counter_page *page)
{
	if (!page)
		return;
	chi_counter_page_remove_file(page);
	if (page->base) {
		chi_fault_unwatch_memory(page->base);
		munmap(page->base, page->size_bytes);
	}
	if (page->reader_fd >= 0 && page->reader_fd != page->fd)
		close(page->reader_fd);
	if (page->fd >= 0)
		close(page->fd);
	for (uint32_t t = 0; t < CHI_COUNTERS_TABLES; t++)
		free(page->free[t].rows);
	pthread_mutex_destroy(&page->lock);
	free(page);
}
