/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_socket.h - the runtime's name: a listening socket, and who may connect to it
 */
#ifndef RUNTIME_IPC_SOCKET_H
#define RUNTIME_IPC_SOCKET_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "task/socket_path.h"

#define CHI_NO_GROUP ((gid_t)-1)

struct chi_ipc_socket {
	int fd;	     /* listening, non-blocking; -1: none */
	gid_t group; /* whose members may connect, too */
	struct chi_socket_path where;
	dev_t device; /* of the socket's file: is the name still ours? */
	ino_t inode;
	bool named;
};

/* A group's name to its number; "" is CHI_NO_GROUP. Returns 0, -EINVAL (no such group). */
int chi_ipc_group(const char *name, gid_t *ret_group);

/**
 * chi_ipc_socket_open - take the name and listen
 * @group: CHI_NO_GROUP: in a folder of our own; else in CHI_SHARED_FOLDER, folder and socket open to that group
 *
 * A socket file that a dead runtime left is replaced; who decides that holds NAME.lock meanwhile.
 * Returns: 0, -EADDRINUSE (a runtime of that name lives: path and pid in the text), -EACCES, -EINVAL, -ENOENT (folder),
 *          -EMFILE, -ENOMEM.
 */
int chi_ipc_socket_open(const char *name, gid_t group, struct chi_ipc_socket *ret_socket);

/* Give the name up, unless somebody else has it by now, and refuse who connects. The descriptor stays: while it is open
 * no other file gets our inode's number. Threads: any, once. */
void chi_ipc_socket_remove(struct chi_ipc_socket *socket);
/* Accepts one that is closed. */
void chi_ipc_socket_close(struct chi_ipc_socket *socket);

/* Hold NAME.lock: who decides what a file of that name is, replaces or removes it, does so under it. Returns 0,
 * -EADDRINUSE (somebody holds it for long), -EACCES, -EMFILE, -ENOENT. */
int chi_ipc_name_lock(const char *socket_path, int *ret_fd);
void chi_ipc_name_unlock(const char *socket_path, int fd);
/* Remove one of the name's files, under the lock, if it is still the one with that inode. What cannot be removed is
 * logged. */
void chi_ipc_file_remove(const char *socket_path, const char *path, dev_t device, ino_t inode);

/* Who is at the other end of a connection, as the kernel saw it when it connected. */
struct chi_ipc_credentials {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};
int chi_ipc_credentials(int socket, struct chi_ipc_credentials *ret_credentials);
/* May it attach? The same user, or a member of @group. */
bool chi_ipc_may_attach(int socket, const struct chi_ipc_credentials *peer, gid_t group);
/* No descriptors over this socket, where the kernel can refuse them (Linux 6.16): the sender gets -EPERM. */
void chi_ipc_refuse_fds(int socket);
/* A descriptor that tells the end of the process. Returns 0; -ESRCH: it has ended; -EMFILE, or -ENOTSUP: none to be
 * had. */
int chi_ipc_pidfd(int socket, pid_t pid, int *ret_pidfd);

#endif
