//! Text of datagrams that is not UTF-8.
//!
//! A log4net appender without an `encoding` element sends the code page of its Windows: 1252 in Western Europe and the
//! Americas, 1250 in Central Europe, 1251 where Cyrillic is written, 932 in Japan. Such a datagram holds no valid
//! UTF-8 sequence of several bytes, and is read as the configured encoding. One that does hold one is UTF-8 with
//! something broken in it: there, and everywhere with `none`, each broken part becomes U+FFFD.

use std::borrow::Cow;

use encoding_rs::{BIG5, EUC_KR, Encoding, GBK, REPLACEMENT, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};

/// How a datagram's bytes became text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Decoded {
    /// They are UTF-8.
    #[default]
    Utf8,
    /// They were read as the fallback encoding.
    Fallback,
    /// What is not UTF-8 was replaced by U+FFFD: it is lost.
    Replaced,
}

impl Decoded {
    /// A short name that does not change, for what is not UTF-8.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Utf8 => None,
            Self::Fallback => Some("fallback"),
            Self::Replaced => Some("replaced"),
        }
    }
}

/// What a datagram is read as that is not UTF-8 (`Pipeline.udp.fallbackEncoding`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FallbackEncoding(Option<&'static Encoding>);

/// Numbers of Windows code pages for which the Encoding Standard has no label of this kind.
const CODE_PAGES: [(&str, &Encoding); 4] = [("932", SHIFT_JIS), ("936", GBK), ("949", EUC_KR), ("950", BIG5)];

/// Encodings in which a separator is not the byte that it is in ASCII, or that are UTF-8.
const UNFIT: [&Encoding; 4] = [UTF_8, UTF_16LE, UTF_16BE, REPLACEMENT];

impl FallbackEncoding {
    /// Nothing but UTF-8 is read.
    pub const NONE: Self = Self(None);

    /// The encoding of this label (`windows-1252`, `cp1250`, `1251`, `932`, `shift_jis`, …), or `none`.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        let label = label.trim().to_ascii_lowercase();
        if label == "none" {
            return Some(Self::NONE);
        }
        let number = label.strip_prefix("windows-").or_else(|| label.strip_prefix("cp")).unwrap_or(&label);
        let page = CODE_PAGES.iter().find(|(known, _)| *known == number).map(|(_, encoding)| *encoding);
        let found = page
            .or_else(|| Encoding::for_label(label.as_bytes()))
            .or_else(|| Encoding::for_label(format!("windows-{number}").as_bytes()))?;
        (!UNFIT.contains(&found) && found.is_ascii_compatible()).then_some(Self(Some(found)))
    }

    /// Text out of bytes that are not UTF-8.
    #[cold]
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> (Cow<'_, str>, Decoded) {
        match self.0.filter(|_| !holds_utf8_sequence(bytes)) {
            Some(encoding) => (encoding.decode_without_bom_handling(bytes).0, Decoded::Fallback),
            None => (String::from_utf8_lossy(bytes), Decoded::Replaced),
        }
    }
}

/// Whether some part is a character of several bytes in UTF-8.
fn holds_utf8_sequence(bytes: &[u8]) -> bool {
    bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn code_pages_of_several_regions() {
        let check = |label: &str, bytes: &[u8], text: &str, decoded: Decoded| {
            let encoding = FallbackEncoding::of_label(label).expect(label);
            assert_eq!(encoding.decode(bytes), (text.into(), decoded), "{label} {bytes:x?}");
        };
        use Decoded::{Fallback, Replaced};
        check("windows-1252", b"g\xf6ren", "gören", Fallback);
        check("windows-1252", b"g\xe5ren \x80", "gåren €", Fallback);
        check("windows-1250", b"\xa3\xf3d\x9f", "Łódź", Fallback);
        check("windows-1251", b"\xc8\xe2\xe0\xed", "Иван", Fallback);
        check("932", b"\x93\xfa\x96{", "日本", Fallback);
        check("Shift_JIS", b"\x93\xfa\x96{", "日本", Fallback);
        check("windows-936", b"\xd6\xd0", "中", Fallback);
        check("cp1250", b"\x9c", "ś", Fallback);
        check("none", b"g\xf6ren", "g\u{fffd}ren", Replaced);
        // UTF-8 with something broken in it.
        check(
            "windows-1252",
            "gören\u{20ac}".as_bytes().strip_suffix(b"\xac").expect("its end"),
            "gören\u{fffd}",
            Replaced,
        );
        check("windows-1252", b"\xc3\xb6 and \xf6", "ö and \u{fffd}", Replaced);
    }

    #[test]
    fn labels_that_name_no_such_encoding() {
        for label in [
            "",
            "utf-8",
            "utf-16",
            "utf-16le",
            "iso-2022-kr",
            "iso-2022-jp",
            "swedish",
            "windows-9",
            "replacement",
        ] {
            assert_eq!(FallbackEncoding::of_label(label), None, "{label}");
        }
        assert_eq!(FallbackEncoding::of_label(" NONE "), Some(FallbackEncoding::NONE));
        assert_eq!(FallbackEncoding::of_label("latin1"), FallbackEncoding::of_label("1252"));
    }

    proptest! {
        /// A separator is one byte in every encoding that is taken, so the layout is never lost.
        #[test]
        fn separators_stay_what_they_are(
            label in prop::sample::select(vec!["1250", "1251", "1252", "932", "936", "949", "950", "gb18030", "koi8-r"]),
            bytes in prop::collection::vec(prop_oneof![Just(b';'), any::<u8>(), 0x80_u8..], 0..60),
        ) {
            let (text, _) = FallbackEncoding::of_label(label).expect("known").decode(&bytes);
            let separators = bytes.iter().filter(|byte| **byte == b';').count();
            prop_assert_eq!(text.matches(';').count(), separators);
        }
    }
}
