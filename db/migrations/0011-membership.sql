-- Walking the members of a deployment group, and the devices without one, in pages; how long an update took.
-- source: reference/server-behaviour "3.5", "3.9"

-- The id goes with the group so that PostgreSQL, too, reads a page without sorting the whole group.
DROP INDEX devices_deployment;
CREATE INDEX devices_deployment ON devices (deployment_id, id);
CREATE INDEX devices_ungrouped ON devices (product_id, id) WHERE deployment_id IS NULL AND deleted_at IS NULL;

-- When the update was sent. NULL: nobody sent it (a device that came with other firmware by itself).
ALTER TABLE update_stats ADD COLUMN started_at {{int}};
CREATE INDEX update_stats_target ON update_stats (product_id, target_firmware_uuid, id);
