//! The room of two people, as openresty-im names it.

use std::cmp::Ordering;

use crate::wire::orim;

/// The room of a shop and a customer: `live://`, the numerically smaller first, with nothing between them.
///
/// Two names that are no numbers are in the order of their letters, and a number comes before a name.
#[must_use]
pub fn room_of(shop: &str, mid: &str) -> String {
    let customer_is_greater = match (digits(mid), digits(shop)) {
        (Some(mid), Some(shop)) => mid.len().cmp(&shop.len()).then_with(|| mid.cmp(shop)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => mid.cmp(shop),
    } == Ordering::Greater;
    let (first, second) = if customer_is_greater { (shop, mid) } else { (mid, shop) };
    format!("{}{first}{second}", orim::ROOM_TYPE)
}

/// The digits of a number without leading zeros; none when it is none. Its length has no limit.
fn digits(text: &str) -> Option<&str> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numerically_smaller_comes_first() {
        for (shop, mid, room) in [
            ("8000", "202405211", "live://8000202405211"),
            ("202405211", "8000", "live://8000202405211"),
            ("9", "10", "live://910"),
            ("8000", "8000", "live://80008000"),
            ("8000", "18446744073709551616", "live://800018446744073709551616"),
            ("8000", "alice", "live://8000alice"),
            ("alice", "8000", "live://8000alice"),
            ("bob", "alice", "live://alicebob"),
        ] {
            assert_eq!(room_of(shop, mid), room);
        }
    }
}
