"""Where Dify's plugin daemon starts the plugin: ``python -m main``."""

# First of all imports: it makes the standard library's sockets and threads cooperative.
from dify_plugin import DifyPluginEnv, Plugin

# MAX_REQUEST_TIMEOUT bounds a silent call in serverless hosts; a local daemon allows 600 s of its own.
plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
