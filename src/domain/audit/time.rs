//! Timestamps of clients: RFC 3339 as Ajv's `date-time` accepts it.
//!
//! Wider than RFC 3339 in three places, because that validator is: a blank may replace the `T`, the offset
//! may lack its colon or its minutes, and letters may be lower case. A leap second is valid, although no
//! clock here can represent it.

use time::{Date, Month, PlainDateTime, Time, UtcDateTime};

/// The parsed parts of a valid timestamp.
struct Written {
    date: Date,
    hour: u8,
    minute: u8,
    second: u8,
    /// Rounded down.
    millisecond: u16,
    offset_minutes: i64,
}

/// Whether `text` is a `date-time`.
pub fn is_date_time(text: &str) -> bool {
    read(text).is_some()
}

/// Milliseconds since 1970, negative before; `None` for text that is not a `date-time`, and for a leap
/// second.
pub fn timestamp_ms(text: &str) -> Option<i64> {
    let written = read(text)?;
    let time =
        Time::from_hms_milli(written.hour, written.minute, written.second, written.millisecond).ok()?;
    let midnight = PlainDateTime::new(written.date, Time::MIDNIGHT).assume_utc().unix_timestamp() * 1000;
    let (hours, minutes, seconds, milliseconds) = time.as_hms_milli();
    let minutes = i64::from(hours) * 60 + i64::from(minutes) - written.offset_minutes;
    let ms = midnight + minutes * 60_000 + i64::from(seconds) * 1000 + i64::from(milliseconds);
    // The offset can move the time out of the years with four digits.
    (YEAR_0_MS..YEAR_10000_MS).contains(&ms).then_some(ms)
}

const YEAR_0_MS: i64 = -62_167_219_200_000;
const YEAR_10000_MS: i64 = 253_402_300_800_000;

/// The UTC date as `YYYYMMDD`.
pub fn compact_date(ms: i64) -> String {
    filled(ms, "00000000")
}

/// The moment as `YYYYMMDDThhmmss.mmmZ`.
pub fn compact_moment(ms: i64) -> String {
    filled(ms, "00000000T000000.000Z")
}

/// The moment as `YYYY-MM-DDThh:mm:ss.mmmZ`.
pub fn rfc3339(ms: i64) -> String {
    filled(ms, "0000-00-00T00:00:00.000Z")
}

/// The moment as `YYYY-MM-DD hh:mm:ss`.
pub fn plain_moment(ms: i64) -> String {
    filled(ms, "0000-00-00 00:00:00")
}

/// The moment, from year to millisecond, in place of the zeros of `pattern`. Each answer contains one, so
/// this avoids the formatting machinery.
fn filled(ms: i64, pattern: &str) -> String {
    let at = utc(ms);
    let (hour, minute, second, millisecond) = at.time().as_hms_milli();
    let mut digits = [0; 17];
    let (date, time) = digits.split_at_mut(8);
    put(&mut date[..4], at.year().unsigned_abs());
    put(&mut date[4..6], u32::from(u8::from(at.month())));
    put(&mut date[6..], u32::from(at.day()));
    put(&mut time[..2], u32::from(hour));
    put(&mut time[2..4], u32::from(minute));
    put(&mut time[4..6], u32::from(second));
    put(&mut time[6..], u32::from(millisecond));
    let mut digits = digits.iter().map(|digit| char::from(b'0' + digit));
    pattern.chars().map(|place| if place == '0' { digits.next().unwrap_or(place) } else { place }).collect()
}

/// Writes the last digits of `number`, as many as there are places.
fn put(places: &mut [u8], mut number: u32) {
    for place in places.iter_mut().rev() {
        *place = (number % 10) as u8;
        number /= 10;
    }
}

/// Moments outside the years 0 to 9999 are clamped.
fn utc(ms: i64) -> UtcDateTime {
    let ms = ms.clamp(YEAR_0_MS, YEAR_10000_MS - 1);
    UtcDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap_or(UtcDateTime::UNIX_EPOCH)
}

fn read(text: &str) -> Option<Written> {
    let bytes = text.as_bytes();
    let (date, rest) = bytes.split_at_checked(10)?;
    let [year @ .., b'-', m1, m2, b'-', d1, d2] = date else { return None };
    let year = year.iter().try_fold(0, |year, digit| Some(year * 10 + i32::from(digit_of(*digit)?)))?;
    let month = Month::try_from(two(*m1, *m2)?).ok()?;
    let date = Date::from_calendar_date(year, month, two(*d1, *d2)?).ok()?;

    let rest = match rest {
        [b'T' | b't' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, rest @ ..] => rest,
        _ => return None,
    };
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = rest else { return None };
    let (hour, minute, second) = (two(*h1, *h2)?, two(*m1, *m2)?, two(*s1, *s2)?);

    let (millisecond, rest) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (fraction, rest) = rest.split_at(digits);
            if fraction.is_empty() {
                return None;
            }
            let first_three = fraction.iter().copied().chain([b'0'; 2]).take(3);
            (first_three.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')), rest)
        }
        _ => (0, rest),
    };
    let offset_minutes = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, minutes @ ..] => {
            let minutes = match minutes {
                [] => 0,
                [b':', m1, m2] | [m1, m2] => two(*m1, *m2)?,
                _ => return None,
            };
            let hours = two(*h1, *h2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = i64::from(hours) * 60 + i64::from(minutes);
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let whole = hour < 24 && minute < 60 && second < 60;
    let minute_utc = (i64::from(hour) * 60 + i64::from(minute) - offset_minutes).rem_euclid(24 * 60);
    let leap = hour < 24 && minute < 60 && second == 60 && minute_utc == 24 * 60 - 1;
    (whole || leap).then_some(Written { date, hour, minute, second, millisecond, offset_minutes })
}

fn digit_of(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

fn two(tens: u8, ones: u8) -> Option<u8> {
    Some(digit_of(tens)? * 10 + digit_of(ones)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formats_moments() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(timestamp_ms(text), expect, "{text:?}");
        check("2026-11-20T10:11:12.345Z", Some(1_795_169_472_345));
        check("2026-11-20t10:11:12z", Some(1_795_169_472_000));
        check("2026-11-20 10:11:12Z", Some(1_795_169_472_000));
        check("2026-11-20T12:11:12.3459999+02:00", Some(1_795_169_472_345));
        check("2026-11-20T08:41:12-0130", Some(1_795_169_472_000));
        check("2026-11-20T11:11:12+01", Some(1_795_169_472_000));
        check("2026-11-20T10:11:12.3Z", Some(1_795_169_472_300));
        check("1969-12-31T23:59:59.999Z", Some(-1));
        check("0000-01-01T00:00:00Z", Some(-62_167_219_200_000));
        check("9999-12-31T23:59:59Z", Some(253_402_300_799_000));
        check("2024-02-29T00:00:00Z", Some(1_709_164_800_000));
        check("0000-01-01T00:00:00+00:01", None);
        check("9999-12-31T23:59:59-00:01", None);
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T10:11Z",
            "2026-11-20T10:11:12",
            "2026-11-20T10:11:12.Z",
            "2026-11-20T10:11:12+24:00",
            "2026-11-20T10:11:12+1:00",
            "2026-11-20T24:00:00Z",
            "2026-02-29T10:11:12Z",
            "2026-13-01T10:11:12Z",
            "2026-11-20T10:11:12Z ",
            "2026-11-20T10:11:60Z",
            "+026-11-20T10:11:12Z",
            "2026-11-20\u{2028}10:11:12Z",
        ] {
            check(text, None);
            assert!(!is_date_time(text), "{text:?}");
        }
        check("2016-12-31T23:59:60Z", None);
        assert!(is_date_time("2016-12-31T23:59:60Z"));
        assert!(is_date_time("2017-01-01T00:59:60+01:00"));
    }

    #[test]
    fn reads_timestamps() {
        let check = |ms: i64, date: &str, moment: &str, plain: &str| {
            assert_eq!(
                (compact_date(ms), compact_moment(ms), plain_moment(ms)),
                (date.into(), moment.into(), plain.into())
            );
        };
        check(1_795_169_472_345, "20261120", "20261120T101112.345Z", "2026-11-20 10:11:12");
        check(-1, "19691231", "19691231T235959.999Z", "1969-12-31 23:59:59");
        check(i64::MIN, "00000101", "00000101T000000.000Z", "0000-01-01 00:00:00");
        assert_eq!(rfc3339(1_795_169_472_045), "2026-11-20T10:11:12.045Z");
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
        check(i64::MAX, "99991231", "99991231T235959.999Z", "9999-12-31 23:59:59");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[0-9TtZz:.+\\- ]{0,30}", other: String) {
            let _ = (timestamp_ms(&text), timestamp_ms(&other));
        }
    }
}
