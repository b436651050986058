/*
 * The device side of NervesHub: one link = one device = one connection to a server, with everything around it: identity, reconnect with backoff, the
 * device channel, firmware updates from offer to reboot, validation after it. No global state: thousands of links live in one process.
 *
 * What the link does not know is the machine: where firmware lives, how it is written, what counts as healthy, how to reboot. That is a struct
 * nh_link_platform; machine.h has the one for a disk with a U-Boot environment.
 *
 * Invariants: never two updates at once; nothing is written before a configured public key has verified the archive's signature; without a key
 * every update is refused; a download survives the loss of the socket.
 *
 * Threads: functions and `on_event` on the loop's thread; platform functions marked [worker] on the pool, one at a time per link.
 * source: reference/device-protocol "2", "3", "4", "6" to "10", "13", "14"
 */
#pragma once

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"
#include "base/slice.h"

struct nh_loop;
struct nh_pool;
struct nh_link;

/* One name=value of the running firmware ("nerves_fw_version"), slot prefix removed. */
struct nh_link_pair {
	nh_slice name;
	nh_slice value;
};

/* What the machine runs now. All texts live in the arena given to read_state. */
struct nh_link_state {
	const struct nh_link_pair *pairs; /* of the active slot: sent as they are at join; must hold nerves_fw_uuid, _product, _version, _platform, _architecture */
	size_t count;
	bool validated;     /* the running slot is marked valid, or the machine knows no validation */
	bool auto_reverted; /* the other slot holds a firmware that was never validated */
};
/* Value of a pair; empty where absent. */
nh_slice nh_link_state_get(const struct nh_link_state *state, const char *name);

/* An update message. Views valid during the call only. */
struct nh_link_offer {
	nh_slice url;
	nh_slice uuid;         /* of the target firmware; lower case */
	nh_slice product, version, platform, architecture;
	uint64_t size_bytes;   /* 0 = unknown */
	nh_slice sha256_hex;   /* of the file; empty = unknown */
	const nh_slice *parts_sha256_hex; /* of each part of 1 MiB, the last one shorter; part_count of them, 0 = unknown */
	size_t part_count;
	uint64_t waited_ms;    /* since it was first offered; UINT64_MAX: it was begun in an earlier life of this process */
	const char *const *public_keys; /* base64 of 32 bytes each, key_count of them; what apply must verify against */
	size_t key_count;
};

typedef enum nh_link_decision { NH_LINK_APPLY, NH_LINK_IGNORE, NH_LINK_RESCHEDULE } nh_link_decision;

/*
 * The machine. `ctx` is the config's platform_ctx. apply_* belong to one apply at a time: open, write…, then finish or abort (exactly one).
 * Any member but read_state may be NULL: decide → apply, apply_* → updates fail with a reason, others → nothing happens.
 */
struct nh_link_platform {
	/* [worker] Before every join. A failure delays the join and is tried again with the backoff. */
	nh_rc (*read_state)(void *ctx, struct nh_arena *arena, struct nh_link_state *out, struct nh_err *err);
	/* [loop] Take it? reason[reason_size]: text for the server (IGNORE, RESCHEDULE). *delay_ms for RESCHEDULE; at least 5 min is reported. */
	nh_link_decision (*decide)(void *ctx, const struct nh_link_offer *offer, uint64_t *delay_ms, char *reason, size_t reason_size);
	/* [worker] Starts an install. */
	nh_rc (*apply_open)(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err);
	/* [worker] The next bytes of the archive. *percent: 0-100 where known (leave as is otherwise). The signature must be verified before the first byte
	 * is written anywhere. NH_EAUTH: unsigned or signed by a stranger; NH_EFORMAT; NH_ENOSPC; … : the update fails with err's message. */
	nh_rc (*apply_write)(void *apply, nh_slice bytes, unsigned *percent, struct nh_err *err);
	/* [worker] End of the archive: completes the install so that the next boot runs it. Releases apply. */
	nh_rc (*apply_finish)(void *apply, struct nh_err *err);
	/* [worker] Gives up; the machine must still boot what it runs now. Releases apply. */
	void (*apply_abort)(void *apply);
	/*
	 * [worker] Called after an accepted join while the state said validated = false, then every config.validate_interval_ms: is this firmware good? If so
	 * mark it valid. NH_OK: marked. NH_EAGAIN: ask again later. Anything else: this firmware is bad; event NH_LINK_VALIDATION_FAILED, then reboot() so
	 * that the boot loader goes back.
	 */
	nh_rc (*validate)(void *ctx, struct nh_err *err);
	/* [loop] Reboot now. why: "update", "server", "validation". The link does nothing more until it is closed. */
	void (*reboot)(void *ctx, const char *why);
	/* [loop] Blink, beep: somebody wants to find this device. */
	void (*identify)(void *ctx);
	/* [worker] As decide, where the answer takes time: a program is asked. Used when decide is NULL. */
	nh_link_decision (*consider)(void *ctx, const struct nh_link_offer *offer, uint64_t *delay_ms, char *reason, size_t reason_size);
	/*
	 * [worker] With the ways that keep the archive in a file, after apply_open: take it from there. NH_EAGAIN: still at it, call again; *percent where known.
	 * NH_OK: all taken, apply_finish follows. NH_EUNSUPPORTED: it wants the bytes by apply_write. Anything else: the update fails. NULL = by apply_write.
	 */
	nh_rc (*apply_file)(void *apply, const char *path, unsigned *percent, struct nh_err *err);
	/* [worker] This firmware never proved itself: remember why, and leave everything so that the next boot runs the other one. reboot("validation") follows. */
	nh_rc (*revert)(void *ctx, const char *why, struct nh_err *err);
	/* [worker] Why the last revert happened, in arena; empty where there was none since it was last told. told: the server knows now, forget it. */
	nh_slice (*revert_reason)(void *ctx, struct nh_arena *arena, bool told);
};

typedef enum nh_link_event_kind {
	NH_LINK_CONNECTING,        /* text = URL */
	NH_LINK_CONNECTED,         /* socket open; polling: a question was answered */
	NH_LINK_JOINED,            /* device channel accepted; polling: the first answer, and the first after failures */
	NH_LINK_DISCONNECTED,      /* text = why; status = HTTP status of a refused upgrade or 0; code = close code; delay_ms until the next attempt */
	NH_LINK_UPDATE_OFFERED,    /* uuid, version */
	NH_LINK_UPDATE_IGNORED,    /* text = reason (already running, by decision) */
	NH_LINK_UPDATE_RESCHEDULED,/* text, delay_ms */
	NH_LINK_UPDATE_STARTED,    /* uuid; once per download connection: text = "" or why it had to be resumed */
	NH_LINK_UPDATE_PROGRESS,   /* percent, text = "downloading" or "updating"; only if increased, at least 500 ms apart, 100 always */
	NH_LINK_UPDATE_INSTALLED,  /* uuid, version; platform reboot("update") follows once `completed` was sent */
	NH_LINK_UPDATE_FAILED,     /* uuid, text = the reason as told to the server */
	NH_LINK_VALIDATED,         /* the running firmware was marked valid and the server told */
	NH_LINK_VALIDATION_FAILED, /* text; platform reboot("validation") follows */
	NH_LINK_REBOOT,            /* the server asked; platform reboot("server") follows */
	NH_LINK_IDENTIFY,
	NH_LINK_KEYS,              /* the server sent signing keys; percent = how many are now known */
	NH_LINK_EXTENSION,         /* text: "health attached" */
	NH_LINK_CONSOLE,           /* text: a shell was started or ended for somebody */
	NH_LINK_SCRIPT,            /* text: a script's ref and how it ended */
	NH_LINK_FILE,              /* text: a file that came through the console */
	NH_LINK_ARCHIVE,           /* text: an archive that was taken, or why not */
	NH_LINK_ERROR,             /* text: something failed that the link goes on without */
	NH_LINK_REVERTED,          /* text: why the firmware before this boot was given up */
	NH_LINK_EVENT_KINDS,
} nh_link_event_kind;

/* Views valid during the callback only. */
struct nh_link_event {
	nh_link_event_kind kind;
	nh_slice text;
	nh_slice uuid;
	nh_slice version;
	unsigned percent;
	unsigned status;
	unsigned code;
	uint64_t delay_ms;
};
const char *nh_link_event_name(nh_link_event_kind kind); /* "update.progress" */

/* Where an update's bytes go on their way to the installer. source: reference/device-protocol "13.4" */
typedef enum nh_link_fetch {
	NH_LINK_STREAMING, /* straight into it; after a restart everything starts over */
	NH_LINK_CACHED,    /* into a file first, resumed after a lost socket, a killed process, a power cut */
	NH_LINK_PARTS,     /* as cached, and each MiB is compared with the announced checksum before the next; a bad one is fetched again */
} nh_link_fetch;

/* How the device hears of updates. source: reference/device-protocol "1", "15" */
typedef enum nh_link_transport {
	NH_LINK_CHANNEL, /* one WebSocket that stays open */
	NH_LINK_POLL,    /* a request from time to time, with a certificate; no progress, no orders, no extensions */
} nh_link_transport;

struct nh_link_backoff {
	/*
	 * The list starts anew once a heartbeat of a joined connection was answered. A refusal with Retry-After (503) waits at least so long, at most 15 minutes, and
	 * up to half as long again.
	 */
	const uint32_t *delays_ms; /* one after the other, the last repeats; NULL = 1 2 4 8 16 32 60 s. source: reference/device-protocol "14.5" */
	size_t count;
	uint32_t jitter_percent;   /* width of the range around each delay that it is drawn from, evenly: 100 = from half to one and a half of it; 0 = 100, at most 200 (0 to twice). Every attempt, also the first. */
};

/* Everything is copied at open, except platform, contexts, clock and rng, which must outlive the link. */
struct nh_link_config {
	/* Server: "host", "host:port" or a ws/wss URL. A bare path is completed with /socket/websocket (certificate) or /device-socket/websocket (secret). */
	const char *host;
	/* Who vouches for the server and for https downloads, all together: PEM text, PEM files or directories of such, the system's list. None of them: the system's. Read for each handshake, forgotten after it. */
	nh_slice ca_pem;
	const char *const *ca_paths;
	size_t ca_path_count;
	bool ca_system;
	const char *server_name;   /* NULL = the host */
	const char *proxy;         /* for everything: an address or "environment", see nh_proxy_new; NULL = none */
	const char *proxy_bypass;  /* servers that are reached without it; NULL = none */
	nh_link_transport transport;
	uint64_t poll_interval_ms; /* 900 000, with the backoff's jitter: between two questions */
	const char *clock_file;    /* where the newest time that is known for certain is kept, for machines without a battery; NULL = nowhere */
	bool msgpack;              /* MessagePack instead of JSON, which needs a server of 2026 or later; a vsn in host's URL decides over it */

	/* Who we are: a certificate with its key, a secure element or token that has the key, or a shared secret. Exactly one of them. */
	nh_slice cert_pem;         /* device certificate, then its signer */
	nh_slice key_pem;
	/*
	 * A NervesKey, by a name of atecc/transport.h: "nerveskey://i2c-1", "nerveskey+sim:///run/sim.sock". Its certificates are read before the first attempt and again after one that failed;
	 * it signs each handshake on the pool.
	 */
	const char *nerveskey;
	bool nerveskey_aux;        /* the auxiliary pair of certificates */
	/* A key in a PKCS#11 token (a TPM, a smart card), by its URI. With cert_pem, or without where the token holds the certificate too. Opened on the pool as the NervesKey is. */
	const char *pkcs11;
	const char *secret_key;    /* nhp_… or nhd_… */
	const char *secret;
	const char *identifier;    /* with a secret: who to sign as. With a certificate its common name decides; only for logs. */

	/* Keys that firmware must be signed with: base64 of 32 bytes each. None: updates are refused. */
	const char *const *public_keys;
	size_t public_key_count;
	bool request_keys;         /* with no key configured: ask the server for its organization's (trust on every connect) */

	const struct nh_link_platform *platform;
	void *platform_ctx;
	void (*on_event)(void *ctx, struct nh_link *link, const struct nh_link_event *event); /* may be NULL; may call nh_link_close */
	void *event_ctx;

	const struct nh_link_extensions *extensions; /* link/extensions.h; NULL = none */

	/* The rest has defaults: zero. */
	const char *device_api_version; /* "2.3.0" */
	const char *fwup_version;       /* sent at join where not NULL */
	const char *network_interface;  /* "eth0": reported after join where not NULL; "auto": the one that the connection goes through */
	struct nh_link_backoff backoff;
	uint64_t heartbeat_ms;          /* 30 000 */
	uint64_t rejoin_ms;             /* 5 000: after phx_error or a refused join */
	uint64_t validate_interval_ms;  /* 10 000 */
	uint64_t connect_timeout_ms;    /* 15 000 */
	uint64_t download_idle_ms;      /* 60 000 */
	uint64_t download_retry_ms;     /* 15 000, with the backoff's jitter */
	unsigned download_retries;      /* 10 */
	uint64_t progress_interval_ms;  /* 500 */
	nh_link_fetch fetch;            /* streaming */
	const char *cache_dir;          /* folder for the other two ways: made where missing, the link's own */
	bool installer_verifies;        /* the platform's installers verify with keys of their own, and refuse what they cannot: offers are taken without a public key too */
	uint64_t validate_deadline_ms;  /* since the machine's boot: a firmware that is not validated by then is reverted. 0 = never */
	bool validate_deadline_offline; /* also where no server could be reached; otherwise the deadline waits for the first accepted join */
	uint64_t download_bytes_per_s;  /* 0 = as fast as it goes; else throttled: slow links for simulations */
	const struct nh_clock *clock;   /* wall clock for signing; NULL = the system's */
	const struct nh_rng *rng;       /* jitter; NULL = the system's. Masks and keys always use the system's. */
};

/* nh_link_config_check - what open would say. NH_EINVAL with one clear line (no identity, two identities, bad key, bad host). */
nh_rc nh_link_config_check(const struct nh_link_config *config, struct nh_err *err);
/* nh_link_open - checks, copies, starts connecting at once. NH_EINVAL, NH_EFORMAT (certificate, key). *out must be closed. [loop] */
nh_rc nh_link_open(struct nh_loop *loop, struct nh_pool *pool, const struct nh_link_config *config, struct nh_link **out, struct nh_err *err);
/*
 * nh_link_close - says goodbye where connected, aborts an install in progress, waits for jobs on the pool; then cb (may be NULL), after which the memory is
 * gone. No event comes after this call. [loop]
 */
void nh_link_close(struct nh_link *link, void (*cb)(void *ctx), void *ctx);

/* Cuts the server connection (and with `download` also a running download) without a word, as a dead network does; the link reconnects by its rules. [loop] */
void nh_link_drop(struct nh_link *link, bool download);
/* Is an install in progress? [loop] */
bool nh_link_updating(const struct nh_link *link);
