"""The data road: row → conversation → rendered pieces → tokens → pack. Nothing here imports torch."""
