//! Members of JSON bodies that one client writes as numbers and the next as texts.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde::de::SeqAccess;
use serde::de::Visitor;

/// The most items in a list: what a client accepts, or the rooms that it names.
const ITEMS_MAX: usize = 1024;

/// Reads `what` from a JSON object. An array of its members' values, which would do for serde, is none.
pub(in crate::wire) fn object<'a, T: Deserialize<'a>>(
    what: &str,
    body: &'a [u8],
    like: &str,
) -> Result<T, String> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(format!("{what} is a JSON object like {like}"));
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// A text, or a whole number as its digits; `null` is an empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::wire) struct Loose(pub(in crate::wire) String);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Loose;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a whole number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Loose, E> {
                Ok(Loose(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Loose, E> {
                Ok(Loose(number.to_string()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Loose, E> {
                Ok(Loose::default())
            }
        }
        value.deserialize_any(One)
    }
}

/// A list: an array, an array in a text, or items with commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::wire) struct List(pub(in crate::wire) Vec<String>);

impl List {
    /// Reads items with commas between them; none for an empty text.
    pub(in crate::wire) fn of_text(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let items = text.split(',').map(|item| item.trim().to_owned());
        let items: Vec<_> = items.take(ITEMS_MAX + 1).collect();
        if items.len() > ITEMS_MAX {
            return Err(format!("the list has more than {ITEMS_MAX} items"));
        }
        Ok(Self(items))
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Many;
        impl<'de> Visitor<'de> for Many {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array, an array in a text, or items with commas between them")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List, A::Error> {
                let mut list = List::default();
                while let Some(Loose(item)) = items.next_element()? {
                    if list.0.len() == ITEMS_MAX {
                        return Err(de::Error::custom(format!("the list has more than {ITEMS_MAX} items")));
                    }
                    list.0.push(item);
                }
                Ok(list)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<List, E> {
                if text.trim_ascii_start().starts_with('[') {
                    // Only an array is one here: a text within a text within a text is nobody's custom.
                    let mut array = serde_json::Deserializer::from_str(text);
                    let list = array.deserialize_seq(Self).map_err(de::Error::custom)?;
                    array.end().map_err(de::Error::custom)?;
                    return Ok(list);
                }
                List::of_text(text).map_err(de::Error::custom)
            }

            fn visit_unit<E: de::Error>(self) -> Result<List, E> {
                Ok(List::default())
            }
        }
        value.deserialize_any(Many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_every_custom() {
        for text in [
            r#"[8000202405211,"8000",10000]"#,
            r#""[8000202405211,8000,10000]""#,
            r#""8000202405211, 8000,10000""#,
        ] {
            let List(items) = serde_json::from_str(text).unwrap();
            assert_eq!(items, ["8000202405211", "8000", "10000"], "{text}");
        }
        for empty in ["[]", "\"\"", "\"[]\"", "null"] {
            assert_eq!(serde_json::from_str::<List>(empty).unwrap(), List::default());
        }
    }

    #[test]
    fn what_is_no_list_is_told() {
        let fault = |text: &str| serde_json::from_str::<List>(text).unwrap_err().to_string();
        assert!(fault("7").starts_with("invalid type: integer `7`, expected an array, an array in a text"));
        assert!(
            fault("[1.5]")
                .starts_with("invalid type: floating point `1.5`, expected a text or a whole number")
        );
        assert!(fault("[[1]]").starts_with("invalid type: sequence"));
        assert!(fault(r#""[1] 2""#).starts_with("trailing characters"));
        let long = format!("[{}1]", "1,".repeat(1024));
        assert!(fault(&long).starts_with("the list has more than 1024 items"));
        assert!(
            fault(&format!("{:?}", &long[1..long.len() - 1]))
                .starts_with("the list has more than 1024 items")
        );
    }
}
