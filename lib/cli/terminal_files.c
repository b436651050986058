/*
 * Files over a console: up to the device in pieces, none before the server took those before, and down from it into a folder, under bare names and never over a file that is there.
 * The protocol has no acknowledgement of the device: what it could not write it says in the console.
 *
 * source: reference/device-protocol "11.2", "11.3"; reference/user-api-and-cli "16.2"
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "terminal.h"

#define PIECE 8192u
#define PIECES_AT_ONCE 4
#define RECEIVED_MAX ((uint64_t)64 << 20) /* of one file */
#define NAME_MAX_BYTES 200

static nh_rc open_upload(const char *path, FILE **out, uint64_t *size, struct nh_err *err)
{
	struct stat st;
	*out = fopen(path, "re");
	if (!*out)
		return NH_FAIL(err, errno == ENOENT ? NH_ENOTFOUND : NH_EIO, "cannot open %s: %s", path, strerror(errno));
	bool plain = fstat(fileno(*out), &st) == 0 && S_ISREG(st.st_mode);
	*size = plain ? (uint64_t)st.st_size : 0;
	if (plain && *size < CLI_FILE_MAX)
		return NH_OK;
	fclose(*out);
	*out = NULL;
	if (!plain)
		return NH_FAIL(err, NH_EINVAL, "%s is no file", path);
	return NH_FAIL(err, NH_ETOOBIG, "%s is too large: devices take files below %llu bytes", path, (unsigned long long)CLI_FILE_MAX);
}

nh_rc cli_files_check(struct nh_cli *c, const struct nh_option_list *uploads, const char *download_dir, struct nh_err *err)
{
	struct stat st;
	for (size_t i = 0; i < uploads->count; i++) {
		FILE *f;
		uint64_t size;
		NH_TRY(open_upload(uploads->items[i], &f, &size, err));
		fclose(f);
	}
	if (download_dir && (stat(download_dir, &st) != 0 || !S_ISDIR(st.st_mode)))
		return NH_FAIL(err, NH_ENOTFOUND, "--download: there is no folder %s", download_dir);
	return NH_OK;
}

/* ---- up -------------------------------------------------------------------------------------------------------------------- */

static json_t *about(const struct cli_files *f)
{
	json_t *payload = json_object();
	json_object_set_new(payload, "filename", nh_json_new_text(nh_slice_str(f->name)));
	return payload;
}

static nh_rc begin(struct cli_files *f, struct nh_err *err)
{
	const char *path = f->uploads->items[f->next];
	NH_TRY(open_upload(path, &f->from, &f->size, err));
	f->name = basename(nh_arena_printf(&f->c->arena, "%s", path));
	f->sent = f->chunk = 0;
	f->progress = (struct cli_progress){.c = f->c, .verb = "Uploading", .name = f->name};
	cli_socket_push(f->socket, f->topic, "file-data/start", about(f));
	return NH_OK;
}

static void end(struct cli_files *f)
{
	cli_socket_push(f->socket, f->topic, "file-data/stop", about(f));
	cli_progress_end(&f->progress);
	fclose(f->from);
	f->from = NULL;
	f->next++;
	cli_note(f->c, "Uploaded %s (%llu bytes)\n", f->name, (unsigned long long)f->sent);
}

static nh_rc send_piece(struct cli_files *f, bool *last, struct nh_err *err)
{
	uint8_t bytes[PIECE];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	size_t n = fread(bytes, 1, sizeof bytes, f->from);
	if (ferror(f->from))
		return NH_FAIL(err, NH_EIO, "cannot read %s; the device has a part of it", f->name);
	*last = n < sizeof bytes;
	if (n == 0)
		return NH_OK;
	nh_b64_put(&text, nh_slice_of(bytes, n), NH_B64_STD);
	json_t *payload = about(f);
	json_object_set_new(payload, "chunk", json_integer((json_int_t)f->chunk++));
	json_object_set_new(payload, "data", nh_json_new_text(nh_buf_slice(&text)));
	cli_socket_push(f->socket, f->topic, "file-data", payload);
	f->sent += n;
	cli_progress_update(&f->progress, f->sent, f->size);
	return NH_OK;
}

nh_rc cli_files_pump(struct cli_files *f, bool *done, struct nh_err *err)
{
	bool last = false;
	*done = !f->from && f->next >= f->uploads->count;
	if (*done)
		return NH_OK;
	if (!f->from)
		NH_TRY(begin(f, err));
	for (unsigned i = 0; i < PIECES_AT_ONCE && !last; i++)
		NH_TRY(send_piece(f, &last, err));
	if (last)
		end(f);
	cli_socket_settle(f->socket);
	return NH_OK;
}

/* ---- down ------------------------------------------------------------------------------------------------------------------ */

static void give_up(struct cli_files *f)
{
	if (!f->to)
		return;
	fclose(f->to);
	unlink(f->to_path);
	f->to = NULL;
}

/* A name and nothing else: no folder, no hidden file, nothing that a terminal obeys. */
static bool bare_name(nh_slice name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] < 0x20 || name.ptr[i] == 0x7F || name.ptr[i] == '/')
			return false;
	return name.len > 0 && name.len <= NAME_MAX_BYTES && name.ptr[0] != '.';
}

static const char *receive_start(struct cli_files *f, nh_slice name)
{
	struct nh_arena *arena = &f->c->arena;
	give_up(f);
	if (!bare_name(name))
		return "the device sends a file whose name is none; it is not kept";
	if (!f->download_dir)
		return nh_arena_printf(arena, "the device sends the file %.*s; --download DIR would keep it", NH_ARG(name));
	f->to_path = nh_arena_printf(arena, "%s/%.*s", f->download_dir, NH_ARG(name));
	int fd = open(f->to_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	f->to = fd >= 0 ? fdopen(fd, "w") : NULL;
	f->received = 0;
	return f->to ? NULL : nh_arena_printf(arena, "the file %.*s cannot be kept: %s", NH_ARG(name), strerror(errno));
}

static const char *receive_piece(struct cli_files *f, nh_slice text)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	if (!f->to)
		return NULL;
	bool good = nh_b64_decode(text, NH_B64_STD, &bytes) == NH_OK && f->received + bytes.len <= RECEIVED_MAX;
	if (good && fwrite(bytes.ptr, 1, bytes.len, f->to) == bytes.len) {
		f->received += bytes.len;
		return NULL;
	}
	give_up(f);
	return nh_arena_printf(&f->c->arena, "%s could not be kept: %s", f->to_path, good ? "it cannot be written" : "it is too large, or damaged");
}

static const char *receive_stop(struct cli_files *f)
{
	if (!f->to)
		return NULL;
	bool good = fclose(f->to) == 0;
	f->to = NULL;
	if (!good)
		unlink(f->to_path);
	return nh_arena_printf(&f->c->arena, good ? "received %s, %llu bytes" : "%s could not be written (%llu bytes came)", f->to_path, (unsigned long long)f->received);
}

bool cli_files_event(struct cli_files *f, nh_slice event, const json_t *payload, const char **note)
{
	*note = NULL;
	if (nh_slice_eq_str(event, "file-data/start"))
		*note = receive_start(f, nh_json_text(payload, "filename"));
	else if (nh_slice_eq_str(event, "file-data"))
		*note = receive_piece(f, nh_json_text(payload, "data"));
	else if (nh_slice_eq_str(event, "file-data/stop"))
		*note = receive_stop(f);
	else
		return false;
	return true;
}

void cli_files_close(struct cli_files *f)
{
	cli_progress_end(&f->progress);
	if (f->from)
		fclose(f->from);
	f->from = NULL;
	give_up(f);
}
