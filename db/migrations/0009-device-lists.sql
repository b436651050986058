-- Orders and parts of a product's devices that the first indexes do not serve: by age, and the deleted ones.
-- source: reference/user-api-and-cli "11.2"; reference/server-behaviour "14.1"
CREATE INDEX devices_product_age ON devices (product_id, id) WHERE deleted_at IS NULL;
CREATE INDEX devices_product_deleted ON devices (product_id, identifier) WHERE deleted_at IS NOT NULL;
