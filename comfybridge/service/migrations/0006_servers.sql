-- Whether somebody took the server in by command: then `serve` starts its worker, whatever its own command line says.
ALTER TABLE servers ADD COLUMN is_added boolean NOT NULL DEFAULT false;
