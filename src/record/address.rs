//! IP addresses as text, as the standard library prints them, without its formatter: that costs as much as the rest of
//! a record.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// The longest one: eight groups of four digits, seven colons.
pub(super) const LENGTH_MAX: usize = 39;

/// Appends `address`.
pub(super) fn address_into(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => four_into(out, address),
        IpAddr::V6(address) => six_into(out, address),
    }
}

fn four_into(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

fn six_into(out: &mut Vec<u8>, address: Ipv6Addr) {
    if let Some(four) = address.to_ipv4_mapped() {
        out.extend_from_slice(b"::ffff:");
        return four_into(out, four);
    }
    let groups = address.segments();
    let (at, length) = longest_zeros(&groups);
    let (before, rest) = groups.split_at_checked(at).unwrap_or((&groups, &[]));
    groups_into(out, before);
    if length > 0 {
        out.extend_from_slice(b"::");
        groups_into(out, rest.get(length..).unwrap_or_default());
    }
}

/// Where the longest run of at least two zeros begins, the first of several, and how long it is.
fn longest_zeros(groups: &[u16; 8]) -> (usize, usize) {
    let (mut longest, mut length) = ((groups.len(), 0), 0);
    for (index, group) in groups.iter().enumerate() {
        length = if *group == 0 { length + 1 } else { 0 };
        if length > longest.1.max(1) {
            longest = (index + 1 - length, length);
        }
    }
    longest
}

fn groups_into(out: &mut Vec<u8>, groups: &[u16]) {
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            out.push(b':');
        }
        for shift in [12, 8, 4, 0] {
            if shift == 0 || group >> shift > 0 {
                let digit = u8::try_from(group >> shift & 15).unwrap_or(0);
                out.push(if digit < 10 { b'0' + digit } else { b'a' + (digit - 10) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(address: IpAddr) -> String {
        let mut out = Vec::new();
        address_into(&mut out, address);
        assert!(out.len() <= LENGTH_MAX);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_longest_zeros_are_left_out() {
        for text in [
            "::",
            "::1",
            "1::",
            "1:0:0:2::3",
            "1:0:2:3:4:5:6:7",
            "fe80::1:0:0:1",
            "::ffff:192.0.2.1",
            "::1.2.3.4",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(printed(address), address.to_string());
        }
    }

    proptest! {
        #[test]
        fn any_address_is_printed_as_the_standard_library_does(octets: [u8; 4], groups: [u16; 8], zeros: u8) {
            let four = IpAddr::from(octets);
            prop_assert_eq!(printed(four), four.to_string());
            let mut groups = groups;
            groups.iter_mut().enumerate().filter(|(index, _)| zeros >> index & 1 == 1).for_each(|(_, group)| *group = 0);
            let six = IpAddr::from(groups);
            prop_assert_eq!(printed(six), six.to_string());
        }
    }
}
