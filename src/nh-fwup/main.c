/*
 * nh-fwup: firmware archives on the command line, with fwup's flags, messages and exit status. Everything it does is in the firmware room; here
 * options are read and results printed. The environment is visible to configurations here, as in fwup, and nowhere else in this project.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cards.h"
#include "crypto/secret.h"
#include "firmware/apply.h"
#include "firmware/create.h"
#include "firmware/sign.h"
#include "firmware/verify.h"
#include "input.h"
#include "options.h"
#include "output.h"

struct run {
	struct options o;
	struct output out;
	struct nh_fw_vars *vars;
	struct nh_fw_apply *apply; /* while one runs */
	bool task_told;
};

static const char *environment(void *ctx, const char *name)
{
	return getenv(name);
}

/* Where and what in a configuration is wrong goes to standard error, as compilers do it; standard output names the file only. */
static nh_rc details_aside(nh_rc rc, struct nh_err *err, const char *what)
{
	NH_AUTO_BUF struct nh_buf detail = NH_BUF_INIT;
	nh_buf_printf(&detail, "%s\n", err->msg);
	output_aside(nh_buf_slice(&detail));
	return NH_FAIL(err, rc, "%s", what);
}

/* meta.conf that doesn't parse: the same. */
static nh_rc meta_details_aside(nh_rc rc, struct nh_err *err)
{
	nh_slice text = nh_slice_str(err->msg);
	bool detail = nh_slice_starts(text, NH_LIT("[buf]:")) || nh_slice_starts(text, NH_LIT("fwup version '"));
	return rc != NH_OK && detail ? details_aside(rc, err, "Unexpected error parsing meta.conf") : rc;
}

static const char *archive_name(const struct run *r)
{
	return r->o.input ? r->o.input : "-";
}

/* SOURCE_DATE_EPOCH, else NOW, else the clock. What was chosen becomes ${NOW}. */
static int64_t creation_time(struct run *r)
{
	int64_t at;
	const char *epoch = getenv("SOURCE_DATE_EPOCH"), *now = getenv("NOW");
	if (!epoch || nh_fw_parse_int(nh_slice_str(epoch), &at) != NH_OK) {
		int64_t us;
		bool parsed = now && strlen(now) == 20 && nh_time_parse_iso(nh_slice_str(now), &us) == NH_OK;
		at = (parsed ? us : nh_now_us()) / NH_US_PER_S;
	}
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_time_put_iso(&text, at * NH_US_PER_S);
	nh_fw_vars_set(r->vars, NH_LIT("NOW"), nh_buf_slice(&text));
	return at;
}

static int32_t utc_offset(int64_t at)
{
	time_t t = (time_t)at;
	struct tm tm;
	return localtime_r(&t, &tm) ? (int32_t)tm.tm_gmtoff : 0;
}

/* Reads up to meta.conf and no further: what follows it may be missing or broken. */
struct head {
	struct nh_fw_reader *reader;
	bool seen;
};

static nh_rc head_seen(void *ctx, const struct nh_fw_manifest *manifest, struct nh_err *err)
{
	struct head *h = ctx;
	h->seen = true;
	return NH_ECLOSED; /* stops the reader; not an error for us */
}

static nh_rc head_feed(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct head *h = ctx;
	nh_rc rc = nh_fw_reader_feed(h->reader, bytes, err);
	return h->seen ? NH_OK : rc;
}

static bool head_done(void *ctx)
{
	const struct head *h = ctx;
	return h->seen || nh_fw_reader_done(h->reader);
}

static void put_key(struct run *r, const struct nh_fw_manifest *m)
{
	const struct {
		const char *name;
		nh_slice value;
	} computed[] = {{"meta-uuid", m->meta.uuid}, {"meta-nickname", m->meta.nickname}, {"meta-creation-date", m->meta.creation_date}};
	nh_slice value = NH_SLICE_EMPTY;
	for (size_t i = 0; nh_fw_language[i].name; i++)
		if (strcmp(nh_fw_language[i].name, r->o.metadata_key) == 0 && nh_fw_language[i].kind == NH_FW_STRING)
			value = nh_fw_section_text(m->tree, nh_fw_language[i].name);
	for (size_t i = 0; i < NH_ARRAY_LEN(computed); i++)
		if (strcmp(computed[i].name, r->o.metadata_key) == 0)
			value = computed[i].value;
	nh_buf_put_slice(&r->out.result, value.len ? value : NH_LIT("(null)"));
	nh_buf_put_u8(&r->out.result, '\n');
}

static nh_rc describe(struct run *r, struct nh_err *err)
{
	struct head h = {0};
	h.reader = nh_fw_reader_new(&(struct nh_fw_reader_config){
		.keys = r->o.keys, .key_count = r->o.key_count, .allow_unverified = true, .local_time = true, .path = archive_name(r),
		.order_text = "at beginning of", .vars = r->vars, .handler = {.ctx = &h, .manifest = head_seen},
	});
	nh_rc rc = input_run(&(struct input){r->o.input, r->o.framing}, head_feed, head_done, &h, err);
	if (rc == NH_OK && !h.seen)
		rc = nh_fw_reader_finish(h.reader, err);
	if (rc == NH_OK) {
		const struct nh_fw_manifest *m = nh_fw_reader_manifest(h.reader);
		if (r->o.command == 'l')
			nh_fw_tasks_put(&r->out.result, m);
		else if (r->o.metadata_key)
			put_key(r, m);
		else
			nh_fw_metadata_put(&r->out.result, &m->meta);
	}
	nh_fw_reader_free(h.reader);
	return rc;
}

static nh_rc verify_feed(void *ctx, nh_slice bytes, struct nh_err *err)
{
	return nh_fw_verifier_feed(ctx, bytes, err);
}

static bool verify_done(void *ctx)
{
	return nh_fw_verifier_done(ctx);
}

static nh_rc verify(struct run *r, struct nh_err *err)
{
	struct nh_fw_verifier *v = nh_fw_verifier_new(&(struct nh_fw_verify_config){
		.keys = r->o.keys, .key_count = r->o.key_count, .allow_unverified = true, .local_time = true, .path = archive_name(r), .vars = r->vars,
	});
	nh_rc rc = input_run(&(struct input){r->o.input, r->o.framing}, verify_feed, verify_done, v, err);
	if (rc == NH_OK)
		rc = nh_fw_verifier_finish(v, err);
	if (rc == NH_OK)
		nh_buf_printf(&r->out.result, "%s\n", nh_fw_verifier_sentence(v));
	nh_fw_verifier_free(v);
	return rc;
}

/* -v: which task it is, as soon as that is known. */
static void tell_task(struct run *r)
{
	nh_slice task = nh_fw_apply_task(r->apply);
	if (!r->o.verbose || r->task_told || task.len == 0)
		return;
	r->task_told = true;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_printf(&text, "Running task '%.*s'", NH_ARG(task));
	output_message(&r->out, nh_buf_cstr(&text));
}

static nh_rc apply_feed(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct run *r = ctx;
	r->out.in_bytes += bytes.len;
	nh_rc rc = nh_fw_apply_feed(r->apply, bytes, err);
	tell_task(r);
	return rc;
}

static bool apply_done(void *ctx)
{
	const struct run *r = ctx;
	return nh_fw_apply_done(r->apply);
}

static void apply_progress(void *ctx, unsigned percent)
{
	struct run *r = ctx;
	r->out.out_bytes = r->apply ? nh_fw_apply_units(r->apply) : 0;
	output_progress(&r->out, percent);
}

static void apply_message(void *ctx, const char *text)
{
	struct run *r = ctx;
	output_message(&r->out, text);
}

static nh_rc apply(struct run *r, struct nh_err *err)
{
	const struct options *o = &r->o;
	if (!o->task)
		return NH_FAIL(err, NH_EINVAL, "specify a task (-t)");
	struct card card;
	const char *destination = o->destination;
	if (!destination) {
		/* Where standard input is the archive, nobody can answer there. */
		NH_TRY(cards_choose(o->accept_found, o->input && strcmp(o->input, "-") != 0, &card, err));
		destination = card.path;
	}
	NH_TRY(nh_fw_apply_new(&(struct nh_fw_apply_config){
		.path = destination, .fd = -1, .task = o->task, .keys = o->keys, .key_count = o->key_count, .allow_unverified = true,
		.vars = r->vars, .local_time = true, .archive_path = archive_name(r), .progress_low = (unsigned)o->progress_low,
		.progress_high = (unsigned)o->progress_high, .max_blocks = o->max_blocks, .minimize_writes = o->minimize_writes,
		.verify_writes = o->no_verify_writes ? NH_FW_OFF : o->verify_writes ? NH_FW_ON : NH_FW_DEFAULT, .no_unmount = o->no_unmount,
		.enable_trim = o->enable_trim, .unsafe = o->unsafe, .quiet_stdout = o->framing, .reboot_param_path = o->reboot_param_path,
		.handler = {.ctx = r, .progress = apply_progress, .message = apply_message},
	}, &r->apply, err));
	nh_rc rc = input_run(&(struct input){o->input, o->framing}, apply_feed, apply_done, r, err);
	/* finish also reports what was wrong with an input that ended early */
	if (rc == NH_OK)
		rc = nh_fw_apply_finish(r->apply, err);
	else
		nh_fw_apply_give_up(r->apply, err); /* unless the archive failed, the input did */
	nh_fw_apply_free(r->apply);
	return rc;
}

static nh_rc write_standard(void *ctx, nh_slice bytes, struct nh_err *err)
{
	output_bytes(bytes);
	return NH_OK;
}

static nh_rc read_standard(struct nh_buf *text, struct nh_err *err)
{
	uint8_t bytes[4096];
	ssize_t n;
	*text = NH_BUF_MAX(1u << 20);
	while ((n = read(STDIN_FILENO, bytes, sizeof bytes)) > 0)
		nh_buf_put(text, bytes, (size_t)n);
	return n < 0 ? NH_FAIL(err, NH_EIO, "Error reading the configuration from standard input") : nh_buf_check(text, "the configuration", err);
}

static nh_rc create(struct run *r, struct nh_err *err)
{
	const struct options *o = &r->o;
	bool from_standard = strcmp(o->config, "-") == 0, to_standard = !o->output || strcmp(o->output, "-") == 0;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (from_standard)
		NH_TRY(read_standard(&text, err));
	int64_t at = creation_time(r);
	struct nh_fw_create_options options = {
		.path = from_standard ? NULL : o->config, .text = nh_buf_slice(&text), .vars = r->vars,
		.key = o->has_private_key ? &o->private_key : NULL, .level = o->level, .time_s = at, .utc_offset_s = utc_offset(at),
	};
	nh_rc rc = to_standard ? nh_fw_create(&options, &(struct nh_fw_sink){NULL, write_standard}, NULL, err) :
				 nh_fw_create_file(&options, o->output, err);
	if (rc != NH_EFORMAT && rc != NH_EUNSUPPORTED)
		return rc;
	NH_AUTO_BUF struct nh_buf what = NH_BUF_INIT;
	nh_buf_printf(&what, "Error parsing configuration file '%s'", o->config);
	return details_aside(rc, err, nh_buf_cstr(&what));
}

static nh_rc sign(struct run *r, struct nh_err *err)
{
	const struct options *o = &r->o;
	if (!o->input)
		return NH_FAIL(err, NH_EINVAL, "Specify an input firmware file");
	if (!o->output)
		return NH_FAIL(err, NH_EINVAL, "Specify an output firmware file");
	if (!o->has_private_key)
		return NH_FAIL(err, NH_EINVAL, "Specify a signing key");
	int64_t at = creation_time(r);
	return nh_fw_sign_file(o->input, o->output, &(struct nh_fw_sign_options){&o->private_key, at, utc_offset(at)}, err);
}

static nh_rc generate(struct run *r, struct nh_err *err)
{
	const char *prefix = r->o.output ? r->o.output : "fwup-key";
	struct nh_fw_public_key pub;
	struct nh_fw_private_key priv;
	nh_fw_key_generate(&nh_rng_system, &pub, &priv);
	nh_rc rc = nh_fw_key_files_write(prefix, &pub, &priv, err);
	nh_wipe(&priv, sizeof priv);
	NH_TRY(rc);
	nh_buf_printf(&r->out.result,
		      "Firmware signing keys created and saved to '%s.pub' and '%s.priv'\n\n"
		      "Distribute '%s.pub' with your system so that firmware updates can be\nauthenticated. Keep '%s.priv' in a safe location.\n",
		      prefix, prefix, prefix, prefix);
	return NH_OK;
}

/* Makes a file that begins with a hole and looks whether the file system kept it. */
static nh_rc sparse_check(struct run *r, struct nh_err *err)
{
	int fd = open(r->o.sparse_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return NH_FAIL(err, NH_EIO, "Can't create '%s'", r->o.sparse_path);
	bool made = pwrite(fd, "x", 1, (off_t)r->o.sparse_size) == 1;
	bool kept = made && lseek(fd, 0, SEEK_HOLE) == 0 && lseek(fd, 0, SEEK_DATA) > 0;
	close(fd);
	unlink(r->o.sparse_path);
	return kept ? NH_OK : NH_FAIL(err, NH_EUNSUPPORTED, "The file system of '%s' doesn't keep holes of %llu bytes", r->o.sparse_path,
				      (unsigned long long)r->o.sparse_size);
}

static nh_rc detect(struct run *r, struct nh_err *err)
{
	struct card cards[CARDS_MAX];
	size_t count = cards_find(cards);
	for (size_t i = 0; i < count; i++)
		nh_buf_printf(&r->out.result, "%s,%llu\n", cards[i].path, (unsigned long long)cards[i].bytes);
	return NH_OK;
}

static nh_rc only_card(struct run *r, struct nh_err *err)
{
	struct card card;
	NH_TRY(cards_choose(true, false, &card, err));
	nh_buf_printf(&r->out.result, "%s\n", card.path);
	return NH_OK;
}

static nh_rc help(struct run *r, struct nh_err *err)
{
	options_usage(&r->out.result, "nh-fwup");
	return NH_OK;
}

/* First line: the fwup language it speaks, for those who look for a 1.x version; second: its own. source: issue 4 "Command line" */
static nh_rc version(struct run *r, struct nh_err *err)
{
	nh_buf_printf(&r->out.result, "%s\nnh-fwup %s\n", NH_FW_COMPAT_VERSION, NH_VERSION);
	return NH_OK;
}

static nh_rc dispatch(struct run *r, struct nh_err *err)
{
	static const struct {
		char letter;
		nh_rc (*run)(struct run *r, struct nh_err *err);
	} commands[] = {
		{'a', apply}, {'c', create}, {'g', generate}, {'l', describe}, {'m', describe}, {'S', sign}, {'V', verify}, {'C', sparse_check},
		{'z', only_card}, {'D', detect}, {'h', help}, {'v', version},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(commands); i++)
		if (commands[i].letter == r->o.command)
			return meta_details_aside(commands[i].run(r, err), err);
	return NH_FAIL(err, NH_EINVAL, "specify one of -a, -c, -l, -m, -S, -V, or -z");
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); /* a reader that left is noticed by write's result */
	struct run r = {0};
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = options_parse(&r.o, argc, argv, &err);
	r.out = (struct output){.framing = r.o.framing, .numeric = r.o.numeric, .quiet = r.o.quiet, .exit_handshake = r.o.exit_handshake,
				.start_ms = nh_mono_ms()};
	/* No arguments, or an option that getopt has complained about: say how it is used. */
	if (argc == 1 || (rc != NH_OK && err.msg[0] == 0)) {
		NH_AUTO_BUF struct nh_buf usage = NH_BUF_INIT;
		options_usage(&usage, "nh-fwup");
		output_bytes(nh_buf_slice(&usage));
		return 1;
	}
	r.vars = nh_fw_vars_new(environment, NULL);
	if (rc == NH_OK && r.o.too_many_keys)
		output_message(&r.out, "Ignoring public key since only 10 supported");
	if (rc == NH_OK)
		rc = dispatch(&r, &err);
	nh_wipe(&r.o.private_key, sizeof r.o.private_key);
	nh_fw_vars_free(r.vars);
	/* Help and versions are for people and scripts that look at them directly: never framed. */
	if (rc == NH_OK && (r.o.command == 'h' || r.o.command == 'v'))
		r.out.framing = false;
	return output_end(&r.out, rc, &err, r.o.command != 'c');
}
