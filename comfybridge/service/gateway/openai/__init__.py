"""OpenAI's Images API, whose models are the templates, and the same for agents as an OpenAPI document."""
