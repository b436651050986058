-- Rollout: deployment groups and releases, updates in flight, connections, what devices reported, the audit log.
-- source: reference/server-behaviour "1.4", "1.6", "1.8", "8"

CREATE TABLE deployment_groups (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs(id),
	product_id {{int}} NOT NULL REFERENCES products(id),
	name TEXT NOT NULL,
	platform TEXT NOT NULL,
	architecture TEXT NOT NULL,
	condition_version TEXT NOT NULL DEFAULT '',
	condition_tags TEXT NOT NULL DEFAULT '[]',
	tag_operator TEXT NOT NULL DEFAULT 'and' CHECK (tag_operator IN ('and', 'or')),
	is_active {{int}} NOT NULL DEFAULT 0,
	status TEXT NOT NULL DEFAULT 'ready' CHECK (status IN ('ready', 'preparing', 'deltas_failed', 'unknown_error')),
	delta_updatable {{int}} NOT NULL DEFAULT 1,
	lock_device_membership {{int}} NOT NULL DEFAULT 0,
	queue_management TEXT NOT NULL DEFAULT 'FIFO' CHECK (queue_management IN ('FIFO', 'LIFO')),
	concurrent_updates {{int}} NOT NULL DEFAULT 10 CHECK (concurrent_updates > 0),
	priority_queue_enabled {{int}} NOT NULL DEFAULT 0,
	priority_queue_concurrent_updates {{int}} NOT NULL DEFAULT 5 CHECK (priority_queue_concurrent_updates > 0),
	priority_queue_firmware_version_threshold TEXT,
	release_network_interfaces TEXT NOT NULL DEFAULT '[]',
	release_tags TEXT NOT NULL DEFAULT '[]',
	device_failure_threshold {{int}} NOT NULL DEFAULT 3 CHECK (device_failure_threshold > 0),
	device_failure_rate_amount {{int}} NOT NULL DEFAULT 5 CHECK (device_failure_rate_amount > 0),
	device_failure_rate_seconds {{int}} NOT NULL DEFAULT 180 CHECK (device_failure_rate_seconds >= 60),
	failure_threshold {{int}} NOT NULL DEFAULT 50 CHECK (failure_threshold > 0),
	penalty_timeout_minutes {{int}} NOT NULL DEFAULT 1440 CHECK (penalty_timeout_minutes >= 60),
	connecting_code TEXT,
	notes TEXT,
	current_release_id {{int}},
	current_updated_devices {{int}} NOT NULL DEFAULT 0,
	device_count {{int}} NOT NULL DEFAULT 0,
	orchestrated_at {{int}} NOT NULL DEFAULT 0,
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX deployment_groups_product_name ON deployment_groups (product_id, name);
CREATE INDEX deployment_groups_active ON deployment_groups (id) WHERE is_active = 1;

CREATE TABLE deployment_releases (
	id {{id}},
	deployment_group_id {{int}} NOT NULL REFERENCES deployment_groups(id) ON DELETE CASCADE,
	number {{int}} NOT NULL,
	firmware_id {{int}} NOT NULL REFERENCES firmwares(id),
	archive_id {{int}},
	created_by_id {{int}} REFERENCES users(id) ON DELETE SET NULL,
	description TEXT,
	notes TEXT,
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX deployment_releases_number ON deployment_releases (deployment_group_id, number);
CREATE INDEX deployment_releases_firmware ON deployment_releases (firmware_id);
CREATE INDEX deployment_releases_creator ON deployment_releases (created_by_id);

-- A device's place in the rollout. connected_at is NULL while it is offline.
ALTER TABLE devices ADD COLUMN deployment_id {{int}} REFERENCES deployment_groups(id) ON DELETE SET NULL;
ALTER TABLE devices ADD COLUMN connected_at {{int}};
ALTER TABLE devices ADD COLUMN update_attempts TEXT NOT NULL DEFAULT '[]';
ALTER TABLE devices ADD COLUMN updates_blocked_until {{int}};
ALTER TABLE devices ADD COLUMN last_failure TEXT;
ALTER TABLE devices ADD COLUMN last_failure_at {{int}};
CREATE INDEX devices_deployment ON devices (deployment_id);
-- The orchestrator walks the distinct firmwares of a group and takes the first few devices of each, in the group's order.
CREATE INDEX devices_waiting_fifo ON devices (deployment_id, firmware_uuid, connected_at, id) WHERE connected_at IS NOT NULL;
CREATE INDEX devices_waiting_lifo ON devices (deployment_id, firmware_uuid, first_seen_at, id) WHERE connected_at IS NOT NULL;

CREATE TABLE inflight_updates (
	id {{id}},
	device_id {{int}} NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
	deployment_id {{int}} REFERENCES deployment_groups(id) ON DELETE SET NULL,
	firmware_id {{int}} REFERENCES firmwares(id) ON DELETE SET NULL,
	firmware_uuid TEXT,
	priority_queue {{int}} NOT NULL DEFAULT 0,
	status TEXT NOT NULL DEFAULT 'requested',
	progress {{int}},
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX inflight_updates_device ON inflight_updates (device_id);
CREATE INDEX inflight_updates_deployment ON inflight_updates (deployment_id, priority_queue);
CREATE INDEX inflight_updates_firmware ON inflight_updates (firmware_id);
CREATE INDEX inflight_updates_updated ON inflight_updates (updated_at);

CREATE TABLE update_stats (
	id {{id}},
	product_id {{int}} NOT NULL REFERENCES products(id),
	device_id {{int}} NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
	deployment_id {{int}} REFERENCES deployment_groups(id) ON DELETE SET NULL,
	type TEXT NOT NULL,
	source_firmware_uuid TEXT,
	target_firmware_uuid TEXT NOT NULL,
	update_bytes {{int}} NOT NULL,
	saved_bytes {{int}} NOT NULL,
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX update_stats_device ON update_stats (device_id);
CREATE INDEX update_stats_deployment ON update_stats (deployment_id, target_firmware_uuid);
CREATE INDEX update_stats_product ON update_stats (product_id);

-- One row a device, its newest connection. id: UUIDv7, also the reference that tells a late report of an older connection apart.
CREATE TABLE device_connections (
	id TEXT PRIMARY KEY NOT NULL,
	device_id {{int}} NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
	status TEXT NOT NULL CHECK (status IN ('connecting', 'connected', 'disconnected')),
	established_at {{int}} NOT NULL,
	last_seen_at {{int}} NOT NULL,
	disconnected_at {{int}},
	disconnected_reason TEXT,
	network_interface TEXT,
	metadata TEXT NOT NULL DEFAULT '{}'
) {{strict}};
CREATE UNIQUE INDEX device_connections_device ON device_connections (device_id);
CREATE INDEX device_connections_stale ON device_connections (last_seen_at) WHERE status <> 'disconnected';

-- History of the firmwares a device reported. id: UUIDv7.
CREATE TABLE device_firmwares (
	id TEXT PRIMARY KEY NOT NULL,
	device_id {{int}} NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
	firmware_uuid TEXT NOT NULL,
	metadata TEXT NOT NULL,
	validation_status TEXT NOT NULL,
	auto_revert_detected {{int}} NOT NULL DEFAULT 0,
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX device_firmwares_device ON device_firmwares (device_id, id);

CREATE TABLE audit_logs (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs(id),
	actor_kind TEXT NOT NULL,
	actor_id {{int}} NOT NULL,
	actor_name TEXT NOT NULL,
	resource_kind TEXT NOT NULL,
	resource_id {{int}} NOT NULL,
	description TEXT NOT NULL,
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX audit_logs_resource ON audit_logs (org_id, resource_kind, resource_id, id);
CREATE INDEX audit_logs_actor ON audit_logs (org_id, actor_kind, actor_id, id);
CREATE INDEX audit_logs_age ON audit_logs (org_id, inserted_at);
