/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socket_path.c - where a runtime's socket is
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chimaera/admin.h>

#include "task/error.h"
#include "task/socket_path.h"

#define FOLDERS 3

struct folders {
	char paths[FOLDERS][PATH_MAX]; /* "" = does not apply */
};

static void list_folders(struct folders *folders)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	const char *tmp = getenv("TMPDIR");
	unsigned int uid = geteuid();

	/* the standard says that a relative one is to be ignored */
	folders->paths[0][0] = '\0';
	if (xdg && xdg[0] == '/')
		snprintf(folders->paths[0], PATH_MAX, "%s/chimaera", xdg);
	snprintf(folders->paths[1], PATH_MAX, "/run/chimaera-%u", uid);
	snprintf(folders->paths[2], PATH_MAX, "%s/chimaera-%u", tmp && tmp[0] == '/' ? tmp : "/tmp", uid);
}

static int check_folder(const char *folder)
{
	struct stat st;

	/* lstat: a symbolic link would let another user choose the place later */
	if (lstat(folder, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return chi_error_set(-EACCES, "%s is not a folder", folder);
	if (st.st_uid != geteuid())
		return chi_error_set(-EACCES, "%s belongs to user %u, not to us (%u)", folder, (unsigned int)st.st_uid,
				     (unsigned int)geteuid());
	if (st.st_mode & 0077)
		return chi_error_set(-EACCES, "%s has mode %04o: others may enter it; make it 0700", folder,
				     (unsigned int)(st.st_mode & 07777));
	return 0;
}

static bool name_is_valid(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length >= CHI_NAME_MAX || name[0] == '.')
		return false;
	/* not isalnum(): in some locales it takes more than ASCII */
	return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

static int join(const char *folder, const char *name, struct chi_socket_path *ret_path)
{
	int length = snprintf(ret_path->path, sizeof(ret_path->path), "%s/%s.sock", folder, name);

	if (length < 0 || (size_t)length >= sizeof(ret_path->path))
		return chi_error_set(-EINVAL, "%s/%s.sock is too long: a socket's path has at most %zu bytes", folder,
				     name, sizeof(ret_path->path) - 1);
	ret_path->given = false;
	return 0;
}

static int use_folder(const char *folder, const char *name, enum chi_socket_path_use use,
		      struct chi_socket_path *ret_path)
{
	struct chi_socket_path found;
	struct stat st;
	int rc;

	if (use == CHI_SOCKET_MAKE && mkdir(folder, 0700) < 0 && errno != EEXIST)
		return -ENOENT; /* whatever the reason: the next folder may do */
	rc = check_folder(folder);
	if (rc < 0)
		return rc == -EACCES ? rc : -ENOENT;
	rc = join(folder, name, &found);
	if (rc < 0)
		return rc;
	if (use == CHI_SOCKET_FIND && lstat(found.path, &st) < 0)
		return -ENOENT;
	*ret_path = found;
	return 0;
}

int chi_socket_path(const char *name, enum chi_socket_path_use use, struct chi_socket_path *ret_path)
{
	struct folders folders;
	size_t length;

	if (!name)
		name = getenv("CHIMAERA_NAME");
	if (!name || !name[0])
		name = "default";

	if (strchr(name, '/')) {
		length = strlen(name);
		if (length >= sizeof(ret_path->path))
			return chi_error_set(-EINVAL, "%s is too long: a socket's path has at most %zu bytes", name,
					     sizeof(ret_path->path) - 1);
		memcpy(ret_path->path, name, length + 1);
		ret_path->given = true;
		return 0;
	}
	if (!name_is_valid(name))
		return chi_error_set(
			-EINVAL,
			"'%s' is no name of a runtime: 1 to %u letters, digits, '.', '_' or '-', no '.' in front", name,
			CHI_NAME_MAX - 1);

	list_folders(&folders);
	for (int i = 0; i < FOLDERS; i++) {
		int rc;

		if (!folders.paths[i][0])
			continue;
		rc = use_folder(folders.paths[i], name, use, ret_path);
		if (rc != -ENOENT)
			return rc;
	}
	return chi_error_set(-ENOENT, "%s '%s': %s %s%s%s and %s",
			     use == CHI_SOCKET_FIND ? "no runtime named" : "no folder for the socket of", name,
			     use == CHI_SOCKET_FIND ? "no socket in" : "cannot make", folders.paths[0],
			     folders.paths[0][0] ? ", " : "", folders.paths[1], folders.paths[2]);
}
