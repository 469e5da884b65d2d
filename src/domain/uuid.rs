//! UUIDs as text: 8-4-4-4-12 hex digits, of any version, in any case.

/// Characters of a UUID.
pub(crate) const LENGTH: usize = 36;

/// Whether `text` is one. All characters are looked at at once.
pub(crate) fn is_uuid(text: &str) -> bool {
    let Ok(text) = <&[u8; LENGTH]>::try_from(text.as_bytes()) else { return false };
    let fits: [bool; LENGTH] = std::array::from_fn(|at| {
        let digit = text[at].is_ascii_digit() | matches!(text[at] | 0x20, b'a'..=b'f');
        if matches!(at, 8 | 13 | 18 | 23) { text[at] == b'-' } else { digit }
    });
    fits == [true; LENGTH]
}

/// The number that it stands for.
pub(crate) fn number(text: &str) -> Option<u128> {
    let digits = || text.chars().filter_map(|character| character.to_digit(16));
    is_uuid(text).then(|| digits().fold(0, |number, digit| number << 4 | u128::from(digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids() {
        let check = |text: &str, expect: bool| {
            assert_eq!((is_uuid(text), number(text).is_some()), (expect, expect), "{text}");
        };
        check("00000000-0000-4000-8000-000000000001", true);
        check("AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE", true);
        check("ffffffff-ffff-ffff-ffff-ffffffffffff", true);
        check("", false);
        check("00000000-0000-4000-8000-00000000000", false);
        check("00000000-0000-4000-8000-0000000000012", false);
        check("00000000-0000-4000-8000-00000000000g", false);
        check("{0000000-0000-4000-8000-00000000000}", false);
        check("00000000000040008000000000000000001å", false);
        assert_eq!(number("00000000-0000-4000-8000-0000000000Fa"), Some(0x4000_8000_0000_0000_00fa));
    }
}
