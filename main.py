"""Where Dify's plugin daemon starts the plugin: ``python -m main``."""

# dify_plugin comes before whatever opens sockets: it makes the standard library's sockets and threads cooperative.
import yaml
from dify_plugin import DifyPluginEnv, Plugin

# The SDK reads every YAML of the plugin with yaml.safe_load, which takes whatever loader stands here at the time:
# libyaml's is ten times as quick, and some installations of PyYAML lack it.
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]  # to replace it is the point

# MAX_REQUEST_TIMEOUT bounds a silent call in serverless hosts; a local daemon allows 600 s of its own.
plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
