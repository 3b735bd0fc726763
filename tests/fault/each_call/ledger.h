/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ledger.h - what the process holds: blocks of memory, mappings, modules, descriptors, threads
 *
 * Not in it: what the loader takes for itself (threads' tables, link maps). Modules are counted by dlopen() and dlclose().
 */
#ifndef TESTS_FAULT_LEDGER_H
#define TESTS_FAULT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_FDS 256

struct ledger {
	uint64_t now; /* blocks and mappings made later than this are new */
	uint32_t n_modules;
	uint32_t n_threads;
	bool fds[LEDGER_FDS];
};

/* From here on blocks and mappings are noted. @traces: with who made them, which is slow. */
void ledger_begin(bool traces);
void ledger_look(struct ledger *ret_ledger);
/* What is there that was not there before, as text; "" = nothing. Waits a little for threads that are just ending. */
void ledger_compare(const struct ledger *before, char *text, size_t size);

/* Modules that are loaded. */
uint32_t ledger_n_modules(void);

/* by calls.c */
void ledger_block(void *block, size_t size, const void *caller);
void ledger_no_block(void *block);
void ledger_mapping(void *base, size_t size);
void ledger_no_mapping(void *base, size_t size);
void ledger_module(int n);

/* "libx.so+0x12ab in f, file.c:12" of one address, with addr2line; not to be used while calls are armed */
void ledger_name(const void *address, char *text, size_t size);

#endif
