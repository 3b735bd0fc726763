/* SPDX-License-Identifier: BSD-3-Clause */
#include "runtime/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <hshm/clock.h>

#define LINE_MAX_BYTES 1024

static hshm_au32 log_level = { CHI_LOG_INFO };

static const char *const level_names[] = { "?", "error", "warning", "info", "debug" };

void chi_log_set_level(enum chi_log_level level)
{
	/* relaxed: a lone setting; nothing else is read by it */
	hshm_store_relaxed(&log_level, (uint32_t)level);
}

static void log_line(enum chi_log_level level, const char *format, va_list args)
{
	char line[LINE_MAX_BYTES];
	int head = snprintf(line, sizeof(line), "chimaera: %s: ", level_names[level]);
	int body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args);
	size_t size;

	if (body < 0)
		return;
	size = strlen(line);
	/* names and texts may come from a client: no line breaks, no terminal escapes */
	for (size_t i = (size_t)head; i < size; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[size++] = '\n';

	/* one write, so that lines of several threads stay whole; when stderr is gone there is nobody to tell */
	if (write(STDERR_FILENO, line, size) < 0)
		return;
}

void chi_log(enum chi_log_level level, const char *format, ...)
{
	va_list args;

	if (level < CHI_LOG_ERROR || level > CHI_LOG_DEBUG || (uint32_t)level > hshm_load_relaxed(&log_level))
		return;
	va_start(args, format);
	log_line(level, format, args);
	va_end(args);
}

bool chi_log_allowed(struct chi_log_limit *limit, uint32_t burst)
{
	uint64_t now = hshm_clock_ns();
	uint64_t window = hshm_load_relaxed(&limit->window_ns);

	/* relaxed throughout: these numbers only thin out text, nothing is published by them */
	if (now - window >= HSHM_NSEC_PER_SEC && hshm_cas_relaxed(&limit->window_ns, &window, now)) {
		uint32_t held_back = hshm_load_relaxed(&limit->n_held_back);

		hshm_store_relaxed(&limit->n, 0);
		if (held_back) {
			hshm_fetch_sub_relaxed(&limit->n_held_back, held_back);
			chi_log_warn("%u lines like the next were held back", held_back);
		}
	}
	if (hshm_fetch_add_relaxed(&limit->n, 1) < burst)
		return true;
	hshm_fetch_add_relaxed(&limit->n_held_back, 1);
	return false;
}
