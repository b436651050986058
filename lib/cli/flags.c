/*
 * The values of the running command's flags, by name. command.c fills them.
 */
#include "cli_int.h"

/* Where a flag's value is kept. */
static struct cli_value *value_of(const struct nh_cli *c, const char *name)
{
	for (size_t i = 0; i < c->flag_count; i++)
		if (nh_slice_eq_str(nh_slice_str(name), c->flags[i]->name))
			return (struct cli_value *)&c->values[i];
	NH_ASSERT(false); /* no such flag: a command asks for what its table does not list */
	return NULL;
}

const char *cli_text(const struct nh_cli *c, const char *name) { return value_of(c, name)->text; }
bool cli_on(const struct nh_cli *c, const char *name) { return value_of(c, name)->on; }
const struct nh_option_list *cli_list(const struct nh_cli *c, const char *name) { return &value_of(c, name)->list; }

nh_rc cli_bool(const struct nh_cli *c, const char *name, bool *given, bool *value, struct nh_err *err)
{
	const char *text = cli_text(c, name);
	nh_slice s = nh_slice_str(text);
	*given = text != NULL;
	*value = nh_slice_ieq(s, NH_LIT("true")) || nh_slice_eq_str(s, "1") || nh_slice_ieq(s, NH_LIT("t"));
	if (!text || *value || nh_slice_ieq(s, NH_LIT("false")) || nh_slice_eq_str(s, "0") || nh_slice_ieq(s, NH_LIT("f")))
		return NH_OK;
	return NH_FAIL(err, NH_EINVAL, "--%s needs true or false, not '%.80s'", name, text);
}
