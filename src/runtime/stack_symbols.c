/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stack_symbols.c - names for the addresses of a stack, from the files that are mapped
 *
 * Not by dladdr(): it waits for the loader's lock, which a thread that hangs in a module's constructor holds; and it
 * knows exported functions alone, and methods are static. A file that is not the one mapped (replaced since) gives no
 * names.
 *
 * A file may lie where nobody answers any more (a dead mount): its reader then waits for ever, and it is a thread of
 * its own. Who asks and the reader share the texts, each counted; a text is written once, before it is said to be
 * there.
 */
#include "runtime/stack_symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <hshm/atomic.h>

#define PATH_MAX_BYTES 256u
#define NAME_MAX_BYTES 128u
#define READERS_MAX    1u
#define READINGS_MAX   8u /* asked for, and not done: what hangs shall not add up */

/* Where an address lies. */
struct place {
	uint64_t pc; /* inside the call, not behind it */
	uint64_t file_offset;
	ino_t inode; /* 0: no file */
	dev_t device;
	char path[PATH_MAX_BYTES];
};

struct symbol {
	char name[NAME_MAX_BYTES];
	uint64_t offset; /* of the address in it */
};

struct frame {
	struct place place;
	uint32_t behind;    /* so many bytes behind the place is the address */
	hshm_au32 is_named; /* the second text is there */
	char plain[112];    /* file and offset */
	char named[256];
};

struct chi_stack_symbols {
	hshm_au32 n_users; /* who asked, the reader */
	hshm_au32 ready;
	uint32_t n;
	struct frame frames[CHI_STACK_DEPTH_MAX];
};

/* One pass, as there may be tens of thousands of lines. */
static void find_places(struct frame *frames, uint32_t n)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char *line = NULL;
	size_t size = 0;

	while (maps && getline(&line, &size, maps) > 0) {
		uint64_t start, end, offset;
		unsigned long inode;
		unsigned int device_major, device_minor;
		int path_at = 0;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*4c %" SCNx64 " %x:%x %lu %n", &start, &end, &offset,
			   &device_major, &device_minor, &inode, &path_at) < 6)
			continue;
		for (uint32_t i = 0; i < n; i++) {
			struct place *place = &frames[i].place;

			if (place->pc < start || place->pc >= end)
				continue;
			place->file_offset = place->pc - start + offset;
			place->inode = inode;
			place->device = makedev(device_major, device_minor);
			snprintf(place->path, sizeof(place->path), "%s", line + path_at);
			place->path[strcspn(place->path, "\n")] = '\0';
		}
	}
	free(line);
	if (maps)
		fclose(maps);
}

static bool address_in_file(Elf *elf, uint64_t file_offset, uint64_t *ret_address)
{
	size_t n;

	if (elf_getphdrnum(elf, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr header;

		if (!gelf_getphdr(elf, (int)i, &header) || header.p_type != PT_LOAD ||
		    file_offset - header.p_offset >= header.p_filesz)
			continue;
		*ret_address = file_offset - header.p_offset + header.p_vaddr;
		return true;
	}
	return false;
}

static bool find_in_section(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, uint64_t address,
			    struct symbol *ret_symbol)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Sym symbol;

	for (int i = 0; data && gelf_getsym(data, i, &symbol); i++) {
		const char *name;

		if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC || address - symbol.st_value >= symbol.st_size)
			continue;
		name = elf_strptr(elf, header->sh_link, symbol.st_name);
		if (!name)
			continue;
		snprintf(ret_symbol->name, sizeof(ret_symbol->name), "%s", name);
		ret_symbol->offset = address - symbol.st_value;
		return true;
	}
	return false;
}

/* In the full table if there is one, else among what is exported. */
static bool find_symbol(Elf *elf, uint64_t file_offset, struct symbol *ret_symbol)
{
	static const GElf_Word tables[] = { SHT_SYMTAB, SHT_DYNSYM };
	uint64_t address;

	if (!address_in_file(elf, file_offset, &address))
		return false;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		Elf_Scn *section = NULL;

		while ((section = elf_nextscn(elf, section))) {
			GElf_Shdr header;

			if (gelf_getshdr(section, &header) && header.sh_type == tables[i] &&
			    find_in_section(elf, section, &header, address, ret_symbol))
				return true;
		}
	}
	return false;
}

/* A file system without a block device may have a number of its own for each subvolume or layer (btrfs, overlay), and
 * the maps show another: of two such only the inode tells. */
static bool is_same_device(dev_t a, dev_t b)
{
	return a == b || (major(a) == 0 && major(b) == 0);
}

static bool is_mapped_file(const struct place *place, const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_ino == place->inode && is_same_device(st->st_dev, place->device);
}

static bool find_in_file(const struct place *place, struct symbol *ret_symbol)
{
	bool found = false;
	struct stat st;
	Elf *elf;
	int fd;

	if (!place->inode)
		return false;
	fd = open(place->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && is_mapped_file(place, &st)) {
		elf_version(EV_CURRENT);
		elf = elf_begin(fd, ELF_C_READ, NULL); /* read, not mapped: see module_note.c */
		found = elf && find_symbol(elf, place->file_offset, ret_symbol);
		elf_end(elf);
	}
	close(fd);
	return found;
}

/* ---- the texts ---- */

static const char *file_name(const struct place *place)
{
	const char *slash = strrchr(place->path, '/');

	return slash ? slash + 1 : place->path;
}

static void describe_place(struct frame *frame)
{
	const struct place *place = &frame->place;

	if (!*file_name(place))
		snprintf(frame->plain, sizeof(frame->plain), "0x%" PRIx64, place->pc + frame->behind);
	else
		snprintf(frame->plain, sizeof(frame->plain), "%.80s+0x%" PRIx64, file_name(place),
			 place->file_offset + frame->behind);
}

static void name(struct frame *frame)
{
	struct symbol symbol;

	if (!find_in_file(&frame->place, &symbol))
		return;
	snprintf(frame->named, sizeof(frame->named), "%s+0x%" PRIx64 " (%.80s+0x%" PRIx64 ")", symbol.name,
		 symbol.offset + frame->behind, file_name(&frame->place), frame->place.file_offset + frame->behind);
	/* release: the text; pairs with the acquire in chi_stack_symbols_text() */
	hshm_store_release(&frame->is_named, 1);
}

static bool is_wanted(const struct chi_stack_symbols *symbols)
{
	return hshm_load_relaxed(&symbols->n_users) > 1; /* relaxed: seen late, a few files are read in vain */
}

static void read_names(void *arg)
{
	struct chi_stack_symbols *symbols = arg;

	for (uint32_t i = 0; i < symbols->n && is_wanted(symbols); i++)
		name(&symbols->frames[i]);
	/* release: the names; pairs with the acquire in chi_stack_symbols_ready() */
	hshm_store_release(&symbols->ready, 1);
	chi_stack_symbols_put(symbols);
}

/* ---- who asks ---- */

int chi_stack_symbols_reader(struct chi_background **ret_reader)
{
	return chi_background_create("readings of symbols", READERS_MAX, ret_reader);
}

struct chi_stack_symbols *chi_stack_symbols_ask(struct chi_background *reader, const struct chi_stack *stack)
{
	struct chi_stack_symbols *symbols = calloc(1, sizeof(*symbols));

	if (!symbols)
		return NULL;
	symbols->n = stack->n;
	/* all but the innermost are where a call returns to, which may be another function's first byte */
	for (uint32_t i = 0; i < stack->n; i++) {
		symbols->frames[i].behind = i > 0;
		symbols->frames[i].place.pc = (uintptr_t)stack->pcs[i] - symbols->frames[i].behind;
	}
	find_places(symbols->frames, stack->n);
	for (uint32_t i = 0; i < stack->n; i++)
		describe_place(&symbols->frames[i]);

	/* relaxed, both: the reader gets it through the lock of the background */
	hshm_store_relaxed(&symbols->n_users, 2);
	if (chi_background_n_left(reader) < READINGS_MAX && chi_background_run(reader, read_names, symbols) == 0)
		return symbols;
	hshm_store_relaxed(&symbols->n_users, 1);
	hshm_store_relaxed(&symbols->ready, 1);
	return symbols;
}

bool chi_stack_symbols_ready(const struct chi_stack_symbols *symbols)
{
	/* acquire: pairs with the release in read_names() */
	return hshm_load_acquire(&symbols->ready);
}

uint32_t chi_stack_symbols_n(const struct chi_stack_symbols *symbols)
{
	return symbols->n;
}

const char *chi_stack_symbols_text(const struct chi_stack_symbols *symbols, uint32_t i)
{
	const struct frame *frame = &symbols->frames[i];

	/* acquire: pairs with the release in name() */
	return hshm_load_acquire(&frame->is_named) ? frame->named : frame->plain;
}

void chi_stack_symbols_put(struct chi_stack_symbols *symbols)
{
	/* acq_rel: what either side did to it is before the last one frees it */
	if (symbols && hshm_fetch_sub_acq_rel(&symbols->n_users, 1) == 1)
		free(symbols);
}
