"""Write the held-out digits as PNG files: OUT/<class>/<position in the data set>.png."""

from __future__ import annotations

import sys
from pathlib import Path

from digits_data import CLASS_NAMES, load_split


def write_digits(folder: Path) -> int:
    """Returns the number of files. They have the original 8 x 8 pixels; preprocessing enlarges them."""
    _, held_out = load_split()
    for name in CLASS_NAMES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, label, image in zip(held_out.indices, held_out.labels, held_out.images(), strict=True):
        image.save(folder / CLASS_NAMES[label] / f"{index:04d}.png")
    return len(held_out.labels)


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: write_digits.py OUT")
    folder = Path(sys.argv[1])
    print(f"{write_digits(folder)} images in {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
