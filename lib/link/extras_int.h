/*
 * Private to the link: everything beside updates, in one struct that exists only where the owner switched something on.
 *
 *   extras.c            life of it all; what others tell it
 *   extensions.c        the extensions channel: negotiation, attach, detach, whose event this is
 *   health.c            reports; health_facts.c what the kernel says; health_plugin.c what plug-ins say
 *   geo.c, logging.c, network_identity.c, shell.c   one extension each
 *   console.c           the console channel; terminal.c a shell that somebody far away types into; files.c what is sent through the console
 *   scripts.c           support scripts
 *   archive.c           the archive of the device's release
 *   program.c           child programs on the loop
 */
#pragma once

#include <pthread.h>

#include "link/extensions.h"
#include "link_int.h"
#include "program_int.h"

/* ---- extensions */

typedef enum link_extension_id { LINK_EXT_HEALTH, LINK_EXT_GEO, LINK_EXT_LOGGING, LINK_EXT_LOCAL_SHELL, LINK_EXT_NETWORK_IDENTITY, LINK_EXTENSIONS_COUNT } link_extension_id;

struct link_extension {
	bool attached;
	uint64_t ref; /* of its `attached` message: a refusal names it */
};

/* ---- a shell and the somebody */

struct terminal {
	struct nh_link *link;
	link_topic_id topic;
	const char *event;              /* that carries output */
	void (*ended)(struct nh_link *l, const struct program_end *end);
	struct program *program;        /* NULL = none */
	struct nh_buf held;             /* first bytes of a character whose rest has not come */
	struct nh_timer *flow;          /* runs while output is held back for a full socket */
	struct nh_timer *linger;        /* runs while there is no connection */
	unsigned rows, columns;
	uint64_t active_ms;             /* last input or output */
};

/* ---- health */

struct cpu_times {
	uint64_t busy, total;
};

struct health {
	struct link_job job;
	struct nh_timer *timer;         /* interval */
	struct cpu_times cpu;           /* of the last report; worker's while the job runs */
	json_t *facts;                  /* {"metrics":…,"connectivity":…,"alarms":…,"metadata":…}; worker's while the job runs */
	struct nh_arena arena;          /* paths of the plug-ins */
	char **plugins;
	size_t plugin_count, running;
	struct health_plugin *started;
	bool collecting;
};

/* ---- logging */

#define LOG_QUEUE_MAX 256

struct log_line {
	nh_log_level level;
	int64_t at_us;
	const char *source;
	char *text;
};

struct logging {
	pthread_mutex_t lock;           /* of the queue: lines come from any thread */
	struct log_line queue[LOG_QUEUE_MAX];
	size_t first, count;
	uint64_t lost;
	struct nh_message wake;
	bool waking;                    /* the message is under way */
	struct nh_timer *timer;
	int socket;                     /* -1 = none */
	struct nh_watch *watch;
};

/* ---- files through the console */

#define FILES_AT_ONCE 4

struct files {
	struct link_job job;
	struct file_step *todo, **last; /* loop's */
	struct file_step *doing;        /* worker's while the job runs */
	size_t waiting_bytes;
	bool paused;                    /* the socket is not read */
	struct file_open *open[FILES_AT_ONCE]; /* worker's */
	bool cleaned;                   /* worker's: left-overs of an earlier life are gone */
};

/* ---- all of it */

#define SCRIPTS_AT_ONCE 4
#define SCRIPT_REF_MAX 128

struct script {
	struct nh_link *link;
	struct program *program; /* NULL = this place is free */
	char ref[SCRIPT_REF_MAX];
};

struct link_extras {
	struct nh_link_extensions config; /* texts in the link's arena */
	struct programs programs;
	struct link_extension extensions[LINK_EXTENSIONS_COUNT];
	struct terminal console, shell;
	struct nh_timer *console_idle;
	struct health health;
	struct program *geo_program;
	struct program *identity_program;
	struct nh_timer *identity_timer;
	char *identities;               /* last report, as JSON */
	bool identity_asked;
	struct logging log;
	struct files files;
	struct script scripts[SCRIPTS_AT_ONCE];
	struct archive *archive;        /* being fetched, or NULL */
	char archive_next_uuid[LINK_UUID_MAX], *archive_next_url; /* announced meanwhile */
	uint64_t archive_next_size;
	struct program *archive_program;
};

/* extras.c */
nh_rc extras_open(struct nh_link *l, const struct nh_link_extensions *config, struct nh_err *err);
void extras_joined(struct nh_link *l);  /* the device channel was joined */
void extras_get(struct nh_link *l, const json_t *payload); /* the server asks which extensions there are */
void extras_close(struct nh_link *l);   /* the link is closing */
bool extras_busy(const struct nh_link *l); /* closing has to wait: link_close_step follows */
void extras_free(struct nh_link *l);
/* extensions.c */
void extensions_begin(struct nh_link *l);
void extensions_joined(struct nh_link *l, const json_t *response);
void extensions_left(struct nh_link *l);
void extensions_event(struct nh_link *l, nh_slice event, const json_t *payload);
void extensions_reply(struct nh_link *l, uint64_t ref, bool ok, const json_t *response);
void extensions_push(struct nh_link *l, const char *event, json_t *take_payload);
bool extension_attached(const struct nh_link *l, link_extension_id id);
/* one extension each: attached, detached (lost: with the connection), event */
void health_attached(struct nh_link *l);
void health_detached(struct nh_link *l, bool lost);
void health_event(struct nh_link *l, nh_slice event, const json_t *payload);
void health_on_timer(void *arg);
void health_run(struct nh_link *l);
void health_done(struct nh_link *l);
void health_close(struct link_extras *x);
void health_free(struct link_extras *x);
void geo_event(struct nh_link *l, nh_slice event, const json_t *payload);
void geo_detached(struct nh_link *l, bool lost);
nh_rc logging_open(struct nh_link *l, struct nh_err *err);
void logging_attached(struct nh_link *l);
void logging_detached(struct nh_link *l, bool lost);
void logging_close(struct nh_link *l);
void logging_free(struct link_extras *x);
void shell_attached(struct nh_link *l);
void shell_detached(struct nh_link *l, bool lost);
void shell_event(struct nh_link *l, nh_slice event, const json_t *payload);
void shell_ended(struct nh_link *l, const struct program_end *end);
void identity_attached(struct nh_link *l);
void identity_detached(struct nh_link *l, bool lost);
void identity_event(struct nh_link *l, nh_slice event, const json_t *payload);
void identity_on_timer(void *arg);
/* health_facts.c [worker]. root: "" for the machine itself. */
void health_facts(const char *root, const char *disk, struct cpu_times *last, json_t *metrics, json_t *connectivity);
/* health_plugin.c */
#define HEALTH_PLUGINS_MAX 16
/* health_plugin_list - executables of the directory, in order of their names. [worker] */
nh_rc health_plugin_list(const char *directory, struct nh_arena *arena, char ***paths, size_t *count, struct nh_err *err);
/* health_plugin_read - adds what one said to the report: metrics, alarms, metadata. NH_EFORMAT: nothing more is taken from the line that is not right on. */
nh_rc health_plugin_read(nh_slice text, json_t *report, struct nh_err *err);
/* terminal.c */
void terminal_init(struct terminal *t, struct nh_link *l, link_topic_id topic, const char *event, void (*ended)(struct nh_link *l, const struct program_end *end));
void terminal_close(struct terminal *t);
nh_rc terminal_start(struct terminal *t, struct nh_err *err); /* what program_start says; one that runs is left alone */
void terminal_stop(struct terminal *t);
void terminal_input(struct terminal *t, nh_slice text);
void terminal_size(struct terminal *t, int64_t rows, int64_t columns);
void terminal_offline(struct terminal *t); /* the connection is gone: output stays where it is, for a while */
void terminal_online(struct terminal *t);
size_t terminal_whole(nh_slice bytes);     /* how many of the bytes end with a whole character */
/* console.c */
void console_begin(struct nh_link *l);
void console_joined(struct nh_link *l, const json_t *response);
void console_left(struct nh_link *l);
void console_event(struct nh_link *l, nh_slice event, const json_t *payload);
void console_ended(struct nh_link *l, const struct program_end *end);
void console_on_idle(void *arg);
void console_say(struct nh_link *l, const char *text);
/* files.c */
bool files_event(struct nh_link *l, nh_slice event, const json_t *payload); /* false: not ours */
void files_forget(struct nh_link *l); /* the connection is gone: what is half there is dropped */
void files_run(struct nh_link *l);
void files_done(struct nh_link *l);
void files_free(struct link_extras *x);
bool files_name(nh_slice given, struct nh_buf *out); /* the base name of what a stranger calls a file; false: not acceptable */
/* archive.c */
void archive_event(struct nh_link *l, const json_t *payload);
void archive_close(struct link_extras *x);
void archive_free(struct link_extras *x);
/* scripts.c */
void scripts_event(struct nh_link *l, const json_t *payload); /* also without extras: the server is told that they are off */
