//! Users' names replaced by keyed hashes (`Pipeline.privacy.pseudonymise`).
//!
//! A pseudonym is the same for the same person under the same key, in user events and audit events alike, so that what
//! somebody did can still be told apart from what others did; without the key nobody can tell whose it is, nor try names
//! until one fits.
//!
//! ```text
//! directory  dir-  and the first 8 bytes, in hex, of HMAC-SHA256(key, "directory" 0 lower(directory))
//! id         user- and the first 8 bytes, in hex, of HMAC-SHA256(key, "user" 0 lower(directory) 0 lower(id))
//! ```
//!
//! 64 bits: among a hundred thousand users, one chance in three thousand million that any two share one. Blanks around
//! a name and the case of its letters do not count, as in Qlik Sense. What is empty stays empty.
//!
//! A download of a screenshot may need the real name (`auth.mode: userTicket`). [`Pseudonymizer::seal`] encrypts it for as
//! long as it waits, with a key made from the same one:
//!
//! ```text
//! offset  size  what
//! 0       1     format version, 1
//! 1       12    nonce
//! 13      n     AES-256-GCM of the text
//! 13+n    16    its tag
//! ```

use std::borrow::Cow;
use std::fmt;

use openssl::error::ErrorStack;
use openssl::sha::Sha256;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

use crate::event::UserEvent;
use crate::identity::{self, Identity};

/// A key has at least this many bytes.
pub const KEY_BYTES_MIN: usize = 16;

/// Bytes of a hash that a pseudonym shows, each as two hex digits.
const SHOWN_BYTES: usize = 8;

pub const DIRECTORY_PREFIX: &str = "dir-";
pub const ID_PREFIX: &str = "user-";

/// An id that is shorter is looked for in text only where the text says that it is a user.
const LONE_CHARACTERS_MIN: usize = 3;

const BLOCK: usize = 64;
const SEAL_FORMAT: u8 = 1;
pub const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What makes pseudonyms. It holds a secret, and shows it to nobody.
#[derive(Clone)]
pub struct Pseudonymizer {
    mac: Hmac,
    seal_key: [u8; 32],
}

/// Who somebody is, and who they are instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    directory: String,
    id: String,
    /// The same percent-encoded.
    encoded_id: String,
    pub new_directory: String,
    pub new_id: String,
}

impl fmt::Debug for Pseudonymizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms")
    }
}

// === impl Pseudonymizer ===

impl Pseudonymizer {
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let mac = Hmac::new(key);
        let seal_key = mac.of(&[b"seal"]);
        Self { mac, seal_key }
    }

    /// Pseudonymizer of a user; what is empty stays empty.
    #[must_use]
    pub fn of(&self, directory: &str, id: &str) -> Replacement {
        let (directory, id) = (directory.trim(), id.trim());
        let [lower_directory, lower_id] = [directory, id].map(str::to_lowercase);
        let shown = |prefix: &str, text: &str, parts: &[&[u8]]| match text {
            "" => String::new(),
            _ => format!("{prefix}{}", hex::encode(&self.mac.of(parts)[..SHOWN_BYTES])),
        };
        let (d, i) = (lower_directory.as_bytes(), lower_id.as_bytes());
        Replacement {
            new_directory: shown(DIRECTORY_PREFIX, directory, &[b"directory", b"\0", d]),
            new_id: shown(ID_PREFIX, id, &[b"user", b"\0", d, b"\0", i]),
            directory: directory.to_owned(),
            id: id.to_owned(),
            encoded_id: percent_encoded(id),
        }
    }

    /// A whole text that names a user, in whatever form; another text is taken for an id without a directory.
    #[must_use]
    pub fn of_text(&self, text: &str) -> Replacement {
        match identity::parse(text) {
            Some(Identity { directory, id }) => self.of(directory, id),
            None => self.of("", text),
        }
    }

    /// Replaces the user of an event, and what its texts say of a user.
    ///
    /// When the proxy's message names no user that can be found (`user_not_found`), nobody can say what is in it: the
    /// message goes, and so does a context that is no path.
    pub fn replace_in_event(&self, event: &mut UserEvent<'_>, user_not_found: bool) {
        let texts = [event.message.as_deref(), event.context.as_deref()].map(Option::unwrap_or_default);
        let spoken_of = identity::find_in_text(&texts).map(|found| self.of(found.directory, found.id));
        let (directory, id) = (event.user_directory.as_deref(), event.user_id.as_deref());
        let user = (directory.is_some() || id.is_some())
            .then(|| self.of(directory.unwrap_or_default(), id.unwrap_or_default()));
        for found in [&user, &spoken_of].into_iter().flatten() {
            for text in [&mut event.origin, &mut event.context, &mut event.message].into_iter().flatten() {
                if let Some(replaced) = found.replaced_in(text) {
                    *text = Cow::Owned(replaced);
                }
            }
        }
        if user_not_found {
            let is_path = |context: &str| context.trim_start().starts_with(['/', '?']);
            event.message = None;
            if event.app_id.is_none() && !event.context.as_deref().is_some_and(is_path) {
                event.context = None;
            }
        }
        if let Some(Replacement { new_directory, new_id, .. }) = user {
            event.user_directory = event.user_directory.as_ref().map(|_| Cow::Owned(new_directory));
            event.user_id = event.user_id.as_ref().map(|_| Cow::Owned(new_id));
        }
    }

    /// Encrypts `text`; `nonce` must be random, and another one each time.
    ///
    /// # Errors
    /// OpenSSL refuses; nothing can be sealed then.
    pub fn seal(&self, nonce: &[u8; NONCE_BYTES], text: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let mut tag = [0; TAG_BYTES];
        let cipher = Cipher::aes_256_gcm();
        let sealed = encrypt_aead(cipher, &self.seal_key, Some(nonce), &[SEAL_FORMAT], text, &mut tag)?;
        Ok([&[SEAL_FORMAT], nonce.as_slice(), &sealed, &tag].concat())
    }

    /// The text again; `None` when it was sealed with another key, or is damaged.
    #[must_use]
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (format, rest) = sealed.split_first_chunk::<1>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let (text, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        if format != &[SEAL_FORMAT] {
            return None;
        }
        decrypt_aead(Cipher::aes_256_gcm(), &self.seal_key, Some(nonce), format, text, tag).ok()
    }
}

// === impl Replacement ===

impl fmt::Display for Replacement {
    /// `dir-…\user-…`, or the part that there is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.new_directory.is_empty() || self.new_id.is_empty() { "" } else { "\\" };
        write!(f, "{}{separator}{}", self.new_directory, self.new_id)
    }
}

impl Replacement {
    /// `text` with this user's names replaced, wherever they stand for the user: `DIRECTORY\id`,
    /// `UserDirectory=DIRECTORY`, `UserId=id`, and an id of at least three characters that stands alone, also where it
    /// is percent-encoded. `None` when there are none.
    #[must_use]
    pub fn replaced_in(&self, text: &str) -> Option<String> {
        Self::all_replaced_in(std::slice::from_ref(self), text)
    }

    /// The same for several users. What replaces one is not looked at for another, so a text grows by a small factor,
    /// however many they are.
    #[must_use]
    pub fn all_replaced_in(users: &[Self], text: &str) -> Option<String> {
        let mut out = String::new();
        let (mut copied, mut at) = (0, 0);
        while let Some(c) = text[at..].chars().next() {
            let found = if ends_word(&text[..at]) {
                // Of several names that begin here, the longest.
                users.iter().filter_map(|user| user.found_at(text, at)).max_by_key(|(length, _)| *length)
            } else {
                None
            };
            match found {
                Some((length, new)) => {
                    out.push_str(&text[copied..at]);
                    out.push_str(new);
                    at += length;
                    copied = at;
                }
                None => at += c.len_utf8(),
            }
        }
        if copied == 0 {
            return None;
        }
        out.push_str(&text[copied..]);
        Some(out)
    }

    /// Whether a text is this user's id and nothing else.
    #[must_use]
    pub fn is_id(&self, text: &str) -> bool {
        !self.id.is_empty() && matching(text.trim(), &self.id) == Some(text.trim().len())
    }

    /// The length of what stands at `at` for the user, and what stands for it instead. A word can begin there.
    fn found_at(&self, text: &str, at: usize) -> Option<(usize, &str)> {
        if self.id.is_empty() {
            return None;
        }
        let id = [&self.id, &self.encoded_id].into_iter().find_map(|spelled| {
            let length = matching(&text[at..], spelled)?;
            self.is_user(text, at, length, spelled).then_some((length, self.new_id.as_str()))
        });
        id.or_else(|| self.directory_at(text, at).map(|length| (length, self.new_directory.as_str())))
    }

    /// Whether what stands at `at`, this user's id by its letters, stands for the user.
    fn is_user(&self, text: &str, at: usize, length: usize, spelled: &str) -> bool {
        let (before, after) = (&text[..at], &text[at + length..]);
        if after.starts_with(is_of_word) || !ends_word(before) {
            return false;
        }
        spelled.chars().count() >= LONE_CHARACTERS_MIN
            || ends_with_directory(before, &self.directory)
            || ends_with_key(before, "userid")
    }

    /// The length of this user's directory, when it stands at `at` for the directory of a user.
    fn directory_at(&self, text: &str, at: usize) -> Option<usize> {
        if self.directory.is_empty() {
            return None;
        }
        let length = matching(&text[at..], &self.directory)?;
        let (before, after) = (&text[..at], &text[at + length..]);
        let is_before_id =
            after.starts_with('\\') || after.get(..3).is_some_and(|next| next.eq_ignore_ascii_case("%5c"));
        let is_whole = !after.starts_with(is_of_word) && ends_word(before);
        (is_whole && (is_before_id || ends_with_key(before, "userdirectory"))).then_some(length)
    }
}

/// How much of the beginning of `text` is `wanted`, letters of either case.
fn matching(text: &str, wanted: &str) -> Option<usize> {
    let mut rest = text.char_indices();
    for w in wanted.chars() {
        let (_, t) = rest.next()?;
        if t != w && !t.to_lowercase().eq(w.to_lowercase()) {
            return None;
        }
    }
    Some(rest.next().map_or(text.len(), |(at, _)| at))
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric()
}

/// Whether a word can begin behind `before`: at the beginning, behind what is no letter or digit, and behind an
/// encoded character such as `%5C`.
fn ends_word(before: &str) -> bool {
    if !before.ends_with(is_of_word) {
        return true;
    }
    let bytes = before.as_bytes();
    matches!(bytes, [.., b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

/// `…UserId=`, with blanks and an opening quote, or `…UserDirectory=`; `key` is in lower case.
fn ends_with_key(before: &str, key: &str) -> bool {
    let before = before.trim_end_matches([' ', '\'', '"']);
    let Some(before) = before.strip_suffix('=').map(str::trim_end) else { return false };
    let begin = before.len().checked_sub(key.len());
    begin.and_then(|begin| before.get(begin..)).is_some_and(|end| end.eq_ignore_ascii_case(key))
}

/// `…DIRECTORY\`.
fn ends_with_directory(before: &str, directory: &str) -> bool {
    let encoded = before.get(before.len().saturating_sub(3)..).filter(|end| end.eq_ignore_ascii_case("%5c"));
    let before = match encoded {
        Some(_) => &before[..before.len() - 3],
        None => before.trim_end_matches('\\'),
    };
    let begin = before.char_indices().rev().nth(directory.chars().count().saturating_sub(1));
    !directory.is_empty()
        && begin.is_some_and(|(at, _)| matching(&before[at..], directory) == Some(before.len() - at))
}

/// As `encodeURIComponent` does.
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

// === HMAC ===

/// HMAC-SHA256 (RFC 2104), begun: the states behind the two padded keys.
#[derive(Clone)]
struct Hmac {
    inner: Sha256,
    outer: Sha256,
}

impl Hmac {
    fn new(key: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        if key.len() > BLOCK {
            block[..32].copy_from_slice(&openssl::sha::sha256(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let begun = |pad: u8| {
            let mut hash = Sha256::new();
            hash.update(&block.map(|byte| byte ^ pad));
            hash
        };
        Self { inner: begun(0x36), outer: begun(0x5c) }
    }

    /// Of the parts, one behind the other.
    fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let (mut inner, mut outer) = (self.inner.clone(), self.outer.clone());
        parts.iter().for_each(|part| inner.update(part));
        outer.update(&inner.finish());
        outer.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pseudonymizer() -> Pseudonymizer {
        Pseudonymizer::new(b"0123456789abcdef")
    }

    #[test]
    fn hashes_are_those_of_rfc_4231() {
        let check = |key: &[u8], data: &[u8], expect: &str| {
            assert_eq!(hex::encode(Hmac::new(key).of(&[data])), expect);
            let (one, two) = data.split_at(data.len() / 2);
            assert_eq!(hex::encode(Hmac::new(key).of(&[one, two])), expect);
        };
        check(&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        check(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    #[test]
    fn a_person_has_one_pseudonym_for_each_key() {
        let anna = pseudonymizer().of("LAB", "anna");
        assert_eq!(pseudonymizer().of(" lab ", "ANNA").to_string(), anna.to_string());
        assert!(anna.new_directory.starts_with("dir-") && anna.new_directory.len() == 20, "{anna}");
        assert!(anna.new_id.starts_with("user-") && anna.new_id.len() == 21, "{anna}");
        let others = [
            pseudonymizer().of("LAB", "anna2"),
            pseudonymizer().of("LAB2", "anna"),
            pseudonymizer().of("LABa", "nna"),
        ];
        assert!(others.iter().all(|other| other.new_id != anna.new_id));
        assert_eq!(pseudonymizer().of("LAB", "bert").new_directory, anna.new_directory);
        let other_key = Pseudonymizer::new(b"0123456789abcdeg").of("LAB", "anna");
        assert!(other_key.new_id != anna.new_id && other_key.new_directory != anna.new_directory);
        assert_eq!(pseudonymizer().of("", "").to_string(), "");
        assert_eq!(pseudonymizer().of_text("UserDirectory=LAB; UserId=anna"), anna);
        assert_eq!(pseudonymizer().of_text("LAB\\anna"), anna);
        assert_eq!(pseudonymizer().of_text("anna").to_string(), pseudonymizer().of("", "anna").new_id);
        assert!(!format!("{:?}", pseudonymizer()).contains("0123"));
    }

    #[test]
    fn names_are_found_in_text() {
        let found = pseudonymizer().of("LAB", "anna");
        let (dir, user) = (found.new_directory.clone(), found.new_id.clone());
        let check = |text: &str, expect: &str| {
            let expect = expect.replace("<d>", &dir).replace("<u>", &user);
            assert_eq!(found.replaced_in(text).as_deref().unwrap_or(text), expect, "{text}");
        };
        check("", "");
        check("nothing of it", "nothing of it");
        check("user 'LAB\\anna' came", "user '<d>\\<u>' came");
        check("lab\\ANNA", "<d>\\<u>");
        check("UserDirectory=LAB; UserId=anna;", "UserDirectory=<d>; UserId=<u>;");
        check("Anna, anna. annalena hannah Joanna anna2", "<u>, <u>. annalena hannah Joanna anna2");
        check("LAB is a place, /lab/app", "LAB is a place, /lab/app");
        check("/x?user=LAB%5Canna&y", "/x?user=<d>%5C<u>&y");
        check("anna_x anna@example.com", "<u>_x <u>@example.com");
        check("LABANNA", "LABANNA");
        check("ännä anna", "ännä <u>");
    }

    #[test]
    fn a_short_or_odd_id_is_found_where_it_is_a_user() {
        let check = |directory: &str, id: &str, text: &str, expect: &str| {
            let found = pseudonymizer().of(directory, id);
            let expect = expect.replace("<d>", &found.new_directory).replace("<u>", &found.new_id);
            assert_eq!(found.replaced_in(text).as_deref().unwrap_or(text), expect, "{text}");
        };
        check(
            "LAB",
            "x",
            "x LAB\\x UserId=x, userid = 'X' LAB%5cx",
            "x <d>\\<u> UserId=<u>, userid = '<u>' <d>%5c<u>",
        );
        check("LAB", "a b", "?u=a%20b LAB\\A B", "?u=<u> <d>\\<u>");
        check("Ä", "ö", "ä\\Ö ö", "<d>\\<u> ö");
        check("NONE", "anonymous\\1234", "NONE\\anonymous\\1234", "<d>\\<u>");
        check("", "anna", "LAB\\anna", "LAB\\<u>");
        check("LAB", "", "LAB\\anna", "LAB\\anna");
    }

    #[test]
    fn an_event_loses_its_names() {
        let texts = |message: &'static str, context: &'static str| UserEvent {
            message_type: "t".into(),
            host: "sense1".into(),
            command: "Start session".into(),
            message: Some(message.into()),
            context: Some(context.into()),
            ..UserEvent::default()
        };
        let mut event = UserEvent {
            user_directory: Some("LAB".into()),
            user_id: Some("anna".into()),
            origin: Some("AppAccess".into()),
            ..texts("'LAB\\anna' by LAB\\anna UserAgent: Chrome", "/app/x?anna")
        };
        pseudonymizer().replace_in_event(&mut event, false);
        let expect = pseudonymizer().of("LAB", "anna");
        assert_eq!(event.user_full().map(|user| user.to_string()), Some(expect.to_string()));
        let detail = format!("'{expect}' by {expect} UserAgent: Chrome");
        assert_eq!(event.message.as_deref(), Some(detail.as_str()));
        assert_eq!(event.context, Some(format!("/app/x?{}", expect.new_id).into()));
        assert_eq!(event.origin.as_deref(), Some("AppAccess"));

        // A user that the fields do not name.
        let mut event = texts("refused user 'LAB\\bert'", "/hub");
        pseudonymizer().replace_in_event(&mut event, false);
        assert_eq!(
            event.message,
            Some(format!("refused user '{}'", pseudonymizer().of("LAB", "bert")).into())
        );
        assert_eq!((&event.user_directory, &event.user_id), (&None, &None));

        // Nobody knows what is in there.
        let mut event = texts("anna came along", "of anna");
        pseudonymizer().replace_in_event(&mut event, true);
        assert_eq!((&event.message, &event.context), (&None, &None));
        let mut event = texts("anna came along", "/hub");
        pseudonymizer().replace_in_event(&mut event, true);
        assert_eq!(event.context.as_deref(), Some("/hub"));

        let mut event =
            UserEvent { user_directory: Some("".into()), user_id: Some("".into()), ..texts("m", "/c") };
        let before = event.clone();
        pseudonymizer().replace_in_event(&mut event, false);
        assert_eq!(event, before);
    }

    #[test]
    fn what_is_sealed_is_opened_with_the_same_key_alone() {
        let sealed = pseudonymizer().seal(&[7; 12], "LAB\\anna".as_bytes()).expect("it is sealed");
        assert_eq!(pseudonymizer().open(&sealed).as_deref(), Some("LAB\\anna".as_bytes()));
        assert!(!sealed.windows(4).any(|window| window == b"anna"));
        assert_eq!(Pseudonymizer::new(b"another key, long").open(&sealed), None);
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(pseudonymizer().open(&damaged), None, "{at}");
            assert_eq!(pseudonymizer().open(&sealed[..at]), None, "{at}");
        }
    }

    proptest! {
        #[test]
        fn no_text_does_harm(directory in ".{0,8}", id in ".{0,8}", text in ".{0,60}") {
            let _ = pseudonymizer().of(&directory, &id).replaced_in(&text);
            let _ = pseudonymizer().of_text(&text);
        }

        /// Spoken of in the usual way, a user is found whatever stands around.
        #[test]
        fn a_user_is_found(
            directory in "[a-zäß0-9._-]{1,8}", id in "[a-zA-Zäß0-9 @._-]{0,6}[a-zä9]", text in ".{0,40}",
        ) {
            let found = pseudonymizer().of(&directory, &id);
            let new = found.replaced_in(&format!("{text} {}\\{} {text}", found.directory, found.id));
            prop_assert!(new.is_some_and(|new| new.contains(&found.new_id)));
        }
    }
}
