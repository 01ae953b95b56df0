//! The file of tokens and certificates: who is known, and what they may do.
//!
//! It holds digests, and still errors show no value of `sha256`: it may be the token itself, by mistake.

use std::path::Path;

use breakerd_common::nearest::nearest;
use breakerd_common::value::{self, InvalidValue, RawValue};
use toml::de::DeValue;

use super::document::{Document, Item, Table};
use super::error::{Error, Fault};
use super::file::{self, FileText};
use super::value_kind::PATTERNS_MAX;
use crate::auth::{
    Digest, ENTRIES_MAX, Identity, NAME_BYTES_MAX, Pattern, Principals, Role, Subject, is_name,
};

/// The most bytes of the file: 10 000 entries with some patterns each.
pub const BYTES_MAX: u64 = 4 << 20;

const TOKEN: &str = "token";
const CERTIFICATE: &str = "certificate";
const KEYS: [&str; 5] = ["name", "roles", "services", "sha256", "subject"];

/// Reads the file.
///
/// # Errors
/// That it cannot be read.
pub fn read(path: &Path) -> Result<FileText, Box<Error>> {
    file::read_existing(path, BYTES_MAX)
}

/// Who is known by `text`, which was read from `path`.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn parse(text: &FileText, path: &Path) -> Result<Principals, Vec<Error>> {
    let mut document = Document::new(&path.display().to_string(), text.expose());
    let tables = document.tables();
    let mut principals = Principals::default();
    for (key, item) in &tables {
        match key.get_ref().as_ref() {
            TOKEN => entries(&mut document, TOKEN, item, &mut principals),
            CERTIFICATE => entries(&mut document, CERTIFICATE, item, &mut principals),
            _ => document.unknown("", key, || {
                nearest(key.get_ref(), [TOKEN, CERTIFICATE]).map(|near| format!("did you mean `[[{near}]]`?"))
            }),
        }
    }
    if document.has_errors() { Err(document.into_errors()) } else { Ok(principals) }
}

fn entries<'a>(
    document: &mut Document<'a>,
    kind: &'static str,
    item: &Item<'a>,
    principals: &mut Principals,
) {
    let DeValue::Array(entries) = item.get_ref() else {
        let invalid = InvalidValue::with_hint(format!("write [[{kind}]] on a line of its own"));
        // Not as it is written: it may be a token.
        let shown = "a value of another kind".to_owned();
        return document.invalid_shown_value(
            kind.to_owned(),
            item,
            shown,
            "a list of tables".to_owned(),
            invalid,
        );
    };
    for entry in entries {
        if principals.len() == ENTRIES_MAX {
            let problem = format!("more than {ENTRIES_MAX} tokens and certificates");
            let location = document.at(entry.span());
            return document.error(location, Fault::Conflict { key: kind.to_owned(), problem });
        }
        if let DeValue::Table(table) = entry.get_ref() {
            Entry { document, kind, item: entry }.read(table, principals);
        } else {
            let shown = "a value of another kind".to_owned();
            document.invalid_shown_value(
                kind.to_owned(),
                entry,
                shown,
                "a table".to_owned(),
                InvalidValue::OUT_OF_RANGE,
            );
        }
    }
}

/// One table of the file.
struct Entry<'d, 'a> {
    document: &'d mut Document<'a>,
    kind: &'static str,
    item: &'d Item<'a>,
}

impl<'a> Entry<'_, 'a> {
    fn read(mut self, table: &Table<'a>, principals: &mut Principals) {
        let proof = if self.kind == TOKEN { "sha256" } else { "subject" };
        let (mut name, mut roles, mut patterns) = (None, None, Some(vec![Pattern::any()]));
        let (mut digest, mut subject) = (None, None);
        let mut proven_at = None;
        for (key, item) in table {
            match key.get_ref().as_ref() {
                "name" => name = self.name(item),
                "roles" => roles = self.roles(item),
                "services" => patterns = self.patterns(item),
                "sha256" if self.kind == TOKEN => (digest, proven_at) = (self.digest(item), Some(item)),
                "subject" if self.kind == CERTIFICATE => {
                    (subject, proven_at) = (self.subject(item), Some(item));
                }
                other => {
                    let near = || nearest(other, KEYS).map(|near| format!("did you mean `{near}`?"));
                    self.document.unknown(self.kind, key, near);
                }
            }
        }
        for key in ["name", "roles", proof] {
            if !table.contains_key(key) {
                self.conflicts(format!("`{key}` is missing"), self.item);
            }
        }
        let (Some(name), Some(roles), Some(patterns)) = (name, roles, patterns) else { return };
        let identity = Identity::new(&name, &roles, patterns);
        let added = match (digest, subject) {
            (Some(digest), _) => principals.add_token(digest, identity),
            (_, Some(subject)) => principals.add_certificate(subject, identity),
            _ => return,
        };
        if added.is_err() {
            let problem = format!("`{proof}` of {name} stands in another [[{}]] already", self.kind);
            self.conflicts(problem, proven_at.unwrap_or(self.item));
        }
    }

    fn name(&mut self, item: &Item<'a>) -> Option<String> {
        let expected = || {
            format!(
                "1 to {NAME_BYTES_MAX} letters, digits and . _ : / @ -, the first a letter or a digit; not anonymous"
            )
        };
        match value::text(RawValue::Toml(item.get_ref())) {
            Ok(name) if is_name(name) => Some(name.to_owned()),
            wrong => self.invalid_value("name", item, expected(), wrong.err()),
        }
    }

    fn roles(&mut self, item: &Item<'a>) -> Option<Vec<Role>> {
        let expected = || format!("a list of {}", Role::ALL.map(Role::as_str).join(", "));
        let texts = texts(item, Role::ALL.len()).filter(|texts| !texts.is_empty());
        match texts.and_then(|texts| texts.into_iter().map(Role::by_name).collect()) {
            Some(roles) => Some(roles),
            None => self.invalid_value("roles", item, expected(), None),
        }
    }

    fn patterns(&mut self, item: &Item<'a>) -> Option<Vec<Pattern>> {
        let expected = || {
            format!(
                "a list of 1 to {PATTERNS_MAX} services, such as [\"payments\", \"billing.*\"]; left out: all"
            )
        };
        let texts = texts(item, PATTERNS_MAX).filter(|texts| !texts.is_empty());
        match texts.and_then(|texts| texts.into_iter().map(Pattern::new).collect()) {
            Some(patterns) => Some(patterns),
            None => self.invalid_value("services", item, expected(), None),
        }
    }

    fn digest(&mut self, item: &Item<'a>) -> Option<Digest> {
        let digest = value::text(RawValue::Toml(item.get_ref())).ok().and_then(Digest::from_hex);
        if digest.is_none() {
            let (shown, expected) = ("(not shown)", "the SHA-256 of the token: 64 hexadecimal digits");
            let hint = InvalidValue::with_hint("`breakerd token new` writes the whole block");
            let key = format!("{}.sha256", self.kind);
            self.document.invalid_shown_value(key, item, shown.to_owned(), expected.to_owned(), hint);
        }
        digest
    }

    fn subject(&mut self, item: &Item<'a>) -> Option<Subject> {
        let expected = || "a URI, a DNS name or a common name of a certificate, 1 to 256 bytes".to_owned();
        match value::text(RawValue::Toml(item.get_ref())).map(Subject::new) {
            Ok(Some(subject)) => Some(subject),
            wrong => self.invalid_value("subject", item, expected(), wrong.err()),
        }
    }

    fn invalid_value<T>(
        &mut self,
        key: &str,
        item: &Item<'a>,
        expected: String,
        why: Option<InvalidValue>,
    ) -> Option<T> {
        let key = format!("{}.{key}", self.kind);
        self.document.invalid_value(key, item, expected, why.unwrap_or(InvalidValue::OUT_OF_RANGE));
        None
    }

    fn conflicts(&mut self, problem: String, item: &Item<'a>) {
        let location = self.document.at(item.span());
        self.document.error(location, Fault::Conflict { key: self.kind.to_owned(), problem });
    }
}

/// The texts of a list of at most `max`. None: it is something else.
pub(super) fn texts<'i>(item: &'i Item<'_>, max: usize) -> Option<Vec<&'i str>> {
    let DeValue::Array(list) = item.get_ref() else { return None };
    if list.len() > max {
        return None;
    }
    list.iter()
        .map(|text| match text.get_ref() {
            DeValue::String(text) => Some(&**text),
            _ => None,
        })
        .collect()
}
