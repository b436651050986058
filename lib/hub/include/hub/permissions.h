/*
 * Who may do what: one table, one function. A new thing that people can do is one row here; routes and hub functions name the row and never a role, so that what a role may is read
 * in one place and changed in one place.
 *
 * A member has one role in an organization, and each role may what the lower ones may. Whoever is no member is told that there is nothing, whatever the action.
 *
 * source: reference/user-api-and-cli "3", "6"; reference/server-behaviour "9.1" (where they differ the route table of the former counts)
 */
#pragma once

#include "hub/hub.h"

/* ACTION(enumerator without NH_MAY_, name for people and documents, least role without NH_ROLE_) */
#define NH_ACTIONS(ACTION)                                                            \
	ACTION(ORG_SEE, "org.see", VIEW)                                              \
	ACTION(ORG_UPDATE, "org.update", ADMIN)                                       \
	ACTION(ORG_DELETE, "org.delete", ADMIN)                                       \
	ACTION(MEMBER_SEE, "member.see", ADMIN)                                       \
	ACTION(MEMBER_ADD, "member.add", ADMIN)                                       \
	ACTION(MEMBER_UPDATE, "member.update", ADMIN)                                 \
	ACTION(MEMBER_REMOVE, "member.remove", ADMIN)                                 \
	ACTION(KEY_SEE, "key.see", VIEW)                                              \
	ACTION(KEY_CREATE, "key.create", MANAGE)                                      \
	ACTION(KEY_DELETE, "key.delete", MANAGE)                                      \
	ACTION(CA_SEE, "ca.see", VIEW)                                                \
	ACTION(CA_CREATE, "ca.create", MANAGE)                                        \
	ACTION(CA_DELETE, "ca.delete", MANAGE)                                        \
	ACTION(CA_UPDATE, "ca.update", MANAGE)                                        \
	ACTION(ISSUED_SEE, "issued_certificate.see", VIEW)                            \
	ACTION(ISSUED_CREATE, "issued_certificate.create", ADMIN)                     \
	ACTION(ISSUED_REVOKE, "issued_certificate.revoke", ADMIN)                     \
	ACTION(IROH_SEE, "iroh_endpoint.see", VIEW)                                   \
	ACTION(IROH_CREATE, "iroh_endpoint.create", MANAGE)                           \
	ACTION(IROH_DELETE, "iroh_endpoint.delete", MANAGE)                           \
	ACTION(WEBHOOK_SEE, "webhook.see", MANAGE)                                    \
	ACTION(WEBHOOK_CREATE, "webhook.create", ADMIN)                               \
	ACTION(WEBHOOK_UPDATE, "webhook.update", ADMIN)                               \
	ACTION(WEBHOOK_DELETE, "webhook.delete", ADMIN)                               \
	ACTION(PRODUCT_SEE, "product.see", VIEW)                                      \
	ACTION(PRODUCT_CREATE, "product.create", ADMIN)                               \
	ACTION(PRODUCT_UPDATE, "product.update", MANAGE)                              \
	ACTION(PRODUCT_DELETE, "product.delete", ADMIN)                               \
	ACTION(SECRET_SEE, "shared_secret.see", MANAGE)                               \
	ACTION(SECRET_CREATE, "shared_secret.create", MANAGE)                         \
	ACTION(SECRET_DEACTIVATE, "shared_secret.deactivate", MANAGE)                 \
	ACTION(FIRMWARE_SEE, "firmware.see", VIEW)                                    \
	ACTION(FIRMWARE_DOWNLOAD, "firmware.download", MANAGE)                        \
	ACTION(FIRMWARE_UPLOAD, "firmware.upload", MANAGE)                            \
	ACTION(FIRMWARE_DELETE, "firmware.delete", MANAGE)                            \
	ACTION(DELTA_SEE, "delta.see", VIEW)                                          \
	ACTION(DELTA_BUILD, "delta.build", MANAGE)                                    \
	ACTION(DELTA_DELETE, "delta.delete", MANAGE)                                  \
	ACTION(ARCHIVE_SEE, "archive.see", VIEW)                                      \
	ACTION(ARCHIVE_DOWNLOAD, "archive.download", MANAGE)                          \
	ACTION(ARCHIVE_UPLOAD, "archive.upload", MANAGE)                              \
	ACTION(ARCHIVE_DELETE, "archive.delete", MANAGE)                              \
	ACTION(GROUP_SEE, "deployment.see", VIEW)                                     \
	ACTION(GROUP_CREATE, "deployment.create", MANAGE)                             \
	ACTION(GROUP_UPDATE, "deployment.update", MANAGE)                             \
	ACTION(GROUP_DELETE, "deployment.delete", MANAGE)                             \
	ACTION(ROLLOUT_PLAN, "rollout.plan", MANAGE)                                  \
	ACTION(ROLLOUT_CONTROL, "rollout.control", MANAGE)                            \
	ACTION(SCRIPT_SEE, "script.see", VIEW)                                        \
	ACTION(SCRIPT_CREATE, "script.create", MANAGE)                                \
	ACTION(SCRIPT_UPDATE, "script.update", MANAGE)                                \
	ACTION(SCRIPT_DELETE, "script.delete", MANAGE)                                \
	ACTION(SCRIPT_RUN, "script.run", VIEW)                                        \
	ACTION(DEVICE_SEE, "device.see", VIEW)                                        \
	ACTION(DEVICE_PIN, "device.pin", VIEW)                                        \
	ACTION(DEVICE_CREATE, "device.create", MANAGE)                                \
	ACTION(DEVICE_IMPORT, "device.import", MANAGE)                                \
	ACTION(DEVICE_UPDATE, "device.update", MANAGE)                                \
	ACTION(DEVICE_DELETE, "device.delete", MANAGE)                                \
	ACTION(DEVICE_RESTORE, "device.restore", MANAGE)                              \
	ACTION(DEVICE_DESTROY, "device.destroy", MANAGE)                              \
	ACTION(DEVICE_MOVE, "device.move", MANAGE) /* asked of both organizations */  \
	ACTION(DEVICE_REBOOT, "device.reboot", MANAGE)                                \
	ACTION(DEVICE_RECONNECT, "device.reconnect", MANAGE)                          \
	ACTION(DEVICE_IDENTIFY, "device.identify", MANAGE)                            \
	ACTION(DEVICE_UPGRADE, "device.upgrade", MANAGE)                              \
	ACTION(DEVICE_FORGIVE, "device.forgive", MANAGE) /* out of the penalty box */ \
	ACTION(DEVICE_CONSOLE, "device.console", MANAGE)                              \
	ACTION(DEVICE_SHELL, "device.shell", MANAGE)                                  \
	ACTION(DEVICE_EVENTS, "device.events", VIEW)                                  \
	ACTION(DEVICE_TELEMETRY, "device.telemetry", VIEW)                            \
	ACTION(CERTIFICATE_SEE, "certificate.see", VIEW)                              \
	ACTION(CERTIFICATE_ADD, "certificate.add", MANAGE)                            \
	ACTION(CERTIFICATE_DELETE, "certificate.delete", MANAGE)                      \
	ACTION(IDENTITY_SEE, "network_identity.see", VIEW)                            \
	ACTION(IDENTITY_CREATE, "network_identity.create", MANAGE)                    \
	ACTION(IDENTITY_DELETE, "network_identity.delete", MANAGE)                    \
	ACTION(NOTIFICATION_SEE, "notification.see", VIEW)                            \
	ACTION(NOTIFICATION_DISMISS, "notification.dismiss", MANAGE)                  \
	ACTION(AUDIT_SEE, "audit.see", VIEW)

typedef enum nh_action {
	NH_MAY_NOTHING, /* of routes that ask for no role: anonymous ones and those of the own account. nh_may refuses it */
#define NH_ACTION_ENUMERATOR(id, name, role) NH_MAY_##id,
	NH_ACTIONS(NH_ACTION_ENUMERATOR)
#undef NH_ACTION_ENUMERATOR
	NH_MAY_COUNT,
} nh_action;

/* nh_action_name - "device.update"; "nothing" for NH_MAY_NOTHING. nh_action_role - the least role that may; NH_ROLE_NONE for NH_MAY_NOTHING. Any thread. */
const char *nh_action_name(nh_action action);
nh_role nh_action_role(nh_action action);

/*
 * nh_may - may the actor do that in the organization? NH_OK, or
 *   NH_ENOTFOUND: the actor is no member (and no user at all: devices may nothing of this kind), or there is no such organization
 *   NH_EPERM:     a member whose role is too low; the message names action and role
 *   others:       of the store
 * The system may everything. Inside a transaction, whichever thread has it.
 */
nh_rc nh_may(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_action action, struct nh_err *err);

/* nh_role_may - the same for a role that is known already, without asking the store. NH_EPERM as above. Any thread. */
nh_rc nh_role_may(nh_role role, nh_action action, struct nh_err *err);
