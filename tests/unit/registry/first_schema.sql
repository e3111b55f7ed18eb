CREATE TABLE zipline_schema (
    version INTEGER NOT NULL PRIMARY KEY, software VARCHAR(100) NOT NULL, applied BIGINT NOT NULL
);
CREATE TABLE zipline_versions (
    id {identity}, scope VARCHAR(500) NOT NULL, name VARCHAR(500) NOT NULL, kind VARCHAR(50) NOT NULL,
    fingerprint VARCHAR(64) NOT NULL, canonical TEXT NOT NULL, owner TEXT, location TEXT, first_seen BIGINT NOT NULL,
    active_from BIGINT NOT NULL, active_to BIGINT, compiled_by TEXT NOT NULL
);
CREATE INDEX zipline_versions_by_name ON zipline_versions (scope, name, active_from);
CREATE TABLE zipline_consumers (
    scope VARCHAR(500) NOT NULL, definition VARCHAR(500) NOT NULL, consumer VARCHAR(500) NOT NULL,
    PRIMARY KEY (scope, definition, consumer)
);
CREATE TABLE zipline_runs (
    id {identity}, scope VARCHAR(500) NOT NULL, what TEXT NOT NULL, subject VARCHAR(500) NOT NULL,
    arguments TEXT NOT NULL, fingerprint VARCHAR(64), first_day VARCHAR(10), last_day VARCHAR(10),
    days INTEGER NOT NULL, rows BIGINT, bytes_read BIGINT, bytes_written BIGINT, peak_bytes BIGINT, seconds FLOAT,
    outcome VARCHAR(10) NOT NULL, error TEXT, started BIGINT NOT NULL, ended BIGINT, host TEXT NOT NULL,
    pid INTEGER NOT NULL, machine TEXT, process_started BIGINT, lock TEXT, token BIGINT
);
CREATE INDEX zipline_runs_by_subject ON zipline_runs (scope, subject, started);
CREATE INDEX zipline_runs_by_lock ON zipline_runs (lock, token);
CREATE TABLE zipline_locks (
    name VARCHAR(1000) NOT NULL PRIMARY KEY, token BIGINT NOT NULL, what TEXT, host TEXT, pid INTEGER, machine TEXT,
    process_started BIGINT, since BIGINT, renewed BIGINT, expires BIGINT
);
INSERT INTO zipline_schema VALUES (1, 'zipline-features 0.0.9', 1700000000000000);
INSERT INTO zipline_versions VALUES
    (1, '', 'shop.spending', 'GroupBy', '{fingerprint}', '{{}}', 'shop', NULL, 5, 5, NULL, 'ann@laptop');
INSERT INTO zipline_runs (id, scope, what, subject, arguments, days, rows, outcome, started, host, pid) VALUES
    (1, '', 'backfill', 'shop.visits', '{{}}', 3, 10, 'done', 5, 'laptop', 77);
