//! Numbers as they are: a machine's floating point has not all of those that JSON Schema compares.

use std::cmp::Ordering;

use serde_json::Value;

/// A number, whole if it can be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Exact {
    Whole(i128),
    Float(f64),
}

/// Floats from here on have no fraction, and may be larger than any `i128`.
const HUGE: f64 = 1e30;

impl Exact {
    /// The number that a value is.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let number = value.as_number()?;
        let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        whole.map(Self::Whole).or_else(|| number.as_f64().map(Self::from))
    }

    /// As a payload may have it.
    pub(super) fn value(self) -> Option<Value> {
        match self {
            Self::Whole(whole) => i64::try_from(whole)
                .map(Value::from)
                .or_else(|_| u64::try_from(whole).map(Value::from))
                .ok(),
            Self::Float(float) => serde_json::Number::from_f64(float).map(Value::Number),
        }
    }

    /// The least whole number that is not below it; or above it, if it is not meant itself.
    pub(super) fn whole_from(self, proper: bool) -> Self {
        match self {
            Self::Whole(whole) => Self::Whole(whole + i128::from(proper)),
            // What has a fraction is not met itself.
            Self::Float(float) if float.abs() < HUGE => Self::Whole(float.ceil() as i128),
            huge => huge,
        }
    }

    /// The largest whole number that is not above it; or below it.
    pub(super) fn whole_to(self, proper: bool) -> Self {
        match self {
            Self::Whole(whole) => Self::Whole(whole - i128::from(proper)),
            Self::Float(float) if float.abs() < HUGE => Self::Whole(float.floor() as i128),
            huge => huge,
        }
    }

    pub(super) const fn float(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Float(float) => float,
        }
    }

    pub(super) fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one.cmp(&other),
            (one, other) => {
                // At least one has a fraction or is huge: what they round to decides, except
                // where both round to the same.
                let rounded = one.float().total_cmp(&other.float());
                match (one, other) {
                    (Self::Whole(whole), Self::Float(float)) if float.abs() < HUGE => {
                        whole.cmp(&(float.floor() as i128)).then(Ordering::Less)
                    }
                    (Self::Float(float), Self::Whole(whole)) if float.abs() < HUGE => {
                        (float.floor() as i128).cmp(&whole).then(Ordering::Greater)
                    }
                    _ => rounded,
                }
            }
        }
    }
}

impl From<f64> for Exact {
    fn from(float: f64) -> Self {
        if float.fract() == 0.0 && float.abs() < HUGE {
            Self::Whole(float as i128)
        } else {
            Self::Float(float)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_compared_to_the_last_digit() {
        let ordered = [
            json!(-1e300),
            json!(i64::MIN),
            json!(-1.5),
            json!(-1),
            json!(-0.5),
            json!(0),
            json!(0.5),
            json!(1.0),
            json!(1.5),
            json!(9_007_199_254_740_992_u64),
            json!(9_007_199_254_740_993_u64),
            json!(i64::MAX - 1),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e300),
        ];
        let exact: Vec<Exact> = ordered.iter().map(|value| Exact::of(value).unwrap()).collect();
        for (i, one) in exact.iter().enumerate() {
            for (j, other) in exact.iter().enumerate() {
                assert_eq!(one.order(*other), i.cmp(&j), "{} {}", ordered[i], ordered[j]);
            }
        }
        let one = Exact::of(&json!(1)).unwrap();
        assert_eq!(one.order(Exact::of(&json!(1.0)).unwrap()), Ordering::Equal);
    }

    #[test]
    fn whole_numbers_next_to_a_bound_are_found() {
        let next = |value: Value, proper| Exact::of(&value).unwrap().whole_from(proper).value();
        assert_eq!(next(json!(0), true), Some(json!(1)));
        assert_eq!(next(json!(0), false), Some(json!(0)));
        assert_eq!(next(json!(0.5), true), Some(json!(1)));
        let below = |value: Value, proper| Exact::of(&value).unwrap().whole_to(proper).value();
        assert_eq!(below(json!(0), true), Some(json!(-1)));
        assert_eq!(below(json!(-0.5), false), Some(json!(-1)));
    }
}
