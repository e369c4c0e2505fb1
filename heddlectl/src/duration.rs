//! Lengths of time on the command line.

/// Reads a length of time: `500ms`, `30s`, `5m`, `2h`, `1d`, or several of them: `1h30m`.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    const WRONG: &str = "a length of time is a number and one of ms, s, m, h, d: 500ms, 30s, 5m, 1h30m";
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or(WRONG)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|character: char| character.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(WRONG.to_owned()),
        };
        let number: u64 = number.parse().map_err(|_| WRONG)?;
        total = number.checked_mul(unit_ms).and_then(|ms| total.checked_add(ms)).ok_or("that is too long")?;
        rest = after;
    }
    if text.is_empty() { Err(WRONG.to_owned()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("0s", 0)] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "5", "m", "5x", "-5s", "5 s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }
}
