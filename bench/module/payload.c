/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * payload.c - tasks with a buffer
 */
#include <errno.h>

#include "methods.h"

METHOD(bench_read)
{
	struct bench_payload *self = (struct bench_payload *)task;
	const uint64_t *words = chi_context_buffer(context, &self->data);

	(void)container;
	if (!words)
		return -EINVAL;
	self->sum = bench_sum(words, self->data.size_bytes / sizeof(*words));
	return 0;
}

METHOD(bench_write)
{
	struct bench_payload *self = (struct bench_payload *)task;
	uint64_t *words = chi_context_buffer(context, &self->data);

	(void)container;
	if (!words)
		return -EINVAL;
	bench_fill(words, self->data.size_bytes / sizeof(*words), self->count);
	return 0;
}
