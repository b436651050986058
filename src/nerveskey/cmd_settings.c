/*
 * Settings: an Erlang map on the chip, JSON here.
 */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "nerveskey/settings.h"

#define JSON_MAX ((size_t)64 << 10)

static nh_rc read_raw(struct app *app, struct nh_buf *raw, struct nh_err *err)
{
	struct nh_nerveskey_info info;
	NH_TRY(app_provisioned(app, &info, err));
	return nh_nerveskey_settings_read(app->key, raw, err);
}

static nh_rc get(struct app *app, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf raw = NH_BUF_INIT, text = NH_BUF_INIT;
	NH_TRY(read_raw(app, &raw, err));
	struct nh_err why = NH_ERR_INIT;
	nh_rc rc = nh_nerveskey_settings_to_json(nh_buf_slice(&raw), true, &text, &why);
	if (rc == NH_ENOTFOUND)
		return app_fail(app, STATUS_NOT_PROVISIONED, NH_FAIL(err, rc, "no settings are stored: the slots hold zeros only"));
	if (rc == NH_EFORMAT || rc == NH_EUNSUPPORTED)
		return app_fail(app, STATUS_UNTRUE, NH_FAIL(err, rc, "%s; nerveskey settings raw shows the bytes, settings put replaces them", why.msg));
	if (rc != NH_OK)
		return NH_FAIL(err, rc, "%s", why.msg);
	if (app->arg_count == 0)
		return output_bytes(app, nh_buf_slice(&text), err);
	NH_AUTO_JSON json_t *all = NULL;
	NH_AUTO_BUF struct nh_buf one = NH_BUF_INIT;
	NH_TRY(nh_json_parse(nh_buf_slice(&text), JSON_MAX, &all, err));
	const json_t *value = json_object_get(all, app->args[0]);
	if (!value)
		return app_fail(app, STATUS_NOT_PROVISIONED, NH_FAIL(err, NH_ENOTFOUND, "there is no setting '%.80s'", app->args[0]));
	if (json_is_string(value) && !app->o.json)
		nh_buf_put_str(&one, json_string_value(value));
	else
		nh_json_put(&one, value);
	nh_buf_put_u8(&one, '\n');
	return output_bytes(app, nh_buf_slice(&one), err);
}

static nh_rc put(struct app *app, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, term = NH_BUF_INIT;
	struct nh_nerveskey_info info;
	const char *argument = app->args[0];
	if (argument[0] == '@' || strcmp(argument, "-") == 0)
		NH_TRY(input_file(app, argument[0] == '@' ? argument + 1 : argument, JSON_MAX, &text, err));
	else
		nh_buf_put_str(&text, argument);
	nh_rc rc = nh_nerveskey_settings_from_json(nh_buf_slice(&text), &term, err);
	if (rc != NH_OK)
		return app_fail(app, STATUS_REFUSED, rc);
	NH_TRY(app_provisioned(app, &info, err));
	NH_TRY(nh_nerveskey_settings_write(app->key, nh_buf_slice(&term), err));
	if (app->o.json)
		print_json(json_pack("{s:b,s:i}", "ok", 1, "bytes", (int)term.len));
	else
		printf("stored, %zu bytes\n", term.len);
	return NH_OK;
}

static const struct flag raw_flags[] = {
	{"put", 0, NH_OPT_TEXT, AT(put), "HEX|@FILE", "write these bytes, zeros behind them, instead of reading"},
	{"format", 'f', NH_OPT_TEXT, AT(format), "FORMAT", "hex, base64 or binary (hex)"},
	{"output", 'o', NH_OPT_TEXT, AT(output), "FILE", "write to a file"},
	{NULL},
};

static nh_rc raw(struct app *app, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	struct nh_nerveskey_info info;
	if (!app->o.put) {
		NH_TRY(read_raw(app, &bytes, err));
		return output_formatted(app, nh_buf_slice(&bytes), "hex", err);
	}
	NH_TRY(input_hex(app, app->o.put, "--put", NH_NERVESKEY_SETTINGS_MAX, &bytes, err));
	NH_TRY(app_provisioned(app, &info, err));
	return nh_nerveskey_settings_write(app->key, nh_buf_slice(&bytes), err);
}

const struct command settings_commands[] = {
	{"settings get", "[KEY]", 0, 1, (const struct flag[]){{"output", 'o', NH_OPT_TEXT, AT(output), "FILE", "write to a file"}, {NULL}}, get, "the settings as JSON, or one of them"},
	{"settings put", "JSON", 1, 1, NULL, put, "store settings: JSON, @FILE, or - for standard input"},
	{"settings raw", "", 0, 0, raw_flags, raw, "the stored bytes"},
	{NULL},
};
