/*
 * Signing keys, products and their shared secrets.
 *
 * source: reference/user-api-and-cli "8", "10"
 */
#include "api_int.h"
#include "base/encode.h"

/* ---- signing keys ------------------------------------------------------------------------------------------------------ */

static nh_rc keys(struct call *call, struct nh_err *err)
{
	struct nh_org_key *list;
	size_t count = 0;
	NH_TRY(nh_org_key_list(&call->ctx, &call->actor, call->org.id, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_key(&list[i]));
	return NH_OK;
}
const struct endpoint ep_keys = {.run = keys, .scope = SCOPE_ORG, .may = NH_MAY_KEY_SEE, .success = 200, .data = &shape_key, .list = true, .tag = "Signing Keys"};

static nh_rc key(struct call *call, struct nh_err *err)
{
	struct nh_org_key k;
	NH_TRY(nh_org_key_open(&call->ctx, &call->actor, call->org.id, param(call, "name"), &k, err));
	call->data = render_key(&k);
	return NH_OK;
}
const struct endpoint ep_key = {.run = key, .scope = SCOPE_ORG, .may = NH_MAY_KEY_SEE, .success = 200, .data = &shape_key, .tag = "Signing Keys"};

static nh_rc key_create(struct call *call, struct nh_err *err)
{
	struct nh_org_key k;
	NH_TRY(nh_org_key_create(&call->ctx, &call->actor, call->org.id, nh_json_text(call->params, "name"), nh_json_text(call->params, "key"),
	                         nh_json_text(call->params, "scheme"), &k, &call->errors, err));
	call->data = render_key(&k);
	return NH_OK;
}
static const char *const words_key_schemes[] = {"ed25519", "secure_boot_v2_rsa", NULL};
static SHAPE(key_body, "SigningKeyWanted", {"name", FIELD_TEXT}, {"key", FIELD_TEXT, .about = "The public key, 32 bytes in base64"},
             {"scheme", FIELD_TEXT, FIELD_OPTIONAL, .words = words_key_schemes, .about = "ed25519 unless it is given"});
const struct endpoint ep_key_create = {
	.run = key_create, .scope = SCOPE_ORG, .may = NH_MAY_KEY_CREATE, .write = true, .success = 201, .body = &key_body, .data = &shape_key, .tag = "Signing Keys"};

static nh_rc key_delete(struct call *call, struct nh_err *err)
{
	return nh_org_key_delete(&call->ctx, &call->actor, call->org.id, param(call, "name"), &call->errors, err);
}
const struct endpoint ep_key_delete = {
	.run = key_delete, .scope = SCOPE_ORG, .may = NH_MAY_KEY_DELETE, .write = true, .success = 204, .tag = "Signing Keys"};

/* ---- products ---------------------------------------------------------------------------------------------------------- */

static nh_rc products(struct call *call, struct nh_err *err)
{
	struct nh_product *list;
	size_t count = 0;
	NH_TRY(nh_product_list(&call->ctx, &call->actor, call->org.id, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_product(&list[i]));
	return NH_OK;
}
const struct endpoint ep_products = {.run = products, .scope = SCOPE_ORG, .may = NH_MAY_PRODUCT_SEE, .success = 200, .data = &shape_product, .list = true, .tag = "Products"};

static nh_rc product(struct call *call, struct nh_err *err)
{
	call->data = render_product(&call->product);
	return NH_OK;
}
const struct endpoint ep_product = {.run = product, .scope = SCOPE_PRODUCT, .may = NH_MAY_PRODUCT_SEE, .success = 200, .data = &shape_product, .tag = "Products"};

static nh_rc product_create(struct call *call, struct nh_err *err)
{
	struct nh_product p;
	NH_TRY(nh_product_create(&call->ctx, &call->actor, call->org.id, nh_json_text(call->params, "name"), &p, &call->errors, err));
	set_location(call, p.name);
	call->data = render_product(&p);
	return NH_OK;
}
static SHAPE(product_body, "ProductWanted", {"name", FIELD_TEXT});
const struct endpoint ep_product_create = {
	.run = product_create, .scope = SCOPE_ORG, .may = NH_MAY_PRODUCT_CREATE, .write = true, .success = 201, .body = &product_body, .data = &shape_product, .tag = "Products"};

static nh_rc product_update(struct call *call, struct nh_err *err)
{
	struct nh_product p;
	NH_TRY(nh_product_update(&call->ctx, &call->actor, &call->product, call->params, &p, &call->errors, err));
	call->data = render_product(&p);
	return NH_OK;
}
static const char *const words_update_tools[] = {"fwup", "esp-idf", NULL};
static SHAPE(product_change, "ProductChange", {"require_unique_firmware_version", FIELD_BOOLEAN, FIELD_OPTIONAL},
             {"allowed_update_tools", FIELD_TEXT, FIELD_LIST | FIELD_OPTIONAL, .words = words_update_tools}, {"allow_unsigned_esp_idf_firmware", FIELD_BOOLEAN, FIELD_OPTIONAL},
             {"extensions", FIELD_OBJECT, FIELD_OPTIONAL, &shape_extensions_change});
const struct endpoint ep_product_update = {
	.run = product_update, .scope = SCOPE_PRODUCT, .may = NH_MAY_PRODUCT_UPDATE, .write = true, .success = 200, .body = &product_change, .data = &shape_product, .tag = "Products"};

static nh_rc product_delete(struct call *call, struct nh_err *err)
{
	return nh_product_delete(&call->ctx, &call->actor, &call->product, &call->errors, err);
}
const struct endpoint ep_product_delete = {
	.run = product_delete, .scope = SCOPE_PRODUCT, .may = NH_MAY_PRODUCT_DELETE, .write = true, .success = 204, .tag = "Products"};

/* ---- shared secrets ---------------------------------------------------------------------------------------------------- */

static nh_rc secrets(struct call *call, struct nh_err *err)
{
	struct nh_shared_secret *list;
	size_t count = 0;
	NH_TRY(nh_product_secret_list(&call->ctx, &call->actor, &call->product, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_secret(&list[i]));
	return NH_OK;
}
const struct endpoint ep_secrets = {.run = secrets, .scope = SCOPE_PRODUCT, .may = NH_MAY_SECRET_SEE, .success = 200, .data = &shape_secret, .list = true, .tag = "Products"};

static nh_rc secret_create(struct call *call, struct nh_err *err)
{
	struct nh_shared_secret s;
	NH_TRY(nh_product_secret_create(&call->ctx, &call->actor, &call->product, &s, err));
	call->data = render_secret(&s);
	return NH_OK;
}
const struct endpoint ep_secret_create = {
	.run = secret_create, .scope = SCOPE_PRODUCT, .may = NH_MAY_SECRET_CREATE, .write = true, .success = 201, .data = &shape_secret, .tag = "Products"};

/* A key may hold '/', sent as it is or escaped; the rest of the path comes raw. */
static nh_rc secret_delete(struct call *call, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf key = NH_BUF_MAX(256);
	if (nh_uri_decode(param(call, "key"), false, &key) != NH_OK)
		return NH_FAIL(err, NH_ENOTFOUND, "no such shared secret");
	return nh_product_secret_deactivate(&call->ctx, &call->actor, &call->product, nh_buf_slice(&key), err);
}
const struct endpoint ep_secret_delete = {
	.run = secret_delete, .scope = SCOPE_PRODUCT, .may = NH_MAY_SECRET_DEACTIVATE, .write = true, .success = 204, .tag = "Products"};
