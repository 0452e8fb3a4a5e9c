//! stub
#![allow(missing_docs, clippy::unwrap_used, clippy::needless_pass_by_value, reason = "stub")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    Overflow,
}
impl DropCause {
    pub fn as_str(self) -> &'static str {
        "overflow"
    }
}
#[derive(Clone, Debug)]
pub struct Dropped {
    pub cause: DropCause,
}
#[derive(Clone, Debug)]
pub struct Gap {
    pub records: u64,
    pub bytes: u64,
    pub first_sequence: Option<u64>,
    pub last_sequence: Option<u64>,
    pub cause: DropCause,
}
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub flush_limit: usize,
    pub drop_limit: usize,
    pub max_line: usize,
}
#[derive(Debug)]
pub struct Chunk(Vec<u8>);
impl Chunk {
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
#[derive(Debug)]
pub struct Buffer {
    lines: std::sync::Mutex<Vec<u8>>,
}
impl Buffer {
    pub fn new(_limits: Limits) -> Self {
        Self { lines: std::sync::Mutex::default() }
    }
    pub fn log_numbered(&self, record: &[u8], _sequence: u64) -> Result<usize, Dropped> {
        self.lines.lock().unwrap().extend_from_slice(record);
        Ok(record.len())
    }
    pub fn take(&self) -> Option<Chunk> {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        (!lines.is_empty()).then_some(Chunk(lines))
    }
    pub fn take_gap(&self) -> Option<Gap> {
        None
    }
    pub fn restore_gap(&self, _gap: Gap) {}
}
