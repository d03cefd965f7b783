-- What all processes share and nobody has to configure, such as the secrets that sign links.
CREATE TABLE settings (
    name text PRIMARY KEY,
    value jsonb NOT NULL
);
