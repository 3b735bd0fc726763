/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * progress.c - a bar on standard error, when that is a terminal
 */
#include <stdio.h>
#include <unistd.h>

#include "archive.h"

#define BAR_WIDTH   40u
#define INTERVAL_NS (50 * HSHM_NSEC_PER_MSEC)

static bool shown;

void progress_show(const char *text, uint64_t done, uint64_t total)
{
	static const char full[] = "########################################";
	static uint64_t last_ns;
	static int terminal = -1;
	uint64_t now_ns = hshm_clock_ns();
	int width;

	if (terminal < 0)
		terminal = isatty(STDERR_FILENO);
	if (!terminal || !total || now_ns - last_ns < INTERVAL_NS)
		return;
	last_ns = now_ns;
	shown = true;
	if (done > total)
		done = total;
	width = (int)((double)done / (double)total * BAR_WIDTH);
	fprintf(stderr, "\r%-8s [%-*.*s] %3d %%  %s of %s\033[K", text, (int)BAR_WIDTH, width, full,
		(int)((double)done / (double)total * 100), bytes_text(done), bytes_text(total));
	fflush(stderr);
}

void progress_clear(void)
{
	if (!shown)
		return;
	shown = false;
	fputs("\r\033[K", stderr);
	fflush(stderr);
}
