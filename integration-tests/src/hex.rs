//! Bytes as hexadecimal digits, two each, and back.

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.unwrap_or_else(|| panic!("not pairs of hexadecimal digits: {digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (bytes, digits) in [(&b""[..], ""), (b"\x00\x7f\xff", "007fff")] {
            assert_eq!((hex(bytes).as_str(), unhex(digits).as_slice()), (digits, bytes));
        }
    }
}
