/*
 * `nh device explain`: why a device is updated or not, and what would change that.
 */
#include "cli_int.h"

static const struct cli_shape explanation_shape[] = {
	{"identifier", SHAPE_TEXT}, {"verdict", SHAPE_TEXT}, {"summary", SHAPE_TEXT}, {"reasons", SHAPE_ANY}, {"deployment_group", SHAPE_ANY}, {"membership", SHAPE_ANY}, {"history", SHAPE_ANY}, {NULL}};
static const struct cli_view explanation_view = {.shape = explanation_shape};

/* {"limit": 3, "missing": ["a"]} as "limit 3, missing [a]"; what is null says nothing. */
static void put_value(struct nh_buf *out, const json_t *value)
{
	size_t i;
	const json_t *item;
	if (json_is_string(value)) {
		nh_buf_put_str(out, json_string_value(value));
	} else if (json_is_array(value)) {
		nh_buf_put_u8(out, '[');
		json_array_foreach(value, i, item)
		{
			nh_buf_put_str(out, i ? ", " : "");
			put_value(out, item);
		}
		nh_buf_put_u8(out, ']');
	} else {
		nh_json_put(out, value);
	}
}

const char *cli_facts_text(struct nh_cli *c, const json_t *facts)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)facts, key, value)
	{
		if (json_is_null(value))
			continue;
		nh_buf_put_str(&text, text.len ? ", " : "");
		for (const char *p = key; *p; p++)
			nh_buf_put_u8(&text, *p == '_' ? ' ' : (uint8_t)*p);
		nh_buf_put_u8(&text, ' ');
		put_value(&text, value);
	}
	return nh_arena_str(&c->arena, nh_buf_slice(&text));
}

/* A sentence; below it the command, or the request where there is no command. */
void cli_put_remedies(struct nh_cli *c, const json_t *remedies)
{
	size_t i;
	const json_t *r;
	json_array_foreach(remedies, i, r)
	{
		const json_t *action = json_object_get(r, "action");
		cli_out(c, "    -> %s\n", cli_visible(c, cli_get(r, "text")));
		if (*cli_get(r, "command")) {
			cli_out(c, "       %s\n", cli_visible(c, cli_get(r, "command")));
		} else if (json_is_object(action)) {
			NH_AUTO_BUF struct nh_buf body = NH_BUF_INIT;
			if (json_is_object(json_object_get(action, "body")))
				nh_json_put(&body, json_object_get(action, "body"));
			cli_out(c, "       %s %s %s\n", cli_visible(c, cli_get(action, "method")), cli_visible(c, cli_get(action, "path")), cli_visible(c, nh_buf_cstr(&body)));
		}
	}
}

static void show_reasons(struct nh_cli *c, const json_t *reasons)
{
	size_t i;
	const json_t *r;
	json_array_foreach(reasons, i, r)
	{
		const char *facts = cli_facts_text(c, json_object_get(r, "facts"));
		cli_out(c, "\n* %s (%s)\n", cli_visible(c, cli_get(r, "text")), cli_visible(c, cli_get(r, "code")));
		if (*facts)
			cli_out(c, "    %s\n", cli_visible(c, facts));
		cli_put_remedies(c, json_object_get(r, "remedies"));
	}
}

static void show_groups(struct nh_cli *c, const json_t *membership)
{
	size_t i;
	const json_t *g;
	const char *leaves = cli_get(membership, "leaves_because"), *joins = cli_get(membership, "would_join");
	struct cli_table t = {.arena = &c->arena, .columns = 4};
	cli_table_row(&t, "DEPLOYMENT GROUP", "", "RESULT", "BECAUSE");
	json_array_foreach(json_object_get(membership, "groups"), i, g)
		cli_table_row(&t, cli_get(g, "deployment_group"), json_is_true(json_object_get(g, "member")) ? "member" : json_is_true(json_object_get(g, "chosen")) ? "best" : "", cli_get(g, "result"),
			      cli_facts_text(c, json_object_get(g, "facts")));
	cli_out(c, "\n");
	cli_table_print(c, &t);
	if (*leaves)
		cli_out(c, "At its next join it leaves its deployment group: mismatched %s.\n", cli_visible(c, leaves));
	if (*joins)
		cli_out(c, "At its next join it joins deployment group %s.\n", cli_visible(c, joins));
}

static void show_history(struct nh_cli *c, const json_t *history)
{
	static const char *const lines[][2] = {
		{"running", "Runs"}, {"in_flight", "In flight"}, {"last_update", "Last update"}, {"last_failure", "Last failure"}};
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	for (size_t i = 0; i < NH_ARRAY_LEN(lines); i++) {
		const json_t *value = json_object_get(history, lines[i][0]);
		cli_table_detail(&t, lines[i][1], json_is_object(value) ? cli_facts_text(c, value) : NULL);
	}
	cli_out(c, "\n");
	cli_table_print(c, &t);
}

static nh_rc explain(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *answer = NULL;
	NH_TRY(cli_call(c, "GET", cli_fill(c, CLI_DEVICE "/explain", true), NULL, explanation_shape, false, &answer, err));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &explanation_view, answer);
	cli_out(c, "%s\n", cli_visible(c, cli_get(answer, "summary")));
	show_reasons(c, json_object_get(answer, "reasons"));
	show_groups(c, json_object_get(answer, "membership"));
	show_history(c, json_object_get(answer, "history"));
	return NH_OK;
}

const struct cli_command cli_explain_commands[] = {
	{"device explain", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, explain, "say why a device is updated or not, and what would change that"},
	{NULL},
};
