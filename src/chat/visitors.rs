//! Ids for customers who come without one: the day and a number, as the original gives them.
//!
//! An id is given when it is written down that it was, so that no restart gives it to another customer. The day is that
//! of UTC.

use serde::Deserialize;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::chat::Error;
use crate::store::Batch;
use crate::store::Key;
use crate::store::Store;
use crate::store::Table;

/// The numbers of today.
#[derive(Debug, Default)]
pub(super) struct Visitors {
    today: Mutex<Option<Today>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Today {
    #[serde(rename = "d")]
    day: String,
    #[serde(rename = "n")]
    number: u64,
}

impl Visitors {
    /// The next id.
    pub(super) async fn next(&self, store: &Store, unix_ms: u64) -> Result<String, Error> {
        let key = Key::new().text("visitors");
        let day = day(unix_ms);
        let mut today = self.today.lock().await;
        let former = match today.take() {
            Some(today) => Some(today),
            None => store.read(Table::Shops, &key)?.and_then(|kept| serde_json::from_slice(&kept).ok()),
        };
        // A clock that goes back does not give the ids of yesterday again.
        let next = match former {
            Some(former) if former.day >= day => Today { number: former.number + 1, ..former },
            Some(_) | None => Today { day, number: 1 },
        };
        let mut batch = Batch::new();
        batch.put(Table::Shops, &key, serde_json::to_vec(&next).expect("a text and a number can be written"));
        // Even when it is not known whether it was written, the number is not given again.
        let id = format!("{}{}", next.day, next.number);
        *today = Some(next);
        store.submit(batch)?.await?;
        Ok(id)
    }
}

/// The day as `yyyymmdd`.
fn day(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%Y%m%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_eight_digits() {
        assert_eq!(day(1_795_217_939_404), "20261120");
        assert_eq!(day(u64::MAX), "19700101");
    }
}
