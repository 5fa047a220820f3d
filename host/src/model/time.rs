//! Times as strangers write them: RFC 3339, which is what `date-time` means in a JSON Schema.
//! Libraries read much else as well, and what one reads another does not.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// Why a text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// It is not of that form, or names no day of the calendar.
    #[error("is not a time as RFC 3339 writes one, such as 2026-11-02T03:00:00Z")]
    Form,
    /// It is later than any that can be kept.
    #[error("is too late: the last time that can be kept is 9999-12-30T22:00:00Z")]
    Late,
}

/// Reads a time. A leap second, where there can be one, is the second before it; digits beyond
/// nanoseconds are cut off.
pub fn rfc3339(text: &str) -> Result<Timestamp, TimeError> {
    let (time, offset, leap) = parts(text).ok_or(TimeError::Form)?;
    let at = offset.to_timestamp(time).map_err(|_| TimeError::Late)?;
    if leap && !ends_month(at) {
        return Err(TimeError::Form);
    }
    Ok(at)
}

/// The instant that a text names, to compare with others: what is too late to be kept is later
/// than all that is.
pub fn instant(text: &str) -> Option<Timestamp> {
    match rfc3339(text) {
        Ok(at) => Some(at),
        Err(TimeError::Late) => Some(Timestamp::MAX),
        Err(TimeError::Form) => None,
    }
}

/// A time as the store keeps it: in whole milliseconds.
pub fn kept(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// The clock's reading, the offset from UTC, and whether it is a leap second.
fn parts(text: &str) -> Option<(DateTime, Offset, bool)> {
    let bytes = text.as_bytes();
    let separated = bytes.len() > 19
        && [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')].iter().all(|&(i, b)| bytes[i] == b)
        && matches!(bytes[10], b'T' | b't');
    if !separated {
        return None;
    }
    let year = i16::try_from(number(&bytes[..4])?).ok()?;
    let mut rest = [0i8; 5];
    for (part, start) in rest.iter_mut().zip([5, 8, 11, 14, 17]) {
        *part = i8::try_from(number(&bytes[start..start + 2])?).ok()?;
    }
    let [month, day, hour, minute, second] = rest;
    let (nanoseconds, offset) = fraction(&bytes[19..])?;
    let leap = second == 60;
    let second = if leap { 59 } else { second };
    let time = DateTime::new(year, month, day, hour, minute, second, nanoseconds).ok()?;
    Some((time, offset_of(offset)?, leap))
}

/// The nanoseconds after a point, if there is one, and what follows.
fn fraction(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let Some(digits) = bytes.strip_prefix(b".") else { return Some((0, bytes)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let nine = digits[..length].iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = nine.fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    Some((nanoseconds, &digits[length..]))
}

fn offset_of(bytes: &[u8]) -> Option<Offset> {
    let sign = match bytes {
        [b'Z' | b'z'] => return Some(Offset::UTC),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(&bytes[1..3])?, number(&bytes[4..6])?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

fn number(digits: &[u8]) -> Option<i32> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + i32::from(digit - b'0'))
    })
}

/// Whether a month ends in UTC with this minute: leap seconds are put there.
fn ends_month(at: Timestamp) -> bool {
    let utc = Offset::UTC.to_datetime(at);
    let last = utc.date().tomorrow().is_ok_and(|next| next.day() == 1);
    last && (utc.hour(), utc.minute()) == (23, 59)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_rfc_writes_is_read() {
        for (text, meant) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01t00:00:00.5z", "2026-01-01T00:00:00.5Z"),
            ("2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z"),
            ("2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00.1234567890123Z", "2026-01-01T00:00:00.123456789Z"),
            ("2024-02-29T23:59:59-23:59", "2024-03-01T23:58:59Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2017-01-01T00:59:60.25+01:00", "2016-12-31T23:59:59.25Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(text).map(|at| at.to_string()), Ok(meant.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_others_write_is_not() {
        for text in [
            "",
            "2026-01-01",
            "20260101T000000Z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00+0100",
            "2026-01-01T00:00:00+01",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00Z[UTC]",
            "2026-01-01T00:00:00+01:00[Europe/Berlin]",
            "2026-01-01T00:00:00,5Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T12:00:60Z",
            "2026-01-15T23:59:60Z",
            "2026-02-30T00:00:00Z",
            "2026-W01-1T00:00:00Z",
            "-000001-01-01T00:00:00Z",
            "+002026-01-01T00:00:00Z",
            " 2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z ",
            "2026-01-01T00:00:0éZ",
            "2026-01-01T00:00:00é",
        ] {
            assert_eq!(rfc3339(text), Err(TimeError::Form), "{text}");
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_too_late_to_be_kept_is_later_than_all_that_is() {
        let end = "9999-12-31T23:59:59.999999999Z";
        assert_eq!(rfc3339(end), Err(TimeError::Late));
        assert_eq!(instant(end), Some(Timestamp::MAX));
        assert!(TimeError::Late.to_string().contains(&kept(Timestamp::MAX).to_string()[..17]));
    }

    #[test]
    fn what_is_kept_is_whole_milliseconds() {
        let at = |text| rfc3339(text).unwrap();
        assert_eq!(kept(at("2026-01-01T00:00:00.1239Z")), at("2026-01-01T00:00:00.123Z"));
        let early = kept(at("1969-12-31T23:59:59.9999Z"));
        assert_eq!(early.as_millisecond() * 1_000_000, early.as_nanosecond() as i64);
    }
}
