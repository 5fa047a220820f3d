"""Notes that are kept with the delivery. `print` makes notes too, at the level info."""


def debug(message: object) -> None:
    """Adds a note for whoever looks closely."""
    _write("DEBUG", message)


def info(message: object) -> None:
    """Adds a note."""
    _write("INFO", message)


def warn(message: object) -> None:
    """Adds a note about something odd."""
    _write("WARN", message)


def error(message: object) -> None:
    """Adds a note about something wrong."""
    _write("ERROR", message)


def _write(level: str, message: object) -> None:
    # There only inside the component: a module may still be imported to be looked at.
    from wit_world.imports import log

    log.write(log.Level[level], str(message))
