-- Deltas between two firmwares of a product, who got one, and what that saved.
-- source: reference/server-behaviour "1.7", "1.8", "3.9", "4.5", "4.6"

-- requested_at: since when somebody waits for it; started_at: of the latest attempt; object_key and all that follows from the file are there once it is completed.
CREATE TABLE firmware_deltas (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id),
	product_id {{int}} NOT NULL REFERENCES products (id),
	source_id {{int}} NOT NULL REFERENCES firmwares (id),
	target_id {{int}} NOT NULL REFERENCES firmwares (id),
	status TEXT NOT NULL DEFAULT 'processing' CHECK (status IN ('processing', 'completed', 'failed', 'timed_out')),
	error TEXT,
	tool TEXT NOT NULL DEFAULT 'pending',
	tool_metadata TEXT NOT NULL DEFAULT '{}',
	tool_delta_required_version TEXT NOT NULL DEFAULT '1.13.0',
	object_key TEXT,
	size_bytes {{int}},
	source_size_bytes {{int}},
	target_size_bytes {{int}},
	checksum TEXT,
	partials_checksums TEXT,
	attempts {{int}} NOT NULL DEFAULT 0,
	requested_at {{int}} NOT NULL,
	started_at {{int}},
	finished_at {{int}},
	updated_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX firmware_deltas_pair ON firmware_deltas (source_id, target_id);
CREATE INDEX firmware_deltas_target ON firmware_deltas (target_id, requested_at);
CREATE INDEX firmware_deltas_under_way ON firmware_deltas (started_at) WHERE status = 'processing';

ALTER TABLE deployment_groups ADD COLUMN delta_wait_minutes {{int}} NOT NULL DEFAULT 10 CHECK (delta_wait_minutes BETWEEN 0 AND 1440);
-- An update by delta failed on it: the next one is whole.
ALTER TABLE devices ADD COLUMN delta_failed {{int}} NOT NULL DEFAULT 0;
-- The distinct firmwares that a group's devices run, offline ones too.
CREATE INDEX devices_group_firmware ON devices (deployment_id, firmware_uuid) WHERE deployment_id IS NOT NULL;

-- What the file was that the device was told of. Rows of an older server do not know.
ALTER TABLE inflight_updates ADD COLUMN delta_id {{int}} REFERENCES firmware_deltas (id) ON DELETE SET NULL;
ALTER TABLE inflight_updates ADD COLUMN sent_bytes {{int}};
ALTER TABLE inflight_updates ADD COLUMN saved_bytes {{int}};
CREATE INDEX inflight_updates_delta ON inflight_updates (delta_id) WHERE delta_id IS NOT NULL;

-- Sums of update_stats, kept as updates succeed, without the first firmware that a device ever told of. deployment_id 0: of no group.
CREATE TABLE update_totals (
	product_id {{int}} NOT NULL REFERENCES products (id),
	deployment_id {{int}} NOT NULL,
	target_firmware_uuid TEXT NOT NULL,
	type TEXT NOT NULL,
	updates {{int}} NOT NULL,
	update_bytes {{int}} NOT NULL,
	saved_bytes {{int}} NOT NULL,
	PRIMARY KEY (product_id, deployment_id, target_firmware_uuid, type)
) {{strict}};
INSERT INTO update_totals (product_id, deployment_id, target_firmware_uuid, type, updates, update_bytes, saved_bytes)
	SELECT product_id, COALESCE(deployment_id, 0), target_firmware_uuid, type, COUNT(*), SUM(update_bytes), SUM(saved_bytes) FROM update_stats
	WHERE source_firmware_uuid IS NOT NULL GROUP BY 1, 2, 3, 4;
