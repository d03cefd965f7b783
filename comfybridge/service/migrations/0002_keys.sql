-- What all processes share and nobody has to configure, such as the secrets that sign links.
CREATE TABLE settings (
    name text PRIMARY KEY,
    value jsonb NOT NULL
);

CREATE UNIQUE INDEX keys_by_name ON keys (name) WHERE revoked IS NULL;

-- How many requests a key may still make, a bucket that fills again with time. Lost with a crash: then it is full.
CREATE UNLOGGED TABLE rates (
    owner text PRIMARY KEY,
    tokens double precision NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Whether one more job of this owner may run. Volatile: so the count sees what was claimed a moment ago, after the
-- lock, and not only what the statement around it saw at its beginning. Whoever does not get the lock leaves the owner
-- to the one who claims for him now. The count looks at what workers hold, which is little, however much waits.
CREATE FUNCTION has_room(of_owner text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    most int;
BEGIN
    SELECT (limits ->> 'running')::int INTO most FROM keys WHERE owner = of_owner;
    IF most IS NULL THEN
        RETURN true;
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtextextended(of_owner, 11)) THEN
        RETURN false;
    END IF;
    RETURN most > (
        SELECT count(*) FROM (SELECT owner FROM jobs WHERE state IN ('claimed', 'running') OFFSET 0) AS held
        WHERE held.owner = of_owner
    );
END
$$;
