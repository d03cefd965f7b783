import re


def main(error: str) -> dict:
    """The line "outcome=… prompt_id=…" of an error, and the sentences that follow it."""
    found = re.search(r"outcome=([a-z_]+) prompt_id=(\S+)\n?(.*)", error or "", re.DOTALL)
    if not found:
        return {"outcome": "failed", "prompt_id": "", "why": error or ""}
    outcome, prompt_id, why = found.groups()
    return {"outcome": outcome, "prompt_id": "" if prompt_id == "-" else prompt_id, "why": why.strip()}
