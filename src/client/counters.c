/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counters.c - read a runtime's counters file
 *
 * The file is copied by read(2), never mapped: whoever cuts it makes us read less, not fault. The kernel copies whole
 * words, so each counter is right. Then the header is checked, once: magic, versions, sizes, and that each table is no
 * larger than a runtime makes it and lies inside, behind the header. The one that is checked and used is a copy of its
 * own: tables may lie over each other, and facts are read again and texts cleaned where they lie.
 *
 * A row is made and given up while we read. So the facts are read again until two copies of them are the same: then no
 * row is half of one thing and half of another.
 */
#include <chimaera/counters.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task/counters_layout.h"
#include "task/error.h"
#include "task/socket_path.h"

#define FILE_BYTES_MAX (UINT64_C(256) << 20)
#define COPIES_MAX     16

struct chi_counters {
	char path[PATH_MAX];
	bool alive;
	struct chi_counters_header header;
	char *bytes;
	uint64_t size_bytes;
	uint32_t *rows[CHI_COUNTERS_TABLES]; /* those in use */
	uint32_t n_rows[CHI_COUNTERS_TABLES];
	char *pool_sums; /* for each pool in use, what its methods have counted: a struct chi_method_counters */
};

/* ---- reading ---- */

static int find_file(const char *name, char ret_path[PATH_MAX])
{
	struct chi_socket_path where;
	int rc = chi_socket_path(name, CHI_SOCKET_FIND, &where);

	/* one that is about to end has given up its socket already */
	if (rc == -ENOENT && chi_socket_path(name, CHI_SOCKET_FIND_COUNTERS, &where) == 0)
		rc = 0;
	if (rc == 0)
		chi_socket_sibling(where.path, CHI_COUNTERS_SUFFIX, ret_path);
	return rc;
}

static int open_file(const char *path, int *ret_fd, uint64_t *ret_bytes)
{
	struct stat st;
	/* non-blocking: for what is no file */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return chi_error_set(errno == ELOOP ? -EPROTO : -errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= (off_t)sizeof(struct chi_counters_header) &&
	    (uint64_t)st.st_size <= FILE_BYTES_MAX) {
		*ret_fd = fd;
		*ret_bytes = (uint64_t)st.st_size;
		return 0;
	}
	close(fd);
	return chi_error_set(-EPROTO, "%s is no counters file, or somebody has cut it", path);
}

static int read_at(int fd, char *bytes, uint64_t size_bytes, uint64_t offset)
{
	uint64_t n = 0;

	while (n < size_bytes) {
		ssize_t part = pread(fd, bytes + n, size_bytes - n, (off_t)(offset + n));

		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			return -EPROTO;
		n += (uint64_t)part;
	}
	return 0;
}

/* Who writes it holds a lock on it as long as it lives. */
static bool is_locked(int fd)
{
	/* asked as one who reads: a lock of another reader says nothing */
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Who ends in order removes it, then gives up its lock: without a lock, and still there, it is of one that died. */
static bool is_removed(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

/* ---- checking ---- */

static bool is_inside(uint64_t offset, uint64_t bytes, uint64_t size_bytes)
{
	return offset % sizeof(uint64_t) == 0 && offset >= sizeof(struct chi_counters_header) && offset <= size_bytes &&
	       bytes <= size_bytes - offset;
}

static bool table_is_inside(const struct chi_counters *counters, uint32_t table)
{
	const struct chi_counters_place *place = &counters->header.places[table];
	const struct chi_counters_table_info *info = &chi_counters_tables[table];
	uint64_t n = (uint64_t)place->n_rows * place->n_writers;

	return place->n_rows <= info->rows_max && place->n_writers <= info->writers_max &&
	       is_inside(place->facts_offset, (uint64_t)place->n_rows * info->facts_bytes, counters->size_bytes) &&
	       is_inside(place->counters_offset, n * info->counters_bytes, counters->size_bytes);
}

static int check(const struct chi_counters *counters)
{
	const struct chi_counters_header *header = &counters->header;

	if (header->magic != CHI_COUNTERS_MAGIC)
		return chi_error_set(-EPROTO, "%s is no counters file", counters->path);
	/* relaxed: a copy of our own */
	if (hshm_load_relaxed(&header->layout_version) != CHI_LAYOUT_VERSION ||
	    header->header_bytes != sizeof(*header) || header->columns_hash != chi_counters_hash())
		return chi_error_set(-EPROTO, "%s is of another release than this program (%s)", counters->path,
				     CHI_VERSION_TEXT);
	if (header->size_bytes != counters->size_bytes)
		return chi_error_set(-EPROTO, "%s has %llu bytes instead of %llu: somebody has cut it", counters->path,
				     (unsigned long long)counters->size_bytes, (unsigned long long)header->size_bytes);
	for (uint32_t t = 0; t < CHI_COUNTERS_TABLES; t++) {
		if (!table_is_inside(counters, t))
			return chi_error_set(-EPROTO, "%s: its table of %s is too large, or does not lie in it",
					     counters->path, chi_counters_tables[t].name);
	}
	return 0;
}

/* ---- rows ---- */

static uint64_t word_at(const char *bytes, uint32_t offset)
{
	return hshm_load_relaxed((const hshm_au64 *)(bytes + offset)); /* relaxed: a copy of our own */
}

static char *facts_of(const struct chi_counters *counters, uint32_t table, uint32_t row)
{
	return counters->bytes + counters->header.places[table].facts_offset +
	       (uint64_t)row * chi_counters_tables[table].facts_bytes;
}

/* Returns whether those that we had are the same; we have the new ones now. */
static bool read_facts_again(struct chi_counters *counters, int fd, uint32_t table, char *bytes, uint64_t size_bytes)
{
	char *had = facts_of(counters, table, 0);
	bool same;

	if (read_at(fd, bytes, size_bytes, (uint64_t)(had - counters->bytes)) < 0)
		return true; /* cut meanwhile: what we have will do */
	same = memcmp(had, bytes, size_bytes) == 0;
	memcpy(had, bytes, size_bytes);
	return same;
}

static int settle_facts(struct chi_counters *counters, int fd, uint32_t table)
{
	uint64_t size_bytes = (uint64_t)counters->header.places[table].n_rows * chi_counters_tables[table].facts_bytes;
	char *bytes = malloc(size_bytes ? size_bytes : 1);

	if (!bytes)
		return chi_error_set(-ENOMEM, "no memory for counters");
	for (int i = 0; i < COPIES_MAX && !read_facts_again(counters, fd, table, bytes, size_bytes); i++)
		;
	free(bytes);
	return 0;
}

/* So that a text has an end, and is no control sequence for a terminal. */
static void clean_texts(const struct chi_counters_table_info *info, char *facts)
{
	for (uint32_t i = 0; i < info->n_columns; i++) {
		char *text = facts + info->fields[i].offset;

		if (info->columns[i].kind != CHI_COUNTER_TEXT)
			continue;
		text[CHI_COUNTERS_TEXT_MAX - 1] = '\0';
		for (; *text; text++) {
			if (*text < ' ' || *text > '~')
				*text = '?';
		}
	}
}

static int list_rows(struct chi_counters *counters, uint32_t table)
{
	uint32_t n_rows = counters->header.places[table].n_rows;

	counters->rows[table] = calloc(n_rows ? n_rows : 1, sizeof(*counters->rows[table]));
	if (!counters->rows[table])
		return chi_error_set(-ENOMEM, "no memory for counters");
	for (uint32_t row = 0; row < n_rows; row++) {
		/* every struct of facts begins with `used` */
		if (word_at(facts_of(counters, table, row), 0) == 0)
			continue;
		counters->rows[table][counters->n_rows[table]++] = row;
	}
	return 0;
}

static void clean_rows(struct chi_counters *counters, uint32_t table)
{
	for (uint32_t i = 0; i < counters->n_rows[table]; i++)
		clean_texts(&chi_counters_tables[table], facts_of(counters, table, counters->rows[table][i]));
}

/* ---- sums ---- */

static void add_up(uint64_t *sum, uint64_t value, enum chi_counter_kind kind)
{
	if (kind != CHI_COUNTER_MAX)
		*sum += value;
	else if (value > *sum)
		*sum = value;
}

/* Of the row in the file, over all who count in it. */
static uint64_t sum_writers(const struct chi_counters *counters, uint32_t table, uint32_t row, uint32_t offset,
			    enum chi_counter_kind kind)
{
	const struct chi_counters_place *place = &counters->header.places[table];
	uint32_t row_bytes = chi_counters_tables[table].counters_bytes;
	uint64_t sum = 0;

	for (uint32_t w = 0; w < place->n_writers; w++) {
		const char *at = counters->bytes + place->counters_offset +
				 ((uint64_t)w * place->n_rows + row) * row_bytes;

		add_up(&sum, word_at(at, offset), kind);
	}
	return sum;
}

static char *sums_of(const struct chi_counters *counters, uint32_t pool_row)
{
	return counters->pool_sums + (size_t)pool_row * chi_counters_tables[CHI_COUNTERS_METHODS].counters_bytes;
}

/* Where the pool of that method is summed up; NULL: it has no row. */
static char *sums_for(const struct chi_counters *counters, uint32_t method_row)
{
	uint64_t pool = word_at(facts_of(counters, CHI_COUNTERS_METHODS, method_row),
				offsetof(struct chi_method_facts, pool));

	for (uint32_t i = 0; i < counters->n_rows[CHI_COUNTERS_POOLS]; i++) {
		const char *facts = facts_of(counters, CHI_COUNTERS_POOLS, counters->rows[CHI_COUNTERS_POOLS][i]);

		if (word_at(facts, offsetof(struct chi_pool_facts, pool)) == pool)
			return sums_of(counters, i);
	}
	return NULL;
}

/* A pool has counted what its methods have. Each method is looked at once, whatever the file says of pools. */
static int sum_methods(struct chi_counters *counters)
{
	const struct chi_counters_table_info *info = &chi_counters_tables[CHI_COUNTERS_METHODS];

	counters->pool_sums = calloc(counters->n_rows[CHI_COUNTERS_POOLS] + 1, info->counters_bytes);
	if (!counters->pool_sums)
		return chi_error_set(-ENOMEM, "no memory for counters");
	for (uint32_t i = 0; i < counters->n_rows[CHI_COUNTERS_METHODS]; i++) {
		uint32_t row = counters->rows[CHI_COUNTERS_METHODS][i];
		char *sums = sums_for(counters, row);

		for (uint32_t c = 0; sums && c < info->n_columns; c++) {
			const struct chi_counters_field *field = &info->fields[c];
			enum chi_counter_kind kind = info->columns[c].kind;

			if (field->source == CHI_FROM_COUNTERS)
				add_up((uint64_t *)(void *)(sums + field->offset),
				       sum_writers(counters, CHI_COUNTERS_METHODS, row, field->offset, kind), kind);
		}
	}
	return 0;
}

/* ---- all of it ---- */

static int copy_file(struct chi_counters *counters, int fd)
{
	int rc;

	counters->bytes = malloc(counters->size_bytes);
	if (!counters->bytes)
		return chi_error_set(-ENOMEM, "no memory for counters");
	if (read_at(fd, counters->bytes, counters->size_bytes, 0) < 0)
		return chi_error_set(-EPROTO, "%s: cannot be read, or somebody cuts it", counters->path);
	memcpy(&counters->header, counters->bytes, sizeof(counters->header));
	counters->alive = is_locked(fd);
	if (!counters->alive && is_removed(fd)) /* in this order */
		return chi_error_set(-ENOENT, "%s: %s", counters->path, strerror(ENOENT));
	rc = check(counters);
	for (uint32_t t = 0; rc == 0 && counters->alive && t < CHI_COUNTERS_TABLES; t++)
		rc = settle_facts(counters, fd, t);
	for (uint32_t t = 0; rc == 0 && t < CHI_COUNTERS_TABLES; t++)
		rc = list_rows(counters, t);
	/* from here on nothing else is written to the bytes: what one table's texts lose, no other gets back */
	for (uint32_t t = 0; rc == 0 && t < CHI_COUNTERS_TABLES; t++)
		clean_rows(counters, t);
	if (rc == 0)
		rc = sum_methods(counters);
	if (rc == 0 && counters->n_rows[CHI_COUNTERS_RUNTIME] != 1)
		rc = chi_error_set(-EPROTO, "%s does not say whose it is", counters->path);
	return rc;
}

int chi_counters_read(const char *name, struct chi_counters **ret_counters)
{
	struct chi_counters *counters = calloc(1, sizeof(*counters));
	int fd = -1, rc;

	if (!counters)
		return chi_error_set(-ENOMEM, "no memory for counters");
	rc = find_file(name, counters->path);
	if (rc == 0)
		rc = open_file(counters->path, &fd, &counters->size_bytes);
	if (rc != 0)
		goto fail;
	rc = copy_file(counters, fd);
	close(fd);
	if (rc < 0)
		goto fail;
	*ret_counters = counters;
	return 0;

fail:
	chi_counters_free(counters);
	return rc;
}

void chi_counters_free(struct chi_counters *counters)
{
	if (!counters)
		return;
	for (uint32_t t = 0; t < CHI_COUNTERS_TABLES; t++)
		free(counters->rows[t]);
	free(counters->pool_sums);
	free(counters->bytes);
	free(counters);
}

/* ---- looking ---- */

bool chi_counters_alive(const struct chi_counters *counters)
{
	return counters->alive;
}

const char *chi_counters_path(const struct chi_counters *counters)
{
	return counters->path;
}

uint32_t chi_counters_rows(const struct chi_counters *counters, uint32_t table)
{
	return table < CHI_COUNTERS_TABLES ? counters->n_rows[table] : 0;
}

static const struct chi_counters_field *field_of(const struct chi_counters *counters, uint32_t table, uint32_t row,
						 uint32_t column)
{
	if (table >= CHI_COUNTERS_TABLES || row >= counters->n_rows[table] ||
	    column >= chi_counters_tables[table].n_columns)
		return NULL;
	return &chi_counters_tables[table].fields[column];
}

/* Of the row in use. */
static uint64_t counter_of(const struct chi_counters *counters, uint32_t table, uint32_t row, uint32_t offset,
			   enum chi_counter_kind kind)
{
	if (table == CHI_COUNTERS_POOLS)
		return word_at(sums_of(counters, row), offset);
	return sum_writers(counters, table, counters->rows[table][row], offset, kind);
}

/* What was read first may be the older: a difference is at least 0. */
static uint64_t value_of(const struct chi_counters *counters, uint32_t table, uint32_t row,
			 const struct chi_counters_field *field, enum chi_counter_kind kind)
{
	uint64_t value = counter_of(counters, table, row, field->offset, kind), less;

	if (field->source != CHI_FROM_DIFFERENCE)
		return value;
	less = counter_of(counters, table, row, field->minus, kind);
	return value > less ? value - less : 0;
}

uint64_t chi_counters_number(const struct chi_counters *counters, uint32_t table, uint32_t row, uint32_t column)
{
	const struct chi_counters_field *field = field_of(counters, table, row, column);
	enum chi_counter_kind kind;

	if (!field || chi_counters_tables[table].columns[column].kind == CHI_COUNTER_TEXT)
		return 0;
	kind = chi_counters_tables[table].columns[column].kind;
	if (field->source == CHI_FROM_FACTS)
		return word_at(facts_of(counters, table, counters->rows[table][row]), field->offset);
	return value_of(counters, table, row, field, kind);
}

const char *chi_counters_text(const struct chi_counters *counters, uint32_t table, uint32_t row, uint32_t column)
{
	const struct chi_counters_field *field = field_of(counters, table, row, column);

	if (!field || chi_counters_tables[table].columns[column].kind != CHI_COUNTER_TEXT)
		return "";
	return facts_of(counters, table, counters->rows[table][row]) + field->offset;
}
