/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * status_tables.h - what `chimaera status` shows to people
 */
#ifndef TOOLS_STATUS_TABLES_H
#define TOOLS_STATUS_TABLES_H

#include <stdint.h>

#include <chimaera/counters.h>

/* A cell by the name of its column; 0 or "" when there is none. */
uint64_t cell_number(const struct chi_counters *counters, uint32_t table, uint32_t row, const char *column);
const char *cell_text(const struct chi_counters *counters, uint32_t table, uint32_t row, const char *column);

/* How the runtime is: "running", "stopping", "stopped by a signal", "stopped by a debugger", "ended". */
const char *state_of(const struct chi_counters *counters);
/* As its counters say: its process, or 0, when it does not live or nothing is known. @ret_state: state_of(); "gone":
 * there is no file; "unknown". */
uint64_t living_pid(const char *name, const char **ret_state);
double uptime_s(const struct chi_counters *counters);

/* The first screen: who runs, workers, pools, clients, the methods that took most time. @before: NULL, or figures of
 * @seconds ago, for the tasks a second. */
void print_overview(const struct chi_counters *counters, const struct chi_counters *before, double seconds);
/* A table with all its columns. */
void print_table(const struct chi_counters *counters, uint32_t table);

#endif
