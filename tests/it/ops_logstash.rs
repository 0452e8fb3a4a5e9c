//! The Logstash pipelines: their grammar, the options of their plugins, and the fields that they rename.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use pillion::config;

use crate::ops_elastic::fields;
use crate::shipped;

/// Options that may be used because Logstash 8.8 has them and 9 still has them.
const SINCE_8_8: &[(&str, &str)] = &[
    ("beats", "id host port enrich"),
    ("tcp", "id host port dns_reverse_lookup_enabled tcp_keep_alive codec"),
    ("udp", "id host port buffer_size receive_buffer_bytes source_ip_fieldname codec"),
    ("syslog", "id host port"),
    ("json_lines", ""),
    ("mutate", "id add_field copy remove_field remove_tag rename replace strip"),
    ("json", "source tag_on_failure"),
    ("ruby", "id code tag_on_exception"),
    ("uuid", "target"),
    (
        "elasticsearch",
        "id hosts data_stream data_stream_type data_stream_dataset data_stream_namespace data_stream_auto_routing \
         document_id silence_errors_in_log",
    ),
    ("opensearch", "id hosts index action document_id manage_template failure_type_logging_whitelist"),
];

/// Options that stand in comments: they depend on the site, or Logstash 8.8 does not have them yet.
const IN_COMMENTS: &[(&str, &str)] = &[
    ("beats", "ssl_enabled ssl_certificate ssl_key ssl_certificate_authorities ssl_client_authentication"),
    (
        "tcp",
        "ssl_enabled ssl_certificate ssl_key ssl_certificate_authorities ssl_client_authentication \
         decode_size_limit_bytes",
    ),
    ("elasticsearch", "api_key user password ssl_certificate_authorities"),
    ("opensearch", "user password cacert"),
];

/// Options that stop a pipeline in Logstash 9. (The opensearch output has kept some of the names.)
const REMOVED: &[(&str, &str)] = &[
    ("beats", "ssl ssl_peer_metadata ssl_verify_mode cipher_suites tls_min_version tls_max_version"),
    ("tcp", "ssl_enable ssl_verify ssl_cert"),
    (
        "elasticsearch",
        "ssl ssl_certificate_verification cacert truststore truststore_password keystore keystore_password",
    ),
];

fn listed(list: &[(&str, &str)], plugin: &str, option: &str) -> bool {
    list.iter()
        .any(|(name, options)| *name == plugin && options.split_whitespace().any(|known| known == option))
}

#[derive(Debug)]
enum Setting {
    Word(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
    Plugin(Plugin),
}

#[derive(Debug)]
struct Plugin {
    name: String,
    settings: Vec<(String, Setting)>,
}

/// Reads the language of the pipelines as strictly as Logstash does; conditions are skipped over.
struct Reader<'a> {
    file: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn fail(&self, what: &str) -> ! {
        panic!("{}: {what} at: {}", self.file, self.rest.chars().take(60).collect::<String>())
    }

    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let Some(comment) = self.rest.strip_prefix('#') else { return };
            self.rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn accept(&mut self, token: &str) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) {
        if !self.accept(token) {
            self.fail(&format!("expected {token}"));
        }
    }

    fn take(&mut self, end: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn word(&mut self) -> String {
        self.skip();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        if let Some(quote) = quote {
            self.rest = &self.rest[1..];
            let end = self.rest.find(quote).unwrap_or_else(|| self.fail("a string does not end"));
            let word = self.take(end).to_owned();
            self.rest = &self.rest[1..];
            return word;
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'));
        let end = end.filter(|end| *end > 0).unwrap_or_else(|| self.fail("expected a word"));
        self.take(end).to_owned()
    }

    fn setting(&mut self) -> Setting {
        if self.accept("[") {
            let mut items = Vec::new();
            while !self.accept("]") {
                items.push(self.setting());
                if !self.accept(",") {
                    self.expect("]");
                    break;
                }
            }
            return Setting::List(items);
        }
        if self.accept("{") {
            return Setting::Map(self.settings());
        }
        let word = self.word();
        if self.accept("{") {
            return Setting::Plugin(Plugin { name: word, settings: self.settings() });
        }
        Setting::Word(word)
    }

    /// After an opening brace, up to and with the closing one.
    fn settings(&mut self) -> Vec<(String, Setting)> {
        let mut settings = Vec::new();
        while !self.accept("}") {
            let name = self.word();
            self.expect("=>");
            settings.push((name, self.setting()));
        }
        settings
    }

    /// The inside of a section or of a branch.
    fn plugins(&mut self, plugins: &mut Vec<Plugin>) {
        while !self.accept("}") {
            let name = self.word();
            if name == "if" || name == "else" {
                self.condition();
                self.plugins(plugins);
            } else {
                self.expect("{");
                plugins.push(Plugin { name, settings: self.settings() });
            }
        }
    }

    /// Up to and with the brace that opens the branch; a brace in a pattern or a string does not.
    fn condition(&mut self) {
        let mut inside: Option<char> = None;
        let mut escaped = false;
        for (at, c) in self.rest.char_indices() {
            match inside {
                Some(_) if escaped => escaped = false,
                Some('/') if c == '\\' => escaped = true,
                Some(end) if c == end => inside = None,
                Some(_) => {}
                None if matches!(c, '"' | '\'' | '/') => inside = Some(c),
                None if c == '{' => {
                    self.take(at + 1);
                    return;
                }
                None => {}
            }
        }
        self.fail("a condition without a branch");
    }
}

/// The sections of a file with their plugins; codecs are among them.
fn read(file: &str) -> Vec<(String, Plugin)> {
    let text = shipped::text(&format!("logstash/{file}"));
    let mut reader = Reader { file, rest: &text };
    let mut found = Vec::new();
    loop {
        reader.skip();
        if reader.rest.is_empty() {
            return found;
        }
        let section = reader.word();
        assert!(["input", "filter", "output"].contains(&section.as_str()), "{file}: {section}");
        reader.expect("{");
        let mut plugins = Vec::new();
        reader.plugins(&mut plugins);
        for mut plugin in plugins {
            for (_, setting) in &mut plugin.settings {
                if let Setting::Plugin(codec) = setting {
                    let codec =
                        std::mem::replace(codec, Plugin { name: String::new(), settings: Vec::new() });
                    found.push(("codec".to_owned(), codec));
                }
            }
            found.push((section.clone(), plugin));
        }
    }
}

fn files() -> Vec<String> {
    let files: Vec<String> = shipped::folder("logstash")
        .into_iter()
        .filter_map(|(path, _)| path.strip_prefix("logstash/").map(str::to_owned))
        .filter(|name| name.ends_with(".conf"))
        .collect();
    assert_eq!(files.len(), 7, "{files:?}");
    files
}

#[test]
fn every_option_is_known_to_logstash_8_8_and_to_9() {
    let mut seen = 0;
    for file in files() {
        for (section, plugin) in read(&file) {
            for (option, _) in &plugin.settings {
                assert!(
                    listed(SINCE_8_8, &plugin.name, option),
                    "{file}: {section} {} {option}: look it up in 8.8 and 9, then list it",
                    plugin.name
                );
                assert!(!listed(REMOVED, &plugin.name, option));
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} options");
}

#[test]
fn what_stands_in_comments_would_be_right_too() {
    let mut seen = 0;
    for file in files() {
        let read = read(&file);
        let plugin = &read.iter().rfind(|(section, _)| section != "codec").unwrap().1.name;
        for line in shipped::text(&format!("logstash/{file}")).lines() {
            let Some((option, _)) = line.trim().strip_prefix("# ").and_then(|line| line.split_once("=>"))
            else {
                continue;
            };
            let option = option.trim();
            assert!(listed(IN_COMMENTS, plugin, option), "{file}: {option}");
            assert!(!listed(REMOVED, plugin, option), "{file}: {option}");
            seen += 1;
        }
    }
    assert_eq!(seen, 18);
}

#[test]
fn tls_in_comments_is_whole_and_mutual() {
    for file in ["10-input-beats.conf", "10-input-tcp.conf"] {
        let text = shipped::text(&format!("logstash/{file}"));
        let without_comment_signs: String =
            text.lines().map(|line| line.replacen("# ssl_", "ssl_", 1) + "\n").collect();
        let mut reader = Reader { file, rest: &without_comment_signs };
        assert_eq!(reader.word(), "input");
        reader.expect("{");
        let mut plugins = Vec::new();
        reader.plugins(&mut plugins);
        let settings: BTreeMap<&str, &Setting> =
            plugins[0].settings.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let is = |name, value: &str| matches!(settings[name], Setting::Word(word) if word == value);
        assert!(is("ssl_enabled", "true") && is("ssl_client_authentication", "required"), "{file}");
        // A certificate can be demanded only with somebody who vouches for it.
        assert!(matches!(settings["ssl_certificate_authorities"], Setting::List(list) if list.len() == 1));
        for path in ["ssl_certificate", "ssl_key"] {
            assert!(matches!(settings[path], Setting::Word(path) if path.starts_with('/')), "{file}: {path}");
        }
    }
}

#[test]
fn each_input_says_which_lines_pillion_needs_for_it() {
    for file in files().iter().filter(|file| file.starts_with("10-input-")) {
        let text = shipped::text(&format!("logstash/{file}"));
        let said = text.lines().find_map(|line| line.strip_prefix("# pillion:  [logger]  ")).unwrap();
        let said = said.split("  (").next().unwrap().replace("  ", "\n");
        let text = format!("[logger]\n{said}\n");
        let source = config::File { name: file, text: &text };
        let loaded = config::load(&config::Sources { file: Some(source), ..config::Sources::default() });
        let loaded = loaded.unwrap_or_else(|mistakes| panic!("{file}: {mistakes:?}"));
        assert!(loaded.notices.is_empty(), "{file}: {:?}", loaded.notices);
        let port = read(file).iter().find_map(|(section, plugin)| {
            let (_, port) = plugin.settings.iter().find(|(option, _)| option == "port")?;
            (section == "input").then(|| format!("{port:?}"))
        });
        let (config::Target::Tcp(target) | config::Target::Udp(target)) = loaded.config.logger.target else {
            panic!("{file}")
        };
        assert_eq!(port, Some(format!("Word(\"{}\")", target.port)), "{file}");
    }
}

#[test]
fn every_dotted_field_becomes_an_object_and_nothing_else_is_renamed_there() {
    let filter = read("50-filter.conf");
    let (_, names) = filter
        .iter()
        .find(|(_, plugin)| {
            plugin
                .settings
                .iter()
                .any(|(_, value)| matches!(value, Setting::Word(id) if id == "pillion-names"))
        })
        .unwrap();
    let Some((_, Setting::Map(renames))) = names.settings.iter().find(|(option, _)| option == "rename")
    else {
        panic!("pillion-names renames nothing")
    };
    let mut renamed = BTreeSet::new();
    for (from, to) in renames {
        let Setting::Word(to) = to else { panic!("{from}") };
        assert_eq!(from.replace('.', "]["), *to);
        renamed.insert(from.trim_matches(['[', ']']));
    }
    let dotted: BTreeSet<&str> = fields().into_iter().filter(|field| field.contains('.')).collect();
    let missing: Vec<_> = dotted.difference(&renamed).collect();
    assert!(missing.is_empty(), "no rename for {missing:?}");
    let strange: Vec<_> = renamed.difference(&dotted).copied().collect();
    assert_eq!(
        strange,
        ["event.action", "user.id"],
        "only the aliases of the mapping are not fields of pillion"
    );
}

#[test]
fn no_filter_removes_or_renames_a_field_of_a_record() {
    // A record has these whole names at its root; the filters may touch only what Logstash itself puts there.
    let root: BTreeSet<&str> = fields().into_iter().filter(|field| !field.contains('.')).collect();
    for (_, plugin) in read("50-filter.conf") {
        for (option, value) in &plugin.settings {
            let touched: Vec<&str> = match (option.as_str(), value) {
                ("remove_field", Setting::List(items)) => items
                    .iter()
                    .filter_map(
                        |item| if let Setting::Word(word) = item { Some(word.as_str()) } else { None },
                    )
                    .collect(),
                ("rename", Setting::Map(map)) => map.iter().map(|(from, _)| from.as_str()).collect(),
                _ => continue,
            };
            for field in touched {
                assert!(!root.contains(field.trim_matches(['[', ']'])), "{field} is a field of the record");
            }
        }
    }
}

#[test]
fn the_document_id_is_the_id_of_the_record() {
    for file in ["90-output-elasticsearch.conf", "90-output-opensearch.conf"] {
        let (_, output) = read(file).pop().unwrap();
        let id = output.settings.iter().find(|(option, _)| option == "document_id");
        assert!(matches!(id, Some((_, Setting::Word(id))) if id == "%{[event][id]}"), "{file}");
    }
    // Without this every record that has none would have the same: the text of the expression.
    let filter = read("50-filter.conf");
    let (_, last) = filter.last().unwrap();
    assert_eq!(last.name, "uuid");
    assert!(matches!(&last.settings[0].1, Setting::Word(target) if target == "[event][id]"));
}

#[test]
fn every_pipeline_is_one_input_then_the_filter_then_an_output() {
    let text = shipped::text("logstash/pipelines.yml");
    let mut pipelines: Vec<BTreeMap<&str, &str>> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty()) {
        let entry = line.strip_prefix("- ");
        if entry.is_some() {
            pipelines.push(BTreeMap::new());
        }
        let (key, value) = entry.or_else(|| line.strip_prefix("  ")).unwrap().split_once(": ").unwrap();
        let known = [
            "pipeline.id",
            "path.config",
            "pipeline.ecs_compatibility",
            "queue.type",
            "queue.max_bytes",
            "queue.checkpoint.writes",
            "dead_letter_queue.enable",
            "dead_letter_queue.storage_policy",
            "dead_letter_queue.retain.age",
        ];
        assert!(known.contains(&key), "{key} is not a setting of a pipeline");
        assert!(pipelines.last_mut().unwrap().insert(key, value.trim_matches('"')).is_none(), "{key} twice");
    }
    assert_eq!(pipelines.len(), 4);
    let files = files();
    let mut used = BTreeSet::new();
    for pipeline in &pipelines {
        let path = pipeline["path.config"];
        let names = path
            .strip_prefix("/etc/logstash/pillion/{")
            .and_then(|path| path.strip_suffix("}.conf"))
            .unwrap();
        let names: Vec<String> = names.split(',').map(|name| format!("{name}.conf")).collect();
        assert!(names.iter().all(|name| files.contains(name)), "{path}");
        // Logstash reads what a glob matches in the order of the names, not in that of the list.
        assert!(names.is_sorted(), "{path}");
        let sections: Vec<String> = names.iter().map(|name| read(name).pop().unwrap().0).collect();
        assert_eq!(sections[1..], ["filter", "output"]);
        let inputs = read(&names[0]).into_iter().filter(|(section, _)| section == "input").count();
        assert_eq!(inputs, 1, "{path}");
        used.extend(names);
        assert_eq!(pipeline["pipeline.ecs_compatibility"], "v8");
    }
    let unused: Vec<&String> = files.iter().filter(|file| !used.contains(*file)).collect();
    assert_eq!(unused, ["90-output-opensearch.conf"], "the one that replaces another");
    let beats = pipelines.iter().find(|pipeline| pipeline["path.config"].contains("beats")).unwrap();
    assert_eq!(beats["queue.type"], "persisted", "its acknowledgement is a promise");
    // A queue that nobody acknowledges hides from pillion that Elasticsearch is slow; a datagram has no other place.
    let tcp = pipelines.iter().find(|pipeline| pipeline["pipeline.id"] == "pillion-tcp").unwrap();
    assert_eq!(tcp["queue.type"], "memory");
    for pipeline in &pipelines {
        assert_eq!(pipeline["dead_letter_queue.enable"], "true", "what the index refuses is not dropped");
        assert_eq!(pipeline["queue.type"] == "persisted", pipeline.contains_key("queue.max_bytes"));
    }
}

#[test]
fn the_tcp_input_is_where_pillion_sends_by_default() {
    let port = shipped::default_of("logger.port");
    for file in ["10-input-tcp.conf", "10-input-udp.conf"] {
        let input = read(file);
        let (_, input) = input.iter().find(|(section, _)| section == "input").unwrap();
        let told = input.settings.iter().find(|(option, _)| option == "port").unwrap();
        assert!(matches!(&told.1, Setting::Word(told) if *told == port), "{file}: {told:?}");
    }
}
