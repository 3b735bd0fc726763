/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table.c - what the demonstration found, for people and for programs
 */
#include <stdio.h>

#include "archive.h"

const char *bytes_text(uint64_t bytes)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
	static char texts[8][24];
	static unsigned int turn;
	char *text = texts[turn++ % 8];
	double value = (double)bytes;
	unsigned int unit = 0;

	while (value >= 999.5 && unit < 4) {
		value /= 1000;
		unit++;
	}
	snprintf(text, sizeof(texts[0]), unit && value < 99.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return text;
}

static const char *time_text(uint64_t ns)
{
	static char texts[4][24];
	static unsigned int turn;
	char *text = texts[turn++ % 4];

	if (ns < 1000000)
		snprintf(text, sizeof(texts[0]), "%.0f us", (double)ns / 1e3);
	else
		snprintf(text, sizeof(texts[0]), "%.1f ms", (double)ns / 1e6);
	return text;
}

static uint64_t percentile(const uint64_t *sorted, uint64_t n, unsigned int percent)
{
	return n ? sorted[(n - 1) * percent / 100] : 0;
}

static double seconds(uint64_t begin_ns, uint64_t end_ns)
{
	return end_ns > begin_ns ? (double)(end_ns - begin_ns) / 1e9 : 1e-9;
}

static double mb_per_s(uint64_t bytes, uint64_t begin_ns, uint64_t end_ns)
{
	return (double)bytes / 1e6 / seconds(begin_ns, end_ns);
}

static double ratio(const struct tally *tally)
{
	return tally->stored_bytes ? (double)tally->in_bytes / (double)tally->stored_bytes : 1;
}

static void workers(const struct report *report)
{
	printf("\n  %-6s %10s %10s %10s %10s %10s %8s %8s\n", "worker", "tasks", "in place", "waits", "by heap",
	       "by post", "sleeps", "busy");
	for (uint32_t i = 0; i < report->info.n_workers; i++) {
		const struct chi_worker_counters *counters = &report->info.workers[i];

		printf("  %-6u %10llu %10llu %10llu %10llu %10llu %8llu %6.2f s\n", i,
		       (unsigned long long)counters->tasks.v, (unsigned long long)counters->tasks_in_place.v,
		       (unsigned long long)counters->waits.v, (unsigned long long)counters->resumes_heap.v,
		       (unsigned long long)counters->resumes_posted.v, (unsigned long long)counters->sleeps.v,
		       (double)counters->busy_ns.v / 1e9);
	}
}

void report_table(const struct report *report)
{
	const struct tally *total = &report->total;

	printf("  %-12s %llu, %zu of them compressed already; the largest %s\n", "files",
	       (unsigned long long)total->n_put, report->n_packed, bytes_text(report->largest_bytes));
	printf("  %-12s %s in, %s stored, ratio %.2f; %llu chunks, %llu of them kept as they are\n", "bytes",
	       bytes_text(total->in_bytes), bytes_text(total->stored_bytes), ratio(total),
	       (unsigned long long)total->n_chunks, (unsigned long long)total->n_chunks_raw);
	printf("  %-12s %llu run, %llu blocked waits, by %u client%s\n", "tasks", (unsigned long long)report->n_tasks,
	       (unsigned long long)report->n_waits, report->n_clients, report->n_clients == 1 ? "" : "s");
	printf("  %-12s %u of %u hold files\n", "containers", report->n_containers_used, report->n_containers);
	printf("  %-12s %8.1f MB/s   p50 %s, p99 %s\n", "put",
	       mb_per_s(total->in_bytes, total->put_begin_ns, total->put_end_ns),
	       time_text(percentile(total->put_ns, total->n_put, 50)),
	       time_text(percentile(total->put_ns, total->n_put, 99)));
	printf("  %-12s %8.1f MB/s   p50 %s, p99 %s\n", "get, compare",
	       mb_per_s(total->out_bytes, total->get_begin_ns, total->get_end_ns),
	       time_text(percentile(total->get_ns, total->n_got, 50)),
	       time_text(percentile(total->get_ns, total->n_got, 99)));
	workers(report);
}

void report_json(const struct report *report, bool ok)
{
	const struct tally *total = &report->total;

	printf("{\"ok\": %s, \"daemon\": %s, \"clients\": %u, \"files\": %llu, \"packed_files\": %zu, "
	       "\"largest_bytes\": %llu, \"in_bytes\": %llu, \"stored_bytes\": %llu, \"ratio\": %.3f, "
	       "\"chunks\": %llu, \"chunks_raw\": %llu, \"changed\": %llu, \"failed\": %llu, \"tasks\": %llu, "
	       "\"waits\": %llu, \"containers\": %u, \"containers_used\": %u, \"workers_used\": %llu, "
	       "\"put_mb_per_s\": %.1f, \"put_p50_ns\": %llu, \"put_p99_ns\": %llu, \"get_mb_per_s\": %.1f, "
	       "\"get_p50_ns\": %llu, \"get_p99_ns\": %llu, \"workers\": [",
	       ok ? "true" : "false", report->daemon ? "true" : "false", report->n_clients,
	       (unsigned long long)total->n_put, report->n_packed, (unsigned long long)report->largest_bytes,
	       (unsigned long long)total->in_bytes, (unsigned long long)total->stored_bytes, ratio(total),
	       (unsigned long long)total->n_chunks, (unsigned long long)total->n_chunks_raw,
	       (unsigned long long)total->n_changed, (unsigned long long)total->n_failed,
	       (unsigned long long)report->n_tasks, (unsigned long long)report->n_waits, report->n_containers,
	       report->n_containers_used, (unsigned long long)report->n_workers_used,
	       mb_per_s(total->in_bytes, total->put_begin_ns, total->put_end_ns),
	       (unsigned long long)percentile(total->put_ns, total->n_put, 50),
	       (unsigned long long)percentile(total->put_ns, total->n_put, 99),
	       mb_per_s(total->out_bytes, total->get_begin_ns, total->get_end_ns),
	       (unsigned long long)percentile(total->get_ns, total->n_got, 50),
	       (unsigned long long)percentile(total->get_ns, total->n_got, 99));
	for (uint32_t i = 0; i < report->info.n_workers; i++) {
		const struct chi_worker_counters *counters = &report->info.workers[i];
		const char *separator = "{";

#define CHI_FACT(name, type, unit, text)
#define CHI_COUNTER(name, kind, unit, text)                                               \
	printf("%s\"" #name "\": %llu", separator, (unsigned long long)counters->name.v); \
	separator = ", ";
#include <chimaera/counters/worker.def>
#undef CHI_FACT
#undef CHI_COUNTER
		printf(i + 1 < report->info.n_workers ? "}, " : "}");
	}
	printf("]}\n");
}
