//! What one round of deliveries comes to, and rows of such rounds.

use std::thread;
use std::time::Duration;

use pillion::clock;

use crate::child::Child;
use crate::child::Spent;
use crate::publisher::Pace;
use crate::publisher::Publisher;
use crate::subscribers::Subscribers;

/// The length of a message in bytes, its quotes included, where nothing else is said.
pub(crate) const MESSAGE: usize = 100;

/// Publications without an answer when they have no pace.
pub(crate) const IN_FLIGHT: usize = 4;

/// What one round of deliveries came to.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    /// Microseconds for each delivery.
    pub(crate) cpu: f64,
    user: f64,
    rate: f64,
    p50: f64,
    p99: f64,
    pub(crate) lost: u64,
    pub(crate) disordered: u64,
}

/// Somebody who publishes, those who receive it, and the processes between them.
pub(crate) struct Scene<'a> {
    pub(crate) children: Vec<&'a Child>,
    pub(crate) publisher: Publisher,
    pub(crate) subscribers: Subscribers,
}

impl Scene<'_> {
    /// Publishes for `time` until everybody has everything.
    pub(crate) fn round(&mut self, pace: Pace, time: Duration) -> Round {
        let (spent, begin) = (self.spent(), clock::now());
        let mut received = self.subscribers.receive(&mut self.publisher, pace, time);
        let took = begin.elapsed();
        let spent = self.spent() - spent;
        received.delays.sort_unstable();
        let deliveries = received.delays.len();
        let each = |time: Duration| time.as_secs_f64() * 1e6 / deliveries as f64;
        let quantile = |percent: usize| {
            let nearest = received.delays.get((deliveries * percent / 100).min(deliveries.saturating_sub(1)));
            nearest.map_or(f64::NAN, |delay| f64::from(*delay) / 1e3)
        };
        Round {
            cpu: each(spent.total),
            user: each(spent.total) * spent.user(),
            rate: deliveries as f64 / took.as_secs_f64(),
            p50: quantile(50),
            p99: quantile(99),
            lost: received.lost,
            disordered: received.disordered,
        }
    }

    fn spent(&self) -> Spent {
        self.children.iter().map(|child| child.spent()).reduce(|all, one| all + one).unwrap()
    }
}

/// Prints the heads of the columns of [`row`].
pub(crate) fn heads() {
    println!(
        "{:<30} {:>9} {:>9} {:>12} {:>9} {:>9} {:>6} {:>10}",
        "", "CPU us", "of it user", "deliveries/s", "p50 ms", "p99 ms", "lost", "disordered"
    );
}

/// Prints the medians of rounds, and what all of them lost or got in disorder.
pub(crate) fn row(name: &str, rounds: &[Round]) {
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
    let sum = |value: fn(&Round) -> u64| rounds.iter().map(value).sum::<u64>();
    println!(
        "{name:<30} {:>9.2} {:>10.2} {:>12.0} {:>9.2} {:>9.2} {:>6} {:>10}",
        of(|round| round.cpu),
        of(|round| round.user),
        of(|round| round.rate),
        of(|round| round.p50),
        of(|round| round.p99),
        sum(|round| round.lost),
        sum(|round| round.disordered),
    );
}

/// Prints the medians of the ratios of rounds that followed each other.
pub(crate) fn ratios(name: &str, rounds: &[Round], base: &[Round]) {
    let of = |value: fn(&Round) -> f64| {
        median(rounds.iter().zip(base).map(|(round, base)| value(round) / value(base)))
    };
    let (cpu, rate) = (of(|round| round.cpu), of(|round| round.rate));
    let (p50, p99) = (of(|round| round.p50), of(|round| round.p99));
    println!("{name:<30} {cpu:>9.2} {:>10} {rate:>12.2} {p50:>9.2} {p99:>9.2}", "");
}

/// The value in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Does nothing for a while.
pub(crate) fn pause(time: Duration) {
    let until = clock::now() + time;
    while let Some(left) = until.checked_duration_since(clock::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}
