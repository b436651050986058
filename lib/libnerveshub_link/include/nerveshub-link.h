/*
 * libnerveshub-link: the device's side of NervesHub inside of a C program. It keeps one device connected to its server, tells the program what happens, and installs the firmware it is
 * sent: with the built-in machine (a disk with a U-Boot environment, as nerveshub-link(8) has it) or with an installer of the program's own.
 *
 * The program keeps its own event loop: it waits until nhl_fd() is readable or nhl_timeout_ms() have passed, then calls nhl_process(), which never waits. Network, timers and events run in
 * there; what may block (files, hashing, the installer) runs on one worker thread of the library, with all signals blocked.
 *
 * Threads: an nhl belongs to the thread that calls; different ones may live on different threads. Callbacks run inside nhl_process() and nhl_free(), those marked [worker] on the worker, one at
 * a time. A callback may call nhl_close() and nothing else that changes the nhl.
 *
 * Structs that the program fills begin with their size, so that a later library knows which members an older program has; structs that the library fills may grow at their end.
 *
 * source: libnerveshub-link(3)
 */
#ifndef NERVESHUB_LINK_H
#define NERVESHUB_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nhl;         /* one device */
struct nhl_options; /* what it is made from */

#define NHL_OK 0
#define NHL_FAILED (-1)

/* Why something failed, in one line for people, without secrets. Callbacks fill it for the server and the log; empty is legal. */
struct nhl_error {
	char text[512];
};

/* Events in the order of a device's life. name says the same as a word ("update.progress"); kinds that this header does not know yet come as NHL_OTHER. */
enum nhl_event_kind {
	NHL_OTHER,
	NHL_CONNECTING,         /* text: URL */
	NHL_CONNECTED,          /* the socket is open */
	NHL_JOINED,             /* the server has accepted this device */
	NHL_DISCONNECTED,       /* text: why; status: HTTP status of a refusal or 0; code: close code or 0; delay_ms: until the next attempt */
	NHL_UPDATE_OFFERED,     /* uuid, version */
	NHL_UPDATE_IGNORED,     /* text: why */
	NHL_UPDATE_RESCHEDULED, /* text, delay_ms */
	NHL_UPDATE_STARTED,     /* text: empty, or why the download had to be resumed */
	NHL_UPDATE_PROGRESS,    /* percent; text: "downloading" or "updating" */
	NHL_UPDATE_INSTALLED,   /* uuid, version; the reboot handler is called next */
	NHL_UPDATE_FAILED,      /* text: the reason that the server was told */
	NHL_VALIDATED,          /* the running firmware was found good, and the server told */
	NHL_VALIDATION_FAILED,  /* text; the reboot handler is called next */
	NHL_REBOOT,             /* the server asked; the reboot handler is called next */
	NHL_IDENTIFY,           /* somebody wants to find this device: blink, beep */
	NHL_KEYS,               /* the server sent signing keys; percent: how many are known now */
	NHL_EXTENSION,          /* text: "health attached" */
	NHL_CONSOLE,            /* text: a shell was started or ended for somebody */
	NHL_SCRIPT,             /* text: a support script's reference and how it ended */
	NHL_FILE,               /* text: a file that came through the console */
	NHL_ARCHIVE,            /* text: an archive that was taken, or why not */
	NHL_REVERTED,           /* text: why the firmware before this boot was given up */
	NHL_ERROR,              /* text: something failed that the device goes on without */
};

/* Texts are never NULL, empty where they do not apply, and valid during the callback only; so in nhl_offer. */
struct nhl_event {
	enum nhl_event_kind kind;
	const char *name;
	const char *text;
	const char *uuid;
	const char *version;
	unsigned percent;
	unsigned status;
	unsigned code;
	uint64_t delay_ms;
};

/* Firmware that the server wants installed. */
struct nhl_offer {
	const char *url;
	const char *uuid;
	const char *product, *version, *platform, *architecture;
	const char *sha256;  /* of the archive, 64 hexadecimal digits */
	uint64_t size_bytes; /* of the archive; 0 = unknown */
};

enum nhl_decision {
	NHL_APPLY,
	NHL_IGNORE,     /* not this one */
	NHL_RESCHEDULE, /* ask again in delay_ms: at least five minutes */
};

struct nhl_answer {
	uint64_t delay_ms;
	char reason[256]; /* for the server; may be empty */
};

enum nhl_verdict {
	NHL_GOOD,
	NHL_LATER, /* not known yet: ask again */
	NHL_BAD,   /* the firmware must go: nhl_error says why, the reboot handler is called next */
};

/* Any handler may be NULL. */
struct nhl_handlers {
	size_t size; /* sizeof (struct nhl_handlers) */
	void *ctx;   /* first argument of each */
	void (*event)(void *ctx, const struct nhl_event *event);
	/* Take this firmware? NULL: as the options say (yes, without them). */
	enum nhl_decision (*decide)(void *ctx, const struct nhl_offer *offer, struct nhl_answer *answer);
	/* Reboot now; why: "update", "server", "validation". The nhl does nothing more: close it. NULL: the option reboot-command, if set. */
	void (*reboot)(void *ctx, const char *why);
	/* [worker] Is the firmware that runs for the first time good? Asked after the server accepted the device. NULL: the option validate-command, or yes. */
	enum nhl_verdict (*validate)(void *ctx, struct nhl_error *why);
	/*
	 * [worker] An installer instead of the built-in machine's: open, write..., then finish or abort (exactly one; neither where open failed). Return NHL_OK, or NHL_FAILED with why.
	 * write gets the archive's bytes in order, the first ones only after a configured key has verified the archive's signature; finish is called only where every resource in it has the hash
	 * that was signed. After finish the next boot must run the new firmware, after abort the old. Set all four or none.
	 */
	int (*install_open)(void *ctx, const struct nhl_offer *offer, struct nhl_error *why);
	int (*install_write)(void *ctx, const void *bytes, size_t len, struct nhl_error *why);
	int (*install_finish)(void *ctx, struct nhl_error *why);
	void (*install_abort)(void *ctx);
};

/* nhl_version - "0.1.0". Any thread. */
const char *nhl_version(void);

/* nhl_options_new - no option set. Never NULL; nhl_options_free it. */
struct nhl_options *nhl_options_new(void);
/* nhl_options_free - after nhl_new nothing refers to them. NULL legal. */
void nhl_options_free(struct nhl_options *options);
/*
 * nhl_options_set - one of nerveshub-link(8)'s options by its long name without the dashes: "server", "ca", "cert", "key", "public-key", "heartbeat", ... value: as on the command line; NULL for an
 * option that takes none. Again: a further value where the option may be given several times, else the last one counts. "config" names a configuration file, whose lines these options override.
 * Both texts are copied. What is wrong with them nhl_new says.
 */
void nhl_options_set(struct nhl_options *options, const char *name, const char *value);
/*
 * nhl_options_firmware - what runs, for a device without the built-in machine's disk: nerves_fw_uuid, nerves_fw_product, nerves_fw_version, nerves_fw_platform and nerves_fw_architecture are
 * needed, nerves_fw_validated = "0" says that it runs for the first time, others are passed on. Again: the last value counts. Copied.
 */
void nhl_options_firmware(struct nhl_options *options, const char *name, const char *value);
/* nhl_options_handlers - copied; what ctx points to must outlive the nhl. handlers->size larger than this library's: what it does not know must be NULL, or nhl_new fails. */
void nhl_options_handlers(struct nhl_options *options, const struct nhl_handlers *handlers);

/*
 * nhl_new - reads the files that the options name and prepares everything; the first nhl_process connects. May wait for files and for `fwup --version`. NHL_FAILED with *error filled (NULL legal):
 * an option, a file, the identity or the installer is not right; *out is NULL then. Else *out must be freed by nhl_free.
 */
int nhl_new(const struct nhl_options *options, struct nhl **out, struct nhl_error *error);
/* nhl_fd - becomes readable when nhl_process has something to do; the same for the nhl's whole life, for poll, epoll or a loop's watcher. Only to be waited for, never read. */
int nhl_fd(const struct nhl *nhl);
/* nhl_timeout_ms - how long to wait for nhl_fd at most, as poll(2) takes it: 0 = call nhl_process at once, -1 = without end. Ask again after each nhl_process and nhl_close. */
int nhl_timeout_ms(struct nhl *nhl);
/* nhl_process - does what is due and returns without waiting. True as long as there is something to wait for; false once closed, then free it. */
bool nhl_process(struct nhl *nhl);
/* nhl_updating - is firmware being downloaded or installed, or installed and waiting for the reboot? */
bool nhl_updating(const struct nhl *nhl);
/* nhl_close - says goodbye to the server and gives up an install in progress. No event follows; go on with nhl_process until it returns false. Again: nothing. */
void nhl_close(struct nhl *nhl);
/* nhl_free - closes where that was not done, waits for the worker's last job, frees everything. Not from a callback. NULL legal. */
void nhl_free(struct nhl *nhl);

#ifdef __cplusplus
}
#endif

#endif
