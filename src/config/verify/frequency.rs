//! How often something happens, in the words of Butler SOS: `every 15 minutes`.
//!
//! Butler SOS gives the text to the parser of later.js, which also knows times of the calendar (`at 10:00 am`, `every
//! weekday`). Here only even intervals are kept, so such a text is taken with a warning and the setting's default.

/// What a text asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frequency {
    /// So many seconds apart.
    Every(u64),
    /// So many seconds apart, and begun at a time of the clock.
    EveryFrom(u64),
    /// Times of the calendar, in words that later.js knows.
    Calendar,
}

impl Frequency {
    /// Seconds between two times, where they are even.
    pub fn seconds(self) -> Option<u64> {
        match self {
            Frequency::Every(seconds) | Frequency::EveryFrom(seconds) => Some(seconds),
            Frequency::Calendar => None,
        }
    }
}

/// Seconds between two times, as `text` says and else as `default` says.
pub fn interval_seconds(text: &str, default: &str) -> u64 {
    const HOUR: u64 = 3_600;
    let seconds = |text: &str| frequency(text).and_then(Frequency::seconds);
    seconds(text).or_else(|| seconds(default)).unwrap_or(HOUR)
}

/// Reads a text; none: it is no frequency.
pub fn frequency(text: &str) -> Option<Frequency> {
    let text = text.to_lowercase().replace(',', " and ");
    let detail: Vec<&str> = text.split_whitespace().collect();
    match detail[..] {
        ["every", unit] => every("1", unit, &[]),
        ["every", count, unit, ref rest @ ..] if number(count).is_some() => every(count, unit, rest),
        _ => calendar(&detail),
    }
}

fn every(count: &str, unit: &str, rest: &[&str]) -> Option<Frequency> {
    let Some(unit_seconds) = unit_seconds(unit) else {
        let detail = [&["every", count, unit], rest].concat();
        return calendar(&detail);
    };
    let seconds = number(count)?.checked_mul(unit_seconds).filter(|seconds| *seconds > 0)?;
    match *rest {
        [] => Some(Frequency::Every(seconds)),
        ["start" | "starting", ..] if rest.iter().all(|word| is_known(word)) => {
            Some(Frequency::EveryFrom(seconds))
        }
        _ => calendar(rest),
    }
}

/// Words of later.js alone, and among them one that names a time or a span.
fn calendar(detail: &[&str]) -> Option<Frequency> {
    let names_time = |word: &&str| is_number_or_time(word) || TIMES.contains(word);
    (detail.iter().all(|word| is_known(word)) && detail.iter().any(names_time)).then_some(Frequency::Calendar)
}

fn unit_seconds(unit: &str) -> Option<u64> {
    match unit.strip_suffix('s').unwrap_or(unit) {
        "second" | "sec" | "" => Some(1),
        "minute" | "min" | "m" => Some(60),
        "hour" | "h" => Some(3_600),
        "day" => Some(86_400),
        "week" => Some(604_800),
        _ => None,
    }
}

/// `5`, `1st`, `2nd`, `3rd`, `5th`.
fn number(word: &str) -> Option<u64> {
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn is_known(word: &str) -> bool {
    is_number_or_time(word) || TIMES.contains(&word) || OTHER_WORDS.contains(&word)
}

/// A number, a time such as `10:00` or `10:00am`, or a span such as `mon-fri`.
fn is_number_or_time(word: &str) -> bool {
    let bare = ["am", "pm"].iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word);
    let parts: Vec<&str> = bare.split(':').collect();
    let is_clock =
        (2..=3).contains(&parts.len()) && parts.iter().all(|part| part.len() <= 2 && number(part).is_some());
    let is_span = word
        .split_once('-')
        .is_some_and(|(from, to)| [from, to].iter().all(|end| number(end).is_some() || TIMES.contains(end)));
    number(word).is_some() || is_clock || is_span
}

/// Words of later.js that name a time or a span.
const TIMES: &[&str] = &[
    "s",
    "sec",
    "secs",
    "second",
    "seconds",
    "m",
    "min",
    "mins",
    "minute",
    "minutes",
    "h",
    "hour",
    "hours",
    "day",
    "days",
    "week",
    "weeks",
    "weekday",
    "weekend",
    "month",
    "months",
    "year",
    "years",
    "sun",
    "sunday",
    "mon",
    "monday",
    "tue",
    "tues",
    "tuesday",
    "wed",
    "wednesday",
    "thu",
    "thur",
    "thurs",
    "thursday",
    "fri",
    "friday",
    "sat",
    "satur",
    "saturday",
    "jan",
    "january",
    "feb",
    "february",
    "mar",
    "march",
    "apr",
    "april",
    "may",
    "jun",
    "june",
    "jul",
    "july",
    "aug",
    "august",
    "sep",
    "sept",
    "september",
    "oct",
    "october",
    "nov",
    "november",
    "dec",
    "december",
];

/// The words between them.
const OTHER_WORDS: &[&str] = &[
    "every", "after", "before", "on", "the", "of", "in", "at", "@", "and", "except", "also", "first", "last",
    "between", "start", "starting", "through", "to", "-", "am", "pm", "instance",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_intervals_are_read() {
        for (text, seconds) in [
            ("every 15 minutes", 900),
            ("every 1 hour", 3_600),
            ("every 15 seconds", 15),
            ("every 15 s", 15),
            ("every 5 min", 300),
            ("every 5 mins", 300),
            ("Every day", 86_400),
            ("every minute", 60),
            ("  every   2 weeks ", 1_209_600),
            ("every 15th minute", 900),
        ] {
            assert_eq!(frequency(text), Some(Frequency::Every(seconds)), "{text}");
        }
        for text in [
            "every 15 minutes starting on the 5 minute",
            "every 15 minutes starting on the 5th minute",
            "every 15 mins start at 5",
        ] {
            assert_eq!(frequency(text), Some(Frequency::EveryFrom(900)), "{text}");
        }
    }

    #[test]
    fn times_of_the_calendar_are_known_for_what_they_are() {
        for text in [
            "every weekday",
            "every weekend",
            "at 10:00 am",
            "at 10:00am and 10:00pm",
            "at 23:15",
            "@ 10:00",
            "at 5 minute of every hour",
            "every 2 hours between 8 and 17 hour",
            "every 5 minutes on mon, tues and fri",
            "every 5 minutes at 10:00 am",
            "every 1 month",
            "every month",
            "on the first day of the month",
            "on the last day of the week at 6:00 pm",
            "on mon through fri",
            "on mon-fri at 9:00",
            "after 5 minutes",
            "every 5 minutes also at 10:00 am except on sunday",
            "every 3rd hour of the 5-10 day",
        ] {
            assert_eq!(frequency(text), Some(Frequency::Calendar), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_frequency() {
        for text in [
            "",
            " ",
            "now and then",
            "at 5 o'clock",
            "every 0 hours",
            "evry 15 minutes",
            "every",
            "every 15 minuets",
            "*/15 * * * *",
            "15 minutes please",
            "on the",
            "every 99999999999999999999 minutes",
            "every 9999999999999999 weeks",
            "every -5 minutes",
            "every 1.5 hours",
        ] {
            assert_eq!(frequency(text), None, "{text}");
        }
    }

    #[test]
    fn a_frequency_without_an_interval_has_that_of_the_default() {
        assert_eq!(interval_seconds("every 2 minutes", "every 1 hour"), 120);
        assert_eq!(interval_seconds("every 15 minutes starting on the 5 minute", "every 1 hour"), 900);
        assert_eq!(interval_seconds("at 10:00 am", "every 15 minutes"), 900);
        assert_eq!(interval_seconds("nonsense", "nonsense"), 3_600);
    }
}
