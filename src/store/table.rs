//! The tables of the store: a closed set, each with a number that is on disk and is never given twice.

/// Declares [`Table`]: a doc, a name, its number on disk, and its name in the file and in reports.
macro_rules! tables {
    ($($(#[doc = $doc:literal])+ $table:ident = $code:literal $name:literal,)*) => {
        /// A named table.
        ///
        /// What its keys and values are is the business of whoever writes it; the lines here say what it is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Table {
            $($(#[doc = $doc])+ $table = $code,)*
        }

        impl Table {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$table),*];

            /// The name in the file and in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$table => $name,)*
                }
            }

            /// The table with this number on disk.
            pub(super) const fn of(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$table),)*
                    _ => None,
                }
            }
        }
    };
}

tables! {
    /// Rooms: where each stands in its stream.
    Rooms = 1 "rooms",
    /// Publications of rooms, by room and offset.
    Publications = 2 "publications",
    /// Keys of idempotency, and what was answered.
    Keys = 3 "keys",
    /// What is known of users.
    Users = 4 "users",
    /// How far users have read, by user and room.
    Reads = 5 "reads",
    /// Members of rooms that outlive their sessions.
    Members = 6 "members",
    /// Messages to users who were not there.
    Inbox = 7 "inbox",
    /// Rules of namespaces that were changed while the daemon ran.
    Namespaces = 8 "namespaces",
    /// Shops, their staff and their customers.
    Shops = 9 "shops",
    /// Who may not come in.
    Bans = 10 "bans",
    /// Messages of chats, by their id.
    Messages = 11 "messages",
    /// Files that were uploaded.
    Uploads = 12 "uploads",
    /// Events of the message centre.
    Events = 13 "events",
    /// What is to be delivered, by subscription.
    Deliveries = 14 "deliveries",
    /// Classes, senders and subscriptions that were changed while the daemon ran.
    Catalogue = 15 "catalogue",
}

impl Table {
    /// The number on disk.
    pub(super) const fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_given_once_and_lead_back() {
        let codes: BTreeSet<u8> = Table::ALL.iter().map(|table| table.code()).collect();
        let names: BTreeSet<&str> = Table::ALL.iter().map(|table| table.name()).collect();
        assert_eq!((codes.len(), names.len()), (Table::ALL.len(), Table::ALL.len()));
        assert!(Table::ALL.iter().all(|table| Table::of(table.code()) == Some(*table)));
        assert_eq!(Table::of(0), None);
    }
}
