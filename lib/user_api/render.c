/*
 * Things as JSON, exactly with the types that existing clients decode: one wrong type fails their whole command.
 *
 * source: reference/user-api-and-cli "5", "7" to "12", "20.1"
 */
#include "api_int.h"

json_t *text_or_null(nh_slice text)
{
	return text.ptr ? nh_json_new_text(text) : json_null();
}

/* "2026-01-02T03:04:05", with a Z behind it where zone; null for 0. */
static json_t *stamp(int64_t at_us, bool zone)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (at_us == 0)
		return json_null();
	nh_time_put_iso(&text, at_us);
	if (!zone && text.len > 0)
		nh_buf_truncate(&text, text.len - 1);
	return nh_json_new_text(nh_buf_slice(&text));
}

json_t *render_moment(int64_t at_us)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (at_us == 0)
		return json_null();
	nh_time_put_iso_us(&text, at_us);
	return nh_json_new_text(nh_buf_slice(&text));
}

/* A stored JSON text; null where there is none. */
static json_t *stored(nh_slice text)
{
	json_t *value = NULL;
	if (text.len == 0 || nh_json_parse(text, (size_t)1 << 20, &value, NULL) != NH_OK)
		return json_null();
	return value;
}

/* Every extension, switched as stored, or else as it is without a word. */
static json_t *render_extensions(nh_slice text, bool otherwise)
{
	NH_AUTO_JSON json_t *set = stored(text);
	json_t *out = json_object();
	for (unsigned i = 0; i < NH_EXTENSIONS; i++)
		json_object_set_new(out, nh_extension_name(i), json_boolean(nh_json_bool(set, nh_extension_name(i), otherwise)));
	return out;
}

json_t *render_org(const struct nh_org *org)
{
	return json_pack("{s:o, s:b, s:o, s:o}", "name", nh_json_new_text(org->name), "personal", org->personal, "inserted_at",
	                 stamp(org->inserted_at_us, false), "updated_at", stamp(org->updated_at_us, false));
}

json_t *render_user(const struct nh_user *user)
{
	return json_pack("{s:o, s:o}", "name", nh_json_new_text(user->name), "email", nh_json_new_text(user->email));
}

json_t *render_member(const struct nh_member *member)
{
	return json_pack("{s:o, s:o, s:s}", "name", nh_json_new_text(member->name), "email", nh_json_new_text(member->email), "role",
	                 nh_role_name(member->role));
}

json_t *render_product(const struct nh_product *p)
{
	return json_pack("{s:o, s:b, s:o, s:b, s:o}", "name", nh_json_new_text(p->name), "require_unique_firmware_version",
	                 p->require_unique_firmware_version, "allowed_update_tools", stored(p->allowed_update_tools), "allow_unsigned_esp_idf_firmware",
	                 p->allow_unsigned_esp_idf_firmware, "extensions", render_extensions(p->extensions, false));
}

json_t *render_key(const struct nh_org_key *key)
{
	return json_pack("{s:o, s:o, s:o}", "name", nh_json_new_text(key->name), "key", nh_json_new_text(key->key), "scheme",
	                 nh_json_new_text(key->scheme));
}

json_t *render_secret(const struct nh_shared_secret *secret)
{
	json_t *out = json_pack("{s:o, s:o, s:o}", "key", nh_json_new_text(secret->key), "inserted_at", stamp(secret->inserted_at_us, true),
	                        "deactivated_at", stamp(secret->deactivated_at_us, true));
	if (secret->secret.ptr)
		json_object_set_new(out, "secret", nh_json_new_text(secret->secret));
	return out;
}

json_t *render_date(int64_t at_us) { return at_us ? stamp(at_us, true) : json_null(); }

json_t *render_ca(const struct nh_ca_certificate *ca)
{
	json_t *jitp = json_null();
	if (ca->has_jitp)
		jitp = json_pack("{s:o, s:o, s:o}", "product_name", text_or_null(ca->jitp_product_name), "tags", stored(ca->jitp_tags), "description",
		                 text_or_null(ca->jitp_description));
	return json_pack("{s:o, s:o, s:o, s:o, s:b, s:o}", "serial", nh_json_new_text(ca->serial), "not_before", stamp(ca->not_before_us, true), "not_after",
	                 stamp(ca->not_after_us, true), "description", text_or_null(ca->description), "check_expiration", ca->check_expiration, "jitp", jitp);
}

json_t *render_certificate(const struct nh_device_certificate *cert)
{
	return json_pack("{s:o, s:o, s:o}", "serial", nh_json_new_text(cert->serial), "not_before", stamp(cert->not_before_us, true), "not_after",
	                 stamp(cert->not_after_us, true));
}

json_t *render_firmware(const struct nh_firmware *f)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "uuid", nh_json_new_text(f->uuid), "version",
	                 nh_json_new_text(f->version), "platform", nh_json_new_text(f->platform), "architecture", nh_json_new_text(f->architecture),
	                 "author", text_or_null(f->author), "product", nh_json_new_text(f->product_name), "tool", nh_json_new_text(f->tool),
	                 "description", text_or_null(f->description), "vcs_identifier", text_or_null(f->vcs_identifier), "misc", text_or_null(f->misc),
	                 "inserted_at", stamp(f->inserted_at_us, false), "updated_at", stamp(f->updated_at_us, false));
}

json_t *render_archive(const struct nh_archive *a)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "uuid", nh_json_new_text(a->uuid), "version", nh_json_new_text(a->version),
	                 "platform", nh_json_new_text(a->platform), "architecture", nh_json_new_text(a->architecture), "size", (json_int_t)a->size_bytes, "product",
	                 nh_json_new_text(a->product_name), "author", text_or_null(a->author), "description", text_or_null(a->description), "vcs_identifier",
	                 text_or_null(a->vcs_identifier), "misc", text_or_null(a->misc), "inserted_at", stamp(a->inserted_at_us, false), "updated_at",
	                 stamp(a->updated_at_us, false));
}

static json_t *render_id(int64_t id, bool as_text) { return as_text ? json_sprintf("%lld", (long long)id) : json_integer(id); }

/* ["a","b"] as "a,b", which is also how tags may be sent; null as "". */
static json_t *render_tags(nh_slice text, bool as_text)
{
	if (!as_text)
		return stored(text);
	NH_AUTO_JSON json_t *tags = stored(text);
	NH_AUTO_BUF struct nh_buf joined = NH_BUF_INIT;
	for (size_t i = 0; i < json_array_size(tags); i++)
		nh_buf_printf(&joined, "%s%s", i ? "," : "", json_string_value(json_array_get(tags, i)));
	return nh_json_new_text(nh_slice_of(nh_buf_cstr(&joined), joined.len));
}

json_t *render_script(const struct nh_script *s, bool as_texts)
{
	json_t *out = json_pack("{s:o, s:o, s:o}", "id", render_id(s->id, as_texts), "name", nh_json_new_text(s->name), "tags", render_tags(s->tags, as_texts));
	if (!s->text.ptr)
		return out;
	json_t *creator = s->creator_id ? json_pack("{s:o, s:o, s:o}", "id", render_id(s->creator_id, as_texts), "name", nh_json_new_text(s->creator_name), "email",
	                                            nh_json_new_text(s->creator_email))
					: json_null();
	json_object_set_new(out, "text", nh_json_new_text(s->text));
	json_object_set_new(out, "inserted_at", stamp(s->inserted_at_us, false));
	json_object_set_new(out, "updated_at", stamp(s->updated_at_us, false));
	json_object_set_new(out, "created_by", creator);
	return out;
}

/* All keys always, each a string or null. */
static json_t *render_metadata(nh_slice text)
{
	static const char *const keys[] = {"id",     "uuid",        "product",      "version",        "architecture", "platform",
	                                   "author", "description", "fwup_version", "vcs_identifier", "misc"};
	NH_AUTO_JSON json_t *from = stored(text);
	if (!json_is_object(from))
		return json_null();
	json_t *out = json_object();
	for (size_t i = 0; i < NH_ARRAY_LEN(keys); i++) {
		json_t *value = json_object_get(from, keys[i]);
		if (json_is_string(value))
			json_object_set(out, keys[i], value);
		else
			json_object_set_new(out, keys[i], json_null());
	}
	return out;
}

static json_t *last_communication(int64_t at_us)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (at_us == 0)
		return json_string("never");
	nh_time_put_iso_us(&text, at_us);
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == 'T')
			text.ptr[i] = ' ';
	}
	return nh_json_new_text(nh_buf_slice(&text));
}

json_t *render_device(const struct nh_device *d)
{
	json_t *group = json_null();
	if (d->group_id)
		group = json_pack("{s:o, s:b, s:o, s:o}", "name", text_or_null(d->group_name), "is_active", d->group_active, "firmware_uuid",
		                  text_or_null(d->group_firmware_uuid), "firmware_version", text_or_null(d->group_firmware_version));
	json_t *out = json_object();
	const struct {
		const char *key;
		json_t *value;
	} members[] = {
		{"identifier", nh_json_new_text(d->identifier)},
		{"description", text_or_null(d->description)},
		{"tags", stored(d->tags)},
		{"online", nh_json_new_text(d->connection_status)},
		{"connection_status", nh_json_new_text(d->connection_status)},
		{"firmware_metadata", render_metadata(d->firmware_metadata)},
		{"version", d->firmware_version.len ? nh_json_new_text(d->firmware_version) : json_string("unknown")},
		{"deployment_group", group},
		{"updates_enabled", json_boolean(d->updates_enabled)},
		{"updates_blocked_until", stamp(d->updates_blocked_until_us, true)},
		{"org_name", nh_json_new_text(d->org_name)},
		{"product_name", nh_json_new_text(d->product_name)},
		{"last_communication", last_communication(d->last_seen_at_us)},
		{"deleted", json_boolean(d->deleted_at_us != 0)},
		/* ours: why the latest update did not succeed */
		{"last_failure", text_or_null(d->last_failure)},
		{"last_failure_at", stamp(d->last_failure_at_us, true)},
		/* ours: what its owner has not switched off; the product decides first */
		{"extensions", render_extensions(d->extensions, true)},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(members); i++)
		json_object_set_new(out, members[i].key, members[i].value);
	return out;
}

/* ---- telemetry ----------------------------------------------------------------------------------------------------------- */

json_t *render_health(const struct nh_health *h)
{
	NH_AUTO_JSON json_t *report = stored(h->data);
	json_t *alarms = stored(h->alarms), *metrics = json_object_get(report, "metrics");
	return json_pack("{s:o, s:o, s:o, s:o, s:O, s:O}", "at", render_moment(h->at_us), "status", nh_json_new_text(h->status), "status_reasons", stored(h->reasons), "alarms",
	                 json_is_object(alarms) ? alarms : json_object(), "metrics", metrics ? metrics : json_null(), "report", report);
}

json_t *render_log_line(const struct nh_log_line *line)
{
	return json_pack("{s:o, s:o, s:o, s:o}", "at", render_moment(line->at_us), "level", nh_json_new_text(line->level), "message", nh_json_new_text(line->message), "meta",
	                 stored(line->meta));
}

json_t *render_network_identity(const struct nh_network_identity *i)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "identifier", nh_json_new_text(i->identifier), "service", nh_json_new_text(i->service), "instance",
	                 nh_json_new_text(i->instance), "source", nh_json_new_text(i->source), "details", stored(i->details), "last_reported_at",
	                 stamp(i->last_reported_us, true), "inserted_at", stamp(i->inserted_at_us, false), "updated_at", stamp(i->updated_at_us, false));
}

json_t *render_iroh_endpoint(const struct nh_iroh_endpoint *e)
{
	const char *owner = e->device_identifier.ptr ? "device" : e->user_email.ptr ? "user" : "none";
	json_t *out = render_network_identity(&e->identity);
	json_object_set_new(out, "owner", json_pack("{s:s, s:o, s:o, s:o}", "type", owner, "device_identifier", text_or_null(e->device_identifier), "user_name",
	                                            text_or_null(e->user_name), "user_email", text_or_null(e->user_email)));
	return out;
}

json_t *render_past_connection(const struct nh_past_connection *c)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "id", nh_json_new_text(c->id), "established_at", render_moment(c->established_at_us), "disconnected_at",
	                 render_moment(c->disconnected_at_us), "disconnected_reason", text_or_null(c->reason), "network_interface", text_or_null(c->network_interface));
}
