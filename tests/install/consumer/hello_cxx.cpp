/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hello_cxx.cpp - examples/hello/hello.c once more, in C++
 */
#include <chimaera/chimaera.h>
#include <chimaera/modules/blob.h>
#include <chimaera/modules/compress.h>
#include <cstdio>
#include <memory>
#include "counter.h"

struct Disconnect {
	void operator()(chi_client *client) const
	{
		chi_client_disconnect(client);
	}
};

int main()
{
	chi_client *connected = nullptr;
	chi_pool_spec spec = {};
	uint64_t total = 0;
	uint32_t pool;

	spec.module = "counter";
	if (chi_client_connect(nullptr, &connected) < 0) {
		std::fprintf(stderr, "hello_cxx: %s\n", chi_error_text());
		return 1;
	}
	std::unique_ptr<chi_client, Disconnect> client(connected);
	if (chi_pool_create(client.get(), &spec, &pool) < 0 ||
	    counter_add_call(client.get(), pool, CHI_QUERY_LOCAL_ID(0), 42, &total) < 0) {
		std::fprintf(stderr, "hello_cxx: %s\n", chi_error_text());
		return 1;
	}
	std::printf("total %llu\n", static_cast<unsigned long long>(total));
	return 0;
}
