//! Ids of messages that grow with time: 41 bits of milliseconds, 10 of the machine, 12 of a counter.
//!
//! The original counts per worker, so two of its workers give out the same id; here one counter gives out all.

/// When time begins: 2014-12-21, in Unix seconds (45 years of 365 days).
const EPOCH_SECONDS: u64 = 45 * 365 * 86_400;

const MACHINE_BITS: u32 = 10;
const COUNTER_BITS: u32 = 12;

/// One id, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snowflake {
    /// Milliseconds since 2014-12-21.
    pub milliseconds: u64,
    /// The machine that gave it out.
    pub machine: u16,
    /// The place among those of the same millisecond.
    pub counter: u16,
}

impl Snowflake {
    /// Takes an id apart.
    #[must_use]
    pub const fn of(id: u64) -> Self {
        Self {
            milliseconds: id >> (MACHINE_BITS + COUNTER_BITS),
            machine: (id >> COUNTER_BITS & ((1 << MACHINE_BITS) - 1)) as u16,
            counter: (id & ((1 << COUNTER_BITS) - 1)) as u16,
        }
    }

    /// The id.
    #[must_use]
    pub const fn id(self) -> u64 {
        self.milliseconds << (MACHINE_BITS + COUNTER_BITS)
            | (self.machine as u64) << COUNTER_BITS
            | self.counter as u64
    }

    /// When it was given out, in Unix milliseconds.
    #[must_use]
    pub const fn unix_milliseconds(self) -> u64 {
        self.milliseconds + EPOCH_SECONDS * 1000
    }
}

/// Gives out the ids of one machine, each greater than the one before, also when the clock goes back.
#[derive(Clone, Debug)]
pub struct Snowflakes {
    last: Snowflake,
}

impl Snowflakes {
    /// Ids of `machine`, of which the low 10 bits count; the next is greater than `last`, which is 0 for a fresh start.
    #[must_use]
    pub const fn new(machine: u16, last: u64) -> Self {
        let Snowflake { milliseconds, counter, .. } = Snowflake::of(last);
        Self { last: Snowflake { milliseconds, machine: machine & ((1 << MACHINE_BITS) - 1), counter } }
    }

    /// The next id at the Unix time of so many milliseconds.
    pub fn next(&mut self, unix_milliseconds: u64) -> u64 {
        let now = unix_milliseconds.saturating_sub(EPOCH_SECONDS * 1000) & ((1 << 41) - 1);
        let Snowflake { milliseconds, machine, counter } = self.last;
        let is_full = counter == (1 << COUNTER_BITS) - 1;
        let (milliseconds, counter) = match now {
            now if now > milliseconds => (now, 0),
            // The millisecond's numbers are used up: the next one's are taken before its time.
            _ if is_full => (milliseconds + 1, 0),
            _ => (milliseconds, counter + 1),
        };
        self.last = Snowflake { milliseconds, machine, counter };
        self.last.id()
    }
}
