//! `[[notify]]`: where transitions are posted, and which.
//!
//! A URL is a secret, or may hold one: no error shows it.

use std::path::PathBuf;
use std::time::Duration;

use breaker::State;
use breakerd_common::nearest::nearest;
use breakerd_common::value::{self, InvalidValue, RawValue};
use toml::de::DeValue;

use super::access::texts;
use super::document::{Document, Item, Table};
use super::error::Fault;
use super::value_kind::{PATTERNS_MAX, Take, ValueKind};
use crate::auth::Pattern;
use crate::webhook::{
    Filter, Format, GIVE_UP_AFTER, QUEUE, SecretUrl, TARGETS_MAX, TIMEOUT, TargetSettings, UrlSource,
};

/// The table's name.
pub(super) const TABLE: &str = "notify";

/// A key of a table `[[notify]]`.
#[derive(Debug, Clone, Copy)]
pub struct NotifySetting {
    /// The key.
    pub key: &'static str,
    /// What applies when it is left out, for people.
    pub default: &'static str,
    /// What it takes.
    pub expected: ValueKind,
    /// What it is for, a line for people.
    pub doc: &'static str,
}

const NAME: NotifySetting = NotifySetting {
    key: "name",
    default: "required",
    expected: ValueKind::ReplicaName,
    doc: "Name of the target in the log and the metrics. Unique.",
};
const URL: NotifySetting = NotifySetting {
    key: "url",
    default: "required, or `url_file`",
    expected: ValueKind::WebhookUrl,
    doc: "URL to post to. Not logged. If it is a secret, as that of Slack, prefer `url_file`.",
};
const URL_FILE: NotifySetting = NotifySetting {
    key: "url_file",
    default: "none",
    expected: ValueKind::File,
    doc: "File with the URL on one line, instead of `url`. Reloaded when it changes.",
};
const FORMAT: NotifySetting = NotifySetting {
    key: "format",
    default: "`json`",
    expected: ValueKind::Choice(Format::NAMES),
    doc: "`json`: the message `Transition` of the API. `slack`: the form of Slack's incoming webhooks.",
};
const SERVICES: NotifySetting = NotifySetting {
    key: "services",
    default: "all",
    expected: ValueKind::Patterns,
    doc: "Only breakers of these services.",
};
const NAMES: NotifySetting = NotifySetting {
    key: "names",
    default: "all",
    expected: ValueKind::Patterns,
    doc: "Only breakers with these names. The default breaker of a service has the name of the service.",
};
const STATES: NotifySetting = NotifySetting {
    key: "states",
    default: "all",
    expected: ValueKind::States,
    doc: "Only transitions to these states.",
};
const REOPENED: NotifySetting = NotifySetting {
    key: "reopened",
    default: "`true`",
    expected: ValueKind::Flag,
    doc: "Whether a breaker is posted that opens again because its probes failed (from HALF_OPEN to OPEN). During a long outage that is one post for each open-state wait.",
};
const SECRET_FILE: NotifySetting = NotifySetting {
    key: "secret_file",
    default: "none: not signed",
    expected: ValueKind::File,
    doc: "File with the secret of the signature on one line: `whsec_` and the base64 of 24 to 64 random bytes. With a second line, both sign. Reloaded when it changes.",
};
const CA_FILE: NotifySetting = NotifySetting {
    key: "ca_file",
    default: "none: those of the system",
    expected: ValueKind::File,
    doc: "CA certificates of the target in PEM, instead of those of the system. Needs a URL with `https://`. Reloaded when it changes.",
};
const TIMEOUT_SETTING: NotifySetting = NotifySetting {
    key: "timeout",
    default: "`10s`",
    expected: ValueKind::Duration { min: *TIMEOUT.start(), max: *TIMEOUT.end() },
    doc: "Maximum duration of one attempt.",
};
const GIVE_UP: NotifySetting = NotifySetting {
    key: "give_up_after",
    default: "`1h`",
    expected: ValueKind::Duration { min: *GIVE_UP_AFTER.start(), max: *GIVE_UP_AFTER.end() },
    doc: "Age at which a notification is given up. Until then it is retried, after 1 s at first and 1 min at most.",
};
const QUEUE_MAX: NotifySetting = NotifySetting {
    key: "queue_max",
    default: "`1000`",
    expected: ValueKind::Count { min: *QUEUE.start(), max: *QUEUE.end() },
    doc: "Maximum notifications that wait. Beyond it the oldest is dropped.",
};

/// Every key of a table `[[notify]]`, in the order of the documents.
pub const NOTIFY_SETTINGS: &[NotifySetting] = &[
    NAME,
    URL,
    URL_FILE,
    FORMAT,
    SERVICES,
    NAMES,
    STATES,
    REOPENED,
    SECRET_FILE,
    CA_FILE,
    TIMEOUT_SETTING,
    GIVE_UP,
    QUEUE_MAX,
];

/// Reads the tables: those that are right.
pub(super) fn read<'a>(document: &mut Document<'a>, item: &Item<'a>) -> Vec<TargetSettings> {
    let mut targets: Vec<TargetSettings> = Vec::new();
    let DeValue::Array(entries) = item.get_ref() else {
        let hint = InvalidValue::with_hint(format!("write [[{TABLE}]] on a line of its own"));
        let shown = "a value of another kind".to_owned();
        document.invalid_shown_value(TABLE.to_owned(), item, shown, "a list of tables".to_owned(), hint);
        return targets;
    };
    for entry in entries {
        let conflict = |problem: String| Fault::Conflict { key: TABLE.to_owned(), problem };
        if targets.len() == TARGETS_MAX {
            let location = document.at(entry.span());
            document.error(location, conflict(format!("more than {TARGETS_MAX} targets")));
            break;
        }
        let DeValue::Table(table) = entry.get_ref() else {
            let shown = "a value of another kind".to_owned();
            let invalid = InvalidValue::OUT_OF_RANGE;
            document.invalid_shown_value(TABLE.to_owned(), entry, shown, "a table".to_owned(), invalid);
            continue;
        };
        let Some(target) = (Entry { document, item: entry }).read(table) else { continue };
        if targets.iter().any(|other| other.name == target.name) {
            let location = document.at(entry.span());
            document.error(
                location,
                conflict(format!("`name` {} stands in another [[{TABLE}]] already", target.name)),
            );
            continue;
        }
        targets.push(target);
    }
    targets
}

/// One table of the file.
struct Entry<'d, 'a> {
    document: &'d mut Document<'a>,
    item: &'d Item<'a>,
}

impl<'a> Entry<'_, 'a> {
    /// None: something is wrong with it, and among the errors.
    fn read(mut self, table: &Table<'a>) -> Option<TargetSettings> {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            let keys = || NOTIFY_SETTINGS.iter().map(|setting| setting.key);
            if !keys().any(|known| known == name) {
                self.document.unknown(TABLE, key, || {
                    nearest(name, keys()).map(|near| format!("did you mean `{near}`?"))
                });
            }
        }
        let given = |setting: &NotifySetting| table.get(setting.key);
        let name = self.required(given(&NAME), &NAME);
        let url = self.taken(given(&URL), &URL, None::<SecretUrl>);
        let url_file = self.taken(given(&URL_FILE), &URL_FILE, None::<PathBuf>);
        let (is_url, is_file) = (given(&URL).is_some(), given(&URL_FILE).is_some());
        if is_url == is_file {
            self.conflicts(if is_url {
                "`url` and `url_file` are both set: leave one out"
            } else {
                "`url` or `url_file` is missing"
            });
        }
        let format = self.format(given(&FORMAT));
        let services = self.patterns(given(&SERVICES), &SERVICES, Pattern::new);
        let names = self.patterns(given(&NAMES), &NAMES, Pattern::of_names);
        let states = self.states(given(&STATES));
        let reopened = self.taken(given(&REOPENED), &REOPENED, true);
        let secret_file = self.taken(given(&SECRET_FILE), &SECRET_FILE, None);
        let ca_file = self.taken(given(&CA_FILE), &CA_FILE, None);
        let timeout = self.taken(given(&TIMEOUT_SETTING), &TIMEOUT_SETTING, Duration::from_secs(10));
        let give_up_after = self.taken(given(&GIVE_UP), &GIVE_UP, Duration::from_hours(1));
        let queue_max = self.taken(given(&QUEUE_MAX), &QUEUE_MAX, 1_000_usize);
        let url = match (url?, url_file?) {
            (Some(url), None) => UrlSource::Given(url),
            (None, Some(file)) => UrlSource::File(file),
            _ => return None,
        };
        Some(TargetSettings {
            name: name?,
            url,
            format: format?,
            filter: Filter {
                services: services?,
                names: names?,
                states: states?,
                without_reopened: !reopened?,
            },
            secret_file: secret_file?,
            ca_file: ca_file?,
            timeout: timeout?,
            give_up_after: give_up_after?,
            queue_max: queue_max?,
        })
    }

    /// What is given, or what applies without; none: it is wrong.
    fn taken<T: Take>(&mut self, item: Option<&Item<'a>>, setting: &NotifySetting, default: T) -> Option<T> {
        let Some(item) = item else { return Some(default) };
        self.value(item, setting)
    }

    fn required<T: Take>(&mut self, item: Option<&Item<'a>>, setting: &NotifySetting) -> Option<T> {
        let Some(item) = item else {
            self.conflicts(&format!("`{}` is missing", setting.key));
            return None;
        };
        self.value(item, setting)
    }

    fn value<T: Take>(&mut self, item: &Item<'a>, setting: &NotifySetting) -> Option<T> {
        match T::take(RawValue::Toml(item.get_ref()), setting.expected) {
            Ok(taken) => Some(taken),
            Err(invalid) => self.invalid(setting, item, invalid),
        }
    }

    fn format(&mut self, item: Option<&Item<'a>>) -> Option<Format> {
        let Some(item) = item else { return Some(Format::default()) };
        match value::choice(RawValue::Toml(item.get_ref()), Format::NAMES) {
            Ok("slack") => Some(Format::Slack),
            Ok(_) => Some(Format::Json),
            Err(invalid) => self.invalid(&FORMAT, item, invalid),
        }
    }

    fn patterns(
        &mut self,
        item: Option<&Item<'a>>,
        setting: &NotifySetting,
        pattern: fn(&str) -> Option<Pattern>,
    ) -> Option<Vec<Pattern>> {
        self.list(item, setting, PATTERNS_MAX, pattern)
    }

    fn states(&mut self, item: Option<&Item<'a>>) -> Option<Vec<State>> {
        self.list(item, &STATES, State::ALL.len(), State::parse)
    }

    /// A list that has something in it.
    fn list<T>(
        &mut self,
        item: Option<&Item<'a>>,
        setting: &NotifySetting,
        max: usize,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(item) = item else { return Some(Vec::new()) };
        let texts = texts(item, max).filter(|texts| !texts.is_empty());
        match texts.and_then(|texts| texts.into_iter().map(read).collect()) {
            Some(list) => Some(list),
            None => self.invalid(setting, item, InvalidValue::OUT_OF_RANGE),
        }
    }

    fn invalid<T>(&mut self, setting: &NotifySetting, item: &Item<'a>, invalid: InvalidValue) -> Option<T> {
        let expected = setting.expected.to_string();
        if setting.expected == ValueKind::WebhookUrl {
            let shown = "(not shown)".to_owned();
            self.document.invalid_shown_value(dotted(setting), item, shown, expected, invalid);
        } else {
            self.document.invalid_value(dotted(setting), item, expected, invalid);
        }
        None
    }

    fn conflicts(&mut self, problem: &str) {
        let location = self.document.at(self.item.span());
        self.document.error(location, Fault::Conflict { key: TABLE.to_owned(), problem: problem.to_owned() });
    }
}

impl Take for Option<SecretUrl> {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        SecretUrl::parse(value::text(given)?).map(Some).map_err(InvalidValue::with_hint)
    }
}

fn dotted(setting: &NotifySetting) -> String {
    format!("{TABLE}.{}", setting.key)
}
