/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counters_tables.c - the columns of each table, from the .def files
 */
#include <errno.h>
#include <string.h>

#include "task/counters_layout.h"

/* ---- what each column is called and tells ---- */

#define CHI_FACT(name, type, unit, text)		      { #name, unit, text, CHI_COUNTER_##type },
#define CHI_COUNTER(name, kind, unit, text)		      { #name, unit, text, CHI_COUNTER_##kind },
#define CHI_DIFFERENCE(name, minuend, subtrahend, unit, text) { #name, unit, text, CHI_COUNTER_LEVEL },

static const struct chi_counter_column runtime_columns[] = {
#include <chimaera/counters/runtime.def>
};
static const struct chi_counter_column worker_columns[] = {
#include <chimaera/counters/worker.def>
};
static const struct chi_counter_column method_columns[] = {
#include <chimaera/counters/method.def>
};
static const struct chi_counter_column client_columns[] = {
#include <chimaera/counters/client.def>
};
static const struct chi_counter_column lane_columns[] = {
#include <chimaera/counters/lane.def>
};
/* a pool's own facts, and the sums of its methods */
static const struct chi_counter_column pool_columns[] = {
#include <chimaera/counters/pool.def>
#undef CHI_FACT
#define CHI_FACT(name, type, unit, text)
#include <chimaera/counters/method.def>
};

#undef CHI_FACT
#undef CHI_COUNTER
#undef CHI_DIFFERENCE

/* ---- and where it lies ---- */

#define FACTS(name)    offsetof(struct TABLE_FACTS, name)
#define COUNTERS(name) offsetof(struct TABLE_COUNTERS, name)

#define CHI_FACT(name, type, unit, text)    { CHI_FROM_FACTS, FACTS(name), 0 },
#define CHI_COUNTER(name, kind, unit, text) { CHI_FROM_COUNTERS, COUNTERS(name), 0 },
#define CHI_DIFFERENCE(name, minuend, subtrahend, unit, text) \
	{ CHI_FROM_DIFFERENCE, COUNTERS(minuend), COUNTERS(subtrahend) },

#define TABLE_FACTS    chi_runtime_facts
#define TABLE_COUNTERS chi_runtime_counters
static const struct chi_counters_field runtime_fields[] = {
#include <chimaera/counters/runtime.def>
};
#undef TABLE_FACTS
#undef TABLE_COUNTERS
#define TABLE_FACTS    chi_worker_facts
#define TABLE_COUNTERS chi_worker_counters
static const struct chi_counters_field worker_fields[] = {
#include <chimaera/counters/worker.def>
};
#undef TABLE_FACTS
#undef TABLE_COUNTERS
#define TABLE_FACTS    chi_client_facts
#define TABLE_COUNTERS chi_client_counters
static const struct chi_counters_field client_fields[] = {
#include <chimaera/counters/client.def>
};
#undef TABLE_FACTS
#undef TABLE_COUNTERS
#define TABLE_FACTS    chi_lane_facts
#define TABLE_COUNTERS chi_lane_counters
static const struct chi_counters_field lane_fields[] = {
#include <chimaera/counters/lane.def>
};
#undef TABLE_FACTS
#undef TABLE_COUNTERS
#define TABLE_FACTS    chi_method_facts
#define TABLE_COUNTERS chi_method_counters
static const struct chi_counters_field method_fields[] = {
#include <chimaera/counters/method.def>
};
#undef TABLE_FACTS
#define TABLE_FACTS chi_pool_facts
static const struct chi_counters_field pool_fields[] = {
#include <chimaera/counters/pool.def>
#undef CHI_FACT
#define CHI_FACT(name, type, unit, text)
#include <chimaera/counters/method.def>
};

#define TABLE(name, facts_bytes, counters_bytes, rows_max, writers_max, columns, fields)                          \
	{                                                                                                         \
		name, facts_bytes, counters_bytes, rows_max, writers_max, sizeof(columns) / sizeof((columns)[0]), \
			columns, fields                                                                           \
	}

/* Those counted by name, one for the others, and even. */
#define ROWS(n) ((n) + 2)

const struct chi_counters_table_info chi_counters_tables[CHI_COUNTERS_TABLES] = {
	[CHI_COUNTERS_RUNTIME] = TABLE("runtime", sizeof(struct chi_runtime_facts), sizeof(struct chi_runtime_counters),
				       1, 1, runtime_columns, runtime_fields),
	[CHI_COUNTERS_WORKERS] = TABLE("workers", sizeof(struct chi_worker_facts), sizeof(struct chi_worker_counters),
				       CHI_WORKERS_MAX, 1, worker_columns, worker_fields),
	[CHI_COUNTERS_POOLS] = TABLE("pools", sizeof(struct chi_pool_facts), 0, ROWS(CHI_COUNTED_POOLS_MAX), 0,
				     pool_columns, pool_fields),
	[CHI_COUNTERS_METHODS] = TABLE("methods", sizeof(struct chi_method_facts), sizeof(struct chi_method_counters),
				       ROWS(CHI_COUNTED_METHODS_MAX), CHI_WORKERS_MAX, method_columns, method_fields),
	[CHI_COUNTERS_CLIENTS] = TABLE("clients", sizeof(struct chi_client_facts), sizeof(struct chi_client_counters),
				       ROWS(CHI_COUNTED_CLIENTS_MAX), CHI_WORKERS_MAX, client_columns, client_fields),
	[CHI_COUNTERS_LANES] = TABLE("lanes", sizeof(struct chi_lane_facts), sizeof(struct chi_lane_counters),
				     CHI_COUNTED_LANES_MAX + CHI_WORKERS_MAX, 1, lane_columns, lane_fields),
};

/* FNV-1a */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size_bytes)
{
	for (size_t i = 0; i < size_bytes; i++)
		hash = (hash ^ ((const unsigned char *)bytes)[i]) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t chi_counters_hash(void)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (uint32_t t = 0; t < CHI_COUNTERS_TABLES; t++) {
		const struct chi_counters_table_info *table = &chi_counters_tables[t];

		hash = hash_bytes(hash, &table->facts_bytes, sizeof(table->facts_bytes));
		hash = hash_bytes(hash, &table->counters_bytes, sizeof(table->counters_bytes));
		for (uint32_t i = 0; i < table->n_columns; i++) {
			const char *name = table->columns[i].name;

			hash = hash_bytes(hash, name, strlen(name) + 1);
			hash = hash_bytes(hash, &table->fields[i], sizeof(table->fields[i]));
		}
	}
	return hash;
}

const char *chi_counters_table_name(uint32_t table)
{
	return table < CHI_COUNTERS_TABLES ? chi_counters_tables[table].name : NULL;
}

uint32_t chi_counters_columns(uint32_t table, const struct chi_counter_column **ret_columns)
{
	if (table >= CHI_COUNTERS_TABLES)
		return 0;
	*ret_columns = chi_counters_tables[table].columns;
	return chi_counters_tables[table].n_columns;
}

int chi_counters_column(uint32_t table, const char *name)
{
	const struct chi_counter_column *columns = NULL;
	uint32_t n = chi_counters_columns(table, &columns);

	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(columns[i].name, name) == 0)
			return (int)i;
	}
	return -ENOENT;
}
