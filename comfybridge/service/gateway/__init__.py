"""ComfyUI's own API in front of a fleet; any number of gateways, all alike."""
