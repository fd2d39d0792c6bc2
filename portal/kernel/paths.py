"""Where this copy of the product lies."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # above `portal/`, beside `templates/`, `static/`, `migrations/`
