/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client.h - how the runtime makes a client of a socket it has already, and the rules of the options
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <chimaera/client.h>

/**
 * chi_client_open_socket - be a client over a connected socket whose other end the runtime serves
 * @socket:     given in any case: closed when this fails
 * @opts:       borrowed; NULL = all defaults; the name in it is ignored
 * @ret_client: out; release with chi_client_disconnect()
 *
 * Threads: any. Returns: as chi_client_connect().
 */
int chi_client_open_socket(int socket, const struct chi_client_opts *opts, struct chi_client **ret_client);

/**
 * chi_client_opts_read - the caller's options, of whatever version, with the defaults filled in
 * @opts:     borrowed; NULL = all defaults
 * @ret_opts: out
 *
 * Returns: 0, -EINVAL (size too small, or a value), -E2BIG (something is set that we do not know).
 */
int chi_client_opts_read(const struct chi_client_opts *opts, struct chi_client_opts *ret_opts);

#endif
