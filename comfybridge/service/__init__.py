"""Many ComfyUI servers as one: gateways that speak its API, and a worker beside each server."""

DATABASE_VARIABLE = "COMFYBRIDGE_DATABASE"
"""The environment variable with the database's address: arguments can be read by everybody on a machine."""
