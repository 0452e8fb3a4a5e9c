//! What the sink prints: lines, counts, complaints and totals.

use std::fmt;
use std::io;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use super::COMPLAINTS;
use super::Options;
use super::PATIENCE;
use super::Show;
use super::check::Fault;
use super::check::Record;
use super::check::word;
use super::faults::Happened;
use super::faults::Script;
use super::intake::Batch;
use super::intake::Ending;
use super::intake::Item;
use super::pretty;
use super::sequences::Ids;
use super::sequences::Missing;
use super::sequences::Sequences;
use super::sequences::Sight;
use crate::wire::syslog::Dialect;

/// What came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Lines, bad ones included.
    pub lines: u64,
    /// Their bytes, line breaks included.
    pub bytes: u64,
    /// Lines that Logstash would not take.
    pub bad: u64,
    /// Records that never came, by their numbers.
    pub missing: u64,
    /// Records that came more than once.
    pub repeated: u64,
    /// Records that the sender itself said it had lost.
    pub lost: u64,
    /// Connections that ended for what they sent.
    pub broken: u64,
    /// What went wrong on purpose.
    pub faults: Happened,
}

/// Prints and counts.
pub(super) struct Report<O, C> {
    show: Show,
    colour: bool,
    max_line: usize,
    out: O,
    complaints: C,
    totals: Totals,
    counted: Totals,
    complained: u64,
    sequences: Sequences,
    ids: Ids,
    dialect: Option<Dialect>,
    script: Option<Arc<Script>>,
    text: String,
}

impl<O: Write, C: Write> Report<O, C> {
    pub(super) fn new(options: &Options, script: Option<Arc<Script>>, (out, complaints): (O, C)) -> Self {
        let Options { show, colour, max_line, .. } = *options;
        Self {
            show,
            colour,
            max_line,
            out,
            complaints,
            totals: Totals::default(),
            counted: Totals::default(),
            complained: 0,
            sequences: Sequences::default(),
            ids: Ids::default(),
            dialect: options.format.dialect(),
            script,
            text: String::new(),
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let faults = self.script.as_ref().map(|script| script.happened()).unwrap_or_default();
        Totals { faults, ..self.totals }
    }

    /// Takes what a reader handed on.
    pub(super) fn item(&mut self, item: Item, now: Instant) -> io::Result<()> {
        match item {
            Item::Lines(batch) => {
                let bad = self.totals.bad;
                self.batch(&batch, now)?;
                if let Some(verdict) = batch.verdict {
                    // A connection that has gone does not want to know any more.
                    verdict.send(self.totals.bad == bad).unwrap_or_default();
                }
            }
            Item::Complaint(complaint) => {
                self.totals.broken += 1;
                self.complain_often(&complaint);
            }
        }
        Ok(())
    }

    /// Takes a batch of lines that ended in one way.
    fn batch(&mut self, batch: &Batch, now: Instant) -> io::Result<()> {
        self.totals.bytes += u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
        let whole = batch.bytes.strip_suffix(b"\n").unwrap_or(&batch.bytes);
        for line in whole.split(|&byte| byte == b'\n') {
            self.line(line, batch.ending, now)?;
        }
        self.out.flush()
    }

    /// Closes a second: counts, and what is missing.
    pub(super) fn tick(&mut self, now: Instant) -> io::Result<()> {
        for missing in self.sequences.settle(now, PATIENCE) {
            self.missing(&missing);
        }
        let silent = self.complained.saturating_sub(COMPLAINTS);
        self.complained = 0;
        if silent > 0 {
            self.complain(&format!("and {silent} more complaints within a second"));
            self.complained = 0;
        }
        if self.show == Show::Counts {
            let (all, before) = (self.totals, self.counted);
            let (lines, bytes) = (all.lines - before.lines, all.bytes - before.bytes);
            writeln!(self.out, "{lines} lines {bytes} bytes {} bad", all.bad - before.bad)?;
            self.counted = all;
            self.out.flush()?;
        }
        Ok(())
    }

    /// Says what is missing, and the totals.
    pub(super) fn end(&mut self) -> io::Result<()> {
        // Nothing late can come any more.
        let now = crate::clock::now();
        for missing in self.sequences.settle(now, std::time::Duration::ZERO) {
            self.missing(&missing);
        }
        let Totals { lines, bytes, bad, missing, repeated, lost, broken, faults } = self.totals();
        self.complain(&format!(
            "total: {lines} lines, {bytes} bytes, {bad} bad, {missing} missing, {repeated} repeated, {lost} lost by \
             the sender"
        ));
        if broken > 0 {
            self.complain(&format!("connections that ended for what they sent: {broken}"));
        }
        if self.script.is_some() {
            self.complain(&format!("faults on purpose: {faults}"));
        }
        self.out.flush()
    }

    fn line(&mut self, line: &[u8], ending: Ending, now: Instant) -> io::Result<()> {
        self.totals.lines += 1;
        if self.show == Show::Lines {
            self.out.write_all(line)?;
            self.out.write_all(b"\n")?;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let record = match ending {
            Ending::Torn => Err(Fault::Torn),
            Ending::Whole | Ending::Foreign if line.len() <= self.max_line => {
                Record::read_behind(line, self.dialect)
            }
            Ending::Whole | Ending::Foreign | Ending::TooLong => Err(Fault::TooLong),
        };
        match record {
            Ok(record) => self.record(&record, now),
            Err(_) if ending == Ending::Foreign => {
                self.totals.bad += 1;
                Ok(())
            }
            Err(fault) => {
                self.bad(line, &fault);
                Ok(())
            }
        }
    }

    fn record(&mut self, record: &Record<'_>, now: Instant) -> io::Result<()> {
        let sight = match (record.place(), record.event_id) {
            (Some((boot_id, number)), _) => self.sequences.saw(&boot_id, number, now),
            (None, Some(id)) if !self.ids.saw(id.get()) => Sight::Repeated,
            (None, _) => Sight::New,
        };
        match sight {
            Sight::New => {}
            Sight::Found => self.totals.missing = self.totals.missing.saturating_sub(1),
            Sight::Repeated => self.totals.repeated += 1,
        }
        if record.is_gap() {
            let lines = record.gap_lines.and_then(|lines| lines.get().parse().ok()).unwrap_or(0_u64);
            self.totals.lost = self.totals.lost.saturating_add(lines);
            if self.show != Show::Pretty {
                let cause = record.gap_cause.map_or("?".into(), word);
                self.complain(&format!("log_gap: the sender lost {lines} records: {}", cause.escape_debug()));
            }
        }
        if self.show == Show::Pretty {
            self.text.clear();
            pretty::show(&mut self.text, record, self.colour);
            self.text.push('\n');
            self.out.write_all(self.text.as_bytes())?;
        }
        Ok(())
    }

    fn bad(&mut self, line: &[u8], fault: &Fault) {
        self.totals.bad += 1;
        let start = line.get(..EXCERPT).unwrap_or(line);
        let dots = if start.len() < line.len() { "..." } else { "" };
        self.complain_often(&format_args!("bad line: {fault}: \"{}{dots}\"", start.escape_ascii()));
    }

    /// Complains of what may happen any number of times.
    fn complain_often(&mut self, text: &dyn fmt::Display) {
        self.complained += 1;
        if self.complained <= COMPLAINTS {
            self.complain(&text.to_string());
        }
    }

    fn missing(&mut self, missing: &Missing) {
        let records = missing.records();
        self.totals.missing = self.totals.missing.saturating_add(records);
        let Missing { boot_id, first, last } = missing;
        self.complain(&format!(
            "gap: {records} records missing: numbers {first} to {last} of run {}",
            boot_id.escape_debug()
        ));
    }

    /// A complaint that can not be printed is lost: there is no better place for it.
    fn complain(&mut self, text: &str) {
        writeln!(self.complaints, "{text}").unwrap_or_default();
    }
}

/// How much of a bad line is shown.
const EXCERPT: usize = 80;
