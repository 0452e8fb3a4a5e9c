//! What the program says of itself: `tracing` events on stderr, and as records in the log.
//!
//! Actions are not events: they are written by the trail, which costs a tenth. An event becomes a record with the
//! action `diagnostic`, its level, its target, its fields and its message; the fields `session_id`, `room_id` and
//! `user_id` of the spans around it come along, the innermost first.
//!
//! [`Layer`] can be put into the subscriber of any program. What the shipper says is never shipped: a failing
//! receiver would feed itself. An event that is caused by the writing of a record is not written either, it would
//! never end. Both still reach stderr.
//!
//! Limits: a text field is cut at [`VALUE_MAX`] bytes, a record at `logger.max_line`.

use std::cell::Cell;
use std::fmt;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use tracing::Event;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt as stderr;
use tracing_subscriber::layer::Context;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;

use crate::clock;
use crate::config;
use crate::config::LogFormat;
use crate::record;
use crate::record::Level;
use crate::record::Line;
use crate::record::escape_into;
use crate::trail::Action;
use crate::trail::Trail;

/// The longest text of one field in bytes; the message may be longer.
pub const VALUE_MAX: usize = 8 * 1024;

/// What is said under this target, and below it, is never shipped.
const UNSHIPPED: &str = "pillion::logger";

/// Why diagnostics can not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process has a subscriber already.
    #[error("diagnostics are set up already: use the layer in the program's own subscriber")]
    Installed(#[source] tracing::subscriber::SetGlobalDefaultError),
    /// The subscriber has gone.
    #[error("the level can not be changed")]
    Reload(#[source] reload::Error),
}

/// Changes diagnostics while the program runs.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    filter: reload::Handle<Targets, Registry>,
    ship: Arc<AtomicBool>,
}

impl Diagnostics {
    /// Puts the level and the shipping of `config` in force; the format stays as it was at the start.
    ///
    /// # Errors
    /// When the subscriber has gone.
    pub fn reload(&self, config: &config::Log) -> Result<(), Error> {
        self.ship.store(config.ship, Relaxed);
        self.filter.reload(targets(config.level)).map_err(Error::Reload)
    }
}

/// Sends the diagnostics of this process to stderr and, with `log.ship`, to `trail`.
///
/// # Errors
/// When the process has a subscriber already.
pub fn init(config: &config::Log, trail: Arc<Trail>) -> Result<Diagnostics, Error> {
    let (subscriber, diagnostics) = subscriber(config, trail);
    tracing::subscriber::set_global_default(subscriber).map_err(Error::Installed)?;
    Ok(diagnostics)
}

fn subscriber(config: &config::Log, trail: Arc<Trail>) -> (Box<dyn Subscriber + Send + Sync>, Diagnostics) {
    let (filter, handle) = reload::Layer::new(targets(config.level));
    let layer = Layer::new(trail);
    layer.ship.store(config.ship, Relaxed);
    let diagnostics = Diagnostics { filter: handle, ship: Arc::clone(&layer.ship) };
    let subscriber = Registry::default().with(filter).with(layer);
    let ansi = std::io::stderr().is_terminal();
    // A closed stderr is no reason to stop, and nothing could be said about it anyway.
    let text = stderr::layer().with_writer(std::io::stderr).with_ansi(ansi).log_internal_errors(false);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match config.format {
        LogFormat::Text => Box::new(subscriber.with(text)),
        LogFormat::Json => Box::new(subscriber.with(text.json().flatten_event(true))),
    };
    (subscriber, diagnostics)
}

/// The level for our own events; the libraries below us say only what is wrong.
fn targets(level: config::Level) -> Targets {
    let level = match level {
        config::Level::Error => LevelFilter::ERROR,
        config::Level::Warn => LevelFilter::WARN,
        config::Level::Info => LevelFilter::INFO,
        config::Level::Debug => LevelFilter::DEBUG,
        config::Level::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_target("pillion", level).with_default(level.min(LevelFilter::WARN))
}

/// Turns events into records.
#[derive(Clone, Debug)]
pub struct Layer {
    trail: Arc<Trail>,
    ship: Arc<AtomicBool>,
}

impl Layer {
    /// A layer that writes to `trail`.
    #[must_use]
    pub fn new(trail: Arc<Trail>) -> Self {
        Self { trail, ship: Arc::new(AtomicBool::new(true)) }
    }
}

thread_local! {
    /// True while this thread turns an event into a record.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// Holds [`WRITING`] up, also when a value panics while it is printed.
struct Writing;

impl Writing {
    fn begin() -> Option<Self> {
        (!WRITING.replace(true)).then_some(Self)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.set(false);
    }
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if NAMES.iter().all(|field| attributes.fields().field(field.name).is_none()) {
            return;
        }
        let mut subject = Subject::default();
        attributes.record(&mut subject);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(subject);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(subject) = span.extensions_mut().get_mut::<Subject>() {
            values.record(subject);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let target = event.metadata().target();
        if !self.ship.load(Relaxed) || target.starts_with(UNSHIPPED) {
            return;
        }
        let Some(_writing) = Writing::begin() else { return };
        let mut subject = Subject::default();
        event.record(&mut subject);
        if let Some(scope) = context.event_scope(event) {
            for span in scope {
                if let Some(outer) = span.extensions().get::<Subject>() {
                    subject.inherit(outer);
                }
            }
        }
        let level = level_of(*event.metadata().level());
        self.trail.relay(Some(clock::wall()), Some(Action::Diagnostic), Some(level), |line| {
            line.text(record::TARGET, target);
            for (field, value) in NAMES.into_iter().zip(&subject.0) {
                line.maybe(field, value.as_deref());
            }
            event.record(&mut Fields { line, text: String::new(), json: Vec::new() });
            event.record(&mut Message(line));
        });
    }
}

fn level_of(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

/// The fields that spans hand down to the events within.
const NAMES: [record::Field; 3] = [record::SESSION_ID, record::ROOM_ID, record::USER_ID];

/// Whom a span or an event is about: the values of [`NAMES`].
#[derive(Debug, Default)]
struct Subject([Option<String>; 3]);

impl Subject {
    /// Takes from `outer` what is not known yet.
    fn inherit(&mut self, outer: &Self) {
        for (own, outer) in self.0.iter_mut().zip(&outer.0) {
            if own.is_none() {
                own.clone_from(outer);
            }
        }
    }

    fn set(&mut self, field: &Field, value: impl FnOnce() -> String) {
        let named = NAMES.iter().zip(&mut self.0).find(|(known, _)| known.name == field.name());
        if let Some((_, own)) = named {
            *own = Some(value());
        }
    }
}

impl Visit for Subject {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, || value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, || format!("{value:?}"));
    }
}

/// Writes the message.
struct Message<'l, 'o>(&'l mut Line<'o>);

impl Visit for Message<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == record::MESSAGE.name {
            self.0.text(record::MESSAGE, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == record::MESSAGE.name {
            self.0.text(record::MESSAGE, &format!("{value:?}"));
        }
    }
}

/// Writes every field but the message and those of [`NAMES`].
struct Fields<'l, 'o> {
    line: &'l mut Line<'o>,
    text: String,
    json: Vec<u8>,
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let name = field.name();
        if name == record::MESSAGE.name || NAMES.iter().any(|known| known.name == name) {
            return;
        }
        self.json.clear();
        self.json.push(b'"');
        if !escape_into(&mut self.json, value, VALUE_MAX) {
            self.line.mark_cut();
        }
        self.json.push(b'"');
        if name == "error" {
            // `%error` is the habit in code, but an index keeps an object under that name.
            self.line.foreign(record::ERR.name, &self.json);
        } else {
            // The index maps `labels` as one field of any names, so that no program can widen the mapping.
            self.line.foreign(&format!("{}.{name}", record::LABELS.name), &self.json);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        // Writing into a string does not fail; a value that refuses to be printed is left out.
        if write!(text, "{value:?}").is_ok() {
            self.record_str(field, &text);
        }
        self.text = text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;
    use crate::buffer::Limits;
    use crate::config::TokenMode;
    use crate::metrics::Metrics;
    use crate::record::Origin;
    use crate::trail::Style;
    use serde_json::Value;
    use tracing::subscriber::with_default;

    const CONFIG: config::Log = config::Log {
        level: config::Level::Info,
        format: LogFormat::Json,
        ship: true,
        token: TokenMode::Hashed,
        legacy_fields: false,
        samples: Vec::new(),
    };

    fn trail() -> (Arc<Trail>, Arc<Buffer>) {
        let buffer =
            Arc::new(Buffer::new(Limits { flush_limit: 1 << 20, drop_limit: 1 << 26, max_line: 1 << 16 }));
        let style = Style { plain_tokens: false, legacy_fields: false, max_line: 1 << 16 };
        let sinks = (Arc::clone(&buffer), Arc::new(Metrics::new()));
        (Arc::new(Trail::new(Origin::new("n", "b"), style, clock::wall, sinks)), buffer)
    }

    fn records(buffer: &Buffer) -> Vec<Value> {
        let mut bytes = Vec::new();
        while let Some(chunk) = buffer.take() {
            bytes.extend_from_slice(chunk.bytes());
        }
        let text = String::from_utf8(bytes).unwrap();
        let mut records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for record in &mut records {
            let record = record.as_object_mut().unwrap();
            for own in ["@timestamp", "node", "boot_id", "log.sequence", "event.id"] {
                assert!(record.remove(own).is_some(), "{own}");
            }
            assert_eq!(record.remove("action"), Some("diagnostic".into()));
        }
        records
    }

    fn check(say: impl FnOnce(), expected: &[Value]) {
        let (trail, buffer) = trail();
        with_default(Registry::default().with(Layer::new(trail)), say);
        assert_eq!(records(&buffer), expected);
    }

    #[test]
    fn an_event_becomes_a_record_with_its_fields() {
        let error = std::io::Error::other("too \"bad\"");
        check(
            || {
                tracing::warn!(target: "t", count = 3, ratio = 0.5, odd = f64::NAN, on = true, minus = -1, %error,
                    node = "x", log.level = 1, path = ?"p", "it {}\n", "happened");
            },
            &[serde_json::json!({
                "log.level": "warn", "log.target": "t", "labels.count": "3", "labels.ratio": "0.5",
                "labels.odd": "NaN", "labels.on": "true", "labels.minus": "-1", "err": "too \"bad\"",
                "labels.node": "x", "labels.log.level": "1", "labels.path": "\"p\"",
                "message": "it happened\n",
            })],
        );
    }

    #[test]
    fn ids_come_from_the_spans_around_the_innermost_first() {
        let say = || {
            let outer = tracing::info_span!("outer", session_id = "s", user_id = 7);
            let _outer = outer.enter();
            let inner =
                tracing::info_span!("inner", room_id = tracing::field::Empty, user_id = "u", other = 1);
            let _inner = inner.enter();
            inner.record("room_id", "r");
            tracing::info!(target: "t", "first");
            tracing::error!(target: "t", room_id = "own", "second");
        };
        check(
            say,
            &[
                serde_json::json!({"log.level": "info", "log.target": "t", "session_id": "s", "room_id": "r",
                    "user_id": "u", "message": "first"}),
                serde_json::json!({"log.level": "error", "log.target": "t", "session_id": "s", "room_id": "own",
                    "user_id": "u", "message": "second"}),
            ],
        );
    }

    #[test]
    fn what_the_shipper_says_is_not_shipped() {
        check(
            || {
                tracing::error!(target: "pillion::logger", "one");
                tracing::error!(target: "pillion::logger::worker", "two");
            },
            &[],
        );
    }

    #[test]
    fn a_value_that_logs_while_it_is_printed_does_not_recurse() {
        struct Chatty;
        impl fmt::Display for Chatty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                tracing::info!(value = %Self, "again");
                f.write_str("chatty")
            }
        }
        check(
            || tracing::info!(target: "t", value = %Chatty, "said"),
            &[
                serde_json::json!({"log.level": "info", "log.target": "t", "labels.value": "chatty", "message": "said"}),
            ],
        );
    }

    #[test]
    fn a_long_value_is_cut_and_marked() {
        let (trail, buffer) = trail();
        let long = "é".repeat(VALUE_MAX);
        with_default(Registry::default().with(Layer::new(trail)), || tracing::info!(value = long, "said"));
        let record = &records(&buffer)[0];
        assert_eq!(record["labels.value"].as_str().unwrap().len(), VALUE_MAX);
        assert_eq!((&record["log.truncated"], &record["message"]), (&true.into(), &"said".into()));
    }

    #[test]
    fn level_and_shipping_change_while_the_program_runs() {
        let (trail, buffer) = trail();
        let (subscriber, diagnostics) = subscriber(&CONFIG, trail);
        with_default(subscriber, || {
            let say = |number: u64| {
                tracing::debug!(target: "pillion::gateway", number, "quiet");
                tracing::info!(target: "hyper", number, "chatter of a library");
                tracing::info!(target: "pillion::gateway", number, "loud");
            };
            say(1);
            diagnostics.reload(&config::Log { level: config::Level::Debug, ..CONFIG }).unwrap();
            say(2);
            diagnostics.reload(&config::Log { ship: false, ..CONFIG }).unwrap();
            say(3);
        });
        let said: Vec<_> = records(&buffer)
            .iter()
            .map(|record| (record["labels.number"].to_string(), record["message"].to_string()))
            .collect();
        let expected = [("\"1\"", "\"loud\""), ("\"2\"", "\"quiet\""), ("\"2\"", "\"loud\"")];
        assert_eq!(said, expected.map(|(number, message)| (number.to_owned(), message.to_owned())));
    }
}
