/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counter_page.h - the bytes in which a runtime counts: the counters file, and who has which row of it
 *
 * A runtime that listens keeps them in NAME.counters beside its socket, so that tools can read them when it hangs or
 * has been killed; else they are in memory without a name. Rows are taken and given back under a lock, by whoever makes
 * or ends the thing; what is counted on the path of a task goes through the pointers in struct chi_worker, without any.
 *
 * Row 0 stands for all that found no row (in the table of lanes: row w, for those of worker w). Nobody asks for a row
 * on the path of a task, and nobody is refused for want of one.
 */
#ifndef RUNTIME_COUNTER_PAGE_H
#define RUNTIME_COUNTER_PAGE_H

#include <stdint.h>
#include <sys/types.h>

#include <hshm/heap.h>

#include "task/counters_layout.h"

struct chi_counter_page; /* opaque */
struct chi_ipc_socket;
struct chi_lane;
struct chi_method;
struct chi_pool;
struct chi_runtime;
struct chi_session;

/**
 * chi_counter_page_create - make the bytes, with the runtime's own row and rows for its workers
 * @runtime:  its configuration and generation
 * @beside:   the runtime's socket, which it holds: the file gets its folder, name and group; NULL: no file
 * @ret_page: out
 *
 * A file is made under another name, complete and with its pages reserved, then renamed. What a dead runtime of that
 * name left is replaced. Returns: 0, -ENOSPC, -EACCES, -ENOMEM, -EMFILE, or what else the file system says; the text
 * says what.
 */
int chi_counter_page_create(struct chi_runtime *runtime, uint32_t n_workers, const struct chi_ipc_socket *beside,
			    struct chi_counter_page **ret_page);
/* All threads that count have ended. The file goes, if it is still ours. Accepts NULL. */
void chi_counter_page_destroy(struct chi_counter_page *page);
/* Take its file's name away; what has it open or mapped keeps it. For a runtime that is left behind. */
void chi_counter_page_remove_file(struct chi_counter_page *page);

/* For clients (chi_client_runtime_info()): the file, open for reading only. Lent until the page goes. */
int chi_counter_page_reader_fd(const struct chi_counter_page *page);

/* The worker runs, on the calling thread. */
void chi_counter_page_worker_runs(struct chi_counter_page *page, uint32_t worker);
/* The workers' own pointers. */
struct chi_worker_counters *chi_counter_page_worker(const struct chi_counter_page *page, uint32_t worker);
struct chi_method_counters *chi_counter_page_methods(const struct chi_counter_page *page, uint32_t worker);
struct chi_client_counters *chi_counter_page_clients(const struct chi_counter_page *page, uint32_t worker);
struct chi_lane_counters *chi_counter_page_lanes(const struct chi_counter_page *page);

/* A row for each, its counters 0. Returns its number. Threads: any; each takes the lock for a moment. */
uint32_t chi_counter_page_add_pool(struct chi_counter_page *page, const struct chi_pool *pool);
uint32_t chi_counter_page_add_method(struct chi_counter_page *page, const struct chi_pool *pool,
				     const struct chi_method *method);
uint32_t chi_counter_page_add_client(struct chi_counter_page *page, const struct chi_session *session, uid_t uid);
/* The lane's worker is set already. */
uint32_t chi_counter_page_add_lane(struct chi_counter_page *page, const struct chi_lane *lane);
/* Nobody counts in it any more. */
void chi_counter_page_remove(struct chi_counter_page *page, enum chi_counters_table table, uint32_t row);

/* What of the private memory is in use now. Threads: ipc, when a client has come or gone; it takes each heap's lock. */
void chi_counter_page_note_memory(struct chi_counter_page *page, struct hshm_heap *own, struct hshm_heap *modules);

/* From here on it takes no new tasks. */
void chi_counter_page_stopping(struct chi_counter_page *page);

#endif
