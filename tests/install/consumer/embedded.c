/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * embedded.c - a program with the runtime inside: an installed module is found without CHI_REPO_PATH
 */
#include <chimaera/modules/compress.h>
#include <chimaera/runtime.h>
#include <stdio.h>

int main(void)
{
	struct chi_pool_spec spec = { .module = CHI_COMPRESS_MODULE, .interface_hash = CHI_COMPRESS_INTERFACE_HASH };
	struct chi_runtime *runtime = NULL;
	struct chi_client *client = NULL;
	uint32_t pool;
	int rc = 1;

	if (chi_runtime_start(NULL, &runtime) < 0 || chi_runtime_client(runtime, NULL, &client) < 0 ||
	    chi_pool_create(client, &spec, &pool) < 0) {
		fprintf(stderr, "embedded: %s\n", chi_error_text());
	} else {
		printf("pool %s\n", spec.module);
		rc = 0;
	}
	chi_client_disconnect(client);
	chi_runtime_stop(runtime, 0, NULL);
	return rc;
}
