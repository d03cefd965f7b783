-- json, not jsonb: graphs and definitions keep the order of their nodes and inputs, and every character of their texts.
-- One row per job is the only authority: whoever ends a job writes its outcome, its history and its files at once.

CREATE SEQUENCE numbers MINVALUE 0;
CREATE SEQUENCE fences;

-- What graphs need of a server: node classes, and model files by the input that names them. Few, however many jobs.
CREATE TABLE wants (
    digest text PRIMARY KEY,
    needs json NOT NULL
);

-- What servers say they have: the answer of /object_info without the files in their input folders.
CREATE TABLE definitions (
    digest text PRIMARY KEY,
    classes json NOT NULL
);

CREATE TABLE servers (
    url text PRIMARY KEY,
    mode text NOT NULL DEFAULT 'active' CHECK (mode IN ('active', 'draining', 'paused', 'removed')),
    health text NOT NULL DEFAULT 'unknown' CHECK (health IN ('unknown', 'well', 'sick', 'gone')),
    reason text NOT NULL DEFAULT '',
    worker text NOT NULL DEFAULT '',
    definitions text REFERENCES definitions,
    models json NOT NULL DEFAULT '{}',
    embeddings json NOT NULL DEFAULT '[]',
    stats json NOT NULL DEFAULT '{}',
    loaded text NOT NULL DEFAULT '',
    registered timestamptz NOT NULL DEFAULT now(),
    heartbeat timestamptz NOT NULL DEFAULT now()
);

-- Which server can run what; its worker writes it.
CREATE TABLE offers (
    server text NOT NULL REFERENCES servers ON DELETE CASCADE,
    wants text NOT NULL REFERENCES wants ON DELETE CASCADE,
    PRIMARY KEY (server, wants)
);

CREATE TABLE keys (
    owner text PRIMARY KEY,
    name text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    is_admin boolean NOT NULL DEFAULT false,
    priority smallint NOT NULL DEFAULT 1,
    limits jsonb NOT NULL DEFAULT '{}',
    templates text[],
    webhook text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    revoked timestamptz
);

CREATE TABLE jobs (
    prompt_id text PRIMARY KEY,
    owner text NOT NULL,
    client_id text NOT NULL DEFAULT '',
    prompt json NOT NULL,
    extra_data json NOT NULL,
    secrets json,
    targets text[] NOT NULL,
    is_partial boolean NOT NULL DEFAULT false,
    node_errors json NOT NULL DEFAULT '{}',
    -- Files to bring to the server before: [{"node_id", "input", "value", "key", "name"}]
    inputs json NOT NULL DEFAULT '[]',
    template text NOT NULL DEFAULT '',
    wants text NOT NULL REFERENCES wants,
    priority smallint NOT NULL,
    number double precision NOT NULL,
    -- queued: waits here. claimed: a worker has it, and it waits in ComfyUI. running: ComfyUI began. ended: see outcome.
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'claimed', 'running', 'ended')),
    attempts smallint NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT now(),
    avoid text[] NOT NULL DEFAULT '{}',
    server text,
    worker text,
    fence bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    cancel_asked timestamptz,
    progress json,
    outcome text CHECK (outcome IN ('succeeded', 'failed', 'rejected', 'cancelled', 'timed_out', 'lost')),
    reason json,
    -- What /history tells besides the prompt: outputs, status, meta. Null for a job that ComfyUI would not tell of.
    history json,
    is_hidden boolean NOT NULL DEFAULT false,
    estimate_s double precision NOT NULL DEFAULT 0,
    gpu_s double precision,
    created timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed timestamptz,
    started timestamptz,
    ended timestamptz,
    expires timestamptz,
    CHECK ((state = 'ended') = (outcome IS NOT NULL)),
    CHECK ((state IN ('claimed', 'running')) = (lease_until IS NOT NULL))
);

CREATE INDEX jobs_by_turn ON jobs (priority, owner, number, created) WHERE state = 'queued';
CREATE INDEX jobs_by_age ON jobs (priority, created) WHERE state = 'queued';
CREATE INDEX jobs_open ON jobs (owner, number) WHERE state <> 'ended';
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE state IN ('claimed', 'running');
CREATE INDEX jobs_by_server ON jobs (server) WHERE state IN ('claimed', 'running');
CREATE INDEX jobs_ended ON jobs (owner, ended) WHERE state = 'ended';
CREATE INDEX jobs_expiring ON jobs (expires) WHERE expires IS NOT NULL;

-- Whose turn it is: GPU seconds used, on a clock of its own for each priority.
CREATE TABLE turns (
    priority smallint NOT NULL,
    owner text NOT NULL,
    clock double precision NOT NULL,
    PRIMARY KEY (priority, owner)
);
CREATE INDEX turns_by_clock ON turns (priority, clock);

-- How long what a graph needs took of late: what a turn is charged with until the real time is known.
CREATE TABLE durations (
    wants text PRIMARY KEY REFERENCES wants ON DELETE CASCADE,
    seconds double precision NOT NULL
);

-- The folders that an owner sees: input, output and temp, as of one ComfyUI. The bytes lie in the store under key.
CREATE TABLE files (
    owner text NOT NULL,
    type text NOT NULL CHECK (type IN ('input', 'output', 'temp')),
    subfolder text NOT NULL,
    filename text NOT NULL,
    key text NOT NULL,
    digest text NOT NULL,
    mime text NOT NULL,
    size bigint NOT NULL,
    prompt_id text,
    node_id text,
    created timestamptz NOT NULL DEFAULT now(),
    expires timestamptz,
    PRIMARY KEY (owner, type, subfolder, filename)
);
CREATE INDEX files_by_name ON files (owner, type, filename, created);
CREATE INDEX files_by_job ON files (prompt_id) WHERE prompt_id IS NOT NULL;
CREATE INDEX files_by_key ON files (key);
CREATE INDEX files_expiring ON files (expires) WHERE expires IS NOT NULL;

-- Frames too large for a notification: the latest preview of each job, and long texts.
CREATE UNLOGGED TABLE frames (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content bytea NOT NULL,
    created timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX frames_by_age ON frames (created);
