-- Which server holds a connection, and which one claimed an object: what a server finds under its own name when it starts is left from its last run, and
-- that run is over. Rows of a server that never comes back end by age.

ALTER TABLE device_connections ADD COLUMN node TEXT NOT NULL DEFAULT '';
ALTER TABLE loose_objects ADD COLUMN node TEXT NOT NULL DEFAULT '';
