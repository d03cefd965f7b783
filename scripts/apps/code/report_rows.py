def main(pictures: list, rows: list, problems: str) -> dict:
    """How many of the rows became pictures, and what was wrong with the others."""
    made = len(pictures or [])
    lines = [f"{made} of {len(rows)} pictures. 共 {len(rows)} 行可用，完成 {made} 张。"]
    return {"report": "\n".join(lines + ([problems] if problems else []))}
