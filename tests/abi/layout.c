/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * abi/layout.c - sizes and offsets of what two binaries agree on, compared with layout.txt
 *
 * usage: abi_layout FILE compares, abi_layout prints (to make a new layout.txt: and then CHI_LAYOUT_VERSION or
 * CHI_ABI_VERSION has to change too, once a release has gone out). The same table holds on every machine.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chimaera/chimaera.h>
#include <chimaera/counters.h>
#include <chimaera/module.h>
#include <chimaera/runtime.h>
#include <hshm/mpsc_queue.h>
#include <hshm/multi_mpsc_queue.h>

#include "task/counters_layout.h"
#include "task/handshake.h"
#include "task/segment_layout.h"

#define STRUCT(type)	   fprintf(out, "%-44s %5zu\n", #type, sizeof(struct type))
#define FIELD(type, field) fprintf(out, "  %-42s %5zu\n", "." #field, offsetof(struct type, field))
#define NUMBER(expr)	   fprintf(out, "%-44s %5llu\n", #expr, (unsigned long long)(expr))

/* bytes that client and runtime both map */
static void print_shared_memory(FILE *out)
{
	NUMBER(CHI_LAYOUT_VERSION);
	STRUCT(hipc_ptr);
	STRUCT(chi_domain_query);
	FIELD(chi_domain_query, kind);
	FIELD(chi_domain_query, value);
	STRUCT(chi_task_id);
	FIELD(chi_task_id, root);
	FIELD(chi_task_id, number);
	STRUCT(chi_buffer);
	FIELD(chi_buffer, ptr);
	FIELD(chi_buffer, size_bytes);
	FIELD(chi_buffer, flags);
	STRUCT(chi_task);
	FIELD(chi_task, version);
	FIELD(chi_task, flags);
	FIELD(chi_task, size_bytes);
	FIELD(chi_task, pool_id);
	FIELD(chi_task, method_id);
	FIELD(chi_task, query);
	FIELD(chi_task, period_ns);
	FIELD(chi_task, id);
	FIELD(chi_task, completion);
	FIELD(chi_task, result);
	FIELD(chi_task, cancel);
	FIELD(chi_task, deadline_us);
	FIELD(chi_task, notice);
	FIELD(chi_task, submitter);
	FIELD(chi_task, sleeper);
	FIELD(chi_task, order);
	STRUCT(chi_main_header);
	FIELD(chi_main_header, magic);
	FIELD(chi_main_header, layout_version);
	FIELD(chi_main_header, n_workers);
	FIELD(chi_main_header, generation);
	FIELD(chi_main_header, pid);
	FIELD(chi_main_header, n_armed);
	FIELD(chi_main_header, started_ns);
	FIELD(chi_main_header, size_bytes);
	STRUCT(chi_client_header);
	FIELD(chi_client_header, magic);
	FIELD(chi_client_header, layout_version);
	FIELD(chi_client_header, client_id);
	FIELD(chi_client_header, generation);
	FIELD(chi_client_header, size_bytes);
	FIELD(chi_client_header, n_lanes);
	FIELD(chi_client_header, lane_depth);
	STRUCT(chi_client_events);
	FIELD(chi_client_events, ended);
	FIELD(chi_client_events, armed);
	NUMBER(CHI_CLIENT_EVENTS_OFFSET);
	STRUCT(chi_lane_header);
	FIELD(chi_lane_header, activation);
	FIELD(chi_lane_header, pool_id);
	FIELD(chi_lane_header, container_id);
	FIELD(chi_lane_header, queue_id);
	FIELD(chi_lane_header, priority);
	FIELD(chi_lane_header, lane_id);
	FIELD(chi_lane_header, n_taken);
	STRUCT(chi_worker_counters);
	STRUCT(chi_counters_header);
	FIELD(chi_counters_header, magic);
	FIELD(chi_counters_header, layout_version);
	FIELD(chi_counters_header, header_bytes);
	FIELD(chi_counters_header, size_bytes);
	FIELD(chi_counters_header, columns_hash);
	FIELD(chi_counters_header, places);
	STRUCT(chi_counters_place);
	FIELD(chi_counters_place, facts_offset);
	FIELD(chi_counters_place, counters_offset);
	FIELD(chi_counters_place, n_rows);
	FIELD(chi_counters_place, n_writers);
	STRUCT(chi_runtime_facts);
	STRUCT(chi_runtime_counters);
	STRUCT(chi_worker_facts);
	STRUCT(chi_pool_facts);
	STRUCT(chi_method_facts);
	STRUCT(chi_method_counters);
	STRUCT(chi_client_facts);
	STRUCT(chi_client_counters);
	STRUCT(chi_lane_facts);
	STRUCT(chi_lane_counters);
	NUMBER(CHI_COUNTERS_WORKERS_OFFSET);
	NUMBER(chi_main_armed_offset(3));
	NUMBER(chi_client_park_offset(3));
	NUMBER(chi_client_queue_offset(16));
	NUMBER(chi_client_heap_offset(16, 1024));
	NUMBER(hipc_mpsc_queue_bytes(1024, 32));
	NUMBER(hipc_multi_mpsc_queue_bytes(16, 2, 1024, 32));
}

static void print_socket(FILE *out)
{
	STRUCT(chi_hello);
	FIELD(chi_hello, type);
	FIELD(chi_hello, magic);
	FIELD(chi_hello, layout_version);
	FIELD(chi_hello, abi_version);
	STRUCT(chi_welcome);
	FIELD(chi_welcome, generation);
	FIELD(chi_welcome, main_bytes);
	FIELD(chi_welcome, client_bytes);
	FIELD(chi_welcome, main_segment_id);
	FIELD(chi_welcome, client_segment_id);
	FIELD(chi_welcome, client_id);
	FIELD(chi_welcome, runtime_pid);
	FIELD(chi_welcome, n_lanes);
	FIELD(chi_welcome, lane_depth);
	FIELD(chi_welcome, n_workers);
	FIELD(chi_welcome, spin_us);
	FIELD(chi_welcome, abi_version);
	STRUCT(chi_lane_open);
	FIELD(chi_lane_open, serial);
	FIELD(chi_lane_open, lane);
	FIELD(chi_lane_open, prio);
	STRUCT(chi_lane_opened);
	FIELD(chi_lane_opened, serial);
	FIELD(chi_lane_opened, armed_index);
	STRUCT(chi_events_open);
	FIELD(chi_events_open, serial);
	STRUCT(chi_events_opened);
	FIELD(chi_events_opened, serial);
	STRUCT(chi_refusal);
	FIELD(chi_refusal, serial);
	FIELD(chi_refusal, error);
	FIELD(chi_refusal, text);
}

/* between a program or module and the library it meets at run time */
static void print_library(FILE *out)
{
	NUMBER(CHI_ABI_VERSION);
	STRUCT(chi_method);
	FIELD(chi_method, name);
	FIELD(chi_method, id);
	FIELD(chi_method, task_size);
	FIELD(chi_method, run);
	FIELD(chi_method, estimate_ns);
	FIELD(chi_method, buffers_offset);
	FIELD(chi_method, n_buffers);
	FIELD(chi_method, out_offset);
	FIELD(chi_method, out_size);
	FIELD(chi_method, fold);
	STRUCT(chi_module);
	FIELD(chi_module, size);
	FIELD(chi_module, method_stride);
	FIELD(chi_module, name);
	FIELD(chi_module, version);
	FIELD(chi_module, n_methods);
	FIELD(chi_module, interface_hash);
	FIELD(chi_module, methods);
	FIELD(chi_module, create);
	FIELD(chi_module, destroy);
	FIELD(chi_module, monitor);
	FIELD(chi_module, run);
	STRUCT(chi_monitor);
	FIELD(chi_monitor, task);
	FIELD(chi_monitor, queue_id);
	FIELD(chi_monitor, lane_id);
	FIELD(chi_monitor, query);
	FIELD(chi_monitor, estimate_ns);
	STRUCT(chi_client_opts);
	FIELD(chi_client_opts, size);
	FIELD(chi_client_opts, wait_policy);
	FIELD(chi_client_opts, name);
	FIELD(chi_client_opts, connect_timeout_ns);
	STRUCT(chi_runtime_opts);
	FIELD(chi_runtime_opts, size);
	FIELD(chi_runtime_opts, listen);
	FIELD(chi_runtime_opts, config_file);
	FIELD(chi_runtime_opts, config_text);
	FIELD(chi_runtime_opts, name);
}

static int compare(const char *file, const char *have)
{
	char want[256];
	FILE *in = fopen(file, "re");
	int line = 0;
	int n_differ = 0;

	if (!in) {
		perror(file);
		return 1;
	}
	while (fgets(want, sizeof(want), in)) {
		size_t length = strlen(want);

		line++;
		if (strncmp(have, want, length) != 0) {
			fprintf(stderr, "%s:%d: was %snow %.*s\n", file, line, want, (int)strcspn(have, "\n"), have);
			n_differ++;
		}
		have += strcspn(have, "\n");
		have += *have == '\n';
	}
	if (*have) {
		fprintf(stderr, "%s: more than it says: %s", file, have);
		n_differ++;
	}
	fclose(in);
	printf("%d lines, %d differ\n", line, n_differ);
	return line == 0 || n_differ > 0;
}

int main(int argc, char **argv)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int rc = 0;

	if (!out)
		return 1;
	print_shared_memory(out);
	print_socket(out);
	print_library(out);
	fclose(out);
	if (argc > 1)
		rc = compare(argv[1], text);
	else
		fputs(text, stdout);
	free(text);
	return rc;
}
