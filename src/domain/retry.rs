//! When a screenshot download is tried again: at once, within seconds, or later.
//!
//! Two rhythms. *Attempts* belong to one download: three in all, half a second and a second between them.
//! *Later tries* belong to the retry list: a download whose attempts are used up for a reason that may pass is
//! taken up again after a growing pause, until the image cannot be there any more. Rules: contract,
//! screenshots.md, "The walk" 9 and what follows 10. Nothing here knows the time: ages are arguments.

use std::time::Duration;

use time::format_description::well_known::Rfc2822;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// The attempts of one download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptPolicy {
    /// Attempts in all, the first included. At least 1.
    pub attempts_max: u32,
    /// Pauses after the first, the second, … attempt; the last one stands for all that follow.
    pub pauses: Vec<Duration>,
    /// What a `Retry-After` may make of a pause.
    pub retry_after_max: Duration,
}

impl Default for AttemptPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            pauses: vec![Duration::from_millis(500), Duration::from_secs(1)],
            retry_after_max: Duration::from_secs(30),
        }
    }
}

impl AttemptPolicy {
    /// Whether another attempt is left when `made` have been made.
    pub fn is_left(&self, made: u32) -> bool {
        made < self.attempts_max
    }

    /// The pause after attempt number `made` (1, 2, …): the policy's own, or the longer one that the server asked
    /// for, up to the bound. `None` when no attempt is left.
    pub fn pause_after(&self, made: u32, retry_after: Option<Duration>) -> Option<Duration> {
        if !self.is_left(made) {
            return None;
        }
        let index = made.saturating_sub(1) as usize;
        let own = self.pauses.get(index).or(self.pauses.last()).copied().unwrap_or_default();
        let asked = retry_after.unwrap_or_default().min(self.retry_after_max);
        Some(own.max(asked))
    }
}

/// Statuses that may be other ones in a moment.
pub fn is_retryable_status(status: u16) -> bool {
    matches!(status, 404 | 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// The waiting time that a `Retry-After` header asks for: seconds or an HTTP date (RFC 9110, 10.2.3), seen at
/// `now`. A date that has passed asks for none; what cannot be read is as if it were not there.
pub fn retry_after(value: &str, now: OffsetDateTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds still mean "long".
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = http_date(value)?;
    Some((until - now).try_into().unwrap_or(Duration::ZERO))
}

/// An HTTP date in any of the three forms that RFC 9110 (5.6.7) tells a recipient to accept.
fn http_date(value: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value, &Rfc2822).ok().or_else(|| rfc850_date(value)).or_else(|| asctime_date(value))
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850_date(value: &str) -> Option<OffsetDateTime> {
    let (_, rest) = value.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (date, clock, zone) = (parts.next()?, parts.next()?, parts.next()?);
    let mut date = date.split('-');
    let (day, month, year) = (date.next()?, date.next()?, date.next()?);
    if zone != "GMT" || year.len() != 2 {
        return None;
    }
    // Two digits: this century, as every sender of such a header is alive in it.
    moment(2000 + year.parse::<i32>().ok()?, month, day, clock)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime_date(value: &str) -> Option<OffsetDateTime> {
    let mut parts = value.split_ascii_whitespace();
    let (_, month, day, clock) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    moment(parts.next()?.parse().ok()?, month, day, clock)
}

fn moment(year: i32, month: &str, day: &str, clock: &str) -> Option<OffsetDateTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let number = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(month))? as u8 + 1;
    let date = Date::from_calendar_date(year, Month::try_from(number).ok()?, day.parse().ok()?).ok()?;
    let mut clock = clock.split(':').map(|part| part.parse::<u8>().ok());
    let time = Time::from_hms(clock.next()??, clock.next()??, clock.next()??).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc())
}

/// The later tries of a download whose attempts are used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaterPolicy {
    /// The shortest pause.
    pub pause_first: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// Age, counted from the first failure, after which no further try begins
    /// (`Pipeline.screenshots.giveUpAfter`): Qlik removes temporary content after some time.
    pub give_up_after: Duration,
}

impl Default for LaterPolicy {
    fn default() -> Self {
        Self {
            pause_first: Duration::from_secs(60),
            pause_max: Duration::from_secs(60 * 60),
            give_up_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl LaterPolicy {
    /// The pause before the next later try, when the first failure is `age` ago: as long as the wait so far, so
    /// that pauses double, between the first and the longest one. `None`: give up. A pause that would end after the
    /// last moment is cut, so that the last try happens just before it.
    pub fn pause(&self, age: Duration) -> Option<Duration> {
        let left = self.give_up_after.checked_sub(age).filter(|left| !left.is_zero())?;
        let pause = age.max(self.pause_first).min(self.pause_max);
        // A cut pause shorter than half the planned one would only be a burst at the end.
        if pause <= left {
            Some(pause)
        } else if left >= pause / 2 {
            Some(left)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn three_attempts_half_a_second_and_a_second() {
        let policy = AttemptPolicy::default();
        let check =
            |made, asked, expect| assert_eq!(policy.pause_after(made, asked), expect, "{made} {asked:?}");
        check(1, None, Some(ms(500)));
        check(2, None, Some(ms(1000)));
        check(3, None, None);
        check(4, None, None);
        check(1, Some(ms(0)), Some(ms(500)));
        check(1, Some(ms(2_000)), Some(ms(2_000)));
        check(2, Some(ms(30_000)), Some(ms(30_000)));
        check(2, Some(ms(31_000)), Some(ms(30_000)));
        check(1, Some(Duration::MAX), Some(ms(30_000)));
        check(3, Some(ms(1)), None);
        let many = AttemptPolicy { attempts_max: 5, ..AttemptPolicy::default() };
        assert_eq!(many.pause_after(4, None), Some(ms(1000)));
        let none = AttemptPolicy { pauses: vec![], ..AttemptPolicy::default() };
        assert_eq!(none.pause_after(1, None), Some(ms(0)));
    }

    #[test]
    fn statuses() {
        let retryable: Vec<u16> = (100..600).filter(|s| is_retryable_status(*s)).collect();
        assert_eq!(retryable, [404, 408, 425, 429, 500, 502, 503, 504]);
    }

    #[test]
    fn retry_after_header() {
        let now = datetime!(1994-11-06 08:49:07 UTC);
        let check = |value, expect: Option<u64>| {
            assert_eq!(retry_after(value, now), expect.map(Duration::from_secs), "{value:?}");
        };
        check("0", Some(0));
        check("120", Some(120));
        check(" 7 ", Some(7));
        check("99999999999999999999999999", Some(u64::MAX));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(30));
        check("Sun Nov  6 08:49:37 1994", Some(30));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("", None);
        check("-1", None);
        check("1.5", None);
        check("soon", None);
        check("Sun, 36 Nov 1994 08:49:37 GMT", None);
        check("Sun Nov 36 08:49:37 1994", None);
        check("x, 06-Xyz-94 08:49:37 GMT", None);
        let now = datetime!(2026-11-20 08:49:07 UTC);
        assert_eq!(retry_after("Friday, 20-Nov-26 08:49:37 GMT", now), Some(Duration::from_secs(30)));
    }

    #[test]
    fn later_pauses_grow_and_end() {
        let policy = LaterPolicy::default();
        let check = |age: u64, expect: Option<u64>| {
            let found = policy.pause(Duration::from_secs(age));
            assert_eq!(found, expect.map(Duration::from_secs), "{age}");
        };
        check(0, Some(60));
        check(60, Some(60));
        check(120, Some(120));
        check(240, Some(240));
        check(3599, Some(3599));
        check(3600, Some(3600));
        check(7200, Some(3600));
        check(23 * 3600, Some(3600));
        check(23 * 3600 + 1800, Some(1800));
        check(24 * 3600 - 1, None);
        check(24 * 3600, None);
        check(25 * 3600, None);
    }

    proptest! {
        #[test]
        fn later_tries_end(
            first in 1u64..1000,
            max in 1u64..10_000,
            give_up in 0u64..100_000,
        ) {
            let policy = LaterPolicy {
                pause_first: Duration::from_secs(first),
                pause_max: Duration::from_secs(max),
                give_up_after: Duration::from_secs(give_up),
            };
            let mut age = Duration::ZERO;
            while let Some(pause) = policy.pause(age) {
                prop_assert!(!pause.is_zero() && pause <= policy.pause_max);
                age += pause;
            }
            prop_assert!(age <= policy.give_up_after);
        }

        #[test]
        fn any_header_is_met(value in "\\PC{0,40}") {
            let _ = retry_after(&value, OffsetDateTime::UNIX_EPOCH);
        }
    }
}
