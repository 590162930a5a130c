"""The demo model: an artifact that comes with the package. `README.md` beside it says what it is."""

from pathlib import Path

FOLDER = Path(__file__).parent
