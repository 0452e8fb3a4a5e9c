//! What a request of a chat says: in its query, and in the form that is its body.

use crate::api::query;

/// The most pairs that are read.
const PAIRS_MAX: usize = 1_000;

/// Names and values in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads a query, or a form.
    pub(super) fn of(text: &str) -> Self {
        let pairs = query::pairs(text).take(PAIRS_MAX);
        Self { pairs: pairs.map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    /// With what stands in the form as well; the query counts first.
    pub(super) fn and(mut self, form: Self) -> Self {
        self.pairs.extend(form.pairs);
        self
    }

    /// A text that is there and not empty. What a page's script writes for nothing is nothing.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut values =
            self.pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        values.find(|value| !matches!(*value, "" | "undefined" | "null"))
    }

    /// A text that is there and not empty, whatever it says: what people write may be any word.
    pub(super) fn words(&self, name: &str) -> Option<&str> {
        let mut values =
            self.pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        values.find(|value| !value.is_empty())
    }

    /// All texts of a name.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let values = self.pairs.iter().filter(|(other, _)| other == name);
        values.map(|(_, value)| value.clone()).collect()
    }
}

/// A text as part of a query: everything but letters, digits and `-._~` escaped.
pub(super) fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").unwrap_or_default();
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_writes_for_nothing_is_nothing() {
        let query = Query::of("seq=undefined&mid=null&mid=1&a=").and(Query::of("msg=hi+%2B&mid=2"));
        assert_eq!((query.text("seq"), query.text("a")), (None, None));
        assert_eq!((query.text("mid"), query.text("msg")), (Some("1"), Some("hi +")));
        assert_eq!(Query::of("msg=&msg=null").words("msg"), Some("null"));
        assert_eq!(query.texts("mid"), ["null", "1", "2"]);
    }

    #[test]
    fn texts_are_escaped_as_the_original_escapes_them() {
        assert_eq!(escaped("客服-1 a/b"), "%E5%AE%A2%E6%9C%8D-1%20a%2Fb");
        assert_eq!(escaped(&escaped("新")), "%25E6%2596%25B0");
    }
}
