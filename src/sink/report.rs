//! What the sink prints: lines, counts, complaints and totals.

use std::io;
use std::io::Write;
use std::time::Instant;

use super::COMPLAINTS;
use super::Options;
use super::PATIENCE;
use super::Show;
use super::check::Fault;
use super::check::Record;
use super::check::word;
use super::intake::Batch;
use super::intake::Ending;
use super::pretty;
use super::sequences::Missing;
use super::sequences::Sequences;

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
    text: String,
}

impl<O: Write, C: Write> Report<O, C> {
    pub(super) fn new(options: &Options, out: O, complaints: C) -> Self {
        let (totals, counted) = (Totals::default(), Totals::default());
        let (sequences, text) = (Sequences::default(), String::new());
        let Options { show, colour, max_line, .. } = *options;
        Self { show, colour, max_line, out, complaints, totals, counted, complained: 0, sequences, text }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Takes a batch of lines that ended in one way.
    pub(super) fn batch(&mut self, batch: &Batch, now: Instant) -> io::Result<()> {
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
            self.complain(&format!("and {silent} more bad lines within a second"));
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
        let Totals { lines, bytes, bad, missing, repeated, lost } = self.totals;
        self.complain(&format!(
            "total: {lines} lines, {bytes} bytes, {bad} bad, {missing} missing, {repeated} repeated, {lost} lost by \
             the sender"
        ));
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
            Ending::Whole if line.len() <= self.max_line => Record::read(line),
            Ending::Whole | Ending::TooLong => Err(Fault::TooLong),
        };
        match record {
            Ok(record) => self.record(&record, now),
            Err(fault) => {
                self.bad(line, &fault);
                Ok(())
            }
        }
    }

    fn record(&mut self, record: &Record<'_>, now: Instant) -> io::Result<()> {
        if let Some((boot_id, number)) = record.place()
            && !self.sequences.saw(&boot_id, number, now)
        {
            self.totals.repeated += 1;
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
        self.complained += 1;
        if self.complained <= COMPLAINTS {
            let start = line.get(..EXCERPT).unwrap_or(line);
            let dots = if start.len() < line.len() { "..." } else { "" };
            self.complain(&format!("bad line: {fault}: \"{}{dots}\"", start.escape_ascii()));
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
