"""Drops what happened in quiet hours, unless it is urgent.

The hour is that of the event's occurred-at, so a late retry is judged as the first attempt was.
"""

from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, timezone
from typing import Annotated, Any, Literal

from hookmill import Event, InvalidConfig, Verdict, drop, filter, pass_

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

TIME = {"pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
OFFSET = {"pattern": "^[+-](0[0-9]|1[0-4]):[0-5][0-9]$"}


@dataclass
class Urgent:
    at: Annotated[str, "Where in the payload, for example `/alert/severity`.", {"pattern": "^/"}]
    is_one_of: Annotated[list[Any], "Any of these values makes the event urgent."]


@dataclass
class Config:
    begin: Annotated[str, "When the quiet begins, `20:00`.", TIME] = "20:00"
    end: Annotated[str, "When it ends, `07:00`; before `begin`, it is on the next day.", TIME] = (
        "07:00"
    )
    utc_offset: Annotated[str, "The clock these times are on, for example `+02:00`.", OFFSET] = (
        "+00:00"
    )
    quiet_days: Annotated[list[Day], "Days that are quiet from midnight to midnight."] = field(
        default_factory=list
    )
    urgent: Annotated[list[Urgent], "Events that pass at any hour."] = field(default_factory=list)


@filter()
def quiet_hours(event: Event, config: Config) -> Verdict:
    """Drops what happened in quiet hours, unless it is urgent."""
    local = event.occurred_at.astimezone(zone(config.utc_offset))
    if not is_quiet(local, config):
        return pass_()
    if any(event.find(rule.at) in rule.is_one_of for rule in config.urgent):
        return pass_()
    return drop("in quiet hours")


def is_quiet(local: datetime, config: Config) -> bool:
    if DAYS[local.weekday()] in config.quiet_days:
        return True
    begin, end, now = clock(config.begin), clock(config.end), local.time()
    if begin <= end:
        return begin <= now < end
    return now >= begin or now < end


def clock(text: str) -> time:
    try:
        hours, minutes = text.split(":")
        return time(int(hours), int(minutes))
    except ValueError:
        raise InvalidConfig(f"{text!r} is not a time such as 07:00") from None


def zone(text: str) -> timezone:
    at = clock(text[1:])
    offset = timedelta(hours=at.hour, minutes=at.minute)
    return timezone(-offset if text.startswith("-") else offset)
