-- Webhooks: what happened and is not given out yet, who asks for it, what is on its way to whom.
-- source: hub/events.h, hub/webhooks.h

ALTER TABLE orgs ADD COLUMN event_kinds {{int}} NOT NULL DEFAULT 0; -- bits of enum nh_event_kind: what any of its enabled webhooks asks for

-- The outbox: gone once given out, within a moment. So it refers to nothing, and costs one row.
CREATE TABLE events (
	id {{id}},
	org_id {{int}} NOT NULL,
	product_id {{int}}, -- null: it concerns the organization
	device_id {{int}},
	deployment_id {{int}},
	kind TEXT NOT NULL, -- "device.online"
	uuid TEXT NOT NULL, -- UUIDv7: what receivers tell repetitions by
	data TEXT NOT NULL, -- JSON object
	inserted_at {{int}} NOT NULL
) {{strict}};

CREATE TABLE webhooks (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id),
	product_id {{int}} REFERENCES products (id), -- null: all of the organization
	description TEXT NOT NULL DEFAULT '',
	url TEXT NOT NULL,
	kinds {{int}} NOT NULL, -- bits of enum nh_event_kind; all bits: also kinds yet to come
	enabled {{int}} NOT NULL DEFAULT 1,
	disabled_reason TEXT, -- where the server did it
	secret {{blob}} NOT NULL, -- sealed
	old_secret {{blob}}, -- sealed; signs, too, until old_secret_until
	old_secret_until {{int}},
	waiting {{int}} NOT NULL DEFAULT 0, -- deliveries that wait
	dead {{int}} NOT NULL DEFAULT 0, -- deliveries that were given up
	lost {{int}} NOT NULL DEFAULT 0, -- events that found no room since the last one that told so
	failures {{int}} NOT NULL DEFAULT 0, -- of the endpoint, one after the other
	failing_since {{int}}, -- null: the latest try went well
	due_at {{int}}, -- when something may be sent to it; null: nothing waits
	delivered_at {{int}}, -- the latest success
	created_by_id {{int}} REFERENCES users (id) ON DELETE SET NULL,
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX webhooks_org ON webhooks (org_id, id);
CREATE INDEX webhooks_product ON webhooks (product_id);
CREATE INDEX webhooks_creator ON webhooks (created_by_id);
CREATE INDEX webhooks_due ON webhooks (due_at) WHERE due_at IS NOT NULL AND enabled = 1;
CREATE INDEX webhooks_lost ON webhooks (id) WHERE lost > 0;

CREATE TABLE webhook_deliveries (
	id {{id}},
	webhook_id {{int}} NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
	kind TEXT NOT NULL,
	uuid TEXT NOT NULL,
	body TEXT NOT NULL, -- as it is sent
	status TEXT NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'delivered', 'dead')),
	attempts {{int}} NOT NULL DEFAULT 0,
	answer_status {{int}}, -- of the latest try; null: there was no answer
	error TEXT, -- why the latest try failed
	inserted_at {{int}} NOT NULL,
	due_at {{int}} NOT NULL, -- of one that waits: not before; whoever tries moves it on, so that no other does meanwhile
	tried_at {{int}}, -- the latest try; of one that does not wait any more: its end
	until {{int}} NOT NULL -- no tries after that
) {{strict}};
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at, id) WHERE status = 'waiting';
CREATE INDEX webhook_deliveries_status ON webhook_deliveries (webhook_id, status, id);
CREATE INDEX webhook_deliveries_until ON webhook_deliveries (until) WHERE status = 'waiting';
CREATE INDEX webhook_deliveries_age ON webhook_deliveries (status, inserted_at) WHERE status <> 'waiting';
