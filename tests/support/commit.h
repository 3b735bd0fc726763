/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/commit.h - which commit a campaign was built from, for the tables of docs/RELIABILITY.md
 */
#ifndef TESTS_SUPPORT_COMMIT_H
#define TESTS_SUPPORT_COMMIT_H

#include <stdlib.h>

/* ./dev builds, and says what it has built: with "-dirty" when files were changed. Without git, or run by hand: unknown. */
static inline const char *commit_name(void)
{
	const char *name = getenv("CHIMAERA_COMMIT");

	return name && *name ? name : "unknown";
}

#endif
