/*
 * Installing on this machine: which installer an archive is for is seen from how it begins. Whatever nobody else recognises goes to fwup or to the firmware room, which check the
 * signature by the keys of the device before they write. The others verify by keys and settings of their own, so each works only where the machine's owner switched it on by name.
 *
 * Runs on a worker and blocks there. source: reference/device-protocol "14.4"
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "firmware/apply.h"
#include "machine_int.h"

#define HEAD_MAX 6 /* bytes of the longest magic */

/* ---- the built-in installer */

struct builtin {
	struct nh_fw_apply *apply;
	struct nh_fw_public_key *keys;
	size_t key_count;
	unsigned percent;
};

static void on_percent(void *ctx, unsigned percent) { ((struct builtin *)ctx)->percent = percent; }

static void builtin_free(void *install)
{
	struct builtin *b = install;
	if (!b)
		return;
	/* Without effect after a success or a failure of its own; else the archive's on-error has its turn. */
	struct nh_err err = NH_ERR_INIT;
	NH_IGNORE(NH_FAIL(&err, NH_ECLOSED, "the archive did not come to its end")); /* what it is told */
	if (b->apply)
		nh_fw_apply_give_up(b->apply, &err);
	nh_fw_apply_free(b->apply);
	free(b->keys);
	free(b);
}

static nh_rc builtin_start(const struct nh_machine *m, const struct nh_link_offer *offer, struct builtin *b, struct nh_err *err)
{
	for (; b->key_count < offer->key_count; b->key_count++)
		NH_TRY(nh_fw_public_key_decode(nh_slice_str(offer->public_keys[b->key_count]), &b->keys[b->key_count], err));
	struct nh_fw_apply_config config = {
		.path = m->config.devpath,
		.fd = -1,
		.task = m->config.task ? m->config.task : "upgrade",
		.keys = b->keys,
		.key_count = b->key_count,
		.no_unmount = true,
		.handler = {.ctx = b, .progress = on_percent},
	};
	return nh_fw_apply_new(&config, &b->apply, err);
}

static nh_rc builtin_open(const struct nh_machine *m, const struct nh_link_offer *offer, void **install, struct nh_err *err)
{
	struct builtin *b = nh_xcalloc(1, sizeof *b);
	b->keys = nh_xcalloc(offer->key_count, sizeof *b->keys);
	nh_rc rc = builtin_start(m, offer, b, err);
	if (rc != NH_OK) {
		builtin_free(b);
		return rc;
	}
	*install = b;
	return NH_OK;
}

static nh_rc builtin_write(void *install, nh_slice bytes, unsigned *percent, struct nh_err *err)
{
	struct builtin *b = install;
	nh_rc rc = nh_fw_apply_feed(b->apply, bytes, err);
	*percent = b->percent;
	return rc;
}

static nh_rc builtin_finish(void *install, struct nh_err *err) { return nh_fw_apply_finish(((struct builtin *)install)->apply, err); }

const struct installer installer_builtin = {.name = "builtin", .open = builtin_open, .write = builtin_write, .finish = builtin_finish, .free = builtin_free};

/* ---- which one */

struct apply {
	const struct nh_machine *m;
	struct nh_link_offer offer;         /* borrowed; lives as long as the apply */
	const struct installer *installer;  /* NULL: not yet known */
	void *install;
	uint8_t head[HEAD_MAX];
	size_t head_len;
};

static const struct {
	const struct installer *installer;
	size_t tool; /* offset of its struct nh_machine_tool */
} by_magic[] = {
	{&installer_rauc, offsetof(struct nh_machine_config, rauc)},
	{&installer_swupdate, offsetof(struct nh_machine_config, swupdate)},
};

static bool is_on(const struct nh_machine *m, size_t tool) { return ((const struct nh_machine_tool *)(const void *)((const char *)&m->config + tool))->on; }

bool nh_machine_verifies(const struct nh_machine *m)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(by_magic); i++)
		if (is_on(m, by_magic[i].tool))
			return true;
	return false;
}

static bool recognises(const struct installer *i, nh_slice head)
{
	for (size_t k = 0; k < NH_ARRAY_LEN(i->magics) && i->magics[k]; k++)
		if (nh_slice_starts(head, nh_slice_str(i->magics[k])))
			return true;
	return false;
}

static nh_rc choose(struct apply *a, nh_slice head, struct nh_err *err)
{
	a->installer = a->m->builtin ? &installer_builtin : &installer_fwup;
	for (size_t i = 0; i < NH_ARRAY_LEN(by_magic); i++) {
		const struct installer *other = by_magic[i].installer;
		if (!recognises(other, head))
			continue;
		if (!is_on(a->m, by_magic[i].tool))
			return NH_FAIL(err, NH_EPERM, "this is %s: the installer %s is not switched on on this device", other->archive, other->name);
		a->installer = other;
	}
	/* fwup without keys applies anything. source: reference/device-protocol "17.3" 19 */
	if (!a->installer->file && a->offer.key_count == 0)
		return NH_FAIL(err, NH_EAUTH, "no public key is configured");
	return a->installer->open(a->m, &a->offer, &a->install, err);
}

/* ---- platform */

nh_rc machine_apply_open(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err)
{
	const struct nh_machine *m = ctx;
	*apply = NULL;
	if (offer->key_count == 0 && !nh_machine_verifies(m))
		return NH_FAIL(err, NH_EAUTH, "no public key is configured");
	struct apply *a = nh_xcalloc(1, sizeof *a);
	a->m = m;
	a->offer = *offer;
	*apply = a;
	return NH_OK;
}

/* The installer is chosen; bytes that were held back for that go first. */
static nh_rc write_on(struct apply *a, nh_slice bytes, unsigned *percent, struct nh_err *err)
{
	if (a->installer->file)
		return NH_FAIL(err, NH_EUNSUPPORTED, "%s needs the whole file: fetch updates by way of a cache", a->installer->archive);
	size_t held = a->head_len;
	a->head_len = 0;
	if (held > 0)
		NH_TRY(a->installer->write(a->install, nh_slice_of(a->head, held), percent, err));
	return bytes.len > 0 ? a->installer->write(a->install, bytes, percent, err) : NH_OK;
}

nh_rc machine_apply_write(void *apply, nh_slice bytes, unsigned *percent, struct nh_err *err)
{
	struct apply *a = apply;
	while (!a->installer && bytes.len > 0 && a->head_len < HEAD_MAX) {
		a->head[a->head_len++] = bytes.ptr[0];
		bytes = nh_slice_skip(bytes, 1);
	}
	if (!a->installer && a->head_len < HEAD_MAX)
		return NH_OK;
	if (!a->installer)
		NH_TRY(choose(a, nh_slice_of(a->head, a->head_len), err));
	return write_on(a, bytes, percent, err);
}

nh_rc machine_apply_file(void *apply, const char *path, unsigned *percent, struct nh_err *err)
{
	struct apply *a = apply;
	if (!a->installer) {
		uint8_t head[HEAD_MAX];
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd >= 0 ? read(fd, head, sizeof head) : -1;
		int number = errno;
		if (fd >= 0)
			close(fd);
		if (n < 0)
			return NH_FAIL(err, nh_rc_from_errno(number), "cannot read '%s': %s", path, strerror(number));
		NH_TRY(choose(a, nh_slice_of(head, (size_t)n), err));
	}
	return a->installer->file ? a->installer->take(a->install, path, percent, err) : NH_EUNSUPPORTED; /* no failure: it wants bytes */
}

static void apply_free(struct apply *a)
{
	if (a->installer)
		a->installer->free(a->install);
	free(a);
}

nh_rc machine_apply_finish(void *apply, struct nh_err *err)
{
	struct apply *a = apply;
	unsigned percent;
	nh_rc rc = NH_OK;
	/* Shorter than any magic: let the installer say what is wrong with it. */
	if (!a->installer)
		rc = choose(a, nh_slice_of(a->head, a->head_len), err);
	if (rc == NH_OK && a->head_len > 0)
		rc = write_on(a, NH_SLICE_EMPTY, &percent, err);
	if (rc == NH_OK)
		rc = a->installer->finish(a->install, err);
	apply_free(a);
	return rc;
}

void machine_apply_abort(void *apply) { apply_free(apply); }
