/*
 * The PKCS#11 module inside: what its files share. entry.c has the C_* functions and no logic; each concern is a file.
 *
 * Locks, outermost first: a session's (its operations), a slot's (what is known of its chip, and the chip itself), the gate (which module, which sessions; never held
 * while anything waits). The first two are the application's mutexes where it brings its own, the gate is always the system's: it is what makes fork safe.
 *
 * Nothing stays open between calls: each use of a chip opens its bus, takes it for one transaction, and closes it. So a child of fork shares no descriptor with its parent, and a
 * simulator or adapter that went away and came back is found again.
 */
#pragma once

#include <nettle/sha2.h>
#include <p11-kit/pkcs11.h>

#include "base/buf.h"
#include "nerveskey/nerveskey.h"

#define SLOTS_MAX 64u
#define SESSIONS_MAX 1024u
#define SECRETS_MAX 256u       /* derived keys of one slot */
#define SECRET_MAX 32u         /* bytes of one */
#define FIND_MAX (6u + SECRETS_MAX)
#define SLOT_ID_MAX 199u       /* '0' + id is the byte that CKA_ID has always been */
#define RANDOM_MAX 65536u      /* bytes of one C_GenerateRandom: half a minute on a slow chip */

/* ---- config.c: which slots there are */
typedef enum pair_choice { PAIR_BOTH, PAIR_PRIMARY, PAIR_AUX } pair_choice;
struct slot_setting {
	CK_SLOT_ID id;
	int bus;         /* of a default slot: listed where /dev/i2c-BUS exists; -1: named by the user, always listed */
	char spec[256];  /* atecc/transport.h */
	char label[33];
	pair_choice pair;
};
struct config {
	struct slot_setting slots[SLOTS_MAX];
	size_t count;
	uint64_t cache_ms; /* how long an answer to "is there a chip?" holds */
};
/* config_parse - NH_EINVAL with the item that is wrong; *out complete with defaults. */
nh_rc config_parse(nh_slice text, struct config *out, struct nh_err *err);
/* config_load - from the environment, else the file, else defaults. */
nh_rc config_load(struct config *out, struct nh_err *err);

/* ---- lock.c */
struct locking {
	CK_CREATEMUTEX create;
	CK_DESTROYMUTEX destroy;
	CK_LOCKMUTEX lock;
	CK_UNLOCKMUTEX unlock;
};
struct lock {
	const struct locking *how;
	void *mutex;
};
extern const struct locking locking_system;
CK_RV lock_init(struct lock *l, const struct locking *how);
void lock_fini(struct lock *l);
CK_RV lock_take(struct lock *l);
void lock_give(struct lock *l);

/* ---- token.c: a slot's chip, and what is known of it */
struct certificate {
	enum { CERTIFICATE_UNREAD, CERTIFICATE_THERE, CERTIFICATE_NONE } state;
	struct nh_buf der;
	struct nh_nerveskey_certificate parsed; /* views into der */
};
/* A session key that C_DeriveKey made. */
struct secret {
	struct secret *next;
	CK_OBJECT_HANDLE handle;
	CK_SESSION_HANDLE owner;
	CK_KEY_TYPE type;
	uint32_t flags;   /* SECRET_… of derive.c's table */
	char label[64];
	size_t label_len;
	uint8_t id[32];
	size_t id_len;
	uint8_t value[SECRET_MAX];
	size_t len;
};
struct slot {
	struct slot_setting set;
	struct lock lock;
	uint64_t cache_ms;
	bool looked;            /* verdict and looked_ms are valid */
	uint64_t looked_ms;
	CK_RV verdict;          /* CKR_OK, CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED or what went wrong */
	bool known;             /* info and certificates belong to the chip that was seen last */
	struct nh_nerveskey_info info;
	struct certificate certificates[4]; /* pair * 2 + signer */
	struct secret *secrets;
	size_t secret_count;
	bool logged_in;
	size_t sessions, rw_sessions; /* under the gate */
};
/* All with the slot's lock held. token_look: is a usable chip there? Asks it unless the last answer is young. */
CK_RV token_look(struct slot *slot);
/* The chip must be the one with this serial number: CKR_DEVICE_REMOVED. */
CK_RV token_same(const struct slot *slot, const uint8_t serial[NH_ATECC_SERIAL_LEN]);
/* A certificate, read on first use. CKR_OK with *out NULL: this chip has none. */
CK_RV token_certificate(struct slot *slot, nh_nerveskey_pair pair, bool signer, const struct certificate **out);
CK_RV token_sign(struct slot *slot, const uint8_t digest[32], uint8_t signature[NH_P256_SIGNATURE_LEN]);
CK_RV token_ecdh(struct slot *slot, const uint8_t peer[NH_P256_PUBLIC_LEN], uint8_t shared[NH_P256_LEN]);
CK_RV token_random(struct slot *slot, uint8_t *out, size_t len);
void token_forget(struct slot *slot);
/* derive.c */
void secret_drop(struct slot *slot, CK_SESSION_HANDLE owner, CK_OBJECT_HANDLE handle); /* handle 0: all of the owner; owner 0: everybody's */
struct secret *secret_find(const struct slot *slot, CK_OBJECT_HANDLE handle);

/* ---- module.c: begin, end, fork; who is inside */
struct session;
struct module {
	unsigned refs;            /* one while initialized, and one for each call that is inside; under the gate */
	struct locking locking;
	struct slot slots[SLOTS_MAX];
	size_t slot_count;
	struct session *sessions[SESSIONS_MAX]; /* under the gate */
	CK_ULONG session_serial;
	CK_OBJECT_HANDLE next_secret;           /* under the gate */
};
CK_RV module_initialize(void *args);
CK_RV module_finalize(void *reserved);
CK_RV module_enter(struct module **out);
void module_leave(struct module *m);
void module_gate_close(void);
void module_gate_open(void);
CK_RV slot_enter(struct module *m, CK_SLOT_ID id, struct slot **out); /* locked: slot_leave */
void slot_leave(struct slot *slot);

/* ---- slots.c */
CK_RV module_info(CK_INFO *out);
CK_RV slots_list(struct module *m, bool present, CK_SLOT_ID *list, CK_ULONG *count);
CK_RV slot_info(struct slot *slot, CK_SLOT_INFO *out);
CK_RV slot_token_info(struct slot *slot, CK_TOKEN_INFO *out);
CK_RV slot_mechanisms(struct slot *slot, CK_MECHANISM_TYPE *list, CK_ULONG *count);
CK_RV slot_mechanism_info(struct slot *slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *out);
CK_RV slot_refuse_init(struct slot *slot);
CK_RV slots_wait(CK_FLAGS flags, const CK_SLOT_ID *slot, const void *reserved);
/* mechanism_check - CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID: not one of ours for this use (CKF_SIGN…), or with parameters where it takes none. */
CK_RV mechanism_check(const CK_MECHANISM *mechanism, CK_FLAGS use);

/* ---- message.c: bytes on their way to 32 that are signed */
struct message {
	bool hashed;
	struct sha256_ctx hash;
	uint8_t head[32]; /* of a digest that the caller made */
	size_t len;
};
void message_begin(struct message *msg, bool hashed);
void message_add(struct message *msg, nh_slice bytes);
void message_end(struct message *msg, uint8_t digest[32]);

/* ---- session.c */
struct operation {
	enum { OPERATION_NONE, OPERATION_BEGUN, OPERATION_PARTS } state;
	struct message message;
	uint8_t public_key[NH_P256_PUBLIC_LEN]; /* verify */
};
struct session {
	CK_SESSION_HANDLE handle;
	struct module *module;
	struct slot *slot;
	CK_FLAGS flags;
	struct lock lock;
	unsigned users; /* calls inside, under the gate */
	bool closed;    /* no longer in the table: its last user frees it; under the gate */
	uint8_t chip_serial[NH_ATECC_SERIAL_LEN];
	struct operation sign, verify, digest;
	bool finding;
	CK_OBJECT_HANDLE *found;
	size_t found_count, found_next;
};
CK_RV session_open(struct module *m, CK_SLOT_ID id, CK_FLAGS flags, CK_SESSION_HANDLE *out);
CK_RV session_close(struct module *m, CK_SESSION_HANDLE handle);
CK_RV session_close_all(struct module *m, CK_SLOT_ID id);
CK_RV session_enter(CK_SESSION_HANDLE handle, struct session **out); /* locked: session_leave */
void session_leave(struct session *s);
CK_RV session_info(struct session *s, CK_SESSION_INFO *out);
CK_RV session_login(struct session *s, CK_USER_TYPE user);
CK_RV session_logout(struct session *s);
void session_free(struct session *s); /* nobody is inside */
/* session_chip - takes the slot's lock; its facts belong to the chip this session was opened on. session_chip_leave gives it back; only after CKR_OK. */
CK_RV session_chip(struct session *s);
void session_chip_leave(struct session *s);

/* ---- object.c */
typedef enum object_kind {
	OBJECT_PRIVATE_KEY = 1, /* these two as they have always been numbered */
	OBJECT_PUBLIC_KEY,
	OBJECT_DEVICE_CERTIFICATE,
	OBJECT_SIGNER_CERTIFICATE,
	OBJECT_AUX_DEVICE_CERTIFICATE,
	OBJECT_AUX_SIGNER_CERTIFICATE,
	OBJECT_SECRET,
} object_kind;
struct object {
	struct slot *slot;
	object_kind kind;
	const struct secret *secret;
};
CK_OBJECT_CLASS object_class(object_kind kind);
/* With the slot's lock held. CKR_OBJECT_HANDLE_INVALID. */
CK_RV object_of(struct slot *slot, CK_OBJECT_HANDLE handle, struct object *out);
/* A key for an operation: CKR_KEY_HANDLE_INVALID, CKR_KEY_TYPE_INCONSISTENT or CKR_KEY_FUNCTION_NOT_PERMITTED where the object is no key of that kind. public_key: 64 bytes, or NULL. Takes the slot itself. */
CK_RV key_check(struct session *s, CK_OBJECT_HANDLE handle, object_kind kind, uint8_t *public_key);
/* object_certificate - the certificate behind an object of one of the four kinds; *out NULL: there is none. */
CK_RV object_certificate(const struct object *o, const struct certificate **out);
CK_RV find_begin(struct session *s, const CK_ATTRIBUTE *attributes, CK_ULONG count);
CK_RV find_next(struct session *s, CK_OBJECT_HANDLE *out, CK_ULONG max, CK_ULONG *count);
CK_RV find_end(struct session *s);
CK_RV object_attributes(struct session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE *attributes, CK_ULONG count);
CK_RV object_size(struct session *s, CK_OBJECT_HANDLE handle, CK_ULONG *out);
CK_RV object_create(struct session *s, const CK_ATTRIBUTE *attributes, CK_ULONG count, const CK_OBJECT_HANDLE *out);
CK_RV object_refuse(struct session *s, CK_OBJECT_HANDLE handle); /* copying, changing */
CK_RV object_destroy(struct session *s, CK_OBJECT_HANDLE handle);

/* ---- attribute.c */
/* attribute_get - replaces out's content. CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_SENSITIVE, or the chip's error. */
CK_RV attribute_get(const struct object *o, CK_ATTRIBUTE_TYPE type, struct nh_buf *out);
/* Does the object have every attribute of the template? */
CK_RV attribute_match(const struct object *o, const CK_ATTRIBUTE *attributes, CK_ULONG count, bool *out);

/* ---- sign.c verify.c digest.c derive.c random.c */
CK_RV sign_begin(struct session *s, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV sign_once(struct session *s, const uint8_t *data, CK_ULONG len, uint8_t *signature, CK_ULONG *signature_len);
CK_RV sign_more(struct session *s, const uint8_t *data, CK_ULONG len);
CK_RV sign_end(struct session *s, uint8_t *signature, CK_ULONG *signature_len);
CK_RV verify_begin(struct session *s, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV verify_once(struct session *s, const uint8_t *data, CK_ULONG len, const uint8_t *signature, CK_ULONG signature_len);
CK_RV verify_more(struct session *s, const uint8_t *data, CK_ULONG len);
CK_RV verify_end(struct session *s, const uint8_t *signature, CK_ULONG signature_len);
CK_RV digest_begin(struct session *s, const CK_MECHANISM *mechanism);
CK_RV digest_once(struct session *s, const uint8_t *data, CK_ULONG len, uint8_t *digest, CK_ULONG *digest_len);
CK_RV digest_more(struct session *s, const uint8_t *data, CK_ULONG len);
CK_RV digest_key(struct session *s, CK_OBJECT_HANDLE key);
CK_RV digest_end(struct session *s, uint8_t *digest, CK_ULONG *digest_len);
CK_RV derive_key(struct session *s, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base, const CK_ATTRIBUTE *attributes, CK_ULONG count, CK_OBJECT_HANDLE *out);
/* One attribute of a derived key that only derive.c's table knows. */
CK_RV secret_attribute(const struct secret *secret, CK_ATTRIBUTE_TYPE type, struct nh_buf *out);
CK_RV random_generate(struct session *s, uint8_t *out, CK_ULONG len);

/* ---- error.c, debug.c */
/* What an error of the chip is to an application: while a token is looked for, and in a session. */
CK_RV error_looking(nh_rc rc);
CK_RV error_in_session(nh_rc rc);
const char *error_name(CK_RV rv); /* "CKR_OK"; a literal */
/* Lines on standard error where NERVESKEY_DEBUG is set; never data, keys or PINs. debug_call returns rv. */
void debug_load(void);
CK_RV debug_call(const char *function, CK_RV rv);
[[gnu::format(printf, 1, 2)]] void debug_say(const char *fmt, ...);
[[gnu::format(printf, 1, 2)]] void debug_complain(const char *fmt, ...); /* always: a configuration nobody could use */
