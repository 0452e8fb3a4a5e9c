//! Finds the record at which a log server hangs up, so that one bad line does not stop all others for ever.
//!
//! A receiver of the acknowledged protocol that can not read a record closes the connection without a word, and gets
//! the same record again first thing on the next one. Several closes in a row before anything was acknowledged
//! raise the suspicion; then windows become smaller, one at a time, until one record is alone in its window. When
//! the log server hangs up on that one too, while it answered a probe before, the record is the culprit.
//!
//! It knows no sockets: whoever does says what happened and asks how large the next window may be.

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// Connections that ended in a row before anything was acknowledged.
    ends: u32,
    search: Option<Search>,
}

/// A search under way.
#[derive(Debug)]
struct Search {
    /// Records in a window now.
    size: usize,
    /// Records among which the culprit is.
    suspects: usize,
}

impl Suspicion {
    /// True while windows are small, one is under way at a time, and connections are probed before they are used.
    pub(super) fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// The most records that the next window may hold.
    pub(super) fn window_max(&self) -> usize {
        self.search.as_ref().map_or(usize::MAX, |search| search.size)
    }

    /// Records were acknowledged.
    pub(super) fn acknowledged(&mut self, records: usize) {
        self.ends = 0;
        if let Some(search) = &mut self.search {
            search.suspects = search.suspects.saturating_sub(records);
            if search.suspects == 0 {
                self.search = None;
            }
        }
    }

    /// The log server ended the connection; `records` were in the first window that it had not acknowledged. True
    /// when the first of them is the culprit.
    pub(super) fn hung_up(&mut self, records: usize) -> bool {
        self.ends += 1;
        match &mut self.search {
            None if self.ends >= ENDS_MAX => {
                self.search = Some(Search { size: records.div_ceil(2), suspects: records });
                self.ends = 0;
            }
            None => {}
            Some(search) if records > 1 => {
                *search = Search { size: records.div_ceil(2), suspects: records };
                self.ends = 0;
            }
            Some(_) if self.ends >= LONE_ENDS_MAX => {
                *self = Self::default();
                return true;
            }
            Some(_) => {}
        }
        false
    }
}

/// Ends in a row that are a log server's own misfortune; one more is suspicious.
const ENDS_MAX: u32 = 3;

/// Ends over one lone record that condemn it.
const LONE_ENDS_MAX: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// A log server that hangs up on one record of `records`; gives the one that is condemned, and after how many
    /// connections.
    fn condemned(records: usize, culprit: usize) -> (usize, u32) {
        let (mut suspicion, mut first, mut connections) = (Suspicion::default(), 0, 0);
        loop {
            connections += 1;
            assert!(connections < 100, "{records} {culprit}");
            loop {
                let window = (records - first).min(suspicion.window_max());
                if (first..first + window).contains(&culprit) {
                    if suspicion.hung_up(window) {
                        return (first, connections);
                    }
                    break;
                }
                suspicion.acknowledged(window);
                first += window;
            }
        }
    }

    #[test]
    fn the_culprit_is_found_wherever_it_is_and_soon() {
        for records in [1, 2, 3, 7, 200] {
            for culprit in 0..records {
                let (found, connections) = condemned(records, culprit);
                assert_eq!(found, culprit, "among {records}");
                assert!(connections <= 3 + 8 + 2, "{connections} connections for {records}");
            }
        }
    }

    #[test]
    fn a_log_server_that_dies_now_and_then_accuses_nobody() {
        let mut suspicion = Suspicion::default();
        for _ in 0..50 {
            assert!(!suspicion.hung_up(100) && !suspicion.hung_up(100));
            suspicion.acknowledged(1);
            assert!(!suspicion.is_searching());
        }
    }

    #[test]
    fn a_search_ends_when_all_suspects_are_acknowledged() {
        let mut suspicion = Suspicion::default();
        (0..3).for_each(|_| assert!(!suspicion.hung_up(100)));
        assert_eq!(suspicion.window_max(), 50);
        suspicion.acknowledged(50);
        assert!(suspicion.is_searching());
        suspicion.acknowledged(50);
        assert_eq!(suspicion.window_max(), usize::MAX);
    }
}
