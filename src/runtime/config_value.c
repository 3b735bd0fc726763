/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config_value.c - from a text to a key's field, checked, and back
 */
#include "runtime/config_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "task/error.h"

void chi_config_quote(const char *value, size_t size, char text[48])
{
	size_t n = size < 40 ? size : 40;

	for (size_t i = 0; i < n; i++)
		text[i] = (value[i] >= 0x20 && value[i] < 0x7f) ? value[i] : '?';
	strcpy(text + n, size > n ? "..." : "");
}

int chi_config_bad(const struct chi_config_place *place, const char *path, const char *format, ...)
{
	char text[320], where[32] = "";
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (place->line)
		snprintf(where, sizeof(where), ":%d:%d", place->line, place->column);
	return path ? chi_error_set(-EINVAL, "%s%s: key '%s': %s", place->label, where, path, text)
		    : chi_error_set(-EINVAL, "%s%s: %s", place->label, where, text);
}

/* ---- text to field ---- */

static void set_number(struct chi_config *config, const struct chi_config_key *key, uint64_t value)
{
	void *field = chi_config_field(config, key);

	switch (key->type) {
	case KEY_NUMBER:
	case KEY_POWER_OF_2:
	case KEY_CHOICE:
		*(uint32_t *)field = (uint32_t)value;
		break;
	case KEY_BIG:
		*(uint64_t *)field = value * key->scale;
		break;
	case KEY_BOOL:
		*(bool *)field = value != 0;
		break;
	default:
		break;
	}
}

void chi_config_set_default(struct chi_config *config, const struct chi_config_key *key)
{
	if (key->def_text)
		strcpy(chi_config_field(config, key), key->def_text);
	else
		set_number(config, key, key->def); /* a list is empty */
}

static bool parse_number(const char *value, size_t size, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!size)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (value[i] < '0' || value[i] > '9')
			return false;
		if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
		    __builtin_add_overflow(number, (uint64_t)(value[i] - '0'), &number))
			number = UINT64_MAX; /* too large for any key */
	}
	*ret_number = number;
	return true;
}

bool chi_config_name_is_allowed(const char *value, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		char c = value[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    (!c || !strchr("._-", c) || i == 0)) /* strchr() finds the end, too */
			return false;
	}
	return true;
}

int chi_config_parse_number(const struct chi_config_place *place, const struct chi_config_key *key, const char *value,
			    size_t size, uint64_t *ret_number)
{
	char allowed[CHI_CONFIG_ALLOWED_MAX], seen[48];
	uint64_t number;

	chi_config_describe_allowed(key, allowed);
	chi_config_quote(value, size, seen);
	if (!parse_number(value, size, &number))
		return chi_config_bad(place, key->path, "%s is no number (%s)", size ? seen : "nothing", allowed);
	if (number < key->min || number > key->max)
		return chi_config_bad(place, key->path, "%s is out of range (%s)", seen, allowed);
	if (key->type == KEY_POWER_OF_2 && (number & (number - 1)))
		return chi_config_bad(place, key->path, "%s is no power of two (%s)", seen, allowed);
	*ret_number = number;
	return 0;
}

size_t chi_config_utf8_length(const char *value, size_t size)
{
	const unsigned char *text = (const unsigned char *)value;
	unsigned char lead = text[0], low = 0x80, high = 0xbf;
	size_t n = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;

	/* the second byte has narrower bounds after some: no overlong forms, no surrogates, nothing beyond U+10FFFF */
	if (lead == 0xe0)
		low = 0xa0;
	else if (lead == 0xed)
		high = 0x9f;
	else if (lead == 0xf0)
		low = 0x90;
	else if (lead == 0xf4)
		high = 0x8f;
	if (n > size)
		return 0;
	for (size_t i = 1; i < n; i++, low = 0x80, high = 0xbf)
		if (text[i] < low || text[i] > high)
			return 0;
	return n;
}

/* What a file could not say is refused from elsewhere, too: else `chimaera config' would print what cannot be read. */
static bool path_is_allowed(const char *value, size_t size)
{
	for (size_t i = 0, n; i < size; i += n) {
		n = chi_config_utf8_length(value + i, size - i);
		if (!n || (unsigned char)value[i] < 0x20 || value[i] == 0x7f)
			return false;
	}
	return true;
}

static int set_string(struct chi_config *config, const struct chi_config_place *place, const struct chi_config_key *key,
		      const char *value, size_t size)
{
	bool is_name = key->type == KEY_NAME;
	char allowed[CHI_CONFIG_ALLOWED_MAX], seen[48];
	char *field = chi_config_field(config, key);

	if (size > key->max || !(is_name ? chi_config_name_is_allowed : path_is_allowed)(value, size) ||
	    (!size && key->def_text[0])) {
		chi_config_describe_allowed(key, allowed);
		chi_config_quote(value, size, seen);
		return chi_config_bad(place, key->path, "'%s' is no %s (%s)", seen, is_name ? "name" : "path", allowed);
	}
	memset(field, 0, (size_t)key->max + 1);
	memcpy(field, value, size);
	return 0;
}

static int set_choice(struct chi_config *config, const struct chi_config_place *place, const struct chi_config_key *key,
		      const char *value, size_t size)
{
	char allowed[CHI_CONFIG_ALLOWED_MAX], seen[48];

	for (uint32_t i = 0; key->choices[i]; i++) {
		if (strlen(key->choices[i]) == size && memcmp(key->choices[i], value, size) == 0) {
			set_number(config, key, key->min + i);
			return 0;
		}
	}
	chi_config_describe_allowed(key, allowed);
	chi_config_quote(value, size, seen);
	return chi_config_bad(place, key->path, "'%s' is not known (%s)", seen, allowed);
}

int chi_config_set_text(struct chi_config *config, const struct chi_config_place *place,
			const struct chi_config_key *key, const char *value, size_t size)
{
	uint64_t number = 0;
	int error;

	if (key->type == KEY_NAME || key->type == KEY_PATH)
		return set_string(config, place, key, value, size);
	if (key->choices)
		return set_choice(config, place, key, value, size);
	error = chi_config_parse_number(place, key, value, size, &number);
	if (!error)
		set_number(config, key, number);
	return error;
}

void chi_config_copy_field(struct chi_config *config, const struct chi_config *from, const struct chi_config_key *key)
{
	static const size_t sizes[] = {
		[KEY_NAME] = CHI_NAME_MAX,	     [KEY_PATH] = CHI_CONFIG_PATH_MAX, [KEY_NUMBER] = sizeof(uint32_t),
		[KEY_POWER_OF_2] = sizeof(uint32_t), [KEY_BIG] = sizeof(uint64_t),     [KEY_BOOL] = sizeof(bool),
		[KEY_CHOICE] = sizeof(uint32_t),
	};

	memcpy(chi_config_field(config, key), chi_config_field(from, key), sizes[key->type]);
}

/* ---- field to text ---- */

static void write_quoted(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < 0x20)
			fprintf(out, "\\u%04x", (unsigned char)*text);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

static void write_pool(FILE *out, const struct chi_config_pool *pool)
{
	fprintf(out, "{\"module\": ");
	write_quoted(out, pool->module);
	if (*pool->name) {
		fprintf(out, ", \"name\": ");
		write_quoted(out, pool->name);
	}
	fprintf(out, ", \"containers\": %" PRIu32, pool->n_containers);
	if (pool->params) {
		fprintf(out, ", \"params\": ");
		write_quoted(out, pool->params);
	}
	fputc('}', out);
}

void chi_config_write_value(FILE *out, const struct chi_config *config, const struct chi_config_key *key)
{
	const void *field = chi_config_field(config, key);

	switch (key->type) {
	case KEY_NAME:
	case KEY_PATH:
		write_quoted(out, field);
		break;
	case KEY_NUMBER:
	case KEY_POWER_OF_2:
		fprintf(out, "%" PRIu32, *(const uint32_t *)field);
		break;
	case KEY_BIG:
		fprintf(out, "%" PRIu64, *(const uint64_t *)field / key->scale);
		break;
	case KEY_BOOL:
		fputs(key->choices[*(const bool *)field], out);
		break;
	case KEY_CHOICE:
		fputs(key->choices[*(const uint32_t *)field - key->min], out);
		break;
	case KEY_CPUS:
		fputc('[', out);
		for (uint32_t i = 0; i < config->n_cpus; i++)
			fprintf(out, "%s%" PRIu32, i ? ", " : "", config->cpus[i]);
		fputc(']', out);
		break;
	case KEY_POOLS:
		fputc('[', out);
		for (uint32_t i = 0; i < config->n_compose; i++) {
			fputs(i ? ", " : "", out);
			write_pool(out, &config->compose[i]);
		}
		fputc(']', out);
		break;
	}
}

char *chi_config_value_text(const struct chi_config *config, const struct chi_config_key *key)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	chi_config_write_value(out, config, key);
	fclose(out);
	return text;
}
