-- A small shop: 20,000 customers, 80,000 orders, 50,000 events.
CREATE TYPE status AS ENUM ('offen', 'bezahlt', 'zurück');
CREATE TABLE customers (
	id integer PRIMARY KEY,
	name text NOT NULL,
	born date,
	profile jsonb NOT NULL
);
INSERT INTO customers
	SELECT i, (ARRAY['Zoë Müller', 'Łukasz Żak', '東京 花子', 'Ólafur Þór', 'Ирина Ким'])[1 + i % 5] || ' ' || i,
	       CASE WHEN i % 10 > 0 THEN date '1950-01-01' + i END,
	       jsonb_build_object('newsletter', i % 3 = 0, 'tags', jsonb_build_array('a' || i % 7, 'é'), 'note', CASE WHEN i % 4 = 0 THEN E'line one\nline "two"' END)
	FROM generate_series(1, 20000) AS i;
CREATE TABLE orders (
	id bigserial PRIMARY KEY,
	customer integer NOT NULL REFERENCES customers,
	at timestamptz NOT NULL,
	state status NOT NULL,
	amount numeric(12, 2) NOT NULL CHECK (amount > 0)
);
INSERT INTO orders (customer, at, state, amount)
	SELECT 1 + i * 7919 % 20000, timestamptz '2024-01-01 00:00:00+00' + i * interval '7 minutes',
	       (ARRAY['offen', 'bezahlt', 'zurück'])[1 + i % 3]::status, 1 + i % 9973 + 0.01 * (i % 100)
	FROM generate_series(1, 80000) AS i;
CREATE INDEX ON orders (customer, at);
CREATE TABLE events (id integer PRIMARY KEY, body bytea, kind text);
INSERT INTO events SELECT i, decode(md5(i::text), 'hex'), 'kind ' || i % 20 FROM generate_series(1, 50000) AS i;
CREATE VIEW best_customers AS
	SELECT c.name, sum(o.amount) AS spent FROM customers c JOIN orders o ON o.customer = c.id GROUP BY c.id ORDER BY spent DESC LIMIT 10;
