//! The saved objects of Kibana: what is inside their strings, what they refer to, and the fields that they name.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::ops_elastic::mapped;
use crate::shipped;

const FILES: [&str; 2] = ["pillion-8.9.ndjson", "pillion-7.10.ndjson"];

/// The objects of a file, with the JSON inside their strings read too.
fn objects(file: &str) -> Vec<Value> {
    let text = shipped::text(&format!("es-templates/kibana/{file}"));
    let mut objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut opened = 0;
    for object in &mut objects {
        open(object, &mut opened);
    }
    assert!(opened >= objects.len() - 1, "only {opened} strings with JSON inside in {file}");
    objects
}

fn open(value: &mut Value, opened: &mut usize) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| open(item, opened)),
        Value::Object(members) => {
            for (name, member) in members {
                if let (true, Some(text)) = (name.ends_with("JSON") || name == "visState", member.as_str()) {
                    *member =
                        serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
                    *opened += 1;
                }
                open(member, opened);
            }
        }
        _ => {}
    }
}

/// Every value of a key, however deep.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        Value::Object(members) => {
            found.extend(members.get(key));
            members.values().for_each(|member| all(member, key, found));
        }
        _ => {}
    }
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    all(value, key, &mut found);
    found.into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The fields that a KQL query names: the words before an operator.
fn queried(query: &str) -> Vec<String> {
    let words: Vec<&str> = query.split([' ', '(', ')']).filter(|word| !word.is_empty()).collect();
    let operators = [":", ">=", "<=", ">", "<"];
    for word in &words {
        assert!(
            word.starts_with('"') || operators.contains(word) || !word.contains(':'),
            "write `field : value`: {query}"
        );
    }
    words.windows(2).filter(|pair| operators.contains(&pair[1])).map(|pair| pair[0].to_owned()).collect()
}

#[test]
fn every_reference_leads_to_an_object_of_the_same_file() {
    for file in FILES {
        let objects = objects(file);
        let known: BTreeSet<(String, String)> =
            objects.iter().map(|object| (object["type"].to_string(), object["id"].to_string())).collect();
        assert_eq!(known.len(), objects.len(), "{file} has an id twice");
        let mut followed = 0;
        for object in &objects {
            let mut references = Vec::new();
            all(object, "references", &mut references);
            for reference in references.into_iter().flat_map(|list| list.as_array().unwrap()) {
                let target = (reference["type"].to_string(), reference["id"].to_string());
                assert!(known.contains(&target), "{file}: {reference}");
                followed += 1;
            }
            // And what is used by name is declared.
            let declared = strings(&object["references"], "name");
            for name in strings(object, "indexRefName").into_iter().chain(strings(object, "panelRefName")) {
                let found = declared.iter().any(|reference| reference.rsplit(':').next() == Some(&name));
                assert!(found, "{file}: {} uses {name} and does not declare it", object["id"]);
            }
        }
        assert!(followed >= 12, "{followed} references in {file}");
    }
}

#[test]
fn a_panel_by_value_declares_its_layer_twice() {
    // Kibana keeps the reference of a Lens panel in the panel and, under the panel's name, in the dashboard.
    let objects = objects(FILES[0]);
    let dashboard = objects.iter().find(|object| object["type"] == "dashboard").unwrap();
    let declared = strings(&dashboard["references"], "name");
    let mut panels = 0;
    for panel in dashboard["attributes"]["panelsJSON"].as_array().unwrap() {
        let attributes = &panel["embeddableConfig"]["attributes"];
        let Some(layers) = attributes["state"]["datasourceStates"]["formBased"]["layers"].as_object() else {
            continue;
        };
        for (layer, content) in layers {
            let name = format!("indexpattern-datasource-layer-{layer}");
            assert!(strings(&attributes["references"], "name").contains(&name));
            let index = panel["panelIndex"].as_str().unwrap();
            assert!(declared.contains(&format!("{index}:{name}")), "{index}");
            // What is drawn is a column, and every column is ordered.
            let columns: BTreeSet<&str> =
                content["columns"].as_object().unwrap().keys().map(String::as_str).collect();
            let order: BTreeSet<&str> = content["columnOrder"]
                .as_array()
                .unwrap()
                .iter()
                .map(|column| column.as_str().unwrap())
                .collect();
            assert_eq!(columns, order, "{index}");
            let drawn = &attributes["state"]["visualization"]["layers"][0];
            assert_eq!(drawn["layerId"].as_str(), Some(layer.as_str()));
            let accessors = drawn["accessors"].as_array().unwrap().iter();
            for column in accessors.chain(drawn.get("splitAccessor")).chain(drawn.get("xAccessor")) {
                assert!(columns.contains(column.as_str().unwrap()), "{index} draws {column}");
            }
        }
        panels += 1;
    }
    assert_eq!(panels, 5);
}

#[test]
fn every_field_that_is_searched_or_drawn_is_mapped() {
    for (file, variant) in FILES.into_iter().zip(["elasticsearch", "opensearch"]) {
        let mapped = mapped(variant);
        let mut used = BTreeSet::new();
        for object in objects(file) {
            for query in strings(&object, "query") {
                used.extend(queried(&query));
            }
            for key in ["sourceField", "field", "terms_field", "time_field", "timeFieldName"] {
                used.extend(strings(&object, key));
            }
            for column in object["attributes"]["columns"].as_array().into_iter().flatten() {
                used.insert(column.as_str().unwrap().to_owned());
            }
        }
        used.remove("___records___");
        assert!(used.len() >= 15, "{used:?}");
        for field in used {
            assert!(mapped.contains_key(&field), "{file} uses {field}, which {variant} does not map");
        }
    }
}

#[test]
fn the_five_searches_are_in_both_files_and_in_the_readme() {
    let readme = shipped::text("es-templates/README.md");
    for file in FILES {
        let objects = objects(file);
        let searches: Vec<&Value> = objects.iter().filter(|object| object["type"] == "search").collect();
        assert_eq!(searches.len(), 5);
        for search in searches {
            let title = search["attributes"]["title"].as_str().unwrap();
            let query = strings(search, "query").concat();
            assert!(readme.contains(&format!("| {title} | `{query}` |")), "README: {title}: {query}");
        }
        for action in ["login", "wsconn", "msg_send", "logout", "redis_connected_msg"] {
            let quoted = format!("action : \"{action}\"");
            assert!(
                objects.iter().any(|object| strings(object, "query").concat().contains(&quoted)),
                "{quoted}"
            );
        }
    }
}

#[test]
fn the_data_view_shows_what_the_template_makes() {
    let template: Value =
        serde_json::from_str(&shipped::text("es-templates/elasticsearch/index-logs-pillion.json")).unwrap();
    for file in FILES {
        for object in objects(file) {
            if object["type"] == "index-pattern" {
                assert_eq!(object["attributes"]["title"], template["index_patterns"][0]);
            }
            for pattern in strings(&object, "index_pattern") {
                assert_eq!(pattern, template["index_patterns"][0].as_str().unwrap());
            }
        }
    }
}

#[test]
fn each_file_has_the_marks_of_its_version_and_no_later_feature() {
    for object in objects(FILES[0]) {
        assert_eq!(object["coreMigrationVersion"], "8.8.0");
        assert!(object["typeMigrationVersion"].is_string() && object["migrationVersion"].is_null());
    }
    for object in objects(FILES[1]) {
        let kind = object["type"].as_str().unwrap();
        assert!(object["migrationVersion"][kind].is_string() && object["typeMigrationVersion"].is_null());
        assert!(!object.to_string().contains("lens"), "OpenSearch Dashboards has no Lens");
    }
}
