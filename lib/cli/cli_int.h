/*
 * What the files of `cli` share: the context of the running command, its flags and settings, calls to the server, output. Private to cli.
 */
#pragma once

#include "base/arena.h"
#include "base/json.h"
#include "base/option.h"
#include "cli/cli.h"

#define CLI_DEFAULT_URI "https://manage.nervescloud.com"
#define CLI_FLAGS_MAX 48

typedef enum cli_kind {
	CLI_FLAG,   /* --yes */
	CLI_TEXT,   /* --org ORG */
	CLI_NUMBER, /* --page N: whole, from 1 */
	CLI_BOOL,   /* --updates-enabled, --updates-enabled=false */
	CLI_LIST,   /* --tag T, repeatable */
} cli_kind;

struct cli_flag {
	const char *name; /* NULL ends the table */
	char letter;
	cli_kind kind;
	const char *value; /* what it is, in help and for completion (a noun of completion.c); "on|off": the only values there are */
	const char *help;
	const char *sends; /* as which the generic commands send it: parameter of a GET or DELETE, else member of the body ("conditions.version"); NULL: not sent */
};

struct cli_value {
	bool on;
	const char *text; /* NULL: not given */
	struct nh_option_list list;
};

struct nh_cli;

#define CLI_NEEDS_ORG 1u
#define CLI_NEEDS_PRODUCT 2u
#define CLI_NEEDS_TOKEN 4u
#define CLI_IN_ORG (CLI_NEEDS_ORG | CLI_NEEDS_TOKEN)
#define CLI_IN_PRODUCT (CLI_IN_ORG | CLI_NEEDS_PRODUCT)

struct cli_action;

/* Everything there is to know of a command: dispatch, help, completion and the man page (tools/nh-man) come from its row. */
struct cli_command {
	const char *path; /* "device certificates list"; NULL ends the table; "__…" is not shown */
	const char *args; /* "<device> [file]": nouns of completion.c; "[x]" may be left out */
	int min_args, max_args;
	unsigned needs;
	const struct cli_flag *flags; /* NULL: none */
	nh_rc (*run)(struct nh_cli *c, struct nh_err *err);
	const char *help;
	const struct cli_action *action; /* of the generic runs in action.c; NULL: none */
};

/* One table per subject: cmd_SUBJECT.c. A new one is declared here and listed in command.c. */
extern const struct cli_command cli_audit_commands[], cli_config_commands[], cli_user_commands[], cli_account_commands[], cli_overview_commands[], cli_org_commands[], cli_product_commands[], cli_key_commands[],
	cli_firmware_commands[], cli_archive_commands[], cli_device_commands[], cli_agent_commands[], cli_import_commands[], cli_telemetry_commands[], cli_certificate_commands[],
	cli_deployment_commands[], cli_rollout_commands[], cli_script_commands[], cli_iroh_commands[], cli_ca_commands[], cli_authority_commands[], cli_migrate_commands[], cli_watch_commands[], cli_completion_commands[], cli_help_commands[];
extern const struct cli_command cli_webhook_commands[], cli_explain_commands[], cli_plan_commands[], cli_simulate_commands[];
extern const struct cli_flag cli_global_flags[];
extern const struct cli_flag cli_yes_flags[]; /* of every command that asks before it removes something */
/* Another name of a word below other words: {"device", "certs", "certificates"}; alias NULL ends. */
extern const struct cli_alias {
	const char *below, *alias, *word;
} cli_aliases[];

typedef enum cli_format { CLI_TABLE, CLI_JSON, CLI_CSV } cli_format;

struct cli_settings {
	char *path;    /* arena */
	json_t *root;  /* the whole file */
	json_t *scope; /* what is read and written: root, or the profile that --profile names; borrowed from root */
};

struct nh_cli {
	const struct nh_cli_io *io;
	struct nh_arena arena;
	const struct cli_command *command;
	const struct cli_flag *flags[CLI_FLAGS_MAX]; /* global and own */
	struct cli_value values[CLI_FLAGS_MAX];
	size_t flag_count;
	char **args; /* positional arguments of the command */
	int arg_count;
	const char *data_dir;
	const char *uri, *token, *org, *product; /* NULL or "" = not set */
	const char *cert, *key;                  /* files of a client certificate that signs in instead of a token; NULL: none */
	cli_format format;
	bool json; /* format == CLI_JSON */
	bool non_interactive;
	long timeout_ms; /* of each request; 0: the usual 30 s */
	int status;      /* exit status where the command has one of its own; 0: 0 or 1 as usual */
	struct cli_settings settings;
};

/* flags.c: flags of the running command. Asking for a flag that the command does not have is a bug. */
const char *cli_text(const struct nh_cli *c, const char *name); /* NULL: not given */
bool cli_on(const struct nh_cli *c, const char *name);
const struct nh_option_list *cli_list(const struct nh_cli *c, const char *name);
/* true or false given to a CLI_BOOL flag: *given says whether. NH_EINVAL. */
nh_rc cli_bool(const struct nh_cli *c, const char *name, bool *given, bool *value, struct nh_err *err);
/* command.c: all rows one after the other; NULL ends. */
const struct cli_command *cli_row(size_t index);
/* The word of the row's path below the words of group ("": at the top); empty where it is not below, not shown, or was the word of a row before. *deeper: there are
 * more words. */
nh_slice cli_new_word(size_t index, nh_slice group, bool *deeper);
/* finds the command argv means: its row, or NULL with *depth words of a known group (0: none). Words of the path are left out of rest. */
const struct cli_command *cli_find(int argc, char **argv, int *depth, char **rest, int *rest_count);
const struct cli_flag *cli_flag_named(const struct cli_flag *table, nh_slice name); /* long name, or letter; NULL: none. table may be NULL */
const struct cli_flag *cli_flag_anywhere(nh_slice name);                            /* of any command */
bool cli_value_follows(const char *arg);                                            /* is the word after this flag its value? */
const char *cli_word(nh_slice below, const char *word);                             /* what an alias stands for */
void cli_use_flags(struct nh_cli *c);                                               /* the command's flags and the global ones, without values */
struct nh_option *cli_options(struct nh_cli *c);                                    /* them as rows for the option parser */

void cli_close(struct nh_cli *c);                                                   /* frees what a context holds */

/* help.c */
void cli_command_help(struct nh_cli *c);
void cli_group_help(struct nh_cli *c, nh_slice group); /* commands below the words of a group; at the top only the groups */

/* settings.c: settings.json. source: reference/user-api-and-cli "18.3" */
/* NERVES_HUB_<suffix>, then NERVES_CLOUD_<suffix>; NULL where unset or empty */
const char *cli_env(const struct nh_cli *c, const char *suffix);
bool cli_truth(const char *text); /* "1" "true" "yes" "y" "on" */
nh_rc cli_settings_load(struct nh_cli *c, struct nh_err *err);
nh_rc cli_settings_save(struct nh_cli *c, struct nh_err *err);
void cli_settings_set(struct nh_cli *c, const char *key, const char *value); /* NULL or "": removes */
const char *cli_settings_get(const struct nh_cli *c, const char *key);       /* NULL: not set */
nh_rc cli_profile_find(const struct nh_cli *c, const char *name, json_t **out, struct nh_err *err); /* *out borrowed; NH_ENOTFOUND lists what there is */
/* Flag, environment, saved settings, project, default. source: "18.1" */
nh_rc cli_resolve(struct nh_cli *c, struct nh_err *err);
nh_rc cli_require(const struct nh_cli *c, unsigned needs, struct nh_err *err);

/* files.c: the data directory */
nh_rc cli_check_name(const char *name, const char *what, struct nh_err *err); /* may it be a file name? NH_EINVAL 'invalid WHAT "x"' */
char *cli_path(struct nh_cli *c, const char *folder, const char *file);       /* <data-dir>/<folder>/<org>/<file> */
nh_rc cli_file_create(const char *path, nh_slice bytes, unsigned mode, struct nh_err *err); /* with folders; NH_ECONFLICT: exists */
nh_rc cli_data_dir_make(const struct nh_cli *c, struct nh_err *err);                        /* with its README */
nh_rc cli_file_load(const char *path, struct nh_buf *out, struct nh_err *err);              /* at most 1 MiB */

/* envelope.c: encrypted private keys. source: "18.4" */
#define CLI_SALT_LEN 32
nh_rc cli_envelope_seal(const uint8_t secret_key[64], nh_slice password, const uint8_t salt[CLI_SALT_LEN], const uint8_t nonce[12], struct nh_buf *out,
			struct nh_err *err);
/* NH_EAUTH: wrong password; NH_EFORMAT: not an envelope; NH_EUNSUPPORTED: another algorithm */
nh_rc cli_envelope_open(nh_slice text, nh_slice password, uint8_t secret_key[64], struct nh_err *err);

/* convert.c: small languages of arguments and cells */
nh_rc cli_parse_validity(const char *text, int64_t *out_us, struct nh_err *err); /* "31y", "90d", "12h", "1h30m" */
char *cli_serial_decimal(struct nh_cli *c, const char *argument);                /* as the server names it */
char *cli_serial_hex(struct nh_cli *c, nh_slice decimal);                        /* "05:F4:2A:96"; not a number: unchanged */
/* Any time form the server uses. false: never, null or not a time. */
bool cli_parse_time(nh_slice text, int64_t *out_us);
char *cli_time_cell(struct nh_cli *c, const json_t *value, bool date_only);      /* "" for none */

/* output.c */
[[gnu::format(printf, 2, 3)]] void cli_out(const struct nh_cli *c, const char *fmt, ...);
[[gnu::format(printf, 2, 3)]] void cli_note(const struct nh_cli *c, const char *fmt, ...); /* to stderr */
void cli_out_json(const struct nh_cli *c, const json_t *value); /* as Go's encoder: indent 2, <>& escaped */

struct cli_table {
	struct nh_arena *arena;
	size_t columns, used, capacity; /* used, capacity: cells */
	const char **cells;
};
void cli_table_row(struct cli_table *t, ...);                                       /* t->columns texts; control characters are made visible */
void cli_table_cell(struct cli_table *t, const char *text);                         /* one text; columns of them are a row */
void cli_table_detail(struct cli_table *t, const char *label, const char *value); /* left out where value is NULL or empty */
void cli_table_print(const struct nh_cli *c, const struct cli_table *t);
/* A name from the server must not move the cursor or colour the screen: control characters as \xNN, but for line ends. */
const char *cli_visible(struct nh_cli *c, const char *text);
const char *cli_dash(const char *text); /* "-" for nothing */

/* prompt.c */
nh_rc cli_confirm(struct nh_cli *c, const char *verb, bool yes, struct nh_err *err, const char *question); /* NH_ECLOSED: declined, already said so */
nh_rc cli_line(struct nh_cli *c, const char *prompt, struct nh_buf *out, struct nh_err *err);
nh_rc cli_password(struct nh_cli *c, const char *prompt, struct nh_buf *out, struct nh_err *err); /* no echo on a terminal; wipe after use */
/* Waits up to ms for Esc or Ctrl-C on the terminal; true: cancelled. */
bool cli_wait_cancelled(struct nh_cli *c, unsigned ms);

/* shape.c: what is printed is our structure of an answer, not the server's bytes. source: "18.6" */
typedef enum cli_shape_kind { SHAPE_TEXT, SHAPE_BOOL, SHAPE_INT, SHAPE_TIME, SHAPE_TEXTS, SHAPE_OBJECT, SHAPE_OBJECTS, SHAPE_ANY } cli_shape_kind;

struct cli_shape {
	const char *name; /* NULL ends */
	cli_shape_kind kind;
	bool optional;    /* left out when empty */
	const struct cli_shape *rows; /* OBJECT, OBJECTS */
	const char *from; /* the server's name where it differs */
};
json_t *cli_shape_object(const struct cli_shape *shape, const json_t *server);
json_t *cli_shape_list(const struct cli_shape *shape, const json_t *server); /* null where absent */
const char *cli_get(const json_t *object, const char *key);                  /* "" where absent or not text */
json_t *cli_text_array(const struct nh_option_list *list);                   /* as sent; one empty text alone: [] */

/* view.c: how an object is shown. JSON and CSV come from its shape, tables from its cells. */
typedef const char *cli_cell_fn(struct nh_cli *c, const json_t *object, const json_t *value); /* "": nothing */

struct cli_cell {
	const char *label; /* heading of a column, label of a line; NULL ends */
	const char *path;  /* "deployment_group.name" in the shaped object; NULL: the object itself */
	cli_cell_fn *as;   /* NULL: texts as they are, true as yes, lists with commas */
};

struct cli_view {
	const struct cli_shape *shape;
	const struct cli_cell *list, *detail; /* NULL: never shown so */
	const char *empty;                    /* said instead of an empty table: "No keys found in :org." (action.c fills it) */
	const char *pages;                    /* "device(s)": the list comes in pages and JSON is {data, pagination}; NULL: an array */
};

cli_cell_fn cli_as_time, cli_as_date, cli_as_serial;
/* Prints as --output says. list: an array of shaped objects; with pages {"data", "pagination"}. */
nh_rc cli_view_list(struct nh_cli *c, const struct cli_view *view, const json_t *list);
nh_rc cli_view_one(struct nh_cli *c, const struct cli_view *view, const json_t *object);
/* One call whose answer is only shown: "data" shaped and printed. body is taken. */
nh_rc cli_call_and_view(struct nh_cli *c, const char *method, const char *route, json_t *take_body, const struct cli_view *view, struct nh_err *err);

/* action.c: commands that are one request, from their row. */
extern const struct cli_view cli_savings_view; /* cmd_firmware.c: what updates took */

struct cli_action {
	const char *method;
	const char *route;      /* "orgs/:org/keys/:1": :1 is the first argument, :s1 a serial number in any form; below /api */
	const struct cli_view *view; /* of the answer; NULL: there is none worth showing */
	const char *says;       /* what was done: "Deleted key :1"; NULL: nothing */
	const char *asks;       /* asked first, unless --yes: "Delete key :1?" */
	const char *refuses;    /* verb of the refusal without --yes; NULL: delete */
	const char *wrap;       /* member that holds the whole body: "deployment" */
	const char *takes[3];   /* members of the body that are arguments: {"name"} */
	bool details;           /* shows the answer below what it says */
	bool password;          /* the account's password is asked for and sent: "current_password" */
};
nh_rc cli_run_list(struct nh_cli *c, struct nh_err *err); /* GET, a list; --all follows its pages */
nh_rc cli_run_show(struct nh_cli *c, struct nh_err *err); /* GET, one object */
nh_rc cli_run_send(struct nh_cli *c, struct nh_err *err); /* anything else: flags and arguments as body */
/* Fills :org :product :1 :2 :s1 :s2; in a route they are escaped and serials decimal, else serials are hex. */
char *cli_fill(struct nh_cli *c, const char *pattern, bool route);
/* The flags that are sent, as query ("a=b&c=d") or as members of a body. NH_EINVAL names the flag. */
nh_rc cli_put_query_flags(struct nh_cli *c, struct nh_buf *query, struct nh_err *err);
nh_rc cli_put_body_flags(struct nh_cli *c, json_t *body, struct nh_err *err);
nh_rc cli_put_own_password(struct nh_cli *c, json_t *body, struct nh_err *err); /* asks for it; empty: the account has none */
void cli_put_query(struct nh_buf *query, const char *name, const char *value); /* "&name=value", escaped */
/* The same for another action than the row's; query: beyond the flags, or "". */
nh_rc cli_list_with(struct nh_cli *c, const struct cli_action *action, const char *query, struct nh_err *err);
nh_rc cli_show_with(struct nh_cli *c, const struct cli_action *action, struct nh_err *err);
nh_rc cli_send_with(struct nh_cli *c, const struct cli_action *action, struct nh_err *err);
#define CLI_ORG "orgs/:org"
#define CLI_PRODUCT CLI_ORG "/products/:product"
#define CLI_DEVICE CLI_PRODUCT "/devices/:1"
#define CLI_PAGE_FLAGS                                                                                  \
	{"page", 0, CLI_NUMBER, "N", "page to show", "pagination[page]"},                               \
	{"page-size", 0, CLI_NUMBER, "N", "rows a page", "pagination[page_size]"},                      \
	{"all", 0, CLI_FLAG, NULL, "all pages"}

/* api.c: the server. Paths are below /api; build them with cli_route. */
char *cli_route(struct nh_cli *c, const char *first, ...); /* segments, escaped; end with NULL */
char *cli_org_route(struct nh_cli *c, ...);                /* orgs/O/… */
char *cli_product_route(struct nh_cli *c, ...);            /* orgs/O/products/P/… */
nh_rc cli_api_url(struct nh_cli *c, const char *route, char **out, struct nh_err *err);

struct cli_request {
	const char *method;
	const char *route;
	const char *query;  /* without '?', or NULL */
	json_t *take_body;  /* released by the call; NULL = none */
	bool anonymous;     /* no token */
};
/* *answer: the whole document (new reference) or NULL where the answer is empty; `answer` itself may be NULL. An error answer becomes err's text:
 * "api: 422: message" and the fields. NH_EAUTH 401, NH_EPERM 403, NH_ENOTFOUND 404, NH_ECONFLICT 409, NH_EINVAL others; NH_EIO: not reached. */
nh_rc cli_api(struct nh_cli *c, const struct cli_request *request, json_t **answer, struct nh_err *err);
/* One call whose "data" is shaped into *out (new reference); list: data is an array. body is taken. */
nh_rc cli_call(struct nh_cli *c, const char *method, const char *route, json_t *take_body, const struct cli_shape *shape, bool list, json_t **out,
	       struct nh_err *err);
/* A call without an answer worth showing. */
nh_rc cli_act(struct nh_cli *c, const char *method, const char *route, json_t *take_body, struct nh_err *err);
/* An answer that is text, whatever it holds; at most 64 MiB. */
nh_rc cli_api_text(struct nh_cli *c, const char *method, const char *route, const char *query, struct nh_buf *out, struct nh_err *err);
/* A file as one part of a form, with the name that people gave it. */
nh_rc cli_upload(struct nh_cli *c, const char *route, const char *part_name, const char *file, const char *shown_name, json_t **answer, struct nh_err *err);
struct cli_file_request {
	const char *route, *query; /* query: NULL for none */
	const char *file, *media;
	const char *const *headers; /* further ones, NULL ends */
};
/* A file as the whole body of a POST, streamed; with progress, and a word about what broke off. *answer as cli_api's. */
nh_rc cli_send_file(struct nh_cli *c, const struct cli_file_request *request, json_t **answer, struct nh_err *err);
nh_rc cli_download(struct nh_cli *c, const char *route, FILE *to, const char *shown_name, struct nh_err *err);
/* Text of an error answer, as people see it. */
void cli_api_error_put(struct nh_buf *out, long status, nh_slice body);

/* progress.c: one line on stderr, only on a terminal */
struct cli_progress {
	const struct nh_cli *c;
	const char *verb, *name;
	uint64_t shown_at_ms, done;
	bool shown, finished;
};
void cli_progress_update(struct cli_progress *p, uint64_t done, uint64_t total);
void cli_progress_end(struct cli_progress *p);

/* cmd_explain.c: {"limit": 3, "missing": ["a"]} as "limit 3, missing [a]"; a remedy as a sentence, and the command or the request that does it */
const char *cli_facts_text(struct nh_cli *c, const json_t *facts);
void cli_put_remedies(struct nh_cli *c, const json_t *remedies);

/* cmd_key.c: for firmware */
nh_rc cli_key_load(struct nh_cli *c, const char *name, const char *password, uint8_t secret_key[64], struct nh_err *err);
