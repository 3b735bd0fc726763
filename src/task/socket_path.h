/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socket_path.h - where a runtime's socket is; client and runtime compute it by the same code
 */
#ifndef TASK_SOCKET_PATH_H
#define TASK_SOCKET_PATH_H

#include <limits.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

/* where runtimes with a group listen: one for the machine, as its clients are of several users */
#define CHI_SHARED_FOLDER "/run/chimaera"

enum chi_socket_path_use {
	CHI_SOCKET_FIND,	  /* a client: the first folder that has the socket */
	CHI_SOCKET_MAKE,	  /* a runtime: the first folder that is there or can be made */
	CHI_SOCKET_FIND_COUNTERS, /* who looks at it: the first folder that has its counters file */
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
 * used must be ours, mode 0700: else another user could have put the socket there. FIND passes over another user's, and
 * looks into CHI_SHARED_FOLDER last: root alone can have made it or given it to its owner (this is checked), and only
 * its owner may write there.
 * Threads: any. Returns: 0, -ENOENT (FIND: no socket anywhere; MAKE: no folder can be made), -EACCES (a folder's owner
 *          or mode), -EINVAL (the name, or the path is too long for a socket). chi_error_text() says which.
 */
int chi_socket_path(const char *name, enum chi_socket_path_use use, struct chi_socket_path *ret_path);

/**
 * chi_socket_path_make_shared - for a runtime that a group may use: NAME.sock in CHI_SHARED_FOLDER
 * @name:  borrowed; as above, but no path
 * @group: who may enter the folder beside us
 *
 * The folder is made if it can be. It has to be ours, of that group, mode 0750 or 0710; one of mode 0700 is opened.
 * Threads: any. Returns: 0, -EACCES (cannot be made; or not as it has to be), -EINVAL. chi_error_text() says what to
 *          do.
 */
int chi_socket_path_make_shared(const char *name, gid_t group, struct chi_socket_path *ret_path);

/* The file of that suffix beside a socket: x.sock -> x.counters, x -> x.counters. */
void chi_socket_sibling(const char *socket_path, const char *suffix, char ret_path[PATH_MAX]);

#endif
