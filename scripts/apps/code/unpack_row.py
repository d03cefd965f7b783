import json


def main(row: str) -> dict:
    return json.loads(row)
