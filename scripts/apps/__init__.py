"""The example apps: what they are made of, and each of them in a few lines."""
