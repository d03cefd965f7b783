-- What an ended job leaves beside its row. A trigger, so that whatever ends a job, now or later, does it in the same
-- transaction: what is to be told to its owner's webhook, and what is to be counted.

-- 256 bits of the server's own cryptographic random numbers, another one for each key.
ALTER TABLE keys ADD COLUMN webhook_secret text NOT NULL DEFAULT 'whsec_' || encode(
    sha256(decode(replace(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')),
    'base64');
-- The address that said 410: nothing more is sent there.
ALTER TABLE keys ADD COLUMN webhook_gone text NOT NULL DEFAULT '';

-- Facts are what happened; body is written once, before the first sending, and is what every sending has.
CREATE TABLE deliveries (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    is_alert boolean NOT NULL DEFAULT false,
    owner text NOT NULL DEFAULT '',
    prompt_id text,
    type text NOT NULL,
    facts json NOT NULL,
    body bytea,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts int NOT NULL DEFAULT 0,
    -- The attempts before somebody asked for more: the pauses begin anew there.
    attempts_before int NOT NULL DEFAULT 0,
    -- When it is sent next. Whoever sends it puts this off, so that nobody else does meanwhile.
    due timestamptz NOT NULL DEFAULT clock_timestamp(),
    status int,
    answer text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended timestamptz,
    expires timestamptz
);
CREATE INDEX deliveries_due ON deliveries (is_alert, owner, due) WHERE state = 'pending';
CREATE INDEX deliveries_failed ON deliveries (ended) WHERE state = 'failed';
CREATE INDEX deliveries_by_owner ON deliveries (owner, created);
CREATE INDEX deliveries_by_job ON deliveries (prompt_id) WHERE prompt_id IS NOT NULL;
CREATE INDEX deliveries_expiring ON deliveries (expires);

-- What ended since it was last counted. Only ever appended to, so that no two ends wait for each other.
CREATE TABLE endings (
    outcome text NOT NULL,
    template text NOT NULL,
    server text,
    priority smallint NOT NULL,
    waited_s double precision,
    ran_s double precision,
    ended timestamptz NOT NULL
);

-- What endings were counted into; outlives the jobs.
CREATE TABLE tallies (
    outcome text NOT NULL,
    template text NOT NULL,
    server text NOT NULL,
    jobs bigint NOT NULL,
    PRIMARY KEY (outcome, template, server)
);
-- Histograms: of what, of which template or priority, at most how long.
CREATE TABLE spreads (
    what text NOT NULL CHECK (what IN ('waited', 'ran')),
    label text NOT NULL,
    le double precision NOT NULL,
    jobs bigint NOT NULL,
    seconds double precision NOT NULL,
    PRIMARY KEY (what, label, le)
);
-- The last hours by the minute.
CREATE TABLE minutes (
    minute timestamptz NOT NULL,
    template text NOT NULL,
    succeeded bigint NOT NULL,
    failed bigint NOT NULL,
    PRIMARY KEY (minute, template)
);

CREATE FUNCTION job_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO endings VALUES (
        NEW.outcome, NEW.template, NEW.server, NEW.priority,
        CASE WHEN NEW.server IS NOT NULL THEN
            extract(epoch FROM coalesce(NEW.started, NEW.claimed) - NEW.created) END,
        CASE WHEN NEW.gpu_s > 0 THEN NEW.gpu_s ELSE extract(epoch FROM NEW.ended - NEW.started) END,
        coalesce(NEW.ended, clock_timestamp()));
    INSERT INTO deliveries (owner, prompt_id, type, facts, expires)
    SELECT NEW.owner, NEW.prompt_id, 'job.' || NEW.outcome,
        json_build_object('prompt_id', NEW.prompt_id, 'outcome', NEW.outcome, 'reason', NEW.reason,
            'template', NEW.template, 'server', NEW.server, 'seconds', NEW.gpu_s, 'ended', NEW.ended,
            'expires', NEW.expires, 'outputs', NEW.history -> 'outputs'),
        NEW.expires
    FROM keys WHERE owner = NEW.owner AND webhook <> '' AND webhook <> webhook_gone AND revoked IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_end AFTER UPDATE OF state ON jobs FOR EACH ROW
    WHEN (NEW.state = 'ended' AND OLD.state <> 'ended') EXECUTE FUNCTION job_ended();

-- Which of these somebody was told of.
ALTER TABLE events ADD COLUMN told timestamptz;
CREATE INDEX events_untold ON events (id) WHERE told IS NULL;

-- What is amiss now: since when it was seen, and since when it is told of.
CREATE TABLE alerts (
    name text NOT NULL,
    subject text NOT NULL,
    seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    began timestamptz,
    PRIMARY KEY (name, subject)
);
