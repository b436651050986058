-- The servers that run on this database now, what they tell each other, and which secret they share. With SQLite there is one, and nothing is written here.

CREATE TABLE nodes (
	name TEXT NOT NULL PRIMARY KEY, -- as in device_connections.node
	life TEXT NOT NULL, -- UUID of this run of the server; '' once another server has found it dead
	beat {{int}} NOT NULL, -- counted up every few seconds: whoever sees it stand still for long enough by its own clock takes the server for dead
	started_at {{int}} NOT NULL,
	seen_at {{int}} NOT NULL, -- the latest beat by the server's own clock, for people
	version TEXT NOT NULL,
	url TEXT NOT NULL, -- where other servers reach it; '' where they do not
	certificate TEXT NOT NULL -- PEM of its end of links between servers; ''
) {{strict}};

-- What one server's transaction has to tell another server: written with the change, taken by whom it is for.
CREATE TABLE node_messages (
	id {{id}},
	node TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
	kind TEXT NOT NULL,
	subject_id {{int}} NOT NULL, -- device or product
	name TEXT NOT NULL,
	payload {{blob}} NOT NULL
) {{strict}};
CREATE INDEX node_messages_node ON node_messages (node, id);

-- One row: which secret signs and seals here. A server with another one must not run on this database.
CREATE TABLE node_secret (
	id {{int}} NOT NULL PRIMARY KEY CHECK (id = 1),
	fingerprint TEXT NOT NULL
) {{strict}};
