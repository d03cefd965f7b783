-- What ComfyUI's own front end keeps for whoever uses it.
CREATE TABLE editor_settings (
    owner text NOT NULL,
    name text NOT NULL,
    value json NOT NULL,
    PRIMARY KEY (owner, name)
);
