/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/counters.h - what a runtime counts, and how to read it, also when it hangs or has died
 *
 * One table for each of what is counted: counters/NAME.def. From it come the bytes in the counters file, the columns
 * below, `chimaera status` with its JSON, and docs/counters.md.
 */
#ifndef CHIMAERA_COUNTERS_H
#define CHIMAERA_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include <chimaera/cdefs.h>
#include <hshm/atomic.h>

CHI_BEGIN_DECLS

#define CHI_WORKERS_MAX	      64u
#define CHI_COUNTERS_TEXT_MAX 64u /* bytes of a text, with the NUL */

/* A worker's own: also part of struct chi_runtime_info. */
struct chi_worker_counters {
#define CHI_FACT(name, type, unit, text)
#define CHI_COUNTER(name, kind, unit, text) hshm_au64 name;
#include <chimaera/counters/worker.def>
#undef CHI_FACT
#undef CHI_COUNTER
} HSHM_ALIGNED(128);

/* ---- tables and their columns ---- */

enum chi_counters_table {
	CHI_COUNTERS_RUNTIME = 0, /* one row */
	CHI_COUNTERS_WORKERS,	  /* row i is worker i */
	CHI_COUNTERS_POOLS,
	CHI_COUNTERS_METHODS,
	CHI_COUNTERS_CLIENTS,
	CHI_COUNTERS_LANES,
	CHI_COUNTERS_TABLES,
};

enum chi_counter_kind {
	CHI_COUNTER_TEXT = 1, /* says what the row is */
	CHI_COUNTER_NUMBER,   /* likewise */
	CHI_COUNTER_COUNT,    /* only grows */
	CHI_COUNTER_LEVEL,    /* as it is now */
	CHI_COUNTER_MAX,      /* the highest so far */
};

struct chi_counter_column {
	const char *name;
	const char *unit; /* "": none; "hex": a number that is shown so */
	const char *text; /* what it tells */
	enum chi_counter_kind kind;
};

/** chi_counters_table_name - the name of a table: "workers" and so on; NULL: no such table. Static. Threads: any. */
CHI_API const char *chi_counters_table_name(uint32_t table);

/** chi_counters_columns - the columns of a table; @ret_columns: out, static. Returns how many; 0: no such table. */
CHI_API uint32_t chi_counters_columns(uint32_t table, const struct chi_counter_column **ret_columns);

/** chi_counters_column - the index of a column by its name, or -ENOENT. Threads: any. */
CHI_API int chi_counters_column(uint32_t table, const char *name);

/* ---- a copy of all that a runtime has counted ---- */

struct chi_counters; /* opaque */

/**
 * chi_counters_read - copy a runtime's counters out of its counters file, without asking the runtime
 * @name:         borrowed; as in struct chi_client_opts
 * @ret_counters: out; release with chi_counters_free()
 *
 * Works for a runtime that runs, hangs, is stopped by a signal, or was killed; one that ended in order has no file
 * left. Each number is right, their sum may be torn: they move while they are copied. Sizes in the file are checked,
 * texts are printable.
 * Threads: any. Reads a file, never waits for the runtime. May switch the fiber: no.
 * Returns: 0, -ENOENT (no such runtime), -EACCES, -EPROTO (not a counters file, cut off, or of another release),
 *          -EINVAL (the name), -EMFILE, -ENOMEM. chi_error_text() says more.
 */
CHI_API CHI_NODISCARD int chi_counters_read(const char *name, struct chi_counters **ret_counters);
/** chi_counters_free - free what was read. @counters: given; NULL is accepted */
CHI_API void chi_counters_free(struct chi_counters *counters);

/** chi_counters_alive - whether the runtime that writes the file lives, as far as the system knows. A stopped one
 * does. */
CHI_API bool chi_counters_alive(const struct chi_counters *counters);

/** chi_counters_path - the file that was read. Borrowed until chi_counters_free(). */
CHI_API const char *chi_counters_path(const struct chi_counters *counters);

/** chi_counters_rows - how many rows of the table are in use; 0: none, or no such table */
CHI_API uint32_t chi_counters_rows(const struct chi_counters *counters, uint32_t table);

/** chi_counters_number - a cell that is no text; 0 when there is no such row or column */
CHI_API uint64_t chi_counters_number(const struct chi_counters *counters, uint32_t table, uint32_t row,
				     uint32_t column);

/** chi_counters_text - a cell of kind CHI_COUNTER_TEXT, "" when there is none. Borrowed until chi_counters_free(). */
CHI_API const char *chi_counters_text(const struct chi_counters *counters, uint32_t table, uint32_t row,
				      uint32_t column);

CHI_END_DECLS
#endif
