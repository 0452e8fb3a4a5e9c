//! stub
#![allow(missing_docs, reason = "stub")]
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
#[derive(Debug, Default)]
pub struct Buffer {
    pub lines: std::sync::Mutex<Vec<u8>>,
}
impl Buffer {
    pub fn log_numbered(&self, record: &[u8], _sequence: u64) -> Result<usize, Dropped> {
        self.lines.lock().unwrap().extend_from_slice(record);
        Ok(record.len())
    }
    pub fn take_gap(&self) -> Option<Gap> {
        None
    }
    pub fn restore_gap(&self, _gap: Gap) {}
}
