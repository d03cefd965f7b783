"""Many pictures from a table: read its rows, make each of them once, and keep account of it beside the pictures."""
