/*
 * Statements of the foundation family: accounts, organizations, products, keys, firmware, devices, certificates, secrets, loose objects.
 * Tables: db/migrations/0001-foundation.sql. The texts, with the columns in order, are in foundation.c; the hub's files that bind and read them
 * stay beside their rules. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

/* ---- users and tokens -------------------------------------------------------------------------------------------------- */
/* columns of every statement that reads a user: id, name, email, server_admin, inserted_at, updated_at */
extern const struct nh_stmt nh_q_user_any;         /* → count: 0 or 1 */
extern const struct nh_stmt nh_q_user_insert;      /* name, email, email key, hash, confirmed at, server admin, at → id */
extern const struct nh_stmt nh_q_user_by_id;       /* id */
extern const struct nh_stmt nh_q_user_by_email;    /* email key → user, password hash */
extern const struct nh_stmt nh_q_user_set_password;/* hash, at, id */
extern const struct nh_stmt nh_q_token_insert;     /* user, context, sha512, note, at → id */
extern const struct nh_stmt nh_q_token_find;       /* context, sha512 → user, token id, last used at */
extern const struct nh_stmt nh_q_token_touch;      /* at, id */
extern const struct nh_stmt nh_q_token_list;       /* user, context → id, note, last used at, inserted at */
extern const struct nh_stmt nh_q_token_delete;     /* user, id */
extern const struct nh_stmt nh_q_token_delete_all; /* user */

/* ---- organizations and members ------------------------------------------------------------------------------------------ */
/* columns of an organization: id, name, personal user id, inserted_at, updated_at; then the role where a user is given */
extern const struct nh_stmt nh_q_org_insert;       /* name, personal user or null, at → id */
extern const struct nh_stmt nh_q_org_by_name;      /* name */
extern const struct nh_stmt nh_q_org_for_user;     /* user, name → with role */
extern const struct nh_stmt nh_q_org_list;         /* user → with role, by name */
extern const struct nh_stmt nh_q_org_role;         /* user, org → role */
/* columns of a member: user id, name, email, role */
extern const struct nh_stmt nh_q_member_list;      /* org */
extern const struct nh_stmt nh_q_member_get;       /* org, email key */
extern const struct nh_stmt nh_q_member_insert;    /* org, user, role, at → changed 0: is one already */
extern const struct nh_stmt nh_q_member_set_role;  /* role, at, org, user */
extern const struct nh_stmt nh_q_member_delete;    /* org, user */
extern const struct nh_stmt nh_q_member_count;     /* org, least role → count */

/* ---- command-line sessions ----------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_cli_insert;       /* token, note, code, expires at */
extern const struct nh_stmt nh_q_cli_get;          /* token, now → note, code, user id; not delivered ones */
extern const struct nh_stmt nh_q_cli_confirm;      /* user, token */
extern const struct nh_stmt nh_q_cli_deliver;      /* token */
extern const struct nh_stmt nh_q_cli_expire;       /* now */

/* ---- products ------------------------------------------------------------------------------------------------------------- */
/* columns: id, org id, name, org name, unique version, tools, allow unsigned esp, device count, firmware count, inserted_at, updated_at, extensions */
extern const struct nh_stmt nh_q_product_insert;   /* org, name, at → id */
extern const struct nh_stmt nh_q_product_by_name;  /* org, name */
extern const struct nh_stmt nh_q_product_by_id;    /* id */
extern const struct nh_stmt nh_q_product_list;     /* org */
extern const struct nh_stmt nh_q_product_update;   /* unique version, tools, allow unsigned esp, extensions, at, id */
extern const struct nh_stmt nh_q_product_delete;   /* at, id → changed 0: gone, or has devices */
extern const struct nh_stmt nh_q_product_count_devices;   /* difference, id */
extern const struct nh_stmt nh_q_product_count_firmwares; /* difference, id */

/* ---- signing keys ---------------------------------------------------------------------------------------------------------- */
/* columns: id, org id, name, key, scheme, inserted_at */
extern const struct nh_stmt nh_q_key_list;         /* org */
extern const struct nh_stmt nh_q_key_by_name;      /* org, name */
extern const struct nh_stmt nh_q_key_taken;        /* org, key → id */
extern const struct nh_stmt nh_q_key_insert;       /* org, creator or null, name, scheme, key, at → id */
extern const struct nh_stmt nh_q_key_delete;       /* org, id: NH_ECONFLICT where firmware uses it */
extern const struct nh_stmt nh_q_key_exists;       /* org, id → 1 */

/* ---- firmware --------------------------------------------------------------------------------------------------------------- */
/* columns: see foundation.c FIRMWARE_COLUMNS, read by nh_hub firmware_read */
extern const struct nh_stmt nh_q_firmware_insert;  /* see foundation.c → id */
extern const struct nh_stmt nh_q_firmware_by_uuid; /* product, uuid */
extern const struct nh_stmt nh_q_firmware_list;    /* product */
extern const struct nh_stmt nh_q_firmware_version_taken; /* product, version, platform, architecture → id */
extern const struct nh_stmt nh_q_firmware_delete;  /* product, id: NH_ECONFLICT where a release uses it */
extern const struct nh_stmt nh_q_firmware_unused;    /* before, newest that stay, limit → id, org, product, uuid, version, object key, product name */
extern const struct nh_stmt nh_q_loose_put;        /* key, due at, node */
extern const struct nh_stmt nh_q_loose_abandon;    /* now, node: its claims fall due */
extern const struct nh_stmt nh_q_loose_delete;     /* key → changed 0: was not there */
extern const struct nh_stmt nh_q_loose_settle;     /* key, least due at → changed 0: was not there, or falls due before */
extern const struct nh_stmt nh_q_loose_due;        /* now, limit → key */

/* ---- devices ----------------------------------------------------------------------------------------------------------------- */
/* columns of a whole device: see device_query.h NH_DEVICE_SELECT */
extern const struct nh_stmt nh_q_device_insert;    /* org, product, identifier, description, tags, at → id */
extern const struct nh_stmt nh_q_device_by_id;     /* id; deleted ones too */
extern const struct nh_stmt nh_q_device_by_name;   /* product, identifier */
extern const struct nh_stmt nh_q_device_anywhere;  /* user, identifier → whole device, role; at most 2 */
extern const struct nh_stmt nh_q_device_update;    /* description, tags, connecting code, location, extensions, at, id */
extern const struct nh_stmt nh_q_device_delete;    /* at, id */
extern const struct nh_stmt nh_q_device_move;      /* org, product, at, id */

/* ---- certificates -------------------------------------------------------------------------------------------------------------- */
/* columns of a device certificate: id, org id, device id, serial, not before, not after, last used at, inserted_at, der, sha256 */
extern const struct nh_stmt nh_q_cert_insert;      /* org, device, serial, aki, ski, not before, not after, der, sha256, spki sha256, at → id */
extern const struct nh_stmt nh_q_cert_list;        /* device */
extern const struct nh_stmt nh_q_cert_by_serial;   /* device, serial */
extern const struct nh_stmt nh_q_cert_by_sha256;   /* sha256 */
extern const struct nh_stmt nh_q_cert_spki_owner;  /* spki sha256, device → another device's id */
extern const struct nh_stmt nh_q_cert_delete;      /* id */
extern const struct nh_stmt nh_q_cert_move;        /* org, device */
/* columns of a CA: id, org id, serial, description, not before, not after, last used at, inserted_at, check expiration, jitp product id, name, tags,
 * description */
extern const struct nh_stmt nh_q_ca_insert;        /* org, serial, aki, ski, not before, not after, der, sha256, description, at → id */
extern const struct nh_stmt nh_q_ca_list;          /* org */
extern const struct nh_stmt nh_q_ca_by_serial;     /* org, serial */
extern const struct nh_stmt nh_q_ca_taken;         /* sha256, org, serial → id */
extern const struct nh_stmt nh_q_ca_orgs_by_ski;   /* ski → org id, der */
extern const struct nh_stmt nh_q_ca_delete;        /* id */
extern const struct nh_stmt nh_q_jitp_insert;      /* ca, product, tags, description */

/* ---- shared secrets -------------------------------------------------------------------------------------------------------------- */
/* columns: id, key, deactivated at, inserted_at */
extern const struct nh_stmt nh_q_product_secret_insert;     /* product, key, secret, at → id */
extern const struct nh_stmt nh_q_product_secret_list;       /* product */
extern const struct nh_stmt nh_q_product_secret_deactivate; /* at, product, key → changed */
extern const struct nh_stmt nh_q_device_secret_insert;      /* device, key, secret, at → id */
extern const struct nh_stmt nh_q_device_secret_deactivate;  /* at, device, key → changed */
extern const struct nh_stmt nh_q_device_secret_deactivate_all; /* at, device */

extern const struct nh_stmt *const nh_foundation_statements[];
