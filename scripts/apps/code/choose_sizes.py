SIZES = []
USUAL = []


def main(platforms: str) -> dict:
    """The sizes that were asked for, in this order; those of all platforms where none was."""
    asked = [name.strip().lower() for name in (platforms or "").replace("，", ",").replace("\n", ",").split(",")]
    asked = list(dict.fromkeys(name for name in asked if name)) or USUAL
    unknown = [name for name in asked if name not in SIZES]
    return {"sizes": [name for name in asked if name in SIZES], "unknown": ", ".join(unknown)}
