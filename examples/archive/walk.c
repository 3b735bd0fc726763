/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * walk.c - the files of a tree
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "archive.h"

const struct walk_limits WALK_ALL = { SIZE_MAX, UINT64_MAX, 0, UINT64_MAX, false, false };

static void out_of_memory(void)
{
	fprintf(stderr, "archive: out of memory\n");
	exit(EXIT_FAILED);
}

void file_list_add(struct file_list *list, const char *path, const struct chi_blob_key *key, uint64_t size_bytes)
{
	struct file *file;

	if ((list->n & (list->n - 1)) == 0) { /* full at each power of two */
		size_t n_new = list->n ? 2 * list->n : 1;
		struct file *files = realloc(list->files, n_new * sizeof(*files));

		if (!files)
			out_of_memory();
		list->files = files;
	}
	file = &list->files[list->n++];
	memset(file, 0, sizeof(*file));
	file->path = strdup(path);
	if (!file->path)
		out_of_memory();
	file->key = *key;
	file->size_bytes = size_bytes;
	list->size_bytes += size_bytes;
}

void file_list_free(struct file_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->files[i].path);
	free(list->files);
	memset(list, 0, sizeof(*list));
}

bool is_packed(const char *path)
{
	static const char *const suffixes[] = { ".gz", ".xz", ".bz2", ".zst", ".zip", ".png", ".jpg", ".jar", ".whl" };
	size_t length = strlen(path);

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t n = strlen(suffixes[i]);

		if (length > n && strcmp(path + length - n, suffixes[i]) == 0)
			return true;
	}
	return false;
}

const char *key_text(const struct chi_blob_key *key)
{
	static char text[CHI_BLOB_KEY_MAX + 1];

	for (uint32_t i = 0; i < key->size; i++) {
		unsigned char byte = (unsigned char)key->bytes[i];

		text[i] = byte < 0x20 || byte == 0x7f ? '?' : key->bytes[i];
	}
	text[key->size] = '\0';
	return text;
}

/* As tar does: a name in the archive begins with no "/"; and it has no empty part and no ".", so that it is the same however
 * the path was typed. False: it has a "..", and would lead out of the folder that it is unpacked in. */
static bool make_name(const char *path, char ret_name[PATH_MAX])
{
	size_t length = 0;

	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 2 && memcmp(path, "..", 2) == 0)
			return false;
		if (n && !(n == 1 && path[0] == '.') && length + n + 2 < PATH_MAX) {
			if (length)
				ret_name[length++] = '/';
			memcpy(ret_name + length, path, n);
			length += n;
		}
		path += n + (path[n] == '/');
	}
	ret_name[length] = '\0';
	return true;
}

static bool full(const struct file_list *list, const struct walk_limits *limits)
{
	return list->n >= limits->n_max || list->size_bytes >= limits->size_max_bytes;
}

/* @source: where its bytes are: another path when @path is a symbolic link */
static void add(const char *path, const char *source, const struct stat *status, const struct walk_limits *limits,
		struct file_list *list)
{
	uint64_t size_bytes = (uint64_t)status->st_size;
	struct chi_blob_key key;
	char name[PATH_MAX];

	if (size_bytes < limits->file_min_bytes || size_bytes > limits->file_max_bytes ||
	    (limits->packed_only && !is_packed(path)))
		return;
	if (!make_name(path, name)) {
		list->n_skipped++;
		fprintf(stderr, "archive: left out, give its path without \"..\": %s\n", path);
		return;
	}
	if (chi_blob_key_set(&key, name, strlen(name))) {
		/* a shortened name could not be turned back into the file's own */
		list->n_skipped++;
		if (!limits->quiet)
			fprintf(stderr, "archive: left out, its path has more than %u bytes: %s\n", CHI_BLOB_KEY_MAX,
				path);
		return;
	}
	file_list_add(list, source, &key, size_bytes);
}

static int not_dots(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static void skip(const char *path, const struct walk_limits *limits, struct file_list *list)
{
	list->n_skipped++;
	if (!limits->quiet)
		fprintf(stderr, "archive: left out: %s: %s\n", path, strerror(errno));
}

static bool walk_entry(const char *path, const struct stat *status, const struct walk_limits *limits,
		       struct file_list *list);

static void walk_dir(const char *path, const struct walk_limits *limits, struct file_list *list)
{
	struct dirent **entries;
	int n = scandir(path, &entries, not_dots, alphasort);

	if (n < 0) {
		skip(path, limits, list);
		return;
	}
	for (int i = 0; i < n; i++) {
		struct stat status;
		char *child;

		if (!full(list, limits)) {
			if (asprintf(&child, "%s/%s", path, entries[i]->d_name) < 0)
				out_of_memory();
			/* symbolic links below a folder are left alone */
			if (lstat(child, &status))
				skip(child, limits, list);
			else
				walk_entry(child, &status, limits, list);
			free(child);
		}
		free(entries[i]);
	}
	free(entries);
}

/* Returns false when it is neither file nor folder. */
static bool walk_entry(const char *path, const struct stat *status, const struct walk_limits *limits,
		       struct file_list *list)
{
	if (S_ISDIR(status->st_mode))
		walk_dir(path, limits, list);
	else if (S_ISREG(status->st_mode))
		add(path, path, status, limits, list);
	else
		return false;
	return true;
}

bool walk(const char *path, const struct walk_limits *limits, struct file_list *list)
{
	struct stat status;

	char source[PATH_MAX];

	/* who names a symbolic link means what it leads to */
	if (stat(path, &status) || !realpath(path, source)) {
		skip(path, limits, list);
		return false;
	}
	if (S_ISREG(status.st_mode)) {
		add(path, source, &status, limits, list);
		return true;
	}
	if (walk_entry(path, &status, limits, list))
		return true;
	list->n_skipped++;
	if (!limits->quiet)
		fprintf(stderr, "archive: left out, neither file nor folder: %s\n", path);
	return false;
}
