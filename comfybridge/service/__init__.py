"""Many ComfyUI servers as one: gateways that speak its API, and a worker beside each server."""
