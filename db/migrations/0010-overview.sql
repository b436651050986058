-- What people look after a fleet with: pins, notifications, figures, the audit log of a whole organization.
-- source: reference/server-behaviour "1.3", "1.9", "9.7"

CREATE TABLE pinned_devices (
	user_id {{int}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	device_id {{int}} NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
	inserted_at {{int}} NOT NULL,
	PRIMARY KEY (user_id, device_id)
) {{clustered}};
CREATE INDEX pinned_devices_device ON pinned_devices (device_id);

CREATE TABLE product_notifications (
	id {{id}},
	product_id {{int}} NOT NULL REFERENCES products (id),
	level TEXT NOT NULL CHECK (level IN ('info', 'warning', 'error')),
	event_key TEXT NOT NULL, -- what it is about: one row however often it happens
	title TEXT NOT NULL,
	message TEXT NOT NULL,
	metadata TEXT NOT NULL DEFAULT '{}', -- JSON object
	occurrence_count {{int}} NOT NULL DEFAULT 1,
	last_occurred_at {{int}} NOT NULL,
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX product_notifications_event ON product_notifications (product_id, event_key);
CREATE INDEX product_notifications_newest ON product_notifications (product_id, last_occurred_at, id);

-- What is counted and searched through is read from indexes alone: so they hold also the columns of their conditions, which SQLite would fetch each row for.
CREATE INDEX devices_running ON devices (product_id, firmware_platform, firmware_architecture, firmware_version, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX devices_online ON devices (product_id, connected_at) WHERE connected_at IS NOT NULL;
CREATE INDEX devices_unseen ON devices (product_id, status, deleted_at) WHERE status = 'registered' AND deleted_at IS NULL;
DROP INDEX devices_product;
CREATE INDEX devices_product ON devices (product_id, identifier, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX audit_logs_org ON audit_logs (org_id, id);
