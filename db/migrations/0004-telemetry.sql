-- What devices tell of themselves: health reports with their metrics, log lines, identities in other networks; and the connections that ended.
-- Each is read by device and trimmed by age, both by index; a device that is deleted for good takes its own with it.
-- source: reference/server-behaviour "1.6", "1.9", "1.10"

-- superseded: a newer report of the device came. The one that is not is the device's latest and outlives the retention.
CREATE TABLE device_health (
	id {{id}},
	device_id {{int}} NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
	inserted_at {{int}} NOT NULL,
	superseded {{int}} NOT NULL DEFAULT 0,
	status TEXT NOT NULL CHECK (status IN ('unknown', 'healthy', 'warning', 'unhealthy')),
	status_reasons TEXT, -- JSON object; null where healthy or unknown
	alarms TEXT,         -- JSON object: name to description; null where there is none
	data TEXT NOT NULL   -- the report whole, JSON object
) {{strict}};
CREATE UNIQUE INDEX device_health_latest ON device_health (device_id) WHERE superseded = 0;
CREATE INDEX device_health_device ON device_health (device_id, inserted_at);
CREATE INDEX device_health_age ON device_health (inserted_at) WHERE superseded = 1;

-- The numbers of a report, for charts and filters. They live as long as their report.
CREATE TABLE device_metrics (
	health_id {{int}} NOT NULL REFERENCES device_health (id) ON DELETE CASCADE,
	key TEXT NOT NULL,
	value {{real}} NOT NULL,
	PRIMARY KEY (health_id, key)
) {{clustered}};

-- at: when the device says it happened; inserted_at: when it was heard.
CREATE TABLE device_log_lines (
	id {{id}},
	device_id {{int}} NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
	at {{int}} NOT NULL,
	inserted_at {{int}} NOT NULL,
	level TEXT NOT NULL,
	message TEXT NOT NULL,
	meta TEXT NOT NULL -- JSON object of texts
) {{strict}};
CREATE INDEX device_log_lines_device ON device_log_lines (device_id, at, id);
CREATE INDEX device_log_lines_age ON device_log_lines (inserted_at);

-- What a device, or a member's machine, is called in a network of another kind. Without owner: registered by an operator for whoever comes.
CREATE TABLE network_identities (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
	device_id {{int}} REFERENCES devices (id) ON DELETE CASCADE,
	org_user_id {{int}} REFERENCES org_users (id) ON DELETE CASCADE,
	service TEXT NOT NULL CHECK (service IN ('iroh', 'netbird', 'tailscale', 'wireguard')),
	instance TEXT NOT NULL DEFAULT 'default',
	identifier TEXT NOT NULL,
	details TEXT NOT NULL DEFAULT '{}', -- JSON object
	source TEXT NOT NULL CHECK (source IN ('device_reported', 'operator')),
	last_reported_at {{int}},
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL,
	CHECK (device_id IS NULL OR org_user_id IS NULL)
) {{strict}};
CREATE UNIQUE INDEX network_identities_identifier ON network_identities (service, identifier);
CREATE UNIQUE INDEX network_identities_device ON network_identities (device_id, service, instance) WHERE device_id IS NOT NULL;
CREATE UNIQUE INDEX network_identities_member ON network_identities (org_user_id, service, instance) WHERE org_user_id IS NOT NULL;
CREATE INDEX network_identities_org ON network_identities (org_id, service, id);

-- Connections that ended, written with their end; the one that goes on is in device_connections. id: the connection's UUIDv7. product_id: the device's then.
CREATE TABLE device_connection_history (
	id TEXT PRIMARY KEY NOT NULL,
	device_id {{int}} NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
	product_id {{int}} NOT NULL REFERENCES products (id),
	established_at {{int}} NOT NULL,
	disconnected_at {{int}} NOT NULL,
	disconnected_reason TEXT,
	network_interface TEXT
) {{clustered}};
CREATE INDEX device_connection_history_device ON device_connection_history (device_id, established_at);
CREATE INDEX device_connection_history_flapping ON device_connection_history (product_id, established_at, device_id);
CREATE INDEX device_connection_history_age ON device_connection_history (disconnected_at);
