-- Which devices were deleted the longest ago, for the job that forgets them. source: reference/server-behaviour "1.11"
CREATE INDEX devices_deleted ON devices (deleted_at) WHERE deleted_at IS NOT NULL;
