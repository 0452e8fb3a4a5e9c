//! The query of a request, as goim reads it: a list is a name that is there several times, of anything else the first
//! counts, and a number that is left out or empty is 0, which is as good as missing where one is required.

use std::str::FromStr;

use crate::api::goim::reply::Fault;
use crate::api::query;

/// The most values of one list.
const LIST_MAX: usize = 10_000;

/// Names and values in their order.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads a query.
    pub(super) fn of(text: &str) -> Self {
        Self { pairs: query::pairs(text).map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    /// A text that must be there.
    pub(super) fn text(&self, name: &str) -> Result<String, Fault> {
        let text = self.first(name).unwrap_or_default();
        if text.is_empty() { Err(Fault::Query(format!("{name} is missing"))) } else { Ok(text.to_owned()) }
    }

    /// A number; 0 if it is not there.
    pub(super) fn number<T: FromStr + Default>(&self, name: &str) -> Result<T, Fault> {
        match self.first(name).unwrap_or_default() {
            "" => Ok(T::default()),
            text => number(name, text),
        }
    }

    /// A number that must be there and not 0.
    pub(super) fn required<T: FromStr + Default + PartialEq>(&self, name: &str) -> Result<T, Fault> {
        let number = self.number(name)?;
        if number == T::default() {
            return Err(Fault::Query(format!("{name} is missing, or 0")));
        }
        Ok(number)
    }

    /// All values of a name.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&str>, Fault> {
        let values = self.pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let values: Vec<_> = values.collect();
        if values.len() > LIST_MAX {
            return Err(Fault::Query(format!("{name} is there {} times, at most {LIST_MAX}", values.len())));
        }
        Ok(values)
    }

    /// All values of a name, which are numbers.
    pub(super) fn numbers<T: FromStr>(&self, name: &str) -> Result<Vec<T>, Fault> {
        self.texts(name)?.into_iter().map(|text| number(name, text)).collect()
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, Fault> {
    let bits = 8 * size_of::<T>();
    text.parse()
        .map_err(|_| Fault::Query(format!("{name} is {text:?}; it should be a number of {bits} bits")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_names_that_come_again() {
        let query = Query::of("keys=a&mids=1&keys=b%20c&mids=-9223372036854775808&keys=");
        assert_eq!(query.texts("keys"), Ok(vec!["a", "b c", ""]));
        assert_eq!(query.numbers::<i64>("mids"), Ok(vec![1, i64::MIN]));
        assert_eq!(query.texts("rooms"), Ok(Vec::new()));
    }

    #[test]
    fn numbers_have_a_size_and_may_be_left_out() {
        let query = Query::of("a=2147483647&b=2147483648&c=1e3&d=&e=+1&f=-5&a=7");
        assert_eq!(query.number::<i32>("a"), Ok(i32::MAX));
        for name in ["b", "c", "e"] {
            let Fault::Query(why) = query.number::<i32>(name).unwrap_err() else { panic!("{name}") };
            assert!(why.contains("32 bits"), "{why}");
        }
        assert_eq!((query.number::<i32>("d"), query.number::<i32>("z")), (Ok(0), Ok(0)));
        assert_eq!(query.required::<i32>("f"), Ok(-5));
        assert!(query.required::<i32>("d").is_err() && query.text("d").is_err());
        assert!(Query::of("mids=1&mids=x").numbers::<i64>("mids").is_err());
    }
}
