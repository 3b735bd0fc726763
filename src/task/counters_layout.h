/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counters_layout.h - the bytes of the counters file (drawn in docs/shm-layout.md)
 *
 *      0   struct chi_counters_header
 *   4096   struct chi_worker_counters [CHI_WORKERS_MAX]: at a fixed place, for chi_client_runtime_info()
 *   ...    for each table its facts and its counters, where the header says
 *
 * Facts say what a row is: they are written when the row is made, `used` last. Counters are words with one writer: a
 * row's own (a worker's, a lane's), or, where many workers count the same thing, each worker has a set of rows of its
 * own and the reader adds them up. So nothing is shared on the path of a task, and no two workers write the same line.
 *
 * Whoever has the rights can write or cut the file. So the runtime reads nothing back but to add to it, and a reader
 * checks every number.
 */
#ifndef TASK_COUNTERS_LAYOUT_H
#define TASK_COUNTERS_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include <chimaera/counters.h>
#include <hshm/atomic.h>

#define CHI_COUNTERS_MAGIC	    UINT64_C(0x544e554f434d4843) /* "CHMCOUNT" */
#define CHI_COUNTERS_WORKERS_OFFSET 4096u
#define CHI_COUNTERS_SUFFIX	    ".counters" /* NAME.counters, beside NAME.sock */

/* How many a runtime can be told to count one by one (counters.* of its configuration). */
#define CHI_COUNTED_POOLS_MAX	4096u
#define CHI_COUNTED_METHODS_MAX 16384u
#define CHI_COUNTED_CLIENTS_MAX 16384u
#define CHI_COUNTED_LANES_MAX	65536u

/* ---- facts ---- */

#define CHI_FACT_NUMBER(name)		       hshm_au64 name;
#define CHI_FACT_TEXT(name)		       char name[CHI_COUNTERS_TEXT_MAX];
#define CHI_FACT(name, type, unit, text)       CHI_FACT_##type(name)
#define CHI_COUNTER(name, kind, unit, text)    /* below */
#define CHI_DIFFERENCE(name, a, b, unit, text) /* the reader's */

struct chi_runtime_facts {
	hshm_au64 used; /* 0: free. Cleared first, stored last with release, by whoever makes the row. */
#include <chimaera/counters/runtime.def>
} HSHM_ALIGNED(64);

struct chi_worker_facts {
	hshm_au64 used;
#include <chimaera/counters/worker.def>
} HSHM_ALIGNED(64);

struct chi_pool_facts {
	hshm_au64 used;
#include <chimaera/counters/pool.def>
} HSHM_ALIGNED(64);

struct chi_method_facts {
	hshm_au64 used;
#include <chimaera/counters/method.def>
} HSHM_ALIGNED(64);

struct chi_client_facts {
	hshm_au64 used;
#include <chimaera/counters/client.def>
} HSHM_ALIGNED(64);

struct chi_lane_facts {
	hshm_au64 used;
#include <chimaera/counters/lane.def>
} HSHM_ALIGNED(64);

#undef CHI_FACT
#undef CHI_COUNTER

/* ---- counters; struct chi_worker_counters is public ---- */

#define CHI_FACT(name, type, unit, text)    /* above */
#define CHI_COUNTER(name, kind, unit, text) hshm_au64 name;

struct chi_runtime_counters {
#include <chimaera/counters/runtime.def>
} HSHM_ALIGNED(128);

/* each worker has a set of its own */
struct chi_method_counters {
#include <chimaera/counters/method.def>
} HSHM_ALIGNED(64);

/* each worker has a set of its own */
struct chi_client_counters {
#include <chimaera/counters/client.def>
} HSHM_ALIGNED(64);

struct chi_lane_counters {
#include <chimaera/counters/lane.def>
} HSHM_ALIGNED(128);

#undef CHI_FACT
#undef CHI_COUNTER
#undef CHI_DIFFERENCE

/* ---- the header ---- */

struct chi_counters_place {
	uint64_t facts_offset;
	uint64_t counters_offset; /* writer w has its rows at counters_offset + w * n_rows * bytes of a row */
	uint32_t n_rows;
	uint32_t n_writers; /* 0: the table has no counters of its own */
};

struct chi_counters_header {
	uint64_t magic;
	hshm_au32 layout_version; /* stored last, with release */
	uint32_t header_bytes;
	uint64_t size_bytes;
	uint64_t columns_hash; /* chi_counters_hash() of the writer */
	struct chi_counters_place places[CHI_COUNTERS_TABLES];
};

CHI_STATIC_ASSERT(sizeof(struct chi_counters_header) == 176, "fixed layout");
CHI_STATIC_ASSERT(sizeof(struct chi_method_counters) == 64, "what the path of a task writes is one line");
CHI_STATIC_ASSERT(sizeof(struct chi_client_counters) == 64, "likewise");

/* ---- the tables, from the .def files (counters_tables.c) ---- */

/* How a column's value comes about. */
enum chi_counters_source { CHI_FROM_FACTS = 1, CHI_FROM_COUNTERS, CHI_FROM_DIFFERENCE };

struct chi_counters_field {
	enum chi_counters_source source;
	uint32_t offset; /* in the facts, or in the counters */
	uint32_t minus;	 /* CHI_FROM_DIFFERENCE: the counter at `offset` less the one here */
};

struct chi_counters_table_info {
	const char *name;
	uint32_t facts_bytes, counters_bytes; /* of a row */
	uint32_t rows_max, writers_max;
	uint32_t n_columns;
	const struct chi_counter_column *columns;
	const struct chi_counters_field *fields; /* of the same indices */
};

extern const struct chi_counters_table_info chi_counters_tables[CHI_COUNTERS_TABLES];

/* Of all names, kinds and sizes: who writes the file and who reads it mean the same when it is equal. */
uint64_t chi_counters_hash(void);

#endif
