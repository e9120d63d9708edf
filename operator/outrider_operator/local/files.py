"""Files that processes of a run read again and again."""

from pathlib import Path


def replace_file(file: Path, text: str) -> None:
    """Writes the whole file at once: who reads it meanwhile has the old text or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_name(f".{file.name}.new")
    written.write_text(text)
    written.replace(file)


def try_replace_file(file: Path, text: str) -> bool:
    """Whether it was written. A disk that is full is no end of what serves: it may be tried again."""
    try:
        replace_file(file, text)
    except OSError:
        return False
    return True
