//! The address of the server, from the command line or the configuration.

use url::Url;

use super::client_error::ClientError;

/// A URL from the command line. Errors do not repeat its text, because it may contain a password.
pub fn address(text: &str) -> Result<Url, ClientError> {
    let url =
        Url::parse(text).map_err(|_| ClientError::Address("not a URL such as http://127.0.0.1:9842"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ClientError::Address("the URL must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ClientError::Address("the URL must not contain a user or password: use --token-file"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ClientError::Address("the URL must not contain ? or #"));
    }
    Ok(url)
}

/// The address on this machine of a server that listens on `host`.
pub fn configured_address(host: &str, port: u16) -> Result<Url, ClientError> {
    if port == 0 {
        return Err(ClientError::NoPort);
    }
    let url = Url::parse(&format!("http://{}:{port}", reachable(host)));
    url.map_err(|_| ClientError::Address("Pipeline.operations.host is not a host name: set --server"))
}

/// The address to connect to for an address to listen on.
#[must_use]
pub fn reachable(host: &str) -> String {
    match host.trim_matches(['[', ']']) {
        "0.0.0.0" | "" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn addresses_to_listen_on_are_reached() {
        let check = |host: &str, expect: &str| {
            let url = configured_address(host, 9842).expect(host);
            assert_eq!(url.as_str(), expect, "{host}");
        };
        check("127.0.0.1", "http://127.0.0.1:9842/");
        check("0.0.0.0", "http://127.0.0.1:9842/");
        check("", "http://127.0.0.1:9842/");
        check("::", "http://[::1]:9842/");
        check("::1", "http://[::1]:9842/");
        check("[fd00::2]", "http://[fd00::2]:9842/");
        check("sense.example.com", "http://sense.example.com:9842/");
        assert!(configured_address("127.0.0.1", 0).is_err());
    }

    #[test]
    fn a_url_with_a_password_is_refused_without_repeating_it() {
        for text in
            ["http://u:hunter2@h", "hunter2", "ftp://h/hunter2", "http://h/?t=hunter2", "http://hunter2@h"]
        {
            let error = address(text).expect_err(text);
            assert_eq!(error.exit(), exit::USAGE);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert_eq!(address("https://h/butler").map(String::from).ok().as_deref(), Some("https://h/butler"));
    }
}
