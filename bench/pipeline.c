/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pipeline.c - always so many outstanding
 */
#include "pipeline.h"

int pipeline_fill(struct setup *setup)
{
	int rc = 0;

	for (uint32_t i = 0; i < setup->n_tasks && !rc; i++)
		rc = setup_submit(setup, i);
	setup->next = 0;
	return rc;
}

int pipeline_run(void *arg, uint32_t n)
{
	struct setup *setup = arg;
	int rc = 0;

	for (uint32_t i = 0; i < n && rc >= 0; i++) {
		uint32_t task = setup->next;

		if (++setup->next == setup->n_tasks)
			setup->next = 0;
		rc = setup_wait(setup, task);
		if (rc >= 0)
			rc = setup_submit(setup, task);
	}
	return rc < 0 ? rc : 0;
}

int pipeline_drain(struct setup *setup)
{
	int rc = 0;

	for (uint32_t i = 0; i < setup->n_tasks && rc >= 0; i++)
		rc = setup_wait(setup, i);
	return rc < 0 ? rc : 0;
}
