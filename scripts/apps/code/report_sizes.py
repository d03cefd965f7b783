def main(pictures: list, sizes: list, unknown: str) -> dict:
    """How many of the pictures were made, and which names nobody knows."""
    made = len(pictures or [])
    lines = [f"{made} of {len(sizes)} pictures: {', '.join(sizes)}. 共 {len(sizes)} 张，完成 {made} 张。"]
    if unknown:
        lines.append(f"Not known: {unknown}. 未知平台：{unknown}。")
    return {"report": "\n".join(lines)}
