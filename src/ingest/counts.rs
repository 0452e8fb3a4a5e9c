//! What was taken in, and what was wrong with it: counters that are looked up once.

use std::cell::Cell;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use crate::metrics::ByKind;
use crate::metrics::ByReason;
use crate::metrics::Metrics;

macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($id:ident $label:literal $doc:literal;)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name {
            $(#[doc = $doc] $id,)*
        }

        impl $name {
            const ALL: &[(Self, &'static str)] = &[$((Self::$id, $label)),*];
        }
    };
}

labels! {
    /// What a line was.
    Kind {
        Json "json" "A JSON object without a header.";
        NginxAccess "nginx_access" "A line of nginx's access log.";
        NginxError "nginx_error" "A line of nginx's error log.";
        SyslogJson "syslog_json" "A syslog line with a JSON object, from elsewhere.";
        Syslog "syslog" "A syslog line with text, from elsewhere.";
        Text "text" "Text without a header.";
        Blank "blank" "Nothing: no record is written.";
    }
}

labels! {
    /// What was wrong with a line, or what had to be changed to make it a record.
    Fault {
        InvalidUtf8 "invalid_utf8" "Bytes that are no UTF-8 were replaced.";
        TooLong "too_long" "The line, or the record made of it, was cut.";
        BadJson "bad_json" "It begins like an object and is none: taken as text.";
        TooDeep "too_deep" "An object nested too deep: taken as text.";
        TooWide "too_wide" "An object with too many members: taken as text.";
        DuplicateKey "duplicate_key" "A key came twice: the last one was taken.";
        RenamedKey "renamed_key" "A key would collide with one of ours, and was renamed.";
        BadPriority "bad_priority" "No syslog priority between 0 and 191: taken as text.";
        Ambiguous "ambiguous" "An nginx error line that names more than one client: kept as text.";
    }
}

/// The counters.
#[derive(Debug)]
pub(super) struct Counts {
    lines: Vec<Counter>,
    faults: Vec<Counter>,
}

impl Counts {
    /// Those of `metrics`.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let line = |&(_, kind): &(Kind, _)| metrics.ingest_lines.get_or_create(&ByKind { kind }).clone();
        let fault =
            |&(_, reason): &(Fault, _)| metrics.ingest_faults.get_or_create(&ByReason { reason }).clone();
        Self { lines: Kind::ALL.iter().map(line).collect(), faults: Fault::ALL.iter().map(fault).collect() }
    }
}

/// What one socket has taken in and not counted yet: lines come in crowds, and a counter that all threads share costs
/// each of them more than the rest of a line.
#[derive(Debug)]
pub(super) struct Tally {
    counts: Arc<Counts>,
    lines: [Cell<u64>; Kind::ALL.len()],
    faults: [Cell<u64>; Fault::ALL.len()],
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        Self { counts, lines: Default::default(), faults: Default::default() }
    }

    /// One more with the same counters.
    pub(super) fn another(&self) -> Self {
        Self::new(Arc::clone(&self.counts))
    }

    /// Notes one line.
    pub(super) fn line(&self, kind: Kind) {
        if let Some(count) = self.lines.get(kind as usize) {
            count.update(|count| count + 1);
        }
    }

    /// Notes `times` of one fault.
    pub(super) fn fault(&self, fault: Fault, times: u64) {
        if let Some(count) = self.faults.get(fault as usize) {
            count.update(|count| count + times);
        }
    }

    /// Counts what was noted.
    pub(super) fn settle(&self) {
        let lines = self.counts.lines.iter().zip(&self.lines);
        for (counter, count) in lines.chain(self.counts.faults.iter().zip(&self.faults)) {
            let count = count.take();
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }
}
