//! Which pages may connect: `gateway.allowed_origins`.

/// True when `origin` is `allowed`, or is below it: `https://*.example.org` stands for every name that ends in
/// `.example.org`, with the same scheme and port.
pub(super) fn matches(allowed: &str, origin: &str) -> bool {
    let Some((before, after)) = allowed.split_once('*') else { return allowed == origin };
    let name = origin.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(of_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_names_below_the_domain() {
        let below = |origin| matches("https://*.example.org", origin);
        assert!(below("https://a.example.org") && below("https://a.b.example.org"));
        for other in [
            "https://example.org",
            "https://.example.org",
            "http://a.example.org",
            "https://a.example.org:8443",
            "https://a.example.org.evil.net",
            "https://evilexample.org",
            "https://evil.net/.example.org",
            "https://evil.net?.example.org",
            "https://user@.example.org",
            "https://*.example.org",
        ] {
            assert!(!below(other), "{other}");
        }
        assert!(matches("https://*.example.org:8443", "https://a.example.org:8443"));
        assert!(matches("https://example.org", "https://example.org"));
        assert!(!matches("https://example.org", "https://a.example.org"));
    }
}
