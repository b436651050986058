-- The audit log as a chain: each entry's place and hash, what the server signed of it, and the keys that it signs with.
-- source: reference/server-behaviour "8"

ALTER TABLE audit_logs ADD COLUMN seq {{int}}; -- its place in its organization's chain, from 1; null: not sealed yet
ALTER TABLE audit_logs ADD COLUMN hash {{blob}}; -- SHA-256 of the hash before it and the entry as canonical JSON
CREATE INDEX audit_logs_unsealed ON audit_logs (org_id, id) WHERE seq IS NULL;
CREATE UNIQUE INDEX audit_logs_chain ON audit_logs (org_id, seq) WHERE seq IS NOT NULL;
DROP INDEX audit_logs_age; -- what is kept no longer goes by the chain

CREATE TABLE audit_keys (
	number {{int}} NOT NULL PRIMARY KEY, -- the newest signs
	public_key {{blob}} NOT NULL,
	sealed_seed {{blob}} NOT NULL,
	inserted_at {{int}} NOT NULL
) {{strict}};

-- One signed statement of each organization: how far its chain goes now.
CREATE TABLE audit_chains (
	org_id {{int}} NOT NULL PRIMARY KEY REFERENCES orgs (id),
	chain TEXT NOT NULL, -- which chain it is: 32 hexadecimal digits
	first_seq {{int}} NOT NULL, -- entries before the chain's own beginning
	from_seq {{int}} NOT NULL, -- entries before what is kept: the beginning, or an anchor
	seq {{int}} NOT NULL,
	hash {{blob}} NOT NULL,
	previous {{blob}} NOT NULL, -- SHA-256 of the newest anchor, or of the chain's beginning
	at {{int}} NOT NULL,
	public_key {{blob}} NOT NULL,
	signature {{blob}} NOT NULL,
	unanchored_at {{int}} -- when the first entry since the newest anchor was sealed; null: none was
) {{strict}};
CREATE INDEX audit_chains_unanchored ON audit_chains (unanchored_at) WHERE unanchored_at IS NOT NULL;

CREATE TABLE audit_anchors (
	org_id {{int}} NOT NULL REFERENCES orgs (id),
	seq {{int}} NOT NULL,
	chain TEXT NOT NULL,
	from_seq {{int}} NOT NULL,
	hash {{blob}} NOT NULL,
	previous {{blob}} NOT NULL,
	at {{int}} NOT NULL,
	public_key {{blob}} NOT NULL,
	signature {{blob}} NOT NULL,
	PRIMARY KEY (org_id, seq)
) {{clustered}};
