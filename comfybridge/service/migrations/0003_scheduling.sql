-- A server whose GPU seems sick: how many trials it had so far, and when the next one is due.
ALTER TABLE servers
    ADD COLUMN reason_zh text NOT NULL DEFAULT '',
    ADD COLUMN aside_until timestamptz,
    ADD COLUMN trials smallint NOT NULL DEFAULT 0;

ALTER TABLE jobs
    -- How long it may run; null: as long as its worker lets any job run.
    ADD COLUMN limit_s double precision,
    -- How often it went back to the queue, how often to another server because a node failed, and how often it was
    -- taken over from a worker that died.
    ADD COLUMN returns smallint NOT NULL DEFAULT 0,
    ADD COLUMN moves smallint NOT NULL DEFAULT 0,
    ADD COLUMN adoptions smallint NOT NULL DEFAULT 0;
CREATE INDEX jobs_avoiding ON jobs (not_before) WHERE state = 'queued' AND avoid <> '{}';
CREATE INDEX jobs_with_inputs ON jobs (prompt_id) WHERE inputs::text <> '[]';

-- Jobs that failed in a node: for a day. What failed in the same node on another server is forgiven, and so is all
-- that a server did before a success of its own. ``elsewhere``: when the job succeeded on another server.
CREATE TABLE failures (
    prompt_id text NOT NULL,
    server text NOT NULL,
    wants text NOT NULL,
    node_id text NOT NULL,
    is_forgiven boolean NOT NULL DEFAULT false,
    elsewhere timestamptz,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (prompt_id, server)
);
CREATE INDEX failures_by_server ON failures (server, at);

-- What the store has and no row may name any more: written in the transaction that deletes the rows. A key that ends
-- with a slash stands for all that the job of ``prompt_id`` stored and that no file names.
CREATE TABLE garbage (
    key text PRIMARY KEY,
    prompt_id text,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX garbage_by_age ON garbage (since);

CREATE INDEX files_unlimited ON files (created) WHERE expires IS NULL;

-- Files in the folders of a server beside its worker, whose bytes the store has. ``since``: when a job last named it.
CREATE TABLE leftovers (
    server text NOT NULL,
    type text NOT NULL,
    subfolder text NOT NULL,
    filename text NOT NULL,
    digest text NOT NULL,
    prompt_id text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (server, type, subfolder, filename)
);
CREATE INDEX leftovers_by_age ON leftovers (server, since);
