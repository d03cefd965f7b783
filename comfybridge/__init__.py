"""Text in, picture out: ComfyUI as a dependable function."""
