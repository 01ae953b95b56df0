//! docs/clients.md speaks of the API that there is. Its programs need five languages, and are run by
//! `make e2e`; what they name is looked up here.

use std::collections::BTreeSet;
use std::fs;

use prost::Message as _;
use prost_types::{DescriptorProto, EnumValueDescriptorProto, FileDescriptorSet, MethodDescriptorProto};

const DOCUMENT: &str = "docs/clients.md";
const LANGUAGES: [&str; 5] = ["python", "go", "js", "java", "rust"];

#[test]
fn the_clients_guide_names_nothing_that_the_api_has_not() {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let set = FileDescriptorSet::decode(breakerd_api::FILE_DESCRIPTOR_SET).unwrap();
    let files: Vec<_> = set.file.iter().filter(|file| file.package() == "breakerd.v1").collect();
    // The one that is not ours: google.rpc's.
    let mut names = BTreeSet::from(["BadRequest"]);
    for file in &files {
        names.extend(file.message_type.iter().map(DescriptorProto::name));
        names.extend(file.service.iter().flat_map(|each| &each.method).map(MethodDescriptorProto::name));
        names.extend(file.enum_type.iter().flat_map(|each| &each.value).map(EnumValueDescriptorProto::name));
    }
    let prefixes = ["OUTCOME_", "STATE_", "RECORD_RESULT_", "ALLOW_REASON_"];
    let is_of_the_api = |word: &str| {
        let is_message = word.ends_with("Request") || word.ends_with("Requests");
        prefixes.iter().any(|prefix| word.starts_with(prefix))
            || (is_message && word.len() > "Requests".len() && word.starts_with(char::is_uppercase))
    };
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        // Go repeats the enum before its value.
        let word = word.strip_prefix("Outcome_").unwrap_or(word);
        assert!(!is_of_the_api(word) || names.contains(word), "{word} is not of the API");
    }
    for file in ["breaker_service", "config_service", "operations_service"] {
        assert!(text.contains(file) && files.iter().any(|each| each.name().contains(file)), "{file}");
    }
}

#[test]
fn the_clients_guide_has_every_language_where_it_has_one() {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    for title in ["## TLS and tokens", "## Errors"] {
        let section = text.split(title).nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
        for language in LANGUAGES {
            assert!(section.contains(&format!("```{language}\n")), "{title} has no {language}");
        }
    }
}
