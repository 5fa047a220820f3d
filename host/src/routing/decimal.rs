//! Numbers as JSON writes them, compared by what they are: never rounded, however many digits.

use std::{cmp::Ordering, fmt};

/// A number in its one form: `0.DIGITS × 10^exponent`. `1`, `1.0` and `10e-1` are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal {
    negative: bool,
    /// Zero has no digits, and exponent 0.
    exponent: i64,
    /// Without zeros at either end.
    digits: Box<str>,
}

impl Decimal {
    /// Reads the text of a JSON number. None if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, power) = match rest.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, exponent(power)?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        if whole.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let significant = all.trim_start_matches('0');
        let zeros = all.len() - significant.len();
        let digits: Box<str> = significant.trim_end_matches('0').into();
        if digits.is_empty() {
            return Some(Self { negative: false, exponent: 0, digits });
        }
        let exponent = power.saturating_add(whole.len() as i64).saturating_sub(zeros as i64);
        Some(Self { negative, exponent, digits })
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

/// One beyond all bounds is at the bound: nothing as small or large is told apart.
fn exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse().unwrap_or(i64::MAX / 2).min(i64::MAX / 2);
    Some(if negative { -size } else { size })
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let (digits, count) = (&*self.digits, self.digits.len() as i64);
        match self.exponent {
            _ if digits.is_empty() => f.write_str("0"),
            places @ 1..=30 if places >= count => {
                write!(f, "{sign}{digits}{}", "0".repeat((places - count) as usize))
            }
            places @ 1..=30 => {
                let (whole, fraction) = digits.split_at(places as usize);
                write!(f, "{sign}{whole}.{fraction}")
            }
            zeros @ -6..=0 => write!(f, "{sign}0.{}{digits}", "0".repeat(-zeros as usize)),
            exponent => write!(f, "{sign}0.{digits}e{exponent}"),
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.sign().cmp(&other.sign());
        // Digits without zeros at the end compare as text does.
        let sizes = (self.exponent, &self.digits).cmp(&(other.exponent, &other.digits));
        signs.then(if self.negative { sizes.reverse() } else { sizes })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn spelling_does_not_matter_and_every_digit_does() {
        for (one, other) in
            [("1", "1.0"), ("10", "1e1"), ("0", "-0.0e9"), ("0.1", "1E-1"), ("19.90", "19.9")]
        {
            assert_eq!(number(one), number(other), "{one} {other}");
        }
        let ascending = [
            "-1e400",
            "-9007199254740993",
            "-9007199254740992",
            "-0.2",
            "-0.10",
            "0",
            "1e-400",
            "0.1",
            "0.10000000000000000000000001",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551616",
            "18446744073709551617",
            "1e400",
        ];
        for pair in ascending.windows(2) {
            assert!(number(pair[0]) < number(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        for text in ["0", "150", "-19.9", "0.001", "12345678901234567890123", "100"] {
            assert_eq!(number(text).to_string(), text);
        }
        for text in ["1e40", "-1.5e-20"] {
            assert_eq!(number(&number(text).to_string()), number(text));
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "-", ".5", "1e", "1e+", "x", "1x", "--1"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert!(number("1e99999999999999999999") > number("1e308"));
    }

    proptest! {
        #[test]
        fn whole_numbers_compare_as_such(one in any::<i64>(), other in any::<i64>()) {
            let decimals = (number(&one.to_string()), number(&other.to_string()));
            prop_assert_eq!(decimals.0.cmp(&decimals.1), one.cmp(&other));
        }

        #[test]
        fn hundredths_compare_as_such(one in -99_999_i64..99_999, other in -99_999_i64..99_999) {
            let text = |n: i64| format!("{}{}.{:02}", if n < 0 { "-" } else { "" }, n.abs() / 100, n.abs() % 100);
            prop_assert_eq!(number(&text(one)).cmp(&number(&text(other))), one.cmp(&other));
        }
    }
}
