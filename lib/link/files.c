/*
 * Files that people send through the console. Messages become steps for the pool, done in their order: a file grows under a hidden name and gets its own with the last message, so that nobody
 * ever finds half of one. The name a stranger gives is reduced to its last part; size, number and the directory's whole content are bounded. source: reference/device-protocol "11.2", "18.2"
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "extras_int.h"

#define SIZE_MAX_BYTES ((uint64_t)10 << 20)
#define NAME_MAX_BYTES 200
#define WAITING_PAUSE ((size_t)256 << 10) /* bytes not yet written: the socket is not read until they are */
#define WAITING_MAX ((size_t)4 << 20)     /* what may still come after that, and never should */
#define HIDDEN ".nerveshub-"
#define BLOCK_BYTES 4096

struct file_open {
	char *name;
	int fd;
	uint64_t size, room; /* room: how large it may become */
};

struct file_step {
	struct file_step *next;
	void (*run)(struct link_extras *x, struct file_step *step); /* [worker] */
	char *name;
	struct nh_buf bytes;
	uint64_t size;       /* of the file, once it is complete */
	bool complete;
	char failure[320];   /* empty = none */
};

bool files_name(nh_slice given, struct nh_buf *out)
{
	nh_slice name = given;
	for (size_t i = given.len; i > 0; i--)
		if (given.ptr[i - 1] == '/' || given.ptr[i - 1] == '\\') {
			name = nh_slice_skip(given, i);
			break;
		}
	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] < ' ' || name.ptr[i] == 0x7f)
			return false;
	if (name.len == 0 || name.len > NAME_MAX_BYTES || name.ptr[0] == '.' || !nh_utf8_valid(name))
		return false;
	nh_buf_put_slice(out, name);
	return true;
}

/* ---- on the pool */

static char *path_of(const struct link_extras *x, struct nh_arena *arena, const char *prefix, const char *name)
{
	return nh_arena_printf(arena, "%s/%s%s", x->config.files_directory, prefix, name);
}

static struct file_open **find(struct link_extras *x, const char *name)
{
	for (size_t i = 0; i < FILES_AT_ONCE; i++)
		if (x->files.open[i] && strcmp(x->files.open[i]->name, name) == 0)
			return &x->files.open[i];
	return NULL;
}

/* Closes it; what is there of it goes. */
static void give_up(struct link_extras *x, struct file_open **at)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	close((*at)->fd);
	unlink(path_of(x, &arena, HIDDEN, (*at)->name));
	free((*at)->name);
	free(*at);
	*at = NULL;
}

[[gnu::format(printf, 4, 5)]] static void fail(struct link_extras *x, struct file_step *s, struct file_open **at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(s->failure, sizeof s->failure, fmt, ap);
	va_end(ap);
	if (at)
		give_up(x, at);
}

/* Bytes of what lies in the directory, an empty file being a block too. With `clean` what an earlier life left half done goes. */
static uint64_t used_bytes(const char *directory, bool clean)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	uint64_t sum = 0;
	while (dir && (entry = readdir(dir)) != NULL) {
		struct stat st;
		if (clean && nh_slice_starts(nh_slice_str(entry->d_name), NH_LIT(HIDDEN)))
			unlinkat(dirfd(dir), entry->d_name, 0);
		else if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			sum += ((uint64_t)st.st_size / BLOCK_BYTES + 1) * BLOCK_BYTES;
	}
	if (dir)
		closedir(dir);
	return sum;
}

static void run_start(struct link_extras *x, struct file_step *s)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct file_open **at = find(x, s->name);
	if (at)
		give_up(x, at);
	for (size_t i = 0; i < FILES_AT_ONCE && !at; i++)
		at = x->files.open[i] ? NULL : &x->files.open[i];
	if (!at) {
		fail(x, s, NULL, "too many files at once");
		return;
	}
	if (nh_dir_make(x->config.files_directory, 0755, &err) != NH_OK) {
		fail(x, s, NULL, "%s", err.msg);
		return;
	}
	uint64_t used = used_bytes(x->config.files_directory, !x->files.cleaned), quota = x->config.files_quota_bytes, left = used < quota ? quota - used : 0;
	x->files.cleaned = true;
	if (left < BLOCK_BYTES) {
		fail(x, s, NULL, "there is no room for it");
		return;
	}
	const char *path = path_of(x, &arena, HIDDEN, s->name);
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0) {
		fail(x, s, NULL, "%s", strerrordesc_np(errno));
		return;
	}
	*at = nh_xcalloc(1, sizeof **at);
	**at = (struct file_open){.name = nh_xstrdup(nh_slice_str(s->name)), .fd = fd, .room = left < SIZE_MAX_BYTES ? left : SIZE_MAX_BYTES - 1};
}

static void run_data(struct link_extras *x, struct file_step *s)
{
	struct file_open **at = find(x, s->name);
	if (!at)
		return; /* refused before, and said so */
	if (s->bytes.len > (*at)->room - (*at)->size) {
		fail(x, s, at, "larger than the %llu bytes it may have", (unsigned long long)(*at)->room);
		return;
	}
	for (size_t done = 0; done < s->bytes.len;) {
		ssize_t n = write((*at)->fd, s->bytes.ptr + done, s->bytes.len - done);
		if (n < 0 && errno != EINTR) {
			fail(x, s, at, "%s", strerrordesc_np(errno));
			return;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	(*at)->size += s->bytes.len;
}

static void run_stop(struct link_extras *x, struct file_step *s)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct file_open **at = find(x, s->name);
	if (!at)
		return;
	if (fsync((*at)->fd) != 0 || rename(path_of(x, &arena, HIDDEN, s->name), path_of(x, &arena, "", s->name)) != 0) {
		fail(x, s, at, "%s", strerrordesc_np(errno));
		return;
	}
	s->size = (*at)->size;
	close((*at)->fd);
	free((*at)->name);
	free(*at);
	*at = NULL;
	s->complete = true;
}

/* bytes: why, for people. */
static void run_abandon(struct link_extras *x, struct file_step *s)
{
	struct file_open **at = find(x, s->name);
	if (at)
		fail(x, s, at, "%s", nh_buf_cstr(&s->bytes));
}

static void run_forget(struct link_extras *x, struct file_step *s)
{
	for (size_t i = 0; i < FILES_AT_ONCE; i++)
		if (x->files.open[i])
			give_up(x, &x->files.open[i]);
}

void files_run(struct nh_link *l)
{
	for (struct file_step *s = l->extras->files.doing; s; s = s->next)
		s->run(l->extras, s);
}

/* ---- on the loop */

/* A disk slower than the sender holds the sender up, for some seconds the whole connection with it; a new connection is not paused. */
static void hold_up(struct nh_link *l, bool on)
{
	struct files *f = &l->extras->files;
	if (f->paused == on)
		return;
	f->paused = on;
	if (l->ws)
		nh_ws_client_pause(l->ws, on);
}

static void step_free(struct file_step *s)
{
	nh_buf_fini(&s->bytes);
	free(s->name);
	free(s);
}

static void pump(struct nh_link *l)
{
	struct files *f = &l->extras->files;
	if (!f->todo || f->doing)
		return;
	f->doing = f->todo;
	f->todo = NULL;
	f->last = &f->todo;
	f->waiting_bytes = 0;
	hold_up(l, false);
	link_job_submit(l, &f->job);
}

static void tell(struct nh_link *l, const struct file_step *s)
{
	char text[640];
	if (s->failure[0]) {
		snprintf(text, sizeof text, "\r\n*** file %s: %s ***\r\n", s->name, s->failure);
		console_say(l, text);
		snprintf(text, sizeof text, "file %s: %s", s->name, s->failure);
		link_event_text(l, NH_LINK_ERROR, text);
	} else if (s->complete) {
		snprintf(text, sizeof text, "%s: %llu bytes", s->name, (unsigned long long)s->size);
		link_event_text(l, NH_LINK_FILE, text);
	}
}

void files_done(struct nh_link *l)
{
	struct files *f = &l->extras->files;
	struct file_step *s = f->doing, *next;
	f->doing = NULL;
	for (; s; s = next) {
		next = s->next;
		if (!l->closing)
			tell(l, s);
		step_free(s);
	}
	if (!l->closing)
		pump(l);
}

static void add(struct nh_link *l, void (*run)(struct link_extras *x, struct file_step *step), nh_slice name, struct nh_buf *take_bytes)
{
	struct files *f = &l->extras->files;
	struct file_step *s = nh_xcalloc(1, sizeof *s);
	*s = (struct file_step){.run = run, .name = nh_xstrdup(name.ptr ? name : NH_LIT(""))};
	if (take_bytes)
		s->bytes = nh_steal_buf(take_bytes);
	f->waiting_bytes += s->bytes.len + sizeof *s;
	*f->last = s;
	f->last = &s->next;
	pump(l);
	if (f->waiting_bytes > WAITING_PAUSE)
		hold_up(l, true);
}

static void add_data(struct nh_link *l, nh_slice name, const json_t *payload)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	const char *why = NULL;
	if (nh_b64_decode(nh_json_text(payload, "data"), NH_B64_STD, &bytes) != NH_OK)
		why = "a piece of it is not in base64";
	else if (l->extras->files.waiting_bytes + bytes.len > WAITING_MAX)
		why = "it comes faster than it can be written";
	if (why) {
		nh_buf_clear(&bytes);
		nh_buf_put_str(&bytes, why);
	}
	add(l, why ? run_abandon : run_data, name, &bytes);
}

bool files_event(struct nh_link *l, nh_slice event, const json_t *payload)
{
	bool start = nh_slice_eq_str(event, "file-data/start"), stop = nh_slice_eq_str(event, "file-data/stop"), data = nh_slice_eq_str(event, "file-data");
	NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT;
	if (!start && !stop && !data)
		return false;
	bool acceptable = l->extras->config.files_directory && files_name(nh_json_text(payload, "filename"), &name);
	if (!acceptable && start)
		console_say(l, l->extras->config.files_directory ? "\r\n*** that is no name for a file ***\r\n" : "\r\n*** this device takes no files ***\r\n");
	if (!acceptable || (l->extras->files.waiting_bytes > 2 * WAITING_MAX && !stop))
		return true;
	if (data)
		add_data(l, nh_buf_slice(&name), payload);
	else
		add(l, start ? run_start : run_stop, nh_buf_slice(&name), NULL);
	return true;
}

void files_forget(struct nh_link *l)
{
	hold_up(l, false);
	if (!l->closing && l->extras->config.files_directory)
		add(l, run_forget, NH_SLICE_EMPTY, NULL);
}

void files_free(struct link_extras *x)
{
	struct file_step *lists[] = {x->files.todo, x->files.doing}, *next;
	for (size_t i = 0; i < NH_ARRAY_LEN(lists); i++)
		for (struct file_step *s = lists[i]; s; s = next) {
			next = s->next;
			step_free(s);
		}
	run_forget(x, NULL);
}
