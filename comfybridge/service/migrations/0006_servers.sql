-- Whether somebody took the server in by command: then `serve` starts its worker, whatever its own command line says.
ALTER TABLE servers ADD COLUMN is_added boolean NOT NULL DEFAULT false;

-- The number of a job's next owner. Not from a sequence: nobody waits for the disk to claim, so that PostgreSQL may come
-- back from a crash without the latest claims, and would count them once more.
CREATE FUNCTION next_fence(latest bigint) RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT greatest(latest + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)';
