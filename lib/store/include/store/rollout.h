/*
 * Statements of the rollout family: deployment groups, releases, updates in flight, connections, the device's place in the rollout.
 * Tables: db/migrations/0002-rollout.sql. The texts, with the columns in order, are in rollout.c; the hub's files that bind and read them stay
 * beside their rules. Dates are microseconds, lists are JSON arrays of strings.
 */
#pragma once

#include "store/db.h"

/* ---- deployment groups ------------------------------------------------------------------------------------------------- */
#define NH_GROUP_COLUMNS 55 /* columns of each statement that reads a group with its current release and that one's rollout; order: nh_hub group_read */
extern const struct nh_stmt nh_q_group_by_id;      /* id */
extern const struct nh_stmt nh_q_group_by_name;    /* product, name */
extern const struct nh_stmt nh_q_group_list;       /* product */
extern const struct nh_stmt nh_q_group_candidates; /* product, platform, architecture: active, not locked */
extern const struct nh_stmt nh_q_group_insert;     /* org, product, name, platform, architecture, at → id */
extern const struct nh_stmt nh_q_group_update;     /* all editable columns, see rollout.c */
extern const struct nh_stmt nh_q_group_set_release;/* release id, archive told (0: tell everybody; null: there is none), at, id */
extern const struct nh_stmt nh_q_group_delete;     /* id */
extern const struct nh_stmt nh_q_group_turn;       /* id → the turn that was taken last */
extern const struct nh_stmt nh_q_group_lock;       /* turn, id: takes the row's lock for whoever hands out its slots */
extern const struct nh_stmt nh_q_group_count_add;  /* difference, id: device_count */
extern const struct nh_stmt nh_q_group_updated_add;/* id: current_updated_devices + 1 */
extern const struct nh_stmt nh_q_group_ids_active; /* after id, limit */
extern const struct nh_stmt nh_q_release_insert;   /* group, number, firmware, archive, creator, description, notes, at → id */
extern const struct nh_stmt nh_q_release_list;     /* group, limit */
extern const struct nh_stmt nh_q_firmware_for_release; /* product, uuid → id, uuid, version, platform, architecture */
extern const struct nh_stmt nh_q_firmware_for_release_id; /* product, id → the same */

/* ---- the device's place in the rollout ---------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_facts;                /* device id → nh_device_facts, see rollout.c */
extern const struct nh_stmt nh_q_facts_members;        /* group, after id, limit → as facts, of its live members by id */
extern const struct nh_stmt nh_q_facts_ungrouped;      /* product, after id, limit → as facts, of its live devices without a group */
extern const struct nh_stmt nh_q_device_set_group;     /* group or null, at, device id */
extern const struct nh_stmt nh_q_device_set_firmware;  /* uuid, version, platform, architecture, metadata, validation, reverted, at, device id */
extern const struct nh_stmt nh_q_device_set_validation;/* validation, reverted, at, device id */
extern const struct nh_stmt nh_q_device_set_validated; /* at, device id */
extern const struct nh_stmt nh_q_device_set_attempts;  /* attempts JSON, at, device id */
extern const struct nh_stmt nh_q_device_set_blocked;   /* until or null, at, device id */
extern const struct nh_stmt nh_q_device_set_updates;   /* enabled, at, device id */
extern const struct nh_stmt nh_q_device_set_failure;   /* text or null, at or null, device id */
extern const struct nh_stmt nh_q_device_provision;     /* at, device id: registered → provisioned, first seen */
extern const struct nh_stmt nh_q_device_online;        /* since, device id */
extern const struct nh_stmt nh_q_device_offline;       /* device id → org, product, group or null, bits of event kinds; nothing where it was offline */
extern const struct nh_stmt nh_q_device_firmware_add;  /* id, device, uuid, metadata, validation, reverted, at */
extern const struct nh_stmt nh_q_device_firmware_trim; /* device, how many of the newest stay besides the very newest */
extern const struct nh_stmt nh_q_device_firmware_validation; /* validation, reverted, device: newest row */

/* ---- selection ---------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_waiting_source;       /* group, after uuid → next distinct firmware uuid, or null */
extern const struct nh_stmt nh_q_waiting_fifo;         /* group, uuid, now, after connected_at, after id, limit → id, connected_at, version, tags, interface, zone, named by release */
extern const struct nh_stmt nh_q_waiting_lifo;         /* group, uuid, now, before first_seen, before id, limit → id, first_seen, version, tags, interface, zone, named by release */

/* ---- updates in flight --------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_inflight_get;         /* device */
extern const struct nh_stmt nh_q_inflight_count;       /* group, priority → count */
extern const struct nh_stmt nh_q_inflight_insert;      /* device, group, firmware, uuid, priority, at → changed 0: exists already */
extern const struct nh_stmt nh_q_inflight_set;         /* status, progress or null, at, device */
extern const struct nh_stmt nh_q_inflight_delete;      /* device */
extern const struct nh_stmt nh_q_inflight_expired;     /* before, after, limit → device: reported before the one, or dated after the other */
extern const struct nh_stmt nh_q_inflight_unheard;     /* after, until, limit → device: sent then, connected, nothing reported yet */
extern const struct nh_stmt nh_q_update_stat_add;      /* product, device, group or null, type, source or null, target, bytes, bytes saved, at, sent at or null */
extern const struct nh_stmt nh_q_firmware_for_payload; /* firmware id → what an update message says */
extern const struct nh_stmt nh_q_firmware_size_by_uuid;/* product, uuid → size */
extern const struct nh_stmt nh_q_firmware_metadata_by_uuid; /* product, uuid → metadata columns */
extern const struct nh_stmt nh_q_org_public_keys;      /* org → key texts */
extern const struct nh_stmt nh_q_download_firmware;    /* org, uuid → id, object key, sha256, size */

/* ---- connections --------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_connection_get;       /* device */
extern const struct nh_stmt nh_q_connection_open;      /* id, device, status, established, seen, disconnected or null, node, metadata: replaces the device's row */
extern const struct nh_stmt nh_q_connection_open_late; /* the same → changed 0: the row is a newer connection's, or live on another node */
extern const struct nh_stmt nh_q_connection_joined;    /* metadata, at, device, id → changed 0: replaced */
extern const struct nh_stmt nh_q_connection_is;        /* device, id → metadata, established_at */
extern const struct nh_stmt nh_q_connection_seen;      /* at, device, id */
extern const struct nh_stmt nh_q_connection_interface; /* interface, device, id */
extern const struct nh_stmt nh_q_connection_metadata;  /* metadata, device, id */
extern const struct nh_stmt nh_q_connection_close;     /* at, reason or null, device, id → changed 0: replaced */
extern const struct nh_stmt nh_q_connection_stale;     /* before, node whose own are left out, limit → device, id */
extern const struct nh_stmt nh_q_connection_of_node;   /* node, limit → device, id: not ended */

/* ---- device authentication ---------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_auth_cert_by_sha256;  /* fingerprint → device (id, org, product, identifier, deleted at), certificate id */
extern const struct nh_stmt nh_q_auth_cert_by_key;     /* public key fingerprint → device */
extern const struct nh_stmt nh_q_auth_cert_used;       /* at, certificate id */
extern const struct nh_stmt nh_q_auth_cert_used_by_sha256; /* at, fingerprint, device → changed */
extern const struct nh_stmt nh_q_auth_ca_by_ski;       /* key identifier → CAs with their just-in-time profile */
extern const struct nh_stmt nh_q_auth_ca_used;         /* at, CA id */
extern const struct nh_stmt nh_q_auth_device_find;     /* org, identifier → live device */
extern const struct nh_stmt nh_q_auth_device_deleted;  /* org, identifier → id of a deleted one */
extern const struct nh_stmt nh_q_auth_device_certs;    /* device → number of certificates (0 or 1) */
extern const struct nh_stmt nh_q_auth_product_secret;  /* key → secret, product, org */
extern const struct nh_stmt nh_q_auth_device_secret;   /* key → secret, product, org, device, identifier */

extern const struct nh_stmt *const nh_rollout_statements[];
