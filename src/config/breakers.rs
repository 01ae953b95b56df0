//! `[circuit_breaker]`: what the file declares for every service and for each.
//!
//! Its tables hold fields of `breaker::Field`, under their names or other names; the defaults take the prefix
//! `default_` too. A field must be of its kind and within its range (`Layer::set` says so); what the layers come
//! to must not contradict itself ([`Catalog::new`] says so), and is told with the lines at odds.

use std::collections::{BTreeMap, BTreeSet};

use breaker::{Field, Layer, Origin, Problem, check_service};
use breakerd_common::nearest::nearest;
use breakerd_common::value::{self, InvalidValue, RawValue};
use toml::de::DeValue;

use super::document::{Document, Item, Table, shorten};
use super::error::{Fault, SourceLocation};
use crate::catalog::Declaration;
use crate::catalog::{Catalog, ServiceProblem};

/// The table's name.
pub(super) const TABLE: &str = "circuit_breaker";
/// The most services that a file may have tables for: each costs a check and a row in the store at every change.
pub const SERVICES_MAX: usize = 10_000;

const PREFIX: &str = "default_";
const ENABLED: &str = "enabled";
const GENERATION: &str = "generation";
/// The most a release number can be: what the stores' columns hold.
const GENERATION_MAX: u64 = i64::MAX as u64;

/// Reads the table; none: the file has none.
pub(super) fn read<'a>(document: &mut Document<'a>, item: Option<&Item<'a>>) -> Declaration {
    let mut reader = Reader { document, locations: BTreeMap::new(), refused: BTreeSet::new() };
    // Not `Declaration::default()`, which is not enabled: to say nothing is to want breakers.
    let mut declaration = Declaration { enabled: true, ..Declaration::default() };
    if let Some(item) = item {
        reader.top(item, &mut declaration);
        reader.contradictions(&declaration);
    }
    declaration
}

/// Whose field: a service's, or the defaults'.
type Owner = Option<String>;

struct Reader<'d, 'a> {
    document: &'d mut Document<'a>,
    /// Where each field was set.
    locations: BTreeMap<(Owner, Field), SourceLocation>,
    /// The fields whose values were refused: what they leave open is no contradiction.
    refused: BTreeSet<(Owner, Field)>,
}

impl<'a> Reader<'_, 'a> {
    fn top(&mut self, item: &Item<'a>, declaration: &mut Declaration) {
        let Some(table) = self.document.table(TABLE, item) else { return };
        let mut fields = Vec::new();
        let mut services = 0_usize;
        for (key, item) in table {
            let name = key.get_ref().as_ref();
            if name == ENABLED {
                match value::flag(RawValue::Toml(item.get_ref())) {
                    Ok(enabled) => declaration.enabled = enabled,
                    Err(invalid) => {
                        self.document.invalid_value(
                            dotted(TABLE, name),
                            item,
                            "true or false".to_owned(),
                            invalid,
                        );
                    }
                }
            } else if name == GENERATION {
                match value::count(RawValue::Toml(item.get_ref())) {
                    Ok(generation) if generation <= GENERATION_MAX => {
                        declaration.generation = Some(generation);
                    }
                    wrong => {
                        let invalid = wrong.err().unwrap_or(InvalidValue::OUT_OF_RANGE);
                        let expected = format!("0..={GENERATION_MAX}");
                        self.document.invalid_value(dotted(TABLE, name), item, expected, invalid);
                    }
                }
            } else if let Some(field) = default_field(name) {
                fields.push((field, key, item));
            } else if let DeValue::Table(table) = item.get_ref() {
                services += 1;
                if services <= SERVICES_MAX {
                    self.service(key, table, declaration);
                }
            } else {
                self.document.unknown(TABLE, key, || {
                    suggestion(name, true).or_else(|| {
                        let header = dotted(TABLE, &quoted(name));
                        Some(format!("it is no setting, and a service is a table, [{header}]"))
                    })
                });
            }
        }
        if services > SERVICES_MAX {
            let problem = format!("{services} services are more than the most, {SERVICES_MAX}");
            let location = self.document.at(item.span());
            self.document.error(location, Fault::Conflict { key: TABLE.to_owned(), problem });
        }
        declaration.defaults = self.layer(&None, TABLE, &fields);
    }

    fn service(&mut self, key: &Key<'a>, table: &Table<'a>, declaration: &mut Declaration) {
        let service = key.get_ref().as_ref();
        if let Err(problem) = check_service(service) {
            let location = self.document.at(key.span());
            self.document
                .error(location, Fault::Service { table: TABLE.to_owned(), problem: problem.to_string() });
            return;
        }
        let path = dotted(TABLE, &quoted(service));
        let mut fields = Vec::new();
        for (key, item) in table {
            let name = key.get_ref().as_ref();
            if let Some(field) = Field::by_name(name) {
                fields.push((field, key, item));
            } else {
                self.document.unknown(&path, key, || match item.get_ref() {
                    _ if matches!(name, ENABLED | GENERATION) => {
                        Some(format!("it belongs in [{TABLE}] only"))
                    }
                    DeValue::Table(_) => {
                        let whole = shorten(&format!("{service}.{name}"));
                        Some(format!(
                            "if {whole} is one service, its name stands in quotes: [{TABLE}.\"{whole}\"]"
                        ))
                    }
                    _ => suggestion(name, false),
                });
            }
        }
        let layer = self.layer(&Some(service.to_owned()), &path, &fields);
        declaration.services.insert(service.to_owned(), layer);
    }

    fn layer(&mut self, owner: &Owner, path: &str, fields: &[(Field, &Key<'a>, &Item<'a>)]) -> Layer {
        let mut layer = Layer::default();
        let mut named: BTreeMap<Field, &Key<'a>> = BTreeMap::new();
        let mut in_order: Vec<_> = fields.iter().collect();
        in_order.sort_by_key(|(_, key, _)| key.span().start);
        for (field, key, item) in in_order {
            let location = self.document.at(key.span());
            if let Some(first) = named.get(field) {
                let fault = Fault::Twice {
                    table: path.to_owned(),
                    first: first.get_ref().to_string(),
                    first_line: self.document.at(first.span()).line().unwrap_or_default(),
                    second: key.get_ref().to_string(),
                };
                self.document.error(location, fault);
                continue;
            }
            named.insert(*field, key);
            let taken = value::threshold(*field, RawValue::Toml(item.get_ref()))
                .and_then(|value| layer.set(*field, value).map_err(|_| InvalidValue::OUT_OF_RANGE));
            match taken {
                Ok(()) => {
                    self.locations.insert((owner.clone(), *field), location);
                }
                Err(invalid) => {
                    self.document.invalid_value(dotted(path, key.get_ref()), item, field.range(), invalid);
                    self.refused.insert((owner.clone(), *field));
                }
            }
        }
        layer
    }

    fn contradictions(&mut self, declaration: &Declaration) {
        let Err(problems) = Catalog::new(declaration, 0, &BTreeMap::new()) else { return };
        for ServiceProblem { service, problem } in problems {
            let fields = || problem.between.iter().map(|(field, _)| *field);
            let is_refused =
                |owner: &Owner| fields().any(|field| self.refused.contains(&(owner.clone(), field)));
            if is_refused(&service) || is_refused(&None) {
                continue;
            }
            let key = match &service {
                Some(service) => dotted(TABLE, &quoted(service)),
                None => TABLE.to_owned(),
            };
            let location = fields().find_map(|field| self.location(service.as_ref(), field));
            let location = location.map_or_else(|| self.document.file_location(), Clone::clone);
            let problem = self.message(service.as_ref(), &problem);
            self.document.error(location, Fault::Conflict { key, problem });
        }
    }

    /// The contradiction, with the line of each field that has a part in it.
    fn message(&self, service: Option<&String>, problem: &Problem) -> String {
        let set_by: Vec<_> = problem
            .between
            .iter()
            .filter_map(|(field, origin)| Some((field, (*origin)?)))
            .map(|(field, origin)| {
                match self
                    .location(service, *field)
                    .filter(|_| origin != Origin::BuiltIn)
                    .and_then(SourceLocation::line)
                {
                    Some(line) => format!("{field}: line {line}"),
                    None => format!("{field}: {origin}"),
                }
            })
            .collect();
        format!("{}: {} ({})", problem.field, problem.fault(), set_by.join("; "))
    }

    /// Where a field of a service was set: in its own table, else in the defaults'.
    fn location(&self, service: Option<&String>, field: Field) -> Option<&SourceLocation> {
        self.locations.get(&(service.cloned(), field)).or_else(|| self.locations.get(&(None, field)))
    }
}

type Key<'a> = toml::Spanned<toml::de::DeString<'a>>;

fn default_field(name: &str) -> Option<Field> {
    Field::by_name(name).or_else(|| name.strip_prefix(PREFIX).and_then(Field::by_name))
}

/// What a wrong name may have been meant to be.
fn suggestion(name: &str, in_defaults: bool) -> Option<String> {
    let names = Field::ALL
        .iter()
        .flat_map(|field| std::iter::once(field.as_str()).chain(field.aliases().iter().copied()));
    let did_you_mean = |name: &str| format!("did you mean `{name}`?");
    match name.strip_prefix(PREFIX) {
        Some(rest) if in_defaults => {
            nearest(rest, names).map(|near| did_you_mean(&format!("{PREFIX}{near}")))
        }
        Some(rest) => nearest(rest, names).map(did_you_mean),
        None if in_defaults => nearest(name, names.chain([ENABLED, GENERATION])).map(did_you_mean),
        None => nearest(name, names).map(did_you_mean),
    }
}

fn dotted(table: &str, key: &str) -> String {
    format!("{table}.{key}")
}

/// A key as it must be written in a header.
fn quoted(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_bare { name.to_owned() } else { format!("\"{}\"", shorten(name)) }
}
