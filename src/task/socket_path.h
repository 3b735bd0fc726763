/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socket_path.h - where a runtime's socket is; client and runtime compute it by the same code
 */
#ifndef TASK_SOCKET_PATH_H
#define TASK_SOCKET_PATH_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

enum chi_socket_path_use {
	CHI_SOCKET_FIND, /* a client: the first folder that has the socket */
	CHI_SOCKET_MAKE, /* a runtime: the first folder that is there or can be made */
};

struct chi_socket_path {
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	bool given; /* the user named the path itself: its folder is the user's choice and was not checked */
};

/**
 * chi_socket_path - from a runtime's name to its socket
 * @name:     borrowed; NULL = $CHIMAERA_NAME, else "default". With a '/' it is the path itself.
 * @use:      FIND or MAKE
 * @ret_path: out
 *
 * Folders, in this order: $XDG_RUNTIME_DIR/chimaera, /run/chimaera-UID, ${TMPDIR:-/tmp}/chimaera-UID. A folder that is
 * used must be ours, mode 0700: else another user could have put the socket there.
 * Threads: any. Returns: 0, -ENOENT (FIND: no socket anywhere; MAKE: no folder can be made), -EACCES (a folder's owner or
 *          mode), -EINVAL (the name, or the path is too long for a socket). chi_error_text() says which.
 */
int chi_socket_path(const char *name, enum chi_socket_path_use use, struct chi_socket_path *ret_path);

#endif
