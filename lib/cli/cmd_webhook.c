/*
 * `nh webhook`: where an organization wants to be told of events, and what became of telling it.
 *
 * source: docs/guides/webhooks.md
 */
#include "cli_int.h"

static const struct cli_shape webhook_shape[] = {
	{"id", SHAPE_INT}, {"url", SHAPE_TEXT}, {"description", SHAPE_TEXT}, {"product", SHAPE_TEXT, true}, {"events", SHAPE_TEXTS}, {"enabled", SHAPE_BOOL}, {"disabled_reason", SHAPE_TEXT, true},
	{"waiting", SHAPE_INT}, {"dead", SHAPE_INT}, {"failing_since", SHAPE_TIME, true}, {"delivered_at", SHAPE_TIME, true}, {"old_secret_until", SHAPE_TIME, true}, {"inserted_at", SHAPE_TIME},
	{"updated_at", SHAPE_TIME}, {"secret", SHAPE_TEXT, true}, {NULL}};
static const struct cli_shape delivery_shape[] = {{"id", SHAPE_INT}, {"event_id", SHAPE_TEXT}, {"type", SHAPE_TEXT}, {"status", SHAPE_TEXT}, {"attempts", SHAPE_INT}, {"answer_status", SHAPE_INT, true},
						  {"error", SHAPE_TEXT, true}, {"inserted_at", SHAPE_TIME}, {"tried_at", SHAPE_TIME, true}, {"due_at", SHAPE_TIME, true}, {NULL}};
static const struct cli_shape test_shape[] = {{"delivered", SHAPE_BOOL}, {"answer_status", SHAPE_INT, true}, {"error", SHAPE_TEXT, true}, {"answer", SHAPE_TEXT, true}, {"milliseconds", SHAPE_INT}, {NULL}};
static const struct cli_shape retry_shape[] = {{"retried", SHAPE_INT}, {NULL}};

static const struct cli_cell webhook_list[] = {{"ID", "id"}, {"URL", "url"}, {"PRODUCT", "product"}, {"EVENTS", "events"}, {"ENABLED", "enabled"}, {"WAITING", "waiting"}, {"DEAD", "dead"}, {NULL}};
static const struct cli_cell webhook_detail[] = {
	{"ID", "id"}, {"URL", "url"}, {"Description", "description"}, {"Product", "product"}, {"Events", "events"}, {"Enabled", "enabled"}, {"Switched off because", "disabled_reason"},
	{"Waiting", "waiting"}, {"Dead", "dead"}, {"Failing since", "failing_since", cli_as_time}, {"Last delivered", "delivered_at", cli_as_time}, {"Old secret until", "old_secret_until", cli_as_time},
	{"Created", "inserted_at", cli_as_time}, {"Updated", "updated_at", cli_as_time}, {"Secret", "secret"}, {NULL}};
static const struct cli_cell delivery_list[] = {{"ID", "id"}, {"TYPE", "type"}, {"STATUS", "status"}, {"ATTEMPTS", "attempts"}, {"ANSWER", "answer_status"}, {"TRIED", "tried_at", cli_as_time},
						{"DUE", "due_at", cli_as_time}, {"ERROR", "error"}, {NULL}};
static const struct cli_cell test_detail[] = {{"Delivered", "delivered"}, {"Answer", "answer_status"}, {"Error", "error"}, {"Said", "answer"}, {"Milliseconds", "milliseconds"}, {NULL}};
static const struct cli_cell retry_detail[] = {{"Sent anew", "retried"}, {NULL}};

static const struct cli_view webhook_view = {webhook_shape, webhook_list, webhook_detail, "No webhooks found for :org."};
static const struct cli_view delivery_view = {delivery_shape, delivery_list, NULL, "No deliveries found of webhook :1."};
static const struct cli_view test_view = {test_shape, NULL, test_detail};
static const struct cli_view retry_view = {retry_shape, NULL, retry_detail};

static const struct cli_action webhooks = {"GET", CLI_ORG "/webhooks", &webhook_view};
static const struct cli_action webhook = {"GET", CLI_ORG "/webhooks/:1", &webhook_view};
static const struct cli_action addition = {"POST", CLI_ORG "/webhooks", &webhook_view, "Added a webhook. Its secret is shown this once:", .takes = {"url"}, .details = true};
static const struct cli_action change = {"PUT", CLI_ORG "/webhooks/:1", &webhook_view, "Changed webhook :1", .details = true};
static const struct cli_action removal = {"DELETE", CLI_ORG "/webhooks/:1", NULL, "Removed webhook :1", "Remove webhook :1 with all that is owed to it?", "remove"};
static const struct cli_action rotation = {"POST", CLI_ORG "/webhooks/:1/secret", &webhook_view, "Webhook :1 has a new secret, shown this once; the old one signs, too, for a day:", .details = true};
static const struct cli_action deliveries = {"GET", CLI_ORG "/webhooks/:1/deliveries", &delivery_view};

/* Exit status 1 where the endpoint did not take it. */
static nh_rc test(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *answer = NULL;
	NH_TRY(cli_call(c, "POST", cli_fill(c, CLI_ORG "/webhooks/:1/test", true), NULL, test_shape, false, &answer, err));
	c->status = nh_json_bool(answer, "delivered", false) ? 0 : 1;
	return cli_view_one(c, &test_view, answer);
}

static nh_rc retry(struct nh_cli *c, struct nh_err *err)
{
	const char *route = c->arg_count > 1 ? CLI_ORG "/webhooks/:1/deliveries/:2/retry" : CLI_ORG "/webhooks/:1/retry_dead";
	return cli_call_and_view(c, "POST", cli_fill(c, route, true), NULL, &retry_view, err);
}

#define FIELD_FLAGS                                                                                                        \
	{"event", 0, CLI_LIST, "EVENT", "an event it is told of; repeatable (default: all)", "events"},                    \
		{"only-product", 0, CLI_TEXT, "PRODUCT", "only events of this product", "product"},                        \
		{"description", 0, CLI_TEXT, "TEXT", "for people", "description"}, {"enabled", 0, CLI_BOOL, NULL, "is anything sent there?", "enabled"}

static const struct cli_flag add_flags[] = {FIELD_FLAGS, {NULL}};
static const struct cli_flag update_flags[] = {{"url", 0, CLI_TEXT, "URL", "where to send", "url"}, FIELD_FLAGS, {NULL}};
static const struct cli_flag delivery_flags[] = {{"status", 0, CLI_TEXT, "waiting|delivered|dead", "only those", "status"},
						 {"limit", 0, CLI_NUMBER, "N", "how many at most (default 25)", "limit"},
						 {"before", 0, CLI_NUMBER, "ID", "only those before the one of this number", "before"},
						 {NULL}};

const struct cli_command cli_webhook_commands[] = {
	{"webhook list", "", 0, 0, CLI_IN_ORG, NULL, cli_run_list, "list webhooks", &webhooks},
	{"webhook show", "<webhook>", 1, 1, CLI_IN_ORG, NULL, cli_run_show, "show a webhook", &webhook},
	{"webhook add", "<url>", 1, 1, CLI_IN_ORG, add_flags, cli_run_send, "add a webhook and show its secret", &addition},
	{"webhook update", "<webhook>", 1, 1, CLI_IN_ORG, update_flags, cli_run_send, "change a webhook", &change},
	{"webhook remove", "<webhook>", 1, 1, CLI_IN_ORG, cli_yes_flags, cli_run_send, "remove a webhook with all that is owed to it", &removal},
	{"webhook rotate", "<webhook>", 1, 1, CLI_IN_ORG, NULL, cli_run_send, "give a webhook a new secret; the old one signs, too, for a day", &rotation},
	{"webhook test", "<webhook>", 1, 1, CLI_IN_ORG, NULL, test, "send a webhook.test now and show what came back"},
	{"webhook deliveries", "<webhook>", 1, 1, CLI_IN_ORG, delivery_flags, cli_run_list, "list a webhook's deliveries", &deliveries},
	{"webhook retry", "<webhook> [delivery]", 1, 2, CLI_IN_ORG, NULL, retry, "send a dead delivery anew, or all of them"},
	{NULL},
};
