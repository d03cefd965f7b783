-- What thresholds and figures look at: the runs of a version that count, the latest first.
CREATE INDEX jobs_by_template ON jobs (template, ended)
    WHERE state = 'ended' AND template <> '' AND outcome IN ('succeeded', 'failed', 'timed_out', 'lost');

-- Each rollout of a template that a gateway has read, by the digest of its rules. Runs count from since on.
CREATE TABLE rollouts (
    template text NOT NULL,
    digest text NOT NULL,
    rules json NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    degraded timestamptz,
    PRIMARY KEY (template, digest)
);

-- Versions that were taken back: in force for the rollout with this digest, until an admin resumes it.
CREATE TABLE rollbacks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    template text NOT NULL,
    version text NOT NULL,
    digest text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason json NOT NULL,
    resumed timestamptz
);
CREATE UNIQUE INDEX rollbacks_in_force ON rollbacks (template, version, digest) WHERE resumed IS NULL;

-- Folders of templates as they were when all was right in them last: for gateways that start while it is not.
CREATE TABLE folders (
    path text PRIMARY KEY,
    files json NOT NULL,
    read timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What operators are told of.
CREATE TABLE IF NOT EXISTS events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    data json NOT NULL,
    created timestamptz NOT NULL DEFAULT clock_timestamp()
);
