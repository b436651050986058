/*
 * What devices tell of themselves, from their words to rows to what people see of them: health and its thresholds, places, log lines, names in other networks, connections that
 * ended, and how long all that is kept. On each database at hand.
 */
#include "rollout_world.h"

#include <pthread.h>

#include "hub/extensions.h"
#include "store/telemetry.h"

#define DAY_US (INT64_C(86400) * NH_US_PER_S)

struct teller {
	int64_t device;
	struct nh_session session;
	unsigned ignored; /* of the last call */
};

static nh_rc arrive(struct world *w, const char *identifier, struct teller *t, struct nh_err *err)
{
	*t = (struct teller){0};
	NH_TRY(add_device(w, identifier, NULL, &t->device, err));
	return join(w, t->device, 1, "1.0.0", &t->session);
}

static nh_rc tell(struct world *w, struct teller *t, nh_extension extension, const char *event, const char *json)
{
	NH_AUTO_JSON json_t *payload = NULL;
	NH_TRY(nh_json_parse(nh_slice_str(json), 2 << 20, &payload, E(w)));
	t->ignored = 0;
	return nh_extension_event(&w->ctx, &t->session, extension, nh_slice_str(event), payload, &t->ignored, E(w));
}

static bool topic_left(const struct world *w, const char *name)
{
	for (size_t i = 0; i < w->effects.count; i++) {
		if (w->effects.items[i].kind == NH_EFFECT_TOPIC && nh_slice_eq_str(w->effects.items[i].name, name))
			return true;
	}
	return false;
}

/* ---- names, versions, settings ------------------------------------------------------------------------------------------------ */

static void test_names_and_versions(void **state)
{
	static const struct {
		const char *version;
		bool ok;
	} versions[] = {
		{"0.0.1", true},  {"0.0.2", true},  {"0.0.99", true}, {"0.0.2-rc.1", true}, {"0.0.1+build", true}, {"0.0.1-rc.1", false}, {"0.0.0", false},
		{"0.1.0", false}, {"1.0.0", false}, {"0.0", false},   {"", false},          {"v0.0.1", false},     {"0.0.1 ", false},
	};
	for (nh_extension e = 0; e < NH_EXTENSIONS; e++)
		assert_int_equal(nh_extension_find(nh_slice_str(nh_extension_name(e))), e);
	assert_int_equal(nh_extension_find(NH_LIT("Health")), NH_EXTENSIONS);
	assert_int_equal(nh_extension_find(NH_SLICE_EMPTY), NH_EXTENSIONS);
	for (size_t i = 0; i < NH_ARRAY_LEN(versions); i++) {
		if (nh_extension_version_ok(nh_slice_str(versions[i].version)) != versions[i].ok)
			fail_msg("version '%s'", versions[i].version);
	}
}

static nh_rc settings(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *product, *device; /* what each sends, one after the other */
		unsigned mask;
	} cases[] = {
		{"{}", "{}", 0},
		{"{\"health\":true,\"logging\":true}", "{}", NH_EXT_BIT(NH_EXT_HEALTH) | NH_EXT_BIT(NH_EXT_LOGGING)},
		{"{\"geo\":true}", "{\"logging\":false}", NH_EXT_BIT(NH_EXT_HEALTH) | NH_EXT_BIT(NH_EXT_GEO)}, /* what is not named stays */
		{"{\"health\":false,\"teapot\":true}", "{\"logging\":true,\"local_shell\":true}", NH_EXT_BIT(NH_EXT_LOGGING) | NH_EXT_BIT(NH_EXT_GEO)},
	};
	static const char *const refused[] = {"{\"extensions\":[]}", "{\"extensions\":true}", "{\"extensions\":null}", "{\"extensions\":{\"geo\":\"yes\"}}", "{\"extensions\":{\"geo\":1}}"};
	struct nh_device device;
	int64_t id;
	unsigned mask;
	NH_TRY(add_device(w, "d-1", NULL, &id, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		NH_AUTO_JSON json_t *of_product = json_pack("{s:o}", "extensions", json_loads(cases[i].product, 0, NULL));
		NH_AUTO_JSON json_t *of_device = json_pack("{s:o}", "extensions", json_loads(cases[i].device, 0, NULL));
		forget_effects(w);
		OK(nh_product_update(&w->ctx, &w->as_ada, &w->widget, of_product, &w->widget, NO_ERRORS(w), E(w)));
		CHECK(effects_of(w, NH_EFFECT_PRODUCT_SETTINGS) == (i > 0));
		OK(nh_device_by_id(&w->ctx, id, &device, E(w)));
		OK(nh_device_update(&w->ctx, &w->as_ada, &device, of_device, &device, NO_ERRORS(w), E(w)));
		CHECK(effects_of(w, NH_EFFECT_DEVICE_SETTINGS) == 1);
		OK(nh_extensions_allowed(&w->ctx, id, &mask, E(w)));
		CHECK(mask == cases[i].mask);
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(refused); i++) {
		NH_AUTO_JSON json_t *fields = json_loads(refused[i], 0, NULL);
		CHECK_RC(NH_EINVAL, nh_product_update(&w->ctx, &w->as_ada, &w->widget, fields, &w->widget, NO_ERRORS(w), E(w)));
		CHECK(refused_with(w, "extensions", "is invalid"));
		CHECK_RC(NH_EINVAL, nh_device_update(&w->ctx, &w->as_ada, &device, fields, &device, NO_ERRORS(w), E(w)));
	}
	OK(nh_device_delete(&w->ctx, &w->as_ada, &device, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_extensions_allowed(&w->ctx, id, &mask, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_extensions_allowed(&w->ctx, 999999, &mask, E(w)));
	return NH_OK;
}
static void test_settings(void **state) { on_each_engine(settings, NULL); }

/* ---- who may speak -------------------------------------------------------------------------------------------------------------- */

static nh_rc speaking(struct world *w, struct nh_err *err)
{
	static const struct {
		nh_extension extension;
		const char *event, *json;
	} words[] = {
		{NH_EXT_HEALTH, "report", "{\"value\":{}}"},
		{NH_EXT_GEO, "location:update", "{\"latitude\":1,\"longitude\":2}"},
		{NH_EXT_LOGGING, "send", "{\"level\":\"info\",\"message\":\"m\",\"timestamp\":\"2026-01-01T00:00:00Z\"}"},
		{NH_EXT_NETWORK_IDENTITY, "report", "{\"identities\":[]}"},
	};
	/* none of these is an event with a meaning */
	static const struct {
		nh_extension extension;
		const char *event, *json;
	} noise[] = {
		{NH_EXT_HEALTH, "reports", "{\"value\":{}}"}, {NH_EXT_HEALTH, "report", "{}"},         {NH_EXT_HEALTH, "report", "[]"},           {NH_EXT_HEALTH, "report", "{\"value\":[]}"},
		{NH_EXT_HEALTH, "", "{}"},                    {NH_EXT_GEO, "location", "{}"},           {NH_EXT_GEO, "location:update", "7"},      {NH_EXT_LOGGING, "report", "{}"},
		{NH_EXT_LOGGING, "send", "null"},             {NH_EXT_LOCAL_SHELL, "report", "{}"},     {NH_EXT_NETWORK_IDENTITY, "report", "{}"}, {NH_EXT_NETWORK_IDENTITY, "report", "{\"identities\":{}}"},
		{NH_EXT_NETWORK_IDENTITY, "send", "{}"},
	};
	struct teller old, t;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &old, err));
	t = old;
	struct nh_session unjoined = t.session;
	unjoined.joined = false;
	for (size_t i = 0; i < NH_ARRAY_LEN(noise); i++) {
		OK(tell(w, &t, noise[i].extension, noise[i].event, noise[i].json));
		CHECK(t.ignored == 1);
	}
	w->now_us += NH_US_PER_S;
	OK(join(w, t.device, 1, "1.0.0", &t.session));
	for (size_t i = 0; i < NH_ARRAY_LEN(words); i++) {
		CHECK_RC(NH_ECLOSED, tell(w, &old, words[i].extension, words[i].event, words[i].json)); /* replaced */
		OK(tell(w, &t, words[i].extension, words[i].event, words[i].json));
		CHECK(t.ignored == 0);
		OK(nh_extension_event(&w->ctx, &t.session, words[i].extension, NH_LIT("what"), NULL, NULL, E(w)));
		CHECK_RC(NH_ECLOSED, nh_extension_event(&w->ctx, &unjoined, words[i].extension, nh_slice_str(words[i].event), NULL, NULL, E(w)));
	}
	return NH_OK;
}
static void test_speaking(void **state) { on_each_engine(speaking, NULL); }

/* ---- health ----------------------------------------------------------------------------------------------------------------------- */

static nh_rc thresholds(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *metrics, *status, *reasons;
	} cases[] = {
		{"{}", "unknown", NULL},
		{"{\"cpu_temp\":99,\"load_1min\":50}", "unknown", NULL},
		{"{\"cpu_usage_percent\":79.9,\"mem_used_percent\":69,\"disk_used_percentage\":0}", "healthy", NULL},
		{"{\"cpu_usage_percent\":80}", "warning", "{\"warning\":{\"cpu_usage_percent\":{\"value\":80.0,\"threshold\":80.0}}}"},
		{"{\"cpu_usage_percent\":89.5}", "warning", "{\"warning\":{\"cpu_usage_percent\":{\"value\":89.5"},
		{"{\"cpu_usage_percent\":90}", "unhealthy", "{\"unhealthy\":{\"cpu_usage_percent\":{\"value\":90.0,\"threshold\":90.0}}}"},
		{"{\"mem_used_percent\":70}", "warning", "\"threshold\":70.0"},
		{"{\"mem_used_percent\":80}", "unhealthy", "\"threshold\":80.0"},
		{"{\"disk_used_percentage\":80}", "warning", "\"threshold\":80.0"},
		{"{\"disk_used_percentage\":\"90\"}", "unhealthy", "\"threshold\":90.0"}, /* a number as text counts */
		{"{\"cpu_usage_percent\":85,\"disk_used_percentage\":99}", "unhealthy", "{\"warning\":{\"cpu_usage_percent\""},
		{"{\"mem used percent\":75}", "unknown", NULL}, /* spaces are removed, not replaced */
		{"{\"mem_used _percent\":75}", "warning", "mem_used_percent"},
		{"{\"cpu_usage_percent\":\"much\"}", "unknown", NULL},
	};
	struct teller t;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &t, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_health h;
		w->now_us += NH_US_PER_S;
		OK(tell(w, &t, NH_EXT_HEALTH, "report", nh_arena_printf(&w->arena, "{\"value\":{\"metrics\":%s}}", cases[i].metrics)));
		OK(nh_health_latest(&w->ctx, t.device, &h, E(w)));
		if (!nh_slice_eq_str(h.status, cases[i].status) || (cases[i].reasons ? !holds(h.reasons, cases[i].reasons) : h.reasons.ptr != NULL))
			return NH_FAIL(err, NH_EINTERNAL, "%s: %.*s, %.*s", cases[i].metrics, NH_ARG(h.status), NH_ARG(h.reasons));
	}
	return NH_OK;
}
static void test_thresholds(void **state) { on_each_engine(thresholds, NULL); }

static nh_rc metric(struct world *w, int64_t device, const char *key, double *value)
{
	struct nh_metric *list;
	size_t count;
	NH_TRY(nh_metric_list(&w->ctx, device, nh_slice_str(key), w->now_us, w->now_us, 10, &list, &count, E(w)));
	if (count != 1)
		return NH_ENOTFOUND;
	*value = list[0].value;
	return NH_OK;
}

static nh_rc health(struct world *w, struct nh_err *err)
{
	struct teller t, other;
	struct nh_health h, *list;
	struct nh_metric *metrics;
	size_t count;
	double v;
	int64_t first;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &t, err));
	NH_TRY(arrive(w, "d-2", &other, err));
	CHECK_RC(NH_ENOTFOUND, nh_health_latest(&w->ctx, t.device, &h, E(w)));
	forget_effects(w);
	first = w->now_us += NH_US_PER_S;
	OK(tell(w, &t, NH_EXT_HEALTH, "report",
	        "{\"value\":{\"timestamp\":\"1999-01-01T00:00:00Z\",\"metadata\":{\"k\":\"v\"},\"alarms\":{\"Elixir.My.Alarm\":\"too hot\",\"Fan\":[1]},\"checks\":{\"x\":{\"pass\":true}},"
	        "\"metrics\":{\"cpu temp\":48.25,\"eth0_bytes_sent_total\":\" 18446744073709551616.0 \",\"load_1min\":\"0.5\",\"i\":7,\"neg\":-1e-3,"
	        "\"bool\":true,\"nan\":\"NaN\",\"inf\":\"Infinity\",\"big\":\"1e999\",\"hex\":\"0x10\",\"words\":\"12 apples\",\"empty\":\"\",\"null\":null,\"list\":[1],\" \":5}}}"));
	CHECK(t.ignored == 10 && topic_left(w, "health"));
	OK(nh_health_latest(&w->ctx, t.device, &h, E(w)));
	CHECK(h.at_us == w->now_us && nh_slice_eq_str(h.status, "unknown") && !h.reasons.ptr);
	CHECK(nh_slice_eq_str(h.alarms, "{\"My.Alarm\":\"too hot\",\"Fan\":\"[1]\"}") && holds(h.data, "\"checks\":{\"x\":{\"pass\":true}}"));
	static const struct {
		const char *key;
		double value;
	} kept[] = {{"cputemp", 48.25}, {"eth0_bytes_sent_total", 18446744073709551616.0}, {"load_1min", 0.5}, {"i", 7}, {"neg", -1e-3}};
	for (size_t i = 0; i < NH_ARRAY_LEN(kept); i++) {
		OK(metric(w, t.device, kept[i].key, &v));
		CHECK(v == kept[i].value);
	}
	OK(nh_metric_list(&w->ctx, t.device, NH_SLICE_EMPTY, 0, INT64_MAX, 100, &metrics, &count, E(w)));
	CHECK(count == NH_ARRAY_LEN(kept));

	/* one more, and what lists say of both; the other device has none of it */
	w->now_us += NH_US_PER_S;
	OK(tell(w, &t, NH_EXT_HEALTH, "report", "{\"value\":{\"metrics\":{\"i\":8,\"load_1min\":1},\"alarms\":{}}}"));
	OK(nh_health_latest(&w->ctx, t.device, &h, E(w)));
	CHECK(h.at_us == w->now_us && !h.alarms.ptr);
	OK(nh_health_list(&w->ctx, t.device, INT64_MAX, 10, &list, &count, E(w)));
	CHECK(count == 2 && list[0].at_us == w->now_us && list[1].at_us == first);
	OK(nh_health_list(&w->ctx, t.device, w->now_us, 10, &list, &count, E(w)));
	CHECK(count == 1 && list[0].at_us == first);
	OK(nh_health_list(&w->ctx, t.device, INT64_MAX, 1, &list, &count, E(w)));
	CHECK(count == 1);
	OK(nh_metric_list(&w->ctx, t.device, NH_LIT("i"), first, w->now_us, 10, &metrics, &count, E(w)));
	CHECK(count == 2 && metrics[0].at_us == first && metrics[0].value == 7 && metrics[1].value == 8 && nh_slice_eq_str(metrics[1].key, "i"));
	OK(nh_metric_list(&w->ctx, t.device, NH_LIT("i"), first + 1, w->now_us, 10, &metrics, &count, E(w)));
	CHECK(count == 1);
	OK(nh_metric_list(&w->ctx, t.device, NH_LIT("i"), first, w->now_us - 1, 10, &metrics, &count, E(w)));
	CHECK(count == 1);
	OK(nh_metric_list(&w->ctx, t.device, NH_LIT("i"), first, w->now_us, 1, &metrics, &count, E(w)));
	CHECK(count == 1 && metrics[0].value == 7);
	CHECK_RC(NH_ENOTFOUND, nh_health_latest(&w->ctx, other.device, &h, E(w)));
	OK(nh_metric_list(&w->ctx, other.device, NH_SLICE_EMPTY, 0, INT64_MAX, 100, &metrics, &count, E(w)));
	CHECK(count == 0);
	return NH_OK;
}
static void test_health(void **state) { on_each_engine(health, NULL); }

/* What a device may not have us keep. */
static nh_rc health_limits(struct world *w, struct nh_err *err)
{
	struct teller t;
	struct nh_health *list;
	struct nh_metric *metrics;
	size_t count;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &t, err));
	for (unsigned over = 0; over < 2; over++) {
		/* {"metadata":{"k":"…"}} of 65536 bytes, then of one more */
		char *text = nh_arena_alloc(&w->arena, 70000);
		snprintf(text, 70000, "{\"value\":{\"metadata\":{\"k\":\"%0*d\"}}}", (int)(65536 - 21 + over), 0);
		w->now_us += NH_US_PER_S;
		OK(tell(w, &t, NH_EXT_HEALTH, "report", text));
		CHECK(t.ignored == over);
	}
	OK(nh_health_list(&w->ctx, t.device, INT64_MAX, 10, &list, &count, E(w)));
	CHECK(count == 1 && list[0].data.len == 65536);

	for (size_t n = 1; n <= 230; n += n < 12 ? 1 : 31) { /* around each statement's dozen, and over the limit */
		NH_AUTO_JSON json_t *all = json_object();
		for (size_t i = 0; i < n; i++)
			json_object_set_new(all, nh_arena_printf(&w->arena, "m%zu", i), json_integer((json_int_t)i));
		NH_AUTO_JSON json_t *payload = json_pack("{s:{s:O}}", "value", "metrics", all);
		unsigned ignored = 0;
		w->now_us += NH_US_PER_S;
		OK(nh_extension_event(&w->ctx, &t.session, NH_EXT_HEALTH, NH_LIT("report"), payload, &ignored, E(w)));
		OK(nh_metric_list(&w->ctx, t.device, NH_SLICE_EMPTY, w->now_us, w->now_us, 1000, &metrics, &count, E(w)));
		CHECK(count == (n < 200 ? n : 200) && ignored == n - count);
	}
	w->now_us += NH_US_PER_S;
	OK(tell(w, &t, NH_EXT_HEALTH, "report", nh_arena_printf(&w->arena, "{\"value\":{\"metrics\":{\"%0255d\":1,\"%0256d\":2,\"a b\":3,\"ab\":4}}}", 0, 0)));
	OK(nh_metric_list(&w->ctx, t.device, NH_SLICE_EMPTY, w->now_us, w->now_us, 1000, &metrics, &count, E(w)));
	CHECK(count == 2 && t.ignored == 1 && metrics[0].key.len == 255 && nh_slice_eq_str(metrics[1].key, "ab") && metrics[1].value == 4);
	return NH_OK;
}
static void test_health_limits(void **state) { on_each_engine(health_limits, NULL); }

/* Lists of devices by what their latest report said. */
static nh_rc lists(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *identifier, *first, *latest; /* reports; NULL: none */
	} devices[] = {
		{"fine", "{\"metrics\":{\"cpu_usage_percent\":95}}", "{\"metrics\":{\"cpu_usage_percent\":5,\"fans\":2}}"},
		{"ill", NULL, "{\"metrics\":{\"cpu_usage_percent\":95,\"fans\":0.5},\"alarms\":{\"Elixir.Fan.Stuck\":\"100% stuck\"}}"},
		{"mute", NULL, NULL},
		{"vague", "{\"metrics\":{\"fans\":9},\"alarms\":{\"Fan\":\"x\"}}", "{\"alarms\":{}}"},
	};
	static const struct {
		struct nh_filter filters[3];
		const char *found;
	} cases[] = {
		{{{NH_LIT("health_status"), NH_LIT("healthy")}}, "fine "},
		{{{NH_LIT("health_status"), NH_LIT("unhealthy")}}, "ill "},
		{{{NH_LIT("health_status"), NH_LIT("unknown")}}, "mute vague "},
		{{{NH_LIT("health_status"), NH_LIT("' OR 1 = 1")}}, ""},
		{{{NH_LIT("alarm_status"), NH_LIT("with")}}, "ill "},
		{{{NH_LIT("alarm_status"), NH_LIT("without")}}, "fine mute vague "},
		{{{NH_LIT("alarm_status"), NH_LIT("perhaps")}}, "fine ill mute vague "},
		{{{NH_LIT("alarm"), NH_LIT("fan.STUCK")}}, "ill "},
		{{{NH_LIT("alarm"), NH_LIT("100%")}}, "ill "},
		{{{NH_LIT("alarm"), NH_LIT("fan%stuck")}}, ""},
		{{{NH_LIT("metrics_key"), NH_LIT("fans")}, {NH_LIT("metrics_operator"), NH_LIT("gt")}, {NH_LIT("metrics_value"), NH_LIT("0.25")}}, "fine ill "},
		{{{NH_LIT("metrics_value"), NH_LIT("2")}, {NH_LIT("metrics_operator"), NH_LIT("lt")}, {NH_LIT("metrics_key"), NH_LIT("fans")}}, "ill "},
		{{{NH_LIT("metrics_key"), NH_LIT("fans")}, {NH_LIT("metrics_operator"), NH_LIT("eq")}, {NH_LIT("metrics_value"), NH_LIT("2")}}, "fine ill mute vague "},
		{{{NH_LIT("metrics_key"), NH_LIT("fans")}, {NH_LIT("metrics_operator"), NH_LIT("gt")}, {NH_LIT("metrics_value"), NH_LIT("many")}}, "fine ill mute vague "},
		{{{NH_LIT("metrics_key"), NH_LIT("fans")}}, "fine ill mute vague "},
		{{{NH_LIT("metrics_key"), NH_LIT("fans")}, {NH_LIT("metrics_operator"), NH_LIT("gt")}, {NH_LIT("metrics_value"), NH_LIT("0")}}, "fine ill "},
	};
	struct teller t;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	for (size_t i = 0; i < NH_ARRAY_LEN(devices); i++) {
		NH_TRY(arrive(w, devices[i].identifier, &t, err));
		if (devices[i].first)
			OK(tell(w, &t, NH_EXT_HEALTH, "report", nh_arena_printf(&w->arena, "{\"value\":%s}", devices[i].first)));
		if (devices[i].latest)
			OK(tell(w, &t, NH_EXT_HEALTH, "report", nh_arena_printf(&w->arena, "{\"value\":%s}", devices[i].latest)));
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_device_query query = {.filters = cases[i].filters, .filter_count = NH_ARRAY_LEN(cases[i].filters)};
		struct nh_device_page page;
		const char *found = "";
		OK(nh_device_list(&w->ctx, &w->as_ada, &w->widget, &query, &page, NO_ERRORS(w), E(w)));
		for (size_t d = 0; d < page.count; d++)
			found = nh_arena_printf(&w->arena, "%s%.*s ", found, NH_ARG(page.items[d].identifier));
		if (strcmp(found, cases[i].found) != 0 || page.total != (int64_t)page.count)
			return NH_FAIL(err, NH_EINTERNAL, "case %zu: %s", i, found);
	}
	return NH_OK;
}
static void test_lists(void **state) { on_each_engine(lists, NULL); }

/* ---- places ----------------------------------------------------------------------------------------------------------------------- */

static bool known_place(void *ctx, nh_slice remote, double *latitude, double *longitude, uint32_t *accuracy_m, const char **source)
{
	*latitude = 52.5;
	*longitude = 13.25;
	*accuracy_m = *(uint32_t *)ctx;
	*source = "geoip";
	return nh_slice_eq_str(remote, "192.0.2.1");
}

static nh_rc places(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *told, *kept; /* NULL: ignored */
	} cases[] = {
		{"{\"source\":\"geoip\",\"latitude\":52.1,\"longitude\":4.3,\"accuracy\":1000}", "{\"latitude\":52.1"},
		{"{\"latitude\":-90,\"longitude\":180}", "\"location\":{\"latitude\":-90,\"longitude\":180}"},
		{"{\"latitude\":90.01,\"longitude\":0}", NULL},
		{"{\"latitude\":0,\"longitude\":-180.5}", NULL},
		{"{\"latitude\":\"52\",\"longitude\":\"4\"}", NULL},
		{"{\"latitude\":52}", NULL},
		{"{}", NULL},
		{"{\"latitude\":1,\"longitude\":2,\"accuracy\":-5,\"source\":7,\"more\":\"things\"}", "\"location\":{\"latitude\":1,\"longitude\":2}"},
		{"{\"latitude\":1,\"longitude\":2,\"source\":\"a\\u0000b\"}", "\"location\":{\"latitude\":1,\"longitude\":2}"},
		{"{\"error_code\":\"no_fix\",\"error_description\":\"no sky\"}", "\"location\":{\"error_code\":\"no_fix\",\"error_description\":\"no sky\"}"},
		{"{\"error_description\":\"no sky\"}", NULL},
	};
	uint32_t accuracy = 20000;
	struct nh_geo_resolver resolver = {.ctx = &accuracy, .locate = known_place};
	struct teller t;
	struct nh_connection c;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &t, err));
	OK(nh_geo_observe(&w->ctx, &t.session, NULL, NH_LIT("192.0.2.1"), E(w)));
	OK(nh_geo_observe(&w->ctx, &t.session, &resolver, NH_LIT("198.51.100.1"), E(w)));
	OK(nh_connection_get(&w->ctx, t.device, &c, E(w)));
	CHECK(!holds(c.metadata, "location"));
	OK(nh_geo_observe(&w->ctx, &t.session, &resolver, NH_LIT("192.0.2.1"), E(w)));
	OK(nh_connection_get(&w->ctx, t.device, &c, E(w)));
	CHECK(holds(c.metadata, "\"location\":{\"latitude\":52.5,\"longitude\":13.25,\"source\":\"geoip\",\"accuracy\":20000}") && holds(c.metadata, "\"device_api_version\":\"2.3.0\""));
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		nh_slice before = c.metadata;
		OK(tell(w, &t, NH_EXT_GEO, "location:update", cases[i].told));
		OK(nh_connection_get(&w->ctx, t.device, &c, E(w)));
		bool good = cases[i].kept ? holds(c.metadata, cases[i].kept) && t.ignored == 0 : nh_slice_eq(c.metadata, before) && t.ignored == 1;
		if (!good)
			return NH_FAIL(err, NH_EINTERNAL, "%s: %.*s", cases[i].told, NH_ARG(c.metadata));
	}
	/* what the device said stands */
	OK(tell(w, &t, NH_EXT_GEO, "location:update", "{\"latitude\":1,\"longitude\":2}"));
	OK(nh_geo_observe(&w->ctx, &t.session, &resolver, NH_LIT("192.0.2.1"), E(w)));
	OK(nh_connection_get(&w->ctx, t.device, &c, E(w)));
	CHECK(holds(c.metadata, "\"location\":{\"latitude\":1,\"longitude\":2}") && holds(c.metadata, "\"device_api_version\":\"2.3.0\""));
	return NH_OK;
}
static void test_places(void **state) { on_each_engine(places, NULL); }

/* ---- log lines -------------------------------------------------------------------------------------------------------------------- */

static void test_bucket(void **state)
{
	static const struct {
		nh_extension extension;
		uint64_t every_ms;
	} cases[] = {{NH_EXT_LOGGING, 200}, {NH_EXT_HEALTH, 1000}, {NH_EXT_GEO, 1000}, {NH_EXT_NETWORK_IDENTITY, 1000}};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_extension_bucket b = {0};
		nh_extension e = cases[i].extension;
		uint64_t now = 5000;
		unsigned taken = 0;
		for (unsigned n = 0; n < 30; n++)
			taken += nh_extension_bucket_take(&b, e, now);
		assert_int_equal(taken, 10);
		assert_false(nh_extension_bucket_take(&b, e, now + cases[i].every_ms - 1));
		assert_true(nh_extension_bucket_take(&b, e, now + cases[i].every_ms));
		assert_false(nh_extension_bucket_take(&b, e, now + cases[i].every_ms));
		assert_false(nh_extension_bucket_take(&b, e, now)); /* a clock that goes back gives nothing */
		now += cases[i].every_ms;
		uint64_t end = now + 10 * cases[i].every_ms;
		nh_extension_bucket_take(&b, e, now);
		for (taken = 0; now < end;)
			taken += nh_extension_bucket_take(&b, e, ++now);
		assert_int_equal(taken, 10); /* however often it asks */
		for (taken = 0, now += UINT64_C(1) << 40; taken < 20 && nh_extension_bucket_take(&b, e, now); taken++)
			continue;
		assert_int_equal(taken, 10); /* however long the pause */
	}
}

static nh_rc newest_line(struct world *w, int64_t device, struct nh_log_line *out)
{
	struct nh_log_line *list, next;
	size_t count;
	bool more;
	NH_TRY(nh_log_list(&w->ctx, device, &(struct nh_log_filter){0}, 1, &list, &count, &more, &next, E(w)));
	if (count == 0)
		return NH_ENOTFOUND;
	*out = list[0];
	return NH_OK;
}

#define SOME_TIME "\"timestamp\":\"2023-11-14T22:13:20.123456Z\""
#define SOME_TIME_US INT64_C(1700000000123456)

static nh_rc log_lines(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *told;
		int64_t at_us; /* 0: dropped */
		const char *level, *message, *meta;
	} cases[] = {
		{"{\"level\":\"info\",\"message\":\"text\",\"meta\":{\"time\":\"1700000000123456\",\"module\":\"Foo\"}}", SOME_TIME_US, "info", "text",
	         "{\"time\":\"1700000000123456\",\"module\":\"Foo\"}"},
		{"{\"level\":\"error\",\"message\":\"t\"," SOME_TIME ",\"meta\":{\"time\":\"1\"}}", SOME_TIME_US, "error", "t", "{\"time\":\"1\"}"},
		{"{\"level\":\"warning\",\"message\":\"t\",\"timestamp\":\"2023-11-14T23:13:20.123456+01:00\"}", SOME_TIME_US, "warning", "t", "{}"},
		{"{\"level\":\"info\",\"message\":\"t\",\"timestamp\":\"soon\",\"meta\":{\"time\":\"1700000000123456\"}}", SOME_TIME_US, "info", "t", "{\"time\":\"1700000000123456\"}"},
		{"{\"level\":\"info\",\"message\":\"t\",\"meta\":{\"time\":1700000000123456}}", 0, NULL, NULL, NULL},
		{"{\"level\":\"info\",\"message\":\"t\",\"meta\":{\"time\":\"-5\"}}", 0, NULL, NULL, NULL},
		{"{\"level\":\"info\",\"message\":\"t\",\"meta\":{\"time\":\"999999999999999999\"}}", 0, NULL, NULL, NULL},
		{"{\"level\":\"info\",\"message\":\"t\",\"timestamp\":1700000000}", 0, NULL, NULL, NULL},
		{"{\"level\":\"info\",\"message\":\"t\"}", 0, NULL, NULL, NULL},
		{"{\"level\":\"info\",\"message\":\"t\",\"meta\":\"time\"}", 0, NULL, NULL, NULL},
		{"{\"message\":\"t\"," SOME_TIME "}", SOME_TIME_US, "info", "t", "{}"},
		{"{\"level\":\"my_own\",\"message\":\"t\"," SOME_TIME "}", SOME_TIME_US, "my_own", "t", "{}"},
		{"{\"level\":\"0123456789012345678901234567890123\",\"message\":\"t\"," SOME_TIME "}", SOME_TIME_US, "info", "t", "{}"},
		{"{\"level\":\"a\\u0000b\",\"message\":\"a\\u0000b\\u0000\"," SOME_TIME "}", SOME_TIME_US, "info", "a\xEF\xBF\xBD" "b\xEF\xBF\xBD", "{}"},
		{"{\"level\":\"info\",\"message\":[\"he\",[\"l\",108],[[[\"o\"]]],33]," SOME_TIME "}", SOME_TIME_US, "info", "hello!", "{}"},
		{"{\"level\":\"info\",\"message\":[195,164]," SOME_TIME "}", SOME_TIME_US, "info", "\xC3\xA4", "{}"},          /* bytes */
		{"{\"level\":\"info\",\"message\":[228,8364,128512,\"!\"]," SOME_TIME "}", SOME_TIME_US, "info", "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80!", "{}"}, /* code points */
		{"{\"level\":\"info\",\"message\":[228]," SOME_TIME "}", SOME_TIME_US, "info", "\xC3\xA4", "{}"},
		{"{\"level\":\"info\",\"message\":[97,-1,1114112,null,{},0.5,98]," SOME_TIME "}", SOME_TIME_US, "info", "ab", "{}"},
		{"{\"level\":\"info\",\"message\":[55296]," SOME_TIME "}", SOME_TIME_US, "info", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", "{}"}, /* half of a pair */
		{"{\"level\":\"info\",\"message\":{\"a\":1}," SOME_TIME "}", SOME_TIME_US, "info", "{\"a\":1}", "{}"},
		{"{\"level\":\"info\",\"message\":42," SOME_TIME "}", SOME_TIME_US, "info", "42", "{}"},
		{"{\"level\":\"info\"," SOME_TIME "}", SOME_TIME_US, "info", "", "{}"},
		{"{\"level\":\"info\",\"message\":\"\"," SOME_TIME ",\"meta\":{\"n\":1,\"s\":\"x\",\"o\":{},\"l\":[\"x\"]}}", SOME_TIME_US, "info", "", "{\"s\":\"x\"}"},
		{"{\"level\":\"info\",\"message\":\"t\"," SOME_TIME ",\"meta\":[1,2]}", SOME_TIME_US, "info", "t", "{}"},
	};
	struct teller t;
	struct nh_log_line line;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &t, err));
	CHECK_RC(NH_ENOTFOUND, newest_line(w, t.device, &line));
	int64_t last_id = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		OK(tell(w, &t, NH_EXT_LOGGING, "send", cases[i].told));
		nh_rc rc = newest_line(w, t.device, &line);
		bool stored = rc == NH_OK && line.id > last_id;
		bool good = stored == (cases[i].at_us != 0) && t.ignored == !stored;
		if (good && stored)
			good = line.at_us == cases[i].at_us && nh_slice_eq_str(line.level, cases[i].level) && nh_slice_eq_str(line.message, cases[i].message) &&
			       nh_slice_eq_str(line.meta, cases[i].meta);
		if (!good)
			return NH_FAIL(err, NH_EINTERNAL, "%s: %lld %.*s '%.*s' %.*s", cases[i].told, (long long)line.at_us, NH_ARG(line.level), NH_ARG(line.message), NH_ARG(line.meta));
		last_id = stored ? line.id : last_id;
	}
	CHECK(topic_left(w, "logs"));
	return NH_OK;
}
static void test_log_lines(void **state) { on_each_engine(log_lines, NULL); }

static nh_rc log_limits(struct world *w, struct nh_err *err)
{
	struct teller t;
	struct nh_log_line line;
	char *text = nh_arena_alloc(&w->arena, 200000);
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &t, err));
	for (int over = -1; over <= 1; over++) {
		int zeroes = NH_LOG_MESSAGE_MAX - 3 + over; /* and a character of three bytes */
		snprintf(text, 200000, "{\"level\":\"i\",\"message\":\"%0*d\xE2\x82\xAC\"," SOME_TIME "}", zeroes, 0);
		OK(tell(w, &t, NH_EXT_LOGGING, "send", text));
		OK(newest_line(w, t.device, &line));
		CHECK(line.message.len == (size_t)(over > 0 ? NH_LOG_MESSAGE_MAX : zeroes + 3));
		CHECK(nh_slice_ends(line.message, over > 0 ? NH_LIT("0\xE2\x80\xA6") : NH_LIT("\xE2\x82\xAC")));
	}
	/* a list that ends where a character of several bytes would go on is no list of code points for that */
	NH_AUTO_JSON json_t *list = json_array();
	for (size_t i = 0; i < NH_LOG_MESSAGE_MAX; i++) {
		json_array_append_new(list, json_integer(0xC3));
		json_array_append_new(list, json_integer(0xA4));
	}
	NH_AUTO_JSON json_t *payload = json_pack("{s:s, s:O, s:s}", "level", "i", "message", list, "timestamp", "2023-11-14T22:13:20Z");
	OK(nh_extension_event(&w->ctx, &t.session, NH_EXT_LOGGING, NH_LIT("send"), payload, NULL, E(w)));
	struct nh_log_line *lines, next;
	size_t count;
	bool more;
	OK(nh_log_list(&w->ctx, t.device, &(struct nh_log_filter){.to_us = SOME_TIME_US - 1}, 1, &lines, &count, &more, &next, E(w)));
	CHECK(count == 1 && lines[0].message.len <= NH_LOG_MESSAGE_MAX && nh_utf8_valid(lines[0].message) && nh_slice_starts(lines[0].message, NH_LIT("\xC3\xA4\xC3\xA4")));
	/* nested deeper than anybody means */
	json_t *deep = json_string("x");
	for (size_t i = 0; i < 60; i++)
		deep = json_pack("[o]", deep);
	NH_AUTO_JSON json_t *deeper = json_pack("{s:s, s:o, s:s}", "level", "i", "message", deep, "timestamp", "2024-11-14T22:13:20Z");
	OK(nh_extension_event(&w->ctx, &t.session, NH_EXT_LOGGING, NH_LIT("send"), deeper, NULL, E(w)));
	OK(newest_line(w, t.device, &line));
	CHECK(line.message.len == 0);
	/* of much meta what fits */
	int at = snprintf(text, 200000, "{\"level\":\"i\",\"message\":\"m\",\"timestamp\":\"2025-11-14T22:13:20Z\",\"meta\":{\"huge\":\"%05000d\"", 0);
	for (int i = 0; i < 200; i++)
		at += snprintf(text + at, 200000 - (size_t)at, ",\"k%03d\":\"%040d\"", i, 0);
	snprintf(text + at, 200000 - (size_t)at, "}}");
	OK(tell(w, &t, NH_EXT_LOGGING, "send", text));
	OK(newest_line(w, t.device, &line));
	CHECK(line.meta.len > 4000 && line.meta.len <= 4096 && holds(line.meta, "k000") && !holds(line.meta, "huge") && !holds(line.meta, "k199"));
	return NH_OK;
}
static void test_log_limits(void **state) { on_each_engine(log_limits, NULL); }

static nh_rc add_line(struct world *w, int64_t device, int64_t at_us, const char *level, const char *message, struct nh_err *err)
{
	return nh_sql_exec(w->ctx.tx, &nh_q_log_add, NH_PARAMS(nh_p_int(device), nh_p_int(at_us), nh_p_int(w->now_us), nh_p_str(level), nh_p_str(message), nh_p_str("{}")), NULL, err);
}

/* Reads all pages; how many lines there were in all, and how many calls that took. */
static nh_rc read_all(struct world *w, int64_t device, struct nh_log_filter filter, size_t limit, size_t *lines, size_t *calls)
{
	struct nh_log_line *list, next;
	size_t count;
	int64_t before = INT64_MAX;
	bool more = true;
	for (*lines = *calls = 0; more; ++*calls) {
		NH_TRY(nh_log_list(&w->ctx, device, &filter, limit, &list, &count, &more, &next, E(w)));
		for (size_t i = 0; i < count; i++) {
			if (list[i].at_us > before)
				return NH_FAIL(E(w), NH_EINTERNAL, "the lines are not in order");
			before = list[i].at_us;
		}
		*lines += count;
		filter.before_us = next.at_us;
		filter.before_id = next.id;
	}
	return NH_OK;
}

static nh_rc log_search(struct world *w, struct nh_err *err)
{
	enum { LINES = 1500, EPOCH = 1000000 };
	struct teller t, other;
	size_t lines, calls;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &t, err));
	NH_TRY(arrive(w, "d-2", &other, err));
	NH_TRY(add_line(w, other.device, EPOCH, "error", "not yours: Needle", err));
	/* three at each microsecond; every tenth an error, every hundredth with the word */
	for (int i = 0; i < LINES; i++)
		NH_TRY(add_line(w, t.device, EPOCH + i / 3, i % 10 == 0 ? "error" : "info", i % 100 == 0 ? "a Needle 100% of_it" : "hay", err));
	const struct {
		struct nh_log_filter filter;
		size_t lines;
	} cases[] = {
		{.lines = LINES},
		{{.level = NH_LIT("error")}, LINES / 10},
		{{.level = NH_LIT("Error")}, 0},
		{{.contains = NH_LIT("nEEDLE")}, LINES / 100},
		{{.contains = NH_LIT("100% OF_")}, LINES / 100},
		{{.contains = NH_LIT("%")}, LINES / 100},
		{{.contains = NH_LIT("hay"), .level = NH_LIT("error")}, LINES / 10 - LINES / 100},
		{{.contains = NH_LIT("haystack")}, 0},
		{{.from_us = EPOCH + 100}, LINES - 300},
		{{.to_us = EPOCH + 99}, 300},
		{{.from_us = EPOCH + 10, .to_us = EPOCH + 19}, 30},
		{{.from_us = EPOCH + 20, .to_us = EPOCH + 19}, 0},
		{{.before_us = EPOCH + 100, .before_id = 0}, 300},
	};
	static const size_t limits[] = {1, 7, 500};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		for (size_t l = i == 0; l < NH_ARRAY_LEN(limits); l++) {
			OK(read_all(w, t.device, cases[i].filter, limits[l], &lines, &calls));
			if (lines != cases[i].lines)
				return NH_FAIL(err, NH_EINTERNAL, "case %zu, pages of %zu: %zu lines", i, limits[l], lines);
		}
	}
	return NH_OK;
}
static void test_log_search(void **state) { on_each_engine(log_search, NULL); }

/* A search that finds nothing costs what 20 000 lines cost, then asks whether to go on. */
static nh_rc long_search(struct world *w, struct nh_err *err)
{
	struct teller t;
	struct nh_log_line *list, next;
	size_t count, lines, calls;
	bool more;
	struct nh_log_filter filter = {.contains = NH_LIT("needle")};
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &t, err));
	NH_TRY(add_line(w, t.device, 1, "info", "needle", err));
	for (int i = 0; i < 20000; i++)
		NH_TRY(add_line(w, t.device, 2 + i, "info", "hay", err));
	OK(nh_log_list(&w->ctx, t.device, &filter, 10, &list, &count, &more, &next, E(w)));
	CHECK(count == 0 && more && next.at_us == 2);
	OK(read_all(w, t.device, filter, 10, &lines, &calls));
	CHECK(lines == 1 && calls == 2);
	return NH_OK;
}
static void test_long_search(void **state) { on_engine(0, long_search, NULL, ""); /* which is about counting, not about SQL */ }

/* ---- names in other networks -------------------------------------------------------------------------------------------------------- */

/* As an operator writes it: for the organization (device 0), or on a device. */
static nh_rc operator_writes(struct world *w, int64_t org, int64_t device, const char *service, const char *instance, const char *identifier)
{
	struct nh_rows *rows = NULL;
	nh_rc rc = nh_sql_dynamic(w->ctx.tx,
	                          NH_LIT("INSERT INTO network_identities (org_id, device_id, service, instance, identifier, source, inserted_at, updated_at) "
	                                 "VALUES ($1, $2, $3, $4, $5, 'operator', 1, 1) RETURNING id"),
	                          NH_PARAMS(nh_p_int(org), nh_p_ref(device), nh_p_str(service), nh_p_str(instance), nh_p_str(identifier)), &rows, E(w));
	if (rc == NH_OK)
		rc = nh_sql_next(rows, E(w));
	nh_sql_end(rows);
	return rc;
}

static nh_rc report_identity(struct world *w, struct teller *t, const char *service, const char *instance, const char *identifier, const char *details)
{
	return tell(w, t, NH_EXT_NETWORK_IDENTITY, "report",
	            nh_arena_printf(&w->arena, "{\"identities\":[{\"service\":\"%s\",\"instance\":\"%s\",\"identifier\":\"%s\",\"details\":%s}]}", service, instance, identifier, details));
}

/* "service/instance=identifier source details", one a line */
static const char *identities(struct world *w, int64_t device)
{
	struct nh_network_identity *list;
	size_t count;
	const char *all = "";
	if (nh_network_identity_list(&w->ctx, device, &list, &count, E(w)) != NH_OK)
		return "?";
	for (size_t i = 0; i < count; i++)
		all = nh_arena_printf(&w->arena, "%s%.*s/%.*s=%.*s %.*s %.*s\n", all, NH_ARG(list[i].service), NH_ARG(list[i].instance), NH_ARG(list[i].identifier),
		                      NH_ARG(list[i].source), NH_ARG(list[i].details));
	return all;
}

#define CHECK_IDENTITIES(device, text)                                                                                            \
	do {                                                                                                                      \
		const char *found_ = identities(w, (device));                                                                     \
		if (strcmp(found_, (text)) != 0)                                                                                  \
			return NH_FAIL(err, NH_EINTERNAL, "line %d: %s", __LINE__, found_);                                       \
	} while (0)

static nh_rc identity_rules(struct world *w, struct nh_err *err)
{
	struct teller t, other;
	struct nh_network_identity *list;
	struct nh_device device;
	size_t count;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &t, err));
	NH_TRY(arrive(w, "d-2", &other, err));
	/* 1: unknown service */
	OK(report_identity(w, &t, "carrier-pigeon", "default", "k0", "{}"));
	CHECK(t.ignored == 1);
	/* 2: held by nobody: stored, then replaced by the device's next of that place; another instance stands beside it */
	forget_effects(w);
	OK(report_identity(w, &t, "tailscale", "default", "k1", "{\"a\":1}"));
	CHECK(t.ignored == 0 && topic_left(w, "network_identities"));
	OK(report_identity(w, &t, "tailscale", "second", "k2", "{}"));
	OK(report_identity(w, &t, "tailscale", "default", "k3", "{}"));
	CHECK_IDENTITIES(t.device, "tailscale/default=k3 device_reported {}\ntailscale/second=k2 device_reported {}\n");
	/* … unless an operator wrote what is there */
	OK(operator_writes(w, w->acme.id, t.device, "netbird", "default", "n1"));
	OK(report_identity(w, &t, "netbird", "default", "n2", "{}"));
	CHECK(t.ignored == 1);
	/* 3: held by this device in this place: details and time; of an operator's row the time only, and nobody is told */
	forget_effects(w);
	w->now_us += NH_US_PER_S;
	OK(report_identity(w, &t, "netbird", "default", "n1", "{\"x\":1}"));
	CHECK(t.ignored == 0 && !topic_left(w, "network_identities"));
	OK(report_identity(w, &t, "tailscale", "second", "k2", "{}"));
	CHECK(!topic_left(w, "network_identities"));
	OK(report_identity(w, &t, "tailscale", "default", "k3", "{\"b\":2}"));
	CHECK(topic_left(w, "network_identities"));
	CHECK_IDENTITIES(t.device, "netbird/default=n1 operator {}\ntailscale/default=k3 device_reported {\"b\":2}\ntailscale/second=k2 device_reported {}\n");
	OK(nh_network_identity_list(&w->ctx, t.device, &list, &count, E(w)));
	for (size_t i = 0; i < count; i++)
		CHECK(list[i].last_reported_us == w->now_us);
	CHECK(list[2].updated_at_us == w->now_us - NH_US_PER_S && list[1].updated_at_us == w->now_us);
	/* 4: held by this device elsewhere, by another device, by another organization */
	OK(operator_writes(w, w->other.id, 0, "iroh", "default", "theirs"));
	OK(report_identity(w, &t, "tailscale", "third", "k3", "{}"));
	CHECK(t.ignored == 1);
	OK(report_identity(w, &other, "tailscale", "default", "k3", "{}"));
	CHECK(other.ignored == 1);
	OK(report_identity(w, &t, "iroh", "default", "theirs", "{}"));
	CHECK(t.ignored == 1);
	CHECK_IDENTITIES(other.device, "");
	/* 5: held by the organization for whoever comes; what the device had in that place goes */
	OK(report_identity(w, &t, "wireguard", "home", "w1", "{}"));
	OK(operator_writes(w, w->acme.id, 0, "wireguard", "default", "w2"));
	OK(report_identity(w, &t, "wireguard", "home", "w2", "{\"c\":3}"));
	CHECK(t.ignored == 0);
	CHECK_IDENTITIES(t.device, "netbird/default=n1 operator {}\ntailscale/default=k3 device_reported {\"b\":2}\ntailscale/second=k2 device_reported {}\n"
	                           "wireguard/home=w2 device_reported {\"c\":3}\n");
	OK(report_identity(w, &other, "wireguard", "default", "w1", "{}")); /* which is free again */
	CHECK(other.ignored == 0);
	/* moved with the device, gone with it */
	OK(nh_device_by_id(&w->ctx, t.device, &device, E(w)));
	OK(nh_device_delete(&w->ctx, &w->as_ada, &device, E(w)));
	CHECK_IDENTITIES(t.device, "");
	OK(report_identity(w, &other, "tailscale", "default", "k3", "{}"));
	CHECK(other.ignored == 0);
	return NH_OK;
}
static void test_identity_rules(void **state) { on_each_engine(identity_rules, NULL); }

static nh_rc identity_entries(struct world *w, struct nh_err *err)
{
	struct teller t;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "d-1", &t, err));
	const struct {
		const char *entry;
		bool kept;
	} cases[] = {
		{"{\"service\":\"iroh\",\"identifier\":\"a\"}", true},
		{"{\"service\":\"iroh\",\"identifier\":\"a\",\"instance\":null,\"details\":null}", true},
		{"{\"service\":\"iroh\",\"identifier\":\"a\",\"details\":\"text\"}", true},
		{"{\"service\":\"iroh\",\"identifier\":\"\"}", false},
		{"{\"service\":\"iroh\",\"identifier\":7}", false},
		{"{\"service\":\"iroh\",\"identifier\":\"a\\u0000b\"}", false},
		{"{\"service\":\"iroh\",\"identifier\":\"a\",\"instance\":\"\"}", false},
		{"{\"service\":\"iroh\",\"identifier\":\"a\",\"instance\":5}", false},
		{"{\"service\":\"Iroh\",\"identifier\":\"a\"}", false},
		{"{\"identifier\":\"a\"}", false},
		{"\"iroh\"", false},
		{"null", false},
		{nh_arena_printf(&w->arena, "{\"service\":\"iroh\",\"identifier\":\"%0255d\"}", 0), true},
		{nh_arena_printf(&w->arena, "{\"service\":\"iroh\",\"identifier\":\"%0256d\"}", 0), false},
		{nh_arena_printf(&w->arena, "{\"service\":\"iroh\",\"identifier\":\"a\",\"instance\":\"%0256d\"}", 0), false},
		{nh_arena_printf(&w->arena, "{\"service\":\"iroh\",\"identifier\":\"a\",\"details\":{\"k\":\"%04088d\"}}", 0), true},
		{nh_arena_printf(&w->arena, "{\"service\":\"iroh\",\"identifier\":\"a\",\"details\":{\"k\":\"%04089d\"}}", 0), false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		OK(tell(w, &t, NH_EXT_NETWORK_IDENTITY, "report", nh_arena_printf(&w->arena, "{\"identities\":[%s]}", cases[i].entry)));
		if (t.ignored != !cases[i].kept)
			return NH_FAIL(err, NH_EINTERNAL, "%.200s", cases[i].entry);
	}
	/* ten of a report */
	const char *list = "";
	for (int i = 0; i < 13; i++)
		list = nh_arena_printf(&w->arena, "%s%s{\"service\":\"netbird\",\"identifier\":\"n%d\",\"instance\":\"i%d\"}", list, i ? "," : "", i, i);
	OK(tell(w, &t, NH_EXT_NETWORK_IDENTITY, "report", nh_arena_printf(&w->arena, "{\"identities\":[%s]}", list)));
	struct nh_network_identity *found;
	size_t count;
	OK(nh_network_identity_list(&w->ctx, t.device, &found, &count, E(w)));
	CHECK(t.ignored == 3 && count == 10 + 1 && nh_slice_eq_str(found[0].service, "iroh"));
	return NH_OK;
}
static void test_identity_entries(void **state) { on_each_engine(identity_entries, NULL); }

/* ---- connections that ended ----------------------------------------------------------------------------------------------------------- */

static nh_rc connections(struct world *w, struct nh_err *err)
{
	struct teller t;
	struct nh_session first, second;
	struct nh_opening gone, late;
	struct nh_past_connection *list;
	size_t count, cleaned;
	bool written;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	int64_t t0 = w->now_us;
	NH_TRY(arrive(w, "d-1", &t, err));
	first = t.session;
	/* one that goes on */
	OK(nh_connection_history(&w->ctx, t.device, INT64_MAX, 10, &list, &count, E(w)));
	CHECK(count == 1 && list[0].established_at_us == t0 && list[0].disconnected_at_us == 0 && nh_slice_eq_str(list[0].id, first.connection_id));
	NH_AUTO_JSON json_t *interface = json_pack("{s:s}", "interface", "wlan0");
	OK(nh_session_network_interface(&w->ctx, &first, interface, E(w)));
	/* one whose row a newer one took before it ended: dated by its id, to the millisecond */
	w->now_us += NH_US_PER_S;
	OK(join(w, t.device, 1, "1.0.0", &second));
	w->now_us += NH_US_PER_S;
	OK(nh_session_disconnect(&w->ctx, t.device, first.connection_id, NH_LIT("replaced"), E(w)));
	OK(nh_connection_history(&w->ctx, t.device, INT64_MAX, 10, &list, &count, E(w)));
	CHECK(count == 2 && list[0].disconnected_at_us == 0 && nh_slice_eq_str(list[1].id, first.connection_id));
	CHECK(list[1].established_at_us == t0 / 1000 * 1000 && list[1].disconnected_at_us == w->now_us && nh_slice_eq_str(list[1].reason, "replaced") && !list[1].network_interface.ptr);
	/* an ordinary end; told twice it is written once */
	OK(nh_session_network_interface(&w->ctx, &second, interface, E(w)));
	OK(nh_session_disconnect(&w->ctx, t.device, second.connection_id, NH_SLICE_EMPTY, E(w)));
	w->now_us += NH_US_PER_S;
	OK(nh_session_disconnect(&w->ctx, t.device, second.connection_id, NH_LIT("again"), E(w)));
	OK(nh_connection_history(&w->ctx, t.device, INT64_MAX, 10, &list, &count, E(w)));
	CHECK(count == 2 && list[0].established_at_us == t0 + NH_US_PER_S && list[0].disconnected_at_us == w->now_us - NH_US_PER_S && !list[0].reason.ptr);
	CHECK(nh_slice_eq_str(list[0].network_interface, "wifi"));
	/* came and went before anything was written; came and went while another was here */
	nh_opening_make(&gone, t.device, NH_SLICE_EMPTY, w->ctx.clock, w->ctx.rng);
	OK(nh_session_connect_late(&w->ctx, &gone, w->now_us + 5, &written, E(w)));
	CHECK(written);
	nh_opening_make(&late, t.device, NH_SLICE_EMPTY, w->ctx.clock, w->ctx.rng);
	w->now_us += NH_US_PER_S;
	OK(open_connection(w, t.device, &first));
	OK(nh_session_connect_late(&w->ctx, &late, w->now_us + 5, &written, E(w)));
	CHECK(!written);
	OK(nh_connection_history(&w->ctx, t.device, INT64_MAX, 10, &list, &count, E(w)));
	CHECK(count == 5 && nh_slice_eq_str(list[0].id, first.connection_id) && list[1].disconnected_at_us == w->now_us + 5);
	CHECK(list[2].disconnected_at_us == w->now_us - NH_US_PER_S + 5);
	/* stale ones, with their reason */
	w->now_us += 3600 * NH_US_PER_S;
	OK(nh_session_clean_stale(&w->ctx, w->now_us, &cleaned, E(w)));
	OK(nh_connection_history(&w->ctx, t.device, INT64_MAX, 1, &list, &count, E(w)));
	CHECK(cleaned == 1 && count == 1 && nh_slice_eq_str(list[0].reason, "Stale connection") && list[0].disconnected_at_us == w->now_us);
	/* pages */
	OK(nh_connection_history(&w->ctx, t.device, list[0].established_at_us, 2, &list, &count, E(w)));
	CHECK(count == 2 && nh_slice_eq_str(list[0].id, late.connection_id));
	return NH_OK;
}
static void test_connections(void **state) { on_each_engine(connections, NULL); }

static nh_rc come_and_go(struct world *w, int64_t device, unsigned times, struct nh_err *err)
{
	struct nh_session s;
	for (unsigned i = 0; i < times; i++) {
		w->now_us += NH_US_PER_MS;
		OK(open_connection(w, device, &s));
		OK(nh_session_disconnect(&w->ctx, device, s.connection_id, NH_SLICE_EMPTY, E(w)));
	}
	return NH_OK;
}

static nh_rc flapping(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *identifier;
		unsigned ended;
		bool here;
		int64_t counted; /* 0: not listed */
	} cases[] = {{"calm", 3, true, 0}, {"ten", 10, false, 0}, {"ten and one", 10, true, 11}, {"eleven", 11, false, 11}, {"wild", 40, true, 41}, {"deleted", 40, false, 0}};
	struct nh_flapping *list;
	struct nh_device device;
	struct nh_session s;
	size_t count, listed = 0;
	int64_t ids[NH_ARRAY_LEN(cases)], past;
	NH_TRY(add_device(w, "long ago", NULL, &past, err));
	NH_TRY(come_and_go(w, past, 40, err));
	w->now_us += 3600 * NH_US_PER_S;
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		NH_TRY(add_device(w, cases[i].identifier, NULL, &ids[i], err));
		NH_TRY(come_and_go(w, ids[i], cases[i].ended, err));
		if (cases[i].here)
			OK(open_connection(w, ids[i], &s));
		listed += cases[i].counted > 0;
	}
	OK(nh_device_by_id(&w->ctx, ids[NH_ARRAY_LEN(cases) - 1], &device, E(w)));
	OK(nh_device_delete(&w->ctx, &w->as_ada, &device, E(w)));
	OK(nh_flapping_list(&w->ctx, w->widget.id, 10, &list, &count, E(w)));
	CHECK(count == listed && list[0].connections == 41 && list[1].connections == 11 && nh_slice_eq_str(list[1].identifier, "eleven"));
	for (size_t i = 0; i < count; i++) {
		size_t c = 0;
		while (!nh_slice_eq_str(list[i].identifier, cases[c].identifier))
			CHECK(++c < NH_ARRAY_LEN(cases));
		CHECK(list[i].connections == cases[c].counted && list[i].device_id == ids[c]);
	}
	OK(nh_flapping_list(&w->ctx, w->widget.id, 1, &list, &count, E(w)));
	CHECK(count == 1 && nh_slice_eq_str(list[0].identifier, "wild"));
	/* another product has none of it, nor sees the device that comes from here */
	struct nh_product second;
	OK(nh_product_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("Second"), &second, NULL, E(w)));
	OK(nh_device_by_id(&w->ctx, list[0].device_id, &device, E(w)));
	OK(nh_device_move(&w->ctx, &w->as_ada, &device, NH_LIT("acme"), NH_LIT("Second"), &device, NULL, E(w)));
	OK(nh_flapping_list(&w->ctx, second.id, 10, &list, &count, E(w)));
	CHECK(count == 0);
	OK(nh_flapping_list(&w->ctx, w->widget.id, 10, &list, &count, E(w)));
	CHECK(count == listed - 1);
	w->now_us += 3601 * NH_US_PER_S;
	OK(nh_flapping_list(&w->ctx, w->widget.id, 10, &list, &count, E(w)));
	CHECK(count == 0);
	return NH_OK;
}
static void test_flapping(void **state) { on_each_engine(flapping, NULL); }

/* ---- cost ------------------------------------------------------------------------------------------------------------------------------ */

/* No statement walks through a table, however many devices there are: SQLite says how it would go about each. What is walked through are short lists that a statement itself made. */
static nh_rc plans(struct world *w, struct nh_err *err)
{
	static const char *const own[] = {"SCAN ended", "SCAN listed", "SCAN given", "SCAN 12 CONSTANT ROWS"};
	const struct nh_param nothing[32] = {0};
	size_t steps = 0;
	for (const struct nh_stmt *const *stmt = nh_telemetry_statements; *stmt; stmt++) {
		struct nh_rows *rows = NULL;
		size_t count = 0;
		for (const char *at = (*stmt)->sql; (at = strchr(at, '$')); at++) {
			size_t number = (size_t)strtoul(at + 1, NULL, 10);
			count = number > count ? number : count;
		}
		OK(nh_sql_dynamic(w->ctx.tx, nh_slice_str(nh_arena_printf(&w->arena, "EXPLAIN QUERY PLAN %s", (*stmt)->sql)), nothing, count, &rows, E(w)));
		for (; nh_sql_next(rows, E(w)) == NH_OK; steps++) {
			nh_slice step = nh_col_text(rows, 3, &w->arena);
			bool fine = !nh_slice_starts(step, NH_LIT("SCAN "));
			for (size_t i = 0; i < NH_ARRAY_LEN(own); i++)
				fine = fine || nh_slice_eq_str(step, own[i]);
			if (!fine)
				return NH_FAIL(err, NH_EINTERNAL, "%s: %.*s", (*stmt)->name, NH_ARG(step));
		}
		nh_sql_end(rows);
	}
	CHECK(steps > 40);
	return NH_OK;
}
static void test_plans(void **state) { on_engine(0, plans, NULL, ""); }

/* ---- many at once ---------------------------------------------------------------------------------------------------------------------- */

enum { AT_ONCE = 12, REPORTS = 20 };

struct talker {
	struct nh_db *db;
	struct world *world; /* clock and config only */
	struct teller teller;
	bool trims; /* instead of talking */
	nh_rc rc;
	struct nh_err err;
};

static nh_rc all_arrive(struct world *w, struct nh_err *err)
{
	struct talker *talkers = w->arg;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	for (int i = 0; i < AT_ONCE; i++)
		NH_TRY(arrive(w, nh_arena_printf(&w->arena, "d-%d", i), &talkers[i].teller, err));
	return NH_OK;
}

static nh_rc talk_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	static const struct nh_retention keep = {.health_days = 1, .log_days = 1, .connection_days = 1};
	struct talker *t = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_effects effects = {0};
	struct nh_ctx ctx = {tx, &arena, &t->world->clock, &nh_rng_system, &t->world->config, &effects};
	size_t trimmed;
	if (t->trims)
		return nh_telemetry_trim(&ctx, &keep, &trimmed, err);
	NH_AUTO_JSON json_t *report = json_pack("{s:{s:{s:i, s:i}}}", "value", "metrics", "cpu_temp", 40, "load_1min", 1);
	NH_AUTO_JSON json_t *line = json_pack("{s:s, s:s, s:s}", "level", "info", "message", "m", "timestamp", "2026-01-01T00:00:00Z");
	NH_TRY(nh_extension_event(&ctx, &t->teller.session, NH_EXT_HEALTH, NH_LIT("report"), report, NULL, err));
	return nh_extension_event(&ctx, &t->teller.session, NH_EXT_LOGGING, NH_LIT("send"), line, NULL, err);
}

static void *talk(void *arg)
{
	struct talker *t = arg;
	for (int i = 0; i < REPORTS && t->rc == NH_OK; i++)
		t->rc = nh_db_write(t->db, talk_tx, t, &t->err);
	return NULL;
}

static nh_rc totals_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	int64_t *totals = arg;
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_dynamic(tx, NH_LIT("SELECT (SELECT COUNT(*) FROM device_health), (SELECT COUNT(*) FROM device_health WHERE superseded = 0), "
	                                 "(SELECT COUNT(*) FROM device_metrics), (SELECT COUNT(*) FROM device_log_lines)"),
	                      NH_NO_PARAMS, &rows, err));
	NH_TRY(nh_sql_next(rows, err));
	for (int i = 0; i < 4; i++)
		totals[i] = nh_col_int(rows, i);
	nh_sql_end(rows);
	return NH_OK;
}

/* A fleet that is asked for its health all at once, while old rows go: nobody is refused, nothing is lost. */
static void test_at_once(void **state)
{
	FOR_EACH_ENGINE (db) {
		static struct talker talkers[AT_ONCE + 1];
		struct world world = {.arg = talkers};
		struct nh_err err = NH_ERR_INIT;
		struct nh_db_stats before, after;
		pthread_t threads[AT_ONCE + 1];
		int64_t totals[4];
		memset(talkers, 0, sizeof talkers);
		if (nh_db_write(db, run_scenario, &(struct scenario){&world, all_arrive}, &err) != NH_OK)
			fail_msg("%s", err.msg);
		nh_db_stats(db, &before);
		for (int i = 0; i <= AT_ONCE; i++) {
			talkers[i].db = db;
			talkers[i].world = &world;
			talkers[i].trims = i == AT_ONCE;
			assert_int_equal(pthread_create(&threads[i], NULL, talk, &talkers[i]), 0);
		}
		for (int i = 0; i <= AT_ONCE; i++)
			pthread_join(threads[i], NULL);
		nh_db_stats(db, &after);
		for (int i = 0; i <= AT_ONCE; i++) {
			if (talkers[i].rc != NH_OK)
				fail_msg("%s: %s", nh_rc_name(talkers[i].rc), talkers[i].err.msg);
		}
		print_message("# %s: %d transactions, %llu runs again after a collision\n", nh_db_is_postgres(db) ? "postgres" : "sqlite", (AT_ONCE + 1) * REPORTS,
		              (unsigned long long)(after.retries - before.retries));
		assert_int_equal(nh_db_read(db, totals_tx, totals, NULL), NH_OK);
		assert_int_equal(totals[0], AT_ONCE * REPORTS);
		assert_int_equal(totals[1], AT_ONCE);
		assert_int_equal(totals[2], 2 * AT_ONCE * REPORTS);
		assert_int_equal(totals[3], AT_ONCE * REPORTS);
		nh_arena_fini(&world.arena);
	}
}

/* ---- retention ------------------------------------------------------------------------------------------------------------------------ */

static nh_rc count_rows(struct world *w, const char *table, int64_t *count)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_dynamic(w->ctx.tx, nh_slice_str(nh_arena_printf(&w->arena, "SELECT COUNT(*) FROM %s", table)), NH_NO_PARAMS, &rows, E(w)));
	NH_TRY(nh_sql_next(rows, E(w)));
	*count = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return NH_OK;
}

static nh_rc retention(struct world *w, struct nh_err *err)
{
	const struct nh_retention keep = {.health_days = 7, .log_days = 3, .connection_days = 30};
	static const char *const tables[] = {"device_health", "device_metrics", "device_log_lines", "device_connection_history", "network_identities"};
	enum { DAYS = 40, LINES_A_DAY = 30 };
	struct teller t;
	size_t trimmed, calls = 0;
	int64_t left[NH_ARRAY_LEN(tables)], begin = w->now_us;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(arrive(w, "silent since", &t, err));
	OK(tell(w, &t, NH_EXT_HEALTH, "report", "{\"value\":{\"metrics\":{\"a\":1,\"b\":2}}}"));
	NH_TRY(arrive(w, "d-1", &t, err));
	OK(report_identity(w, &t, "iroh", "default", "k", "{}"));
	/* one report a day at noon, thirty lines with dates of their own, one connection that ends */
	for (int day = 0; day < DAYS; day++) {
		w->now_us = begin + day * DAY_US + DAY_US / 2;
		OK(join(w, t.device, 1, "1.0.0", &t.session));
		OK(tell(w, &t, NH_EXT_HEALTH, "report", "{\"value\":{\"metrics\":{\"a\":1,\"b\":2}}}"));
		for (int i = 0; i < LINES_A_DAY; i++)
			NH_TRY(add_line(w, t.device, i % 2 ? 0 : begin + 1000 * DAY_US, "info", "m", err)); /* clocks that were never set, and wrongly set */
		OK(nh_session_disconnect(&w->ctx, t.device, t.session.connection_id, NH_SLICE_EMPTY, E(w)));
	}
	w->now_us = begin + DAYS * DAY_US;
	do {
		OK(nh_telemetry_trim(&w->ctx, &keep, &trimmed, E(w)));
		CHECK(trimmed <= 100 + 500 + 500);
		calls++;
	} while (trimmed > 0);
	for (size_t i = 0; i < NH_ARRAY_LEN(tables); i++)
		NH_TRY(count_rows(w, tables[i], &left[i]));
	CHECK(left[0] == 7 + 1 && left[1] == 2 * left[0]); /* the latest of the silent one stays */
	CHECK(left[2] == 3 * LINES_A_DAY && left[3] == 30 && left[4] == 1);
	CHECK(calls == 4); /* 1110 lines went by five hundreds */
	struct nh_health h;
	w->now_us += 100 * DAY_US;
	OK(nh_telemetry_trim(&w->ctx, &keep, &trimmed, E(w)));
	CHECK(trimmed == 6 + 90 + 30);
	OK(nh_health_latest(&w->ctx, t.device, &h, E(w)));
	CHECK(h.at_us == begin + (DAYS - 1) * DAY_US + DAY_US / 2);
	/* with a device goes all that it told */
	struct nh_rows *rows = NULL;
	OK(nh_sql_dynamic(w->ctx.tx, NH_LIT("DELETE FROM devices WHERE 1 = 1 RETURNING id"), NH_NO_PARAMS, &rows, E(w)));
	while (nh_sql_next(rows, E(w)) == NH_OK)
		continue;
	nh_sql_end(rows);
	for (size_t i = 0; i < NH_ARRAY_LEN(tables); i++) {
		NH_TRY(count_rows(w, tables[i], &left[i]));
		CHECK(left[i] == 0);
	}
	return NH_OK;
}
static void test_retention(void **state) { on_each_engine(retention, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_versions), cmocka_unit_test(test_settings),   cmocka_unit_test(test_speaking),       cmocka_unit_test(test_thresholds),
		cmocka_unit_test(test_health),             cmocka_unit_test(test_health_limits), cmocka_unit_test(test_lists), cmocka_unit_test(test_places),     cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_log_lines),          cmocka_unit_test(test_log_limits), cmocka_unit_test(test_log_search),     cmocka_unit_test(test_long_search),
		cmocka_unit_test(test_identity_rules),     cmocka_unit_test(test_identity_entries), cmocka_unit_test(test_connections), cmocka_unit_test(test_flapping),
		cmocka_unit_test(test_plans), cmocka_unit_test(test_at_once), cmocka_unit_test(test_retention),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
