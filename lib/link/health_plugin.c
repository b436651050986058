/*
 * Plug-ins of the health extension: which there are, and what one of them said. Either lines
 *
 *     NAME NUMBER           a metric
 *     alarm NAME TEXT…      an alarm
 *     metadata NAME TEXT…
 *
 * or one JSON object with the members "metrics", "alarms", "metadata", each an object. A plug-in is the owner's program, but it may be broken: names, numbers of things and lengths are bounded.
 */
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extras_int.h"

#define TEXT_MAX ((size_t)16 << 10)
#define NAME_MAX_BYTES 64
#define VALUE_MAX 256

static const struct kind {
	const char *word;   /* that a line begins with; "" = none */
	const char *member; /* of the report */
	size_t max;
	bool number;
} kinds[] = {{"alarm", "alarms", 50, false}, {"metadata", "metadata", 50, false}, {"", "metrics", 200, true}};

/* ---- which there are */

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

nh_rc health_plugin_list(const char *directory, struct nh_arena *arena, char ***paths, size_t *count, struct nh_err *err)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	*count = 0;
	*paths = nh_arena_array(arena, HEALTH_PLUGINS_MAX, sizeof **paths);
	if (!dir)
		return NH_FAIL(err, NH_ENOTFOUND, "plug-ins: cannot read the directory %s", directory);
	while (*count < HEALTH_PLUGINS_MAX && (entry = readdir(dir)) != NULL) {
		struct stat st;
		char *path = nh_arena_printf(arena, "%s/%s", directory, entry->d_name);
		if (entry->d_name[0] != '.' && stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
			(*paths)[(*count)++] = path;
	}
	closedir(dir);
	qsort(*paths, *count, sizeof **paths, by_name);
	return NH_OK;
}

/* ---- what one said */

static bool name_ok(nh_slice name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] <= ' ' || name.ptr[i] == 0x7f)
			return false;
	return name.len > 0 && name.len <= NAME_MAX_BYTES && nh_utf8_valid(name);
}

static nh_rc put(json_t *report, const struct kind *kind, nh_slice name, json_t *take_value, struct nh_err *err)
{
	NH_AUTO_JSON json_t *value = take_value;
	char key[NAME_MAX_BYTES + 1];
	json_t *members = json_object_get(report, kind->member);
	if (!name_ok(name))
		return NH_FAIL(err, NH_EFORMAT, "a name of %zu bytes, or with blanks or control characters", name.len);
	if (kind->number ? !json_is_number(value) : !json_is_string(value) || json_string_length(value) > VALUE_MAX)
		return NH_FAIL(err, NH_EFORMAT, "%s '%.*s' is not a %s", kind->member, NH_ARG(name), kind->number ? "number" : "text of at most 256 bytes");
	if (json_object_size(members) >= kind->max)
		return NH_FAIL(err, NH_ETOOBIG, "more than %zu %s in one report", kind->max, kind->member);
	for (size_t i = 0; i <= name.len; i++)
		key[i] = i < name.len ? (char)name.ptr[i] : 0;
	json_object_set(members, key, value);
	return NH_OK;
}

static nh_rc read_object(nh_slice text, json_t *report, struct nh_err *err)
{
	NH_AUTO_JSON json_t *said = NULL;
	const char *key;
	json_t *value;
	NH_TRY(nh_json_parse(text, TEXT_MAX, &said, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++)
		json_object_foreach (json_object_get(said, kinds[i].member), key, value)
			NH_TRY(put(report, &kinds[i], nh_slice_str(key), json_incref(value), err));
	return NH_OK;
}

static nh_rc read_line(nh_slice line, json_t *report, struct nh_err *err)
{
	nh_slice first, rest, name;
	const struct kind *kind = kinds;
	nh_slice_cut(line, ' ', &first, &rest);
	while (kind->word[0] && !nh_slice_eq_str(first, kind->word))
		kind++;
	if (kind->word[0]) {
		nh_slice_cut(nh_slice_trim(rest), ' ', &name, &rest);
		nh_slice said = nh_slice_sub(nh_slice_trim(rest), 0, VALUE_MAX);
		said.len = terminal_whole(said);
		return put(report, kind, name, nh_json_new_text(said.len > 0 ? said : NH_LIT("")), err);
	}
	json_t *number = NULL;
	NH_IGNORE(nh_json_parse(nh_slice_trim(rest), VALUE_MAX, &number, NULL)); /* put says what is wrong with it */
	return put(report, kind, first, number, err);
}

nh_rc health_plugin_read(nh_slice text, json_t *report, struct nh_err *err)
{
	nh_slice rest = nh_slice_trim(text);
	if (rest.len > 0 && rest.ptr[0] == '{')
		return read_object(rest, report, err);
	while (rest.len > 0) {
		nh_slice line;
		nh_slice_cut(rest, '\n', &line, &rest);
		line = nh_slice_trim(line);
		if (line.len > 0)
			NH_TRY(read_line(line, report, err));
	}
	return NH_OK;
}
